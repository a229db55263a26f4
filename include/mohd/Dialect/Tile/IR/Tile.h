// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tile dialect: what kernels are written in, beyond upstream dialects.
#ifndef MOHD_DIALECT_TILE_IR_TILE_H
#define MOHD_DIALECT_TILE_IR_TILE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "mohd/Dialect/Tile/IR/TileDialect.h.inc"

#define GET_OP_CLASSES
#include "mohd/Dialect/Tile/IR/TileOps.h.inc"

#endif // MOHD_DIALECT_TILE_IR_TILE_H
