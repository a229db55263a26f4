// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers, type inference, folds and canonicalisations of the ops of backward functions.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::mohd;
using mlir::mohd::detail::covers;

/// All operands but number `weight`.
static SmallVector<unsigned> getAllBut(Operation *op, int weight = -1) {
  SmallVector<unsigned> operands;
  for (unsigned operand = 0; operand < op->getNumOperands(); ++operand)
    if (int(operand) != weight)
      operands.push_back(operand);
  return operands;
}

/// Checks that `value` is [tokens, columns]; `name` is what it is called.
static LogicalResult expectWidth(Operation *op, StringRef name, Value value, int64_t columns) {
  int64_t width = cast<RankedTensorType>(value.getType()).getShape().back();
  if (width == columns)
    return success();
  return op->emitOpError("expects '")
         << name << "' to have " << columns << " columns, got " << width;
}

//===----------------------------------------------------------------------===//
// PermuteWeightOp
//===----------------------------------------------------------------------===//

LogicalResult PermuteWeightOp::verify() {
  RankedTensorType weight = getWeight().getType();
  if (failed(detail::verifyPermutation(*this, getPermutation(),
                                       weight.getRank()))) // permute_weight_c1
    return failure();
  SmallVector<int64_t> shape;
  for (int64_t axis : getPermutation())
    shape.push_back(weight.getDimSize(axis));
  auto expected = RankedTensorType::get(shape, weight.getElementType());
  if (getResult().getType() != expected) // permute_weight_c1
    return emitOpError("expects a result of type ")
           << expected << ", got " << getResult().getType();
  return success();
}

OpFoldResult PermuteWeightOp::fold(FoldAdaptor) {
  if (llvm::is_sorted(getPermutation()))
    return getWeight();
  return {};
}

namespace {

/// `permute_weight(permute_weight(w))` is one permutation.
struct MergePermutations : OpRewritePattern<PermuteWeightOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PermuteWeightOp op, PatternRewriter &rewriter) const override {
    auto inner = op.getWeight().getDefiningOp<PermuteWeightOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "permutes no permuted weight");
    SmallVector<int64_t> permutation;
    for (int64_t axis : op.getPermutation())
      permutation.push_back(inner.getPermutation()[axis]);
    rewriter.replaceOpWithNewOp<PermuteWeightOp>(op, op.getType(), inner.getWeight(), permutation);
    return success();
  }
};

/// A gradient is written in the order in which it is wanted.
struct PermuteGradient : OpRewritePattern<PermuteWeightOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PermuteWeightOp op, PatternRewriter &rewriter) const override {
    auto gradient = op.getWeight().getDefiningOp<WeightGradientOp>();
    if (!gradient || !gradient->hasOneUse() || gradient.getType().getRank() != 3)
      return rewriter.notifyMatchFailure(op, "permutes no gradient of rank 3 of its own");
    SmallVector<int64_t> permutation;
    for (int64_t axis : op.getPermutation())
      permutation.push_back(gradient.getPermutation() ? (*gradient.getPermutation())[axis] : axis);
    rewriter.replaceOpWithNewOp<WeightGradientOp>(
        op, op.getType(), gradient.getGrouped(), gradient.getOther(), gradient.getRouting(),
        rewriter.getDenseI64ArrayAttr(permutation), gradient.getLocalAttr());
    return success();
  }
};

} // namespace

void PermuteWeightOp::getCanonicalizationPatterns(RewritePatternSet &results,
                                                  MLIRContext *context) {
  results.add<MergePermutations, PermuteGradient>(context);
}

//===----------------------------------------------------------------------===//
// WeightGradientOp
//===----------------------------------------------------------------------===//

SmallVector<int64_t> mlir::mohd::getGradientShape(RankedTensorType result,
                                                  std::optional<ArrayRef<int64_t>> permutation) {
  SmallVector<int64_t> shape(result.getShape());
  if (shape.size() == 2)
    shape.insert(shape.begin(), 1);
  if (permutation)
    for (auto [position, axis] : llvm::enumerate(*permutation))
      shape[axis] = result.getDimSize(position);
  return shape;
}

LogicalResult mlir::mohd::detail::verifyWeightGradient(Operation *op, RankedTensorType grouped,
                                                       RankedTensorType other,
                                                       RankedTensorType result,
                                                       std::optional<ArrayRef<int64_t>> permutation,
                                                       bool local) {
  if (permutation && result.getRank() != 3) // weight_gradient_c2
    return op->emitOpError("expects 'permutation' only with a result of rank 3, got rank ")
           << result.getRank();
  if (permutation && failed(verifyPermutation(op, *permutation, 3))) // weight_gradient_c1
    return failure();
  SmallVector<int64_t> shape = getGradientShape(result, permutation); // [G, P, C]
  auto check = [&](StringRef name, int64_t groups, int64_t columns, RankedTensorType type) {
    if (covers(groups, columns, type.getDimSize(1)))
      return success();
    return LogicalResult(op->emitOpError("expects '")
                         << name << "' to have " << groups << " x " << columns << " columns, got "
                         << type.getDimSize(1));
  };
  if (failed(check("grouped", shape[0], shape[1], grouped))) // weight_gradient_c3
    return failure();
  return check("other", local ? shape[0] : 1, shape[2], other); // weight_gradient_c3
}

SmallVector<unsigned> WeightGradientOp::getTokenOperands() { return getAllBut(*this); }

LogicalResult WeightGradientOp::verify() {
  if (failed(detail::verifyWeightGradient(*this, getGrouped().getType(), getOther().getType(),
                                          getResult().getType(), getPermutation(), getLocal())))
    return failure();
  int64_t numGroups = getGradientShape(getResult().getType(), getPermutation())[0];
  if (getRouting() && getRouting().getType().getNumGroups() != numGroups) // weight_gradient_c4
    return emitOpError("expects a result of ")
           << getRouting().getType().getNumGroups() << " groups, got " << numGroups;
  return success();
}

//===----------------------------------------------------------------------===//
// Gradients of gates and scores
//===----------------------------------------------------------------------===//

/// Checks that `wide` has a group for each of the N, and `narrow` one of the same width for each of the K active ones.
static LogicalResult verifyGroups(Operation *op, RankedTensorType wide, RankedTensorType narrow,
                                  RoutingType routing) {
  if (failed(mlir::mohd::detail::verifyWholeGroups(op, wide,
                                                   routing))) // gather_groups_c1, scatter_groups_c2
    return failure();
  int64_t groupWidth = wide.getDimSize(1) / routing.getNumGroups();
  int64_t expected = groupWidth * routing.getNumActive();
  if (narrow.getDimSize(1) != expected) // gather_groups_c2, scatter_groups_c1
    return op->emitOpError("expects ")
           << expected << " columns for " << routing.getNumActive() << " active groups of "
           << groupWidth << ", got " << narrow.getDimSize(1);
  if (wide.getElementType() != narrow.getElementType()) // gather_groups_c2, scatter_groups_c2
    return op->emitOpError("expects a result of the input's elements, got ")
           << wide.getElementType() << " and " << narrow.getElementType();
  return success();
}

LogicalResult GatherGroupsOp::verify() {
  return verifyGroups(*this, getInput().getType(), getType(), getRouting().getType());
}

LogicalResult ScatterGroupsOp::verify() {
  return verifyGroups(*this, getType(), getInput().getType(), getRouting().getType());
}

LogicalResult GateGradientOp::verify() {
  RoutingType routing = getRouting().getType();
  if (failed(detail::verifyWholeGroups(*this, getInput().getType(), routing))) // gate_gradient_c1
    return failure();
  if (failed(expectWidth(*this, "grad", getGrad(),
                         getInput().getType().getDimSize(1)))) // gate_gradient_c1
    return failure();
  return expectWidth(*this, "result", getResult(), routing.getNumActive()); // gate_gradient_c2
}

LogicalResult ScaleGradientOp::verify() {
  if (failed(expectWidth(*this, "grad", getGrad(),
                         getInput().getType().getDimSize(1)))) // scale_gradient_c1
    return failure();
  return expectWidth(*this, "result", getResult(),
                     getRouting().getType().getNumActive()); // scale_gradient_c2
}

SmallVector<unsigned> RouteGradientOp::getTokenOperands() { return getAllBut(*this); }

LogicalResult RouteGradientOp::verify() {
  RoutingType routing = getRouting().getType();
  if (failed(expectWidth(*this, "scores", getScores(), routing.getNumGroups())) ||
      failed(expectWidth(*this, "result", getResult(), routing.getNumGroups())))
    return failure(); // route_gradient_c1
  if (getScoresGrad() &&
      failed(expectWidth(*this, "scores_grad", getScoresGrad(), routing.getNumGroups())))
    return failure(); // route_gradient_c1
  if (getGatesGrad())
    return expectWidth(*this, "gates_grad", getGatesGrad(),
                       routing.getNumActive()); // route_gradient_c2
  return success();
}

LogicalResult BalanceLossGradientOp::verify() {
  return expectWidth(*this, "result", getResult(),
                     getRouting().getType().getNumGroups()); // balance_loss_gradient_c1
}

//===----------------------------------------------------------------------===//
// Gradients of norms, fusions and tables
//===----------------------------------------------------------------------===//

SmallVector<unsigned> RmsNormGradientOp::getTokenOperands() { return getAllBut(*this, 1); }

LogicalResult RmsNormGradientOp::verify() {
  if (failed(expectWidth(*this, "weight", getWeight(),
                         getInput().getType().getDimSize(1)))) // rms_norm_gradient_c1
    return failure();
  if (getRouting()) // rms_norm_gradient_c2
    return detail::verifyWholeGroups(*this, getInput().getType(), getRouting().getType());
  return success();
}

SmallVector<unsigned> ColumnSumsOp::getTokenOperands() { return getAllBut(*this); }

LogicalResult ColumnSumsOp::verify() {
  int64_t width = getGrad().getType().getDimSize(1);
  if (getInput() && failed(expectWidth(*this, "input", getInput(), width))) // column_sums_c1
    return failure();
  return expectWidth(*this, "result", getResult(), width); // column_sums_c1
}

SmallVector<unsigned> FusionMixOp::getTokenOperands() { return getAllBut(*this, 1); }

LogicalResult FusionMixOp::inferReturnTypes(MLIRContext *, std::optional<Location> location,
                                            ValueRange operands, DictionaryAttr, OpaqueProperties,
                                            RegionRange, SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(operands[0].getType());
  ArrayRef<int64_t> left = cast<RankedTensorType>(operands[1].getType()).getShape(); // [l, s, r]
  int64_t columns;
  if (llvm::MulOverflow(left[0], left[1], columns))
    return emitOptionalError(location, "expects a result of at most ",
                             std::numeric_limits<int64_t>::max(), " columns, got ", left[0], " x ",
                             left[1]);
  types.push_back(RankedTensorType::get({input.getDimSize(0), columns}, input.getElementType()));
  return success();
}

LogicalResult FusionMixOp::verify() {
  ArrayRef<int64_t> left = getLeft().getType().getShape();           // [l, s, r]
  if (!covers(left[0], left[2], getInput().getType().getDimSize(1))) // fusion_mix_c1
    return emitOpError("expects the blocks of 'left' to cover the width ")
           << getInput().getType().getDimSize(1) << " of 'input', got " << left[0] << " x "
           << left[2];
  if (getRouting() && getRouting().getType().getNumGroups() != left[2]) // fusion_mix_c2
    return emitOpError("expects 'left' to have ")
           << getRouting().getType().getNumGroups()
           << " columns, one for each group of 'routing', got " << left[2];
  return success();
}

LogicalResult FusionMixGradientOp::verify() {
  ArrayRef<int64_t> left = getResult().getType().getShape(); // [l, s, r]
  int64_t input = getInput().getType().getDimSize(1), grad = getGrad().getType().getDimSize(1);
  if (!covers(left[0], left[2], input) || !covers(left[0], left[1], grad)) // fusion_mix_gradient_c1
    return emitOpError("expects a result [l, s, r] with l*r = ")
           << input << " and l*s = " << grad << ", got [" << left << "]";
  return success();
}

SmallVector<IndexOperand> EmbedGradientOp::getIndexOperands() {
  return {{0, -1, 0, getResult().getType().getDimSize(0)}};
}

LogicalResult EmbedGradientOp::verify() {
  return expectWidth(*this, "result", getResult(),
                     getGrad().getType().getDimSize(1)); // embed_gradient_c1
}
