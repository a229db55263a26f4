// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A GPU in use: its primary context, memory, and the error that ended it, if one did. Shared by all
// modules of the process.
#ifndef MOHD_SRC_DEVICE_CUDA_DEVICE_H
#define MOHD_SRC_DEVICE_CUDA_DEVICE_H

#include "device/cuda/driver.h"
#include "device/device.h"

#include <atomic>
#include <mutex>

namespace mohdrt {
namespace cuda {

class Device {
public:
  /// Retains the primary context of GPU `ordinal`, once for all who use it. While one is in use that an error has made unusable, that error.
  static Result<std::shared_ptr<Device>> acquire(int ordinal);
  ~Device();
  Device(const Device &) = delete;

  const Driver &driver() const { return *driver_; }
  const Gpu &gpu() const { return gpu_; }
  /// "cuda:0"
  const std::string &name() const { return name_; }

  /// The device's context is the thread's current one while this lives; then the caller's is again.
  class Current {
  public:
    explicit Current(Device &device);
    ~Current();
    Current(const Current &) = delete;
    /// Why the device cannot be used: a forked child, an error before, the driver.
    const Status &status() const { return status_; }

  private:
    Device &device_;
    Status status_;
  };

  /// OK, or what `call` ("cuMemAlloc of 8 bytes") failed with. After an error that leaves the context
  /// unusable the device is marked. `call` makes the text only when it is needed.
  template <typename Text> Status check(CUresult result, Text call) {
    return result == CUDA_SUCCESS ? Status() : fail(result, call());
  }

  // All within a Current.
  Result<CUdeviceptr> allocate(size_t bytes, MemoryUse use);
  void deallocate(CUdeviceptr memory, size_t bytes, MemoryUse use);
  Status upload(CUdeviceptr to, const void *from, size_t bytes);
  Status download(void *to, CUdeviceptr from, size_t bytes);

private:
  Device(std::shared_ptr<const Driver> driver, Gpu gpu, int ordinal)
      : driver_(std::move(driver)), gpu_(std::move(gpu)), name_("cuda:" + std::to_string(ordinal)) {
  }
  Status retain(int ordinal);
  Status checkUsable(); // the error that broke it
  Status fail(CUresult result, const std::string &call);
  Status outOfMemory(size_t bytes, MemoryUse use);

  std::shared_ptr<const Driver> driver_;
  Gpu gpu_;
  std::string name_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::atomic<size_t> used_[3] = {}; // bytes, by MemoryUse
  std::atomic<bool> isBroken_{false};
  std::mutex mutex_;
  Status firstError_; // that broke it; under the mutex
};

} // namespace cuda
} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CUDA_DEVICE_H
