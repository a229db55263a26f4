// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Copies of tensors in the memory of a context's device, for devices that do not use the host's.
#ifndef MOHD_TOOLS_MOHD_RUN_DEVICETENSORS_H
#define MOHD_TOOLS_MOHD_RUN_DEVICETENSORS_H

#include "mohd/runtime.h"

#include <unordered_map>

namespace mohdrun {

/// Tensors are known by the host's address of their data, which must stay theirs. Memory on the
/// device is given back with the context. Members return what the runtime does.
class DeviceTensors {
public:
  explicit DeviceTensors(mohd_context_t *context) : context_(context) {}

  /// Makes `out` the tensor `host` with its data on the device. With `uploads` the host's values are
  /// copied, unless those on the device are newer.
  mohd_status_t place(const mohd_tensor_t &host, bool uploads, mohd_tensor_t &out);
  /// Says that a run has changed the device's copy, which place() gave.
  void markNewer(const mohd_tensor_t &host) { copies_[host.data].isNewer = true; }
  /// Copies what is newer on the device to the host.
  mohd_status_t fetch(const mohd_tensor_t &host);

private:
  struct Copy {
    void *data = nullptr;
    bool isNewer = false; // than the host's
  };
  mohd_context_t *context_;
  std::unordered_map<const void *, Copy> copies_; // by the host's address
};

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_DEVICETENSORS_H
