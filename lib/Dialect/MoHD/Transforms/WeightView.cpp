// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Composition of a weight's permutations, and the parts of a quantised one.
#include "WeightView.h"

using namespace mlir;
using namespace mlir::mohd;

WeightView mlir::mohd::getWeightView(WeightOp source, ArrayRef<int64_t> order) {
  RankedTensorType type = source.getType();
  WeightView view;
  view.permutation = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank()));
  if (source.getPermutation())
    view.permutation = llvm::to_vector(*source.getPermutation());
  view.shape.resize(type.getRank());
  for (auto [axis, extent] : llvm::zip_equal(view.permutation, type.getShape()))
    view.shape[axis] = extent;
  if (type.getRank() == 2) { // one group, as an axis of the view behind the others
    view.shape.push_back(1);
    view.permutation.insert(view.permutation.begin(), 2);
  }
  if (!order.empty()) {
    SmallVector<int64_t> before = view.permutation;
    for (auto [position, axis] : llvm::enumerate(order))
      view.permutation[position] = before[axis];
  }
  return view;
}

std::optional<QuantizedWeight> mlir::mohd::getQuantizedWeight(Value weight) {
  auto dequantized = weight.getDefiningOp<DequantizeOp>();
  auto values = dequantized ? dequantized.getValues().getDefiningOp<WeightOp>() : WeightOp();
  auto scales = dequantized ? dequantized.getScales().getDefiningOp<WeightOp>() : WeightOp();
  if (!values || !scales || values.getQuantized() != QuantizedPart::Values ||
      scales.getQuantized() != QuantizedPart::Scales ||
      values.getSourceAttr() != scales.getSourceAttr() ||
      values.getExpandedShapeAttr() != scales.getExpandedShapeAttr() ||
      values.getPermutationAttr() != scales.getPermutationAttr())
    return std::nullopt;
  return QuantizedWeight{values, scales};
}
