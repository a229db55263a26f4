// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers and token interfaces of the ops on tokens in bucket order.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;
using mlir::mohd::detail::covers;

/// The operands from number `first` on, and number 0.
static SmallVector<unsigned> getTokensAnd(Operation *op, unsigned first) {
  SmallVector<unsigned> operands = {0};
  for (unsigned operand = first; operand < op->getNumOperands(); ++operand)
    operands.push_back(operand);
  return operands;
}

static LogicalResult verifyRows(Operation *op, int64_t rows, int64_t least = 16) {
  if (rows >= least && rows <= 256 && llvm::isPowerOf2_64(rows))
    return success();
  return op->emitOpError("expects 'rows' to be a power of two in ")
         << least << "..256, got " << rows;
}

static LogicalResult verifyCommon(Operation *op, int64_t numCommon, int64_t numGroups) {
  if (numCommon >= 0 && numCommon <= numGroups)
    return success();
  return op->emitOpError("expects 'common' in 0..") << numGroups << ", got " << numCommon;
}

/// Checks the columns of masks of `numGroups` groups; none are right, too.
static LogicalResult verifyMasks(Operation *op, Value masks, int64_t numGroups) {
  if (!masks)
    return success();
  int64_t expected = llvm::divideCeil(numGroups, 32);
  int64_t columns = cast<RankedTensorType>(masks.getType()).getDimSize(1);
  if (columns == expected)
    return success();
  return op->emitOpError("expects 'masks' of ") << expected << " columns, got " << columns;
}

static LogicalResult verifyWidth(Operation *op, StringRef name, RankedTensorType type,
                                 int64_t expected) {
  if (type.getShape().back() == expected)
    return success();
  return op->emitOpError("expects '")
         << name << "' of width " << expected << ", got " << type.getShape().back();
}

static LogicalResult verifyLike(Operation *op, StringRef name, Value operand, Type type) {
  if (!operand || operand.getType() == type)
    return success();
  return op->emitOpError("expects '")
         << name << "' of the result's type " << type << ", got " << operand.getType();
}

/// Checks that `scales` are there exactly for int8 values, in the right shape.
static LogicalResult verifyScales(Operation *op, Value weight, Value scales,
                                  ArrayRef<int64_t> expected) {
  Type element = getElementTypeOrSelf(weight.getType());
  if (bool isQuantized = element.isInteger(8); isQuantized != bool(scales))
    return op->emitOpError("expects 'scales' exactly for a weight of i8, got ")
           << (isQuantized ? "none for one of " : "some for one of ") << element;
  if (!scales)
    return success();
  ArrayRef<int64_t> shape = cast<RankedTensorType>(scales.getType()).getShape();
  if (shape == expected)
    return success();
  return op->emitOpError("expects 'scales' of shape [") << expected << "], got [" << shape << "]";
}

LogicalResult NormRouteOp::verify() {
  RoutingType routing = getRouting().getType();
  int64_t width = getInput().getType().getDimSize(1);
  ArrayRef<int64_t> shape = getCentroids().getType().getShape();
  if (shape[0] != routing.getNumGroups() || shape[1] != width) // norm_route_c1
    return emitOpError("expects 'centroids' of shape [")
           << routing.getNumGroups() << ", " << width << "], got [" << shape << "]";
  if (failed(verifyWidth(*this, "norm", getNorm().getType(), width)) || // norm_route_c1
      failed(verifyWidth(*this, "scores", getScores().getType(),
                         routing.getNumGroups()))) // norm_route_c2
    return failure();
  return verifyGateAndScaling(getGate(), getScaling(), [&] { return emitOpError(); });
}

LogicalResult BucketOrderOp::verify() {
  RoutingType routing = getRouting().getType();
  if (routing.getNumChosen() < 1) // bucket_order_c2
    return emitOpError("expects a routing of which tokens have different groups, got ") << routing;
  if (failed(verifyMasks(*this, getMasks(), routing.getNumGroups()))) // bucket_order_c1
    return failure();
  return verifyRows(*this, getRows()); // bucket_order_c2
}

SmallVector<unsigned> BucketTokensOp::getTokenOperands() {
  return getTokensAnd(*this, getNorm() ? 2 : 1);
}

LogicalResult BucketTokensOp::verify() {
  int64_t width = getInput().getType().getDimSize(1);
  if (getNorm() &&
      failed(verifyWidth(*this, "norm", getNorm().getType(), width))) // bucket_tokens_c1
    return failure();
  if (failed(verifyWidth(*this, "result", getType(), width))) // bucket_tokens_c1
    return failure();
  if (getUngated() && !getRouting()) // bucket_tokens_c3
    return emitOpError("expects 'ungated' with 'routing' only, got it without");
  if (getRouting()) // bucket_tokens_c2
    return detail::verifyWholeGroups(*this, getInput().getType(), getRouting().getType());
  return success();
}

SmallVector<unsigned> BucketSpmmOp::getTokenOperands() {
  return getTokensAnd(*this, getScales() ? 3 : 2);
}

LogicalResult BucketSpmmOp::verify() {
  ArrayRef<int64_t> shape = getWeight().getType().getShape();
  if (shape[0] != getType().getDimSize(1) ||
      !covers(shape[1], shape[2], getInput().getType().getDimSize(1))) // bucket_spmm_c1
    return emitOpError("expects a 'weight' [")
           << getType().getDimSize(1) << ", groups, " << getInput().getType().getDimSize(1)
           << " / groups], got [" << shape << "]";
  if (failed(
          verifyScales(*this, getWeight(), getScales(), {shape[1], shape[0]})) || // bucket_spmm_c5
      failed(verifyMasks(*this, getMasks(), shape[1])))                           // bucket_spmm_c2
    return failure();
  if (getGate() && (getResidual() || getOrder())) // bucket_spmm_c3
    return emitOpError("expects 'gate' without 'residual' and 'order', got both");
  if (getGate() && getGate().getType().getShape() != getType().getShape()) // bucket_spmm_c3
    return emitOpError("expects 'gate' of the result's shape, got ") << getGate().getType();
  if (failed(verifyLike(*this, "residual", getResidual(), getType())) || // bucket_spmm_c3
      failed(verifyCommon(*this, getNumCommon(), shape[1])))             // bucket_spmm_c4
    return failure();
  return verifyRows(*this, getRows()); // bucket_spmm_c4
}

SmallVector<unsigned> BucketSddmmOp::getTokenOperands() {
  return getTokensAnd(*this, getScales() ? 3 : 2);
}

LogicalResult BucketSddmmOp::verify() {
  ArrayRef<int64_t> shape = getWeight().getType().getShape();
  RoutingType routing = getRouting().getType();
  if (shape[0] != routing.getNumGroups() || !covers(shape[0], shape[1], getType().getDimSize(1)) ||
      shape[2] != getInput().getType().getDimSize(1)) // bucket_sddmm_c1
    return emitOpError("expects a 'weight' [")
           << routing.getNumGroups() << ", " << getType().getDimSize(1) << " / "
           << routing.getNumGroups() << ", " << getInput().getType().getDimSize(1) << "], got ["
           << shape << "]";
  if (failed(verifyScales(*this, getWeight(), getScales(), shape.take_front(2)))) // bucket_sddmm_c5
    return failure();
  bool hasChosen = routing.getNumChosen() > 0;
  if (hasChosen != bool(getOrder()) || hasChosen != bool(getMasks())) // bucket_sddmm_c2
    return emitOpError("expects 'order' and 'masks' exactly with a routing of which tokens have "
                       "different groups, got ")
           << routing;
  if (failed(verifyMasks(*this, getMasks(), shape[0]))) // bucket_sddmm_c2
    return failure();
  if (getScatters() && !getOrder()) // bucket_sddmm_c3
    return emitOpError("expects 'scatters' with 'order' only, got it without");
  if (getResidual() && getOrder() && !getScatters()) // bucket_sddmm_c3
    return emitOpError("expects 'residual' with 'order' only if it scatters");
  if (failed(verifyLike(*this, "residual", getResidual(), getType()))) // bucket_sddmm_c3
    return failure();
  return verifyRows(*this, getRows()); // bucket_sddmm_c4
}

SmallVector<unsigned> BucketFusionOp::getTokenOperands() { return getTokensAnd(*this, 3); }

LogicalResult BucketFusionOp::verify() {
  ArrayRef<int64_t> right = getRight().getType().getShape();
  ArrayRef<int64_t> left = getLeft().getType().getShape();
  bool fits = covers(right[0], right[2], getInput().getType().getDimSize(1)) &&
              covers(left[0], left[1], getType().getDimSize(1)) &&
              covers(left[0], left[2], right[0] * right[1]);
  if (!fits) // bucket_fusion_c1
    return emitOpError("expects 'right' [k, q, p] and 'left' [l, s, r] with k*p = ")
           << getInput().getType().getDimSize(1)
           << ", l*r = k*q and l*s = " << getType().getDimSize(1) << ", got [" << right << "] and ["
           << left << "]";
  if (failed(verifyMasks(*this, getMasks(), right[0])) ||                // bucket_fusion_c2
      failed(verifyLike(*this, "residual", getResidual(), getType())) || // bucket_fusion_c3
      failed(verifyCommon(*this, getNumCommon(), right[0])))             // bucket_fusion_c4
    return failure();
  return verifyRows(*this, getRows()); // bucket_fusion_c4
}

SmallVector<unsigned> BucketWeightGradientOp::getTokenOperands() { return getTokensAnd(*this, 1); }

LogicalResult BucketWeightGradientOp::verify() {
  if (failed(detail::verifyWeightGradient(*this, getGrouped().getType(), getOther().getType(),
                                          getType(), getPermutation(),
                                          getLocal()))) // bucket_weight_gradient_c1
    return failure();
  int64_t numGroups = getGradientShape(getType(), getPermutation())[0];
  if (failed(verifyMasks(*this, getMasks(), numGroups)) ||    // bucket_weight_gradient_c2
      failed(verifyCommon(*this, getNumCommon(), numGroups))) // bucket_weight_gradient_c3
    return failure();
  return verifyRows(*this, getRows(), 32); // bucket_weight_gradient_c3
}

RankedTensorType TransposeWeightOp::getTransposed(RankedTensorType weight,
                                                  ArrayRef<int64_t> order) {
  SmallVector<int64_t> before(weight.getShape()), shape;
  if (before.size() == 2)
    before.insert(before.begin(), 1);
  for (int64_t axis : order)
    shape.push_back(before[axis]);
  return RankedTensorType::get(shape, weight.getElementType());
}

LogicalResult TransposeWeightOp::verify() {
  SmallVector<int64_t> sorted(getPermutation());
  llvm::sort(sorted);
  if (!llvm::equal(sorted, llvm::seq<int64_t>(0, 3))) // transpose_weight_c1
    return emitOpError("expects 'permutation' to hold each of 0..2 once, got [")
           << getPermutation() << "]";
  RankedTensorType expected = getTransposed(getWeight().getType(), getPermutation());
  if (getType() != expected) // transpose_weight_c2
    return emitOpError("expects a result of type ") << expected << ", got " << getType();
  return success();
}
