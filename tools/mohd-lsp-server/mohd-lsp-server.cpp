// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-lsp-server: language server for .mlir files with the project's dialects.
#include "mohd/InitAll.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::mohd::registerAllDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
