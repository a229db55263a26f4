// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registration and verifiers of the tile dialect.
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::mohd::tile;

#include "mohd/Dialect/Tile/IR/TileDialect.cpp.inc"

#define GET_OP_CLASSES
#include "mohd/Dialect/Tile/IR/TileOps.cpp.inc"

void TileDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "mohd/Dialect/Tile/IR/TileOps.cpp.inc"
      >();
}

LogicalResult BindingOp::verify() {
  MemRefType type = getResult().getType();
  if (!type.getLayout().isIdentity()) // binding_c2
    return emitOpError("expects a memref with the identity layout, got ") << type;
  if (getSizes().size() != size_t(type.getNumDynamicDims())) // binding_c1
    return emitOpError("expects ")
           << type.getNumDynamicDims() << " sizes for " << type << ", got " << getSizes().size();
  return success();
}
