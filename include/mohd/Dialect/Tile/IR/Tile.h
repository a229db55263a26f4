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
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "mohd/Dialect/Tile/IR/TileDialect.h.inc"
#include "mohd/Dialect/Tile/IR/TileEnums.h.inc"

namespace mlir::mohd::tile {

/// Attributes of GPU kernels and their parameters; the dialect's description has their meaning.
inline constexpr llvm::StringLiteral kKernelAttr = "tile.kernel";
inline constexpr llvm::StringLiteral kSharedBytesAttr = "tile.shared_bytes";
inline constexpr llvm::StringLiteral kThreadsAttr = "tile.threads";
inline constexpr llvm::StringLiteral kMinBlocksAttr = "tile.min_blocks";
inline constexpr llvm::StringLiteral kCooperativeAttr = "tile.cooperative";
inline constexpr llvm::StringLiteral kTensorMapAttr = "tile.tensor_map";

/// The most shared memory that a block may have, in bytes.
inline constexpr int64_t kMaxSharedBytes = 232448;

} // namespace mlir::mohd::tile

#define GET_TYPEDEF_CLASSES
#include "mohd/Dialect/Tile/IR/TileTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "mohd/Dialect/Tile/IR/TileAttributes.h.inc"

#define GET_OP_CLASSES
#include "mohd/Dialect/Tile/IR/TileOps.h.inc"

#endif // MOHD_DIALECT_TILE_IR_TILE_H
