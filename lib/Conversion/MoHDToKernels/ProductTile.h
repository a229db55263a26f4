// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The micro-kernel of matrix products: a tile of a few tokens by a few panels of a weight, in registers.
#ifndef MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTTILE_H
#define MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTTILE_H

#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include <functional>

namespace mlir::mohd {

/// A cut of `size` things into `count` pieces of nearly equal size: the first ones have one more than the others.
class EvenCut {
public:
  EvenCut(KernelEmitter &e, Value size, Value count);

  const Value count;
  /// Where piece `i` begins; of `count`, the end of the last one.
  Value start(KernelEmitter &e, Value i) const;

private:
  Value quotient, rest;
};

/// The blocks of a call's tokens (TiledOps.td).
EvenCut cutBlocks(KernelEmitter &e, int64_t block);
/// The tiles of a list of tokens.
EvenCut cutTiles(KernelEmitter &e, Value numTokens, int64_t rows);

/// The table of `mohd.group_tokens`, for one block.
class TableView {
public:
  /// `table` is a memref [tokens, columns]; the block's first token is `firstToken`.
  TableView(KernelEmitter &e, Value table, int64_t numOffsets, int64_t numChosen, Value firstToken);

  /// Where the entries of chosen group `group` (counted from 0) begin; `group` may be one past the last.
  Value offset(Value group) const { return load(group); }
  /// The token, counted from the block's start, of entry `i`.
  Value token(Value i) const { return e.div(entry(i), numChosen); }
  /// The chosen slot of entry `i`.
  Value slot(Value i) const { return e.rem(entry(i), numChosen); }

  /// Where offsets and entries lie in the table's memory, for the kernel that writes it.
  Value offsetPlace(Value group) const { return e.add(base, group); }
  Value entryPlace(Value i) const { return e.add(base, e.add(i, e.index(numOffsets))); }
  Value flat; // memref<?xi32>

private:
  Value entry(Value i) const { return e.loadIndex(flat, entryPlace(i)); }
  Value load(Value group) const { return e.loadIndex(flat, offsetPlace(group)); }

  KernelEmitter &e;
  int64_t numOffsets, numChosen;
  Value base;
};

/// Multiplies tiles. All of a tile's tokens take part in each step, and a token's sum does not depend on the others', except that tiles
/// of few tokens add up in several chains.
class ProductTile {
public:
  /// Tiles of at most `maxRows` tokens by `numPanels` panels of `panelWidth` columns (a power of two).
  ProductTile(KernelEmitter &e, int64_t maxRows, int64_t numPanels, int64_t panelWidth);

  /// Vectors that a row of the tile takes, and the columns of one.
  int64_t numVectors() const { return numPanels * panelWidth / vectorWidth; }
  int64_t columns() const { return numPanels * panelWidth; }
  const int64_t vectorWidth, maxRows, numPanels, panelWidth;

  /// What a tile reads. `step` runs over [0, depth).
  struct Operands {
    /// The f32 element of row `row` (a number below the tile's rows) at `step`.
    std::function<Value(int64_t row, Value step)> left;
    /// The vector (f32) number `vector` of the weights at `step`.
    std::function<Value(int64_t vector, Value step)> right;
    /// Called to prefetch, at least once in `aheadSteps` steps.
    std::function<void(Value step)> ahead;
    /// Steps whose weights one cache line holds.
    int64_t aheadSteps = 1;
  };

  /// Calls body(rows) for the case that `numRows` (index, 1..maxRows) has: one region for each.
  void forRows(Value numRows, llvm::function_ref<void(int64_t rows)> body) const;

  /// The vector (f32) that the sums of vector number `vector` are multiplied by, after all steps of an `outer`.
  using Scale = std::function<Value(Value outer, int64_t vector)>;

  /// Sums of `rows` x numVectors() over steps [0, depth) for each `outer` in [0, numOuter), the operands made by `operands(outer)`,
  /// scaled if `scale` is given. Returns them row by row.
  SmallVector<Value> multiply(int64_t rows, Value numOuter, Value depth,
                              llvm::function_ref<Operands(Value outer)> operands,
                              const Scale &scale = {}) const;

private:
  /// Chains of additions in which a tile of `rows` rows adds up.
  int64_t numChains(int64_t rows) const;
  /// Adds up `chains` sets of sums.
  SmallVector<Value> joinChains(SmallVector<Value> sums, int64_t chains) const;
  void addStep(MutableArrayRef<Value> sums, int64_t rows, Value step,
               const Operands &operands) const;

  KernelEmitter &e;
};

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTTILE_H
