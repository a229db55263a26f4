// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers and token interfaces of the products' tiled form.
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;
using mlir::mohd::detail::covers;

/// Rows, or panels, of a tile at most; tokens of a block at most.
static constexpr int64_t kMaxTileRows = 64, kMaxBlock = 65536;

SmallVector<int64_t> mlir::mohd::getPanelShape(ArrayRef<int64_t> shape, int64_t panel) {
  SmallVector<int64_t> result(shape);
  if (result.size() == 2)
    result.insert(result.begin(), 1);
  int64_t columns = result.pop_back_val(), rows = result.pop_back_val();
  result.append({int64_t(llvm::divideCeil(columns, panel)), rows, panel});
  return result;
}

/// All operands but the `numWeights` ones from number 1 on.
static SmallVector<unsigned> getAllButWeights(Operation *op, unsigned numWeights) {
  SmallVector<unsigned> operands = {0};
  for (unsigned operand = 1 + numWeights; operand < op->getNumOperands(); ++operand)
    operands.push_back(operand);
  return operands;
}

/// Checks that the attributes `names`, sizes of tiles, are in the bounds that kernels can be made for; a size without an upper one is `depth`.
static LogicalResult verifySizes(Operation *op, ArrayRef<StringRef> names) {
  for (StringRef name : names) {
    int64_t size = op->getAttrOfType<IntegerAttr>(name).getInt();
    int64_t least = name == "few" ? 0 : 1;
    int64_t most = llvm::StringSwitch<int64_t>(name)
                       .Cases({"rows", "panels"}, kMaxTileRows)
                       .Cases({"block", "few"}, kMaxBlock)
                       .Default(std::numeric_limits<int64_t>::max());
    if (size < least || size > most)
      return op->emitOpError("expects '")
             << name << "' in " << least << ".." << most << ", got " << size;
  }
  return success();
}

/// Checks the number of columns of `table`, an operand of `op`.
static LogicalResult verifyTableWidth(Operation *op, Value table, int64_t columns) {
  int64_t width = cast<RankedTensorType>(table.getType()).getDimSize(1);
  if (width != columns)
    return op->emitOpError("expects a 'table' of ") << columns << " columns, got " << width;
  return success();
}

LogicalResult PackWeightOp::verify() {
  RankedTensorType weight = getWeight().getType(), result = getResult().getType();
  SmallVector<int64_t> shape(weight.getShape());
  if (std::optional<ArrayRef<int64_t>> permutation = getPermutation()) {
    if (failed(detail::verifyPermutation(*this, *permutation, shape.size()))) // pack_weight_c2
      return failure();
    for (auto [extent, axis] : llvm::zip_equal(shape, *permutation))
      extent = weight.getDimSize(axis);
  }
  auto expected =
      RankedTensorType::get(getPanelShape(shape, result.getDimSize(3)), weight.getElementType());
  if (result != expected) // pack_weight_c1
    return emitOpError("expects a result of type ") << expected << ", got " << result;
  return success();
}

LogicalResult GroupTokensOp::verify() {
  RoutingType routing = getRouting().getType();
  if (routing.getNumChosen() < 1) // group_tokens_c2
    return emitOpError("expects a routing of which tokens have different groups, got ") << routing;
  int64_t columns = routing.getTableWidth();
  if (getTable().getType().getDimSize(1) != columns) // group_tokens_c1
    return emitOpError("expects a table of ")
           << columns << " columns, got " << getTable().getType().getDimSize(1);
  return verifySizes(*this, {"block"}); // group_tokens_c2
}

SmallVector<unsigned> PackTokensOp::getTokenOperands() {
  return llvm::to_vector(llvm::seq<unsigned>(0, getNumOperands()));
}

LogicalResult PackTokensOp::verify() {
  int64_t width = getInput().getType().getDimSize(1), packed = width;
  bool hasChosen = getRouting() && getRouting().getType().getNumChosen() > 0;
  if (hasChosen != bool(getTable())) // pack_tokens_c1
    return emitOpError("expects 'table' exactly with a routing of which tokens have different "
                       "groups, got ")
           << (getTable() ? "one" : "none");
  if (getRouting()) {
    RoutingType routing = getRouting().getType();
    if (failed(detail::verifyWholeGroups(*this, getInput().getType(), routing))) // pack_tokens_c2
      return failure();
    packed = width / routing.getNumGroups() * routing.getNumActive();
    if (getTable() && failed(verifyTableWidth(*this, getTable(), routing.getTableWidth())))
      return failure(); // pack_tokens_c1
  }
  if (getResult().getType().getDimSize(1) != packed) // pack_tokens_c3
    return emitOpError("expects a result of ")
           << packed << " columns, got " << getResult().getType().getDimSize(1);
  return verifySizes(*this, {"block", "rows"}); // pack_tokens_c4
}

/// Checks the table of a tiled product whose weight has `numGroups` groups.
template <typename TiledOp> static LogicalResult verifyTable(TiledOp op, int64_t numGroups) {
  int64_t numCommon = op.getNumCommon(), numChosen = op.getNumChosen();
  if (numCommon < 0 || numChosen < 0 || numCommon > numGroups ||
      numChosen > numGroups - numCommon || numCommon + numChosen < 1)
    return op.emitOpError("expects 1 to ") << numGroups << " active groups, got " << numCommon
                                           << " common and " << numChosen << " chosen";
  if ((numChosen > 0) != bool(op.getTable()))
    return op.emitOpError("expects 'table' exactly if groups are chosen, got ")
           << numChosen << " chosen groups";
  if (!op.getTable())
    return success();
  return verifyTableWidth(op, op.getTable(), numGroups - numCommon + 1 + numChosen);
}

/// Checks the scales of a tiled product.
template <typename TiledOp> static LogicalResult verifyScales(TiledOp op) {
  RankedTensorType weight = op.getWeight().getType();
  if (bool isQuantized = weight.getElementType().isInteger(8); isQuantized != bool(op.getScales()))
    return op.emitOpError("expects 'scales' exactly for a weight of i8, got ")
           << (isQuantized ? "none for one of " : "some for one of ") << weight.getElementType();
  int64_t shape[] = {weight.getDimSize(0), weight.getDimSize(1), weight.getDimSize(3)};
  if (op.getScales() && op.getScales().getType().getShape() != ArrayRef<int64_t>(shape))
    return op.emitOpError("expects 'scales' of shape [")
           << ArrayRef<int64_t>(shape) << "], got [" << op.getScales().getType().getShape() << "]";
  return success();
}

/// Checks an operand of a product's epilogue.
static LogicalResult verifyEpilogue(Operation *op, StringRef name, Value operand) {
  Type type = op->getResult(0).getType();
  if (operand && operand.getType() != type)
    return op->emitOpError("expects '")
           << name << "' of type " << type << ", got " << operand.getType();
  return success();
}

SmallVector<unsigned> TiledSpmmOp::getTokenOperands() {
  return getAllButWeights(*this, getScales() ? 2 : 1);
}

LogicalResult TiledSpmmOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape(); // [N, panels, d_e, P]
  if (failed(verifyTable(*this, weight[0])))                   // tiled_spmm_c3
    return failure();
  int64_t numActive = getNumCommon() + getNumChosen();
  if (int64_t packed = getPacked().getType().getDimSize(1);
      !covers(numActive, weight[2], packed)) // tiled_spmm_c1
    return emitOpError("expects 'packed' to have ")
           << numActive << " x " << weight[2] << " columns, got " << packed;
  int64_t columns = getResult().getType().getDimSize(1);
  if (int64_t(llvm::divideCeil(columns, weight[3])) != weight[1]) // tiled_spmm_c2
    return emitOpError("expects 'weight' to have ")
           << llvm::divideCeil(columns, weight[3]) << " panels for " << columns << " columns, got "
           << weight[1];
  if (failed(verifyScales(*this))) // tiled_spmm_c5
    return failure();
  if (getGate() && getResidual()) // tiled_spmm_c6
    return emitOpError("expects at most one of 'gate' and 'residual', got both");
  if (failed(verifyEpilogue(*this, "gate", getGate())) ||
      failed(verifyEpilogue(*this, "residual", getResidual()))) // tiled_spmm_c6
    return failure();
  return verifySizes(*this, {"block", "few", "rows", "panels"}); // tiled_spmm_c4
}

SmallVector<unsigned> TiledSddmmOp::getTokenOperands() {
  return getAllButWeights(*this, getScales() ? 2 : 1);
}

LogicalResult TiledSddmmOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape(); // [N, panels, E, P]
  int64_t numBlocks = getLocal() ? weight[0] : 1;
  if (int64_t width = getInput().getType().getDimSize(1);
      !covers(numBlocks, weight[2], width)) // tiled_sddmm_c1
    return emitOpError("expects 'weight' to contract the width ")
           << width << " of 'input', got " << numBlocks << " x " << weight[2];
  int64_t columns = getResult().getType().getDimSize(1);
  if (columns % weight[0] != 0 || // tiled_sddmm_c2
      int64_t(llvm::divideCeil(columns / weight[0], weight[3])) != weight[1])
    return emitOpError("expects a result of ")
           << weight[0] << " groups of " << weight[1] << " panels, got " << columns << " columns";
  if (failed(verifyTable(*this, weight[0])) ||                  // tiled_sddmm_c3
      failed(verifyScales(*this)) ||                            // tiled_sddmm_c5
      failed(verifyEpilogue(*this, "residual", getResidual()))) // tiled_sddmm_c6
    return failure();
  return verifySizes(*this, {"block", "few", "rows", "panels", "depth"}); // tiled_sddmm_c4
}

SmallVector<unsigned> MixGroupsOp::getTokenOperands() { return getAllButWeights(*this, 1); }

LogicalResult MixGroupsOp::verify() {
  ArrayRef<int64_t> weight = getWeight().getType().getShape(); // [r, panels, s, P]
  int64_t input = getInput().getType().getDimSize(1), result = getResult().getType().getDimSize(1);
  int64_t columns = input / weight[0]; // L
  if (input % weight[0] != 0 || !covers(weight[2], columns, result) ||
      int64_t(llvm::divideCeil(columns, weight[3])) != weight[1]) // mix_groups_c1
    return emitOpError("expects widths of ")
           << weight[0] << " and " << weight[2] << " groups of " << weight[1] << " panels, got "
           << input << " and " << result << " columns";
  if (getRouting() && getRouting().getType().getNumGroups() != weight[0]) // mix_groups_c2
    return emitOpError("expects 'weight' to have a block for each of the ")
           << getRouting().getType().getNumGroups() << " groups of 'routing', got " << weight[0];
  return verifyEpilogue(*this, "residual", getResidual()); // mix_groups_c3
}

SmallVector<unsigned> TiledWeightGradientOp::getTokenOperands() {
  return llvm::to_vector(llvm::seq<unsigned>(0, getNumOperands()));
}

LogicalResult TiledWeightGradientOp::verify() {
  if (failed(detail::verifyWeightGradient(*this, getGrouped().getType(), getOther().getType(),
                                          getResult().getType(), getPermutation(), getLocal())))
    return failure();
  int64_t numGroups = getGradientShape(getResult().getType(), getPermutation())[0];
  if (failed(verifyTable(*this, numGroups))) // tiled_weight_gradient_c1
    return failure();
  return verifySizes(*this, {"block", "rows"}); // tiled_weight_gradient_c2
}
