// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-reduce: shrinks a .mlir file while a test script still finds it interesting.
#include "mohd/InitAll.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::mohd::registerAllDialects(registry);
  mlir::mohd::registerAllPasses();
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}
