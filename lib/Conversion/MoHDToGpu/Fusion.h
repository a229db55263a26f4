// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of the Monarch fusion share.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_FUSION_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_FUSION_H

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

#include <optional>

namespace mlir::mohd {

/// Sizes of the factors: `right` is [k, q, p], `left` is [l, s, r].
struct FusionShape {
  explicit FusionShape(BucketFusionOp op);

  int64_t k, q, p, l, s, r;
  /// As in the models: k = r = s and p = q = l.
  bool isSquare() const { return k == r && k == s && p == q && p == l; }
};

/// A fusion in the kernel that is being written.
struct FusionBody {
  FusionBody(GpuKernelSet &kernels, BucketFusionOp op);

  GpuEmitter &e;
  BucketFusionOp op;
  FusionShape shape;
  Term numTokens;
  GpuBuffer input, right, left, result;
  std::optional<GpuBuffer> order, masks, residual;

  /// Whether an input block of a row's tile may be other than zero.
  Term isActive(const Term &row, const Term &block);
  /// The row of the result that a row goes to.
  Term destinationOf(const Term &row);
  /// Writes sums of columns that follow each other, with the residual added.
  void write(ArrayRef<Term> sums, const Term &destination, const Term &column);
};

/// Makes kernels with the tensor units, for few and for many tokens. Fails, without a message, where the shape has none.
LogicalResult addFusionTiles(GpuKernelSet &kernels, BucketFusionOp op);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_FUSION_H
