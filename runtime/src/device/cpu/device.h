// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CPU: kernels run on the caller's thread and the pool's.
#ifndef MOHD_SRC_DEVICE_CPU_DEVICE_H
#define MOHD_SRC_DEVICE_CPU_DEVICE_H

#include "device/device.h"
#include "device/host_code.h"

namespace mohdrt {

/// CPU code and its weights in memory.
class CpuCode final : public DeviceCode {
public:
  /// Loads the weights marked in `needed`, then the code.
  static Result<std::shared_ptr<DeviceCode>> load(const BundleParts &parts, const Target &target,
                                                  const std::vector<bool> &needed);
  Result<std::unique_ptr<Executor>> makeExecutor(const ContextOptions &options) override;

  const std::vector<void *> &kernels() const { return code_->kernels(); }
  const std::vector<void *> &weights() const { return weights_.addresses(); }

private:
  using DeviceCode::DeviceCode;
  WeightStore weights_;
  std::unique_ptr<HostCode> code_;
};

} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CPU_DEVICE_H
