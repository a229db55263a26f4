// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU code of a bundle: which target fits this machine, and its shared object in memory.
#ifndef MOHD_SRC_DEVICE_CPU_CODE_H
#define MOHD_SRC_DEVICE_CPU_CODE_H

#include "mohd/format/bundle.h"
#include "thread_pool.h"

#include <memory>
#include <string>
#include <vector>

namespace mohdrt {

/// Returns the index of the "cpu" target with the most features among those this machine runs.
/// INCOMPATIBLE names what is missing.
Result<size_t> selectCpuTarget(const Manifest &manifest);

/// A shared object loaded from anonymous memory, never from a file in a temporary folder.
class CpuCode {
public:
  /// Loads the target's code segment from the bundle and finds every kernel. Runs the object's
  /// initialisers. The hash is compared unless `checkHash` is false.
  static Result<std::unique_ptr<CpuCode>> load(const ByteSource &bundle, const Manifest &manifest,
                                               const Target &target, bool checkHash);
  ~CpuCode();
  CpuCode(const CpuCode &) = delete;

  /// In the order of the target's kernels.
  const std::vector<KernelFn> &kernels() const { return kernels_; }

private:
  CpuCode() = default;
  Status copyToMemory(const ByteSource &bundle, const SegmentInfo &segment, bool checkHash);
  Status open(const SegmentInfo &segment);
  Status findKernels(const Target &target);

  int fd_ = -1;
  std::string path_;
  void *handle_ = nullptr;
  std::vector<KernelFn> kernels_;
};

} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CPU_CODE_H
