// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A target's kernels and weights on a GPU.
#ifndef MOHD_SRC_DEVICE_CUDA_CODE_H
#define MOHD_SRC_DEVICE_CUDA_CODE_H

#include "device/cuda/device.h"

namespace mohdrt {
namespace cuda {

/// Returns the index of the target that a GPU of this compute capability takes: a cubin for exactly
/// it ("sm_90a"), else the highest one of its major number, else PTX unless `requireCubin`.
/// INCOMPATIBLE names what the bundle has.
Result<size_t> selectTarget(const Manifest &manifest, int major, int minor, bool requireCubin);

/// Splits the weights marked in `needed` into batches of whole segments and files, each of at most
/// `bytes` unless a single one has more.
std::vector<std::vector<bool>> batchesOf(const Manifest &manifest, const std::vector<bool> &needed,
                                         int64_t bytes);

class Code final : public DeviceCode {
public:
  /// Loads the target's kernels, all of them, and uploads the weights that it binds.
  static Result<std::shared_ptr<DeviceCode>> load(const BundleParts &parts, const Target &target,
                                                  std::shared_ptr<Device> device);
  ~Code() override;
  Result<std::unique_ptr<Executor>> makeExecutor(const ContextOptions &options) override;

  Device &device() const { return *device_; }
  /// In the order of the target's kernels.
  const std::vector<CUfunction> &functions() const { return functions_; }
  /// Blocks of each kernel that the device holds at a time, of cooperative ones; 0 of others.
  const std::vector<unsigned> &mostBlocks() const { return mostBlocks_; }
  /// On the device, of all weights; null for those that the target does not bind.
  const std::vector<void *> &weights() const { return weights_; }

private:
  Code(CompiledTarget target, std::shared_ptr<Device> device)
      : DeviceCode(std::move(target)), device_(std::move(device)) {}
  Status loadModule(const std::string &image);
  Status findKernel(const Kernel &kernel);
  Status uploadWeights(const BundleParts &parts);
  Status uploadBatch(const BundleParts &parts, const std::vector<bool> &batch);

  std::shared_ptr<Device> device_;
  CUmodule module_ = nullptr;
  std::vector<CUfunction> functions_;
  std::vector<unsigned> mostBlocks_;
  CUdeviceptr memory_ = 0; // all weights, one after the other
  size_t memoryBytes_ = 0;
  std::vector<void *> weights_;
};

} // namespace cuda
} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CUDA_CODE_H
