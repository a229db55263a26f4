// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The floating-point modes that kernels run with: with another rounding mode or flushed denormals,
// values would depend on who does a task.
#ifndef MOHD_SRC_FLOAT_ENVIRONMENT_H
#define MOHD_SRC_FLOAT_ENVIRONMENT_H

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mohdrt {

/// Gives the thread the default modes while it lives: round to nearest, nothing flushed, nothing
/// trapped. A worker keeps one for life, as a new thread inherits the modes of whoever made it.
class DefaultFloatEnvironment {
public:
  DefaultFloatEnvironment() : saved_(get()) { set(kDefault); }
  ~DefaultFloatEnvironment() { set(saved_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment &) = delete;

private:
#if defined(__x86_64__)
  using Modes = unsigned;
  static constexpr Modes kDefault = 0x1f80; // MXCSR with every exception masked
  static Modes get() { return _mm_getcsr(); }
  static void set(Modes modes) { _mm_setcsr(modes); }
#elif defined(__aarch64__)
  using Modes = uint64_t;
  static constexpr Modes kDefault = 0; // FPCR
  static Modes get() {
    Modes modes;
    asm volatile("mrs %0, fpcr" : "=r"(modes));
    return modes;
  }
  static void set(Modes modes) { asm volatile("msr fpcr, %0" : : "r"(modes)); }
#else
  using Modes = int;
  static constexpr Modes kDefault = 0;
  static Modes get() { return 0; }
  static void set(Modes) {}
#endif

  const Modes saved_;
};

} // namespace mohdrt

#endif // MOHD_SRC_FLOAT_ENVIRONMENT_H
