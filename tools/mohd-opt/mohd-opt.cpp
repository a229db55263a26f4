// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-opt: runs passes and pipelines on .mlir files; the test driver of the compiler.
#include "mohd/InitAll.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::mohd::registerAllDialects(registry);
  mlir::mohd::registerAllPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "MoHD optimizer driver\n", registry));
}
