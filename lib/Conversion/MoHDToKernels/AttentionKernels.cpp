// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernel of mohd.attention: softmax(query . keys^T / sqrt(head_dim)) . values over the rows of a cache, as far as the token's position.
//
// A task is one key head with its H query heads (a share of them where they are many) for a block of tokens. It walks the cache in blocks
// of rows and keeps the softmax's maximum and mass as it goes (Milakov and Gimelshein, arXiv 1805.02867). There are two ways:
//
// - Successive tokens of one sequence (a prompt) together: a column for each token and query head. Columns are the lanes of vectors, and
//   both products multiply an element of the cache, the same for all lanes, by a vector of columns: scores [rows, columns] +=
//   key[row, j] * query[j, columns], sums [j, columns] += value[row, j] * weights[row, columns]. So nothing is added up across lanes, and
//   a block of the cache is read once for all columns.
// - A token alone (decoding): columns of the head are the lanes. A row is read once for several query heads, for all of them where a key
//   head has up to four.
//
// A row that a token may not see has no influence on it, be it NaN: weights that are zero are not multiplied with values.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Rows of the cache that a token alone takes at a time: a multiple of every number of lanes.
static constexpr int64_t kTokenRows = 32;
/// Rows of the cache that tokens together take at a time: a multiple of the rows of every register tile.
static constexpr int64_t kTileRows = 48;
/// Columns, one for each token and query head, that a task has if its tokens are many.
static constexpr int64_t kTaskColumns = 64;
/// Elements of a token's queries that a task keeps on the stack, two f32 for each.
static constexpr int64_t kMaxTaskElements = 16384;
/// Widest heads whose tokens are attended together: wider ones take too much of a stack.
static constexpr int64_t kMaxTileHeadDim = 512;

namespace {

/// How the work is cut: known when the kernel is written.
struct Shape {
  Shape(AttentionOp op, int64_t lanes) : headDim(op.getHeadDim()), panelWidth(2 * lanes) {
    int64_t numShared = std::max<int64_t>(op.getNumHeads() / op.getNumKvHeads(), 1);
    numHeads = std::clamp<int64_t>(kMaxTaskElements / headDim, 1, numShared);
    while (numShared % numHeads != 0)
      --numHeads;
    tasksOfKey = numShared / numHeads;
    // Without `sequence` tokens are of different sequences.
    if (op.getSequence() && headDim <= kMaxTileHeadDim)
      tokensOfTask = std::max<int64_t>(kTaskColumns / numHeads, 1);
    fewestColumns = numHeads % 2 == 0 ? panelWidth : lanes;
    usesTiles = headDim <= kMaxTileHeadDim && tokensOfTask * numHeads >= fewestColumns;
    numPanels = llvm::divideCeil(tokensOfTask * numHeads, panelWidth);
    tileRows = lanes >= 16 ? 8 : 6;
  }

  int64_t headDim;
  int64_t numHeads;         // H: query heads of a task, all of one key head
  int64_t tasksOfKey;       // tasks that share a token's key head
  int64_t tokensOfTask = 1; // at most
  int64_t
      fewestColumns; // from which on tokens are faster together than alone, where a single head does not share what it loads
  bool usesTiles;    // whether tokens may be attended together
  int64_t panelWidth; // columns in registers at a time
  int64_t numPanels;  // panels of a task, at most
  int64_t
      tileRows; // rows (or columns of values) in registers at a time, a panel wide each: 16 or 12 vectors
};

/// A kernel's buffers, and what its ways have in common.
struct Attention {
  Attention(KernelEmitter &e, AttentionOp op, ValueRange operands, Value result)
      : Attention(e, op, operands, result, Shape(op, e.lanes)) {}
  Attention(KernelEmitter &e, AttentionOp op, ValueRange operands, Value result, Shape shape)
      : e(e), b(e.b), shape(shape), query(operands[0]), keys(operands[1]), values(operands[2]),
        positions(operands[3]), sequences(op.getSequence() ? operands[4] : Value()),
        result(result) {}

  Value multiply(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value exp(Value x) { return math::ExpOp::create(b, x); }
  Value minusInfinity() { return e.f32(-std::numeric_limits<double>::infinity()); }
  Value minusInfinity(int64_t width) { return e.splat(minusInfinity(), width); }
  /// What scores are taken relative to, of their maximum. While all scores are -Inf any finite number serves, and Inf - Inf must not come up.
  Value reference(Value maximum) {
    bool isVector = isa<VectorType>(maximum.getType());
    int64_t width = isVector ? cast<VectorType>(maximum.getType()).getDimSize(0) : 1;
    Value none = isVector ? minusInfinity(width) : minusInfinity();
    Value zero = isVector ? e.splat(e.f32(0), width) : e.f32(0);
    Value isNone = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, maximum, none);
    return arith::SelectOp::create(b, isNone, zero, maximum);
  }
  /// Part of a row of `cache` (keys or values), columns of the task's key head from `offset` on.
  Value load(Value cache, Value row, Value offset, int64_t width) {
    return e.load(cache, {e.index(0), sequence, row, e.add(column, offset)}, width);
  }
  /// Part of the query of a head, counted from the task's first, divided by sqrt(head_dim).
  Value loadQuery(Value token, Value head, Value offset, int64_t width) {
    Value scale = e.splat(e.f32(1.0 / std::sqrt(double(shape.headDim))), width);
    return multiply(e.load(query, {token, e.add(firstOf(head), offset)}, width), scale);
  }
  /// First column of a head in the query and the result.
  Value firstOf(Value head) { return e.mul(e.add(firstHead, head), e.index(shape.headDim)); }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const Shape shape;
  const Value query, keys, values, positions, sequences, result;
  Value column, firstHead; // of the task: first column of its key head, its first query head
  Value sequence;          // that is attended to
};

//===----------------------------------------------------------------------===//
// A token alone
//===----------------------------------------------------------------------===//

/// Attends to the cache of a token alone, for the H query heads of a task.
class TokenAttention {
public:
  explicit TokenAttention(Attention &a)
      : a(a), e(a.e), b(a.b), headDim(a.shape.headDim), numHeads(a.shape.numHeads),
        numAccumulators(e.lanes >= 16 ? 16 : 8), headsOfTile(numHeads % 4 == 0   ? 4
                                                             : numHeads % 2 == 0 ? 2
                                                                                 : 1),
        scaled(e.array({numHeads, headDim})), sums(e.array({numHeads, headDim})),
        maxima(e.array({numHeads})), masses(e.array({numHeads})),
        weights(e.array({headsOfTile, kTokenRows})) {}

  void emit(Value token) {
    e.loop(e.index(0), e.index(numHeads), 1, [&](Value head) { start(token, head); });
    Value numRows = e.add(e.loadIndex(a.positions, token), e.index(1));
    e.loop(e.index(0), numRows, kTokenRows, [&](Value row) {
      Value count = e.min(e.index(kTokenRows), e.sub(numRows, row));
      e.loop(e.index(0), e.index(numHeads), headsOfTile,
             [&](Value head) { addBlock(head, row, count); });
    });
    e.loop(e.index(0), e.index(numHeads), 1, [&](Value head) { finish(token, head); });
  }

private:
  void start(Value token, Value head) {
    e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
      e.store(a.loadQuery(token, head, j, width), scaled, {head, j});
      e.store(e.splat(e.f32(0), width), sums, {head, j});
    });
    e.store(a.minusInfinity(), maxima, head);
    e.store(e.f32(0), masses, head);
  }

  /// Adds `count` rows of the cache from `row` on to the state of a tile of heads from `head` on.
  void addBlock(Value head, Value row, Value count) {
    storeScores(head, row, count);
    SmallVector<Value> corrections;
    for (int64_t i = 0; i < headsOfTile; ++i)
      corrections.push_back(weigh(e.add(head, e.index(i)), e.index(i), count));
    auto numTiles = e.index(llvm::divideCeil(headDim, tileWidth()));
    e.loop(e.index(0), numTiles, 1, [&](Value tile) {
      e.columnTile(headDim, tileWidth(), tile, [&](Value first, ArrayRef<Segment> segments) {
        addValues(head, row, count, corrections, first, segments);
      });
    });
  }

  /// Scores of a tile of heads and `count` rows, to `weights`. What follows there in a tile of rows is arbitrary.
  void storeScores(Value head, Value row, Value count) {
    int64_t numRows = numAccumulators / headsOfTile;
    Value last = e.add(row, e.sub(count, e.index(1)));
    e.loop(e.index(0), count, numRows, [&](Value i) {
      SmallVector<Value> rows, heads;
      for (int64_t r = 0; r < numRows; ++r)
        rows.push_back(e.min(e.add(e.add(row, i), e.index(r)), last));
      for (int64_t h = 0; h < headsOfTile; ++h)
        heads.push_back(e.add(head, e.index(h)));
      Value scores = e.dots(
          headsOfTile, numRows, headDim,
          [&](int64_t h, Value j, int64_t width) { return e.load(scaled, {heads[h], j}, width); },
          [&](int64_t r, Value j, int64_t width) { return a.load(a.keys, rows[r], j, width); });
      for (int64_t h = 0; h < headsOfTile; ++h)
        e.store(vector::ExtractStridedSliceOp::create(b, scores, {h * numRows}, {numRows}, {1}),
                weights, {e.index(h), i});
    });
  }

  /// Turns the scores of `head`, in `weights[place]`, into exp(score - maximum) and updates the maximum and the mass. Returns the factor
  /// (f32) of what has been summed with the old maximum. A NaN among the scores makes all of it NaN.
  Value weigh(Value head, Value place, Value count) {
    auto type = VectorType::get({e.lanes}, b.getIndexType());
    Value steps = vector::StepOp::create(b, type), end = e.splat(count, e.lanes);
    auto forEachVector = [&](Value init, llvm::function_ref<Value(Value, Value)> next) {
      return e.loop(
          e.index(0), e.index(kTokenRows), e.lanes, init,
          [&](Value i, ValueRange carried) { return SmallVector<Value>{next(i, carried[0])}; })[0];
    };
    Value largest = forEachVector(a.minusInfinity(e.lanes), [&](Value i, Value largest) {
      Value rows = arith::AddIOp::create(b, steps, e.splat(i, e.lanes));
      Value isRow = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rows, end);
      Value scores = arith::SelectOp::create(b, isRow, e.load(weights, {place, i}, e.lanes),
                                             a.minusInfinity(e.lanes));
      e.store(scores, weights, {place, i});
      return e.larger(scores, largest);
    });
    largest = e.reduce(largest, [&](Value low, Value high) { return e.larger(low, high); });
    Value oldMaximum = e.loadScalar(maxima, head);
    Value maximum = e.larger(largest, oldMaximum), reference = a.reference(maximum);
    e.store(maximum, maxima, head);
    Value mass = forEachVector(e.splat(e.f32(0), e.lanes), [&](Value i, Value mass) -> Value {
      Value scores = e.load(weights, {place, i}, e.lanes);
      Value weight = a.exp(arith::SubFOp::create(b, scores, e.splat(reference, e.lanes)));
      e.store(weight, weights, {place, i});
      return arith::AddFOp::create(b, mass, weight);
    });
    Value correction = a.exp(arith::SubFOp::create(b, oldMaximum, reference));
    e.store(e.fma(e.loadScalar(masses, head), correction, e.sum(mass)), masses, head);
    return correction;
  }

  /// Columns of values that a tile of heads has in registers.
  int64_t tileWidth() { return numAccumulators / headsOfTile * e.lanes; }

  /// sums = sums * correction + weights . values, for a tile of heads and `segments` from column `first` on.
  void addValues(Value head, Value row, Value count, ValueRange corrections, Value first,
                 ArrayRef<Segment> segments) {
    int64_t numChains = headsOfTile * segments.size();
    auto at = [&](Segment segment) { return e.add(first, e.index(segment.offset)); };
    SmallVector<Value> acc;
    for (int64_t h = 0; h < headsOfTile; ++h)
      for (Segment segment : segments)
        acc.push_back(
            a.multiply(e.load(sums, {e.add(head, e.index(h)), at(segment)}, segment.width),
                       e.splat(corrections[h], segment.width)));
    auto addRow = [&](Value i, MutableArrayRef<Value> acc) {
      for (auto [s, segment] : llvm::enumerate(segments)) {
        Value data = a.load(a.values, e.add(row, i), at(segment), segment.width);
        for (int64_t h = 0; h < headsOfTile; ++h) {
          Value weight = e.splat(e.loadScalar(weights, {e.index(h), i}), segment.width);
          Value &sum = acc[h * segments.size() + s];
          sum = e.fma(weight, data, sum);
        }
      }
    };
    // Several rows at once, each with its own accumulators, where there are too few to hide the latency of an addition.
    int64_t unroll = llvm::PowerOf2Ceil(llvm::divideCeil(8, numChains));
    for (int64_t u = 1; u < unroll; ++u)
      for (int64_t h = 0; h < headsOfTile; ++h)
        acc.append(e.zeros(segments));
    Value whole = e.mul(e.div(count, unroll), e.index(unroll));
    acc = e.loop(e.index(0), whole, unroll, acc, [&](Value i, ValueRange carried) {
      SmallVector<Value> next(carried);
      for (int64_t u = 0; u < unroll; ++u)
        addRow(e.add(i, e.index(u)), MutableArrayRef<Value>(next).slice(u * numChains, numChains));
      return next;
    });
    for (int64_t stride = unroll / 2 * numChains; stride >= numChains; stride /= 2)
      for (int64_t i = 0; i < stride; ++i)
        acc[i] = arith::AddFOp::create(b, acc[i], acc[i + stride]);
    acc.truncate(numChains);
    if (unroll > 1)
      acc = e.loop(whole, count, 1, acc, [&](Value i, ValueRange carried) {
        SmallVector<Value> next(carried);
        addRow(i, next);
        return next;
      });
    for (int64_t h = 0; h < headsOfTile; ++h)
      e.storeSegments(ArrayRef(acc).slice(h * segments.size(), segments.size()), sums,
                      e.add(head, e.index(h)), first, segments);
  }

  void finish(Value token, Value head) {
    Value inverse = arith::DivFOp::create(b, e.f32(1), e.loadScalar(masses, head));
    e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
      Value data = a.multiply(e.load(sums, {head, j}, width), e.splat(inverse, width));
      e.store(data, a.result, {token, e.add(a.firstOf(head), j)});
    });
  }

  Attention &a;
  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const int64_t headDim, numHeads; // numHeads = H
  const int64_t numAccumulators;   // vectors in registers
  const int64_t headsOfTile;       // heads that share what is loaded of a row
  const Value scaled, sums;   // [H, head_dim]: queries / sqrt(head_dim); weighted sums of values
  const Value maxima, masses; // [H]: largest score; sum of exp(score - maximum)
  const Value weights;        // [headsOfTile, kTokenRows]: of a block
};

//===----------------------------------------------------------------------===//
// Tokens of one sequence together
//===----------------------------------------------------------------------===//

/// Attends to the cache of successive tokens of one sequence, for the H query heads of a task. Column c is head c mod H of token c / H; the
/// columns are in panels of W, and what is missing of the last panel repeats the last column.
class TileAttention {
public:
  explicit TileAttention(Attention &a)
      : a(a), e(a.e), b(a.b), headDim(a.shape.headDim), numHeads(a.shape.numHeads),
        panelWidth(a.shape.panelWidth), tileRows(a.shape.tileRows),
        queries(e.array({a.shape.numPanels, headDim, panelWidth})),
        sums(e.array({a.shape.numPanels, headDim, panelWidth})),
        maxima(e.array({a.shape.numPanels, panelWidth})),
        masses(e.array({a.shape.numPanels, panelWidth})),
        limits(e.array({a.shape.numPanels, panelWidth}, b.getI32Type())),
        extremes(e.array({a.shape.numPanels, 2}, b.getI32Type())),
        keyBlock(e.array({kTileRows, headDim})), valueBlock(e.array({kTileRows, headDim})),
        weights(e.array({kTileRows, panelWidth})) {}

  /// For tokens [first, end).
  void emit(Value first, Value end) {
    firstToken = first;
    numColumns = e.mul(e.sub(end, first), e.index(numHeads));
    Value numPanels = e.ceilDiv(numColumns, panelWidth);
    auto forEachPanel = [&](llvm::function_ref<void(Value)> body) {
      e.loop(e.index(0), numPanels, 1, body);
    };
    Value numRows = e.loop(e.index(0), numPanels, 1, e.index(0), [&](Value panel, ValueRange most) {
      start(panel);
      return SmallVector<Value>{e.max(most[0], seenByAny(panel))};
    })[0];
    e.loop(e.index(0), numRows, kTileRows, [&](Value row) {
      Value count = e.min(e.index(kTileRows), e.sub(numRows, row));
      copyBlock(a.keys, row, count, keyBlock);
      copyBlock(a.values, row, count, valueBlock);
      forEachPanel([&](Value panel) { addBlock(panel, row, count); });
    });
    forEachPanel([&](Value panel) { finish(panel); });
  }

private:
  Value load(Value panels, Value panel, Value j) {
    return e.load(panels, {panel, j, e.index(0)}, panelWidth);
  }
  Value load(Value state, Value panel) { return e.load(state, {panel, e.index(0)}, panelWidth); }

  /// Calls body(first lane) for each vector of a panel's columns.
  void forEachVector(llvm::function_ref<void(Value)> body) {
    e.loop(e.index(0), e.index(panelWidth), e.lanes, body);
  }
  /// Calls body(i, token, head) for each column of the vector that begins at `lane` of a panel.
  void forEachColumn(Value panel, Value lane, llvm::function_ref<void(Value, Value, Value)> body) {
    Value first = e.add(e.mul(panel, e.index(panelWidth)), lane);
    Value last = e.sub(numColumns, e.index(1));
    e.loop(e.index(0), e.index(e.lanes), 1, [&](Value i) {
      Value column = e.min(e.add(first, i), last);
      body(i, e.add(firstToken, e.div(column, numHeads)), e.rem(column, numHeads));
    });
  }

  /// `vector` in the low lanes of a vector of `lanes`.
  Value pad(Value vector) {
    if (cast<VectorType>(vector.getType()).getDimSize(0) == e.lanes)
      return vector;
    return vector::InsertStridedSliceOp::create(b, vector, e.splat(e.f32(0), e.lanes),
                                                ArrayRef<int64_t>{0}, ArrayRef<int64_t>{1});
  }

  /// Loads the queries and positions of a panel and clears its state. The key block, not in use yet, has the queries until they are transposed.
  void start(Value panel) {
    forEachVector([&](Value lane) {
      forEachColumn(panel, lane, [&](Value i, Value token, Value head) {
        Value position = memref::LoadOp::create(b, a.positions, token);
        memref::StoreOp::create(b, position, limits, {panel, e.add(lane, i)});
        e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
          e.store(a.loadQuery(token, head, j, width), keyBlock, {i, j});
        });
      });
      e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
        SmallVector<Value> rows;
        for (int64_t i = 0; i < e.lanes; ++i)
          rows.push_back(pad(e.load(keyBlock, {e.index(i), j}, width)));
        SmallVector<Value> columns = e.transpose(rows);
        for (int64_t k = 0; k < width; ++k)
          e.store(columns[k], queries, {panel, e.add(j, e.index(k)), lane});
      });
    });
    Value zero = e.splat(e.f32(0), panelWidth);
    e.loop(e.index(0), e.index(headDim), 1,
           [&](Value j) { e.store(zero, sums, {panel, j, e.index(0)}); });
    e.store(a.minusInfinity(panelWidth), maxima, {panel, e.index(0)});
    e.store(zero, masses, {panel, e.index(0)});
    auto storeLimit = [&](vector::CombiningKind kind, int64_t place) {
      Value limit = vector::ReductionOp::create(b, kind, loadLimits(panel));
      memref::StoreOp::create(b, limit, extremes, {panel, e.index(place)});
    };
    storeLimit(vector::CombiningKind::MINSI, 0);
    storeLimit(vector::CombiningKind::MAXSI, 1);
  }

  /// Number of rows that all columns of a panel see, or that any of them sees.
  Value seenByAll(Value panel) {
    return e.add(e.loadIndex(extremes, {panel, e.index(0)}), e.index(1));
  }
  Value seenByAny(Value panel) {
    return e.add(e.loadIndex(extremes, {panel, e.index(1)}), e.index(1));
  }
  Value loadLimits(Value panel) {
    auto type = VectorType::get({panelWidth}, b.getI32Type());
    return vector::LoadOp::create(b, type, limits, ValueRange{panel, e.index(0)});
  }
  /// Columns of a panel that see row number `row`.
  Value sees(Value columnLimits, Value row) {
    Value narrow = arith::IndexCastOp::create(b, b.getI32Type(), row);
    return arith::CmpIOp::create(b, arith::CmpIPredicate::sge, columnLimits,
                                 e.splat(narrow, panelWidth));
  }

  /// Copies `count` rows from `row` on to a block, which saves the processor from strides, and widens them; rows that fill up a tile are zero.
  void copyBlock(Value cache, Value row, Value count, Value block) {
    e.loop(e.index(0), count, 1, [&](Value i) {
      e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
        e.store(a.load(cache, e.add(row, i), j, width), block, {i, j});
      });
    });
    Value end = e.mul(e.ceilDiv(count, tileRows), e.index(tileRows));
    e.loop(count, end, 1, [&](Value i) {
      e.columns(headDim, e.lanes,
                [&](Value j, int64_t width) { e.store(e.splat(e.f32(0), width), block, {i, j}); });
    });
  }

  /// Adds `count` rows from `row` on, which are in the blocks, to the state of a panel, as far as its columns see them.
  void addBlock(Value panel, Value row, Value count) {
    Value end = e.min(e.add(row, count), seenByAny(panel));
    Value isSeen = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, row, end);
    e.branch(isSeen, [&] {
      Value numRows = e.sub(end, row);
      Value numWhole = e.sub(e.min(e.max(seenByAll(panel), row), end), row);
      Value correction = weigh(panel, row, numRows);
      // Tiles of columns of nearly the same width.
      int64_t width = llvm::divideCeil(headDim, llvm::divideCeil(headDim, tileRows));
      int64_t wholeTiles = headDim / width * width;
      auto addTile = [&](Value j, int64_t width) {
        addValues(panel, row, numWhole, numRows, correction, j, width);
      };
      e.loop(e.index(0), e.index(wholeTiles), width, [&](Value j) { addTile(j, width); });
      if (wholeTiles < headDim)
        addTile(e.index(wholeTiles), headDim - wholeTiles);
    });
  }

  /// Scores of `tileRows` rows of the key block from `i` on: a vector of the panel's columns for each.
  SmallVector<Value> scores(Value panel, Value i) {
    SmallVector<Value> zeros(tileRows, e.splat(e.f32(0), panelWidth));
    return e.loop(e.index(0), e.index(headDim), 1, zeros, [&](Value j, ValueRange carried) {
      Value queryColumn = load(queries, panel, j);
      SmallVector<Value> next;
      for (auto [r, acc] : llvm::enumerate(carried)) {
        Value key = e.loadScalar(keyBlock, {e.add(i, e.index(r)), j});
        next.push_back(e.fma(e.splat(key, panelWidth), queryColumn, acc));
      }
      return next;
    });
  }

  /// Stores exp(score - maximum) of `numRows` rows to `weights` and updates the maxima and masses of a panel. Returns the factors of what has
  /// been summed with the old maxima. A NaN among a column's scores makes all of the column NaN.
  Value weigh(Value panel, Value row, Value numRows) {
    Value columnLimits = loadLimits(panel), oldMaxima = load(maxima, panel);
    Value newMaxima =
        e.loop(e.index(0), numRows, tileRows, oldMaxima, [&](Value i, ValueRange carried) {
          Value largest = carried[0];
          for (auto [r, score] : llvm::enumerate(scores(panel, i))) {
            Value place = e.add(i, e.index(r));
            Value seen = arith::SelectOp::create(b, sees(columnLimits, e.add(row, place)), score,
                                                 a.minusInfinity(panelWidth));
            e.store(seen, weights, {place, e.index(0)});
            largest = e.larger(seen, largest);
          }
          return SmallVector<Value>{largest};
        })[0];
    Value reference = a.reference(newMaxima);
    Value mass = e.loop(e.index(0), numRows, 1, e.splat(e.f32(0), panelWidth),
                        [&](Value i, ValueRange carried) {
                          Value score = load(weights, i);
                          Value weight = a.exp(arith::SubFOp::create(b, score, reference));
                          e.store(weight, weights, {i, e.index(0)});
                          return SmallVector<Value>{arith::AddFOp::create(b, carried[0], weight)};
                        })[0];
    Value correction = a.exp(arith::SubFOp::create(b, oldMaxima, reference));
    e.store(newMaxima, maxima, {panel, e.index(0)});
    e.store(e.fma(load(masses, panel), correction, mass), masses, {panel, e.index(0)});
    return correction;
  }

  /// sums = sums * correction + weights . values, for `width` columns of values from `first` on. All columns of the panel see the first
  /// `numWhole` of the rows.
  void addValues(Value panel, Value row, Value numWhole, Value numRows, Value correction,
                 Value first, int64_t width) {
    SmallVector<Value> acc;
    for (int64_t j = 0; j < width; ++j)
      acc.push_back(a.multiply(load(sums, panel, e.add(first, e.index(j))), correction));
    auto addRow = [&](Value i, ValueRange acc) {
      Value weight = load(weights, i);
      SmallVector<Value> next;
      for (auto [j, sum] : llvm::enumerate(acc)) {
        Value value = e.loadScalar(valueBlock, {i, e.add(first, e.index(j))});
        next.push_back(e.fma(e.splat(value, panelWidth), weight, sum));
      }
      return next;
    };
    acc = e.loop(e.index(0), numWhole, 1, acc, addRow);
    Value columnLimits = loadLimits(panel);
    acc = e.loop(numWhole, numRows, 1, acc, [&](Value i, ValueRange carried) {
      Value isSeen = sees(columnLimits, e.add(row, i));
      SmallVector<Value> next = addRow(i, carried);
      for (auto [sum, old] : llvm::zip_equal(next, carried))
        sum = arith::SelectOp::create(b, isSeen, sum, old);
      return next;
    });
    for (auto [j, sum] : llvm::enumerate(acc))
      e.store(sum, sums, {panel, e.add(first, e.index(j)), e.index(0)});
  }

  /// Stores the result of a panel, by way of the key block, which is no longer in use. Columns that repeat the last one store it again.
  void finish(Value panel) {
    Value ones = e.splat(e.f32(1), panelWidth);
    e.store(arith::DivFOp::create(b, ones, load(masses, panel)), masses, {panel, e.index(0)});
    forEachVector([&](Value lane) {
      Value inverse = e.load(masses, {panel, lane}, e.lanes);
      e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
        SmallVector<Value> columns(e.lanes, e.splat(e.f32(0), e.lanes));
        for (int64_t k = 0; k < width; ++k)
          columns[k] =
              a.multiply(e.load(sums, {panel, e.add(j, e.index(k)), lane}, e.lanes), inverse);
        for (auto [i, row] : llvm::enumerate(e.transpose(columns)))
          e.store(vector::ExtractStridedSliceOp::create(b, row, {0}, {width}, {1}), keyBlock,
                  {e.index(i), j});
      });
      forEachColumn(panel, lane, [&](Value i, Value token, Value head) {
        e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
          e.store(e.load(keyBlock, {i, j}, width), a.result, {token, e.add(a.firstOf(head), j)});
        });
      });
    });
  }

  Attention &a;
  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const int64_t headDim, numHeads, panelWidth, tileRows; // numHeads = H, panelWidth = W
  const Value queries,
      sums; // [panels, head_dim, W]: queries / sqrt(head_dim); weighted sums of values
  const Value maxima, masses;       // [panels, W]: largest score; sum of exp(score - maximum)
  const Value limits;               // [panels, W] i32: last row that a column sees
  const Value extremes;             // [panels, 2] i32: smallest and largest of them
  const Value keyBlock, valueBlock; // [kTileRows, head_dim]: a block of the cache
  const Value weights;              // [kTileRows, W]: of a block and a panel
  Value firstToken, numColumns;
};

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

/// Calls body(first, end) for each run of successive tokens in [lower, upper) that have the same sequence.
void forEachRun(Attention &a, Value lower, Value upper,
                llvm::function_ref<void(Value, Value)> body) {
  KernelEmitter &e = a.e;
  e.loop(lower, upper, 1, lower, [&](Value token, ValueRange first) {
    Value next = e.add(token, e.index(1));
    Value isLast = arith::CmpIOp::create(a.b, arith::CmpIPredicate::eq, next, upper);
    Value other = arith::SelectOp::create(a.b, isLast, token, next);
    Value differs =
        arith::CmpIOp::create(a.b, arith::CmpIPredicate::ne, e.loadIndex(a.sequences, token),
                              e.loadIndex(a.sequences, other));
    Value ends = arith::OrIOp::create(a.b, isLast, differs);
    e.branch(ends, [&] {
      a.sequence = e.loadIndex(a.sequences, token);
      body(first[0], next);
    });
    return SmallVector<Value>{arith::SelectOp::create(a.b, ends, next, first[0])};
  });
}

} // namespace

std::string mlir::mohd::gridOfAttention(AttentionOp op, int64_t lanes, StringRef tokens) {
  Shape shape(op, lanes);
  return KernelEmitter::gridOf(op.getNumHeads() / shape.numHeads, shape.tokensOfTask, tokens);
}

void mlir::mohd::emitAttention(KernelEmitter &e, AttentionOp op, ValueRange operands,
                               ValueRange results) {
  Attention a(e, op, operands, results[0]);
  // Where a single token has columns enough, no token is alone.
  std::optional<TileAttention> tiles;
  std::optional<TokenAttention> tokens;
  if (a.shape.usesTiles)
    tiles.emplace(a);
  if (!a.shape.usesTiles || a.shape.numHeads < a.shape.fewestColumns)
    tokens.emplace(a);
  auto attend = [&](Value first, Value end) {
    auto oneByOne = [&] { e.loop(first, end, 1, [&](Value token) { tokens->emit(token); }); };
    if (!tiles)
      return oneByOne();
    if (!tokens)
      return tiles->emit(first, end);
    int64_t fewest = llvm::divideCeil(a.shape.fewestColumns, a.shape.numHeads);
    Value isLong =
        arith::CmpIOp::create(e.b, arith::CmpIPredicate::uge, e.sub(end, first), e.index(fewest));
    e.branch(isLong, [&] { tiles->emit(first, end); }, oneByOne);
  };
  int64_t blockSize = a.shape.tokensOfTask;
  Value lastBlock = e.mul(e.sub(e.ceilDiv(e.numTokens, blockSize), e.index(1)), e.index(blockSize));
  e.tasks(blockSize, [&](Value part, Value lower, Value upper) {
    // Later tokens of a prompt see more rows: they come first, so that no thread starts on them when the others are done.
    lower = e.sub(lastBlock, lower);
    upper = e.min(e.add(lower, e.index(blockSize)), e.numTokens);
    a.column = e.mul(e.div(part, a.shape.tasksOfKey), e.index(a.shape.headDim));
    a.firstHead = e.mul(part, e.index(a.shape.numHeads));
    if (a.sequences)
      return forEachRun(a, lower, upper, attend);
    a.sequence = lower; // tokensOfTask is 1
    attend(lower, upper);
  });
}
