// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the router: mohd.route, mohd.scale and mohd.balance_loss.
//
// N groups, K active ones; all arithmetic in f32. mohd.route does one token a task: logits, then
// scores, then the active set, then gates, with arrays of N numbers on the stack between the steps.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of scale.
static constexpr int64_t kScaleTokens = 8;

namespace {

Value multiply(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::MulFOp::create(e.b, lhs, rhs);
}
Value divide(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::DivFOp::create(e.b, lhs, rhs);
}
Value compare(KernelEmitter &e, arith::CmpFPredicate predicate, Value lhs, Value rhs) {
  return arith::CmpFOp::create(e.b, predicate, lhs, rhs);
}

/// next = combine(next, element) over elements [lower, upper) of an array of f32, from `init` on,
/// in order.
Value fold(KernelEmitter &e, int64_t lower, int64_t upper, Value init,
           llvm::function_ref<Value(Value element, Value sum)> combine,
           llvm::function_ref<Value(Value)> element) {
  return e.loop(e.index(lower), e.index(upper), 1, init, [&](Value i, ValueRange carried) {
    return SmallVector<Value>{combine(element(i), carried[0])};
  })[0];
}

Value addScalars(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::AddFOp::create(e.b, lhs, rhs);
}

/// The activation scaling (f32) of a token with gates memref[token, 0..K); null for `none`.
Value emitScalingFactor(KernelEmitter &e, Value gates, Value token, RoutingType routing,
                        Scaling scaling) {
  double n = routing.getNumGroups(), k = routing.getNumActive();
  switch (scaling) {
  case Scaling::None:
    return {};
  case Scaling::SqrtNOverK:
    return e.f32(std::sqrt(n / k));
  case Scaling::NOverK:
    return e.f32(n / k);
  default:
    break;
  }
  Value mass = fold(
      e, 0, routing.getNumActive(), e.f32(0),
      [&](Value gate, Value sum) { return addScalars(e, sum, gate); },
      [&](Value slot) { return e.loadScalar(gates, {token, slot}); });
  if (scaling == Scaling::NTimesMass)
    return multiply(e, e.f32(n), mass);
  return divide(e, e.f32(scaling == Scaling::KOverMass ? k : std::sqrt(n * k)), mass);
}

/// Writes mohd.route's body for one token after the other.
class RouteEmitter {
public:
  RouteEmitter(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results);
  void emitToken(Value token);

private:
  void emitLogits(Value token);
  void emitScores();
  void emitSoftmax(int64_t lower);
  void emitSigmoid();
  void selectRouted();
  void storeActive(Value token);
  void emitGates(Value token);
  void fill(Value array, int64_t lower, int64_t upper, Value value);

  KernelEmitter &e;
  RouteOp op;
  RoutingType type;
  const int64_t numGroups, numShared, numActive;
  Value input, centroids;             // [T, D], [N, D] or null
  Value indices, gates, storedScores; // [T, K] i32, [T, K], [T, N] or null
  Value logits, scores, selected;     // [N] f32, [N] f32, [N] i1
};

RouteEmitter::RouteEmitter(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results)
    : e(e), op(op), type(cast<RoutingType>(op.getRouting().getType())),
      numGroups(type.getNumGroups()), numShared(type.getNumShared()),
      numActive(type.getNumActive()), input(operands[0]),
      centroids(op.getCentroids() ? operands[1] : Value()), indices(results[0]), gates(results[1]),
      storedScores(results[2]) {
  logits = e.array({numGroups});
  scores = e.array({numGroups});
  selected = e.array({numGroups}, e.b.getI1Type());
}

void RouteEmitter::fill(Value array, int64_t lower, int64_t upper, Value value) {
  e.loop(e.index(lower), e.index(upper), 1,
         [&](Value i) { memref::StoreOp::create(e.b, value, array, i); });
}

void RouteEmitter::emitLogits(Value token) {
  int64_t width = op.getInput().getType().getDimSize(1);
  e.loop(e.index(0), e.index(numGroups), 1, [&](Value group) {
    e.store(e.dot(input, {token, e.index(0)}, centroids, {group, e.index(0)}, width), logits,
            group);
  });
}

/// Softmax over groups [lower, N). A NaN reaches all of them.
void RouteEmitter::emitSoftmax(int64_t lower) {
  Value largest = fold(
      e, lower, numGroups, e.f32(-INFINITY),
      [&](Value logit, Value sum) { return arith::MaximumFOp::create(e.b, logit, sum); },
      [&](Value group) { return e.loadScalar(logits, group); });
  auto power = [&](Value group, int64_t width) {
    Value shifted =
        arith::SubFOp::create(e.b, e.load(logits, group, width), e.splat(largest, width));
    e.store(math::ExpOp::create(e.b, shifted), scores, group);
  };
  for (Segment segment : e.segments(numGroups - lower))
    power(e.index(lower + segment.offset), segment.width);
  Value sum = fold(
      e, lower, numGroups, e.f32(0),
      [&](Value score, Value sum) { return addScalars(e, sum, score); },
      [&](Value group) { return e.loadScalar(scores, group); });
  e.loop(e.index(lower), e.index(numGroups), 1,
         [&](Value group) { e.store(divide(e, e.loadScalar(scores, group), sum), scores, group); });
}

void RouteEmitter::emitSigmoid() {
  for (Segment segment : e.segments(numGroups)) {
    Value group = e.index(segment.offset), one = e.splat(e.f32(1), segment.width);
    Value negated = arith::NegFOp::create(e.b, e.load(logits, group, segment.width));
    Value power = math::ExpOp::create(e.b, negated);
    e.store(divide(e, one, addScalars(e, one, power)), scores, group);
  }
}

void RouteEmitter::emitScores() {
  if (!centroids)
    return fill(scores, 0, numGroups, e.f32(1));
  switch (op.getScore()) {
  case Score::SoftmaxAll:
    return emitSoftmax(0);
  case Score::SoftmaxRouted:
    fill(scores, 0, numShared, e.f32(1));
    if (numShared < numGroups)
      emitSoftmax(numShared);
    return;
  case Score::Sigmoid:
    return emitSigmoid();
  }
}

/// Marks the shared groups and the K_r largest logits of the others. Equal logits: lowest index
/// first; with a NaN among the token's logits all count as equal.
void RouteEmitter::selectRouted() {
  Value yes = arith::ConstantIntOp::create(e.b, 1, 1), no = arith::ConstantIntOp::create(e.b, 0, 1);
  fill(selected, 0, numShared, yes);
  fill(selected, numShared, numGroups, no);
  if (type.getNumRouted() == 0)
    return;
  Value anyNan = fold(
      e, 0, numGroups, no,
      [&](Value isNan, Value any) { return arith::OrIOp::create(e.b, any, isNan); },
      [&](Value group) {
        Value logit = e.loadScalar(logits, group);
        return compare(e, arith::CmpFPredicate::UNO, logit, logit);
      });
  // The best so far: its group, N while there is none, and its logit.
  auto better = [&](Value group, ValueRange best) {
    Value logit = arith::SelectOp::create(e.b, anyNan, e.f32(0), e.loadScalar(logits, group));
    Value none = arith::CmpIOp::create(e.b, arith::CmpIPredicate::eq, best[0], e.index(numGroups));
    Value larger =
        arith::OrIOp::create(e.b, none, compare(e, arith::CmpFPredicate::OGT, logit, best[1]));
    Value isFree = arith::XOrIOp::create(e.b, memref::LoadOp::create(e.b, selected, group), yes);
    Value take = arith::AndIOp::create(e.b, isFree, larger);
    return SmallVector<Value>{arith::SelectOp::create(e.b, take, group, best[0]),
                              arith::SelectOp::create(e.b, take, logit, best[1])};
  };
  e.loop(e.index(0), e.index(type.getNumRouted()), 1, [&](Value) {
    Value init[] = {e.index(numGroups), e.f32(0)};
    Value best = e.loop(e.index(numShared), e.index(numGroups), 1, init, better)[0];
    memref::StoreOp::create(e.b, yes, selected, best);
  });
}

/// Stores the active groups in ascending order, and their scores as gates.
void RouteEmitter::storeActive(Value token) {
  e.loop(e.index(0), e.index(numGroups), 1, e.index(0), [&](Value group, ValueRange slot) {
    Value active = memref::LoadOp::create(e.b, selected, group);
    e.branch(active, [&] {
      Value narrow = arith::IndexCastOp::create(e.b, e.b.getI32Type(), group);
      memref::StoreOp::create(e.b, narrow, indices, {token, slot[0]});
      e.store(e.loadScalar(scores, group), gates, {token, slot[0]});
    });
    Value step = arith::SelectOp::create(e.b, active, e.index(1), e.index(0));
    return SmallVector<Value>{e.add(slot[0], step)};
  });
}

/// Turns the scores in `gates` into gates, and scales them.
void RouteEmitter::emitGates(Value token) {
  auto change = [&](int64_t lower, int64_t upper, llvm::function_ref<Value(Value)> next) {
    e.loop(e.index(lower), e.index(upper), 1, [&](Value slot) {
      e.store(next(e.loadScalar(gates, {token, slot})), gates, {token, slot});
    });
  };
  auto one = [&](Value) { return e.f32(1); };
  Gate gate = op.getGate();
  if (gate == Gate::Binary)
    change(0, numActive, one);
  else if (gate != Gate::Softmax)
    change(0, numShared, one);
  if (gate == Gate::Renormalized && type.getNumRouted() > 0) {
    Value sum = fold(
        e, numShared, numActive, e.f32(0),
        [&](Value score, Value sum) { return addScalars(e, sum, score); },
        [&](Value slot) { return e.loadScalar(gates, {token, slot}); });
    Value count = e.f32(type.getNumRouted());
    change(numShared, numActive,
           [&](Value score) { return divide(e, multiply(e, count, score), sum); });
  }
  if (Value factor = emitScalingFactor(e, gates, token, type, op.getScaling()))
    change(0, numActive, [&](Value value) { return multiply(e, value, factor); });
}

void RouteEmitter::emitToken(Value token) {
  if (centroids)
    emitLogits(token);
  emitScores();
  selectRouted();
  storeActive(token);
  emitGates(token);
  if (storedScores)
    e.columns(numGroups, e.lanes, [&](Value group, int64_t width) {
      e.store(e.load(scores, group, width), storedScores, {token, group});
    });
}

} // namespace

std::string mlir::mohd::gridOfRoute(RouteOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, 1, tokens);
}

void mlir::mohd::emitRoute(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results) {
  RouteEmitter route(e, op, operands, results);
  e.loop(e.begin, e.end, 1, [&](Value token) { route.emitToken(token); });
}

//===----------------------------------------------------------------------===//
// mohd.scale
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfScale(ScaleOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kScaleTokens, tokens);
}

void mlir::mohd::emitScale(KernelEmitter &e, ScaleOp op, ValueRange operands, ValueRange results) {
  int64_t width = op.getInput().getType().getDimSize(1);
  auto scaleToken = [&](Value token) {
    Value factor =
        emitScalingFactor(e, operands[2], token, op.getRouting().getType(), op.getScaling());
    e.columns(width, e.lanes, [&](Value column, int64_t vectorWidth) {
      Value data = e.load(operands[0], {token, column}, vectorWidth);
      if (factor)
        data = multiply(e, data, e.splat(factor, vectorWidth));
      e.store(data, results[0], {token, column});
    });
  };
  e.tasks(kScaleTokens,
          [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, scaleToken); });
}

//===----------------------------------------------------------------------===//
// mohd.balance_loss
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfBalanceLoss(BalanceLossOp op, int64_t lanes, StringRef tokens) {
  return "1";
}

/// Adds up each routed group's scores, and its tokens (exact up to 2^24 tokens), over all tokens.
static void emitTotals(KernelEmitter &e, RoutingType routing, ValueRange operands, Value scoreSums,
                       Value counts) {
  int64_t numShared = routing.getNumShared(), numGroups = routing.getNumGroups();
  auto addTo = [&](Value array, Value i, Value value) {
    e.store(addScalars(e, e.loadScalar(array, i), value), array, i);
  };
  e.loop(e.index(numShared), e.index(numGroups), 1, [&](Value group) {
    e.store(e.f32(0), scoreSums, group);
    e.store(e.f32(0), counts, group);
  });
  e.loop(e.index(0), e.numTokens, 1, [&](Value token) {
    e.loop(e.index(numShared), e.index(numGroups), 1, [&](Value group) {
      addTo(scoreSums, group, e.loadScalar(operands[0], {token, group}));
    });
    e.loop(e.index(numShared), e.index(routing.getNumActive()), 1,
           [&](Value slot) { addTo(counts, e.loadIndex(operands[1], {token, slot}), e.f32(1)); });
  });
}

void mlir::mohd::emitBalanceLoss(KernelEmitter &e, BalanceLossOp op, ValueRange operands,
                                 ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t numGroups = routing.getNumGroups(), numShared = routing.getNumShared(),
          numRouted = routing.getNumRouted();
  bool isZero = op.getKind() == Balance::None || numRouted == 0;
  Value scoreSums = e.array({numGroups}), counts = e.array({numGroups});
  // The only task.
  e.loop(e.begin, e.end, 1, [&](Value) {
    e.store(e.f32(0), results[0], {});
    if (isZero)
      return;
    Value anyToken = arith::CmpIOp::create(e.b, arith::CmpIPredicate::ugt, e.numTokens, e.index(0));
    e.branch(anyToken, [&] {
      emitTotals(e, routing, operands, scoreSums, counts);
      Value sum = fold(
          e, numShared, numGroups, e.f32(0),
          [&](Value product, Value sum) { return addScalars(e, sum, product); },
          [&](Value group) {
            return multiply(e, e.loadScalar(counts, group), e.loadScalar(scoreSums, group));
          });
      double share =
          double(numGroups - numShared) / (op.getKind() == Balance::DeepSeek ? numRouted : 1);
      Value wide = arith::IndexCastOp::create(e.b, e.b.getI64Type(), e.numTokens);
      Value tokens = arith::UIToFPOp::create(e.b, e.b.getF32Type(), wide);
      Value factor = e.f32(op.getCoefficient().convertToDouble() * share);
      e.store(divide(e, divide(e, multiply(e, factor, sum), tokens), tokens), results[0], {});
    });
  });
}
