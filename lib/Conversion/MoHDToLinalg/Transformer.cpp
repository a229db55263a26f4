// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference lowering of the unrouted rest of a LLaMA block. Each op is one loop nest, attention
// four (logits, maximum, mass, result) over the cache rows up to the token's position.
//
// Before:  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x256xbf16> -> tensor<?x256xf32>
// After:   %y = linalg.generic outs(tensor<?x256xf32>) { sum over d < 64 of x[t, d] * w[d, e] }
//
// Test: test/Conversion/MoHDToLinalg/transformer.mlir
#include "LoopEmitter.h"

#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::mohd;

static Value emitEmbed(LoopEmitter &e, EmbedOp op, ConvertedOperands<EmbedOp> operands) {
  Value ids = operands.getIds().front(), table = operands.getTable().front();
  return e.tensor({e.dim(ids, 0), e.dim(table, 1)}, op.getResult().getType().getElementType(),
                  [&](ValueRange at) { return e.read(table, {e.readIndex(ids, {at[0]}), at[1]}); });
}

static Value emitRmsNorm(LoopEmitter &e, RmsNormOp op, ConvertedOperands<RmsNormOp> operands) {
  Value input = operands.getInput().front(), weight = operands.getWeight().front();
  int64_t width = op.getInput().getType().getDimSize(1), groupWidth = width, counted = width;
  Value active;
  if (op.getRouting()) {
    RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
    active = routing.emitActive(e);
    groupWidth = width / routing.type.getNumGroups();
    counted = groupWidth * routing.type.getNumActive();
  }
  Value squares = e.tensor({e.dim(input, 0)}, e.b.getF32Type(), [&](ValueRange at) {
    return e.sum(e.index(width), [&](Value d) {
      Value x = e.read(input, {at[0], d});
      Value square = e.mul(x, x);
      return active ? e.masked(e.read(active, {at[0], e.divIndex(d, groupWidth)}), square) : square;
    });
  });
  return e.tensorLike(input, [&](ValueRange at) {
    Value mean = e.div(e.read(squares, {at[0]}), e.f32(counted));
    Value root = math::SqrtOp::create(e.b, e.add(mean, e.f32(op.getEpsilon().convertToDouble())));
    return e.mul(e.div(e.read(input, at), root), e.read(weight, {at[1]}));
  });
}

static Value emitLinear(LoopEmitter &e, LinearOp op, ConvertedOperands<LinearOp> operands) {
  Value input = operands.getInput().front(), weight = operands.getWeight().front();
  OpFoldResult columns = e.dim(weight, 1);
  return e.tensor({e.dim(input, 0), columns}, op.getResult().getType().getElementType(),
                  [&](ValueRange at) {
                    return e.sum(e.index(op.getInput().getType().getDimSize(1)), [&](Value d) {
                      return e.mul(e.read(input, {at[0], d}), e.read(weight, {d, at[1]}));
                    });
                  });
}

static Value emitDequantize(LoopEmitter &e, DequantizeOp op,
                            ConvertedOperands<DequantizeOp> operands) {
  Value values = operands.getValues().front(), scales = operands.getScales().front();
  SmallVector<OpFoldResult> sizes;
  for (int64_t extent : op.getResult().getType().getShape())
    sizes.push_back(e.b.getIndexAttr(extent));
  return e.tensor(sizes, op.getType().getElementType(), [&](ValueRange at) {
    SmallVector<Value> place(at);
    place.erase(place.end() - 2); // the row
    Value value = arith::SIToFPOp::create(e.b, e.b.getF32Type(), e.read(values, at));
    return e.mul(value, e.read(scales, place));
  });
}

static Value emitAdd(LoopEmitter &e, AddOp, ConvertedOperands<AddOp> operands) {
  Value lhs = operands.getLhs().front(), rhs = operands.getRhs().front();
  return e.tensorLike(lhs, [&](ValueRange at) { return e.add(e.read(lhs, at), e.read(rhs, at)); });
}

static Value emitSilu(LoopEmitter &e, SiluOp, ConvertedOperands<SiluOp> operands) {
  Value input = operands.getInput().front();
  return e.tensorLike(input, [&](ValueRange at) { return e.silu(e.read(input, at)); });
}

static Value emitSwiglu(LoopEmitter &e, SwigluOp, ConvertedOperands<SwigluOp> operands) {
  Value gate = operands.getGate().front(), up = operands.getUp().front();
  return e.tensorLike(
      gate, [&](ValueRange at) { return e.mul(e.silu(e.read(gate, at)), e.read(up, at)); });
}

/// position * theta^(-2j/head_dim) for each token and pair, negated for an inverse, [tokens, half] f64.
static Value emitAngles(LoopEmitter &e, RopeOp op, Value position) {
  int64_t half = op.getHeadDim() / 2;
  double theta = op.getTheta().convertToDouble(), sign = op.getInverse() ? -1.0 : 1.0;
  SmallVector<double> frequencies;
  for (int64_t j = 0; j < half; ++j)
    frequencies.push_back(sign * std::pow(theta, -2.0 * double(j) / double(op.getHeadDim())));
  Type f64 = e.b.getF64Type();
  auto table = DenseElementsAttr::get(RankedTensorType::get({half}, f64), ArrayRef(frequencies));
  Value frequency = arith::ConstantOp::create(e.b, table);
  return e.tensor({e.dim(position, 0), e.b.getIndexAttr(half)}, f64, [&](ValueRange at) {
    Value place = arith::SIToFPOp::create(e.b, f64, e.read(position, {at[0]}));
    return e.mul(place, e.read(frequency, {at[1]}));
  });
}

static Value emitRope(LoopEmitter &e, RopeOp op, ConvertedOperands<RopeOp> operands) {
  Value input = operands.getInput().front();
  Value angles = emitAngles(e, op, operands.getPosition().front());
  Type f32 = e.b.getF32Type();
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  return e.tensorLike(input, [&](ValueRange at) {
    Value isLow = e.less(e.remIndex(at[1], headDim), e.index(half));
    Value offset = e.select(isLow, e.index(half), e.index(-half));
    Value sign = e.select(isLow, e.f32(-1), e.f32(1));
    Value angle = e.read(angles, {at[0], e.remIndex(at[1], half)});
    Value cosine = e.narrow(math::CosOp::create(e.b, angle), f32);
    Value sine = e.narrow(math::SinOp::create(e.b, angle), f32);
    Value partner = e.read(input, {at[0], e.addIndex(at[1], offset)});
    return e.add(e.mul(e.read(input, at), cosine), e.mul(sign, e.mul(partner, sine)));
  });
}

static Value emitKvCacheAppend(LoopEmitter &e, KvCacheAppendOp op,
                               ConvertedOperands<KvCacheAppendOp> operands) {
  Value cache = operands.getCache().front(), rows = operands.getRows().front();
  Value position = operands.getPosition().front(), layer = e.index(op.getLayer());
  Value numTokens = e.numTokens(rows);
  Value width = e.index(op.getRows().getType().getDimSize(1));
  return e.loop(e.index(0), numTokens, cache, [&](Value t, Value before) {
    Value sequence = emitSequence(e, op, operands, t), row = e.readIndex(position, {t});
    return e.loop(e.index(0), width, before, [&](Value column, Value partial) {
      Value data = e.narrow(e.read(rows, {t, column}), elementOf(cache));
      return tensor::InsertOp::create(e.b, data, partial, ValueRange{layer, sequence, row, column});
    });
  });
}

static Value emitAttention(LoopEmitter &e, AttentionOp op,
                           ConvertedOperands<AttentionOp> operands) {
  Value query = operands.getQuery().front(), position = operands.getPosition().front();
  Value keys = operands.getKeys().front(), values = operands.getValues().front();
  Type f32 = e.b.getF32Type();
  int64_t headDim = op.getHeadDim(), headsPerKv = op.getNumHeads() / op.getNumKvHeads();
  Value layer = e.index(op.getLayer());
  OpFoldResult tokens = e.dim(query, 0), heads = e.b.getIndexAttr(op.getNumHeads());
  auto column = [&](Value head, Value d) { return e.addIndex(e.scaleIndex(head, headDim), d); };
  auto kvColumn = [&](Value head, Value d) { return column(e.divIndex(head, headsPerKv), d); };
  auto numRows = [&](Value t) { return e.addIndex(e.readIndex(position, {t}), e.index(1)); };

  // [tokens, heads, positions]; rows after the token's position are never read
  Value logits = e.tensor({tokens, heads, e.dim(keys, 2)}, f32, [&](ValueRange at) {
    Value sequence = emitSequence(e, op, operands, at[0]);
    Value dot = e.sum(e.index(headDim), [&](Value d) {
      Value key = e.read(keys, {layer, sequence, at[2], kvColumn(at[1], d)});
      return e.mul(e.read(query, {at[0], column(at[1], d)}), key);
    });
    return e.mul(dot, e.f32(1.0 / std::sqrt(double(headDim))));
  });
  Value largest = e.tensor({tokens, heads}, f32, [&](ValueRange at) {
    return e.max(numRows(at[0]), [&](Value s) { return e.read(logits, {at[0], at[1], s}); });
  });
  auto power = [&](Value t, Value head, Value s) {
    return e.exp(e.sub(e.read(logits, {t, head, s}), e.read(largest, {t, head})));
  };
  Value mass = e.tensor({tokens, heads}, f32, [&](ValueRange at) {
    return e.sum(numRows(at[0]), [&](Value s) { return power(at[0], at[1], s); });
  });
  return e.tensorLike(query, [&](ValueRange at) {
    Value sequence = emitSequence(e, op, operands, at[0]), head = e.divIndex(at[1], headDim);
    return e.sum(numRows(at[0]), [&](Value s) {
      Value weight = e.div(power(at[0], head, s), e.read(mass, {at[0], head}));
      Value value =
          e.read(values, {layer, sequence, s, kvColumn(head, e.remIndex(at[1], headDim))});
      return e.mul(weight, value);
    });
  });
}

/// As the op's definition says it, each token compared with every other one.
static Value emitSample(LoopEmitter &e, SampleOp op, ConvertedOperands<SampleOp> operands) {
  Value logits = operands.getLogits().front(), temperature = operands.getTemperature().front(),
        topK = operands.getTopK().front(), topP = operands.getTopP().front(),
        draw = operands.getDraw().front();
  int64_t width = op.getLogits().getType().getDimSize(1);
  Value count = e.index(width);
  Type f32 = e.b.getF32Type();
  OpFoldResult rows = e.dim(logits, 0), columns = e.dim(logits, 1);
  auto compare = [&](arith::CmpFPredicate predicate, Value lhs, Value rhs) -> Value {
    return arith::CmpFOp::create(e.b, predicate, lhs, rhs);
  };
  using Predicate = arith::CmpFPredicate;
  Value largest = e.tensor({rows}, f32, [&](ValueRange at) {
    return e.max(count, [&](Value i) { return e.read(logits, {at[0], i}); });
  });
  Value weights = e.tensorLike(logits, [&](ValueRange at) {
    Value logit = e.read(logits, at), below = e.sub(logit, e.read(largest, {at[0]}));
    Value weight = e.exp(e.div(below, e.read(temperature, {at[0]})));
    return e.masked(compare(Predicate::OGT, logit, e.f32(-INFINITY)), weight);
  });
  // Sum of element(j) over the tokens j that come before token at[1].
  auto sumBefore = [&](ValueRange at, function_ref<Value(Value)> element) {
    Value mine = e.read(logits, at);
    return e.sum(count, [&](Value j) {
      Value other = e.read(logits, {at[0], j});
      Value isEqual = e.both(compare(Predicate::OEQ, other, mine), e.less(j, at[1]));
      return e.masked(e.either(compare(Predicate::OGT, other, mine), isEqual), element(j));
    });
  };
  Value ranks = e.tensorLike(
      logits, [&](ValueRange at) { return sumBefore(at, [&](Value) { return e.f32(1); }); });
  Value ofTopK = e.tensorLike(logits, [&](ValueRange at) {
    Value limit = e.readIndex(topK, {at[0]});
    Value rank = arith::FPToSIOp::create(e.b, e.b.getI64Type(), e.read(ranks, at));
    Value isIn = e.less(arith::IndexCastOp::create(e.b, e.b.getIndexType(), rank), limit);
    return e.masked(e.either(e.less(limit, e.index(1)), isIn), e.read(weights, at));
  });
  Value kept = e.tensorLike(logits, [&](ValueRange at) {
    auto weight = [&](Value j) { return e.read(ofTopK, {at[0], j}); };
    Value share = e.mul(e.read(topP, {at[0]}), e.sum(count, weight));
    Value isFirst = compare(Predicate::OEQ, e.read(ranks, at), e.f32(0));
    Value all = compare(Predicate::OGE, e.read(topP, {at[0]}), e.f32(1));
    Value isDue = compare(Predicate::OGT, share, sumBefore(at, weight));
    return e.masked(e.either(e.either(isFirst, all), isDue), weight(at[1]));
  });
  Value sums = e.tensorLike(logits, [&](ValueRange at) {
    return e.sum(e.addIndex(at[1], e.index(1)), [&](Value j) { return e.read(kept, {at[0], j}); });
  });
  return e.tensor({rows}, e.b.getI32Type(), [&](ValueRange at) -> Value {
    auto firstOf = [&](function_ref<Value(Value)> isIt) {
      return e.loop(e.index(0), count, count, [&](Value i, Value acc) {
        return e.select(e.both(e.equal(acc, count), isIt(i)), i, acc);
      });
    };
    Value most = e.read(largest, {at[0]});
    Value best =
        firstOf([&](Value i) { return compare(Predicate::OEQ, e.read(logits, {at[0], i}), most); });
    Value part = e.read(draw, {at[0]});
    part = e.masked(compare(Predicate::OGT, part, e.f32(0)), part);
    Value limit = e.mul(part, e.read(sums, {at[0], e.index(width - 1)}));
    Value drawn =
        firstOf([&](Value i) { return compare(Predicate::OGT, e.read(sums, {at[0], i}), limit); });
    Value last = e.loop(e.index(0), count, e.index(0), [&](Value i, Value acc) {
      Value isKept = compare(Predicate::OGT, e.read(kept, {at[0], i}), e.f32(0));
      return e.select(isKept, i, acc);
    });
    drawn = e.select(e.equal(drawn, count), last, drawn);
    Value isWarm = compare(Predicate::OGT, e.read(temperature, {at[0]}), e.f32(0));
    Value chosen = e.select(isWarm, drawn, best);
    Value isFinite = e.both(compare(Predicate::OGT, most, e.f32(-INFINITY)),
                            compare(Predicate::OGT, e.f32(INFINITY), most));
    return arith::IndexCastOp::create(e.b, e.b.getI32Type(),
                                      e.select(isFinite, chosen, e.index(-1)));
  });
}

void mlir::mohd::populateTransformerToLinalgPatterns(TypeConverter &converter,
                                                     RewritePatternSet &patterns) {
  patterns.add<LowerToLoops<EmbedOp, emitEmbed>, LowerToLoops<RmsNormOp, emitRmsNorm>,
               LowerToLoops<DequantizeOp, emitDequantize>, LowerToLoops<LinearOp, emitLinear>,
               LowerToLoops<AddOp, emitAdd>, LowerToLoops<SiluOp, emitSilu>,
               LowerToLoops<SwigluOp, emitSwiglu>, LowerToLoops<RopeOp, emitRope>,
               LowerToLoops<KvCacheAppendOp, emitKvCacheAppend>,
               LowerToLoops<AttentionOp, emitAttention>, LowerToLoops<SampleOp, emitSample>>(
      converter, patterns.getContext());
}
