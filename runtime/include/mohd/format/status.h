// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Status and Result: how the format library and the runtime report failure without exceptions.
#ifndef MOHD_FORMAT_STATUS_H
#define MOHD_FORMAT_STATUS_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mohdrt {

/// The kinds of failure. Values equal `mohd_status_t` of mohd/runtime.h.
enum class StatusCode : int32_t {
  Ok = 0,
  InvalidArgument = 1,
  Malformed = 2,
  Incompatible = 3,
  NotFound = 4,
  Io = 5,
  OutOfMemory = 6,
  Device = 7,
  OutOfRange = 8,
  Unsupported = 9,
  Internal = 10,
};

/// Returns the code's name, e.g. "MALFORMED"; "UNKNOWN" for a value outside the enumeration.
const char *statusName(StatusCode code) noexcept;

/// Returns the exit code of the command line tools for `code` (the table in docs/formats.md).
int exitCode(StatusCode code) noexcept;

/// Success, or a code and one line that says what was expected and what was found.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::Ok; }
  StatusCode code() const { return code_; }
  const std::string &message() const { return message_; }

  /// Puts "prefix: " before the message of a failure (a file's name, say).
  Status withPrefix(std::string_view prefix) const {
    return ok() ? *this : Status(code_, std::string(prefix) + ": " + message_);
  }

private:
  StatusCode code_ = StatusCode::Ok;
  std::string message_;
};

/// A value, or the Status that says why there is none.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const { return value_.has_value(); }
  const Status &status() const { return status_; }
  T &operator*() { return *value_; }
  const T &operator*() const { return *value_; }
  T *operator->() { return &*value_; }
  const T *operator->() const { return &*value_; }

private:
  std::optional<T> value_;
  Status status_;
};

} // namespace mohdrt

/// Returns from the enclosing function when `expression` is a failed Status.
#define MOHDRT_TRY(expression)                                                                     \
  do {                                                                                             \
    if (::mohdrt::Status mohdrtStatus = (expression); !mohdrtStatus.ok())                          \
      return mohdrtStatus;                                                                         \
  } while (false)

#endif // MOHD_FORMAT_STATUS_H
