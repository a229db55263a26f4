// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of products on tokens in bucket order share.
//
// Both ops are y = a w^T, with a [tokens, depth] and w [columns, depth]. Groups cut the depth (bucket_spmm), of which a tile of rows walks its own groups, or
// the columns (bucket_sddmm), of which a tile of rows and columns is left out if no row has its groups.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_PRODUCTS_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_PRODUCTS_H

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include <functional>

namespace mlir::mohd {

/// The groups that a tile of rows has.
struct GroupList {
  Term count; // of them, i32
  std::function<Term(Term)>
      at; // the group at a place: theirs in ascending order, then, if asked for, the others
};

/// A column of the result, and its group where groups are of columns.
struct ColumnPlace {
  Term column, group; // i32
};

/// A row of the result that a thread writes.
struct ResultRow {
  Term isThere;          // i1: the call has it; if not, the rest is of the last row
  Term row, target;      // in `input` and `gate`; in the result and `residual`
  SmallVector<Term> has; // bits of the groups that its token has, where groups are of columns
};

/// Pairs of columns of a row that a thread has: eight columns for each four threads side by side, of which thread r mod 4 has 2 r and 2 r + 1.
struct EightColumns {
  ColumnPlace first;
  Term low, high;
};

class Product {
public:
  Product(GpuKernelSet &kernels, BucketSpmmOp op);
  Product(GpuKernelSet &kernels, BucketSddmmOp op);

  GpuKernelSet &kernels;
  Value input, weight, result;
  Value scales, order, masks, gate, residual, routing; // null where there is none
  bool groupsAreColumns;
  bool scatters; // row r of y is row order[r] of the result
  int64_t columns, depth;
  // What is walked of the depth, or looked at of the columns: `numGroups` groups of `groupSize`. Without masks they are one that all tokens have.
  int64_t numGroups, groupSize, numCommon;
  int64_t rows; // of a tile of masks
  /// The weight is in the kernels' scratch memory, in the input's type (addExpansion).
  bool isExpanded = false;

  GpuEmitter &e() const { return kernels.e(); }
  bool hasMasks() const { return bool(masks); }
  /// Elements are of 16 bits, and rows of `input` and `weight` and groups of the depth are made of pieces of 16 bytes.
  bool hasPieces() const;
  /// The weight is of int8 values, inputs are of 16 bits, and rows of `input` and `weight` and groups of the depth are made of pieces of 8 bytes of the weight.
  bool hasBytes() const;
  /// Rows of `input` and `weight`, and groups of the depth, are made of four values that are read in one access.
  bool hasQuarters() const;
  /// Eight columns of the result that begin at a multiple of eight are of one group and one access.
  bool hasEights() const;
  tile::Half getHalf() const;
  /// Columns of a token that are not zero.
  int64_t getWorkingColumns() const;
  /// Of the weight.
  Type getElement() const { return getElementTypeOrSelf(isExpanded ? input : weight); }
  int64_t getWeightBinding() const;
  /// A sum has one scale; else each group's part of it has its own.
  bool scalesSums() const { return scales && (groupsAreColumns || numGroups == 1); }
  bool scalesGroups() const { return scales && !scalesSums(); }
  /// The product of the expanded weight.
  Product expand() const;

  //===--------------------------------------------------------------------===//
  // Inside of a body
  //===--------------------------------------------------------------------===//

  /// The groups of rows [row, row + height) as bits of words; `row` is a multiple of `height`, a power of two.
  SmallVector<Term> loadMask(const Term &row, int64_t height) const;
  /// Whether a mask has a group.
  static Term hasGroup(ArrayRef<Term> mask, const Term &group);
  /// Shared memory for lists of groups, one for each warp.
  int64_t reserveLists(int64_t numWarps) const;
  /// The groups of `mask`, and with groups of columns the others, as this warp's list there; all threads of the warp do it together.
  GroupList listGroups(ArrayRef<Term> mask, int64_t place) const;
  /// How much of the depth the groups have, and the element of it that is number `index` of that.
  Term walkedDepth(const GroupList &list) const;
  Term depthAt(const GroupList &list, const Term &index) const;
  /// Column number `position`, where those of the list's groups come first; there is none from `columns` on, which is returned as it is.
  ColumnPlace columnAt(const GroupList &list, const Term &position) const;
  /// How much of the depth a tile of columns walks whose first is number `position`: all, or nothing if its groups are not of the list.
  Term depthOfTile(const GroupList &list, const Term &position) const;

  /// The list's group that number `index` of the walked depth is of.
  Term groupAt(const GroupList &list, const Term &index) const;
  /// The scale of a column of the result, with scalesGroups() of its part of a group.
  Term loadScale(const Term &group, const Term &column) const;

  /// The place of an element of a row of `input`, or of a column of `weight`.
  Value inputAt(const Term &row, const Term &index) const;
  Value weightAt(const Term &column, const Term &index) const;

  ResultRow findRow(const Term &row) const;
  /// Writes one element, if it is there: zero where the row lacks the group, with the gate or the residual.
  void write(const ResultRow &row, const ColumnPlace &place, const Term &sum) const;
  /// The same for four times eight columns; all threads of the warp do it together. Needs hasEights().
  void write(const ResultRow &row, ArrayRef<EightColumns> eights) const;

private:
  Product(GpuKernelSet &kernels, Value input, Value weight, Value result, int64_t rows);

  void mergeGroups();
  SmallVector<Term> finish(const ResultRow &row, const Term &group, ArrayRef<Term> sums,
                           ArrayRef<Term> gates, ArrayRef<Term> residuals) const;
  SmallVector<Term> loadEights(Value tensor, const Term &row, ArrayRef<Term> starts,
                               const Term &own) const;
  int64_t commonBits(int64_t word) const;
  int64_t getNumWords() const;
};

/// `blocks` blocks for each `height` rows.
std::string gridOf(StringRef tokens, int64_t height, int64_t blocks);
/// A kernel for each of the tiles that some number of tokens is best cut into (TileChoice.h): add(tile, condition), with that as a factor of `condition`.
void addTiles(const Product &product, ArrayRef<GpuTile> candidates, StringRef condition,
              llvm::function_ref<void(const GpuTile &, StringRef)> add);

/// Columns of a block for few tokens, which are the rows of `mma`, and its warps: with 16 a thread of a fused launch has too few registers.
inline constexpr int64_t kFewColumns = 16, kFewWarps = 8;
/// The column of the result whose weights this thread reads of a block's columns from position `column` on: of its first eight (half 0), or of the others.
Term findFewLine(const Product &product, const GroupList &list, const Term &column, int64_t half);
/// Words of the weight that are read once.
SmallVector<Term> loadFewWeights(const Product &product, Value from, int64_t words);
/// Adds up the warps' sums of columns from position `column` on and of tokens 0..7, and 8..15 if there are two, and writes them; a thread finishes one element.
void finishFew(const Product &product, const GroupList &list, const Term &column,
               ArrayRef<Term> sums);

//===----------------------------------------------------------------------===//
// Kernels, from the most general to the fastest
//===----------------------------------------------------------------------===//

/// Any types and sizes. `condition` is a factor of the grid.
void addScalarProduct(Product &product, StringRef condition);
/// Up to kFewTokens tokens; needs hasPieces().
void addFewProduct(Product &product);
/// The same; needs hasBytes().
void addBytesProduct(Product &product);
/// The same for other types; needs hasQuarters().
void addDotProduct(Product &product);
/// Writes the dequantised weight, in the input's type, for product.expand(); needs hasBytes() and a scratch of getExpansionSize() f32.
void addExpansion(Product &product, StringRef condition);
int64_t getExpansionSize(const Product &product);
/// With `mma`; needs hasPieces() and hasEights().
void addMmaProduct(Product &product, StringRef condition);
/// With `wgmma`; needs the same and canUseWgmma().
bool canUseWgmma(const Product &product);
void addWgmmaProduct(Product &product, StringRef condition);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_PRODUCTS_H
