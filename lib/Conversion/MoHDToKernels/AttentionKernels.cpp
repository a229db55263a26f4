// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of attention and what prepares it: rope, kv_cache_append and attention.
//
// T tokens, heads of head_dim columns, several query heads to a key head. A task of attention is one token and one key head with its
// query heads (a share of them where they are many): it walks the sequence's cache in blocks of rows, so that a block's keys and values are in the cache for every
// query head, and keeps the softmax's maximum and sum as it goes (Milakov and Gimelshein, arXiv 1805.02867). Tasks of the others are blocks of tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of rope and kv_cache_append.
static constexpr int64_t kRowTokens = 8;
/// Rows of the cache that attention takes at a time: a multiple of every number of lanes.
static constexpr int64_t kBlockRows = 32;
/// Columns of queries that a task of attention keeps on the stack, two f32 for each.
static constexpr int64_t kMaxTaskColumns = 16384;
/// Vectors of the result of attention that are kept in registers.
static constexpr int64_t kValueVectors = 8;

//===----------------------------------------------------------------------===//
// mohd.rope
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfRope(RopeOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

/// A buffer that holds theta^(-2j/head_dim) for j < head_dim/2, in f64.
static Value makeFrequencies(KernelEmitter &e, RopeOp op) {
  int64_t headDim = op.getHeadDim();
  SmallVector<double> values;
  for (int64_t j = 0; j < headDim / 2; ++j)
    values.push_back(std::pow(op.getTheta().convertToDouble(), -2.0 * double(j) / double(headDim)));
  auto type = VectorType::get({headDim / 2}, e.b.getF64Type());
  Value constant = arith::ConstantOp::create(e.b, DenseElementsAttr::get(type, ArrayRef(values)));
  Value buffer = e.array({headDim / 2}, e.b.getF64Type());
  vector::StoreOp::create(e.b, constant, buffer, e.index(0));
  return buffer;
}

void mlir::mohd::emitRope(KernelEmitter &e, RopeOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], positions = operands[1], result = results[0];
  int64_t headDim = op.getHeadDim(), half = headDim / 2, width = op.getType().getDimSize(1);
  Value frequencies = makeFrequencies(e, op), cosines = e.array({half}), sines = e.array({half});

  auto computeAngles = [&](Value token) {
    Value position = arith::SIToFPOp::create(e.b, e.b.getF64Type(),
                                             memref::LoadOp::create(e.b, positions, token));
    e.columns(half, e.lanes, [&](Value column, int64_t vectorWidth) {
      auto type = VectorType::get({vectorWidth}, e.b.getF64Type()),
           narrow = VectorType::get({vectorWidth}, e.b.getF32Type());
      Value frequency = vector::LoadOp::create(e.b, type, frequencies, column);
      Value angle = arith::MulFOp::create(e.b, e.splat(position, vectorWidth), frequency);
      e.store(arith::TruncFOp::create(e.b, narrow, math::CosOp::create(e.b, angle)), cosines,
              column);
      e.store(arith::TruncFOp::create(e.b, narrow, math::SinOp::create(e.b, angle)), sines, column);
    });
  };
  auto rotateHead = [&](Value token, Value first) {
    e.columns(half, e.lanes, [&](Value column, int64_t vectorWidth) {
      Value lowColumn = e.add(first, column), highColumn = e.add(lowColumn, e.index(half));
      Value low = e.load(input, {token, lowColumn}, vectorWidth),
            high = e.load(input, {token, highColumn}, vectorWidth);
      Value cosine = e.load(cosines, column, vectorWidth),
            sine = e.load(sines, column, vectorWidth);
      auto product = [&](Value x, Value y) -> Value { return arith::MulFOp::create(e.b, x, y); };
      Value minusSine = arith::NegFOp::create(e.b, sine);
      e.store(e.fma(low, cosine, product(high, minusSine)), result, {token, lowColumn});
      e.store(e.fma(high, cosine, product(low, sine)), result, {token, highColumn});
    });
  };
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      computeAngles(token);
      e.loop(e.index(0), e.index(width), headDim, [&](Value first) { rotateHead(token, first); });
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.kv_cache_append
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfKvCacheAppend(KvCacheAppendOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

void mlir::mohd::emitKvCacheAppend(KernelEmitter &e, KvCacheAppendOp op, ValueRange operands,
                                   ValueRange results) {
  Value rows = operands[1], positions = operands[2], cache = results[0];
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      Value position = e.loadIndex(positions, token);
      Value sequence = op.getSequence() ? e.loadIndex(operands[3], token) : token;
      e.columns(op.getRows().getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
        e.store(e.load(rows, {token, column}, width), cache,
                {e.index(0), sequence, position, column});
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.attention
//===----------------------------------------------------------------------===//

/// Query heads of a task: as many of those that share a key head as fit kMaxTaskColumns, a divisor of their number.
static int64_t headsOfTask(AttentionOp op) {
  int64_t numShared = std::max<int64_t>(op.getNumHeads() / op.getNumKvHeads(), 1);
  int64_t heads = std::clamp<int64_t>(kMaxTaskColumns / op.getHeadDim(), 1, numShared);
  while (numShared % heads != 0)
    --heads;
  return heads;
}

std::string mlir::mohd::gridOfAttention(AttentionOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(op.getNumHeads() / headsOfTask(op), 1, tokens);
}

namespace {

/// Writes the kernel of mohd.attention. A task has H query heads, which share a key head; `head` counts them.
class AttentionEmitter {
public:
  AttentionEmitter(KernelEmitter &e, AttentionOp op, ValueRange operands, Value result)
      : e(e), b(e.b), headDim(op.getHeadDim()), numHeads(headsOfTask(op)),
        tasksOfKey(op.getNumHeads() / op.getNumKvHeads() / numHeads), query(operands[0]),
        keys(operands[1]), values(operands[2]), positions(operands[3]),
        sequences(op.getSequence() ? operands[4] : Value()), result(result),
        scaled(e.array({numHeads, headDim})), sums(e.array({numHeads, headDim})),
        maxima(e.array({numHeads})), masses(e.array({numHeads})), weights(e.array({kBlockRows})) {}

  /// Writes the loop over tasks.
  void emit() {
    e.tasks(1, [&](Value part, Value token, Value) {
      sequence = sequences ? e.loadIndex(sequences, token) : token;
      Value kvHead = arith::DivUIOp::create(b, part, e.index(tasksOfKey));
      column = e.mul(kvHead, e.index(headDim));
      Value firstHead = e.mul(part, e.index(numHeads));
      forEachHead(
          [&](Value head) { start(token, e.mul(e.add(firstHead, head), e.index(headDim)), head); });
      Value numRows = e.add(e.loadIndex(positions, token), e.index(1));
      e.loop(e.index(0), numRows, kBlockRows, [&](Value row) {
        Value rowsInBlock = e.min(e.index(kBlockRows), e.sub(numRows, row));
        forEachHead([&](Value head) { addBlock(head, row, rowsInBlock); });
      });
      forEachHead([&](Value head) {
        finish(token, e.mul(e.add(firstHead, head), e.index(headDim)), head);
      });
    });
  }

private:
  void forEachHead(llvm::function_ref<void(Value)> body) {
    e.loop(e.index(0), e.index(numHeads), 1, body);
  }

  Value multiply(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value subtract(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value exp(Value x) { return math::ExpOp::create(b, x); }
  Value minusInfinity() { return e.f32(-std::numeric_limits<double>::infinity()); }

  /// Scales the query of a head, whose columns start at `first`, and clears its state.
  void start(Value token, Value first, Value head) {
    e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
      Value scale = e.splat(e.f32(1.0 / std::sqrt(double(headDim))), width);
      e.store(multiply(e.load(query, {token, e.add(first, j)}, width), scale), scaled, {head, j});
      e.store(e.splat(e.f32(0), width), sums, {head, j});
    });
    e.store(minusInfinity(), maxima, head);
    e.store(e.f32(0), masses, head);
  }

  /// Adds `rowsInBlock` rows from `row` on to the state of a head.
  void addBlock(Value head, Value row, Value rowsInBlock) {
    e.columns(kBlockRows, e.lanes, [&](Value i, int64_t width) {
      e.store(e.splat(minusInfinity(), width), weights, i);
    });
    e.loop(e.index(0), rowsInBlock, 1, [&](Value i) {
      Value score = e.dot(scaled, {head, e.index(0)}, keys,
                          {e.index(0), sequence, e.add(row, i), column}, headDim);
      e.store(score, weights, i);
    });
    Value correction = weighBlock(head);
    addValues(head, row, rowsInBlock, correction);
  }

  /// Turns the scores in `weights` into exp(score - maximum) and updates the maximum and the mass of a head. Returns the factor (f32) of what has
  /// been summed with the old maximum. A NaN among the scores makes all of it NaN.
  Value weighBlock(Value head) {
    Value maximum =
        e.loop(e.index(0), e.index(kBlockRows), e.lanes, e.splat(minusInfinity(), e.lanes),
               [&](Value i, ValueRange carried) {
                 Value scores = e.load(weights, i, e.lanes);
                 return SmallVector<Value>{arith::MaximumFOp::create(b, carried[0], scores)};
               })[0];
    Value blockMaximum = vector::ReductionOp::create(b, vector::CombiningKind::MAXIMUMF, maximum);
    Value oldMaximum = e.loadScalar(maxima, head);
    Value newMaximum = arith::MaximumFOp::create(b, oldMaximum, blockMaximum);
    e.store(newMaximum, maxima, head);
    // While all scores are -Inf any finite number serves, and Inf - Inf must not come up.
    Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, newMaximum, minusInfinity());
    Value reference = arith::SelectOp::create(b, none, e.f32(0), newMaximum);
    Value mass = e.loop(e.index(0), e.index(kBlockRows), e.lanes, e.splat(e.f32(0), e.lanes),
                        [&](Value i, ValueRange carried) {
                          Value weight = exp(
                              subtract(e.load(weights, i, e.lanes), e.splat(reference, e.lanes)));
                          e.store(weight, weights, i);
                          return SmallVector<Value>{arith::AddFOp::create(b, carried[0], weight)};
                        })[0];
    Value correction = exp(subtract(oldMaximum, reference));
    e.store(e.fma(e.loadScalar(masses, head), correction, e.sum(mass)), masses, head);
    return correction;
  }

  /// sums = sums * correction + weights . values, over the rows of a block.
  void addValues(Value head, Value row, Value rowsInBlock, Value correction) {
    SmallVector<Segment> segments = e.segments(headDim);
    for (ArrayRef<Segment> rest = segments; !rest.empty();) {
      ArrayRef<Segment> part = rest.take_front(kValueVectors);
      rest = rest.drop_front(part.size());
      SmallVector<Value> init;
      for (Segment segment : part)
        init.push_back(multiply(e.load(sums, {head, e.index(segment.offset)}, segment.width),
                                e.splat(correction, segment.width)));
      SmallVector<Value> sum =
          e.loop(e.index(0), rowsInBlock, 1, init, [&](Value i, ValueRange carried) {
            Value weight = e.loadScalar(weights, i), place = e.add(row, i);
            SmallVector<Value> next;
            for (auto [segment, acc] : llvm::zip_equal(part, carried)) {
              Value data = e.load(
                  values, {e.index(0), sequence, place, e.add(column, e.index(segment.offset))},
                  segment.width);
              next.push_back(e.fma(e.splat(weight, segment.width), data, acc));
            }
            return next;
          });
      e.storeSegments(sum, sums, head, e.index(0), part);
    }
  }

  /// Stores the result of a head, whose columns start at `first`.
  void finish(Value token, Value first, Value head) {
    Value mass = e.loadScalar(masses, head);
    e.columns(headDim, e.lanes, [&](Value j, int64_t width) {
      Value data = arith::DivFOp::create(b, e.load(sums, {head, j}, width), e.splat(mass, width));
      e.store(data, result, {token, e.add(first, j)});
    });
  }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const int64_t headDim, numHeads; // numHeads = H
  const int64_t tasksOfKey;        // how many tasks share a token's key head
  const Value query, keys, values, positions, sequences, result;
  const Value scaled, sums;   // [H, head_dim]: queries / sqrt(head_dim); weighted sums of values
  const Value maxima, masses; // [H]: largest score; sum of exp(score - maximum)
  const Value weights;        // [kBlockRows]: of a block
  Value sequence, column;     // of the task: place in the cache
};

} // namespace

void mlir::mohd::emitAttention(KernelEmitter &e, AttentionOp op, ValueRange operands,
                               ValueRange results) {
  AttentionEmitter(e, op, operands, results[0]).emit();
}
