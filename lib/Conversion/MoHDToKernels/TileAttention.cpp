// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Successive tokens of one sequence together: a column for each token and query head, and columns are the lanes of vectors.
#include "Attention.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Rows of the cache that tokens together take at a time: a multiple of the rows of every register tile.
static constexpr int64_t kTileRows = 48;

namespace {

/// Attends to the cache of successive tokens of one sequence, for the H query heads of a task. Column c is head c mod H of token c / H; the
/// columns are in panels of W, and what is missing of the last panel repeats the last column.
class TileAttention : public AttentionWay {
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

  void emit(Value first, Value end) override {
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

} // namespace

std::unique_ptr<AttentionWay> mlir::mohd::createTileAttention(Attention &attention) {
  return std::make_unique<TileAttention>(attention);
}
