// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tensors of one call against an entry point's description: counts, types, shapes, dims,
// ranges. Nothing here allocates unless it fails.
#ifndef MOHD_SRC_CALL_H
#define MOHD_SRC_CALL_H

#include "program.h"

#include "mohd/runtime.h"

namespace mohdrt {

/// The caller's array of tensors, whose structs may be larger than ours.
class TensorList {
public:
  TensorList(const mohd_tensor_t *tensors, uint32_t count) : tensors_(tensors), count_(count) {}
  uint32_t count() const { return count_; }
  const mohd_tensor_t &operator[](size_t i) const {
    return *reinterpret_cast<const mohd_tensor_t *>(reinterpret_cast<const char *>(tensors_) +
                                                    i * tensors_[0].struct_size);
  }
  /// Pointer, count and struct sizes are in order.
  Status check(const char *what, size_t expected) const;

private:
  const mohd_tensor_t *tensors_;
  uint32_t count_;
};

/// The values of an entry point's dims in one call.
struct DimValues {
  int64_t values[kMaxDims];
};

/// Checks the inputs' types and shapes and takes the dims from them.
Status bindDims(const CompiledEntry &entry, const TensorList &inputs, DimValues *dims);

/// Checks that `tensor` has memory for its shape at a place that kernels may use.
Status checkBuffer(const char *what, const TensorSpec &spec, const mohd_tensor_t &tensor);

/// Evaluates an output's shape; returns its bytes. MALFORMED if an expression has no value.
Result<int64_t> outputShape(const CompiledTensor &output, const DimValues &dims, int64_t *shape);

/// Checks type and shape of an output against what outputShape() gave.
Status checkOutput(const CompiledTensor &output, const mohd_tensor_t &tensor, const int64_t *shape);

/// Checks that what the call writes (outputs, mutable inputs) shares no byte with another tensor.
Status checkOverlap(const CompiledEntry &entry, const TensorList &inputs,
                    const TensorList &outputs);

/// Checks that every element of an integer input is in [low, high).
Status checkRange(const TensorSpec &spec, const mohd_tensor_t &tensor, int64_t low, int64_t high);

/// Evaluates an expression of the manifest; a failure is MALFORMED and names `what`.
Status evaluate(const Expr &expr, const DimValues &dims, const char *what, int64_t *value);

} // namespace mohdrt

#endif // MOHD_SRC_CALL_H
