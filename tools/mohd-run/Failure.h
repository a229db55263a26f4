// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How mohd-run stops: one exception type, printed as text or JSON, with the exit codes of
// docs/formats.md.
#ifndef MOHD_TOOLS_MOHD_RUN_FAILURE_H
#define MOHD_TOOLS_MOHD_RUN_FAILURE_H

#include "mohd/format/status.h"

#include <string>

namespace mohdrun {

/// Thrown to end the tool.
struct Failure {
  int exitCode;
  std::string status;  // name of the status, or MISMATCH
  std::string message; // lower-case, without full stop
  std::string where;   // file or option; may be empty
  std::string hint;    // what to do about it; may be empty
};

/// A failure with the exit code and name of `code`.
Failure failure(mohdrt::StatusCode code, std::string message, std::string where = "",
                std::string hint = "");

/// A command line that cannot be understood (exit code 2).
Failure usage(std::string message, std::string hint = "mohd-run --help lists the options");

/// Throws `status` as a Failure unless it is ok.
void check(const mohdrt::Status &status, const std::string &where);

/// Prints a failure to stderr: "error: ...", "help: ...", or with `asJson` one object
/// {code, status, message, where, hint} on a line. Returns the exit code.
int report(const Failure &failure, bool asJson);

/// Prints "warning: ..." or "note: ..." to stderr.
void warn(const std::string &message);
void note(const std::string &message);

/// Warns about each variable called MOHD_... that nothing of the project reads.
void warnAboutUnknownVariables();

/// Writes to stdout at once and throws an IO failure when it does not take the bytes.
void writeStdout(std::string_view text);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_FAILURE_H
