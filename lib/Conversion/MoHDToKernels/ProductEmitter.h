// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of tiled products share: the weight, the blocks, what is widened and what is prefetched.
#ifndef MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTEMITTER_H
#define MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTEMITTER_H

#include "ProductTile.h"

#include "llvm/Support/MathExtras.h"

namespace mlir::mohd {

/// Steps of 8- or 16-bit weights that are widened at a time: with 32 columns 32 KiB.
constexpr int64_t kWidenedSteps = 256;
/// Tiles of up to so many tokens for each byte of a weight's element wait for memory, not for sums. They ask for nothing: of one stream after the other
/// the core asks for enough itself, and better.
constexpr int64_t kRowsOfByte = 2;
/// One step a step, as the rate of a prefetch.
constexpr int64_t kRate = 1 << 16;

/// Steps of a panel of `weight` that one cache line holds.
int64_t getStepsOfLine(RankedTensorType weight);

/// Column tiles of a group's weight.
inline int64_t getColumnTiles(int64_t numPanels, int64_t panelsOfTile) {
  return llvm::divideCeil(numPanels, panelsOfTile);
}

/// What the two kernels share: the weight, the blocks and the lists of tokens.
class ProductEmitter {
public:
  /// `operands` are the buffers of the op's operands.
  template <typename TiledOp>
  ProductEmitter(KernelEmitter &e, TiledOp op, ValueRange operands)
      : e(e), b(e.b), wide(e, int64_t(op.getRows()), int64_t(op.getPanels()),
                           op.getWeight().getType().getDimSize(3)),
        numGroups(op.getWeight().getType().getDimSize(0)),
        numPanels(op.getWeight().getType().getDimSize(1)),
        depth(op.getWeight().getType().getDimSize(2)), numCommon(op.getNumCommon()),
        numChosen(op.getNumChosen()), block(op.getBlock()), few(op.getFew()), weight(operands[1]),
        scales(getBuffer(op, op.getScales(), operands)),
        table(getBuffer(op, op.getTable(), operands)),
        residual(getBuffer(op, op.getResidual(), operands)),
        stepsOfLine(getStepsOfLine(op.getWeight().getType())) {}

protected:
  /// The buffer of an operand of `op`, null if that is not given.
  static Value getBuffer(Operation *op, Value operand, ValueRange buffers) {
    return operand ? buffers[llvm::find(op->getOperands(), operand) - op->operand_begin()]
                   : Value();
  }
  int64_t numColumnTiles() const { return getColumnTiles(numPanels, tile->numPanels); }
  bool isNarrow() const { return !cast<MemRefType>(weight.getType()).getElementType().isF32(); }

  void forBlocks(int64_t tasksOfBlock, llvm::function_ref<void(Value lower, Value upper)> body);
  /// The element of row `row` of a tile of `rows` packed tokens, whose steps begin at `from`.
  Value loadToken(Value packed, Value from, int64_t rows, int64_t row, Value step) {
    return e.loadScalar(packed, e.add(e.add(from, e.mul(step, e.index(rows))), e.index(row)));
  }
  Value panelOf(Value columnTile, int64_t vector) const;
  Value loadWeight(Value group, Value columnTile, int64_t vector, Value step);
  ProductTile::Scale getScale(Value firstGroup, Value columnTile);
  void prefetchScales(Value group, Value columnTile);
  /// What to prefetch while a tile is computed: at a step of it, step (start + step) * rate of some panels, the rate in 1/65536.
  struct Ahead {
    Value group, panel; // the first panel
    Value start, rate;  // steps of the contraction
    int64_t numPanels;  // from `panel` on; 0 for nothing
  };
  Ahead lookAhead(Value group, Value columnTile) const;
  /// Steps of a column tile, and whole column tiles, that take at least kBytesAhead.
  int64_t stepsAhead() const;
  bool areLong() const { return depth >= 2 * stepsAhead(); } // panels
  int64_t tilesAhead() const { return llvm::divideCeil(stepsAhead(), std::max<int64_t>(depth, 1)); }
  /// Piece `piece` of `numPieces` that `numTiles` tiles ask for together, and what share of its `numSteps` steps tile `number` has.
  struct Share {
    Value piece, start, rate;
  };
  Share shareOut(Value numPieces, Value numTiles, Value number, Value numSteps);
  void prefetchAhead(const Ahead &ahead, Value firstStep, Value step);
  /// Tokens of a tile that waits for memory, at most.
  int64_t mostFewRows() const {
    return kRowsOfByte * cast<MemRefType>(weight.getType()).getElementTypeBitWidth() / 8;
  }
  Value compare(arith::CmpIPredicate predicate, Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, predicate, lhs, rhs);
  }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
  void widenPanels(Value group, Value columnTile, Value firstStep, Value numSteps);
  Value loadWidened(int64_t vector, Value step) {
    return e.load(widened, {step, e.index(vector * tile->vectorWidth)}, tile->vectorWidth);
  }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const ProductTile wide;
  const ProductTile *tile = &wide; // that code is made for
  const int64_t numGroups, numPanels, depth, numCommon, numChosen, block, few;
  const Value weight, scales, table, residual; // all but the weight may be null
  const int64_t stepsOfLine;
  Value widened;          // [kWidenedSteps, columns of a tile], null if not needed
  Value first, blockSize; // of the block: its first token, its number of tokens
};

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOKERNELS_PRODUCTEMITTER_H
