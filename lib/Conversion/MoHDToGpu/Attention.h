// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of attention share.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTION_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTION_H

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include <optional>

namespace mlir::mohd {

/// An attention, or a gradient of it, in the kernel that is being written. Places outside of the cache count as the nearest ones inside.
struct AttentionBody {
  template <typename OpTy>
  AttentionBody(GpuKernelSet &kernels, OpTy op)
      : e(kernels.e()), numTokens(kernels.numTokens()), query(kernels.buffer(op.getQuery())),
        keys(kernels.buffer(op.getKeys())), values(kernels.buffer(op.getValues())),
        position(kernels.buffer(op.getPosition())), result(kernels.buffer(op.getResult())),
        headDim(op.getHeadDim()), numHeads(op.getNumHeads()), numKvHeads(op.getNumKvHeads()) {
    if (op.getSequence())
      sequence = kernels.buffer(op.getSequence());
  }

  GpuEmitter &e;
  Term numTokens;
  GpuBuffer query, keys, values, position, result;
  std::optional<GpuBuffer> sequence;
  int64_t headDim, numHeads, numKvHeads;

  /// Query heads of a key head.
  int64_t getRatio() const { return numHeads / numKvHeads; }
  Term sequenceOf(const Term &token);
  /// The last row that a token sees; -1 in an empty cache.
  Term lastOf(const Term &token);
  /// What a product of a query and a key is multiplied by for 2^x: log2(e) / sqrt(headDim).
  double getScale() const;
};

/// How a block computes one token's results of some query heads with a common key head.
struct AttentionRowPlan {
  /// With `numRegisters` of a thread for data, and up to `maxHeads` heads in a block.
  AttentionRowPlan(AttentionOp op, int64_t numWarps, int64_t maxHeads, int64_t numRegisters);

  int64_t numWarps;
  int64_t vector;      // elements of a load of the cache
  int64_t chunks;      // of that size, in a head
  int64_t lanes;       // that share a row of the cache; a power of two
  int64_t loads;       // of a lane for its part of a row
  int64_t slices;      // of a head's columns, each the work of a block
  int64_t heads;       // query heads of a block; divides those of a key head
  int64_t unrolls;     // rows of the cache that a lane loads at once
  int64_t barrier = 0; // of the block's first numWarps warps, which are all of it for 0

  int64_t getPerLane() const { return loads * vector; }
  int64_t getSliceColumns() const { return lanes * getPerLane(); }
  /// Bytes that `reserveAttentionRow` takes: for each warp a slice of one head, then largest and sum of each head.
  int64_t getSharedBytes() const { return 4 * numWarps * (getSliceColumns() + 2 * heads); }
};

/// Shared memory that `emitAttentionRow` needs.
int64_t reserveAttentionRow(GpuEmitter &e, const AttentionRowPlan &plan);

/// A part of the rows that a token sees, and where what is known of it goes for each head: weighted values, largest logit, sum of weights; with `isWhole` the result
/// is written instead.
struct AttentionPart {
  Term begin, end;
  Term isWhole;
  Value to;
  int64_t headBytes;
};

/// Computes a slice of the results of `plan.heads` query heads from `firstHead` on, of one token; all those warps do it. `shared` is
/// from `reserveAttentionRow`.
void emitAttentionRow(AttentionBody &body, const AttentionRowPlan &plan, const Term &token,
                      const Term &firstHead, const Term &slice, int64_t shared,
                      const AttentionPart *part = nullptr);

/// Whether the `count` tokens from `first` on, a tile, are of too many sequences for a kernel of tiles.
Term isMixed(AttentionBody &body, const Term &first, int64_t count);

/// The 16-bit type that tiles of an attention are multiplied in, and how many parts of that type an operand has. The type is the cache's or the query's; where
/// both are f32, two parts of f16 are as good but for small numbers (AttentionPass.h).
std::pair<tile::Half, int64_t> getAttentionOperands(AttentionOp op);

/// How a kernel of tiles of `rows` tokens of a head, for more than `few` tokens, is launched.
GpuLaunch getAttentionTileLaunch(GpuKernelSet &kernels, AttentionOp op, int64_t few, int64_t rows,
                                 int64_t threads);

/// Make the kernel of tiles of more than `few` tokens of a head, the mixed ones aside; return the tokens of a tile. 0 if there is no such kernel.
int64_t addAttentionTiles(GpuKernelSet &kernels, AttentionOp op, int64_t few);
int64_t addAttentionWgmma(GpuKernelSet &kernels, AttentionOp op, int64_t few);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTION_H
