// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.route_gradient: a warp for each token, which keeps the gradients of its scores in shared memory.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

namespace {

class RouteGradientWriter {
public:
  RouteGradientWriter(GpuKernelSet &kernels, RouteGradientOp op, Term token)
      : kernels(kernels), e(kernels.e()), op(op), routing(op.getRouting().getType()), token(token),
        zero(e.i32(0)), groups(e.i32(routing.getNumGroups())), slots(e.i32(routing.getNumActive())),
        gate(op.getGate()), form(getScalingForm(routing, op.getScaling())) {
    if (routing.getNumRouted() == 0 && gate != Gate::Softmax)
      gate = Gate::Binary;
  }

  void write();

private:
  void addGates();
  Term groupAt(const Term &slot) { return loadGroup(kernels, op.getRouting(), token, slot); }
  Term scoreOf(const Term &group) {
    return e.loadF32(kernels.buffer(op.getScores()), {token, group});
  }
  Term given(const Term &slot) {
    return e.loadF32(kernels.buffer(op.getGatesGrad()), {token, slot});
  }
  /// Where this warp keeps the gradient of a group's score.
  Value placeOf(const Term &group) {
    return e.advance(e.shared(scoreGrads), (e.warp() * routing.getNumGroups() + group) * 4);
  }
  Term gradOf(const Term &group) { return e.load(placeOf(group), e.b.getF32Type()); }

  GpuKernelSet &kernels;
  GpuEmitter &e;
  RouteGradientOp op;
  RoutingType routing;
  Term token, zero, groups, slots;
  Gate gate;
  const ScalingForm form;
  int64_t scoreGrads = 0; // shared: [warps, N] f32
};

} // namespace

/// Adds what the gates give to the gradients of the token's scores.
void RouteGradientWriter::addGates() {
  Term firstRouted = e.i32(routing.getNumShared()), one = e.f32(1.0), routedMass;
  if (gate == Gate::Renormalized)
    routedMass =
        sumOverLanes(e, firstRouted, slots, [&](Term slot) { return scoreOf(groupAt(slot)); });
  // The gate before scaling.
  auto gateOf = [&](const Term &slot) {
    Term score = scoreOf(groupAt(slot));
    if (gate == Gate::Softmax)
      return score;
    if (gate == Gate::Renormalized)
      score = score * double(routing.getNumRouted()) / routedMass;
    return select(slot < firstRouted, one, score);
  };
  Term scaling = e.f32(form.coefficient), slope;
  if (form.massPower != 0) {
    Term mass = sumOverLanes(e, zero, slots, gateOf);
    Term dot = sumOverLanes(e, zero, slots, [&](Term slot) { return given(slot) * gateOf(slot); });
    scaling = scaling * raise(e, mass, form.massPower);
    slope = raise(e, mass, form.massPower - 1) * (form.coefficient * form.massPower) * dot;
  }
  auto gateGrad = [&](const Term &slot) {
    Term grad = scaling * given(slot);
    return slope ? grad + slope : grad;
  };
  Term mean, factor;
  if (gate == Gate::Renormalized) {
    mean = sumOverLanes(e, firstRouted, slots,
                        [&](Term slot) { return gateGrad(slot) * scoreOf(groupAt(slot)); }) /
           routedMass;
    factor = e.f32(double(routing.getNumRouted())) / routedMass;
  }
  Term first = gate == Gate::Softmax ? zero : firstRouted;
  e.loop(first + e.lane(), slots, 32, [&](Term slot) {
    Term group = groupAt(slot), grad = gateGrad(slot);
    if (mean)
      grad = factor * (grad - mean);
    e.store(gradOf(group) + grad, placeOf(group));
  });
  e.warpSync();
}

void RouteGradientWriter::write() {
  scoreGrads = e.reserveShared(kRowWarps * routing.getNumGroups() * 4);
  e.loop(e.lane(), groups, 32, [&](Term group) {
    Term grad = e.f32(0.0);
    if (op.getScoresGrad())
      grad = e.loadF32(kernels.buffer(op.getScoresGrad()), {token, group});
    e.store(grad, placeOf(group));
  });
  e.warpSync();
  if (op.getGatesGrad() && gate != Gate::Binary)
    addGates();
  // The gradients of logits from those of scores.
  auto store = [&](const Term &value, const Term &group) {
    e.storeF32(value, kernels.buffer(op.getResult()), {token, group});
  };
  Term first = op.getScore() == Score::SoftmaxRouted ? e.i32(routing.getNumShared()) : zero, mean;
  e.loop(e.lane(), first, 32, [&](Term group) { store(e.f32(0.0), group); });
  if (op.getScore() != Score::Sigmoid)
    mean =
        sumOverLanes(e, first, groups, [&](Term group) { return gradOf(group) * scoreOf(group); });
  e.loop(first + e.lane(), groups, 32, [&](Term group) {
    Term score = scoreOf(group), grad = gradOf(group);
    store(score * (mean ? grad - mean : grad * (e.f32(1.0) - score)), group);
  });
}

LogicalResult mlir::mohd::emitGpuRouteGradient(GpuKernelSet &kernels, RouteGradientOp op) {
  addForRows(kernels, [&](Term token) { RouteGradientWriter(kernels, op, token).write(); });
  return success();
}
