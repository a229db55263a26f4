// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Copying to a device and back.
#include "DeviceTensors.h"

namespace mohdrun {

mohd_status_t DeviceTensors::place(const mohd_tensor_t &host, bool uploads, mohd_tensor_t &out) {
  Copy &copy = copies_[host.data];
  out = host;
  mohd_status_t status = MOHD_OK;
  if (!copy.data)
    status = mohd_context_allocate(context_, host.byte_size, &copy.data);
  if (status == MOHD_OK && uploads && !copy.isNewer)
    status = mohd_context_upload(context_, copy.data, host.data, host.byte_size);
  out.data = copy.data;
  return status;
}

mohd_status_t DeviceTensors::fetch(const mohd_tensor_t &host) {
  Copy &copy = copies_[host.data];
  if (!copy.isNewer)
    return MOHD_OK;
  copy.isNewer = false;
  return mohd_context_download(context_, host.data, copy.data, host.byte_size);
}

} // namespace mohdrun
