// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From Status and exceptions to the C interface's status codes and the thread's last message.
#ifndef MOHD_SRC_ERRORS_H
#define MOHD_SRC_ERRORS_H

#include "mohd/format/status.h"
#include "mohd/runtime.h"

#include <exception>
#include <new>

namespace mohdrt {

/// Returns the status for C; a failure's message becomes the thread's last error.
mohd_status_t report(const Status &status) noexcept;
mohd_status_t report(StatusCode code, const char *message) noexcept;

/// Runs `body` (returning Status) and keeps every exception inside the library.
template <typename Body> mohd_status_t guarded(Body body) noexcept {
  try {
    return report(body());
  } catch (const std::bad_alloc &) {
    return report(StatusCode::OutOfMemory, "out of memory");
  } catch (const std::exception &error) {
    return report(StatusCode::Internal, error.what());
  } catch (...) {
    return report(StatusCode::Internal, "unknown exception");
  }
}

/// Shorthands for the commonest failures.
inline Status invalidArgument(std::string message) {
  return Status(StatusCode::InvalidArgument, std::move(message));
}

} // namespace mohdrt

#endif // MOHD_SRC_ERRORS_H
