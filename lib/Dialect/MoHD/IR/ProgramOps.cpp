// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the ops that scheduling produces: programs and their dispatches.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace mlir::mohd;

LogicalResult ProgramOp::verifyRegions() {
  for (Operation &op : *getBody().begin())
    if (!isa<DispatchOp>(op)) // program_c1
      return op.emitError("expects only 'mohd.dispatch' in a program, got '")
             << op.getName() << "'";
  return success();
}

LogicalResult DispatchOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  if (!symbolTable.lookupNearestSymbolFrom<FunctionOpInterface>(*this,
                                                                getKernelAttr())) // dispatch_c1
    return emitOpError("expects 'kernel' to name a function of the module, got ")
           << getKernelAttr();
  return success();
}
