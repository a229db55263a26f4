// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rule of each op that has a gradient: what its operands get from the gradients of its results. docs/differentiation.md has the
// formulas. d(v) is the gradient of v.
#include "mohd/Dialect/MoHD/IR/GradientMap.h"

using namespace mlir;
using namespace mlir::mohd;

/// The type of the gradient of a routing's gates, for as many tokens as `like` [tokens, ...] has.
static RankedTensorType getGatesType(Value routing, Value like) {
  auto tokens = cast<RankedTensorType>(like.getType());
  return cast<RoutingType>(routing.getType()).getGatesType(tokens.getDimSize(0));
}

/// `weight` with its last two dimensions exchanged.
static Value transpose(OpBuilder &b, Value weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank()));
  std::swap(permutation.back(), permutation[type.getRank() - 2]);
  SmallVector<int64_t> shape;
  for (int64_t axis : permutation)
    shape.push_back(type.getDimSize(axis));
  return PermuteWeightOp::create(b, weight.getLoc(), type.clone(shape), weight, permutation);
}

namespace {
/// Adds gradients to those of an op's operands; only what is wanted is made.
class Adder {
public:
  Adder(OpBuilder &b, GradientMap &gradients) : b(b), gradients(gradients) {}

  void operator()(Value value, llvm::function_ref<Value()> make) {
    if (value && gradients.isWanted(value) && succeeded(result))
      result = gradients.add(b, value, make());
  }
  LogicalResult result = success();

private:
  OpBuilder &b;
  GradientMap &gradients;
};
} // namespace

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

// d(logits) = route_gradient;   d(n) = d(logits) . Phi;   d(Phi) = d(logits)^T . n
LogicalResult RouteOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value gates = gradients.get(getRouting()), scores = gradients.get(getScores());
  if (!getCentroids())
    return success();
  Value logits =
      RouteGradientOp::create(b, getLoc(), getScores().getType(), getScores(), getRouting(), gates,
                              scores, getGate(), getScore(), getScaling());
  Adder add(b, gradients);
  add(getInput(), [&] {
    return LinearOp::create(b, getLoc(), getInput().getType(), logits, getCentroids(), PlanAttr());
  });
  add(getCentroids(), [&] {
    return WeightGradientOp::create(b, getLoc(), getCentroids().getType(), logits, getInput(),
                                    Value(), DenseI64ArrayAttr(), false);
  });
  return add.result;
}

// d(gates) is the gradient of the routing.
LogicalResult MakeRoutingOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getGates(), [&] { return gradients.get(getRouting()); });
  return add.result;
}

LogicalResult UnpackRoutingOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value gates = gradients.get(getGates());
  Adder add(b, gradients);
  if (gates)
    add(getRouting(), [&] { return gates; });
  return add.result;
}

// d(scores) = balance_loss_gradient
LogicalResult BalanceLossOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getScores(), [&] {
    return BalanceLossGradientOp::create(b, getLoc(), getScores().getType(),
                                         gradients.get(getLoss()), getRouting(), getKind(),
                                         getCoefficient());
  });
  return add.result;
}

// d(x) = gate(d(y));   d(gates) = gate_gradient(x, d(y))
LogicalResult GateOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Adder add(b, gradients);
  add(getInput(), [&] { return GateOp::create(b, getLoc(), grad.getType(), grad, getRouting()); });
  add(getRouting(), [&] {
    return GateGradientOp::create(b, getLoc(), getGatesType(getRouting(), grad), getInput(), grad,
                                  getRouting());
  });
  return add.result;
}

// d(x) = scale(d(y));   d(gates) = scale_gradient(x, d(y)), 0 for a constant scaling
LogicalResult ScaleOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Adder add(b, gradients);
  add(getInput(), [&] {
    return ScaleOp::create(b, getLoc(), grad.getType(), grad, getRouting(), getScaling());
  });
  if (getScaling() != Scaling::None &&
      getScalingForm(getRouting().getType(), getScaling()).massPower != 0)
    add(getRouting(), [&] {
      return ScaleGradientOp::create(b, getLoc(), getGatesType(getRouting(), grad), getInput(),
                                     grad, getRouting(), getScaling());
    });
  return add.result;
}

// d(x) = scatter_groups(d(y)), and the other way round
LogicalResult GatherGroupsOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getInput(), [&] {
    return ScatterGroupsOp::create(b, getLoc(), getInput().getType(), gradients.get(getResult()),
                                   getRouting());
  });
  return add.result;
}

LogicalResult ScatterGroupsOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getInput(), [&] {
    return GatherGroupsOp::create(b, getLoc(), getInput().getType(), gradients.get(getResult()),
                                  getRouting());
  });
  return add.result;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

// d(h) = sddmm(d(y), w^T) for h = gate(x);   d(x) = gate(d(h));   d(gates) = gate_gradient(x, d(h));   d(w) = weight_gradient(h, d(y))
LogicalResult SpmmOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Adder add(b, gradients);
  if (gradients.isWanted(getInput()) || gradients.isWanted(getRouting())) {
    Value hidden =
        SddmmOp::create(b, getLoc(), grad, getRouting(), transpose(b, getWeight()), PlanAttr());
    add(getInput(),
        [&] { return GateOp::create(b, getLoc(), hidden.getType(), hidden, getRouting()); });
    add(getRouting(), [&] {
      return GateGradientOp::create(b, getLoc(), getGatesType(getRouting(), grad), getInput(),
                                    hidden, getRouting());
    });
  }
  add(getWeight(), [&] {
    Value gated = GateOp::create(b, getLoc(), getInput().getType(), getInput(), getRouting());
    return WeightGradientOp::create(b, getLoc(), getWeight().getType(), gated, grad, getRouting(),
                                    DenseI64ArrayAttr(), false);
  });
  return add.result;
}

// d(z) = spmm(d(o), w^T) with all gates 1;   d(w) = weight_gradient(d(o), z)^T
LogicalResult SddmmOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Adder add(b, gradients);
  add(getInput(), [&] {
    Value routing = UnitGatesOp::create(b, getLoc(), getRouting());
    return SpmmOp::create(b, getLoc(), grad, routing, transpose(b, getWeight()), PlanAttr());
  });
  add(getWeight(), [&] {
    return WeightGradientOp::create(b, getLoc(), getWeight().getType(), grad, getInput(),
                                    getRouting(), b.getDenseI64ArrayAttr({0, 2, 1}), false);
  });
  return add.result;
}

// d(x) = linear(d(y), w^T);   d(w) = weight_gradient(x, d(y))
LogicalResult LinearOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Adder add(b, gradients);
  add(getInput(), [&] {
    return LinearOp::create(b, getLoc(), getInput().getType(), grad, transpose(b, getWeight()),
                            PlanAttr());
  });
  add(getWeight(), [&] {
    return WeightGradientOp::create(b, getLoc(), getWeight().getType(), getInput(), grad, Value(),
                                    DenseI64ArrayAttr(), false);
  });
  return add.result;
}

// d(w) = w with w and its permutation undone
LogicalResult PermuteWeightOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getWeight(), [&] {
    SmallVector<int64_t> inverse(getPermutation().size());
    for (auto [position, axis] : llvm::enumerate(getPermutation()))
      inverse[axis] = position;
    return PermuteWeightOp::create(b, getLoc(), getWeight().getType(), gradients.get(getResult()),
                                   inverse);
  });
  return add.result;
}

//===----------------------------------------------------------------------===//
// GroupFusionOp
//===----------------------------------------------------------------------===//

/// The block-diagonal fusion of `input` by `right`.
static Value multiplyBlocks(OpBuilder &b, Location loc, Value input, Value right, Value routing) {
  return GroupFusionOp::create(b, loc, input, Fusion::BlockDiagonal, right, Value(), Value(),
                               routing);
}

// Of y = mix(u, left), u = blocks(x, right):
//   d(u) = mix(d(y), left^T);   d(left) = fusion_mix_gradient(u, d(y))
//   d(x) = blocks(d(u), right^T);   d(right) = weight_gradient(d(u), x), block by block
// The block-diagonal form has y = u + bias, and d(bias) = column_sums(d(y)).
LogicalResult GroupFusionOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult()), routing = getRouting();
  Adder add(b, gradients);
  if (getKind() == Fusion::None) {
    add(getInput(), [&] { return grad; });
    return add.result;
  }
  Value middle = grad; // d(u)
  if (getKind() == Fusion::Monarch) {
    middle = FusionMixOp::create(b, getLoc(), grad, transpose(b, getLeft()), Value());
    add(getLeft(), [&] {
      Value u = multiplyBlocks(b, getLoc(), getInput(), getRight(), routing);
      return FusionMixGradientOp::create(b, getLoc(), getLeft().getType(), u, grad);
    });
  }
  add(getInput(),
      [&] { return multiplyBlocks(b, getLoc(), middle, transpose(b, getRight()), routing); });
  add(getRight(), [&] {
    return WeightGradientOp::create(b, getLoc(), getRight().getType(), middle, getInput(), routing,
                                    DenseI64ArrayAttr(), true);
  });
  add(getBias(), [&] {
    return ColumnSumsOp::create(b, getLoc(), getBias().getType(), grad, Value(), Value());
  });
  return add.result;
}

//===----------------------------------------------------------------------===//
// The rest of a block
//===----------------------------------------------------------------------===//

// d(x), r = rms_norm_gradient;   d(w)_d = sum_t d(y) * x * r
LogicalResult RmsNormOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  auto factors = RankedTensorType::get({getInput().getType().getDimSize(0)}, b.getF32Type());
  auto gradient = RmsNormGradientOp::create(b, getLoc(), getInput().getType(), factors, getInput(),
                                            getWeight(), grad, getRouting(), getEpsilonAttr());
  Adder add(b, gradients);
  add(getInput(), [&] { return gradient.getResult(); });
  add(getWeight(), [&] {
    return ColumnSumsOp::create(b, getLoc(), getWeight().getType(), grad, getInput(),
                                gradient.getFactors());
  });
  return add.result;
}

// d(table)[ids[t]] += d(y)[t]
LogicalResult EmbedOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  if (gradients.isWanted(getTable()) && !getTable().getType().hasStaticShape())
    return emitOpError("expects a table of static shape, as its gradient has one, got ")
           << getTable().getType();
  add(getTable(), [&] {
    return EmbedGradientOp::create(b, getLoc(), getTable().getType(), getIds(),
                                   gradients.get(getResult()));
  });
  return add.result;
}

LogicalResult AddOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getLhs(), [&] { return gradients.get(getResult()); });
  add(getRhs(), [&] { return gradients.get(getResult()); });
  return add.result;
}

LogicalResult CopyOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getInput(), [&] { return gradients.get(getResult()); });
  return add.result;
}

LogicalResult SiluOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getInput(), [&] {
    return SiluGradientOp::create(b, getLoc(), getInput().getType(), getInput(),
                                  gradients.get(getResult()));
  });
  return add.result;
}

LogicalResult SwigluOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Type type = getGate().getType();
  auto gradient = SwigluGradientOp::create(b, getLoc(), type, type, getGate(), getUp(),
                                           gradients.get(getResult()));
  Adder add(b, gradients);
  add(getGate(), [&] { return gradient.getGateGrad(); });
  add(getUp(), [&] { return gradient.getUpGrad(); });
  return add.result;
}

// d(rows) = d(y) at the places of the rows;   d(cache) = d(y) elsewhere
LogicalResult KvCacheAppendOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  auto gradient = KvCacheAppendGradientOp::create(b, getLoc(), getType(), getRows().getType(),
                                                  gradients.get(getResult()), getPosition(),
                                                  getSequence(), getLayer());
  Adder add(b, gradients);
  add(getRows(), [&] { return gradient.getRows(); });
  add(getCache(), [&] { return gradient.getResult(); });
  return add.result;
}

/// `cache`, or what it was appended to in other layers since, as that is in the same place: a cache may not be used once it was appended to.
static Value getLatest(Value cache, uint64_t layer) {
  for (Operation *user : cache.getUsers())
    if (auto append = dyn_cast<KvCacheAppendOp>(user);
        append && append.getCache() == cache && append.getLayer() != layer)
      return getLatest(append.getResult(), layer);
  return cache;
}

// d(q), statistics = attention_gradient;   d(keys), d(values) += attention_cache_gradient
LogicalResult AttentionOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Value grad = gradients.get(getResult());
  Value keys = getLatest(getKeys(), getLayer()), values = getLatest(getValues(), getLayer());
  auto statistics =
      RankedTensorType::get({getType().getDimSize(0), 3 * getNumHeads()}, b.getF32Type());
  auto gradient =
      AttentionGradientOp::create(b, getLoc(), getType(), statistics, getQuery(), keys, values,
                                  grad, getPosition(), getSequence(), getLayer(), getHeadDim());
  // A cache is too large for a sum of its layers' gradients: each adds what is its own.
  auto addToCache = [&](Value cache, Value like, bool ofValues) {
    if (!gradients.isWanted(cache))
      return;
    Value into = gradients.get(cache);
    if (!into)
      into = ZeroCacheOp::create(b, getLoc(), cache.getType(), like);
    gradients.replace(cache, AttentionCacheGradientOp::create(
                                 b, getLoc(), cache.getType(), into, getQuery(), keys, values, grad,
                                 gradient.getStatistics(), getPosition(), getSequence(), getLayer(),
                                 getHeadDim(), ofValues));
  };
  addToCache(getKeys(), keys, false);
  addToCache(getValues(), values, true);
  Adder add(b, gradients);
  add(getQuery(), [&] { return gradient.getResult(); });
  return add.result;
}

// The rotation back.
LogicalResult RopeOp::buildGradient(OpBuilder &b, GradientMap &gradients) {
  Adder add(b, gradients);
  add(getInput(), [&] {
    return RopeOp::create(b, getLoc(), getInput().getType(), gradients.get(getResult()),
                          getPosition(), getHeadDim(), getTheta(), !getInverse());
  });
  return add.result;
}
