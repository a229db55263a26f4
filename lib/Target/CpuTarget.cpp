// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU targets by name.
#include "mohd/Target/CpuTarget.h"

#include "mohd/format/cpu_features.h"

#include "llvm/TargetParser/Host.h"

#include <algorithm>

#include <unistd.h>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

#if defined(__aarch64__)
static constexpr bool isArmHost = true;
#else
static constexpr bool isArmHost = false;
#endif

static bool has(const TargetInfo &target, const char *feature) {
  return std::binary_search(target.features.begin(), target.features.end(), feature);
}

/// What follows from the features, and cache sizes that machines with them have at least.
static void describeX86(TargetInfo &target) {
  target.triple = "x86_64-unknown-linux-gnu";
  const bool avx512 = has(target, "avx512f") && has(target, "avx512vl");
  target.vectorLanes = avx512 ? 16 : has(target, "avx") ? 8 : 4;
  target.vectorRegisters = avx512 ? 32 : 16;
  target.convertsF16 = has(target, "f16c");
  target.l1Bytes = 32 << 10;
  target.l2Bytes = avx512 ? 1 << 20 : 256 << 10;
}

static void describeArm(TargetInfo &target) {
  target.triple = "aarch64-unknown-linux-gnu";
  target.vectorLanes = 4;
  target.vectorRegisters = 32;
  target.convertsF16 = true; // part of the base instruction set
  target.l1Bytes = 32 << 10;
  target.l2Bytes = 512 << 10;
}

/// Puts the sizes that the system reports, where it does, in place of the guesses.
static void readCacheSizes(TargetInfo &target) {
  if (long bytes = ::sysconf(_SC_LEVEL1_DCACHE_SIZE); bytes > 0)
    target.l1Bytes = bytes;
  if (long bytes = ::sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0)
    target.l2Bytes = bytes;
}

Result<TargetInfo> mlir::mohd::parseCpuTarget(llvm::StringRef spec) {
  TargetInfo target;
  llvm::StringRef arch = spec;
  if (!arch.consume_front("cpu:"))
    return Status(StatusCode::InvalidArgument,
                  "expected a target 'cpu:ARCH' or 'cpu:native', got '" + spec.str() + "'");
  const bool native = arch == "native", arm = native ? isArmHost : arch == "aarch64";
  if (native) {
    // The features say what the code may use; the name says where it was made, and of which family it is.
    target.arch = (arm ? "aarch64-" : "") + llvm::sys::getHostCPUName().str();
    target.features = ::mohdrt::hostCpuFeatures();
  } else if (arm || arch == "x86-64-v2" || arch == "x86-64-v3" || arch == "x86-64-v4") {
    target.arch = arch.str();
    target.features = ::mohdrt::archCpuFeatures(target.arch);
  } else {
    return Status(StatusCode::Unsupported, "expected CPU target 'native', 'x86-64-v2', "
                                           "'x86-64-v3', 'x86-64-v4' or 'aarch64', got '" +
                                               arch.str() + "'");
  }
  target.cpu = arm ? "generic" : native ? "x86-64" : target.arch;
  std::sort(target.features.begin(), target.features.end());
  arm ? describeArm(target) : describeX86(target);
  if (native)
    readCacheSizes(target);
  return target;
}
