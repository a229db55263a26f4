// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The gradients of values while a function is differentiated.
#ifndef MOHD_DIALECT_MOHD_IR_GRADIENTMAP_H
#define MOHD_DIALECT_MOHD_IR_GRADIENTMAP_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/IR/Builders.h"

namespace mlir::mohd {

/// What is known of the gradients of a function's values. A gradient has its value's type; that of a routing is the gradient of its gates, [tokens, K] f32.
class GradientMap {
public:
  /// The sum of what was added for `value`; null if nothing was.
  Value get(Value value) const { return gradients.lookup(value); }

  /// Adds `gradient` to that of `value`. A second one for a value that is no [rows, columns] tensor is an error.
  LogicalResult add(OpBuilder &b, Value value, Value gradient);

  /// Makes `gradient`, in which the one known so far went, that of `value`.
  void replace(Value value, Value gradient) { gradients[value] = gradient; }

  /// Whether gradients of `value` are asked for: it depends on an argument of floats.
  bool isWanted(Value value) const { return wanted.contains(value); }
  void want(Value value) { wanted.insert(value); }

private:
  DenseMap<Value, Value> gradients;
  DenseSet<Value> wanted;
};

} // namespace mlir::mohd

#endif // MOHD_DIALECT_MOHD_IR_GRADIENTMAP_H
