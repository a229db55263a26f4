// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A weight of the model's files seen with its dimensions in another order, or as int8 values and scales.
#ifndef MOHD_LIB_DIALECT_MOHD_TRANSFORMS_WEIGHTVIEW_H
#define MOHD_LIB_DIALECT_MOHD_TRANSFORMS_WEIGHTVIEW_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

namespace mlir::mohd {

/// The attributes `expanded_shape` and `permutation` of a weight.
struct WeightView {
  SmallVector<int64_t> shape, permutation;
};

/// The view of `source` [G, R, C], or [R, C] as one group, whose dimension i is dimension order[i] of `source`; without `order` as it is.
WeightView getWeightView(WeightOp source, ArrayRef<int64_t> order = {});

/// What stands for a weight in int8.
struct QuantizedWeight {
  WeightOp values, scales;
};

/// The parts of `weight` if it is dequantised and both come from the same weight of the model's files.
std::optional<QuantizedWeight> getQuantizedWeight(Value weight);

} // namespace mlir::mohd

#endif // MOHD_LIB_DIALECT_MOHD_TRANSFORMS_WEIGHTVIEW_H
