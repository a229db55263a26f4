// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What kernels that do attention in tiles share: which rows of the cache a tile of tokens sees, and the softmax over fragments.
//
// Tokens of a tile may be of a few sequences: each is done in a pass of its own, in which tokens of others see nothing. A thread has a part of the rows q and q + 8 of each
// 16 of the tile that its warp has, as fragments of `tile.mma` and `tile.wgmma`: flat, element i of a thread is of row q + 8 (i / 2 mod 2), column
// 8 (i / 4) + 2 r + i mod 2, with lane = 4 q + r.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTIONPASS_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTIONPASS_H

#include "Attention.h"

#include <limits>

namespace mlir::mohd {

/// After the last sequence.
inline constexpr int64_t kNoSequence = std::numeric_limits<int32_t>::max();

struct AttentionPass {
  Term sequence;
  Term last;          // row of the cache that a token sees
  Term always;        // the last row that all tokens see
  Term limits[2];     // the last row that q and q + 8 see, -1 if none
  Value keys, values; // of the sequence and the head
};

/// The places of a tile's tokens, all known to each warp.
class AttentionTokens {
public:
  AttentionTokens(AttentionBody &body, const Term &first, int64_t count);

  Term first;
  /// The lowest sequence after this one that a token has, or kNoSequence.
  Term next(const Term &sequence) const;
  /// The pass of a sequence, for the warp with rows 16 * warp and on.
  AttentionPass see(const Term &sequence, const Term &head, const Term &warp) const;

private:
  AttentionBody &body;
  SmallVector<Term> sequences, positions; // [count / 32], of tokens lane, lane + 32, ...
};

/// Largest logit, not scaled, and this thread's sum of weights, of rows q and q + 8.
struct AttentionSums {
  Term largest[2], total[2];
};

/// Whether some token does not see all of the columns from `first` on.
Term isPartial(const AttentionPass &pass, const Term &first, int64_t columns);

/// The weights of a tile's logits, of columns (rows of the cache) from `first` on; what was added up before counts `factors` times.
SmallVector<Term> weigh(AttentionBody &body, const AttentionPass &pass, const Term &first,
                        ArrayRef<Term> logits, AttentionSums &sums, Term (&factors)[2]);

/// Writes the weighted values of the rows of a pass, divided by the sums of weights.
void writeRows(AttentionBody &body, const AttentionPass &pass, const Term &firstToken,
               const Term &head, const Term &warp, const AttentionSums &sums,
               ArrayRef<Term> weighted);

/// Computes a pass of the tile of `count` tokens from `firstToken` on row by row, where the products cannot be used. `shared` is from
/// `reserveAttentionRow`.
void redoRows(AttentionBody &body, const AttentionRowPlan &rowPlan, const AttentionPass &pass,
              const Term &firstToken, int64_t count, const Term &head, int64_t shared);

/// What is remembered of the 16-bit words of operands, which are `or`ed.
struct AttentionMarks {
  Term notFinite; // see markNotFinite
  Term all;       // the words
};

/// Eight elements as words: [parts][4]; see `splitPair`.
SmallVector<SmallVector<Term>> splitEight(GpuEmitter &e, tile::Half half, int64_t parts,
                                          ArrayRef<Term> values, AttentionMarks &marks);

/// Whether the products of a pass are not to be used; `marks.all` is of the values. What is not finite would spread over a tile, as what a row does not see is
/// multiplied by 0. And two parts of f16 have an error of 2^-25 where an element is small: some of the values are to be 2^-7 or more, if not all are 0.
Term isUnfit(GpuEmitter &e, int64_t parts, const AttentionMarks &marks);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_ATTENTIONPASS_H
