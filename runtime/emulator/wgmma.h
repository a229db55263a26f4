// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The arithmetic of wgmma on matrices of floats.
#ifndef MOHD_EMULATOR_WGMMA_H
#define MOHD_EMULATOR_WGMMA_H

#include <cstdint>

namespace mohdemu {

constexpr uint32_t kWgmmaM = 64, kWgmmaK = 16, kWgmmaMaxN = 256;

/// sums [64][256] += a [64][16] * b [16][256], in columns [0, n): products and sums in float, in the
/// order of k, the same on every CPU.
void multiplyTile(float (*sums)[kWgmmaMaxN], const float (*a)[kWgmmaK],
                  const float (*b)[kWgmmaMaxN], uint32_t n);

} // namespace mohdemu

#endif // MOHD_EMULATOR_WGMMA_H
