// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lets int8 values and scales stand for the weights of projections.
//
//   %w = mohd.weight "q" permutation [1, 0] : tensor<64x96xf32>
//   %y = mohd.linear %x, %w : ...
// becomes
//   %q = mohd.weight "q" expanded_shape [96, 64] permutation [1, 0] quantized values : tensor<64x96xi8>
//   %s = mohd.weight "q" expanded_shape [96, 64] permutation [1, 0] quantized scales : tensor<96xf32>
//   %w = mohd.dequantize %q, %s : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xf32>
//   %y = mohd.linear %x, %w : ...
//
// Shown by test/Dialect/MoHD/quantize-weights.mlir.
#include "mohd/Dialect/MoHD/Transforms/Passes.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_QUANTIZEWEIGHTSPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// The operand number of a projection's weight.
static std::optional<unsigned> getWeightOperand(Operation *op) {
  if (isa<LinearOp>(op))
    return 1;
  if (isa<SpmmOp, SddmmOp>(op))
    return 2;
  return std::nullopt;
}

/// A part of `weight`, placed behind it.
static Value buildPart(OpBuilder &b, WeightOp weight, QuantizedPart part) {
  RankedTensorType type = weight.getType();
  SmallVector<int64_t> shape(type.getShape()), view(type.getRank());
  for (int64_t axis = 0; axis < type.getRank(); ++axis)
    view[weight.getPermutation() ? (*weight.getPermutation())[axis] : axis] = shape[axis];
  bool isScales = part == QuantizedPart::Scales;
  if (isScales)
    shape.erase(shape.end() - 2); // all rows share them
  Type element = isScales ? Type(b.getF32Type()) : b.getI8Type();
  return WeightOp::create(b, weight.getLoc(), RankedTensorType::get(shape, element),
                          weight.getSourceAttr(), b.getDenseI64ArrayAttr(view),
                          weight.getPermutationAttr(), IntegerAttr(),
                          QuantizedPartAttr::get(b.getContext(), part));
}

namespace {
struct QuantizeWeightsPass : mohd::impl::QuantizeWeightsPassBase<QuantizeWeightsPass> {
  using Base::Base;

  void runOnOperation() override {
    SmallVector<WeightOp> weights;
    getOperation().walk([&](WeightOp weight) { weights.push_back(weight); });
    for (WeightOp weight : weights)
      quantize(weight);
  }

private:
  void quantize(WeightOp weight) {
    auto isProjection = [](OpOperand &use) {
      return getWeightOperand(use.getOwner()) == use.getOperandNumber();
    };
    if (weight.getQuantized() || llvm::none_of(weight->getUses(), isProjection))
      return;
    OpBuilder b(weight->getContext());
    b.setInsertionPointAfter(weight);
    Value values = buildPart(b, weight, QuantizedPart::Values);
    Value scales = buildPart(b, weight, QuantizedPart::Scales);
    Value stand = DequantizeOp::create(b, weight.getLoc(), weight.getType(), values, scales);
    weight.getResult().replaceUsesWithIf(stand, isProjection);
    if (weight->use_empty())
      weight.erase();
    ++numQuantized;
  }
};
} // namespace
