// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the two lowerings of GPU kernels (to PTX and to the emulator) share.
#ifndef MOHD_CONVERSION_TILEKERNELS_TILEKERNELS_H
#define MOHD_CONVERSION_TILEKERNELS_TILEKERNELS_H

#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir {
class FrozenRewritePatternSet;
class RewritePatternSet;
} // namespace mlir

namespace mlir::mohd {

/// The lower bits of a pointer to shared memory that are the address there.
inline constexpr int64_t kSharedAddressMask = (1 << 18) - 1;

/// The functions of a module that are GPU kernels and have a body, in order.
SmallVector<LLVM::LLVMFuncOp> getTileKernels(ModuleOp module);

/// Applies `patterns` to each op of a kernel once; then each value whose type `convertType` maps to
/// another gets that, the arguments of loops and branches included. Fails with an error at an op of
/// the tile dialect that is left.
LogicalResult lowerTileKernel(LLVM::LLVMFuncOp kernel, const FrozenRewritePatternSet &patterns,
                              function_ref<Type(Type)> convertType);

/// Adds the lowering of `tile.matrix_descriptor` to integer arithmetic.
void populateMatrixDescriptorPatterns(RewritePatternSet &patterns);

/// The operand c of shfl.sync: the last position that may be read, and the segment's mask in bits 8 to 12.
int64_t getShuffleClamp(tile::Shuffle kind, int64_t width);

/// A constant of type i32.
Value createI32(OpBuilder &builder, Location loc, int64_t value);

/// The 32-bit elements of a vector, first to last.
SmallVector<Value> extractElements(OpBuilder &builder, Location loc, Value vector);

/// The vector of `elements`, which have one type.
Value createVector(OpBuilder &builder, Location loc, ValueRange elements);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_TILEKERNELS_TILEKERNELS_H
