// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of tiled products: mohd.tiled_spmm and mohd.tiled_sddmm.
//
// A task is a tile of columns for a block of tokens; the tasks of a block follow each other. Within a block the tokens of a list (all of them for common groups,
// those that chose it for a chosen group) are cut into tiles of a few tokens each, and every tile meets the same panels of the weight while these are in the cache:
// the first tile asks for the panels that come next. 8- and 16-bit panels that several tiles meet are widened once into a buffer. Of int8
// weights the sums are scaled, group by group, not the values.
//
// spmm keeps the sums of a few column tiles for all tokens of the block in a buffer, adds the groups' parts there, and stores them at the end: few
// tokens take all column tiles of the task range at once, so that a group's weights are read from front to back. sddmm takes `depth` columns of
// the contraction at a time for all tasks of its range, so that the block's tokens stay in the cache.
#include "ProductTile.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// f32 sums that spmm keeps in its buffer, 128 KiB: a part of the second-level cache.
static constexpr int64_t kSums = 32768;
/// Steps of 8- or 16-bit weights that are widened at a time: with 32 columns 32 KiB.
static constexpr int64_t kWidenedSteps = 256;
/// How many steps ahead of its use a weight of a long panel is asked for: behind the end of a panel the next one begins.
static constexpr int64_t kStepsAhead = 128;
/// One step a step, as the rate of a prefetch.
static constexpr int64_t kRate = 1 << 16;

/// Steps of a panel of `weight` that one cache line holds.
static int64_t getStepsOfLine(RankedTensorType weight) {
  int64_t bytes = weight.getDimSize(3) * weight.getElementTypeBitWidth() / 8;
  return std::max<int64_t>(64 / std::max<int64_t>(bytes, 1), 1);
}

/// Column tiles of a group's weight.
static int64_t getColumnTiles(int64_t numPanels, int64_t panelsOfTile) {
  return llvm::divideCeil(numPanels, panelsOfTile);
}

namespace {

/// What the two kernels share: the weight, the blocks and the lists of tokens.
class ProductEmitter {
public:
  /// `operands` are the buffers of the op's operands.
  template <typename TiledOp>
  ProductEmitter(KernelEmitter &e, TiledOp op, ValueRange operands)
      : e(e), b(e.b), tile(e, int64_t(op.getRows()), int64_t(op.getPanels()),
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
  int64_t numColumnTiles() const { return getColumnTiles(numPanels, tile.numPanels); }
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
    int64_t numPanels;  // from `panel` on
  };
  Ahead lookAhead(Value group, Value columnTile) const;
  /// Piece `piece` of `numPieces` that `numTiles` tiles ask for together, and what share of its `numSteps` steps tile `number` has.
  struct Share {
    Value piece, start, rate;
  };
  Share shareOut(Value numPieces, Value numTiles, Value number, Value numSteps);
  void prefetchAhead(const Ahead &ahead, Value firstStep, Value step);
  Value compare(arith::CmpIPredicate predicate, Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, predicate, lhs, rhs);
  }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
  void widenPanels(Value group, Value columnTile, Value firstStep, Value numSteps);
  Value loadWidened(int64_t vector, Value step) {
    return e.load(widened, {step, e.index(vector * tile.vectorWidth)}, tile.vectorWidth);
  }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  ProductTile tile;
  const int64_t numGroups, numPanels, depth, numCommon, numChosen, block, few;
  const Value weight, scales, table, residual; // all but the weight may be null
  const int64_t stepsOfLine;
  Value widened;          // [kWidenedSteps, columns of a tile], null if not needed
  Value first, blockSize; // of the block: its first token, its number of tokens
};

} // namespace

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
  int64_t inTile = vector * tile.vectorWidth / tile.panelWidth;
  Value panel = e.add(e.mul(columnTile, e.index(tile.numPanels)), e.index(inTile));
  return numPanels % tile.numPanels == 0 ? panel : e.min(panel, e.index(numPanels - 1));
}

Value ProductEmitter::loadWeight(Value group, Value columnTile, int64_t vector, Value step) {
  Value column = e.index(vector * tile.vectorWidth % tile.panelWidth);
  return e.load(weight, {group, panelOf(columnTile, vector), step, column}, tile.vectorWidth);
}

/// The scales of a column tile for groups counted from `firstGroup`; none if the weight is not quantised.
ProductTile::Scale ProductEmitter::getScale(Value firstGroup, Value columnTile) {
  if (!scales)
    return {};
  return [this, firstGroup, columnTile](Value outer, int64_t vector) {
    Value column = e.index(vector * tile.vectorWidth % tile.panelWidth);
    return e.load(scales, {e.add(firstGroup, outer), panelOf(columnTile, vector), column},
                  tile.vectorWidth);
  };
}

/// Asks for the scales of the column tile after `columnTile`.
void ProductEmitter::prefetchScales(Value group, Value columnTile) {
  if (!scales)
    return;
  Value next = e.min(e.add(columnTile, e.index(1)), e.index(numColumnTiles() - 1));
  e.prefetch(scales, {group, e.mul(next, e.index(tile.numPanels)), e.index(0)});
}

/// What a tile of few tokens, which reads the panels of a column tile alone, asks for: what it needs itself some steps later or, if panels are short, the next column tile.
ProductEmitter::Ahead ProductEmitter::lookAhead(Value group, Value columnTile) const {
  bool isLong = depth >= 2 * kStepsAhead;
  Value at =
      isLong ? columnTile : e.min(e.add(columnTile, e.index(1)), e.index(numColumnTiles() - 1));
  return {group, e.mul(at, e.index(tile.numPanels)), e.index(isLong ? kStepsAhead : 0),
          e.index(kRate), tile.numPanels};
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
  Value scaled = e.mul(e.add(ahead.start, step), ahead.rate);
  Value at = e.add(firstStep, arith::DivUIOp::create(b, scaled, e.index(kRate)));
  for (int64_t panel = 0; panel < ahead.numPanels; ++panel)
    e.prefetch(weight, {ahead.group, e.add(ahead.panel, e.index(panel)), at, e.index(0)});
}

/// Widens steps [firstStep, +numSteps) of a column tile's panels into `widened`.
void ProductEmitter::widenPanels(Value group, Value columnTile, Value firstStep, Value numSteps) {
  e.loop(e.index(0), numSteps, 1, [&](Value step) {
    for (int64_t vector = 0; vector < tile.numVectors(); ++vector)
      e.store(loadWeight(group, columnTile, vector, e.add(firstStep, step)), widened,
              {step, e.index(vector * tile.vectorWidth)});
  });
}

//===----------------------------------------------------------------------===//
// mohd.tiled_spmm
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfTiledSpmm(TiledSpmmOp op, StringRef tokens) {
  return KernelEmitter::gridOf(
      getColumnTiles(op.getWeight().getType().getDimSize(1), op.getPanels()), op.getBlock(),
      tokens);
}

namespace {

/// The tiles of a block are listed once; every column tile then walks the lists.
///
/// An item is a list of tokens with the groups that they have: all common groups, or one of the others. A unit is a tile with one group.
class SpmmEmitter : ProductEmitter {
public:
  SpmmEmitter(KernelEmitter &e, TiledSpmmOp op, ValueRange operands, Value result);
  void emit();

private:
  struct Item {
    Value firstGroup, numGroups;
    Value firstPlace, numPlaces; // of its tokens in `places`
    Value packed, width;         // in `tokens`: its first element, and the columns of a token
  };

  int64_t numCommonItems() const { return numCommon > 0 ? 1 : 0; }
  int64_t numItems() const {
    return numCommonItems() + (numChosen > 0 ? numGroups - numCommon : 0);
  }
  Value ifCommon(Value item, Value yes, Value no);
  Item getItem(Value number);
  void listBlock();
  void listPlaces();
  void listAhead();
  void addItem(Value number);
  void addWidened(const Item &item, const EvenCut &tiles, Value firstUnit);
  void addTile(const Item &item, const EvenCut &tiles, Value number, Value columnTile, Value group,
               Value chain, Value unit);
  void addToSums(int64_t rows, ValueRange sum, Value columnTile, Value firstPlace);
  Ahead lookAhead(Value group, Value columnTile, Value unit);
  void storeSums();
  Value sumPlace(Value columnTile, Value token) {
    return e.mul(e.add(e.mul(columnTile, blockSize), token), e.index(tile.columns()));
  }

  const int64_t columns, capacity;
  const Value tokens, gate, result;
  const Value sums; // [column tile of the chunk, token of the block, column of the tile], f32
  Value firstUnits, firstPlaces;        // [items + 1] i32
  Value places;                         // i32: tokens, counted from the block's start
  Value active, aheadGroup, aheadStart; // i32: groups that some token has; what units prefetch
  Value numActive, numUnits, aheadRate;
  Value isFew;                 // whether the block has few tokens
  Value chunkStart, chunkSize; // column tiles
};

} // namespace

SpmmEmitter::SpmmEmitter(KernelEmitter &e, TiledSpmmOp op, ValueRange operands, Value result)
    : ProductEmitter(e, op, operands), columns(op.getResult().getType().getDimSize(1)),
      capacity(std::max(kSums, block * tile.columns())), tokens(e.flatten(operands[0])),
      gate(getBuffer(op, op.getGate(), operands)), result(result), sums(e.array({capacity})) {
  auto list = [&](int64_t size) { return e.array({size}, b.getI32Type()); };
  int64_t numTiles = llvm::divideCeil(block, tile.maxRows) * numCommon;
  if (numChosen > 0)
    numTiles += numGroups - numCommon + block * numChosen / tile.maxRows;
  firstUnits = list(numItems() + 1);
  firstPlaces = list(numItems() + 1);
  places = list(block * (numChosen + numCommonItems()));
  active = list(numGroups);
  aheadGroup = list(numTiles);
  aheadStart = list(numTiles);
  if (isNarrow())
    widened = e.array({kWidenedSteps, tile.columns()});
}

void SpmmEmitter::emit() {
  forBlocks(numColumnTiles(), [&](Value lower, Value upper) {
    listBlock();
    // Few tokens: as many column tiles as the buffer has room for, so that a group's weights are read from front to back.
    Value room = b.createOrFold<arith::DivUIOp>(e.index(capacity),
                                                e.mul(blockSize, e.index(tile.columns())));
    Value step = select(isFew, room, e.index(1));
    e.loop(lower, upper, step, [&](Value columnTile) {
      chunkStart = columnTile;
      chunkSize = e.min(step, e.sub(upper, columnTile));
      Value numSums = e.mul(e.mul(chunkSize, blockSize), e.index(tile.columns()));
      e.loop(e.index(0), numSums, tile.vectorWidth,
             [&](Value i) { e.store(e.splat(e.f32(0), tile.vectorWidth), sums, i); });
      e.loop(e.index(0), e.index(numItems()), 1, [&](Value item) { addItem(item); });
      storeSums();
    });
  });
}

/// `yes` for the item of the common groups, `no` for others.
Value SpmmEmitter::ifCommon(Value item, Value yes, Value no) {
  if (numCommon == 0)
    return no;
  if (numChosen == 0)
    return yes;
  return select(compare(arith::CmpIPredicate::eq, item, e.index(0)), yes, no);
}

SpmmEmitter::Item SpmmEmitter::getItem(Value number) {
  Value groupWidth = e.index(depth), commonWidth = e.index(numCommon * depth);
  Value blockPlace = e.mul(first, e.index((numCommon + numChosen) * depth));
  Item item;
  item.firstPlace = e.loadIndex(firstPlaces, number);
  item.numPlaces = e.sub(e.loadIndex(firstPlaces, e.add(number, e.index(1))), item.firstPlace);
  Value otherGroup = e.add(number, e.index(numCommon - numCommonItems()));
  item.firstGroup = ifCommon(number, e.index(0), otherGroup);
  item.numGroups = ifCommon(number, e.index(numCommon), e.index(1));
  item.width = ifCommon(number, commonWidth, groupWidth);
  // The places of the common item come first.
  Value before = e.sub(item.firstPlace, numCommon == 0 ? e.index(0) : blockSize);
  Value otherPlace = e.add(e.mul(blockSize, commonWidth), e.mul(before, groupWidth));
  item.packed = e.add(blockPlace, ifCommon(number, e.index(0), otherPlace));
  return item;
}

/// Writes `firstPlaces` and `places`.
void SpmmEmitter::listPlaces() {
  if (numCommon > 0) {
    e.storeIndex(e.index(0), firstPlaces, e.index(0));
    e.storeIndex(blockSize, firstPlaces, e.index(1));
    e.loop(e.index(0), blockSize, 1, [&](Value i) { e.storeIndex(i, places, i); });
  }
  if (numChosen == 0)
    return;
  TableView view(e, table, numGroups - numCommon + 1, numChosen, first);
  Value numBefore = numCommon > 0 ? blockSize : e.index(0);
  e.loop(e.index(0), e.index(numGroups - numCommon + 1), 1, [&](Value group) {
    e.storeIndex(e.add(numBefore, view.offset(group)), firstPlaces,
                 e.add(group, e.index(numCommonItems())));
  });
  e.loop(e.index(0), e.mul(blockSize, e.index(numChosen)), 1,
         [&](Value i) { e.storeIndex(view.token(i), places, e.add(numBefore, i)); });
}

/// Lists the block's items, units and active groups, and what each unit prefetches.
void SpmmEmitter::listBlock() {
  isFew = compare(arith::CmpIPredicate::ule, blockSize, e.index(few));
  listPlaces();
  Value init[] = {e.index(0), e.index(0)};
  SmallVector<Value> counts =
      e.loop(e.index(0), e.index(numItems()), 1, init, [&](Value number, ValueRange carried) {
        Item item = getItem(number);
        e.storeIndex(carried[0], firstUnits, number);
        // Groups that no token has are written over by what follows.
        e.loop(e.index(0), item.numGroups, 1, [&](Value i) {
          e.storeIndex(e.add(item.firstGroup, i), active, e.add(carried[1], i));
        });
        Value numTiles = cutTiles(e, item.numPlaces, tile.maxRows).count;
        Value isUsed = e.min(item.numPlaces, e.index(1));
        return SmallVector<Value>{e.add(carried[0], e.mul(numTiles, item.numGroups)),
                                  e.add(carried[1], e.mul(isUsed, item.numGroups))};
      });
  numUnits = counts[0];
  numActive = counts[1];
  aheadRate = b.createOrFold<arith::DivUIOp>(e.mul(numActive, e.index(kRate)), numUnits);
  e.branch(compare(arith::CmpIPredicate::ugt, blockSize, e.index(few)), [&] { listAhead(); });
}

/// While a column tile is computed, its units ask in even shares for the panels of the next one: writes for each unit its group, and the step to start from.
void SpmmEmitter::listAhead() {
  e.loop(e.index(0), numUnits, 1, [&](Value unit) {
    Value scaled = e.mul(unit, numActive);
    Value number = b.createOrFold<arith::DivUIOp>(scaled, numUnits),
          rest = b.createOrFold<arith::RemUIOp>(scaled, numUnits);
    e.storeIndex(e.loadIndex(active, number), aheadGroup, unit);
    // start * rate = rest / numUnits * depth
    e.storeIndex(b.createOrFold<arith::DivUIOp>(e.mul(rest, e.index(depth)), numActive), aheadStart,
                 unit);
  });
}

SpmmEmitter::Ahead SpmmEmitter::lookAhead(Value group, Value columnTile, Value unit) {
  Ahead near = ProductEmitter::lookAhead(group, columnTile);
  Value next = e.min(e.add(columnTile, e.index(1)), e.index(numColumnTiles() - 1));
  if (numGroups > 1) { // behind the last column tile of the chunk comes the next group
    Value end = e.add(chunkStart, chunkSize);
    Value isLast = compare(arith::CmpIPredicate::eq, e.add(columnTile, e.index(1)), end);
    Value nextGroup = e.min(e.add(group, e.index(1)), e.index(numGroups - 1));
    near.group = select(isLast, nextGroup, near.group);
    near.panel = select(isLast, e.mul(chunkStart, e.index(tile.numPanels)), near.panel);
  }
  return {select(isFew, near.group, e.loadIndex(aheadGroup, unit)),
          select(isFew, near.panel, e.mul(next, e.index(tile.numPanels))),
          select(isFew, near.start, e.loadIndex(aheadStart, unit)),
          select(isFew, near.rate, aheadRate), tile.numPanels};
}

/// Adds an item's products to the sums of the chunk.
void SpmmEmitter::addItem(Value number) {
  Item item = getItem(number);
  EvenCut tiles = cutTiles(e, item.numPlaces, tile.maxRows);
  Value firstUnit = e.loadIndex(firstUnits, number);
  // All column tiles of a group before the next group, or the other way round (see emit).
  Value chain = select(isFew, e.index(1), item.numGroups);
  auto direct = [&] {
    e.loop(e.index(0), item.numGroups, chain, [&](Value group) {
      e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
        e.loop(e.index(0), tiles.count, 1, [&](Value tileNumber) {
          Value unit = e.add(e.add(firstUnit, e.mul(tileNumber, item.numGroups)), group);
          addTile(item, tiles, tileNumber, columnTile, group, chain, unit);
        });
      });
    });
  };
  if (!isNarrow())
    return direct();
  Value several = compare(arith::CmpIPredicate::ugt, tiles.count, e.index(1));
  e.branch(several, [&] { addWidened(item, tiles, firstUnit); }, direct);
}

/// One tile, with `chain` groups of its item from number `group` on, for one column tile.
void SpmmEmitter::addTile(const Item &item, const EvenCut &tiles, Value number, Value columnTile,
                          Value group, Value chain, Value unit) {
  Value start = tiles.start(e, number), weightTile = e.add(chunkStart, columnTile);
  Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
  Value place = e.add(item.packed, e.mul(start, item.width));
  tile.forRows(numRows, [&](int64_t rows) {
    SmallVector<Value> sum = tile.multiply(
        rows, chain, e.index(depth),
        [&](Value i) -> ProductTile::Operands {
          Value skipped = e.add(group, i);
          Value from = e.add(place, e.mul(skipped, e.index(depth * rows)));
          Value at = e.add(item.firstGroup, skipped);
          Ahead ahead = lookAhead(at, weightTile, e.add(unit, i));
          prefetchScales(at, weightTile);
          return {[this, from, rows](int64_t row, Value step) {
                    return loadToken(tokens, from, rows, row, step);
                  },
                  [this, at, weightTile](int64_t vector, Value step) {
                    return loadWeight(at, weightTile, vector, step);
                  },
                  [this, ahead](Value step) { prefetchAhead(ahead, e.index(0), step); },
                  stepsOfLine};
        },
        getScale(e.add(item.firstGroup, group), weightTile));
    addToSums(rows, sum, columnTile, e.add(item.firstPlace, start));
  });
}

/// All tiles of an item, one group after the other, kWidenedSteps at a time.
void SpmmEmitter::addWidened(const Item &item, const EvenCut &tiles, Value firstUnit) {
  auto addSteps = [&](Value group, Value columnTile, Value firstStep) {
    Value numSteps = e.min(e.index(kWidenedSteps), e.sub(e.index(depth), firstStep));
    Value skipped = e.add(e.mul(group, e.index(depth)), firstStep);
    Value weightTile = e.add(chunkStart, columnTile), at = e.add(item.firstGroup, group);
    widenPanels(at, weightTile, firstStep, numSteps);
    e.loop(e.index(0), tiles.count, 1, [&](Value number) {
      Value start = tiles.start(e, number);
      Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
      Value place = e.add(e.add(item.packed, e.mul(start, item.width)), e.mul(skipped, numRows));
      Value unit = e.add(firstUnit, e.add(e.mul(number, item.numGroups), group));
      Ahead ahead = lookAhead(at, weightTile, unit);
      tile.forRows(numRows, [&](int64_t rows) {
        SmallVector<Value> sum = tile.multiply(
            rows, e.index(1), numSteps,
            [&](Value) -> ProductTile::Operands {
              return {
                  [this, place, rows](int64_t row, Value step) {
                    return loadToken(tokens, place, rows, row, step);
                  },
                  [this](int64_t vector, Value step) { return loadWidened(vector, step); },
                  [this, ahead, firstStep](Value step) { prefetchAhead(ahead, firstStep, step); },
                  stepsOfLine};
            },
            getScale(at, weightTile));
        addToSums(rows, sum, columnTile, e.add(item.firstPlace, start));
      });
    });
  };
  e.loop(e.index(0), item.numGroups, 1, [&](Value group) {
    e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
      e.loop(e.index(0), e.index(depth), kWidenedSteps,
             [&](Value firstStep) { addSteps(group, columnTile, firstStep); });
    });
  });
}

/// Adds the sums of a tile whose tokens are `places` from `firstPlace` on.
void SpmmEmitter::addToSums(int64_t rows, ValueRange sum, Value columnTile, Value firstPlace) {
  for (int64_t row = 0; row < rows; ++row) {
    Value to = sumPlace(columnTile, e.loadIndex(places, e.add(firstPlace, e.index(row))));
    for (int64_t vector = 0; vector < tile.numVectors(); ++vector) {
      Value at = e.add(to, e.index(vector * tile.vectorWidth));
      Value old = e.load(sums, at, tile.vectorWidth);
      e.store(arith::AddFOp::create(b, old, sum[row * tile.numVectors() + vector]), sums, at);
    }
  }
}

/// Stores the sums of the chunk in the result, with what the op's epilogue adds to them.
void SpmmEmitter::storeSums() {
  e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
    e.columnTile(columns, tile.columns(), e.add(chunkStart, columnTile),
                 [&](Value column, ArrayRef<Segment> segments) {
                   e.loop(e.index(0), blockSize, 1, [&](Value token) {
                     Value from = sumPlace(columnTile, token);
                     for (Segment segment : segments) {
                       Value offset = e.index(segment.offset);
                       Value at[] = {e.add(first, token), e.add(column, offset)};
                       Value sum = e.load(sums, e.add(from, offset), segment.width);
                       if (gate)
                         sum =
                             arith::MulFOp::create(b, e.silu(e.load(gate, at, segment.width)), sum);
                       if (residual)
                         sum = arith::AddFOp::create(b, e.load(residual, at, segment.width), sum);
                       e.store(sum, result, at);
                     }
                   });
                 });
  });
}

void mlir::mohd::emitTiledSpmm(KernelEmitter &e, TiledSpmmOp op, ValueRange operands,
                               ValueRange results) {
  SpmmEmitter(e, op, operands, results[0]).emit();
}

//===----------------------------------------------------------------------===//
// mohd.tiled_sddmm
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfTiledSddmm(TiledSddmmOp op, StringRef tokens) {
  RankedTensorType weight = op.getWeight().getType();
  return KernelEmitter::gridOf(weight.getDimSize(0) *
                                   getColumnTiles(weight.getDimSize(1), op.getPanels()),
                               op.getBlock(), tokens);
}

namespace {

class SddmmEmitter : ProductEmitter {
public:
  SddmmEmitter(KernelEmitter &e, TiledSddmmOp op, ValueRange operands, Value result)
      : ProductEmitter(e, op, operands),
        groupWidth(op.getResult().getType().getDimSize(1) / numGroups), chunk(op.getDepth()),
        inputWidth(op.getInput().getType().getDimSize(1)), isLocal(op.getLocal()),
        input(e.flatten(operands[0])), result(result), places(e.array({block}, e.b.getIndexType())),
        starts(e.array({block}, e.b.getIndexType())) {
    if (isNarrow() && chunk <= kWidenedSteps)
      widened = e.array({kWidenedSteps, tile.columns()});
  }

  void emit() {
    forBlocks(numGroups * numColumnTiles(), [&](Value lower, Value upper) {
      // Few tokens fit the cache with all their columns; the buffer of widened weights does not.
      int64_t mostFew = widened ? std::min(few, tile.maxRows) : few;
      Value isFew = compare(arith::CmpIPredicate::ule, blockSize, e.index(mostFew));
      // A contraction of nothing is one chunk too, as the result is to be cleared.
      Value end = e.index(std::max<int64_t>(depth, 1));
      Value step = select(isFew, end, e.index(chunk));
      e.loop(e.index(0), end, step, [&](Value firstStep) {
        firstColumn = firstStep;
        numSteps = e.min(step, e.sub(e.index(depth), firstStep));
        isFirst = compare(arith::CmpIPredicate::eq, firstStep, e.index(0));
        e.loop(lower, upper, 1, [&](Value task) { addTask(task); });
      });
    });
  }

private:
  /// The tokens of a block that have a group.
  struct List {
    Value numTokens;
    Value start; // its first entry among those of chosen groups; 0 for common groups
  };

  List listTokens(Value isCommon, Value chosenGroup);
  void fillPlaces(const List &list, Value isCommon, Value group);
  /// A task: a column tile of a group.
  struct Task {
    Value number, isCommon, group, columnTile;
  };
  int64_t numCommonTasks() const { return numCommon * numColumnTiles(); }
  int64_t numTasks() const { return numGroups * numColumnTiles(); }
  Task getTask(Value number);
  void addTask(Value number);
  Ahead lookAhead(const Task &task, const EvenCut &tiles, Value number);
  void clear(Value group, Value columnTile);
  void addTiles(const List &list, const Task &task, bool fromWidened);
  void storeTile(ValueRange sums, ValueRange tokens, Value column, ArrayRef<Segment> segments);

  const int64_t groupWidth, chunk, inputWidth;
  const bool isLocal; // a group contracts its own columns
  const Value input, result;
  const Value places; // [block]: the tokens of a list, counted from the block's start
  // [block]: where their columns start in the input. In memory, or LLVM forms them anew in every step when it knows the number of steps.
  const Value starts;
  Value firstColumn, numSteps, isFirst; // of the chunk of the contraction
};

} // namespace

/// The tokens that have the common groups, or chosen group `chosenGroup` (any number if they are common).
SddmmEmitter::List SddmmEmitter::listTokens(Value isCommon, Value chosenGroup) {
  if (numChosen == 0)
    return {blockSize, e.index(0)};
  TableView view(e, table, numGroups - numCommon + 1, numChosen, first);
  Value group = select(isCommon, e.index(0), chosenGroup);
  Value start = view.offset(group), end = view.offset(e.add(group, e.index(1)));
  return {select(isCommon, blockSize, e.sub(end, start)), select(isCommon, e.index(0), start)};
}

/// Writes the tokens of a list, and where a group's columns of them start.
void SddmmEmitter::fillPlaces(const List &list, Value isCommon, Value group) {
  Value column = isLocal ? e.add(firstColumn, e.mul(group, e.index(depth))) : firstColumn;
  auto fill = [&](llvm::function_ref<Value(Value)> placeOf) {
    e.loop(e.index(0), list.numTokens, 1, [&](Value i) {
      Value place = placeOf(i);
      memref::StoreOp::create(b, place, places, i);
      Value token = e.mul(e.add(first, place), e.index(inputWidth));
      memref::StoreOp::create(b, e.add(token, column), starts, i);
    });
  };
  auto all = [&] { fill([](Value i) { return i; }); };
  if (numChosen == 0)
    return all();
  TableView view(e, table, numGroups - numCommon + 1, numChosen, first);
  e.branch(isCommon, all, [&] { fill([&](Value i) { return view.token(e.add(list.start, i)); }); });
}

/// The tasks of common groups are spread evenly among those of the others, which have fewer tokens: task c of them is the last of the block's tasks
/// [c, c + 1) * numTasks / numCommonTasks.
SddmmEmitter::Task SddmmEmitter::getTask(Value number) {
  Value numBefore = e.div(e.mul(number, e.index(numCommonTasks())), numTasks());
  Value numAfter = e.div(e.mul(e.add(number, e.index(1)), e.index(numCommonTasks())), numTasks());
  Value isCommon = compare(arith::CmpIPredicate::ne, numBefore, numAfter);
  Value rank =
      select(isCommon, numBefore, e.add(e.sub(number, numBefore), e.index(numCommonTasks())));
  return {number, isCommon, e.div(rank, numColumnTiles()), e.rem(rank, numColumnTiles())};
}

void SddmmEmitter::addTask(Value number) {
  Task task = getTask(number);
  auto multiply = [&] {
    List list = listTokens(task.isCommon, e.sub(task.group, e.index(numCommon)));
    fillPlaces(list, task.isCommon, task.group);
    auto direct = [&] { addTiles(list, task, /*fromWidened=*/false); };
    if (!widened)
      return direct();
    auto wide = [&] {
      widenPanels(task.group, task.columnTile, firstColumn, numSteps);
      addTiles(list, task, /*fromWidened=*/true);
    };
    Value several = compare(arith::CmpIPredicate::ugt, list.numTokens, e.index(tile.maxRows));
    e.branch(several, wide, direct);
  };
  if (numCommon == numGroups)
    return multiply();
  Value isOther = compare(arith::CmpIPredicate::uge, task.group, e.index(numCommon));
  e.branch(arith::AndIOp::create(b, isFirst, isOther), [&] { clear(task.group, task.columnTile); });
  if (numChosen == 0)
    return e.branch(task.isCommon, multiply);
  multiply();
}

/// What a tile asks for: that of a list of one tile what it needs itself; else a share of what follows, a common group's task of all tasks up to the next
/// common one, any other of the next.
SddmmEmitter::Ahead SddmmEmitter::lookAhead(const Task &task, const EvenCut &tiles, Value number) {
  Ahead near = ProductEmitter::lookAhead(task.group, task.columnTile);
  int64_t numOthers = numTasks() - numCommonTasks();
  int64_t period = llvm::divideCeil(numOthers, std::max<int64_t>(numCommonTasks(), 1));
  Value numPieces = select(task.isCommon, e.index(std::max<int64_t>(period, 1)), e.index(1));
  Value isOnly = compare(arith::CmpIPredicate::eq, tiles.count, e.index(1));
  SmallVector<Value> chosen = e.choose(
      isOnly, [&] { return SmallVector<Value>{near.group, near.panel, near.start, near.rate}; },
      [&] {
        Share share = shareOut(numPieces, tiles.count, number, numSteps);
        Value after = e.add(e.add(task.number, e.index(1)), share.piece);
        Task next = getTask(e.min(after, e.index(numTasks() - 1)));
        Value panel = e.mul(next.columnTile, e.index(tile.numPanels));
        return SmallVector<Value>{next.group, panel, share.start, share.rate};
      });
  return {chosen[0], chosen[1], chosen[2], chosen[3], tile.numPanels};
}

/// Sets the columns of a task to what is there without the group: the residual or 0, for all tokens of the block.
void SddmmEmitter::clear(Value group, Value columnTile) {
  e.columnTile(
      groupWidth, tile.columns(), columnTile, [&](Value column, ArrayRef<Segment> segments) {
        Value at = e.add(e.mul(group, e.index(groupWidth)), column);
        e.loop(e.index(0), blockSize, 1, [&](Value token) {
          Value row = e.add(first, token);
          auto load = [&](Segment segment) {
            return e.load(residual, {row, e.add(at, e.index(segment.offset))}, segment.width);
          };
          SmallVector<Value> data =
              residual ? llvm::map_to_vector(segments, load) : e.zeros(segments);
          e.storeSegments(data, result, row, at, segments);
        });
      });
}

void SddmmEmitter::addTiles(const List &list, const Task &task, bool fromWidened) {
  Value group = task.group, columnTile = task.columnTile;
  EvenCut tiles = cutTiles(e, list.numTokens, tile.maxRows);
  e.loop(e.index(0), tiles.count, 1, [&](Value number) {
    Ahead ahead = lookAhead(task, tiles, number);
    Value start = tiles.start(e, number);
    Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
    tile.forRows(numRows, [&](int64_t rows) {
      SmallVector<Value> tokens, from;
      for (int64_t row = 0; row < rows; ++row) {
        Value at = e.add(start, e.index(row));
        tokens.push_back(e.add(first, memref::LoadOp::create(b, places, at)));
        from.push_back(memref::LoadOp::create(b, starts, at));
      }
      SmallVector<Value> sums = tile.multiply(
          rows, e.index(1), numSteps,
          [&](Value) -> ProductTile::Operands {
            auto left = [this, &from](int64_t row, Value step) {
              return e.loadScalar(input, e.add(from[row], step));
            };
            if (fromWidened)
              return {left,
                      [this](int64_t vector, Value step) { return loadWidened(vector, step); },
                      [](Value) {}};
            return {left,
                    [this, group, columnTile](int64_t vector, Value step) {
                      return loadWeight(group, columnTile, vector, e.add(firstColumn, step));
                    },
                    [this, ahead](Value step) { prefetchAhead(ahead, firstColumn, step); },
                    stepsOfLine};
          },
          getScale(group, columnTile));
      e.columnTile(
          groupWidth, tile.columns(), columnTile, [&](Value column, ArrayRef<Segment> segments) {
            storeTile(sums, tokens, e.add(e.mul(group, e.index(groupWidth)), column), segments);
          });
    });
  });
}

/// Stores a tile's sums from `column` on, or adds them to what the chunks before left there.
void SddmmEmitter::storeTile(ValueRange sums, ValueRange tokens, Value column,
                             ArrayRef<Segment> segments) {
  SmallVector<Segment> pieces; // none wider than a vector of the tile
  for (Segment segment : segments)
    for (int64_t offset = 0; offset < segment.width; offset += tile.vectorWidth)
      pieces.push_back({segment.offset + offset, std::min(segment.width, tile.vectorWidth)});
  for (auto [row, token] : llvm::enumerate(tokens))
    for (Segment segment : pieces) {
      Value sum = sums[row * tile.numVectors() + segment.offset / tile.vectorWidth];
      if (segment.width != tile.vectorWidth)
        sum = vector::ExtractStridedSliceOp::create(b, sum, {segment.offset % tile.vectorWidth},
                                                    {segment.width}, {1});
      Value at[] = {token, e.add(column, e.index(segment.offset))};
      Value old = e.load(result, at, segment.width);
      Value none =
          residual ? e.load(residual, at, segment.width) : e.splat(e.f32(0), segment.width);
      old = arith::SelectOp::create(b, isFirst, none, old);
      e.store(arith::AddFOp::create(b, old, sum), result, at);
    }
}

void mlir::mohd::emitTiledSddmm(KernelEmitter &e, TiledSddmmOp op, ValueRange operands,
                                ValueRange results) {
  SddmmEmitter(e, op, operands, results[0]).emit();
}
