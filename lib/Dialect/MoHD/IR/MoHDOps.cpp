// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers, type inference, folds and canonicalisations of the ops particular to Mixture of Hidden
// Dimensions.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace mlir::mohd;
using mlir::mohd::detail::covers;

#define GET_OP_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDOps.cpp.inc"

void MohdDialect::registerOps() {
  addOperations<
#define GET_OP_LIST
#include "mohd/Dialect/MoHD/IR/MoHDOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

/// Checks that `type` is [tokens, columns]; `name` is the operand's name.
static LogicalResult expectColumns(Operation *op, RankedTensorType type, int64_t columns,
                                   StringRef name) {
  if (type.getDimSize(1) == columns)
    return success();
  return op->emitOpError("expects '")
         << name << "' to have " << columns << " columns, got " << type.getDimSize(1);
}

bool mlir::mohd::detail::covers(int64_t a, int64_t b, int64_t width) {
  int64_t product;
  return !llvm::MulOverflow(a, b, product) && product == width;
}

LogicalResult mlir::mohd::verifyGateAndScaling(Gate gate, Scaling scaling,
                                               function_ref<InFlightDiagnostic()> error) {
  if (gate == Gate::SharedOne && scaling == Scaling::NTimesMass)
    return error() << "expects scaling other than 'n_times_mass' with gate 'shared_one' (the "
                      "result would be about 100 times too large)";
  return success();
}

//===----------------------------------------------------------------------===//
// WeightOp
//===----------------------------------------------------------------------===//

/// Checks that the result's elements and rank go with `quantized`; `rank` is that of the tensor before a cut into panels.
static LogicalResult verifyQuantized(WeightOp op, size_t rank) {
  Type element = op.getResult().getType().getElementType();
  std::optional<QuantizedPart> part = op.getQuantized();
  bool fits = !part                            ? isa<FloatType>(element)
              : *part == QuantizedPart::Scales ? element.isF32()
                                               : element.isInteger(8);
  if (!fits) // weight_c4
    return op.emitOpError("expects elements of ")
           << (!part                            ? "f32, bf16 or f16"
               : *part == QuantizedPart::Scales ? "f32 for scales"
                                                : "i8 for quantised values")
           << ", got " << element;
  if (part && rank != 2 && rank != 3) // weight_c5
    return op.emitOpError("expects 'quantized' only with a tensor of rank 2 or 3, got rank ")
           << int64_t(rank);
  if (part == QuantizedPart::Scales && !op.getExpandedShape()) // weight_c5
    return op.emitOpError("expects scales to have an 'expanded_shape'");
  return success();
}

LogicalResult WeightOp::verify() {
  ArrayRef<int64_t> shape = getResult().getType().getShape();
  bool isScales = getQuantized() == QuantizedPart::Scales;
  // Of the tensor before the cut into panels.
  size_t rank = shape.size() - (getPanels() ? 1 : 0) + (isScales ? 1 : 0);
  if (failed(verifyQuantized(*this, rank)))
    return failure();
  if (std::optional<ArrayRef<int64_t>> permutation = getPermutation()) {
    if (failed(detail::verifyPermutation(*this, *permutation, rank))) // weight_c1
      return failure();
  }
  if (getPanels() && !getExpandedShape()) // weight_c3
    return emitOpError("expects 'panels' only with 'expanded_shape', got ") << *getPanels();
  if (std::optional<ArrayRef<int64_t>> expanded = getExpandedShape()) {
    SmallVector<int64_t> expected(*expanded);
    if (std::optional<ArrayRef<int64_t>> permutation = getPermutation())
      if (expected.size() == permutation->size())
        for (auto [position, source] : llvm::enumerate(*permutation))
          expected[position] = (*expanded)[source];
    if (std::optional<int64_t> panels = getPanels()) {
      if (*panels < 1 || expected.size() != 3) // weight_c3
        return emitOpError("expects positive 'panels' of a view of rank 3, got ")
               << *panels << " of rank " << int64_t(expected.size());
      expected = getPanelShape(expected, *panels);
    }
    if (isScales && expected.size() >= 2)
      expected.erase(expected.end() - 2); // all rows share them
    if (!llvm::equal(expected, shape))    // weight_c2
      return emitOpError("expects a result of shape [")
             << ArrayRef<int64_t>(expected) << "], got [" << shape << "]";
  }
  return success();
}

LogicalResult DequantizeOp::verify() {
  RankedTensorType values = getValues().getType(), result = getResult().getType();
  SmallVector<int64_t> row(values.getShape());
  row.erase(row.end() - 2);
  if (getScales().getType().getShape() != ArrayRef<int64_t>(row)) // dequantize_c1
    return emitOpError("expects 'scales' of shape [")
           << ArrayRef<int64_t>(row) << "], got [" << getScales().getType().getShape() << "]";
  if (result.getShape() != values.getShape()) // dequantize_c2
    return emitOpError("expects a result of shape [")
           << values.getShape() << "], got [" << result.getShape() << "]";
  return success();
}

//===----------------------------------------------------------------------===//
// RouteOp
//===----------------------------------------------------------------------===//

LogicalResult RouteOp::verify() {
  RoutingType routing = getRouting().getType();
  int64_t width = getInput().getType().getDimSize(1);
  if (TypedValue<RankedTensorType> centroids = getCentroids()) {
    ArrayRef<int64_t> shape = centroids.getType().getShape();
    if (shape[0] != routing.getNumGroups() || shape[1] != width) // route_c1
      return emitOpError("expects 'centroids' of shape [")
             << routing.getNumGroups() << ", " << width << "], got [" << shape << "]";
  } else if (routing.getNumRouted() > 0 || getGate() == Gate::Softmax) { // route_c3
    return emitOpError("expects 'centroids' unless no group is routed and the gate is not "
                       "'softmax', got none");
  }
  if (failed(expectColumns(*this, getScores().getType(), routing.getNumGroups(),
                           "scores"))) // route_c2
    return failure();
  if (failed(
          verifyGateAndScaling(getGate(), getScaling(), [&] { return emitOpError(); }))) // route_c4
    return failure();
  if (getGate() == Gate::Renormalized && routing.getNumRouted() == 1)
    // Not the op's own emitWarning: it would print the op, and printing verifies it.
    mlir::emitWarning(getLoc(),
                      "gate 'renormalized' with one routed group gives the router no gradient "
                      "from the model's loss");
  return success();
}

namespace {
/// Drops centroids that nothing depends on: no group is routed, gates are constants, scores are
/// unused.
struct DropUnneededCentroids : OpRewritePattern<RouteOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(RouteOp op, PatternRewriter &rewriter) const override {
    if (!op.getCentroids() || op.getRouting().getType().getNumRouted() > 0 ||
        op.getGate() == Gate::Softmax || !op.getScores().use_empty())
      return rewriter.notifyMatchFailure(op, "needs its centroids");
    rewriter.modifyOpInPlace(op, [&] { op.getCentroidsMutable().clear(); });
    return success();
  }
};
} // namespace

void RouteOp::getCanonicalizationPatterns(RewritePatternSet &results, MLIRContext *context) {
  results.add<DropUnneededCentroids>(context);
}

//===----------------------------------------------------------------------===//
// MakeRoutingOp, UnpackRoutingOp
//===----------------------------------------------------------------------===//

LogicalResult MakeRoutingOp::verify() {
  int64_t numActive = getRouting().getType().getNumActive();
  if (failed(expectColumns(*this, getIndices().getType(), numActive, "indices"))) // make_routing_c1
    return failure();
  return expectColumns(*this, getGates().getType(), numActive, "gates"); // make_routing_c2
}

SmallVector<IndexOperand> MakeRoutingOp::getIndexOperands() {
  return {{0, -1, 0, getRouting().getType().getNumGroups()}};
}

LogicalResult UnpackRoutingOp::verify() {
  int64_t numActive = getRouting().getType().getNumActive();
  if (failed(
          expectColumns(*this, getIndices().getType(), numActive, "indices"))) // unpack_routing_c1
    return failure();
  return expectColumns(*this, getGates().getType(), numActive, "gates"); // unpack_routing_c2
}

LogicalResult UnpackRoutingOp::fold(FoldAdaptor, SmallVectorImpl<OpFoldResult> &results) {
  auto make = getRouting().getDefiningOp<MakeRoutingOp>();
  if (!make || make.getOperandTypes() != getResultTypes())
    return failure();
  results.append({make.getIndices(), make.getGates()});
  return success();
}

//===----------------------------------------------------------------------===//
// GateOp, ScaleOp
//===----------------------------------------------------------------------===//

LogicalResult GateOp::verify() {
  return detail::verifyWholeGroups(*this, getInput().getType(), getRouting().getType()); // gate_c1
}

LogicalResult ScaleOp::verify() {
  auto route = getRouting().getDefiningOp<RouteOp>();
  if (!route)
    return success();
  if (route.getScaling() != Scaling::None) { // scale_c1
    InFlightDiagnostic diag =
        emitOpError("expects a routing whose gates are not scaled already, got scaling '")
        << stringifyScaling(route.getScaling()) << "'";
    diag.attachNote(route.getLoc()) << "the gates are scaled here";
    return diag;
  }
  return verifyGateAndScaling(route.getGate(), getScaling(),
                              [&] { return emitOpError(); }); // scale_c2
}

OpFoldResult ScaleOp::fold(FoldAdaptor) {
  if (getScaling() == Scaling::None)
    return getInput();
  RoutingType routing = getRouting().getType();
  bool constant = getScaling() == Scaling::SqrtNOverK || getScaling() == Scaling::NOverK;
  if (constant && routing.getNumActive() == routing.getNumGroups())
    return getInput();
  return {};
}

//===----------------------------------------------------------------------===//
// SpmmOp, SddmmOp
//===----------------------------------------------------------------------===//

/// Appends [tokens of operand 0, groups * width] with the element type of operand 0.
static LogicalResult inferFromInput(std::optional<Location> location, ValueRange operands,
                                    int64_t groups, int64_t width, SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(operands[0].getType());
  int64_t columns;
  if (llvm::MulOverflow(groups, width, columns))
    return emitOptionalError(location, "expects a result of at most ",
                             std::numeric_limits<int64_t>::max(), " columns, got ", groups, " x ",
                             width);
  types.push_back(RankedTensorType::get({input.getDimSize(0), columns}, input.getElementType()));
  return success();
}

LogicalResult SpmmOp::inferReturnTypes(MLIRContext *, std::optional<Location> location,
                                       ValueRange operands, DictionaryAttr, OpaqueProperties,
                                       RegionRange, SmallVectorImpl<Type> &types) {
  auto weight = cast<RankedTensorType>(operands[2].getType());
  return inferFromInput(location, operands, 1, weight.getDimSize(2), types);
}

/// Checks that a sparse op's plan fits its routing.
static LogicalResult verifyPlan(Operation *op, std::optional<PlanAttr> plan, RoutingType routing) {
  if (!plan || plan->getStrategy() != Strategy::Dense ||
      routing.getNumActive() == routing.getNumGroups())
    return success();
  return op->emitOpError("expects plan 'dense' only if all ")
         << routing.getNumGroups() << " groups are active, got " << routing.getNumActive();
}

LogicalResult SpmmOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape();
  int64_t numGroups = getRouting().getType().getNumGroups();
  if (weight[0] != numGroups) // spmm_c1
    return emitOpError("expects 'weight' to have ") << numGroups << " groups, got " << weight[0];
  if (!covers(weight[0], weight[1], getInput().getType().getDimSize(1))) // spmm_c2
    return emitOpError("expects the groups of 'weight' to cover the width ")
           << getInput().getType().getDimSize(1) << " of 'input', got " << weight[0] << " x "
           << weight[1];
  return verifyPlan(*this, getPlan(), getRouting().getType()); // spmm_c3
}

LogicalResult SddmmOp::inferReturnTypes(MLIRContext *, std::optional<Location> location,
                                        ValueRange operands, DictionaryAttr, OpaqueProperties,
                                        RegionRange, SmallVectorImpl<Type> &types) {
  auto weight = cast<RankedTensorType>(operands[2].getType());
  return inferFromInput(location, operands, weight.getDimSize(0), weight.getDimSize(2), types);
}

LogicalResult SddmmOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape();
  int64_t numGroups = getRouting().getType().getNumGroups();
  if (weight[0] != numGroups) // sddmm_c1
    return emitOpError("expects 'weight' to have ") << numGroups << " groups, got " << weight[0];
  if (weight[1] != getInput().getType().getDimSize(1)) // sddmm_c2
    return emitOpError("expects 'weight' to contract the width ")
           << getInput().getType().getDimSize(1) << " of 'input', got " << weight[1];
  return verifyPlan(*this, getPlan(), getRouting().getType()); // sddmm_c3
}

//===----------------------------------------------------------------------===//
// GroupFusionOp
//===----------------------------------------------------------------------===//

SmallVector<unsigned> GroupFusionOp::getTokenOperands() {
  SmallVector<unsigned> operands = {0};
  if (getRouting())
    operands.push_back(getNumOperands() - 1);
  return operands;
}

LogicalResult GroupFusionOp::inferReturnTypes(MLIRContext *context,
                                              std::optional<Location> location, ValueRange operands,
                                              DictionaryAttr attributes,
                                              OpaqueProperties properties, RegionRange regions,
                                              SmallVectorImpl<Type> &types) {
  GroupFusionOpAdaptor adaptor(operands, attributes, properties, regions);
  Value last = adaptor.getLeft() ? adaptor.getLeft() : adaptor.getRight();
  if (!last)
    return inferFromInput(location, operands, 1,
                          cast<RankedTensorType>(operands[0].getType()).getDimSize(1), types);
  auto type = cast<RankedTensorType>(last.getType());
  return inferFromInput(location, operands, type.getDimSize(0), type.getDimSize(1), types);
}

LogicalResult GroupFusionOp::verify() {
  int64_t width = getInput().getType().getDimSize(1);
  if ((getKind() == Fusion::None) == bool(getRight())) // group_fusion_c1
    return emitOpError("expects 'right' exactly for kinds other than 'none', got kind '")
           << stringifyFusion(getKind()) << "'";
  if ((getKind() == Fusion::Monarch) != bool(getLeft())) // group_fusion_c2
    return emitOpError("expects 'left' exactly for kind 'monarch', got kind '")
           << stringifyFusion(getKind()) << "'";
  if (getBias() && getKind() != Fusion::BlockDiagonal) // group_fusion_c3
    return emitOpError("expects 'bias' only with kind 'block_diagonal', got kind '")
           << stringifyFusion(getKind()) << "'";
  if (!getRight())
    return success();
  ArrayRef<int64_t> right = getRight().getType().getShape();
  if (!covers(right[0], right[2], width)) // group_fusion_c1
    return emitOpError("expects the blocks of 'right' to cover the width ")
           << width << " of 'input', got " << right[0] << " x " << right[2];
  if (getLeft()) {
    ArrayRef<int64_t> left = getLeft().getType().getShape();
    int64_t numRows;
    if (llvm::MulOverflow(right[0], right[1], numRows) ||
        !covers(left[0], left[2], numRows)) // group_fusion_c2
      return emitOpError("expects the blocks of 'left' to cover the ")
             << right[0] << " x " << right[1] << " rows of 'right', got " << left[0] << " x "
             << left[2];
  }
  if (getBias() &&
      getBias().getType().getDimSize(0) != getResult().getType().getDimSize(1)) // group_fusion_c3
    return emitOpError("expects 'bias' to have width ")
           << getResult().getType().getDimSize(1) << ", got " << getBias().getType().getDimSize(0);
  if (getRouting() && getRouting().getType().getNumGroups() != right[0]) // group_fusion_c4
    return emitOpError("expects 'right' to have ")
           << getRouting().getType().getNumGroups()
           << " blocks, one for each group of 'routing', got " << right[0];
  return success();
}

OpFoldResult GroupFusionOp::fold(FoldAdaptor) {
  if (getKind() == Fusion::None)
    return getInput();
  return {};
}

//===----------------------------------------------------------------------===//
// BalanceLossOp
//===----------------------------------------------------------------------===//

LogicalResult BalanceLossOp::verify() {
  return expectColumns(*this, getScores().getType(),
                       getRouting().getType().getNumGroups(), // balance_loss_c1
                       "scores");
}
