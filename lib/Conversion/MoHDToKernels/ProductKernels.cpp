// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of tiled products: mohd.tiled_spmm and mohd.tiled_sddmm.
//
// A task is a tile of columns for a block of tokens; the tasks of a block follow each other. Within a block the tokens of a list (all of them for common groups,
// those that chose it for a chosen group) are cut into tiles of a few tokens each, and every tile meets the same panels of the weight while these are in the cache:
// the first tile asks for the panels that come next. 8- and 16-bit panels that several tiles meet are widened once into a buffer. Of int8 weights the
// sums are scaled, group by group, not the values.
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

/// Steps of a panel of `weight` that one cache line holds.
static int64_t getStepsOfLine(RankedTensorType weight) {
  int64_t bytes = weight.getDimSize(3) * weight.getElementTypeBitWidth() / 8;
  return std::max<int64_t>(64 / bytes, 1);
}

namespace {

/// What the two kernels share: the weight, the blocks and the lists of tokens.
class ProductEmitter {
public:
  /// `operands` are the left side, the weight, and the scales and the table if they are given.
  template <typename TiledOp>
  ProductEmitter(KernelEmitter &e, TiledOp op, ValueRange operands)
      : e(e), b(e.b), tile(e, int64_t(op.getRows()), int64_t(op.getPanels()),
                           op.getWeight().getType().getDimSize(3)),
        numGroups(op.getWeight().getType().getDimSize(0)),
        numPanels(op.getWeight().getType().getDimSize(1)),
        depth(op.getWeight().getType().getDimSize(2)), numCommon(op.getNumCommon()),
        numChosen(op.getNumChosen()), block(op.getBlock()), weight(operands[1]),
        scales(op.getScales() ? operands[2] : Value()),
        table(op.getTable() ? operands.back() : Value()),
        stepsOfLine(getStepsOfLine(op.getWeight().getType())),
        places(e.array({int64_t(op.getBlock())}, e.b.getIndexType())) {}

protected:
  /// The tokens of a block that have a group.
  struct List {
    Value numTokens;
    Value start; // its first entry among those of chosen groups; 0 for common groups
  };

  /// Column tiles of a group's weight.
  int64_t numColumnTiles() const { return llvm::divideCeil(numPanels, tile.numPanels); }
  bool isNarrow() const { return !cast<MemRefType>(weight.getType()).getElementType().isF32(); }

  void forBlocks(int64_t tasksOfBlock, llvm::function_ref<void(Value lower, Value upper)> body);
  TableView viewTable() { return TableView(e, table, numGroups - numCommon + 1, numChosen, first); }
  List listTokens(Value isCommon, Value chosenGroup);
  void fillPlaces(const List &list, Value isCommon);
  Value place(Value i) { return memref::LoadOp::create(b, places, i); }
  Value panelOf(Value columnTile, int64_t vector) const;
  Value loadWeight(Value group, Value columnTile, int64_t vector, Value step);
  ProductTile::Scale getScale(Value firstGroup, Value columnTile);
  /// A column tile of a group's weight.
  struct Panels {
    Value group, columnTile;
  };
  /// What to prefetch: step (start + step) * rate of some panels, the rate in 1/65536.
  struct Ahead {
    Panels panels;
    Value start, rate;
  };
  Ahead lookAhead(const EvenCut &tiles, Value number, Value depth, const Panels &near,
                  const Panels &far);
  void prefetchScales(const Panels &panels);
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
  const int64_t numGroups, numPanels, depth, numCommon, numChosen, block;
  const Value weight, scales, table; // `scales` and `table` may be null
  const int64_t stepsOfLine;         // steps of a panel that one cache line holds
  const Value places;     // [block]: the tokens of a list, counted from the block's start
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

/// The tokens that have the common groups, or chosen group `chosenGroup` (any number if they are common).
ProductEmitter::List ProductEmitter::listTokens(Value isCommon, Value chosenGroup) {
  if (numChosen == 0)
    return {blockSize, e.index(0)};
  TableView view = viewTable();
  Value group = select(isCommon, e.index(0), chosenGroup);
  Value start = view.offset(group), end = view.offset(e.add(group, e.index(1)));
  return {select(isCommon, blockSize, e.sub(end, start)), select(isCommon, e.index(0), start)};
}

void ProductEmitter::fillPlaces(const List &list, Value isCommon) {
  auto fill = [&](llvm::function_ref<Value(Value)> token) {
    e.loop(e.index(0), list.numTokens, 1,
           [&](Value i) { memref::StoreOp::create(b, token(i), places, i); });
  };
  auto all = [&] { fill([](Value i) { return i; }); };
  if (numChosen == 0)
    return all();
  TableView view = viewTable();
  e.branch(isCommon, all, [&] { fill([&](Value i) { return view.token(e.add(list.start, i)); }); });
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

/// What tile `number` of `tiles` asks for while it takes steps [0, depth) of a column tile's panels: if it is the only one, what itself needs kStepsAhead steps
/// later (`near`; of short panels what follows), else its share of what follows (`far`).
ProductEmitter::Ahead ProductEmitter::lookAhead(const EvenCut &tiles, Value number, Value depth,
                                                const Panels &near, const Panels &far) {
  constexpr int64_t one = 1 << 16; // the rate is a fixed-point number
  Value isOnly = compare(arith::CmpIPredicate::eq, tiles.count, e.index(1));
  Value isLong = compare(arith::CmpIPredicate::uge, depth, e.index(2 * kStepsAhead));
  Value isNear = arith::AndIOp::create(b, isOnly, isLong);
  Ahead ahead;
  ahead.panels = {select(isNear, near.group, far.group),
                  select(isNear, near.columnTile, far.columnTile)};
  ahead.start = select(isNear, e.index(kStepsAhead), e.mul(number, depth));
  ahead.rate = arith::CeilDivUIOp::create(b, e.index(one), tiles.count);
  return ahead;
}

/// Asks for the scales of a column tile.
void ProductEmitter::prefetchScales(const Panels &panels) {
  for (int64_t panel = 0; scales && panel < tile.numPanels; ++panel)
    e.prefetch(scales, {panels.group,
                        panelOf(panels.columnTile, panel * tile.panelWidth / tile.vectorWidth),
                        e.index(0)});
}

/// Asks for what `ahead` says at a step.
void ProductEmitter::prefetchAhead(const Ahead &ahead, Value firstStep, Value step) {
  Value scaled = e.mul(e.add(ahead.start, step), ahead.rate);
  Value at = e.add(firstStep, arith::ShRUIOp::create(b, scaled, e.index(16)));
  for (int64_t panel = 0; panel < tile.numPanels; ++panel)
    e.prefetch(weight,
               {ahead.panels.group,
                panelOf(ahead.panels.columnTile, panel * tile.panelWidth / tile.vectorWidth), at,
                e.index(0)});
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

static int64_t getColumnTiles(RankedTensorType weight, int64_t panels) {
  return llvm::divideCeil(weight.getDimSize(1), panels);
}

std::string mlir::mohd::gridOfTiledSpmm(TiledSpmmOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(getColumnTiles(op.getWeight().getType(), op.getPanels()),
                               op.getBlock(), tokens);
}

namespace {

class SpmmEmitter : ProductEmitter {
public:
  SpmmEmitter(KernelEmitter &e, TiledSpmmOp op, ValueRange operands, Value result)
      : ProductEmitter(e, op, operands), columns(op.getResult().getType().getDimSize(1)),
        capacity(std::max(kSums, block * tile.columns())), packed(e.flatten(operands[0])),
        result(result), sums(e.array({capacity})) {
    if (isNarrow())
      widened = e.array({kWidenedSteps, tile.columns()});
  }

  void emit() {
    forBlocks(numColumnTiles(), [&](Value lower, Value upper) {
      // As many column tiles as the buffer has room for.
      Value room = b.createOrFold<arith::DivUIOp>(e.index(capacity),
                                                  e.mul(blockSize, e.index(tile.columns())));
      e.loop(lower, upper, room, [&](Value columnTile) {
        chunkStart = columnTile;
        chunkSize = e.min(room, e.sub(upper, columnTile));
        addGroups();
      });
    });
  }

private:
  /// A list of tokens and the groups that they have: all common ones, or a chosen one.
  struct Item {
    List list;
    Value firstGroup, numGroups;
    Value place, width; // in `packed`: the first tile, and the columns of a token in a tile
  };

  void addGroups();
  Item getItem(Value number);
  void addItem(const Item &item);
  void addTiles(const Item &item, Value columnTile, Value group, Value numGroups, Value firstStep,
                Value numSteps, bool fromWidened);
  void addWidened(const Item &item, Value columnTile);
  Panels getNext(Value firstGroup, Value numGroups, Value columnTile);
  void storeSums();
  Value sumPlace(Value columnTile, Value token) {
    return e.mul(e.add(e.mul(columnTile, blockSize), token), e.index(tile.columns()));
  }

  const int64_t columns, capacity;
  const Value packed, result;
  const Value sums; // [column tile of the chunk, token of the block, column of the tile], f32
  Value chunkStart, chunkSize; // column tiles
};

} // namespace

/// Computes the column tiles of the chunk for the block.
void SpmmEmitter::addGroups() {
  Value numSums = e.mul(e.mul(chunkSize, blockSize), e.index(tile.columns()));
  e.loop(e.index(0), numSums, tile.vectorWidth,
         [&](Value i) { e.store(e.splat(e.f32(0), tile.vectorWidth), sums, i); });
  int64_t numItems = (numCommon > 0 ? 1 : 0) + (numChosen > 0 ? numGroups - numCommon : 0);
  e.loop(e.index(0), e.index(numItems), 1, [&](Value number) { addItem(getItem(number)); });
  storeSums();
}

SpmmEmitter::Item SpmmEmitter::getItem(Value number) {
  Value groupWidth = e.index(depth), commonWidth = e.index(numCommon * depth);
  Value blockPlace = e.mul(first, e.index((numCommon + numChosen) * depth));
  Item item;
  if (numChosen == 0) {
    item = {listTokens({}, {}), e.index(0), e.index(numCommon), blockPlace, commonWidth};
    fillPlaces(item.list, {});
    return item;
  }
  int64_t numBefore = numCommon > 0 ? 1 : 0; // items before the chosen ones
  Value isCommon = compare(arith::CmpIPredicate::ult, number, e.index(numBefore));
  Value chosenGroup = e.sub(number, e.index(numBefore));
  item.list = listTokens(isCommon, chosenGroup);
  item.firstGroup = select(isCommon, e.index(0), e.add(chosenGroup, e.index(numCommon)));
  item.numGroups = select(isCommon, e.index(numCommon), e.index(1));
  Value chosenPlace = e.add(e.mul(blockSize, commonWidth), e.mul(item.list.start, groupWidth));
  item.place = e.add(blockPlace, select(isCommon, e.index(0), chosenPlace));
  item.width = select(isCommon, commonWidth, groupWidth);
  fillPlaces(item.list, isCommon);
  return item;
}

/// Few tokens, whose time goes by the weight's bytes, take one group after the other, each from front to back; many keep their sums in registers
/// for all of the item's groups.
void SpmmEmitter::addItem(const Item &item) {
  Value isFew = compare(arith::CmpIPredicate::ule, item.list.numTokens, e.index(tile.maxRows));
  Value span = select(isFew, e.index(1), item.numGroups);
  e.loop(e.index(0), item.numGroups, span, [&](Value group) {
    e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
      auto direct = [&] {
        addTiles(item, columnTile, group, span, e.index(0), e.index(depth), /*fromWidened=*/false);
      };
      if (!isNarrow())
        return direct();
      e.branch(isFew, direct, [&] { addWidened(item, columnTile); });
    });
  });
}

/// Adds up one group after the other, kWidenedSteps at a time.
void SpmmEmitter::addWidened(const Item &item, Value columnTile) {
  e.loop(e.index(0), item.numGroups, 1, [&](Value group) {
    e.loop(e.index(0), e.index(depth), kWidenedSteps, [&](Value firstStep) {
      Value numSteps = e.min(e.index(kWidenedSteps), e.sub(e.index(depth), firstStep));
      widenPanels(e.add(item.firstGroup, group), e.add(chunkStart, columnTile), firstStep,
                  numSteps);
      addTiles(item, columnTile, group, e.index(1), firstStep, numSteps, /*fromWidened=*/true);
    });
  });
}

/// Adds the products of all tiles of an item with `numGroups` groups from `group` on, counted from the item's first one, steps [firstStep, +numSteps).
void SpmmEmitter::addTiles(const Item &item, Value columnTile, Value group, Value numGroups,
                           Value firstStep, Value numSteps, bool fromWidened) {
  Value weightTile = e.add(chunkStart, columnTile);
  Value skipped = e.add(e.mul(group, e.index(depth)), firstStep);
  EvenCut tiles = cutTiles(e, item.list.numTokens, tile.maxRows);
  Value firstGroup = e.add(item.firstGroup, group);
  Panels next = getNext(firstGroup, numGroups, columnTile);
  ProductTile::Scale scale = getScale(firstGroup, weightTile);
  e.loop(e.index(0), tiles.count, 1, [&](Value number) {
    Value start = tiles.start(e, number);
    Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
    Value tilePlace = e.add(e.add(item.place, e.mul(start, item.width)), e.mul(skipped, numRows));
    tile.forRows(numRows, [&](int64_t rows) {
      SmallVector<Value> sum = tile.multiply(
          rows, numGroups, numSteps,
          [&](Value outer) -> ProductTile::Operands {
            Value from = e.add(tilePlace, e.mul(outer, e.index(depth * rows)));
            auto left = [this, from, rows](int64_t row, Value step) {
              return e.loadScalar(packed,
                                  e.add(e.add(from, e.mul(step, e.index(rows))), e.index(row)));
            };
            if (fromWidened)
              return {left,
                      [this](int64_t vector, Value step) { return loadWidened(vector, step); },
                      [](Value) {}};
            Value at = e.add(firstGroup, outer);
            Panels far = {e.min(e.add(next.group, outer), e.index(this->numGroups - 1)),
                          next.columnTile};
            Ahead ahead = lookAhead(tiles, number, e.index(depth), {at, weightTile}, far);
            prefetchScales(far);
            return {left,
                    [this, at, weightTile](int64_t vector, Value step) {
                      return loadWeight(at, weightTile, vector, step);
                    },
                    [this, ahead](Value step) { prefetchAhead(ahead, e.index(0), step); },
                    stepsOfLine};
          },
          scale);
      for (int64_t row = 0; row < rows; ++row) {
        Value to = sumPlace(columnTile, place(e.add(start, e.index(row))));
        for (int64_t vector = 0; vector < tile.numVectors(); ++vector) {
          Value at = e.add(to, e.index(vector * tile.vectorWidth));
          Value old = e.load(sums, at, tile.vectorWidth);
          e.store(arith::AddFOp::create(b, old, sum[row * tile.numVectors() + vector]), sums, at);
        }
      }
    });
  });
}

/// What the tiles of `numGroups` groups need after `columnTile`: the same groups' next column tile in the chunk, or the next group's first one.
SpmmEmitter::Panels SpmmEmitter::getNext(Value firstGroup, Value numGroups, Value columnTile) {
  Value next = e.add(columnTile, e.index(1));
  Value isLast = compare(arith::CmpIPredicate::eq, next, chunkSize);
  Value group = e.min(e.add(firstGroup, numGroups), e.index(this->numGroups - 1));
  return {select(isLast, group, firstGroup), e.add(chunkStart, select(isLast, e.index(0), next))};
}

/// Stores the sums of the chunk in the result.
void SpmmEmitter::storeSums() {
  e.loop(e.index(0), chunkSize, 1, [&](Value columnTile) {
    e.columnTile(columns, tile.columns(), e.add(chunkStart, columnTile),
                 [&](Value column, ArrayRef<Segment> segments) {
                   e.loop(e.index(0), blockSize, 1, [&](Value token) {
                     Value from = sumPlace(columnTile, token);
                     for (Segment segment : segments) {
                       Value offset = e.index(segment.offset);
                       e.store(e.load(sums, e.add(from, offset), segment.width), result,
                               {e.add(first, token), e.add(column, offset)});
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

std::string mlir::mohd::gridOfTiledSddmm(TiledSddmmOp op, int64_t lanes, StringRef tokens) {
  RankedTensorType weight = op.getWeight().getType();
  return KernelEmitter::gridOf(weight.getDimSize(0) * getColumnTiles(weight, op.getPanels()),
                               op.getBlock(), tokens);
}

namespace {

class SddmmEmitter : ProductEmitter {
public:
  SddmmEmitter(KernelEmitter &e, TiledSddmmOp op, ValueRange operands, Value result)
      : ProductEmitter(e, op, operands),
        groupWidth(op.getResult().getType().getDimSize(1) / numGroups), chunk(op.getDepth()),
        inputWidth(op.getInput().getType().getDimSize(1)), isLocal(op.getLocal()),
        input(e.flatten(operands[0])), result(result) {
    if (isNarrow() && chunk <= kWidenedSteps)
      widened = e.array({kWidenedSteps, tile.columns()});
  }

  void emit() {
    forBlocks(numGroups * numColumnTiles(), [&](Value lower, Value upper) {
      // Few tokens fit the cache with all their columns.
      Value few = compare(arith::CmpIPredicate::ule, blockSize, e.index(tile.maxRows));
      Value step = select(few, e.index(depth), e.index(chunk));
      e.loop(e.index(0), e.index(depth), step, [&](Value firstStep) {
        firstColumn = firstStep;
        numSteps = e.min(step, e.sub(e.index(depth), firstStep));
        isFirst = compare(arith::CmpIPredicate::eq, firstStep, e.index(0));
        e.loop(lower, upper, 1, [&](Value task) { addTask(task); });
      });
    });
  }

private:
  void addTask(Value task);
  Panels getNext(Value group, Value columnTile);
  void clear(Value group, Value columnTile);
  void addTiles(const List &list, Value group, Value columnTile, bool fromWidened);
  void storeTile(ValueRange sums, ValueRange tokens, Value column, ArrayRef<Segment> segments);

  const int64_t groupWidth, chunk, inputWidth;
  const bool isLocal; // a group contracts its own columns
  const Value input, result;
  Value firstColumn, numSteps, isFirst; // of the chunk of the contraction
};

} // namespace

void SddmmEmitter::addTask(Value task) {
  Value group = e.div(task, numColumnTiles()), columnTile = e.rem(task, numColumnTiles());
  Value isCommon = compare(arith::CmpIPredicate::ult, group, e.index(numCommon));
  auto multiply = [&] {
    List list = listTokens(isCommon, e.sub(group, e.index(numCommon)));
    fillPlaces(list, isCommon);
    auto direct = [&] { addTiles(list, group, columnTile, /*fromWidened=*/false); };
    if (!widened)
      return direct();
    auto wide = [&] {
      widenPanels(group, columnTile, firstColumn, numSteps);
      addTiles(list, group, columnTile, /*fromWidened=*/true);
    };
    Value several = compare(arith::CmpIPredicate::ugt, list.numTokens, e.index(tile.maxRows));
    e.branch(several, wide, direct);
  };
  if (numCommon == numGroups)
    return multiply();
  Value clears = arith::AndIOp::create(
      b, isFirst, compare(arith::CmpIPredicate::uge, group, e.index(numCommon)));
  e.branch(clears, [&] { clear(group, columnTile); });
  if (numChosen == 0)
    return e.branch(isCommon, multiply);
  multiply();
}

/// The task that follows that of a group's column tile.
SddmmEmitter::Panels SddmmEmitter::getNext(Value group, Value columnTile) {
  Value next = e.add(columnTile, e.index(1));
  Value isLast = compare(arith::CmpIPredicate::eq, next, e.index(numColumnTiles()));
  return {select(isLast, e.min(e.add(group, e.index(1)), e.index(numGroups - 1)), group),
          select(isLast, e.index(0), next)};
}

/// Clears the columns of a task for all tokens of the block.
void SddmmEmitter::clear(Value group, Value columnTile) {
  e.columnTile(groupWidth, tile.columns(), columnTile,
               [&](Value column, ArrayRef<Segment> segments) {
                 Value at = e.add(e.mul(group, e.index(groupWidth)), column);
                 e.loop(e.index(0), blockSize, 1, [&](Value token) {
                   e.storeSegments(e.zeros(segments), result, e.add(first, token), at, segments);
                 });
               });
}

void SddmmEmitter::addTiles(const List &list, Value group, Value columnTile, bool fromWidened) {
  EvenCut tiles = cutTiles(e, list.numTokens, tile.maxRows);
  Panels next = getNext(group, columnTile);
  e.loop(e.index(0), tiles.count, 1, [&](Value number) {
    Ahead ahead = lookAhead(tiles, number, numSteps, {group, columnTile}, next);
    Value start = tiles.start(e, number);
    Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
    tile.forRows(numRows, [&](int64_t rows) {
      SmallVector<Value> tokens, from;
      for (int64_t row = 0; row < rows; ++row) {
        tokens.push_back(e.add(first, place(e.add(start, e.index(row)))));
        Value column = isLocal ? e.add(firstColumn, e.mul(group, e.index(depth))) : firstColumn;
        from.push_back(e.add(e.mul(tokens.back(), e.index(inputWidth)), column));
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
  for (auto [row, token] : llvm::enumerate(tokens))
    for (Segment segment : segments) {
      Value sum = sums[row * tile.numVectors() + segment.offset / tile.vectorWidth];
      if (segment.width != tile.vectorWidth)
        sum = vector::ExtractStridedSliceOp::create(b, sum, {segment.offset % tile.vectorWidth},
                                                    {segment.width}, {1});
      Value at[] = {token, e.add(column, e.index(segment.offset))};
      Value old = e.load(result, at, segment.width);
      Value none = e.splat(e.f32(0), segment.width);
      old = arith::SelectOp::create(b, isFirst, none, old);
      e.store(arith::AddFOp::create(b, old, sum), result, at);
    }
}

void mlir::mohd::emitTiledSddmm(KernelEmitter &e, TiledSddmmOp op, ValueRange operands,
                                ValueRange results) {
  SddmmEmitter(e, op, operands, results[0]).emit();
}
