// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the gradients of attention and of KV caches.
//
// The softmax is computed again from the arguments, first by a pass over each token's rows (its queries' gradient, and the softmax's statistics), then by one over the
// rows of the cache, whose sums over tokens are in ascending order whatever the grid. A row that a token may not see is not read for it.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::mohd;

/// Tasks of a cache of zeros, whose size is not known.
static constexpr int64_t kZeroTasks = 64;
/// Tokens in a task that moves rows.
static constexpr int64_t kMoveTokens = 8;
/// Rows of a cache whose sums are on the stack, and for so many tokens a task: the caches of training have a row for each token.
static constexpr int64_t kSumRows = 16;
/// Rows whose scores are computed together.
static constexpr int64_t kRows = 8;

static Value extentOf(KernelEmitter &e, Value cache, int64_t dim) {
  return memref::DimOp::create(e.b, cache, dim);
}

//===----------------------------------------------------------------------===//
// mohd.zero_cache, mohd.kv_cache_append_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfZeroCache() { return std::to_string(kZeroTasks); }

void mlir::mohd::emitZeroCache(KernelEmitter &e, ZeroCacheOp op, ValueRange, ValueRange results) {
  int64_t width = op.getType().getDimSize(3);
  Value numRows = extentOf(e, results[0], 0), flat = e.flatten(results[0]);
  for (int64_t dim : {1, 2})
    numRows = e.mul(numRows, extentOf(e, results[0], dim));
  Value perTask = e.ceilDiv(numRows, kZeroTasks);
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value first = e.mul(task, perTask);
    e.loop(first, e.min(e.add(first, perTask), numRows), 1, [&](Value row) {
      e.columns(width, e.lanes, [&](Value column, int64_t lanes) {
        e.store(e.splat(e.f32(0), lanes), flat, e.add(e.mul(row, e.index(width)), column));
      });
    });
  });
}

std::string mlir::mohd::gridOfKvCacheAppendGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, kMoveTokens, tokens);
}

void mlir::mohd::emitKvCacheAppendGradient(KernelEmitter &e, KvCacheAppendGradientOp op,
                                           ValueRange operands, ValueRange results) {
  Value cache = results[0], rows = results[1];
  e.tasks(kMoveTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      Value position = e.loadIndex(operands[1], token);
      Value sequence = op.getSequence() ? e.loadIndex(operands[2], token) : token;
      e.columns(op.getRows().getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
        SmallVector<Value> place = {e.index(0), sequence, position, column};
        e.store(e.load(cache, place, width), rows, {token, column});
        e.store(e.splat(e.f32(0), width), cache, place);
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.attention_gradient, mohd.attention_cache_gradient
//===----------------------------------------------------------------------===//

namespace {

/// A token's query head, and the sequence that it attends to.
struct QueryHead {
  Value token, head, sequence;
};

/// What both gradients of an attention are made of. Scores and the like are vectors, of some successive rows of a cache.
struct AttentionTerms {
  template <typename OpTy>
  AttentionTerms(KernelEmitter &e, OpTy op, Value query, Value keys, Value values, Value grad)
      : e(e), query(query), keys(keys), values(values), grad(grad), headDim(op.getHeadDim()),
        headsPerKv(op.getNumHeads() / op.getNumKvHeads()), scale(1.0 / std::sqrt(double(headDim))) {
  }

  Value firstColumn(Value head) { return e.mul(head, e.index(headDim)); }
  /// The place of a column of the head in a row of a cache.
  SmallVector<Value> place(const QueryHead &at, Value row, Value column) {
    Value first = firstColumn(e.div(at.head, headsPerKv));
    return {e.index(0), at.sequence, row, e.add(first, column)};
  }
  Value scores(const QueryHead &at, Value row, int64_t count) {
    return multiply(e, multiplyRows(query, keys, at, row, count), e.splat(e.f32(scale), count));
  }
  Value products(const QueryHead &at, Value row, int64_t count) {
    return multiplyRows(grad, values, at, row, count);
  }
  Value powers(Value scores, Value largest) {
    int64_t count = cast<VectorType>(scores.getType()).getDimSize(0);
    return math::ExpOp::create(e.b, subtract(e, scores, e.splat(largest, count)));
  }
  /// Gradients of scores, with the factor that queries and keys have.
  Value slopes(Value weights, Value products, Value delta) {
    int64_t count = cast<VectorType>(weights.getType()).getDimSize(0);
    Value slopes = multiply(e, weights, subtract(e, products, e.splat(delta, count)));
    return multiply(e, slopes, e.splat(e.f32(scale), count));
  }
  /// Calls body(row, count, carried) for rows [0, end), kRows or one at a time; returns what it carries.
  SmallVector<Value>
  forRows(Value end, ValueRange init,
          llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body) {
    Value whole = e.mul(e.div(end, kRows), e.index(kRows));
    auto over = [&](Value lower, Value upper, int64_t count, ValueRange carried) {
      return e.loop(lower, upper, count, carried,
                    [&](Value row, ValueRange values) { return body(row, count, values); });
    };
    return over(whole, end, 1, over(e.index(0), whole, kRows, init));
  }
  void forRows(Value end, llvm::function_ref<void(Value, int64_t)> body) {
    forRows(end, {}, [&](Value row, int64_t count, ValueRange) {
      body(row, count);
      return SmallVector<Value>();
    });
  }

  KernelEmitter &e;
  const Value query, keys, values, grad;
  const int64_t headDim, headsPerKv;
  const double scale;

private:
  /// The products of a head of `rows` and `count` rows of a cache.
  Value multiplyRows(Value rows, Value cache, const QueryHead &at, Value row, int64_t count) {
    return e.dots(
        1, count, headDim,
        [&](int64_t, Value column, int64_t width) {
          return e.load(rows, {at.token, e.add(firstColumn(at.head), column)}, width);
        },
        [&](int64_t i, Value column, int64_t width) {
          return e.load(cache, place(at, e.add(row, e.index(i)), column), width);
        });
  }
};

} // namespace

static Value extract(KernelEmitter &e, Value vector, int64_t i) {
  return vector::ExtractOp::create(e.b, vector, ArrayRef<int64_t>{i});
}

/// A task is a query head of a token.
std::string mlir::mohd::gridOfAttentionGradient(AttentionGradientOp op, StringRef tokens) {
  return KernelEmitter::gridOf(op.getNumHeads(), 1, tokens);
}

void mlir::mohd::emitAttentionGradient(KernelEmitter &e, AttentionGradientOp op,
                                       ValueRange operands, ValueRange results) {
  AttentionTerms terms(e, op, operands[0], operands[1], operands[2], operands[3]);
  Value sums = e.array({terms.headDim}); // of the queries' gradient
  auto larger = [&](Value lhs, Value rhs) { return e.larger(lhs, rhs); };
  e.tasks(1, [&](Value head, Value token, Value) {
    QueryHead at = {token, head, op.getSequence() ? e.loadIndex(operands[5], token) : token};
    Value numRows = e.add(e.loadIndex(operands[4], token), e.index(1));
    Value lowest = e.f32(-std::numeric_limits<double>::infinity());
    Value largest =
        terms.forRows(numRows, lowest, [&](Value row, int64_t count, ValueRange carried) {
          // No NaN: that is the second operand's to bring.
          Value numbers = e.larger(terms.scores(at, row, count), e.splat(lowest, count));
          return SmallVector<Value>{e.larger(e.reduce(numbers, larger), carried[0])};
        })[0];
    SmallVector<Value> both = terms.forRows(
        numRows, {e.f32(0), e.f32(0)}, [&](Value row, int64_t count, ValueRange carried) {
          Value powers = terms.powers(terms.scores(at, row, count), largest);
          Value products = multiply(e, powers, terms.products(at, row, count));
          return SmallVector<Value>{addUp(e, carried[0], e.sum(powers)),
                                    addUp(e, carried[1], e.sum(products))};
        });
    Value mass = both[0], delta = divide(e, both[1], mass);
    e.columns(terms.headDim, e.lanes, [&](Value column, int64_t width) {
      e.store(e.splat(e.f32(0), width), sums, column);
    });
    terms.forRows(numRows, [&](Value row, int64_t count) {
      Value powers = terms.powers(terms.scores(at, row, count), largest);
      Value weights = divide(e, powers, e.splat(mass, count));
      Value slopes = terms.slopes(weights, terms.products(at, row, count), delta);
      e.columns(terms.headDim, e.lanes, [&](Value column, int64_t width) {
        Value sum = e.load(sums, column, width);
        for (int64_t i = 0; i < count; ++i) {
          Value key = e.load(terms.keys, terms.place(at, e.add(row, e.index(i)), column), width);
          sum = e.fma(e.splat(extract(e, slopes, i), width), key, sum);
        }
        e.store(sum, sums, column);
      });
    });
    e.columns(terms.headDim, e.lanes, [&](Value column, int64_t width) {
      e.store(e.load(sums, column, width), results[0],
              {token, e.add(terms.firstColumn(head), column)});
    });
    SmallVector<Value> statistics = {largest, mass, delta};
    for (auto [number, value] : llvm::enumerate(statistics))
      e.store(value, results[1], {token, e.add(e.mul(head, e.index(3)), e.index(number))});
  });
}

namespace {

/// Adds what rows of a cache get of the tokens that see them.
class RowSumEmitter {
public:
  RowSumEmitter(KernelEmitter &e, AttentionCacheGradientOp op, ValueRange operands, Value into)
      : e(e), op(op), terms(e, op, operands[1], operands[2], operands[3], operands[4]),
        operands(operands), into(into), sums(e.array({kSumRows, terms.headDim})) {}

  void emit();

private:
  void addRows(const QueryHead &at, Value first, Value i, int64_t count);
  void addToken(Value token, Value kvHead, Value sequence, Value first, Value count);
  void addBlock(Value kvHead, Value sequence, Value first, Value count);
  /// Calls body(i, column, width) for the columns of `count` sums.
  void forSums(Value count, llvm::function_ref<void(Value, Value, int64_t)> body) {
    e.loop(e.index(0), count, 1, [&](Value i) {
      e.columns(terms.headDim, e.lanes,
                [&](Value column, int64_t width) { body(i, column, width); });
    });
  }

  KernelEmitter &e;
  AttentionCacheGradientOp op;
  AttentionTerms terms;
  const ValueRange operands;
  const Value into, sums;
};

} // namespace

/// Adds to `count` sums from `i` on what rows `first` + `i` on get of a token's head.
void RowSumEmitter::addRows(const QueryHead &at, Value first, Value i, int64_t count) {
  auto statistic = [&](int64_t number) {
    Value column = e.add(e.mul(at.head, e.index(3)), e.index(number));
    return e.loadScalar(operands[5], {at.token, column});
  };
  Value row = e.add(first, i), powers = terms.powers(terms.scores(at, row, count), statistic(0));
  Value factors = divide(e, powers, e.splat(statistic(1), count));
  if (!op.getOfValues())
    factors = terms.slopes(factors, terms.products(at, row, count), statistic(2));
  Value rows = op.getOfValues() ? terms.grad : terms.query;
  e.columns(terms.headDim, e.lanes, [&](Value column, int64_t width) {
    Value data = e.load(rows, {at.token, e.add(terms.firstColumn(at.head), column)}, width);
    for (int64_t k = 0; k < count; ++k) {
      SmallVector<Value> place = {e.add(i, e.index(k)), column};
      Value factor = e.splat(extract(e, factors, k), width);
      e.store(e.fma(factor, data, e.load(sums, place, width)), sums, place);
    }
  });
}

/// Adds what `count` rows from `first` on get of a token, if it sees them.
void RowSumEmitter::addToken(Value token, Value kvHead, Value sequence, Value first, Value count) {
  Value position = e.loadIndex(operands[6], token);
  Value sees = arith::CmpIOp::create(e.b, arith::CmpIPredicate::uge, position, first);
  if (op.getSequence()) {
    Value isIts = arith::CmpIOp::create(e.b, arith::CmpIPredicate::eq,
                                        e.loadIndex(operands[7], token), sequence);
    sees = arith::AndIOp::create(e.b, sees, isIts);
  }
  e.branch(sees, [&] {
    Value seen = e.min(count, e.add(e.sub(position, first), e.index(1)));
    e.loop(e.index(0), e.index(terms.headsPerKv), 1, [&](Value h) {
      Value head = e.add(e.mul(kvHead, e.index(terms.headsPerKv)), h);
      terms.forRows(
          seen, [&](Value i, int64_t rows) { addRows({token, head, sequence}, first, i, rows); });
    });
  });
}

void RowSumEmitter::addBlock(Value kvHead, Value sequence, Value first, Value count) {
  forSums(count, [&](Value i, Value column, int64_t width) {
    e.store(e.splat(e.f32(0), width), sums, {i, column});
  });
  // Without `sequence` a sequence has one token.
  Value lower = op.getSequence() ? e.index(0) : sequence;
  Value upper = op.getSequence() ? e.numTokens : e.add(sequence, e.index(1));
  e.loop(lower, upper, 1, [&](Value token) { addToken(token, kvHead, sequence, first, count); });
  forSums(count, [&](Value i, Value column, int64_t width) {
    SmallVector<Value> place = {e.index(0), sequence, e.add(first, i),
                                e.add(terms.firstColumn(kvHead), column)};
    Value sum = e.load(sums, {i, column}, width);
    e.store(addUp(e, e.load(into, place, width), sum), into, place);
  });
}

void RowSumEmitter::emit() {
  Value numPositions = extentOf(e, into, 2), perSequence = e.ceilDiv(numPositions, kSumRows);
  Value numBlocks = e.mul(extentOf(e, into, 1), perSequence);
  e.tasks(kSumRows, [&](Value kvHead, Value lower, Value) {
    Value step = e.ceilDiv(e.numTokens, kSumRows);
    e.loop(e.div(lower, kSumRows), numBlocks, step, [&](Value block) {
      Value sequence = arith::DivUIOp::create(e.b, block, perSequence);
      Value first = e.mul(arith::RemUIOp::create(e.b, block, perSequence), e.index(kSumRows));
      Value count = e.min(e.index(kSumRows), e.sub(numPositions, first));
      addBlock(kvHead, sequence, first, count);
    });
  });
}

/// A task is a key head of every so many blocks of rows of the cache.
std::string mlir::mohd::gridOfAttentionCacheGradient(AttentionCacheGradientOp op,
                                                     StringRef tokens) {
  return KernelEmitter::gridOf(op.getNumKvHeads(), kSumRows, tokens);
}

void mlir::mohd::emitAttentionCacheGradient(KernelEmitter &e, AttentionCacheGradientOp op,
                                            ValueRange operands, ValueRange results) {
  RowSumEmitter(e, op, operands, results[0]).emit();
}
