// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.tiled_sddmm. ProductEmitter.cpp has the idea.
#include "ProductEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

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
      widened = e.array({kWidenedSteps, tile->columns()});
  }

  void emit() {
    forBlocks(numGroups * numColumnTiles(), [&](Value lower, Value upper) {
      // Few tokens fit the cache with all their columns; the buffer of widened weights does not.
      int64_t mostFew = widened ? std::min(few, tile->maxRows) : few;
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
    Value several = compare(arith::CmpIPredicate::ugt, list.numTokens, e.index(tile->maxRows));
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
        Value panel = e.mul(next.columnTile, e.index(tile->numPanels));
        return SmallVector<Value>{next.group, panel, share.start, share.rate};
      });
  return {chosen[0], chosen[1], chosen[2], chosen[3], tile->numPanels};
}

/// Sets the columns of a task to what is there without the group: the residual or 0, for all tokens of the block.
void SddmmEmitter::clear(Value group, Value columnTile) {
  e.columnTile(
      groupWidth, tile->columns(), columnTile, [&](Value column, ArrayRef<Segment> segments) {
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
  EvenCut tiles = cutTiles(e, list.numTokens, tile->maxRows);
  e.loop(e.index(0), tiles.count, 1, [&](Value number) {
    Ahead next = lookAhead(task, tiles, number);
    Value start = tiles.start(e, number);
    Value numRows = e.sub(tiles.start(e, e.add(number, e.index(1))), start);
    tile->forRows(numRows, [&](int64_t rows) {
      Ahead ahead = next;
      if (rows <= mostFewRows()) // what was asked for already
        ahead.rate = select(compare(arith::CmpIPredicate::eq, tiles.count, e.index(1)), e.index(0),
                            next.rate);
      SmallVector<Value> tokens, from;
      for (int64_t row = 0; row < rows; ++row) {
        Value at = e.add(start, e.index(row));
        tokens.push_back(e.add(first, memref::LoadOp::create(b, places, at)));
        from.push_back(memref::LoadOp::create(b, starts, at));
      }
      SmallVector<Value> sums = tile->multiply(
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
          groupWidth, tile->columns(), columnTile, [&](Value column, ArrayRef<Segment> segments) {
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
    for (int64_t offset = 0; offset < segment.width; offset += tile->vectorWidth)
      pieces.push_back({segment.offset + offset, std::min(segment.width, tile->vectorWidth)});
  for (auto [row, token] : llvm::enumerate(tokens))
    for (Segment segment : pieces) {
      Value sum = sums[row * tile->numVectors() + segment.offset / tile->vectorWidth];
      if (segment.width != tile->vectorWidth)
        sum = vector::ExtractStridedSliceOp::create(b, sum, {segment.offset % tile->vectorWidth},
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
