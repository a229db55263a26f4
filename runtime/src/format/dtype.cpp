// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The table of element types.
#include "mohd/format/dtype.h"

namespace mohdrt {
namespace {

struct DTypeEntry {
  const char *name;
  int64_t size; // bytes
  bool integer;
};

// Indexed by DType.
constexpr DTypeEntry kDTypeTable[kNumDTypes] = {
    {"f32", 4, false}, {"bf16", 2, false}, {"f16", 2, false}, {"f64", 8, false},
    {"i8", 1, true},   {"i32", 4, true},   {"i64", 8, true},
};

} // namespace

const char *dtypeName(DType dtype) noexcept { return kDTypeTable[static_cast<int>(dtype)].name; }

int64_t dtypeSize(DType dtype) noexcept { return kDTypeTable[static_cast<int>(dtype)].size; }

bool isInteger(DType dtype) noexcept { return kDTypeTable[static_cast<int>(dtype)].integer; }

std::optional<DType> parseDType(std::string_view name) noexcept {
  for (int i = 0; i < kNumDTypes; ++i)
    if (name == kDTypeTable[i].name)
      return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<int64_t> tensorBytes(DType dtype, const int64_t *shape, size_t rank) noexcept {
  int64_t bytes = dtypeSize(dtype);
  bool empty = false;
  for (size_t i = 0; i < rank; ++i) {
    if (shape[i] < 0)
      return std::nullopt;
    if (shape[i] == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, shape[i], &bytes))
      return std::nullopt;
  }
  return empty ? 0 : bytes;
}

} // namespace mohdrt
