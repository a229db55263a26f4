// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU targets by name.
#include "mohd/Target/CpuTarget.h"

#include "mohd/format/cpu_features.h"

#include "llvm/TargetParser/Host.h"

#include <algorithm>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

static bool has(const TargetInfo &target, const char *feature) {
  return std::binary_search(target.features.begin(), target.features.end(), feature);
}

Result<TargetInfo> mlir::mohd::parseCpuTarget(llvm::StringRef spec) {
  TargetInfo target;
  target.triple = "x86_64-unknown-linux-gnu";
  llvm::StringRef arch = spec;
  if (!arch.consume_front("cpu:"))
    return Status(StatusCode::InvalidArgument,
                  "expected a target 'cpu:ARCH' or 'cpu:native', got '" + spec.str() + "'");
  if (arch == "native") {
    target.arch = llvm::sys::getHostCPUName().str();
    target.cpu = "x86-64";
    target.features = ::mohdrt::hostCpuFeatures();
  } else if (arch == "x86-64-v2" || arch == "x86-64-v3" || arch == "x86-64-v4") {
    target.arch = target.cpu = arch.str();
    target.features = ::mohdrt::archCpuFeatures(target.arch);
  } else {
    return Status(StatusCode::Unsupported,
                  "expected CPU target 'native', 'x86-64-v2', 'x86-64-v3' or 'x86-64-v4', got '" +
                      arch.str() + "'");
  }
  std::sort(target.features.begin(), target.features.end());
  target.vectorLanes = has(target, "avx512f") ? 16 : has(target, "avx") ? 8 : 4;
  target.convertsF16 = has(target, "f16c");
  return target;
}
