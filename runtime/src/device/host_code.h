// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Host code of a bundle: whether it fits this machine, and its shared object in memory.
#ifndef MOHD_SRC_DEVICE_HOST_CODE_H
#define MOHD_SRC_DEVICE_HOST_CODE_H

#include "mohd/format/bundle.h"

#include <memory>
#include <string>
#include <vector>

namespace mohdrt {

/// Returns the index of the target of `kind` ("cpu" or "emulate") with the most CPU features among
/// those this machine runs; of several with as many the first. With a `gpu` ("sm_90a") only that
/// arch counts. INCOMPATIBLE names what is missing.
Result<size_t> selectHostTarget(const Manifest &manifest, const std::string &kind,
                                const std::string &gpu = "");

/// A shared object loaded from anonymous memory, never from a file in a temporary folder.
class HostCode {
public:
  /// Loads the target's code segment from the bundle and finds every kernel. Runs the object's
  /// initialisers. The hash is compared unless `checkHash` is false.
  static Result<std::unique_ptr<HostCode>> load(const ByteSource &bundle, const Manifest &manifest,
                                                const Target &target, bool checkHash);
  ~HostCode();
  HostCode(const HostCode &) = delete;

  /// Addresses of functions, in the order of the target's kernels.
  const std::vector<void *> &kernels() const { return kernels_; }
  /// The address of a symbol that the object itself defines; MALFORMED, naming `what`, for others.
  Result<void *> find(const std::string &name, const char *what) const;

private:
  HostCode() = default;
  Status copyToMemory(const ByteSource &bundle, const SegmentInfo &segment, bool checkHash);
  Status open(const SegmentInfo &segment);

  int fd_ = -1;
  std::string path_, target_;
  void *handle_ = nullptr;
  std::vector<void *> kernels_;
};

} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_HOST_CODE_H
