// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What passes may know of a target: a value, never a name to test.
#ifndef MOHD_TARGET_TARGETINFO_H
#define MOHD_TARGET_TARGETINFO_H

#include <cstdint>
#include <string>
#include <vector>

namespace mlir::mohd {

/// A processor that code is generated for.
struct TargetInfo {
  /// LLVM triple, for instance "x86_64-unknown-linux-gnu".
  std::string triple;
  /// Name that the bundle shows, for instance "x86-64-v3": the one the user gave, or with `native` this machine's CPU.
  std::string arch;
  /// LLVM processor name.
  std::string cpu;
  /// Processor features that a machine must have to run the code, sorted, in LLVM's spelling ("avx2").
  std::vector<std::string> features;
  /// f32 lanes of a vector register.
  int64_t vectorLanes = 8;
  /// Vector registers that code can name.
  int64_t vectorRegisters = 16;
  /// Data cache of a core, first and second level, in bytes: what every machine of the target can be expected to have, or with
  /// `native` what this one reports.
  int64_t l1Bytes = 32 << 10;
  int64_t l2Bytes = 256 << 10;
  /// It has instructions for conversions between f16 and f32.
  bool convertsF16 = true;
};

} // namespace mlir::mohd

#endif // MOHD_TARGET_TARGETINFO_H
