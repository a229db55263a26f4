// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of mohd.bucket_weight_gradient share: a matrix product whose contraction is over tokens in bucket order.
//
// Of w [G, P, C] a product has rows and columns: i * P + p for all groups i together and c, or, if it is local, p and c of one group. Columns are what lies
// side by side in the result. A block has a tile of them, and adds up steps of tokens of whose tiles at least one has a group of its own.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_WEIGHTGRADIENT_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_WEIGHTGRADIENT_H

#include "Launches.h"

#include <optional>

namespace mlir::mohd {

/// Tokens of a step.
inline constexpr int64_t kGradientStep = 32;

/// One side of the product: columns of a tensor [tokens, width].
struct GradientSide {
  Value tensor;
  bool isGrouped;
  int64_t extent; // rows or columns of a product
  int64_t tile = 0;

  int64_t getNumTiles() const { return llvm::divideCeil(extent, tile); }
  Type getElement() const { return getElementTypeOrSelf(tensor); }
};

/// How far a block has come in the list of its steps.
struct StepState {
  Term first, word; // i32: the first of 32 steps, and the bits of those that are left
};

class WeightGradient {
public:
  /// For tiles of `tileRows` and `tileColumns` at most.
  WeightGradient(GpuKernelSet &kernels, BucketWeightGradientOp op, int64_t tileRows,
                 int64_t tileColumns);

  GpuKernelSet &kernels;
  GradientSide rows, columns;
  int64_t numProducts; // G if it is local, else 1

  int64_t getNumTiles() const { return numProducts * rows.getNumTiles() * columns.getNumTiles(); }
  /// Both sides are of one type of 16 bits, and made of pieces of 16 bytes.
  bool hasPieces() const;
  /// Two columns that begin at a multiple of two are one access of the result.
  bool hasPairs() const;

  /// Whether rows of a step may lack groups of a tile: what is zero of the grouped side then adds nothing, even where the other side is not finite.
  bool skipsZeros() const { return !isLocal && numCommon < numGroups; }

  /// Makes a kernel of `threads` threads, each of whose blocks has a tile, and what adds up the blocks' parts of the tokens. `body` writes what findTile()
  /// has found.
  void add(StringRef suffix, int64_t threads, llvm::function_ref<void()> body);

  //===--------------------------------------------------------------------===//
  // Inside of a body
  //===--------------------------------------------------------------------===//

  GpuEmitter &e() const { return kernels.e(); }
  Term firstRow, firstColumn; // of the tile

  /// How many steps the block adds up, and where the list of them begins; all threads of a warp do it together.
  Term countSteps();
  StepState firstState() { return {e().i32(-32), e().i32(0)}; }
  /// The first token of the next step, of which there is one, and the state behind it; all threads of a warp do it together.
  Term nextStep(StepState &state);
  /// The column of a side's tensor that number `index` of its extent is.
  Term sourceOf(const GradientSide &side, const Term &index) const;
  /// A sum and the product of a row's and a column's element of a token.
  Term addProduct(const Term &row, const Term &column, const Term &sum) const;
  /// Writes sums of columns side by side, one or, with hasPairs(), two, if they are there.
  void write(const Term &row, const Term &column, ArrayRef<Term> sums);

private:
  void findTile();
  Term isActive(const Term &number);
  Term countAll() { return ceilDiv(kernels.numTokens(), kGradientStep); }

  BucketWeightGradientOp op;
  const bool isLocal;
  int64_t numGroups, groupRows, numCommon;      // G, P; groups that all tokens have
  int64_t groupStride, rowStride, columnStride; // of w in the result
  std::optional<TokenSplit> split;
  Term product, part;         // of the block
  Term firstGroup, lastGroup; // of the tile
};

/// With `mma`; needs hasPieces().
void addMmaWeightGradient(GpuKernelSet &kernels, BucketWeightGradientOp op);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_WEIGHTGRADIENT_H
