// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A token alone: the columns of a head are the lanes of vectors, and several query heads share what is loaded of a row of the cache.
#include "Attention.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Rows of the cache that a token alone takes at a time: a multiple of every number of lanes.
static constexpr int64_t kTokenRows = 32;

namespace {

/// Attends to the cache of a token alone, for the H query heads of a task.
class TokenAttention : public AttentionWay {
public:
  explicit TokenAttention(Attention &a)
      : a(a), e(a.e), b(a.b), headDim(a.shape.headDim), numHeads(a.shape.numHeads),
        numAccumulators(e.lanes >= 16 ? 16 : 8), headsOfTile(numHeads % 4 == 0   ? 4
                                                             : numHeads % 2 == 0 ? 2
                                                                                 : 1),
        scaled(e.array({numHeads, headDim})), sums(e.array({numHeads, headDim})),
        maxima(e.array({numHeads})), masses(e.array({numHeads})),
        weights(e.array({headsOfTile, kTokenRows})) {}

  void emit(Value first, Value end) override {
    e.loop(first, end, 1, [&](Value token) { attend(token); });
  }

private:
  void attend(Value token) {
    e.loop(e.index(0), e.index(numHeads), 1, [&](Value head) { start(token, head); });
    Value numRows = e.add(e.loadIndex(a.positions, token), e.index(1));
    e.loop(e.index(0), numRows, kTokenRows, [&](Value row) {
      Value count = e.min(e.index(kTokenRows), e.sub(numRows, row));
      e.loop(e.index(0), e.index(numHeads), headsOfTile,
             [&](Value head) { addBlock(head, row, count); });
    });
    e.loop(e.index(0), e.index(numHeads), 1, [&](Value head) { finish(token, head); });
  }

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

} // namespace

std::unique_ptr<AttentionWay> mlir::mohd::createTokenAttention(Attention &attention) {
  return std::make_unique<TokenAttention>(attention);
}
