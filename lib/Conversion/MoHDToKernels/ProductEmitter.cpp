// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of tiled products: mohd.tiled_spmm and mohd.tiled_sddmm.
//
// A task is a tile of columns for a block of tokens; the tasks of a block follow each other. Within a block the tokens of a list (all of them for common groups,
// those that chose it for a chosen group) are cut into tiles of a few tokens each, and every tile meets the same panels of the weight while these are in the cache:
// the first tile asks for the panels that come next. 8- and 16-bit panels that several tiles meet are widened once into a buffer. Of int8
// weights the sums are scaled, group by group, not the values.
//
// spmm keeps the sums of a few column tiles for all tokens of the block in a buffer, adds the groups' parts there, and stores them at the end: few
// tokens take all panels of the task range at once, in tiles of one panel, so that a group's weights are read from front to back: of two panels side
// by side a Zen 4 core reads as little as half as many bytes a second. sddmm takes `depth` columns of
// the contraction at a time for all tasks of its range, so that the block's tokens stay in the cache.
#include "ProductEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// How many bytes ahead of their use a tile of few tokens asks for its weights: behind the end of a panel the next one begins.
static constexpr int64_t kBytesAhead = 8192;

int64_t mlir::mohd::getStepsOfLine(RankedTensorType weight) {
  int64_t bytes = weight.getDimSize(3) * weight.getElementTypeBitWidth() / 8;
  return std::max<int64_t>(64 / std::max<int64_t>(bytes, 1), 1);
}

/// For each block that tasks [begin, end) touch: body(first, last) of its tasks, counted from the block's first one.
void ProductEmitter::forBlocks(int64_t tasksOfBlock, llvm::function_ref<void(Value, Value)> body) {
  EvenCut blocks = cutBlocks(e, block);
  e.loop(e.div(e.begin, tasksOfBlock), e.ceilDiv(e.end, tasksOfBlock), 1, [&](Value number) {
    first = blocks.start(e, number);
    blockSize = e.sub(blocks.start(e, e.add(number, e.index(1))), first);
    Value before = e.mul(number, e.index(tasksOfBlock));
    Value lower = e.sub(e.max(e.begin, before), before);
    body(lower, e.sub(e.min(e.end, e.add(before, e.index(tasksOfBlock))), before));
  });
}

/// The panel of a column tile's vector. The last tile may have too few panels: it reads the last one again.
Value ProductEmitter::panelOf(Value columnTile, int64_t vector) const {
  int64_t inTile = vector * tile->vectorWidth / tile->panelWidth;
  Value panel = e.add(e.mul(columnTile, e.index(tile->numPanels)), e.index(inTile));
  return numPanels % tile->numPanels == 0 ? panel : e.min(panel, e.index(numPanels - 1));
}

Value ProductEmitter::loadWeight(Value group, Value columnTile, int64_t vector, Value step) {
  Value column = e.index(vector * tile->vectorWidth % tile->panelWidth);
  return e.load(weight, {group, panelOf(columnTile, vector), step, column}, tile->vectorWidth);
}

/// The scales of a column tile for groups counted from `firstGroup`; none if the weight is not quantised.
ProductTile::Scale ProductEmitter::getScale(Value firstGroup, Value columnTile) {
  if (!scales)
    return {};
  return [this, firstGroup, columnTile](Value outer, int64_t vector) {
    Value column = e.index(vector * tile->vectorWidth % tile->panelWidth);
    return e.load(scales, {e.add(firstGroup, outer), panelOf(columnTile, vector), column},
                  tile->vectorWidth);
  };
}

/// Asks for the scales of the column tile after `columnTile`.
void ProductEmitter::prefetchScales(Value group, Value columnTile) {
  if (!scales)
    return;
  Value next = e.min(e.add(columnTile, e.index(1)), e.index(numColumnTiles() - 1));
  e.prefetch(scales, {group, e.mul(next, e.index(tile->numPanels)), e.index(0)});
}

int64_t ProductEmitter::stepsAhead() const {
  auto type = cast<MemRefType>(weight.getType());
  return llvm::divideCeil(kBytesAhead * 8, tile->columns() * type.getElementTypeBitWidth());
}

/// What a tile of few tokens, which reads the panels of a column tile alone, asks for: what it needs itself some steps later or, if panels are short, a later column tile.
ProductEmitter::Ahead ProductEmitter::lookAhead(Value group, Value columnTile) const {
  bool isLong = areLong();
  Value at = isLong
                 ? columnTile
                 : e.min(e.add(columnTile, e.index(tilesAhead())), e.index(numColumnTiles() - 1));
  return {group, e.mul(at, e.index(tile->numPanels)), e.index(isLong ? stepsAhead() : 0),
          e.index(kRate), tile->numPanels};
}

ProductEmitter::Share ProductEmitter::shareOut(Value numPieces, Value numTiles, Value number,
                                               Value numSteps) {
  auto ceilDiv = [&](Value lhs, Value rhs) -> Value {
    return b.createOrFold<arith::CeilDivUIOp>(lhs, rhs);
  };
  Value piece = b.createOrFold<arith::DivUIOp>(e.mul(number, numPieces), numTiles);
  Value firstTile = ceilDiv(e.mul(piece, numTiles), numPieces);
  Value endTile = ceilDiv(e.mul(e.add(piece, e.index(1)), numTiles), numPieces);
  Value count = e.max(e.sub(endTile, firstTile), e.index(1));
  return {piece, e.mul(e.sub(number, firstTile), numSteps), ceilDiv(e.index(kRate), count)};
}

/// Asks for what `ahead` says at a step.
void ProductEmitter::prefetchAhead(const Ahead &ahead, Value firstStep, Value step) {
  if (ahead.numPanels == 0)
    return;
  Value scaled = e.mul(e.add(ahead.start, step), ahead.rate);
  Value at = e.add(firstStep, arith::DivUIOp::create(b, scaled, e.index(kRate)));
  for (int64_t panel = 0; panel < ahead.numPanels; ++panel)
    e.prefetch(weight, {ahead.group, e.add(ahead.panel, e.index(panel)), at, e.index(0)});
}

/// Widens steps [firstStep, +numSteps) of a column tile's panels into `widened`.
void ProductEmitter::widenPanels(Value group, Value columnTile, Value firstStep, Value numSteps) {
  e.loop(e.index(0), numSteps, 1, [&](Value step) {
    for (int64_t vector = 0; vector < tile->numVectors(); ++vector)
      e.store(loadWeight(group, columnTile, vector, e.add(firstStep, step)), widened,
              {step, e.index(vector * tile->vectorWidth)});
  });
}
