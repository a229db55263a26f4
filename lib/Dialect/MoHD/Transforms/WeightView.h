// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A weight of the model's files seen with its dimensions in another order.
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

} // namespace mlir::mohd

#endif // MOHD_LIB_DIALECT_MOHD_TRANSFORMS_WEIGHTVIEW_H
