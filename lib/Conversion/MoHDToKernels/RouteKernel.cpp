// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the router: mohd.route, mohd.scale and mohd.balance_loss.
//
// N groups, K active ones; all arithmetic in f32. A task of mohd.route is a few tokens: their logits together, as dot products that share what
// they load; then for each token the scores, the active set and the gates, with arrays of N numbers on the stack between the steps. A
// token's logits are added up in the same order whatever its neighbours are, so that its active set depends on it alone.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of route, whose logits are computed together if there are as many.
static constexpr int64_t kRouteTokens = 4;
/// Tokens in a task of scale.
static constexpr int64_t kScaleTokens = 8;

namespace {

Value compare(KernelEmitter &e, arith::CmpFPredicate predicate, Value lhs, Value rhs) {
  return arith::CmpFOp::create(e.b, predicate, lhs, rhs);
}

/// Loads or computes `width` elements (f32) from `i` on.
using Elements = llvm::function_ref<Value(Value i, int64_t width)>;

/// The activation scaling (f32) of a token with `gates` [0, K); null for `none`.
Value emitScalingFactor(KernelEmitter &e, Elements gates, RoutingType routing, Scaling scaling) {
  if (scaling == Scaling::None)
    return {};
  ScalingForm form = getScalingForm(routing, scaling);
  Value coefficient = e.f32(form.coefficient);
  if (form.massPower == 0)
    return coefficient;
  Value mass = e.sum(0, routing.getNumActive(), gates);
  return form.massPower > 0 ? multiply(e, coefficient, mass) : divide(e, coefficient, mass);
}

/// Writes mohd.route's body for a task's tokens.
class RouteEmitter {
public:
  RouteEmitter(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results);
  /// For tokens [lower, upper), at most kRouteTokens.
  void emit(Value lower, Value upper);

private:
  void emitLogits(Value token, Value row, int64_t numTokens);
  void emitScores(Value row);
  void emitSoftmax(Value row, int64_t lower);
  void selectRouted(Value row);
  void rank(Value row, Value first, int64_t width);
  void collectActive();
  void emitGates();
  void storeActive(Value token);
  /// Calls body(i, width) for vectors of [lower, upper).
  void forEachVector(int64_t lower, int64_t upper, llvm::function_ref<void(Value, int64_t)> body) {
    e.columns(upper - lower, e.lanes,
              [&](Value i, int64_t width) { body(e.add(i, e.index(lower)), width); });
  }
  void fill(Value array, int64_t lower, int64_t upper, double value) {
    forEachVector(lower, upper,
                  [&](Value i, int64_t width) { e.store(e.splat(e.f32(value), width), array, i); });
  }

  KernelEmitter &e;
  RouteOp op;
  RoutingType type;
  const int64_t numGroups, numShared, numActive;
  Value input, centroids;             // [T, D], [N, D] or null
  Value indices, gates, storedScores; // [T, K] i32, [T, K], [T, N] or null
  Value logits;                       // [kRouteTokens, N], of a task
  Value scores, chosen;               // [N] f32, and i32: 1 for routed groups that are active
  Value activeIndices, activeGates;   // [K + 1] i32 and f32: one place more, for what is not active
};

RouteEmitter::RouteEmitter(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results)
    : e(e), op(op), type(cast<RoutingType>(op.getRouting().getType())),
      numGroups(type.getNumGroups()), numShared(type.getNumShared()),
      numActive(type.getNumActive()), input(operands[0]),
      centroids(op.getCentroids() ? operands[1] : Value()), indices(results[0]), gates(results[1]),
      storedScores(results[2]) {
  logits = e.array({kRouteTokens, numGroups});
  scores = e.array({numGroups});
  chosen = e.array({numGroups}, e.b.getI32Type());
  activeIndices = e.array({numActive + 1}, e.b.getI32Type());
  activeGates = e.array({numActive + 1});
}

/// Logits of `numTokens` tokens, to `logits` from `row` on.
void RouteEmitter::emitLogits(Value token, Value row, int64_t numTokens) {
  int64_t width = op.getInput().getType().getDimSize(1);
  // Chains of additions enough to hide their latency, all in registers.
  int64_t tile = (e.lanes >= 16 ? 16 : 8) / numTokens;
  e.columns(numGroups, tile, [&](Value group, int64_t numCentroids) {
    Value products = e.dots(
        numTokens, numCentroids, width,
        [&](int64_t i, Value column, int64_t lanes) {
          return e.load(input, {e.add(token, e.index(i)), column}, lanes);
        },
        [&](int64_t j, Value column, int64_t lanes) {
          return e.load(centroids, {e.add(group, e.index(j)), column}, lanes);
        });
    for (int64_t i = 0; i < numTokens; ++i)
      e.store(vector::ExtractStridedSliceOp::create(e.b, products, {i * numCentroids},
                                                    {numCentroids}, {1}),
              logits, {e.add(row, e.index(i)), group});
  });
}

/// Softmax over groups [lower, N). A NaN reaches all of them.
void RouteEmitter::emitSoftmax(Value row, int64_t lower) {
  Value largest = e.fold(
      lower, numGroups, e.f32(-INFINITY), [&](Value lhs, Value rhs) { return e.larger(lhs, rhs); },
      [&](Value group, int64_t width) { return e.load(logits, {row, group}, width); });
  Value sum = e.sum(lower, numGroups, [&](Value group, int64_t width) -> Value {
    Value shifted =
        arith::SubFOp::create(e.b, e.load(logits, {row, group}, width), e.splat(largest, width));
    Value power = math::ExpOp::create(e.b, shifted);
    e.store(power, scores, group);
    return power;
  });
  forEachVector(lower, numGroups, [&](Value group, int64_t width) {
    e.store(divide(e, e.load(scores, group, width), e.splat(sum, width)), scores, group);
  });
}

void RouteEmitter::emitScores(Value row) {
  if (!centroids)
    return fill(scores, 0, numGroups, 1);
  switch (op.getScore()) {
  case Score::SoftmaxAll:
    return emitSoftmax(row, 0);
  case Score::SoftmaxRouted:
    fill(scores, 0, numShared, 1);
    if (numShared < numGroups)
      emitSoftmax(row, numShared);
    return;
  case Score::Sigmoid:
    return forEachVector(0, numGroups, [&](Value group, int64_t width) {
      Value one = e.splat(e.f32(1), width);
      Value negated = arith::NegFOp::create(e.b, e.load(logits, {row, group}, width));
      Value power = math::ExpOp::create(e.b, negated);
      e.store(divide(e, one, addUp(e, one, power)), scores, group);
    });
  }
}

/// Marks the K_r largest logits of the routed groups in `chosen`. Equal logits: lowest index first; with a NaN among the token's logits all
/// count as equal.
void RouteEmitter::selectRouted(Value row) {
  // As many routed groups as are active: no need to compare.
  if (type.getNumRouted() == 0 || numActive == numGroups)
    return forEachVector(numShared, numGroups, [&](Value group, int64_t width) {
      auto type = VectorType::get({width}, e.b.getI32Type());
      auto all = DenseElementsAttr::get(type, int32_t(numActive == numGroups));
      vector::StoreOp::create(e.b, arith::ConstantOp::create(e.b, all), chosen, group);
    });
  Value numNan = e.fold(
      0, numGroups, e.f32(0), [&](Value lhs, Value rhs) { return e.larger(lhs, rhs); },
      [&](Value group, int64_t width) -> Value {
        Value logit = e.load(logits, {row, group}, width);
        Value isNan = compare(e, arith::CmpFPredicate::UNO, logit, logit);
        return arith::SelectOp::create(e.b, isNan, e.splat(e.f32(1), width),
                                       e.splat(e.f32(0), width));
      });
  e.branch(compare(e, arith::CmpFPredicate::OGT, numNan, e.f32(0)), [&] {
    forEachVector(0, numGroups, [&](Value group, int64_t width) {
      e.store(e.splat(e.f32(0), width), logits, {row, group});
    });
  });
  forEachVector(numShared, numGroups, [&](Value group, int64_t width) { rank(row, group, width); });
}

/// Marks in `chosen` those of `width` groups from `first` on that fewer than K_r groups precede: by a larger logit, or an equal one and a
/// lower index.
void RouteEmitter::rank(Value row, Value first, int64_t width) {
  auto type = VectorType::get({width}, e.b.getI32Type());
  Value mine = e.load(logits, {row, first}, width);
  auto isBefore = [&](Value other, arith::CmpFPredicate predicate) {
    return compare(e, predicate, e.splat(e.loadScalar(logits, {row, other}), width), mine);
  };
  auto count = [&](Value isBefore, Value sum) -> Value {
    return arith::AddIOp::create(e.b, sum, arith::ExtUIOp::create(e.b, type, isBefore));
  };
  auto countAll = [&](Value lower, Value upper, arith::CmpFPredicate predicate, Value sum) {
    return e.loop(lower, upper, 1, sum, [&](Value other, ValueRange carried) {
      return SmallVector<Value>{count(isBefore(other, predicate), carried[0])};
    })[0];
  };
  Value sum = arith::ConstantOp::create(e.b, DenseElementsAttr::get(type, int32_t(0)));
  sum = countAll(e.index(numShared), first, arith::CmpFPredicate::OGE, sum);
  // Among the groups themselves an equal logit counts for those behind it.
  auto lanes = VectorType::get({width}, e.b.getIndexType());
  Value steps = vector::StepOp::create(e.b, lanes);
  sum = e.loop(e.index(0), e.index(width), 1, sum, [&](Value i, ValueRange carried) {
    Value other = e.add(first, i);
    Value isBehind =
        arith::CmpIOp::create(e.b, arith::CmpIPredicate::ugt, steps, e.splat(i, width));
    Value isEqual = isBefore(other, arith::CmpFPredicate::OEQ);
    Value isLarger = isBefore(other, arith::CmpFPredicate::OGT);
    Value before =
        arith::OrIOp::create(e.b, isLarger, arith::AndIOp::create(e.b, isEqual, isBehind));
    return SmallVector<Value>{count(before, carried[0])};
  })[0];
  sum = countAll(e.add(first, e.index(width)), e.index(numGroups), arith::CmpFPredicate::OGT, sum);
  Value limit = arith::ConstantOp::create(
      e.b, DenseElementsAttr::get(type, int32_t(this->type.getNumRouted())));
  Value isChosen = arith::CmpIOp::create(e.b, arith::CmpIPredicate::slt, sum, limit);
  vector::StoreOp::create(e.b, arith::ExtUIOp::create(e.b, type, isChosen), chosen, first);
}

/// Collects the active groups in ascending order, and their scores as gates. Every group is written to the next free place, which stays free
/// unless the group is active: no branch that depends on the data.
void RouteEmitter::collectActive() {
  auto write = [&](Value group, Value slot) {
    Value narrow = arith::IndexCastOp::create(e.b, e.b.getI32Type(), group);
    memref::StoreOp::create(e.b, narrow, activeIndices, slot);
    e.store(e.loadScalar(scores, group), activeGates, slot);
  };
  e.loop(e.index(0), e.index(numShared), 1, [&](Value group) { write(group, group); });
  e.loop(e.index(numShared), e.index(numGroups), 1, e.index(numShared),
         [&](Value group, ValueRange slot) {
           write(group, slot[0]);
           return SmallVector<Value>{e.add(slot[0], e.loadIndex(chosen, group))};
         });
}

/// Turns the scores in `activeGates` into gates, and scales them.
void RouteEmitter::emitGates() {
  auto load = [&](Value slot, int64_t width) { return e.load(activeGates, slot, width); };
  auto change = [&](int64_t lower, llvm::function_ref<Value(Value, int64_t)> next) {
    forEachVector(lower, numActive, [&](Value slot, int64_t width) {
      e.store(next(load(slot, width), width), activeGates, slot);
    });
  };
  Gate gate = op.getGate();
  if (gate != Gate::Softmax)
    fill(activeGates, 0, gate == Gate::Binary ? numActive : numShared, 1);
  if (gate == Gate::Renormalized && type.getNumRouted() > 0) {
    Value sum = e.sum(numShared, numActive, load);
    Value count = e.f32(type.getNumRouted());
    change(numShared, [&](Value score, int64_t width) {
      return divide(e, multiply(e, e.splat(count, width), score), e.splat(sum, width));
    });
  }
  if (Value factor = emitScalingFactor(e, load, type, op.getScaling()))
    change(0,
           [&](Value value, int64_t width) { return multiply(e, value, e.splat(factor, width)); });
}

void RouteEmitter::storeActive(Value token) {
  forEachVector(0, numActive, [&](Value slot, int64_t width) {
    auto type = VectorType::get({width}, e.b.getI32Type());
    Value groups = vector::LoadOp::create(e.b, type, activeIndices, slot);
    vector::StoreOp::create(e.b, groups, indices, ValueRange{token, slot});
    e.store(e.load(activeGates, slot, width), gates, {token, slot});
  });
  if (storedScores)
    forEachVector(0, numGroups, [&](Value group, int64_t width) {
      e.store(e.load(scores, group, width), storedScores, {token, group});
    });
}

void RouteEmitter::emit(Value lower, Value upper) {
  if (centroids) {
    Value isWhole = arith::CmpIOp::create(e.b, arith::CmpIPredicate::eq, e.sub(upper, lower),
                                          e.index(kRouteTokens));
    e.branch(
        isWhole, [&] { emitLogits(lower, e.index(0), kRouteTokens); },
        [&] {
          e.loop(lower, upper, 1, [&](Value token) { emitLogits(token, e.sub(token, lower), 1); });
        });
  }
  e.loop(lower, upper, 1, [&](Value token) {
    Value row = e.sub(token, lower);
    emitScores(row);
    selectRouted(row);
    collectActive();
    emitGates();
    storeActive(token);
  });
}

} // namespace

std::string mlir::mohd::gridOfRoute(RouteOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRouteTokens, tokens);
}

void mlir::mohd::emitRoute(KernelEmitter &e, RouteOp op, ValueRange operands, ValueRange results) {
  RouteEmitter route(e, op, operands, results);
  e.tasks(kRouteTokens, [&](Value, Value lower, Value upper) { route.emit(lower, upper); });
}

//===----------------------------------------------------------------------===//
// mohd.scale
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfScale(ScaleOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, kScaleTokens, tokens);
}

void mlir::mohd::emitScale(KernelEmitter &e, ScaleOp op, ValueRange operands, ValueRange results) {
  int64_t width = op.getInput().getType().getDimSize(1);
  auto scaleToken = [&](Value token) {
    auto gates = [&](Value slot, int64_t width) {
      return e.load(operands[2], {token, slot}, width);
    };
    Value factor = emitScalingFactor(e, gates, op.getRouting().getType(), op.getScaling());
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

std::string mlir::mohd::gridOfBalanceLoss(BalanceLossOp op, StringRef tokens) { return "1"; }

/// Adds up each group's scores, and a routed group's tokens (exact up to 2^24 tokens), over all tokens.
static void emitTotals(KernelEmitter &e, RoutingType routing, ValueRange operands, Value scoreSums,
                       Value counts) {
  int64_t numShared = routing.getNumShared(), numGroups = routing.getNumGroups();
  e.columns(numGroups, e.lanes, [&](Value group, int64_t width) {
    e.store(e.splat(e.f32(0), width), scoreSums, group);
    e.store(e.splat(e.f32(0), width), counts, group);
  });
  e.loop(e.index(0), e.numTokens, 1, [&](Value token) {
    e.columns(numGroups, e.lanes, [&](Value group, int64_t width) {
      Value scores = e.load(operands[0], {token, group}, width);
      e.store(addUp(e, e.load(scoreSums, group, width), scores), scoreSums, group);
    });
    e.loop(e.index(numShared), e.index(routing.getNumActive()), 1, [&](Value slot) {
      Value group = e.loadIndex(operands[1], {token, slot});
      e.store(addUp(e, e.loadScalar(counts, group), e.f32(1)), counts, group);
    });
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
      Value sum = e.sum(numShared, numGroups, [&](Value group, int64_t width) {
        return multiply(e, e.load(counts, group, width), e.load(scoreSums, group, width));
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
