// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA driver library, opened when somebody wants it, and its GPUs.
#ifndef MOHD_SRC_DEVICE_CUDA_DRIVER_H
#define MOHD_SRC_DEVICE_CUDA_DRIVER_H

#include "device/cuda/api.h"
#include "mohd/format/status.h"

#include <memory>
#include <string>

namespace mohdrt {
namespace cuda {

/// The driver's functions. Every member is set.
struct Driver {
#define MOHD_CUDA_FIELD(name, parameters) CUresult(*name) parameters = nullptr;
  MOHD_CUDA_FUNCTIONS(MOHD_CUDA_FIELD)
#undef MOHD_CUDA_FIELD
  int version = 0; // 12040 for CUDA 12.4
  int devices = 0; // GPUs

  /// Opens the library (libcuda.so.1, or what MOHD_LIBCUDA names), and starts the driver. DEVICE
  /// tells an absent library, an old driver, a failed start, no GPU and a forked child apart.
  static Result<std::shared_ptr<const Driver>> acquire();

  /// "CUDA_ERROR_NOT_FOUND (named symbol not found)"
  std::string describe(CUresult result) const;
};

/// DEVICE in a child that was forked after the driver started: nothing of it works there.
Status checkNotForked();

/// What a GPU is, without making a context on it.
struct Gpu {
  std::string name;
  int major = 0, minor = 0; // compute capability
  int multiprocessors = 0;
  int sharedBytes = 0;     // that a block may have
  uint64_t totalBytes = 0; // of memory
};

/// DEVICE if there is no such GPU.
Result<Gpu> describeGpu(const Driver &driver, int ordinal);

} // namespace cuda
} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CUDA_DRIVER_H
