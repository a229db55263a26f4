// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the ops of backward functions whose results for a token depend on that token: gradients of gates, scalings and norms, and mohd.fusion_mix; and
// mohd.balance_loss_gradient, which counts tokens before.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

Term mlir::mohd::loadGroup(GpuKernelSet &kernels, TypedValue<RoutingType> routing,
                           const Term &token, const Term &slot) {
  GpuEmitter &e = kernels.e();
  Term group = e.loadI32(kernels.buffer(routing, 0), {token, slot});
  return max(min(group, e.i32(routing.getType().getNumGroups() - 1)), e.i32(0));
}

Term mlir::mohd::sumOverLanes(GpuEmitter &e, const Term &lower, const Term &upper,
                              llvm::function_ref<Term(Term)> element) {
  Term sum =
      e.loop(lower + e.lane(), upper, e.i32(32), {e.f32(0.0)}, [&](Term i, ArrayRef<Term> carried) {
        return SmallVector<Term>{carried[0] + element(i)};
      })[0];
  return e.warpSum(sum);
}

Term mlir::mohd::raise(GpuEmitter &e, const Term &mass, int power) {
  Term one = e.f32(1.0);
  if (power == 0)
    return one;
  if (power == 1)
    return mass;
  Term inverse = one / mass;
  return power == -1 ? inverse : inverse * inverse;
}

LogicalResult mlir::mohd::emitGpuUnitGates(GpuKernelSet &kernels, UnitGatesOp op) {
  addForParts(kernels, op.getType().getNumActive(), [&](Term token, Term slot) {
    GpuEmitter &e = kernels.e();
    Term group = e.loadI32(kernels.buffer(op.getRouting(), 0), {token, slot});
    e.storeI32(group, kernels.buffer(op.getResult(), 0), {token, slot});
    e.storeF32(e.f32(1.0), kernels.buffer(op.getResult(), 1), {token, slot});
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuGatherGroups(GpuKernelSet &kernels, GatherGroupsOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.getNumGroups();
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    e.loop(e.i32(0), e.i32(routing.getNumActive()), 1, [&](Term slot) {
      Term from = loadGroup(kernels, op.getRouting(), token, slot) * groupWidth;
      e.loop(e.lane(), e.i32(groupWidth), 32, [&](Term column) {
        e.storeF32(e.loadF32(kernels.buffer(op.getInput()), {token, from + column}),
                   kernels.buffer(op.getResult()), {token, slot * groupWidth + column});
      });
    });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuScatterGroups(GpuKernelSet &kernels, ScatterGroupsOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getType().getDimSize(1) / routing.getNumGroups();
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    // Active groups come in ascending order: `slot` is the next one.
    e.loop(
        e.i32(0), e.i32(routing.getNumGroups()), e.i32(1), {e.i32(0)},
        [&](const Term &group, ArrayRef<Term> carried) {
          Term slot = min(carried[0], e.i32(routing.getNumActive() - 1));
          Term isActive = e.loadI32(kernels.buffer(op.getRouting(), 0), {token, slot}) == group;
          e.loop(e.lane(), e.i32(groupWidth), 32, [&](Term column) {
            auto load = [&] {
              Term from = slot * groupWidth + column;
              return SmallVector<Term>{e.loadF32(kernels.buffer(op.getInput()), {token, from})};
            };
            Term value = e.choose(isActive, load, [&] { return SmallVector<Term>{e.f32(0.0)}; })[0];
            e.storeF32(value, kernels.buffer(op.getResult()), {token, group * groupWidth + column});
          });
          return SmallVector<Term>{carried[0] + select(isActive, e.i32(1), e.i32(0))};
        });
  });
  return success();
}

/// The sum over columns [lower, upper) of a token of the products of input and gradient.
template <typename Op>
static Term multiplyRows(GpuKernelSet &kernels, Op op, const Term &token, const Term &lower,
                         const Term &upper) {
  GpuEmitter &e = kernels.e();
  return sumOverLanes(e, lower, upper, [&](Term column) {
    return e.loadF32(kernels.buffer(op.getInput()), {token, column}) *
           e.loadF32(kernels.buffer(op.getGrad()), {token, column});
  });
}

LogicalResult mlir::mohd::emitGpuGateGradient(GpuKernelSet &kernels, GateGradientOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.getNumGroups();
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    e.loop(e.i32(0), e.i32(routing.getNumActive()), 1, [&](Term slot) {
      Term first = loadGroup(kernels, op.getRouting(), token, slot) * groupWidth;
      Term sum = multiplyRows(kernels, op, token, first, first + groupWidth);
      e.when(e.lane() == 0,
             [&] { e.storeF32(sum, kernels.buffer(op.getResult()), {token, slot}); });
    });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuScaleGradient(GpuKernelSet &kernels, ScaleGradientOp op) {
  RoutingType routing = op.getRouting().getType();
  ScalingForm form = getScalingForm(routing, op.getScaling());
  int64_t width = op.getInput().getType().getDimSize(1);
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    Term zero = e.i32(0), numActive = e.i32(routing.getNumActive()), grad = e.f32(0.0);
    if (form.massPower != 0) {
      Term mass = sumOverLanes(e, zero, numActive, [&](Term slot) {
        return e.loadF32(kernels.buffer(op.getRouting(), 1), {token, slot});
      });
      Term slope = raise(e, mass, form.massPower - 1) * (form.coefficient * form.massPower);
      grad = slope * multiplyRows(kernels, op, token, zero, e.i32(width));
    }
    e.loop(e.lane(), numActive, 32,
           [&](Term slot) { e.storeF32(grad, kernels.buffer(op.getResult()), {token, slot}); });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuBalanceLossGradient(GpuKernelSet &kernels,
                                                     BalanceLossGradientOp op) {
  constexpr int64_t kThreads = 256;
  RoutingType routing = op.getRouting().getType();
  int64_t numGroups = routing.getNumGroups(), numShared = routing.getNumShared(),
          numRouted = routing.getNumRouted();
  bool isZero = op.getKind() == Balance::None || numRouted == 0;
  kernels.addScratch(numGroups); // what each token's score of a group gets
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid = "1";
  kernels.add("count", launch, [&] {
    GpuEmitter &e = kernels.e();
    auto forGroups = [&](llvm::function_ref<void(Term)> body) {
      e.loop(e.thread(), e.i32(numGroups), kThreads, body);
    };
    auto store = [&](const Term &value, const Term &group) {
      e.storeF32(value, kernels.scratch(), {group});
    };
    if (isZero)
      return forGroups([&](Term group) { store(e.f32(0.0), group); });
    int64_t counts = e.reserveShared(4 * numGroups);
    auto countOf = [&](const Term &group) { return e.advance(e.shared(counts), group * 4); };
    forGroups([&](Term group) { e.store(e.i32(0), countOf(group)); });
    e.barrier();
    e.loop(e.thread(), kernels.numTokens(), kThreads, [&](Term token) {
      e.loop(e.i32(numShared), e.i32(routing.getNumActive()), 1, [&](Term slot) {
        Term group = loadGroup(kernels, op.getRouting(), token, slot);
        tile::AtomicOp::create(e.b, tile::Atomic::Add, e.i32(1).value, countOf(group));
      });
    });
    e.barrier();
    double share =
        double(numGroups - numShared) / (op.getKind() == Balance::DeepSeek ? numRouted : 1);
    Term factor = e.loadF32(kernels.buffer(op.getGrad()), {}) *
                  (op.getCoefficient().convertToDouble() * share);
    Term tokens = toF32(kernels.numTokens());
    forGroups([&](Term group) {
      Term count = toF32(e.load(countOf(group), e.b.getI32Type()));
      Term each = factor * count / tokens / tokens;
      store(select(group < numShared, e.f32(0.0), each), group);
    });
  });
  addForParts(kernels, numGroups, [&](Term token, Term group) {
    GpuEmitter &e = kernels.e();
    Term value = e.loadF32(kernels.scratch(), {group});
    e.storeF32(value, kernels.buffer(op.getResult()), {token, group});
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuRmsNormGradient(GpuKernelSet &kernels, RmsNormGradientOp op) {
  int64_t width = op.getInput().getType().getDimSize(1), groupWidth = width, numActive = 1;
  if (op.getRouting()) {
    RoutingType routing = op.getRouting().getType();
    groupWidth = width / routing.getNumGroups();
    numActive = routing.getNumActive();
  }
  double counted = double(numActive * groupWidth);
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    auto inputOf = [&](const Term &column) {
      return e.loadF32(kernels.buffer(op.getInput()), {token, column});
    };
    auto weightedOf = [&](const Term &column) {
      return e.loadF32(kernels.buffer(op.getWeight()), {column}) *
             e.loadF32(kernels.buffer(op.getGrad()), {token, column});
    };
    auto firstOf = [&](const Term &slot) {
      return op.getRouting() ? loadGroup(kernels, op.getRouting(), token, slot) * groupWidth
                             : e.i32(0);
    };
    Term slots = e.i32(numActive), one = e.i32(1);
    Term squares = e.loop(e.i32(0), slots, one, {e.f32(0.0)}, [&](Term slot, ArrayRef<Term> sum) {
      Term first = firstOf(slot);
      return SmallVector<Term>{sum[0] + sumOverLanes(e, first, first + groupWidth, [&](Term i) {
                                 Term x = inputOf(i);
                                 return x * x;
                               })};
    })[0];
    Term factor = e.rsqrt(squares / counted + op.getEpsilon().convertToDouble());
    e.when(e.lane() == 0, [&] { e.storeF32(factor, kernels.buffer(op.getFactors()), {token}); });
    Term dot = sumOverLanes(e, e.i32(0), e.i32(width),
                            [&](Term column) { return weightedOf(column) * inputOf(column); });
    Term mean = factor * factor * factor * dot / counted;
    auto storeColumns = [&](const Term &first, int64_t numColumns, bool isCounted) {
      e.loop(first + e.lane(), first + numColumns, 32, [&](Term column) {
        Term value = factor * weightedOf(column);
        if (isCounted)
          value = value - inputOf(column) * mean;
        e.storeF32(value, kernels.buffer(op.getResult()), {token, column});
      });
    };
    if (op.getRouting()) {
      storeColumns(e.i32(0), width, false);
      e.warpSync(); // before other lanes write the columns that count
    }
    e.loop(e.i32(0), slots, 1, [&](Term slot) { storeColumns(firstOf(slot), groupWidth, true); });
  });
  return success();
}

/// A thread has a column of some tokens, and reads the factor's elements once.
LogicalResult mlir::mohd::emitGpuFusionMix(GpuKernelSet &kernels, FusionMixOp op) {
  constexpr int64_t kTokens = 8;
  ArrayRef<int64_t> shape = op.getLeft().getType().getShape(); // [l, s, r]
  int64_t width = shape[0] * shape[1];
  GpuLaunch launch;
  launch.threads = kElementThreads;
  launch.grid = ("ceildiv(ceildiv(" + kernels.getTokens() + "," + Twine(kTokens) + ")*" +
                 Twine(width) + "," + Twine(kElementThreads) + ")")
                    .str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term place = toI64(e.block()) * kElementThreads + toI64(e.thread());
    Term firstToken = toI32(place / width) * kTokens, column = toI32(place % width);
    Term numTokens = kernels.numTokens(), l = column % shape[0], s = column / shape[0];
    e.when(firstToken < numTokens, [&] {
      SmallVector<Term> sums =
          e.loop(e.i32(0), e.i32(shape[2]), e.i32(1), SmallVector<Term>(kTokens, e.f32(0.0)),
                 [&](Term r, ArrayRef<Term> carried) {
                   Term weight = e.loadF32(kernels.buffer(op.getLeft()), {l, s, r});
                   SmallVector<Term> next;
                   for (int64_t i = 0; i < kTokens; ++i) {
                     Term token = min(firstToken + i, numTokens - 1);
                     Term x = e.loadF32(kernels.buffer(op.getInput()), {token, r * shape[0] + l});
                     next.push_back(fma(weight, x, carried[i]));
                   }
                   return next;
                 });
      for (int64_t i = 0; i < kTokens; ++i)
        e.when(firstToken + i < numTokens, [&] {
          e.storeF32(sums[i], kernels.buffer(op.getResult()), {firstToken + i, column});
        });
    });
  });
  return success();
}
