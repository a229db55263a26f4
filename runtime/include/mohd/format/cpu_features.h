// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CPU features a bundle's target may name, shared by the writer (what to list) and the runtime
// (what to check). Names are LLVM's: "avx2", "fma", "avx512f", ...
#ifndef MOHD_FORMAT_CPU_FEATURES_H
#define MOHD_FORMAT_CPU_FEATURES_H

#include <string>
#include <string_view>
#include <vector>

namespace mohdrt {

/// Whether this library can test for the feature `name` on some family of CPUs. A writer lists only
/// such features.
bool isKnownCpuFeature(std::string_view name) noexcept;

/// Whether this machine (CPU and operating system) has the feature; false for an unknown name.
bool hostHasCpuFeature(std::string_view name) noexcept;

/// Returns the names of the known features this machine has, in the table's order.
std::vector<std::string> hostCpuFeatures();

/// Returns the features that an `arch` implies: the x86-64 levels ("x86-64-v3": avx2, ...) and
/// "aarch64" (Armv8-A: fp-armv8 and neon); empty for any other name.
std::vector<std::string> archCpuFeatures(std::string_view arch);

/// Whether code for `arch` can be for this machine's instruction set at all: on x86-64 every name
/// but those of other families ("aarch64...", "arm...", "riscv..."), on AArch64 only "aarch64...".
bool hostRunsArch(std::string_view arch) noexcept;

} // namespace mohdrt

#endif // MOHD_FORMAT_CPU_FEATURES_H
