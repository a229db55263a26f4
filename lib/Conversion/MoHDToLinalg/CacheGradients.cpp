// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference lowering of the gradients of attention and of KV caches. Scores and what they are made of are tensors [tokens, heads, positions], as in Transformer.cpp;
// a row of a cache is a sum over all tokens, masked to those that see it.
//
// Before:  %dk = mohd.attention_cache_gradient %into, %q, %keys, %values, %da, %s, %position layer 0 head_dim 32 : tensor<1x?x?x64xf32>, ...
// After:   %dk = linalg.generic outs(tensor<1x?x?x64xf32>) { into[..] + sum over t < tokens of select(sequence and row of t, factor[t, h, s] * q[t, c], 0) }
//
// Test: test/Conversion/MoHDToLinalg/cache-gradients.mlir
#include "LoopEmitter.h"

#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::mohd;

/// A tensor like `cache` [layers, sequences, positions, width] whose elements are body(indices).
static Value cacheLike(LoopEmitter &e, Value cache, function_ref<Value(ValueRange)> body) {
  SmallVector<OpFoldResult> sizes;
  for (int64_t dim = 0; dim < 4; ++dim)
    sizes.push_back(e.dim(cache, dim));
  return e.tensor(sizes, elementOf(cache), body);
}

static Value emitZeroCache(LoopEmitter &e, ZeroCacheOp, ConvertedOperands<ZeroCacheOp> operands) {
  return cacheLike(e, operands.getLike().front(), [&](ValueRange) { return e.f32(0); });
}

namespace {

struct LowerKvCacheAppendGradient : OpConversionPattern<KvCacheAppendGradientOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(KvCacheAppendGradientOp op, OneToNOpAdaptor operands,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    Value grad = operands.getGrad().front(), position = operands.getPosition().front();
    Value layer = e.index(op.getLayer()), zero = e.narrow(e.f32(0), elementOf(grad));
    int64_t width = op.getRows().getType().getDimSize(1);
    auto place = [&](Value t, Value column) {
      Value sequence = emitSequence(e, op, operands, t);
      return SmallVector<Value>{layer, sequence, e.readIndex(position, {t}), column};
    };
    SmallVector<OpFoldResult> sizes = {e.dim(position, 0), e.b.getIndexAttr(width)};
    Value rows = e.tensor(sizes, op.getRows().getType().getElementType(),
                          [&](ValueRange at) { return e.read(grad, place(at[0], at[1])); });
    Value rest = e.loop(e.index(0), e.numTokens(position), grad, [&](Value t, Value before) {
      return e.loop(e.index(0), e.index(width), before, [&](Value column, Value partial) {
        return tensor::InsertOp::create(e.b, zero, partial, place(t, column)).getResult();
      });
    });
    rewriter.replaceOp(op, {rest, e.castTo(rows, op.getRows().getType())});
    return success();
  }
};

/// What both gradients of an attention are made of.
template <typename OpTy> struct AttentionTerms {
  AttentionTerms(LoopEmitter &e, OpTy op, ConvertedOperands<OpTy> operands)
      : e(e), headDim(op.getHeadDim()), headsPerKv(op.getNumHeads() / op.getNumKvHeads()),
        tokens(e.dim(operands.getQuery().front(), 0)), heads(e.b.getIndexAttr(op.getNumHeads())) {
    // rows[t, h] . cache[s], [tokens, heads, positions]; rows after the token's position are never read
    auto multiply = [&](Value rows, Value cache) {
      Value layer = e.index(op.getLayer());
      return e.tensor({tokens, heads, e.dim(cache, 2)}, e.b.getF32Type(), [&](ValueRange at) {
        Value sequence = emitSequence(e, op, operands, at[0]);
        return e.sum(e.index(headDim), [&](Value d) {
          Value there = e.read(cache, {layer, sequence, at[2], kvColumn(at[1], d)});
          return e.mul(e.read(rows, {at[0], column(at[1], d)}), there);
        });
      });
    };
    dots = multiply(operands.getQuery().front(), operands.getKeys().front());
    products = multiply(operands.getGrad().front(), operands.getValues().front());
  }

  Value column(Value head, Value d) { return e.addIndex(e.scaleIndex(head, headDim), d); }
  Value kvColumn(Value head, Value d) { return column(e.divIndex(head, headsPerKv), d); }
  Value scale() { return e.f32(1.0 / std::sqrt(double(headDim))); }
  Value score(ValueRange at) { return e.mul(e.read(dots, at), scale()); }
  /// The weight of a row, and what the score's gradient is of it, from statistic(n) of the token and head.
  Value weight(ValueRange at, function_ref<Value(int64_t)> statistic) {
    return e.div(e.exp(e.sub(score(at), statistic(0))), statistic(1));
  }
  Value slope(ValueRange at, function_ref<Value(int64_t)> statistic) {
    Value product = e.sub(e.read(products, at), statistic(2));
    return e.mul(e.mul(weight(at, statistic), product), scale());
  }

  LoopEmitter &e;
  const int64_t headDim, headsPerKv;
  const OpFoldResult tokens, heads;
  Value dots, products;
};

struct LowerAttentionGradient : OpConversionPattern<AttentionGradientOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(AttentionGradientOp op, OneToNOpAdaptor operands,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    AttentionTerms<AttentionGradientOp> terms(e, op, operands);
    Value keys = operands.getKeys().front(), layer = e.index(op.getLayer()), all[3];
    auto numRows = [&](Value t) {
      return e.addIndex(e.readIndex(operands.getPosition().front(), {t}), e.index(1));
    };
    auto tensorOf = [&](function_ref<Value(ValueRange)> body) {
      return e.tensor({terms.tokens, terms.heads}, e.b.getF32Type(), body);
    };
    auto sumRows = [&](ValueRange at, function_ref<Value(ValueRange)> element) {
      return e.sum(numRows(at[0]), [&](Value s) { return element({at[0], at[1], s}); });
    };
    all[0] = tensorOf([&](ValueRange at) {
      Value lowest = e.f32(-std::numeric_limits<double>::infinity());
      return e.loop(e.index(0), numRows(at[0]), lowest, [&](Value s, Value largest) {
        Value score = terms.score({at[0], at[1], s});
        return e.select(arith::CmpFOp::create(e.b, arith::CmpFPredicate::OGT, score, largest),
                        score, largest);
      });
    });
    all[1] = tensorOf([&](ValueRange at) {
      return sumRows(at, [&](ValueRange place) {
        return e.exp(e.sub(terms.score(place), e.read(all[0], at)));
      });
    });
    auto statistic = [&](Value t, Value head) {
      return [&e, &all, t, head](int64_t n) { return e.read(all[n], {t, head}); };
    };
    all[2] = tensorOf([&](ValueRange at) {
      return sumRows(at, [&](ValueRange place) {
        return e.mul(terms.weight(place, statistic(at[0], at[1])), e.read(terms.products, place));
      });
    });
    Value grad = e.tensorLike(operands.getQuery().front(), [&](ValueRange at) {
      Value head = e.divIndex(at[1], terms.headDim), d = e.remIndex(at[1], terms.headDim);
      Value sequence = emitSequence(e, op, operands, at[0]);
      return sumRows({at[0], head}, [&](ValueRange place) {
        Value key = e.read(keys, {layer, sequence, place[2], terms.kvColumn(head, d)});
        return e.mul(terms.slope(place, statistic(at[0], head)), key);
      });
    });
    SmallVector<OpFoldResult> sizes = {
        terms.tokens, e.b.getIndexAttr(op.getStatistics().getType().getDimSize(1))};
    Value statistics = e.tensor(sizes, e.b.getF32Type(), [&](ValueRange at) {
      Value head = e.divIndex(at[1], 3), number = e.remIndex(at[1], 3);
      auto read = [&](int64_t n) { return e.read(all[n], {at[0], head}); };
      return e.select(e.equal(number, e.index(0)), read(0),
                      e.select(e.equal(number, e.index(1)), read(1), read(2)));
    });
    rewriter.replaceOp(op, {e.castTo(grad, op.getResult().getType()),
                            e.castTo(statistics, op.getStatistics().getType())});
    return success();
  }
};

} // namespace

static Value emitAttentionCacheGradient(LoopEmitter &e, AttentionCacheGradientOp op,
                                        ConvertedOperands<AttentionCacheGradientOp> operands) {
  AttentionTerms<AttentionCacheGradientOp> terms(e, op, operands);
  Value into = operands.getInto().front(), position = operands.getPosition().front();
  Value statistics = operands.getStatistics().front(), layer = e.index(op.getLayer());
  Value rows = op.getOfValues() ? operands.getGrad().front() : operands.getQuery().front();
  // what a row gets of rows[t, h]
  Value factors =
      e.tensor({terms.tokens, terms.heads, e.dim(into, 2)}, e.b.getF32Type(), [&](ValueRange at) {
        auto statistic = [&](int64_t n) {
          Value column = e.addIndex(e.scaleIndex(at[1], 3), e.index(n));
          return e.read(statistics, {at[0], column});
        };
        return op.getOfValues() ? terms.weight(at, statistic) : terms.slope(at, statistic);
      });
  return cacheLike(e, into, [&](ValueRange at) {
    Value firstHead = e.scaleIndex(e.divIndex(at[3], terms.headDim), terms.headsPerKv);
    Value d = e.remIndex(at[3], terms.headDim);
    Value sum = e.sum(e.numTokens(rows), [&](Value t) {
      Value isSequence = e.equal(emitSequence(e, op, operands, t), at[1]);
      Value isHidden = e.less(e.readIndex(position, {t}), at[2]);
      Value ofHeads = e.sum(e.index(terms.headsPerKv), [&](Value h) {
        Value head = e.addIndex(firstHead, h);
        return e.mul(e.read(factors, {t, head, at[2]}), e.read(rows, {t, terms.column(head, d)}));
      });
      return e.masked(isSequence, e.select(isHidden, e.f32(0), ofHeads));
    });
    Value before = e.read(into, at);
    return e.select(e.equal(at[0], layer), e.add(before, sum), before);
  });
}

void mlir::mohd::populateCacheGradientsToLinalgPatterns(TypeConverter &converter,
                                                        RewritePatternSet &patterns) {
  patterns.add<LowerToLoops<ZeroCacheOp, emitZeroCache>, LowerKvCacheAppendGradient,
               LowerAttentionGradient,
               LowerToLoops<AttentionCacheGradientOp, emitAttentionCacheGradient>>(
      converter, patterns.getContext());
}
