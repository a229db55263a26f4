// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks of one call's tensors.
#include "call.h"

#include "errors.h"

#include <algorithm>

namespace mohdrt {
namespace {

std::string quoted(const std::string &name) { return "'" + escapeForMessage(name, 60) + "'"; }

std::string shapeText(const int64_t *shape, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Status checkType(const char *what, const TensorSpec &spec, const mohd_tensor_t &tensor) {
  if (tensor.dtype != static_cast<mohd_dtype_t>(spec.dtype))
    return invalidArgument(
        std::string(what) + " " + quoted(spec.name) + ": expected type " + dtypeName(spec.dtype) +
        ", got " +
        (mohd_dtype_name(tensor.dtype) ? mohd_dtype_name(tensor.dtype) : "an unknown type"));
  if (tensor.rank != spec.shape.size())
    return invalidArgument(std::string(what) + " " + quoted(spec.name) + ": expected rank " +
                           std::to_string(spec.shape.size()) + ", got " +
                           std::to_string(tensor.rank));
  return Status();
}

/// Names the input that gave `dim` its value.
std::string sourceOf(const CompiledEntry &entry, int dim) {
  for (const CompiledTensor &input : entry.inputs)
    for (const CompiledExtent &extent : input.shape)
      if (extent.dim == dim)
        return quoted(input.spec->name);
  return "no input";
}

Status wrongExtent(const CompiledEntry &entry, const CompiledTensor &input, size_t axis,
                   int64_t expected, int64_t got) {
  const int dim = input.shape[axis].dim;
  std::string message = "input " + quoted(input.spec->name) + ": expected extent " +
                        std::to_string(expected) + " in axis " + std::to_string(axis);
  if (dim >= 0)
    message += " (" + entry.spec->dims[dim] + " of input " + sourceOf(entry, dim) + ")";
  return invalidArgument(message + ", got " + std::to_string(got));
}

/// Returns the index of the first element outside [low, high), or `count`.
template <typename T>
int64_t findOutside(const void *data, int64_t count, int64_t low, int64_t high) {
  const T *values = static_cast<const T *>(data);
  for (int64_t i = 0; i < count; ++i)
    if (values[i] < low || values[i] >= high)
      return i;
  return count;
}

int64_t valueAt(DType dtype, const void *data, int64_t index) {
  switch (dtype) {
  case DType::I8:
    return static_cast<const int8_t *>(data)[index];
  case DType::I32:
    return static_cast<const int32_t *>(data)[index];
  default:
    return static_cast<const int64_t *>(data)[index];
  }
}

} // namespace

Status TensorList::check(const char *what, size_t expected) const {
  if (count_ != expected)
    return invalidArgument("expected " + std::to_string(expected) + " " + what + ", got " +
                           std::to_string(count_));
  if (count_ == 0)
    return Status();
  if (!tensors_)
    return invalidArgument(std::string(what) + " must not be NULL");
  if (tensors_[0].struct_size < sizeof(mohd_tensor_t) || tensors_[0].struct_size > 65536 ||
      tensors_[0].struct_size % alignof(mohd_tensor_t) != 0)
    return invalidArgument(std::string(what) + ": struct_size " +
                           std::to_string(tensors_[0].struct_size) +
                           " is no size of mohd_tensor_t");
  for (uint32_t i = 1; i < count_; ++i)
    if ((*this)[i].struct_size != tensors_[0].struct_size)
      return invalidArgument(std::string(what) + ": the tensors' struct_size must be the same");
  return Status();
}

Status bindDims(const CompiledEntry &entry, const TensorList &inputs, DimValues *dims) {
  MOHDRT_TRY(inputs.check("inputs", entry.inputs.size()));
  std::fill_n(dims->values, entry.spec->dims.size(), -1);
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    const CompiledTensor &input = entry.inputs[i];
    const mohd_tensor_t &tensor = inputs[i];
    MOHDRT_TRY(checkType("input", *input.spec, tensor));
    for (size_t axis = 0; axis < input.shape.size(); ++axis) {
      const CompiledExtent &extent = input.shape[axis];
      const int64_t got = tensor.shape[axis];
      if (got < 0)
        return invalidArgument("input " + quoted(input.spec->name) + ": negative extent " +
                               std::to_string(got));
      int64_t expected = extent.value;
      if (extent.dim >= 0) {
        int64_t &value = dims->values[extent.dim];
        expected = value = value < 0 ? got : value;
      }
      if (got != expected)
        return wrongExtent(entry, input, axis, expected, got);
    }
    if (!tensorBytes(input.spec->dtype, tensor.shape, tensor.rank))
      return invalidArgument("input " + quoted(input.spec->name) + ": shape " +
                             shapeText(tensor.shape, tensor.rank) + " is too large");
  }
  return Status();
}

Status checkBuffer(const char *what, const TensorSpec &spec, const mohd_tensor_t &tensor) {
  const std::optional<int64_t> bytes = tensorBytes(spec.dtype, tensor.shape, tensor.rank);
  if (!bytes || tensor.byte_size < static_cast<uint64_t>(*bytes))
    return invalidArgument(std::string(what) + " " + quoted(spec.name) + ": shape " +
                           shapeText(tensor.shape, tensor.rank) + " needs " +
                           (bytes ? std::to_string(*bytes) : "too many") +
                           " bytes, the buffer has " + std::to_string(tensor.byte_size));
  if (*bytes > 0 && !tensor.data)
    return invalidArgument(std::string(what) + " " + quoted(spec.name) + ": data is NULL");
  if (reinterpret_cast<uintptr_t>(tensor.data) % kBufferAlign != 0)
    return invalidArgument(std::string(what) + " " + quoted(spec.name) +
                           ": data must be aligned to 64 bytes");
  return Status();
}

Result<int64_t> outputShape(const CompiledTensor &output, const DimValues &dims, int64_t *shape) {
  for (size_t axis = 0; axis < output.shape.size(); ++axis) {
    const CompiledExtent &extent = output.shape[axis];
    shape[axis] = extent.value;
    if (extent.expr)
      MOHDRT_TRY(evaluate(*extent.expr, dims, output.spec->name.c_str(), &shape[axis]));
  }
  const std::optional<int64_t> bytes = tensorBytes(output.spec->dtype, shape, output.shape.size());
  if (!bytes)
    return Status(StatusCode::Malformed, "output " + quoted(output.spec->name) + ": shape " +
                                             shapeText(shape, output.shape.size()) +
                                             " is too large");
  return *bytes;
}

Status checkOutput(const CompiledTensor &output, const mohd_tensor_t &tensor,
                   const int64_t *shape) {
  MOHDRT_TRY(checkType("output", *output.spec, tensor));
  if (!std::equal(shape, shape + tensor.rank, tensor.shape))
    return invalidArgument("output " + quoted(output.spec->name) + ": expected shape " +
                           shapeText(shape, tensor.rank) + ", got " +
                           shapeText(tensor.shape, tensor.rank));
  return checkBuffer("output", *output.spec, tensor);
}

/// Whether two tensors, whose sizes have been checked, share a byte.
static bool overlap(const mohd_tensor_t &lhs, const TensorSpec &lhsSpec, const mohd_tensor_t &rhs,
                    const TensorSpec &rhsSpec) {
  const auto left = reinterpret_cast<uintptr_t>(lhs.data);
  const auto right = reinterpret_cast<uintptr_t>(rhs.data);
  const int64_t leftBytes = *tensorBytes(lhsSpec.dtype, lhs.shape, lhs.rank);
  const int64_t rightBytes = *tensorBytes(rhsSpec.dtype, rhs.shape, rhs.rank);
  return left < right + static_cast<uintptr_t>(rightBytes) &&
         right < left + static_cast<uintptr_t>(leftBytes) && leftBytes > 0 && rightBytes > 0;
}

Status checkOverlap(const CompiledEntry &entry, const TensorList &inputs,
                    const TensorList &outputs) {
  const size_t numInputs = entry.inputs.size(), count = numInputs + entry.outputs.size();
  auto spec = [&](size_t i) -> const TensorSpec & {
    return i < numInputs ? *entry.inputs[i].spec : *entry.outputs[i - numInputs].spec;
  };
  auto tensor = [&](size_t i) -> const mohd_tensor_t & {
    return i < numInputs ? inputs[i] : outputs[i - numInputs];
  };
  for (size_t written = 0; written < count; ++written) {
    if (written < numInputs && !spec(written).isMutable)
      continue;
    for (size_t other = 0; other < count; ++other)
      if (other != written && overlap(tensor(written), spec(written), tensor(other), spec(other)))
        return invalidArgument(quoted(spec(written).name) + " is written and shares memory with " +
                               quoted(spec(other).name));
  }
  return Status();
}

Status checkRange(const TensorSpec &spec, const mohd_tensor_t &tensor, int64_t low, int64_t high) {
  const int64_t bytes = *tensorBytes(spec.dtype, tensor.shape, tensor.rank);
  const int64_t count = bytes / dtypeSize(spec.dtype);
  int64_t bad = count;
  if (spec.dtype == DType::I8)
    bad = findOutside<int8_t>(tensor.data, count, low, high);
  else if (spec.dtype == DType::I32)
    bad = findOutside<int32_t>(tensor.data, count, low, high);
  else
    bad = findOutside<int64_t>(tensor.data, count, low, high);
  if (bad == count)
    return Status();
  return Status(StatusCode::OutOfRange,
                "input " + quoted(spec.name) + ": element " + std::to_string(bad) + " is " +
                    std::to_string(valueAt(spec.dtype, tensor.data, bad)) + ", expected [" +
                    std::to_string(low) + ", " + std::to_string(high) + ")");
}

Status evaluate(const Expr &expr, const DimValues &dims, const char *what, int64_t *value) {
  const ExprError error = expr.evaluate(dims.values, value);
  if (error == ExprError::None)
    return Status();
  return Status(StatusCode::Malformed, "the bundle's expression for " + escapeForMessage(what, 60) +
                                           " has no value for this call: " + exprErrorName(error));
}

} // namespace mohdrt
