// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The emulator of GPUs: kernels run on the CPU, one fiber for each GPU thread, and are checked.
#ifndef MOHD_SRC_DEVICE_EMULATE_DEVICE_H
#define MOHD_SRC_DEVICE_EMULATE_DEVICE_H

#include "device/device.h"
#include "device/host_code.h"

#include "mohd/emulator/operations.h"

namespace mohdrt {

/// Kernels for the emulator, and weights in the host's memory.
class EmulateCode final : public DeviceCode {
public:
  /// Loads the weights that the target binds, then the code, which gets the emulator's table.
  static Result<std::shared_ptr<DeviceCode>> load(const BundleParts &parts, const Target &target);
  Result<std::unique_ptr<Executor>> makeExecutor(const ContextOptions &options) override;

  mohd_emu_kernel kernel(size_t index) const {
    return reinterpret_cast<mohd_emu_kernel>(code_->kernels()[index]);
  }
  const std::vector<void *> &weights() const { return weights_.addresses(); }
  const Manifest &manifest() const { return *manifest_; }

private:
  using DeviceCode::DeviceCode;
  const Manifest *manifest_ = nullptr;
  WeightStore weights_;
  std::unique_ptr<HostCode> code_;
};

} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_EMULATE_DEVICE_H
