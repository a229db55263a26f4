// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors in memory: storage and elements.
#include "Tensor.h"

#include "Failure.h"

#include "mohd/format/float16.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

template <typename T> bool storeInteger(T *place, int64_t value) {
  if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
    return false;
  *place = static_cast<T>(value);
  return true;
}

} // namespace

void Tensor::Free::operator()(void *memory) const { std::free(memory); }

Tensor::Tensor(TensorType type) : type_(std::move(type)) {
  std::optional<int64_t> bytes = tensorBytes(type_.dtype, type_.shape.data(), type_.shape.size());
  constexpr int64_t align = 64; // what the runtime asks of buffers
  if (!bytes || *bytes > std::numeric_limits<int64_t>::max() - align)
    throw failure(StatusCode::InvalidArgument,
                  "a tensor " + toString(type_) + " needs more than 2^63 bytes");
  numBytes_ = static_cast<size_t>(*bytes);
  size_t rounded = numBytes_ / align * align + align;
  void *memory = std::aligned_alloc(align, rounded);
  if (!memory)
    throw failure(StatusCode::OutOfMemory, "no memory for a tensor " + toString(type_) + " of " +
                                               std::to_string(numBytes_) + " bytes");
  data_.reset(memory);
  std::memset(memory, 0, rounded);
}

int64_t Tensor::numElements() const {
  return static_cast<int64_t>(numBytes_) / dtypeSize(type_.dtype);
}

double Tensor::number(int64_t index) const {
  switch (type_.dtype) {
  case DType::F32:
    return as<float>()[index];
  case DType::F64:
    return as<double>()[index];
  case DType::F16:
    return static_cast<double>(as<_Float16>()[index]);
  case DType::BF16:
    return widenBf16(as<uint16_t>()[index]);
  default:
    return static_cast<double>(integer(index));
  }
}

int64_t Tensor::integer(int64_t index) const {
  switch (type_.dtype) {
  case DType::I8:
    return as<int8_t>()[index];
  case DType::I32:
    return as<int32_t>()[index];
  default:
    return as<int64_t>()[index];
  }
}

void Tensor::setNumber(int64_t index, double value) {
  switch (type_.dtype) {
  case DType::F32:
    as<float>()[index] = static_cast<float>(value);
    break;
  case DType::F16:
    as<_Float16>()[index] = static_cast<_Float16>(value);
    break;
  case DType::BF16:
    as<uint16_t>()[index] = narrowBf16(static_cast<float>(value));
    break;
  default:
    as<double>()[index] = value;
  }
}

bool Tensor::setInteger(int64_t index, int64_t value) {
  switch (type_.dtype) {
  case DType::I8:
    return storeInteger(as<int8_t>() + index, value);
  case DType::I32:
    return storeInteger(as<int32_t>() + index, value);
  default:
    return storeInteger(as<int64_t>() + index, value);
  }
}

mohd_tensor_t Tensor::view() {
  mohd_tensor_t view = {};
  view.struct_size = sizeof(view);
  view.data = data();
  view.dtype = static_cast<mohd_dtype_t>(type_.dtype);
  view.rank = static_cast<uint32_t>(type_.shape.size());
  for (size_t i = 0; i < type_.shape.size(); ++i)
    view.shape[i] = type_.shape[i];
  view.byte_size = numBytes_;
  return view;
}

} // namespace mohdrun
