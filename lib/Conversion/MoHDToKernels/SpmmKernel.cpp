// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.tiled_spmm. ProductEmitter.cpp has the idea.
#include "ProductEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// f32 sums that spmm keeps in its buffer, 128 KiB: a part of the second-level cache.
static constexpr int64_t kSums = 32768;

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
  void addColumns(Value lower, Value upper, Value step);
  void listPlaces();
  void listUnits(const Item &item, const EvenCut &tiles, Value firstUnit);
  void listAhead();
  void addItem(Value number);
  void addWidened(const Item &item, const EvenCut &tiles, Value firstUnit);
  void addTile(const Item &item, const EvenCut &tiles, Value number, Value columnTile, Value group,
               Value chain, Value unit);
  void addToSums(int64_t rows, ValueRange sum, Value columnTile, Value firstPlace);
  Ahead lookAhead(Value group, Value columnTile, Value unit);
  void storeSums();
  Value sumPlace(Value columnTile, Value token) {
    return e.mul(e.add(e.mul(columnTile, blockSize), token), e.index(tile->columns()));
  }

  const ProductTile strip; // of one panel
  const int64_t columns, capacity;
  const Value tokens, gate, result;
  const Value sums; // [column tile of the chunk, token of the block, column of the tile], f32
  Value firstUnits, firstPlaces; // [items + 1] i32
  Value places;                  // i32: tokens, counted from the block's start
  // [units]: where in `tokens` a unit's columns start. In memory, or LLVM forms them anew in every step when it knows the number of steps.
  Value unitPlaces;
  Value active, aheadGroup, aheadStart; // i32: groups that some token has; what units prefetch
  Value numActive, numUnits, aheadRate;
  bool isFew;                  // whether code is made for a block of few tokens
  Value chunkStart, chunkSize; // column tiles
};

} // namespace

SpmmEmitter::SpmmEmitter(KernelEmitter &e, TiledSpmmOp op, ValueRange operands, Value result)
    : ProductEmitter(e, op, operands), strip(e, wide.maxRows, 1, wide.panelWidth),
      columns(op.getResult().getType().getDimSize(1)),
      capacity(std::max(kSums, block * tile->columns())), tokens(e.flatten(operands[0])),
      gate(getBuffer(op, op.getGate(), operands)), result(result), sums(e.array({capacity})) {
  auto list = [&](int64_t size) { return e.array({size}, b.getI32Type()); };
  int64_t numTiles = llvm::divideCeil(block, tile->maxRows) * numCommon;
  if (numChosen > 0)
    numTiles += numGroups - numCommon + block * numChosen / tile->maxRows;
  firstUnits = list(numItems() + 1);
  firstPlaces = list(numItems() + 1);
  places = list(block * (numChosen + numCommonItems()));
  active = list(numGroups);
  unitPlaces = e.array({numTiles}, b.getIndexType());
  aheadGroup = list(numTiles);
  aheadStart = list(numTiles);
  if (isNarrow())
    widened = e.array({kWidenedSteps, tile->columns()});
}

void SpmmEmitter::emit() {
  forBlocks(numColumnTiles(), [&](Value lower, Value upper) {
    listBlock();
    auto addFew = [&] {
      isFew = true;
      tile = &strip;
      // As many panels as the buffer has room for.
      Value room = b.createOrFold<arith::DivUIOp>(e.index(capacity),
                                                  e.mul(blockSize, e.index(tile->columns())));
      Value panels = e.index(wide.numPanels);
      addColumns(e.mul(lower, panels), e.min(e.mul(upper, panels), e.index(numPanels)), room);
      tile = &wide;
    };
    auto addMany = [&] {
      isFew = false;
      addColumns(lower, upper, e.index(1));
    };
    e.branch(compare(arith::CmpIPredicate::ule, blockSize, e.index(few)), addFew, addMany);
  });
}

/// Column tiles [lower, upper) of the result, `step` at a time.
void SpmmEmitter::addColumns(Value lower, Value upper, Value step) {
  e.loop(lower, upper, step, [&](Value columnTile) {
    chunkStart = columnTile;
    chunkSize = e.min(step, e.sub(upper, columnTile));
    Value numSums = e.mul(e.mul(chunkSize, blockSize), e.index(tile->columns()));
    e.loop(e.index(0), numSums, tile->vectorWidth,
           [&](Value i) { e.store(e.splat(e.f32(0), tile->vectorWidth), sums, i); });
    e.loop(e.index(0), e.index(numItems()), 1, [&](Value item) { addItem(item); });
    storeSums();
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
        EvenCut tiles = cutTiles(e, item.numPlaces, tile->maxRows);
        listUnits(item, tiles, carried[0]);
        Value isUsed = e.min(item.numPlaces, e.index(1));
        return SmallVector<Value>{e.add(carried[0], e.mul(tiles.count, item.numGroups)),
                                  e.add(carried[1], e.mul(isUsed, item.numGroups))};
      });
  numUnits = counts[0];
  numActive = counts[1];
  aheadRate = b.createOrFold<arith::DivUIOp>(e.mul(numActive, e.index(kRate)), numUnits);
  e.branch(compare(arith::CmpIPredicate::ugt, blockSize, e.index(few)), [&] { listAhead(); });
}

/// Writes `unitPlaces` of an item.
void SpmmEmitter::listUnits(const Item &item, const EvenCut &tiles, Value firstUnit) {
  e.loop(e.index(0), tiles.count, 1, [&](Value number) {
    Value start = tiles.start(e, number);
    Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
    Value place = e.add(item.packed, e.mul(start, item.width));
    Value unit = e.add(firstUnit, e.mul(number, item.numGroups));
    e.loop(e.index(0), item.numGroups, 1, [&](Value group) {
      Value before = e.mul(group, e.mul(numRows, e.index(depth)));
      memref::StoreOp::create(b, e.add(place, before), unitPlaces, e.add(unit, group));
    });
  });
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
  if (!isFew) {
    Value next = e.min(e.add(columnTile, e.index(1)), e.index(numColumnTiles() - 1));
    return {e.loadIndex(aheadGroup, unit), e.mul(next, e.index(tile->numPanels)),
            e.loadIndex(aheadStart, unit), aheadRate, tile->numPanels};
  }
  Ahead near = ProductEmitter::lookAhead(group, columnTile);
  if (numGroups > 1 &&
      !areLong()) { // behind the last column tile of the chunk comes the next group
    Value end = e.add(chunkStart, chunkSize), at = e.add(columnTile, e.index(tilesAhead()));
    Value isBehind = compare(arith::CmpIPredicate::uge, at, end);
    Value panel = e.mul(e.add(chunkStart, e.sub(at, end)), e.index(tile->numPanels));
    near.group = select(isBehind, e.min(e.add(group, e.index(1)), e.index(numGroups - 1)), group);
    near.panel = select(isBehind, e.min(panel, e.index(numPanels - 1)), near.panel);
  }
  return near;
}

/// Adds an item's products to the sums of the chunk.
void SpmmEmitter::addItem(Value number) {
  Item item = getItem(number);
  EvenCut tiles = cutTiles(e, item.numPlaces, tile->maxRows);
  Value firstUnit = e.loadIndex(firstUnits, number);
  // All column tiles of a group before the next group, or the other way round (see emit).
  Value chain = isFew ? e.index(1) : item.numGroups;
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
  auto multiply = [&](int64_t rows, bool asks) {
    SmallVector<Value> sum = tile->multiply(
        rows, chain, e.index(depth),
        [&](Value i) -> ProductTile::Operands {
          Value skipped = e.add(group, i);
          Value from = memref::LoadOp::create(b, unitPlaces, e.add(unit, i));
          Value at = e.add(item.firstGroup, skipped);
          Ahead ahead = lookAhead(at, weightTile, e.add(unit, i));
          if (!asks)
            ahead.numPanels = 0;
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
  };
  if (!isFew)
    return tile->forRows(numRows, [&](int64_t rows) { multiply(rows, true); });
  // One tile reads as fast without asking; of several, whose first is the largest, all ask or none.
  Value isOne = compare(arith::CmpIPredicate::eq, tiles.count, e.index(1));
  Value areAllFew =
      compare(arith::CmpIPredicate::ule, tiles.start(e, e.index(1)), e.index(mostFewRows()));
  Value asksNot = arith::OrIOp::create(b, isOne, areAllFew);
  tile->forRows(numRows, [&](int64_t rows) {
    if (isNarrow() || 2 * rows < tile->maxRows) // never one of several
      return multiply(rows, false);
    e.branch(asksNot, [&] { multiply(rows, false); }, [&] { multiply(rows, true); });
  });
}

/// All tiles of an item, one group after the other, kWidenedSteps at a time.
void SpmmEmitter::addWidened(const Item &item, const EvenCut &tiles, Value firstUnit) {
  auto addSteps = [&](Value group, Value columnTile, Value firstStep) {
    Value numSteps = e.min(e.index(kWidenedSteps), e.sub(e.index(depth), firstStep));
    Value weightTile = e.add(chunkStart, columnTile), at = e.add(item.firstGroup, group);
    widenPanels(at, weightTile, firstStep, numSteps);
    e.loop(e.index(0), tiles.count, 1, [&](Value number) {
      Value start = tiles.start(e, number);
      Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
      Value unit = e.add(firstUnit, e.add(e.mul(number, item.numGroups), group));
      Ahead ahead = lookAhead(at, weightTile, unit);
      tile->forRows(numRows, [&](int64_t rows) {
        Value place = memref::LoadOp::create(b, unitPlaces, unit);
        place = e.add(place, e.mul(firstStep, e.index(rows)));
        SmallVector<Value> sum = tile->multiply(
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
    for (int64_t vector = 0; vector < tile->numVectors(); ++vector) {
      Value at = e.add(to, e.index(vector * tile->vectorWidth));
      Value old = e.load(sums, at, tile->vectorWidth);
      e.store(arith::AddFOp::create(b, old, sum[row * tile->numVectors() + vector]), sums, at);
    }
  }
}

/// Stores the sums of the chunk in the result, with what the op's epilogue adds to them.
void SpmmEmitter::storeSums() {
  e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
    e.columnTile(columns, tile->columns(), e.add(chunkStart, columnTile),
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
