// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversions between f32 and the 16-bit element types, by their bits. Inline, as they run over
// whole weights.
#ifndef MOHD_FORMAT_FLOAT16_H
#define MOHD_FORMAT_FLOAT16_H

#include <cstdint>
#include <cstring>

namespace mohdrt {

/// The bits of a float, and back.
inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// The value of an IEEE half, exactly.
inline float widenF16(uint16_t half) {
  uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 0) // zero or subnormal: mantissa * 2^-24, exact
    return floatOf(sign | bitsOf(static_cast<float>(mantissa) * 0x1p-24f));
  uint32_t wide = exponent == 0x1f ? 0xff : exponent + (127 - 15);
  return floatOf(sign | wide << 23 | mantissa << 13);
}

/// The IEEE half nearest to `value`, ties to even; overflow is infinity, a NaN stays one.
inline uint16_t narrowF16(float value) {
  uint32_t bits = bitsOf(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) // NaN: keep the payload's top bits, set quiet
    return static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x47800000) // 2^16 and above, infinity included
    return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) { // below 2^-14: let the addition of 0.5 round to a multiple of 2^-24
    uint32_t rounded = bitsOf(floatOf(magnitude) + 0.5f) - bitsOf(0.5f);
    return static_cast<uint16_t>(sign | rounded);
  }
  uint32_t rebased = magnitude - ((127 - 15) << 23);
  return static_cast<uint16_t>(sign | ((rebased + 0xfff + ((rebased >> 13) & 1)) >> 13));
}

/// The bfloat16 nearest to `value`, under the same rules.
inline uint16_t narrowBf16(float value) {
  uint32_t bits = bitsOf(value);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  uint32_t quiet = bits >> 16 | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

/// The value of a bfloat16, exactly.
inline float widenBf16(uint16_t bits) { return floatOf(static_cast<uint32_t>(bits) << 16); }

} // namespace mohdrt

#endif // MOHD_FORMAT_FLOAT16_H
