// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element types of tensors in a bundle, and the size of a tensor in bytes.
#ifndef MOHD_FORMAT_DTYPE_H
#define MOHD_FORMAT_DTYPE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mohdrt {

/// Element types. Values equal `mohd_dtype_t` of mohd/runtime.h.
enum class DType : int32_t { F32 = 0, BF16 = 1, F16 = 2, F64 = 3, I8 = 4, I32 = 5, I64 = 6 };
inline constexpr int kNumDTypes = 7;

/// Largest rank of any tensor.
inline constexpr size_t kMaxRank = 8;

/// Returns the name used in manifests, e.g. "bf16".
const char *dtypeName(DType dtype) noexcept;

/// Returns the bytes of one element.
int64_t dtypeSize(DType dtype) noexcept;

bool isInteger(DType dtype) noexcept;

/// Returns the element type called `name`, or nothing if there is none.
std::optional<DType> parseDType(std::string_view name) noexcept;

/// Returns shape x element size in bytes, or nothing if an extent is negative or the product does
/// not fit in 64 bits (extents after a zero are checked as well).
std::optional<int64_t> tensorBytes(DType dtype, const int64_t *shape, size_t rank) noexcept;

} // namespace mohdrt

#endif // MOHD_FORMAT_DTYPE_H
