// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The inner loops of wgmma, with AVX2 where the CPU has it. No fused multiply-add: the results are
// the same everywhere.
#include "wgmma.h"

namespace mohdemu {

namespace {

/// Rows and columns whose sums stay in registers.
constexpr uint32_t kRows = 4, kColumns = 16;
static_assert(kWgmmaM % kRows == 0, "rows come in fours");

template <uint32_t Columns>
inline __attribute__((always_inline)) void
multiplyPart(float (*sums)[kWgmmaMaxN], const float (*a)[kWgmmaK], const float (*b)[kWgmmaMaxN],
             uint32_t column) {
  float part[kRows][Columns];
  for (uint32_t r = 0; r < kRows; ++r)
    for (uint32_t c = 0; c < Columns; ++c)
      part[r][c] = sums[r][column + c];
  for (uint32_t k = 0; k < kWgmmaK; ++k)
    for (uint32_t r = 0; r < kRows; ++r)
      for (uint32_t c = 0; c < Columns; ++c)
        part[r][c] += a[r][k] * b[k][column + c];
  for (uint32_t r = 0; r < kRows; ++r)
    for (uint32_t c = 0; c < Columns; ++c)
      sums[r][column + c] = part[r][c];
}

inline __attribute__((always_inline)) void multiplyAll(float (*sums)[kWgmmaMaxN],
                                                       const float (*a)[kWgmmaK],
                                                       const float (*b)[kWgmmaMaxN], uint32_t n) {
  uint32_t column = 0;
  for (; column + kColumns <= n; column += kColumns)
    for (uint32_t row = 0; row < kWgmmaM; row += kRows)
      multiplyPart<kColumns>(sums + row, a + row, b, column);
  for (; column < n; column += 8)
    for (uint32_t row = 0; row < kWgmmaM; row += kRows)
      multiplyPart<8>(sums + row, a + row, b, column);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void multiplyAvx2(float (*sums)[kWgmmaMaxN],
                                                  const float (*a)[kWgmmaK],
                                                  const float (*b)[kWgmmaMaxN], uint32_t n) {
  multiplyAll(sums, a, b, n);
}
#endif

} // namespace

void multiplyTile(float (*sums)[kWgmmaMaxN], const float (*a)[kWgmmaK],
                  const float (*b)[kWgmmaMaxN], uint32_t n) {
#if defined(__x86_64__)
  static const bool hasAvx2 = __builtin_cpu_supports("avx2");
  if (hasAvx2)
    return multiplyAvx2(sums, a, b, n);
#endif
  multiplyAll(sums, a, b, n);
}

} // namespace mohdemu
