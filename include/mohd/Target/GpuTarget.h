// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU targets by name, and how many blocks of a kernel a multiprocessor holds.
#ifndef MOHD_TARGET_GPUTARGET_H
#define MOHD_TARGET_GPUTARGET_H

#include "mohd/Target/TargetInfo.h"
#include "mohd/format/status.h"

#include "llvm/ADT/StringRef.h"

#include <vector>

namespace mlir::mohd {

/// True if `spec` begins as the targets of parseGpuTargets do.
bool isGpuTarget(llvm::StringRef spec);

/// What `--target=` means for GPUs: `cuda:` and a list of `sm_80`, `sm_90a` (machine code for that chip) and `ptx` (text in an old version of
/// PTX, which drivers assemble for any chip from sm_80 on), one target each; or `emulate:` and one chip. Anything else, and a name
/// that comes twice, is an error that lists them.
::mohdrt::Result<std::vector<TargetInfo>> parseGpuTargets(llvm::StringRef spec);

/// What a kernel takes of an SM.
struct KernelResources {
  int64_t registers = 0;   // of a thread
  int64_t sharedBytes = 0; // of a block, static and dynamic
  int64_t threads = 0;     // of a block
};

/// How many blocks of a kernel an SM of `gpu` holds at a time; a kernel that fits no SM is an error with both numbers.
::mohdrt::Result<int64_t> computeBlocksPerSm(const GpuInfo &gpu, const KernelResources &kernel);

} // namespace mlir::mohd

#endif // MOHD_TARGET_GPUTARGET_H
