// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.tiled_weight_gradient: a matrix product whose contraction is over tokens.
//
// A task is a tile of one group's gradient, [rows, columns] f32 on the stack. Tokens that have the group are taken in chunks: both sides of a chunk are
// copied side by side, in f32, then multiplied, a few rows by a few vectors of columns in registers. Columns are the dimension that lies side by side
// in the result, rows the other one. Every token of a group is added in ascending order, whatever the number of threads.
#include "ProductTile.h"

using namespace mlir;
using namespace mlir::mohd;

/// Rows and columns of a task's tile at most, and tokens of a chunk: large, as every tile of a group copies its tokens anew. With both sides of a chunk it takes 386 KiB.
static constexpr int64_t kTileRows = 252, kTileColumns = 256, kChunk = 64;
/// f32 elements of a cache line.
static constexpr int64_t kLine = 16;
/// Vectors of a row of sums in registers.
static constexpr int64_t kRowVectors = 2;

namespace {

/// One side of the product: columns of a [tokens, width] tensor.
struct Side {
  unsigned operand;    // of the op
  int64_t extent;      // of the gradient along this side
  bool isGrouped;      // group i has columns i * extent on; else all groups have the same ones
  int64_t tile = 0;    // extent of a task's tile, whole pieces of registers
  Value buffer, chunk; // the tensor; [kChunk, pitch] f32

  int64_t numTiles() const { return llvm::divideCeil(extent, tile); }
  /// From a token of a chunk to the next: an odd number of cache lines, so that a few columns of all tokens do not meet in a few sets of the cache.
  int64_t getPitch() const { return (llvm::divideCeil(tile, kLine) | 1) * kLine; }
};

/// The product that an op is, and where the result has its dimensions.
struct Product {
  Product(TiledWeightGradientOp op, int64_t lanes);

  int64_t numTasks() const { return numGroups * rows.numTiles() * columns.numTiles(); }

  int64_t numGroups;
  Side rows, columns;
  int64_t rowStep, vectorWidth; // rows in registers; columns of a vector
  int64_t groupDim, rowDim, columnDim;
};

/// Writes the kernel.
class WeightGradientEmitter {
public:
  WeightGradientEmitter(KernelEmitter &e, TiledWeightGradientOp op, ValueRange operands,
                        Value result);
  void emit();

private:
  void addGroup(Value group, Value firstRow, Value firstColumn, Value numRows, Value numColumns);
  void pack(const Side &side, Value group, Value first, Value size, Value count,
            llvm::function_ref<Value(Value)> token);
  void multiply(Value count, Value numRows, Value numColumns);
  void store(Value group, Value firstRow, Value firstColumn, Value numRows, Value numColumns);
  void forColumns(Value count, int64_t width, llvm::function_ref<void(Value, int64_t)> body);
  Value pick(Value isCommon, llvm::function_ref<Value()> common,
             llvm::function_ref<Value()> chosen);

  KernelEmitter &e;
  Product product;
  const int64_t numCommon, numChosen, block;
  const Value table, result;
  Value sums; // [rows, columns] of a tile, f32
};

} // namespace

Product::Product(TiledWeightGradientOp op, int64_t lanes) {
  RankedTensorType type = op.getResult().getType();
  SmallVector<int64_t> shape = getGradientShape(type, op.getPermutation()); // [G, P, C]
  SmallVector<int64_t> places = {0, 1, 2};                                  // in the result
  if (type.getRank() == 2)
    places = {-1, 0, 1};
  if (op.getPermutation())
    for (auto [position, axis] : llvm::enumerate(*op.getPermutation()))
      places[axis] = position;
  numGroups = shape[0];
  groupDim = places[0];
  rows = {0, shape[1], true};
  columns = {1, shape[2], op.getLocal()};
  rowDim = places[1];
  columnDim = places[2];
  if (rowDim == type.getRank() - 1) {
    std::swap(rows, columns);
    std::swap(rowDim, columnDim);
  }
  auto atLeastOne = [](int64_t extent) { return std::max<int64_t>(extent, 1); };
  vectorWidth = std::min<int64_t>(lanes, llvm::PowerOf2Ceil(atLeastOne(columns.extent)));
  rowStep = std::min<int64_t>(op.getRows(), atLeastOne(rows.extent));
  auto cut = [&](Side &side, int64_t most, int64_t step) {
    side.tile = std::min<int64_t>(std::max<int64_t>(most / step, 1) * step,
                                  llvm::alignTo(atLeastOne(side.extent), step));
  };
  cut(rows, kTileRows, rowStep);
  cut(columns, kTileColumns, kRowVectors * vectorWidth);
}

std::string mlir::mohd::gridOfTiledWeightGradient(TiledWeightGradientOp op, int64_t lanes) {
  return std::to_string(Product(op, lanes).numTasks());
}

WeightGradientEmitter::WeightGradientEmitter(KernelEmitter &e, TiledWeightGradientOp op,
                                             ValueRange operands, Value result)
    : e(e), product(op, e.lanes), numCommon(op.getNumCommon()), numChosen(op.getNumChosen()),
      block(op.getBlock()), table(op.getTable() ? operands[2] : Value()), result(result),
      sums(e.array({product.rows.tile, product.columns.tile})) {
  for (Side *side : {&product.rows, &product.columns}) {
    side->buffer = operands[side->operand];
    side->chunk = e.array({kChunk, side->getPitch()});
  }
}

void WeightGradientEmitter::emit() {
  const Side &rows = product.rows, &columns = product.columns;
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value columnTile = e.rem(task, columns.numTiles()), rest = e.div(task, columns.numTiles());
    Value firstRow = e.mul(e.rem(rest, rows.numTiles()), e.index(rows.tile));
    Value firstColumn = e.mul(columnTile, e.index(columns.tile));
    Value numRows = e.min(e.index(rows.tile), e.sub(e.index(rows.extent), firstRow));
    Value numColumns = e.min(e.index(columns.tile), e.sub(e.index(columns.extent), firstColumn));
    Value group = e.div(rest, rows.numTiles());
    e.loop(e.index(0), e.index(rows.tile), 1, [&](Value row) {
      e.loop(e.index(0), e.index(columns.tile), product.vectorWidth, [&](Value column) {
        e.store(e.splat(e.f32(0), product.vectorWidth), sums, {row, column});
      });
    });
    addGroup(group, firstRow, firstColumn, numRows, numColumns);
    store(group, firstRow, firstColumn, numRows, numColumns);
  });
}

/// The value for a group that all tokens have, or for another one.
Value WeightGradientEmitter::pick(Value isCommon, llvm::function_ref<Value()> common,
                                  llvm::function_ref<Value()> chosen) {
  if (numChosen == 0)
    return common();
  if (numCommon == 0)
    return chosen();
  return e.choose(
      isCommon, [&] { return SmallVector<Value>{common()}; },
      [&] { return SmallVector<Value>{chosen()}; })[0];
}

/// Adds up the tokens of a group.
void WeightGradientEmitter::addGroup(Value group, Value firstRow, Value firstColumn, Value numRows,
                                     Value numColumns) {
  Value isCommon = arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, group, e.index(numCommon));
  Value zero = e.index(0), one = e.index(1), chosen = e.sub(group, e.index(numCommon));
  EvenCut blocks = cutBlocks(e, block);
  e.loop(zero, blocks.count, 1, [&](Value number) {
    Value first = blocks.start(e, number), size = e.sub(blocks.start(e, e.add(number, one)), first);
    std::optional<TableView> view;
    if (table)
      view.emplace(e, table, product.numGroups - numCommon + 1, numChosen, first);
    Value start = pick(isCommon, [&] { return zero; }, [&] { return view->offset(chosen); });
    Value end =
        pick(isCommon, [&] { return size; }, [&] { return view->offset(e.add(chosen, one)); });
    if (numChosen == 0 && numCommon < product.numGroups) // no token has another group
      end = arith::SelectOp::create(e.b, isCommon, end, zero);
    e.loop(start, end, kChunk, [&](Value lower) {
      Value count = e.min(e.index(kChunk), e.sub(end, lower));
      auto token = [&](Value i) {
        Value entry = e.add(lower, i);
        return e.add(first,
                     pick(isCommon, [&] { return entry; }, [&] { return view->token(entry); }));
      };
      pack(product.rows, group, firstRow, numRows, count, token);
      pack(product.columns, group, firstColumn, numColumns, count, token);
      multiply(count, numRows, numColumns);
    });
  });
}

/// Calls body(column, width) for [0, count) in steps of `width`, then for the left-over columns one by one.
void WeightGradientEmitter::forColumns(Value count, int64_t width,
                                       llvm::function_ref<void(Value, int64_t)> body) {
  Value whole = e.sub(count, e.rem(count, width));
  e.loop(e.index(0), whole, width, [&](Value column) { body(column, width); });
  e.loop(whole, count, 1, [&](Value column) { body(column, 1); });
}

/// Copies columns [first, +size) of `count` tokens, and zeros to the end of the tile.
void WeightGradientEmitter::pack(const Side &side, Value group, Value first, Value size,
                                 Value count, llvm::function_ref<Value(Value)> token) {
  Value source = side.isGrouped ? e.add(e.mul(group, e.index(side.extent)), first) : first;
  int64_t width = std::min<int64_t>(e.lanes, llvm::PowerOf2Ceil(side.tile / 2 + 1));
  e.loop(e.index(0), count, 1, [&](Value i) {
    Value row = token(i);
    forColumns(size, width, [&](Value column, int64_t vectorWidth) {
      e.store(e.load(side.buffer, {row, e.add(source, column)}, vectorWidth), side.chunk,
              {i, column});
    });
    e.loop(size, e.index(side.tile), 1,
           [&](Value column) { e.store(e.f32(0), side.chunk, {i, column}); });
  });
}

/// Adds the products of a chunk of `count` tokens to the sums.
void WeightGradientEmitter::multiply(Value count, Value numRows, Value numColumns) {
  const Side &rows = product.rows, &columns = product.columns;
  int64_t width = product.vectorWidth;
  e.loop(e.index(0), numColumns, kRowVectors * width, [&](Value column) {
    e.loop(e.index(0), numRows, product.rowStep, [&](Value row) {
      auto forSums = [&](llvm::function_ref<void(Value, Value)> body) {
        for (int64_t i = 0; i < product.rowStep; ++i)
          for (int64_t j = 0; j < kRowVectors; ++j)
            body(e.add(row, e.index(i)), e.add(column, e.index(j * width)));
      };
      SmallVector<Value> acc;
      forSums([&](Value r, Value c) { acc.push_back(e.load(sums, {r, c}, width)); });
      acc = e.loop(e.index(0), count, 1, acc, [&](Value token, ValueRange carried) {
        SmallVector<Value> right, next;
        for (int64_t j = 0; j < kRowVectors; ++j)
          right.push_back(e.load(columns.chunk, {token, e.add(column, e.index(j * width))}, width));
        for (int64_t i = 0; i < product.rowStep; ++i) {
          Value left = e.loadScalar(rows.chunk, {token, e.add(row, e.index(i))});
          Value factor = e.splat(left, width);
          for (int64_t j = 0; j < kRowVectors; ++j)
            next.push_back(e.fma(factor, right[j], carried[i * kRowVectors + j]));
        }
        return next;
      });
      const Value *sum = acc.begin();
      forSums([&](Value r, Value c) { e.store(*sum++, sums, {r, c}); });
    });
  });
}

/// Writes the sums of a tile where the result has them.
void WeightGradientEmitter::store(Value group, Value firstRow, Value firstColumn, Value numRows,
                                  Value numColumns) {
  int64_t rank = cast<MemRefType>(result.getType()).getRank();
  int64_t width = product.columnDim == rank - 1 ? product.vectorWidth : 1;
  e.loop(e.index(0), numRows, 1, [&](Value row) {
    forColumns(numColumns, width, [&](Value column, int64_t vectorWidth) {
      SmallVector<Value> at(rank);
      if (product.groupDim >= 0)
        at[product.groupDim] = group;
      at[product.rowDim] = e.add(firstRow, row);
      at[product.columnDim] = e.add(firstColumn, column);
      e.store(e.load(sums, {row, column}, vectorWidth), result, at);
    });
  });
}

void mlir::mohd::emitTiledWeightGradient(KernelEmitter &e, TiledWeightGradientOp op,
                                         ValueRange operands, ValueRange results) {
  WeightGradientEmitter(e, op, operands, results[0]).emit();
}
