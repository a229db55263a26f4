// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference lowering of the ops that make a routing or use only it. Selection is by rank: a group
// is active if fewer than K_r routed groups come before it, which needs no sorting and states the
// order of ties in one line.
//
// Before:  %r, %s = mohd.route %n, %phi gate softmax score softmax_all : ... -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
// After:   linalg.generic ops for logits, active groups, indices, scores and gates; %r is tensor<?x8xi32>, tensor<?x8xf32>
//
// Test: test/Conversion/MoHDToLinalg/routing.mlir
#include "LoopEmitter.h"

#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

using namespace mlir;
using namespace mlir::mohd;

void mlir::mohd::addRoutingConversion(TypeConverter &converter) {
  converter.addConversion([](RoutingType type, SmallVectorImpl<Type> &types) {
    types.push_back(type.getIndicesType(ShapedType::kDynamic));
    types.push_back(type.getGatesType(ShapedType::kDynamic));
    return success();
  });
}

namespace {

/// What a `mohd.route` computes on the way; sizes and numbers in one place.
struct RouteEmitter {
  RouteEmitter(LoopEmitter &e, RouteOp op, Value input)
      : e(e), b(e.b), op(op), type(op.getRouting().getType()), input(input),
        tokens(e.dim(input, 0)), f32(e.b.getF32Type()), numShared(e.index(type.getNumShared())),
        numGroups(e.index(type.getNumGroups())) {}

  Value emitLogits(Value centroids);
  Value emitActive(Value logits);
  Value emitIndices(Value active);
  Value emitScores(Value logits);

  LoopEmitter &e;
  ImplicitLocOpBuilder &b;
  RouteOp op;
  RoutingType type;
  Value input;
  OpFoldResult tokens;
  Type f32;
  Value numShared, numGroups; // K_s, N

  SmallVector<OpFoldResult> perGroup() { return {tokens, b.getIndexAttr(type.getNumGroups())}; }
  SmallVector<OpFoldResult> perSlot() { return {tokens, b.getIndexAttr(type.getNumActive())}; }
};

/// n . Phi^T, [tokens, N].
Value RouteEmitter::emitLogits(Value centroids) {
  return e.tensor(perGroup(), f32, [&](ValueRange at) {
    return e.sum(e.index(op.getInput().getType().getDimSize(1)), [&](Value d) {
      return e.mul(e.read(input, {at[0], d}), e.read(centroids, {at[1], d}));
    });
  });
}

/// Whether each group is active, [tokens, N] i1: shared, or fewer than K_r routed groups are before
/// it. A group is before another if its logit is larger, or equal at a lower index; with a NaN in
/// the token all logits count as equal.
Value RouteEmitter::emitActive(Value logits) {
  Value no = arith::ConstantOp::create(b, b.getBoolAttr(false));
  Value hasNan = e.tensor({tokens}, b.getI1Type(), [&](ValueRange at) {
    return e.loop(e.index(0), numGroups, no, [&](Value n, Value found) {
      Value logit = e.read(logits, {at[0], n});
      return e.either(found, arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, logit, logit));
    });
  });
  Value ranked = e.tensor(perGroup(), f32, [&](ValueRange at) {
    return e.select(e.read(hasNan, {at[0]}), e.f32(0), e.read(logits, at));
  });
  return e.tensor(perGroup(), b.getI1Type(), [&](ValueRange at) -> Value {
    Value own = e.read(ranked, at);
    Value before = e.loop(numShared, numGroups, e.index(0), [&](Value i, Value count) {
      Value other = e.read(ranked, {at[0], i});
      Value larger = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, other, own);
      Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, other, own);
      Value isBefore = e.either(larger, e.both(equal, e.less(i, at[1])));
      return e.addIndex(count, e.select(isBefore, e.index(1), e.index(0)));
    });
    return e.either(e.less(at[1], numShared), e.less(before, e.index(type.getNumRouted())));
  });
}

/// The active groups in ascending order, [tokens, K] i32: slot k holds the group with k active
/// groups below it.
Value RouteEmitter::emitIndices(Value active) {
  Type i32 = b.getI32Type();
  Value slots = e.tensor(perGroup(), i32, [&](ValueRange at) {
    Value below = e.loop(e.index(0), at[1], e.index(0), [&](Value i, Value count) {
      return e.addIndex(count, e.select(e.read(active, {at[0], i}), e.index(1), e.index(0)));
    });
    return arith::IndexCastOp::create(b, i32, below);
  });
  return e.tensor(perSlot(), i32, [&](ValueRange at) {
    Value group = e.loop(e.index(0), numGroups, e.index(0), [&](Value n, Value found) {
      Value isHere =
          e.both(e.read(active, {at[0], n}), e.equal(e.readIndex(slots, {at[0], n}), at[1]));
      return e.select(isHere, n, found);
    });
    return arith::IndexCastOp::create(b, i32, group);
  });
}

/// Scores s, [tokens, N]: of the logits, or 1 without them.
Value RouteEmitter::emitScores(Value logits) {
  if (!logits)
    return e.tensor(perGroup(), f32, [&](ValueRange) { return e.f32(1); });
  if (op.getScore() == Score::Sigmoid)
    return e.tensor(perGroup(), f32, [&](ValueRange at) { return e.sigmoid(e.read(logits, at)); });
  // a softmax over groups first..N-1
  bool routedOnly = op.getScore() == Score::SoftmaxRouted;
  int64_t first = routedOnly ? type.getNumShared() : 0;
  Value count = e.index(type.getNumGroups() - first);
  auto logit = [&](Value token, Value i) {
    return e.read(logits, {token, e.addIndex(i, e.index(first))});
  };
  Value largest = e.tensor({tokens}, f32, [&](ValueRange at) {
    return e.max(count, [&](Value i) { return logit(at[0], i); });
  });
  Value total = e.tensor({tokens}, f32, [&](ValueRange at) {
    return e.sum(count,
                 [&](Value i) { return e.exp(e.sub(logit(at[0], i), e.read(largest, {at[0]}))); });
  });
  return e.tensor(perGroup(), f32, [&](ValueRange at) {
    Value power = e.exp(e.sub(e.read(logits, at), e.read(largest, {at[0]})));
    Value score = e.div(power, e.read(total, {at[0]}));
    return routedOnly ? e.select(e.less(at[1], numShared), e.f32(1), score) : score;
  });
}

} // namespace

Value mlir::mohd::emitGates(LoopEmitter &e, RoutingType type, Gate gate, Value indices,
                            Value scores) {
  OpFoldResult tokens = e.dim(scores, 0);
  Type f32 = e.b.getF32Type();
  Value numShared = e.index(type.getNumShared());
  auto score = [&](Value token, Value slot) {
    return e.read(scores, {token, e.readIndex(indices, {token, slot})});
  };
  if (gate == Gate::Renormalized && type.getNumRouted() == 0)
    gate = Gate::Binary;
  Value routedMass;
  if (gate == Gate::Renormalized)
    routedMass = e.tensor({tokens}, f32, [&](ValueRange at) {
      return e.loop(numShared, e.index(type.getNumActive()), e.f32(0),
                    [&](Value k, Value acc) { return e.add(acc, score(at[0], k)); });
    });
  return e.tensor({tokens, e.b.getIndexAttr(type.getNumActive())}, f32,
                  [&](ValueRange at) -> Value {
                    switch (gate) {
                    case Gate::Softmax:
                      return score(at[0], at[1]);
                    case Gate::SharedOne:
                      return e.select(e.less(at[1], numShared), e.f32(1), score(at[0], at[1]));
                    case Gate::Renormalized: {
                      Value share = e.mul(e.f32(type.getNumRouted()), score(at[0], at[1]));
                      return e.select(e.less(at[1], numShared), e.f32(1),
                                      e.div(share, e.read(routedMass, {at[0]})));
                    }
                    case Gate::Binary:
                      return e.f32(1);
                    }
                    llvm_unreachable("every gate is handled");
                  });
}

Value mlir::mohd::emitScaling(LoopEmitter &e, Value gates, RoutingType type, Scaling scaling) {
  double numGroups = type.getNumGroups(), numActive = type.getNumActive();
  return e.tensor({e.dim(gates, 0)}, e.b.getF32Type(), [&](ValueRange at) -> Value {
    auto mass = [&] {
      return e.sum(e.index(type.getNumActive()),
                   [&](Value k) { return e.read(gates, {at[0], k}); });
    };
    switch (scaling) {
    case Scaling::SqrtNkOverMass:
      return e.div(e.f32(std::sqrt(numGroups * numActive)), mass());
    case Scaling::NTimesMass:
      return e.mul(e.f32(numGroups), mass());
    case Scaling::KOverMass:
      return e.div(e.f32(numActive), mass());
    case Scaling::SqrtNOverK:
      return e.f32(std::sqrt(numGroups / numActive));
    case Scaling::NOverK:
      return e.f32(numGroups / numActive);
    case Scaling::None:
      return e.f32(1);
    }
    llvm_unreachable("every scaling is handled");
  });
}

/// Elements of `input` [tokens, columns] times the token's `factors`.
static Value emitScaled(LoopEmitter &e, Value input, Value factors) {
  return e.tensorLike(
      input, [&](ValueRange at) { return e.mul(e.read(factors, {at[0]}), e.read(input, at)); });
}

static Value emitScale(LoopEmitter &e, ScaleOp op, ConvertedOperands<ScaleOp> operands) {
  Value input = operands.getInput().front();
  if (op.getScaling() == Scaling::None)
    return input;
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  return emitScaled(e, input, emitScaling(e, routing.gates, routing.type, op.getScaling()));
}

static Value emitBalanceLoss(LoopEmitter &e, BalanceLossOp op,
                             ConvertedOperands<BalanceLossOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  RoutingType type = routing.type;
  Type f32 = e.b.getF32Type();
  if (op.getKind() == Balance::None || type.getNumRouted() == 0)
    return e.tensor({}, f32, [&](ValueRange) { return e.f32(0); });
  Value scores = operands.getScores().front(), active = routing.emitActive(e);
  Value numTokens = e.numTokens(scores);
  Value tokens = arith::UIToFPOp::create(
      e.b, f32, arith::IndexCastOp::create(e.b, e.b.getI64Type(), numTokens));
  double routed = type.getNumGroups() - type.getNumShared();
  double factor = op.getKind() == Balance::DeepSeek ? routed / type.getNumRouted() : routed;
  // f_i / count_i and P_i each bring in 1/T
  return e.tensor({}, f32, [&](ValueRange) {
    Value total = e.loop(
        e.index(type.getNumShared()), e.index(type.getNumGroups()), e.f32(0),
        [&](Value n, Value acc) {
          Value count =
              e.sum(numTokens, [&](Value t) { return e.masked(e.read(active, {t, n}), e.f32(1)); });
          Value mass = e.sum(numTokens, [&](Value t) { return e.read(scores, {t, n}); });
          Value share = e.div(e.mul(e.f32(factor), count), tokens);
          return e.add(acc, e.mul(share, e.div(mass, tokens)));
        });
    Value loss = e.mul(e.f32(op.getCoefficient().convertToDouble()), total);
    return e.select(e.equal(numTokens, e.index(0)), e.f32(0), loss);
  });
}

namespace {

struct LowerRoute : OpConversionPattern<RouteOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(RouteOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    RouteEmitter route(e, op, adaptor.getInput());
    Value logits, indices;
    if (adaptor.getCentroids()) {
      logits = route.emitLogits(adaptor.getCentroids());
      indices = route.emitIndices(route.emitActive(logits));
    } else {
      indices = e.tensor(route.perSlot(), rewriter.getI32Type(), [&](ValueRange at) {
        return arith::IndexCastOp::create(e.b, rewriter.getI32Type(), at[1]);
      });
    }
    Value scores = route.emitScores(logits);
    Value gates = emitGates(e, route.type, op.getGate(), indices, scores);
    if (op.getScaling() != Scaling::None)
      gates = emitScaled(e, gates, emitScaling(e, gates, route.type, op.getScaling()));
    SmallVector<Value> parts = {e.castTo(indices, route.type.getIndicesType(ShapedType::kDynamic)),
                                e.castTo(gates, route.type.getGatesType(ShapedType::kDynamic))};
    rewriter.replaceOpWithMultiple(
        op, {ValueRange(parts), ValueRange(e.castTo(scores, op.getScores().getType()))});
    return success();
  }
};

struct LowerMakeRouting : OpConversionPattern<MakeRoutingOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(MakeRoutingOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    RoutingType type = op.getRouting().getType();
    SmallVector<Value> parts = {
        e.castTo(adaptor.getIndices(), type.getIndicesType(ShapedType::kDynamic)),
        e.castTo(adaptor.getGates(), type.getGatesType(ShapedType::kDynamic))};
    rewriter.replaceOpWithMultiple(op, {ValueRange(parts)});
    return success();
  }
};

struct LowerUnpackRouting : OpConversionPattern<UnpackRoutingOp> {
  using OpConversionPattern::OpConversionPattern;
  LogicalResult matchAndRewrite(UnpackRoutingOp op, OneToNOpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    ValueRange parts = adaptor.getRouting();
    rewriter.replaceOp(op, {e.castTo(parts[0], op.getIndices().getType()),
                            e.castTo(parts[1], op.getGates().getType())});
    return success();
  }
};

} // namespace

void mlir::mohd::populateRoutingToLinalgPatterns(TypeConverter &converter,
                                                 RewritePatternSet &patterns) {
  patterns.add<LowerRoute, LowerMakeRouting, LowerUnpackRouting, LowerToLoops<ScaleOp, emitScale>,
               LowerToLoops<BalanceLossOp, emitBalanceLoss>>(converter, patterns.getContext());
}
