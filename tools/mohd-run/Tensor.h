// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A tensor in memory that the runtime takes as it is, and its form on the command line.
#ifndef MOHD_TOOLS_MOHD_RUN_TENSOR_H
#define MOHD_TOOLS_MOHD_RUN_TENSOR_H

#include "mohd/format/dtype.h"
#include "mohd/runtime.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mohdrun {

/// Element type and static shape; written "4x64xf32", a scalar is "f32".
struct TensorType {
  mohdrt::DType dtype = mohdrt::DType::F32;
  std::vector<int64_t> shape;

  bool operator==(const TensorType &other) const {
    return dtype == other.dtype && shape == other.shape;
  }
};

std::string toString(const TensorType &type);

/// Reads what toString() writes; nothing for any other text, rank above 8 included.
std::optional<TensorType> parseTensorType(std::string_view text);

/// A contiguous row-major tensor that owns its data, aligned to 64 bytes.
class Tensor {
public:
  Tensor() = default;
  /// All zeros. Throws a Failure if the size does not fit in 64 bits or there is no memory.
  explicit Tensor(TensorType type);

  const TensorType &type() const { return type_; }
  int64_t numElements() const;
  size_t numBytes() const { return numBytes_; }
  void *data() { return data_.get(); }
  const void *data() const { return data_.get(); }
  template <typename T> T *as() { return static_cast<T *>(data()); }
  template <typename T> const T *as() const { return static_cast<const T *>(data()); }

  /// Element `index` in row-major order, exact for every float type.
  double number(int64_t index) const;
  /// The same for integer types.
  int64_t integer(int64_t index) const;
  /// Sets an element of a float type, rounded to nearest even.
  void setNumber(int64_t index, double value);
  /// Sets an element of an integer type; false if it does not fit.
  bool setInteger(int64_t index, int64_t value);

  /// The runtime's view of this tensor, valid as long as the tensor.
  mohd_tensor_t view();

private:
  struct Free {
    void operator()(void *memory) const;
  };
  TensorType type_;
  size_t numBytes_ = 0;
  std::unique_ptr<void, Free> data_;
};

/// Reads "TYPE=VALUE" or "VALUE" (then `expected` must be given), where VALUE is @FILE.npy, one
/// number for all elements, all numbers separated by commas, or random:SEED (floats uniform in [-1,
/// 1)). `name` is for messages. Throws a Failure.
Tensor parseTensor(const std::string &name, std::string_view text,
                   std::optional<mohdrt::DType> expected);

/// The shortest text that reads back as the same element.
std::string elementText(const Tensor &tensor, int64_t index);

/// "TYPE=1,2,3", what parseTensor() reads.
std::string toString(const Tensor &tensor);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_TENSOR_H
