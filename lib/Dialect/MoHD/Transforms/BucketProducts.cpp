// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Replaces products by their form on tokens in bucket order, for GPUs.
//
//   %n = mohd.rms_norm %x, %g epsilon 1.0e-05 : ...
//   %r, %s = mohd.route %n, %phi ...
//   %y = mohd.spmm %n, %r, %w plan <gather to 16,bucket> : ...
// becomes
//   %r, %s = mohd.norm_route %x, %g, %phi ...
//   %order, %masks = mohd.bucket_order %r rows 64 : ...
//   %a = mohd.bucket_tokens %x norm(%g) routing(%r) order(%order) ...
//   %y = mohd.bucket_spmm %a, %w order(%order) masks(%masks) common 6 rows 64 : ...
//
// Shown by test/Dialect/MoHD/bucket-products.mlir and bucket-products-quantized.mlir.
#include "FoldResiduals.h"
#include "WeightView.h"

#include "mohd/Dialect/MoHD/Transforms/Passes.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_BUCKETPRODUCTSPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// Rows of a tile, which one warpgroup of the tensor units takes.
static constexpr int64_t kRows = 64;

namespace {

/// A routing's order of tokens, and masks of tiles; null if all tokens have the same groups.
struct Buckets {
  Value order, masks;
};

/// A product's weight, K-major, the type in which tokens are multiplied by it, and its scales; null for one that is not quantised.
struct KMajorWeight {
  Value weight;
  Type element;
  Value scales;
};

struct BucketProductsPass : mohd::impl::BucketProductsPassBase<BucketProductsPass> {
  using Base::Base;

  void runOnOperation() override {
    buckets.clear();
    foldNormsIntoRouters();
    SmallVector<Operation *> products;
    getOperation().walk([&](Operation *op) {
      auto fusion = dyn_cast<GroupFusionOp>(op);
      if (isa<LinearOp, SpmmOp, SddmmOp, WeightGradientOp>(op) ||
          (fusion && fusion.getKind() == Fusion::Monarch))
        products.push_back(op);
    });
    for (Operation *op : products) {
      OpBuilder b(op);
      Value result =
          llvm::TypeSwitch<Operation *, Value>(op)
              .Case([&](LinearOp linear) { return replaceLinear(b, linear); })
              .Case([&](SpmmOp spmm) { return replaceSpmm(b, spmm); })
              .Case([&](SddmmOp sddmm) { return replaceSddmm(b, sddmm); })
              .Case([&](GroupFusionOp fusion) { return replaceFusion(b, fusion); })
              .Case([&](WeightGradientOp gradient) { return replaceWeightGradient(b, gradient); });
      op->getResult(0).replaceAllUsesWith(result);
      op->erase();
      ++numBucketed;
    }
    foldSwiglus();
    foldResiduals<BucketSpmmOp, BucketSddmmOp, BucketFusionOp>(getOperation());
    eraseUnused();
  }

private:
  void foldNormsIntoRouters();
  const Buckets &getBuckets(Value routing);
  KMajorWeight layOutWeight(OpBuilder &b, Value weight, ArrayRef<int64_t> order);
  Value layOutTokens(OpBuilder &b, Value tokens, Value routing, Value order, Type element,
                     bool isGated = true);
  Value replaceLinear(OpBuilder &b, LinearOp op);
  Value replaceSpmm(OpBuilder &b, SpmmOp op);
  Value replaceSddmm(OpBuilder &b, SddmmOp op);
  Value replaceFusion(OpBuilder &b, GroupFusionOp op);
  Value replaceWeightGradient(OpBuilder &b, WeightGradientOp op);
  void foldSwiglus();
  void eraseUnused();

  DenseMap<Value, Buckets> buckets;
};

} // namespace

/// Lets routers normalise their tokens themselves, as what lays out tokens does: the normalised tokens need not be in memory.
void BucketProductsPass::foldNormsIntoRouters() {
  getOperation().walk([](RouteOp route) {
    auto norm = route.getInput().getDefiningOp<RmsNormOp>();
    if (!norm || norm.getRouting() || !route.getCentroids())
      return;
    OpBuilder b(route);
    auto folded = NormRouteOp::create(
        b, route.getLoc(), route.getRouting().getType(), route.getScores().getType(),
        norm.getInput(), norm.getWeight(), route.getCentroids(), norm.getEpsilonAttr(),
        route.getGateAttr(), route.getScoreAttr(), route.getScalingAttr());
    route->replaceAllUsesWith(folded);
    route->erase();
  });
}

/// The routing that has the groups of one, whose gates may all be 1 in its place.
static Value getGatedRouting(Value routing) {
  auto unit = routing.getDefiningOp<UnitGatesOp>();
  return unit ? unit.getRouting() : routing;
}

const Buckets &BucketProductsPass::getBuckets(Value routing) {
  routing = getGatedRouting(routing);
  auto [known, isNew] = buckets.try_emplace(routing);
  auto type = cast<RoutingType>(routing.getType());
  if (isNew && type.getNumChosen() > 0) {
    OpBuilder b(&getContext());
    b.setInsertionPointAfterValue(routing);
    int64_t numWords = llvm::divideCeil(type.getNumGroups(), 32);
    auto order = RankedTensorType::get({ShapedType::kDynamic}, b.getI32Type());
    auto masks = RankedTensorType::get({ShapedType::kDynamic, numWords}, b.getI32Type());
    auto op = BucketOrderOp::create(b, routing.getLoc(), order, masks, routing, kRows);
    known->second = {op.getOrder(), op.getMasks()};
  }
  return known->second;
}

/// A weight of the model's files, [G, R, C] or [R, C], with its dimensions in another order.
static WeightOp permute(OpBuilder &b, WeightOp source, ArrayRef<int64_t> order,
                        QuantizedPartAttr quantized) {
  WeightView view = getWeightView(source, order);
  return WeightOp::create(b, source.getLoc(),
                          TransposeWeightOp::getTransposed(source.getType(), order),
                          source.getSourceAttr(), b.getDenseI64ArrayAttr(view.shape),
                          b.getDenseI64ArrayAttr(view.permutation), IntegerAttr(), quantized);
}

/// `order` of a permuted weight as one of the weight itself. Of [R, C], which counts as [1, R, C], axis 0 stays.
static SmallVector<int64_t> composeOrder(PermuteWeightOp op, ArrayRef<int64_t> order) {
  SmallVector<int64_t> permutation(op.getPermutation());
  if (permutation.size() == 2)
    permutation = {0, permutation[0] + 1, permutation[1] + 1};
  return llvm::map_to_vector(order, [&](int64_t axis) { return permutation[axis]; });
}

/// A product's weight [G, R, C] or [R, C] with its dimensions in another order. Of a dequantised one that comes from the model's files these are the values, and
/// the scales [G, C].
KMajorWeight BucketProductsPass::layOutWeight(OpBuilder &b, Value weight, ArrayRef<int64_t> order) {
  auto type = cast<RankedTensorType>(weight.getType());
  if (auto permuted = weight.getDefiningOp<PermuteWeightOp>())
    return layOutWeight(b, permuted.getWeight(), composeOrder(permuted, order));
  if (auto source = weight.getDefiningOp<WeightOp>())
    return {permute(b, source, order, QuantizedPartAttr()), type.getElementType(), Value()};
  auto getPart = [&](QuantizedPart part) { return QuantizedPartAttr::get(b.getContext(), part); };
  if (std::optional<QuantizedWeight> parts = getQuantizedWeight(weight)) {
    WeightView rows = getWeightView(parts->values);
    ArrayRef<int64_t> shape = type.getShape();
    int64_t numGroups = shape.size() == 3 ? shape.front() : 1;
    auto row = RankedTensorType::get({numGroups, shape.back()}, b.getF32Type());
    Value scales = WeightOp::create(b, parts->scales.getLoc(), row, parts->scales.getSourceAttr(),
                                    b.getDenseI64ArrayAttr(rows.shape),
                                    b.getDenseI64ArrayAttr(rows.permutation), IntegerAttr(),
                                    getPart(QuantizedPart::Scales));
    return {permute(b, parts->values, order, getPart(QuantizedPart::KMajorValues)),
            type.getElementType(), scales};
  }
  if (order == ArrayRef<int64_t>{0, 1, 2} && type.getRank() == 3) // an argument as it is read
    return {weight, type.getElementType(), Value()};
  return {TransposeWeightOp::create(b, weight.getLoc(),
                                    TransposeWeightOp::getTransposed(type, order), weight,
                                    b.getDenseI64ArrayAttr(order)),
          type.getElementType(), Value()};
}

/// A product's tokens in its order, in the type in which they are multiplied. A norm is done on the way. With a routing that does not gate them, groups that a token
/// does not have are zero.
Value BucketProductsPass::layOutTokens(OpBuilder &b, Value tokens, Value routing, Value order,
                                       Type element, bool isGated) {
  auto type = cast<RankedTensorType>(tokens.getType());
  auto norm = tokens.getDefiningOp<RmsNormOp>();
  bool folds = norm && !norm.getRouting();
  if (!folds && !routing && !order && type.getElementType() == element)
    return tokens;
  return BucketTokensOp::create(b, tokens.getLoc(), type.clone(element),
                                folds ? norm.getInput() : tokens,
                                folds ? norm.getWeight() : Value(), routing, order,
                                folds ? norm.getEpsilonAttr() : b.getF64FloatAttr(0.0),
                                routing && !isGated ? b.getUnitAttr() : UnitAttr());
}

Value BucketProductsPass::replaceLinear(OpBuilder &b, LinearOp op) {
  KMajorWeight weight = layOutWeight(b, op.getWeight(), {2, 0, 1}); // [columns, 1, rows]
  Value tokens = layOutTokens(b, op.getInput(), Value(), Value(), weight.element);
  return BucketSpmmOp::create(b, op.getLoc(), op.getType(), tokens, weight.weight, weight.scales,
                              Value(), Value(), Value(), Value(), /*num_common=*/1, kRows);
}

Value BucketProductsPass::replaceSpmm(OpBuilder &b, SpmmOp op) {
  RoutingType routing = op.getRouting().getType();
  const Buckets &bucket = getBuckets(op.getRouting());
  KMajorWeight weight = layOutWeight(b, op.getWeight(), {2, 0, 1}); // [columns, groups, rows]
  Value gated = getGatedRouting(op.getRouting());
  Value tokens = layOutTokens(b, op.getInput(), gated, bucket.order, weight.element,
                              /*isGated=*/gated == op.getRouting());
  return BucketSpmmOp::create(b, op.getLoc(), op.getType(), tokens, weight.weight, weight.scales,
                              bucket.order, bucket.masks, Value(), Value(), routing.getNumCommon(),
                              kRows);
}

Value BucketProductsPass::replaceSddmm(OpBuilder &b, SddmmOp op) {
  const Buckets &bucket = getBuckets(op.getRouting());
  KMajorWeight weight = layOutWeight(b, op.getWeight(), {0, 2, 1}); // [groups, columns, rows]
  Value tokens = layOutTokens(b, op.getInput(), Value(), bucket.order, weight.element);
  return BucketSddmmOp::create(b, op.getLoc(), op.getType(), tokens, weight.weight, weight.scales,
                               op.getRouting(), bucket.order, bucket.masks, Value(), kRows,
                               /*scatters=*/bool(bucket.order));
}

Value BucketProductsPass::replaceFusion(OpBuilder &b, GroupFusionOp op) {
  int64_t numBlocks = op.getRight().getType().getDimSize(0);
  Value input = op.getInput(), order, masks;
  int64_t numCommon = numBlocks;
  // Tokens whose only use this is stay in bucket order, in the factors' type.
  auto sddmm = input.getDefiningOp<BucketSddmmOp>();
  if (sddmm && input.hasOneUse() && sddmm.getRouting() == op.getRouting()) {
    RoutingType routing = sddmm.getRouting().getType();
    sddmm.setScatters(false);
    input.setType(sddmm.getType().clone(getElementTypeOrSelf(op.getRight().getType())));
    order = sddmm.getOrder();
    masks = sddmm.getMasks();
    numCommon = routing.getNumCommon();
  } else if (op.getRouting()) { // what is not active may be anything
    RoutingType routing = op.getRouting().getType();
    const Buckets &bucket = getBuckets(op.getRouting());
    order = bucket.order;
    masks = bucket.masks;
    numCommon = routing.getNumCommon();
    input = BucketTokensOp::create(b, op.getLoc(), input.getType(), input, Value(), op.getRouting(),
                                   order, b.getF64FloatAttr(0.0), b.getUnitAttr());
  }
  return BucketFusionOp::create(b, op.getLoc(), op.getType(), input, op.getRight(), op.getLeft(),
                                order, masks, Value(), numCommon, kRows);
}

Value BucketProductsPass::replaceWeightGradient(OpBuilder &b, WeightGradientOp op) {
  Value grouped = op.getGrouped(), other = op.getOther(), routing = op.getRouting();
  // In 16 bits, if both sides or the weight are.
  Type element = getElementTypeOrSelf(grouped);
  if (element.isF32() || element != getElementTypeOrSelf(other))
    element = op.getType().getElementType();
  int64_t numCommon = getGradientShape(op.getType(), op.getPermutation())[0];
  Buckets bucket;
  bool isGated = false;
  if (routing) {
    bucket = getBuckets(routing);
    numCommon = cast<RoutingType>(routing.getType()).getNumCommon();
    // What a product of these tokens has laid out.
    auto gate = grouped.getDefiningOp<GateOp>();
    isGated = gate && gate.getRouting() == routing;
    if (isGated)
      grouped = gate.getInput();
    else
      routing = getGatedRouting(routing);
  }
  grouped = layOutTokens(b, grouped, routing, bucket.order, element, isGated);
  other = layOutTokens(b, other, op.getLocal() ? routing : Value(), bucket.order, element,
                       /*isGated=*/false);
  return BucketWeightGradientOp::create(b, op.getLoc(), op.getType(), grouped, other, bucket.masks,
                                        op.getPermutationAttr(), op.getLocal(), numCommon, kRows);
}

/// Lets the product that makes the `up` of a SwiGLU compute that. Where only another product of the same routing reads the result, tokens stay in
/// bucket order and 16 bits in between.
void BucketProductsPass::foldSwiglus() {
  SmallVector<SwigluOp> swiglus; // beforehand: what follows one is erased with it
  getOperation().walk([&](SwigluOp swiglu) { swiglus.push_back(swiglu); });
  for (SwigluOp swiglu : swiglus) {
    auto gate = swiglu.getGate().getDefiningOp<BucketSpmmOp>();
    auto up = swiglu.getUp().getDefiningOp<BucketSpmmOp>();
    if (!up || !up->hasOneUse() || up.getGate() || up.getResidual())
      continue;
    Operation *replaced = swiglu;
    if (up.getOrder()) {
      if (!gate || !gate->hasOneUse() || gate.getGate() || gate.getResidual() ||
          gate.getOrder() != up.getOrder() || !swiglu->hasOneUse())
        continue;
      auto tokens = dyn_cast<BucketTokensOp>(*swiglu->user_begin());
      if (!tokens || tokens.getNorm() || tokens.getRouting() || tokens.getOrder() != up.getOrder())
        continue;
      replaced = tokens;
      for (BucketSpmmOp product : {gate, up}) {
        product.getOrderMutable().clear();
        product.getResult().setType(tokens.getType());
      }
    } else if (up.getType() != swiglu.getType()) {
      continue;
    }
    up.getGateMutable().assign(swiglu.getGate());
    if (replaced != swiglu) {
      replaced->getResult(0).replaceAllUsesWith(up.getResult());
      replaced->erase();
    }
    moveInto(up, swiglu);
  }
}

/// Erases norms and weights that were taken in.
void BucketProductsPass::eraseUnused() {
  SmallVector<Operation *> ops;
  getOperation().walk([&](Operation *op) { ops.push_back(op); });
  for (Operation *op : llvm::reverse(ops))
    if (isa<RmsNormOp, WeightOp, DequantizeOp, SwigluOp, PermuteWeightOp, GateOp, UnitGatesOp>(
            op) &&
        op->use_empty())
      op->erase();
}
