// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The thread's last error, in a fixed buffer, so that reporting "out of memory" needs none.
#include "errors.h"

#include <cstring>

namespace mohdrt {
namespace {

constexpr size_t kMaxMessage = 2048;
thread_local char lastError[kMaxMessage];

} // namespace

mohd_status_t report(StatusCode code, const char *message) noexcept {
  size_t length = 0;
  for (; message[length] != 0 && length + 1 < kMaxMessage; ++length) {
    const unsigned char c = static_cast<unsigned char>(message[length]);
    lastError[length] = c < 0x20 || c == 0x7f ? ' ' : message[length];
  }
  // A cut must not leave half a UTF-8 sequence.
  if (message[length] != 0)
    while (length > 0 && (message[length] & 0xc0) == 0x80)
      --length;
  lastError[length] = 0;
  return static_cast<mohd_status_t>(code);
}

mohd_status_t report(const Status &status) noexcept {
  return status.ok() ? MOHD_OK : report(status.code(), status.message().c_str());
}

} // namespace mohdrt

extern "C" {

uint32_t mohd_abi_version(void) { return MOHD_ABI_VERSION; }

const char *mohd_version_string(void) { return "mohd " MOHD_VERSION " (bundle format 1.0, ABI 1)"; }

const char *mohd_status_name(mohd_status_t status) {
  return mohdrt::statusName(static_cast<mohdrt::StatusCode>(status));
}

int mohd_status_exit_code(mohd_status_t status) {
  return mohdrt::exitCode(static_cast<mohdrt::StatusCode>(status));
}

const char *mohd_last_error(void) { return mohdrt::lastError; }

} // extern "C"
