// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference lowering of the ops of backward functions: each element of a gradient is a serial sum, over tokens where it is one of a
// weight, and what a token does not have is masked as in Sparse.cpp.
//
// Before:  %dw = mohd.weight_gradient %h, %dy routing(%r) : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<16x4x96xf32>
// After:   %dw = linalg.generic outs(tensor<16x4x96xf32>) { sum over t < tokens of select(active[t, i], h[t, i * 4 + p] * dy[t, c], 0) }
//
// Test: test/Conversion/MoHDToLinalg/gradients.mlir
#include "LoopEmitter.h"

#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::mohd;

/// A tensor of the static `type` whose elements are body(indices).
static Value emitStatic(LoopEmitter &e, RankedTensorType type,
                        function_ref<Value(ValueRange)> body) {
  return e.tensor(getAsIndexOpFoldResult(e.b.getContext(), type.getShape()), type.getElementType(),
                  body);
}

/// Sum of element(t) over all tokens of `input`.
static Value sumTokens(LoopEmitter &e, Value input, function_ref<Value(Value)> element) {
  return e.sum(e.numTokens(input), element);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

static Value emitPermuteWeight(LoopEmitter &e, PermuteWeightOp op,
                               ConvertedOperands<PermuteWeightOp> operands) {
  return emitStatic(e, op.getType(), [&](ValueRange at) {
    SmallVector<Value> from(at.size());
    for (auto [place, axis] : llvm::zip_equal(at, op.getPermutation()))
      from[axis] = place;
    return e.read(operands.getWeight().front(), from);
  });
}

static Value emitWeightGradient(LoopEmitter &e, WeightGradientOp op,
                                ConvertedOperands<WeightGradientOp> operands) {
  Value grouped = operands.getGrouped().front(), other = operands.getOther().front(), active;
  if (op.getRouting())
    active = RoutingTensors(op.getRouting().getType(), operands.getRouting()).emitActive(e);
  SmallVector<int64_t> shape = getGradientShape(op.getType(), op.getPermutation()); // [G, P, C]
  return emitStatic(e, op.getType(), [&](ValueRange at) {
    SmallVector<Value> place(at); // [i, p, c]
    if (place.size() == 2)
      place.insert(place.begin(), e.index(0));
    if (op.getPermutation())
      for (auto [index, axis] : llvm::zip_equal(at, *op.getPermutation()))
        place[axis] = index;
    Value row = e.addIndex(e.scaleIndex(place[0], shape[1]), place[1]), column = place[2];
    if (op.getLocal())
      column = e.addIndex(e.scaleIndex(place[0], shape[2]), column);
    return sumTokens(e, grouped, [&](Value t) {
      Value product = e.mul(e.read(grouped, {t, row}), e.read(other, {t, column}));
      return active ? e.masked(e.read(active, {t, place[0]}), product) : product;
    });
  });
}

static Value emitFusionMixGradient(LoopEmitter &e, FusionMixGradientOp op,
                                   ConvertedOperands<FusionMixGradientOp> operands) {
  Value input = operands.getInput().front(), grad = operands.getGrad().front();
  int64_t numRows = op.getType().getDimSize(0);           // L
  return emitStatic(e, op.getType(), [&](ValueRange at) { // [l, s, r]
    auto column = [&](Value block) { return e.addIndex(e.scaleIndex(block, numRows), at[0]); };
    return sumTokens(e, input, [&](Value t) {
      return e.mul(e.read(grad, {t, column(at[1])}), e.read(input, {t, column(at[2])}));
    });
  });
}

static Value emitColumnSums(LoopEmitter &e, ColumnSumsOp op,
                            ConvertedOperands<ColumnSumsOp> operands) {
  Value grad = operands.getGrad().front();
  return emitStatic(e, op.getType(), [&](ValueRange at) {
    return sumTokens(e, grad, [&](Value t) {
      Value product = e.read(grad, {t, at[0]});
      if (op.getInput())
        product = e.mul(product, e.read(operands.getInput().front(), {t, at[0]}));
      if (op.getFactors())
        product = e.mul(product, e.read(operands.getFactors().front(), {t}));
      return product;
    });
  });
}

static Value emitEmbedGradient(LoopEmitter &e, EmbedGradientOp op,
                               ConvertedOperands<EmbedGradientOp> operands) {
  Value ids = operands.getIds().front(), grad = operands.getGrad().front();
  return emitStatic(e, op.getType(), [&](ValueRange at) {
    return sumTokens(e, grad, [&](Value t) {
      return e.masked(e.equal(e.readIndex(ids, {t}), at[0]), e.read(grad, {t, at[1]}));
    });
  });
}

//===----------------------------------------------------------------------===//
// Gates and scores
//===----------------------------------------------------------------------===//

static Value emitGateGradient(LoopEmitter &e, GateGradientOp op,
                              ConvertedOperands<GateGradientOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front(), grad = operands.getGrad().front();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.type.getNumGroups();
  return e.tensorLike(routing.gates, [&](ValueRange at) {
    Value first = e.scaleIndex(e.readIndex(routing.indices, at), groupWidth);
    return e.sum(e.index(groupWidth), [&](Value p) {
      SmallVector<Value> place = {at[0], e.addIndex(first, p)};
      return e.mul(e.read(input, place), e.read(grad, place));
    });
  });
}

/// The derivative of each token's activation scaling by its mass, [tokens] f32, from gates [tokens, K]; null if it is 0.
static Value emitScalingSlope(LoopEmitter &e, Value gates, RoutingType type, Scaling scaling) {
  double numGroups = type.getNumGroups(), numActive = type.getNumActive();
  auto emit = [&](function_ref<Value(Value)> slopeOf) {
    return e.tensor({e.dim(gates, 0)}, e.b.getF32Type(), [&](ValueRange at) {
      return slopeOf(
          e.sum(e.index(type.getNumActive()), [&](Value k) { return e.read(gates, {at[0], k}); }));
    });
  };
  auto emitInverse = [&](double factor) {
    return emit([&](Value mass) { return e.div(e.f32(-factor), e.mul(mass, mass)); });
  };
  switch (scaling) {
  case Scaling::SqrtNkOverMass:
    return emitInverse(std::sqrt(numGroups * numActive));
  case Scaling::KOverMass:
    return emitInverse(numActive);
  case Scaling::NTimesMass:
    return emit([&](Value) { return e.f32(numGroups); });
  case Scaling::SqrtNOverK:
  case Scaling::NOverK:
  case Scaling::None:
    return {};
  }
  llvm_unreachable("every scaling is handled");
}

static Value emitScaleGradient(LoopEmitter &e, ScaleGradientOp op,
                               ConvertedOperands<ScaleGradientOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front(), grad = operands.getGrad().front();
  Value slope = emitScalingSlope(e, routing.gates, routing.type, op.getScaling());
  if (!slope)
    return e.tensorLike(routing.gates, [&](ValueRange) { return e.f32(0); });
  return e.tensorLike(routing.gates, [&](ValueRange at) {
    Value dot = e.sum(e.index(op.getInput().getType().getDimSize(1)), [&](Value d) {
      return e.mul(e.read(input, {at[0], d}), e.read(grad, {at[0], d}));
    });
    return e.mul(e.read(slope, {at[0]}), dot);
  });
}

/// What the gradient of gates gives to that of the scores, [tokens, N].
static Value emitScoreGradient(LoopEmitter &e, RouteGradientOp op, const RoutingTensors &routing,
                               Value scores, Value gatesGrad) {
  Gate gate = op.getGate();
  Value numActive = e.index(routing.type.getNumActive());
  Value gates = emitGates(e, routing.type, gate, routing.indices, scores);
  Value scaling = emitScaling(e, gates, routing.type, op.getScaling());
  Value slope = emitScalingSlope(e, gates, routing.type, op.getScaling());
  Value unscaled = e.tensorLike(gates, [&](ValueRange at) {
    Value grad = e.mul(e.read(scaling, {at[0]}), e.read(gatesGrad, at));
    if (!slope)
      return grad;
    Value dot = e.sum(numActive, [&](Value u) {
      return e.mul(e.read(gatesGrad, {at[0], u}), e.read(gates, {at[0], u}));
    });
    return e.add(grad, e.mul(e.read(slope, {at[0]}), dot));
  });
  Value first = e.index(gate == Gate::Softmax ? 0 : routing.type.getNumShared());
  auto sumSlots = [&](function_ref<Value(Value)> element) {
    return e.loop(first, numActive, e.f32(0),
                  [&](Value k, Value acc) { return e.add(acc, element(k)); });
  };
  auto score = [&](Value t, Value k) {
    return e.read(scores, {t, e.readIndex(routing.indices, {t, k})});
  };
  Value perSlot = unscaled;
  if (gate == Gate::Renormalized)
    perSlot = e.tensorLike(gates, [&](ValueRange at) {
      Value mass = sumSlots([&](Value k) { return score(at[0], k); });
      Value mean = sumSlots([&](Value k) {
        return e.mul(e.read(unscaled, {at[0], k}), e.div(score(at[0], k), mass));
      });
      Value factor = e.div(e.f32(routing.type.getNumRouted()), mass);
      return e.mul(factor, e.sub(e.read(unscaled, at), mean));
    });
  return e.tensorLike(scores, [&](ValueRange at) {
    return sumSlots([&](Value k) {
      return e.masked(e.equal(e.readIndex(routing.indices, {at[0], k}), at[1]),
                      e.read(perSlot, {at[0], k}));
    });
  });
}

static Value emitRouteGradient(LoopEmitter &e, RouteGradientOp op,
                               ConvertedOperands<RouteGradientOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value scores = operands.getScores().front(), fromGates;
  bool isConstant = op.getGate() == Gate::Binary ||
                    (op.getGate() == Gate::Renormalized && routing.type.getNumRouted() == 0);
  if (op.getGatesGrad() && !isConstant)
    fromGates = emitScoreGradient(e, op, routing, scores, operands.getGatesGrad().front());
  Value grads = e.tensorLike(scores, [&](ValueRange at) {
    Value grad = op.getScoresGrad() ? e.read(operands.getScoresGrad().front(), at) : e.f32(0);
    return fromGates ? e.add(grad, e.read(fromGates, at)) : grad;
  });
  if (op.getScore() == Score::Sigmoid)
    return e.tensorLike(scores, [&](ValueRange at) {
      Value s = e.read(scores, at);
      return e.mul(e.mul(s, e.sub(e.f32(1), s)), e.read(grads, at));
    });
  // a softmax over groups first..N-1
  bool routedOnly = op.getScore() == Score::SoftmaxRouted;
  Value first = e.index(routedOnly ? routing.type.getNumShared() : 0);
  return e.tensorLike(scores, [&](ValueRange at) {
    Value mean =
        e.loop(first, e.index(routing.type.getNumGroups()), e.f32(0), [&](Value i, Value acc) {
          return e.add(acc, e.mul(e.read(grads, {at[0], i}), e.read(scores, {at[0], i})));
        });
    Value grad = e.mul(e.read(scores, at), e.sub(e.read(grads, at), mean));
    return routedOnly ? e.select(e.less(at[1], first), e.f32(0), grad) : grad;
  });
}

static Value emitBalanceLossGradient(LoopEmitter &e, BalanceLossGradientOp op,
                                     ConvertedOperands<BalanceLossGradientOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  RoutingType type = routing.type;
  SmallVector<OpFoldResult> sizes = {e.dim(routing.indices, 0),
                                     e.b.getIndexAttr(type.getNumGroups())};
  Type f32 = e.b.getF32Type();
  if (op.getKind() == Balance::None || type.getNumRouted() == 0)
    return e.tensor(sizes, f32, [&](ValueRange) { return e.f32(0); });
  Value active = routing.emitActive(e), numTokens = e.numTokens(routing.indices);
  Value tokens = arith::UIToFPOp::create(
      e.b, f32, arith::IndexCastOp::create(e.b, e.b.getI64Type(), numTokens));
  double routed = type.getNumGroups() - type.getNumShared();
  double factor = op.getKind() == Balance::DeepSeek ? routed / type.getNumRouted() : routed;
  return e.tensor(sizes, f32, [&](ValueRange at) {
    Value count =
        e.sum(numTokens, [&](Value t) { return e.masked(e.read(active, {t, at[1]}), e.f32(1)); });
    Value share = e.div(e.mul(e.f32(factor), count), tokens);
    Value grad =
        e.mul(e.read(operands.getGrad().front(), {}), e.f32(op.getCoefficient().convertToDouble()));
    Value isShared = e.less(at[1], e.index(type.getNumShared()));
    return e.select(isShared, e.f32(0), e.div(e.mul(grad, share), tokens));
  });
}

//===----------------------------------------------------------------------===//
// The rest of a block
//===----------------------------------------------------------------------===//

static Value emitCopy(LoopEmitter &e, CopyOp, ConvertedOperands<CopyOp> operands) {
  Value input = operands.getInput().front();
  return e.tensorLike(input, [&](ValueRange at) { return e.read(input, at); });
}

static Value emitFusionMix(LoopEmitter &e, FusionMixOp op,
                           ConvertedOperands<FusionMixOp> operands) {
  Value input = operands.getInput().front(), left = operands.getLeft().front(), active;
  if (op.getRouting())
    active = RoutingTensors(op.getRouting().getType(), operands.getRouting()).emitActive(e);
  ArrayRef<int64_t> shape = op.getLeft().getType().getShape(); // [l, s, r]
  OpFoldResult width = e.b.getIndexAttr(shape[0] * shape[1]);
  return e.tensor({e.dim(input, 0), width}, elementOf(input), [&](ValueRange at) {
    Value s = e.divIndex(at[1], shape[0]), l = e.remIndex(at[1], shape[0]);
    return e.sum(e.index(shape[2]), [&](Value r) {
      Value column = e.addIndex(e.scaleIndex(r, shape[0]), l);
      Value product = e.mul(e.read(left, {l, s, r}), e.read(input, {at[0], column}));
      return active ? e.masked(e.read(active, {at[0], r}), product) : product;
    });
  });
}

/// The slope of silu, 0 at -Inf.
static Value emitSiluSlope(LoopEmitter &e, Value x) {
  Value s = e.sigmoid(x);
  Value slope = e.mul(s, e.add(e.f32(1), e.mul(x, e.sub(e.f32(1), s))));
  Value lowest = e.f32(-std::numeric_limits<double>::infinity());
  return e.select(arith::CmpFOp::create(e.b, arith::CmpFPredicate::OEQ, x, lowest), e.f32(0),
                  slope);
}

static Value emitSiluGradient(LoopEmitter &e, SiluGradientOp,
                              ConvertedOperands<SiluGradientOp> operands) {
  Value input = operands.getInput().front(), grad = operands.getGrad().front();
  return e.tensorLike(input, [&](ValueRange at) {
    return e.mul(e.read(grad, at), emitSiluSlope(e, e.read(input, at)));
  });
}

namespace {

struct LowerSwigluGradient : OpConversionPattern<SwigluGradientOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(SwigluGradientOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    Value gate = adaptor.getGate(), up = adaptor.getUp(), grad = adaptor.getGrad();
    Value gateGrad = e.tensorLike(gate, [&](ValueRange at) {
      return e.mul(e.mul(e.read(up, at), e.read(grad, at)), emitSiluSlope(e, e.read(gate, at)));
    });
    Value upGrad = e.tensorLike(
        gate, [&](ValueRange at) { return e.mul(e.silu(e.read(gate, at)), e.read(grad, at)); });
    rewriter.replaceOp(op, {e.castTo(gateGrad, op.getGateGrad().getType()),
                            e.castTo(upGrad, op.getUpGrad().getType())});
    return success();
  }
};

struct LowerRmsNormGradient : OpConversionPattern<RmsNormGradientOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(RmsNormGradientOp op, OneToNOpAdaptor operands,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    Value input = operands.getInput().front(), weight = operands.getWeight().front(),
          grad = operands.getGrad().front(), active;
    int64_t width = op.getInput().getType().getDimSize(1), groupWidth = width, counted = width;
    if (op.getRouting()) {
      RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
      active = routing.emitActive(e);
      groupWidth = width / routing.type.getNumGroups();
      counted = groupWidth * routing.type.getNumActive();
    }
    auto maskCounted = [&](Value t, Value d, Value data) {
      return active ? e.masked(e.read(active, {t, e.divIndex(d, groupWidth)}), data) : data;
    };
    Type f32 = e.b.getF32Type();
    Value factors = e.tensor({e.dim(input, 0)}, f32, [&](ValueRange at) {
      Value squares = e.sum(e.index(width), [&](Value d) {
        Value x = e.read(input, {at[0], d});
        return maskCounted(at[0], d, e.mul(x, x));
      });
      Value biased =
          e.add(e.div(squares, e.f32(counted)), e.f32(op.getEpsilon().convertToDouble()));
      return e.div(e.f32(1), math::SqrtOp::create(e.b, biased));
    });
    auto weighted = [&](Value t, Value d) {
      return e.mul(e.read(weight, {d}), e.read(grad, {t, d}));
    };
    Value dots = e.tensor({e.dim(input, 0)}, f32, [&](ValueRange at) {
      return e.sum(e.index(width),
                   [&](Value d) { return e.mul(weighted(at[0], d), e.read(input, {at[0], d})); });
    });
    Value result = e.tensorLike(input, [&](ValueRange at) {
      Value r = e.read(factors, {at[0]});
      Value share = e.div(e.mul(e.mul(r, e.mul(r, r)), e.read(dots, {at[0]})), e.f32(counted));
      Value ofMean = maskCounted(at[0], at[1], e.mul(e.read(input, at), share));
      return e.sub(e.mul(r, weighted(at[0], at[1])), ofMean);
    });
    rewriter.replaceOp(op, {e.castTo(result, op.getResult().getType()),
                            e.castTo(factors, op.getFactors().getType())});
    return success();
  }
};

struct LowerUnitGates : OpConversionPattern<UnitGatesOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(UnitGatesOp op, OneToNOpAdaptor operands,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
    Value ones = e.tensorLike(routing.gates, [&](ValueRange) { return e.f32(1); });
    SmallVector<Value> parts = {routing.indices,
                                e.castTo(ones, routing.type.getGatesType(ShapedType::kDynamic))};
    rewriter.replaceOpWithMultiple(op, {ValueRange(parts)});
    return success();
  }
};

} // namespace

void mlir::mohd::populateGradientsToLinalgPatterns(TypeConverter &converter,
                                                   RewritePatternSet &patterns) {
  patterns.add<
      LowerToLoops<PermuteWeightOp, emitPermuteWeight>,
      LowerToLoops<WeightGradientOp, emitWeightGradient>,
      LowerToLoops<FusionMixGradientOp, emitFusionMixGradient>,
      LowerToLoops<ColumnSumsOp, emitColumnSums>, LowerToLoops<EmbedGradientOp, emitEmbedGradient>,
      LowerToLoops<GateGradientOp, emitGateGradient>,
      LowerToLoops<ScaleGradientOp, emitScaleGradient>,
      LowerToLoops<RouteGradientOp, emitRouteGradient>,
      LowerToLoops<BalanceLossGradientOp, emitBalanceLossGradient>, LowerToLoops<CopyOp, emitCopy>,
      LowerToLoops<FusionMixOp, emitFusionMix>, LowerToLoops<SiluGradientOp, emitSiluGradient>,
      LowerSwigluGradient, LowerRmsNormGradient, LowerUnitGates>(converter, patterns.getContext());
}
