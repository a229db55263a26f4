// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How gradients of a value add up.
#include "mohd/Dialect/MoHD/IR/GradientMap.h"

using namespace mlir;
using namespace mlir::mohd;

LogicalResult GradientMap::add(OpBuilder &b, Value value, Value gradient) {
  Value &sum = gradients[value];
  if (!sum) {
    sum = gradient;
    return success();
  }
  auto type = cast<RankedTensorType>(gradient.getType());
  if (type.getRank() != 2)
    return emitError(value.getLoc())
           << "expects a value of which several ops give gradients to be a tensor of rank 2, got "
           << type;
  sum = AddOp::create(b, gradient.getLoc(), type, sum, gradient);
  return success();
}
