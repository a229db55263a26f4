// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the command line tools stop: one exception type, printed as text or JSON, with the exit codes of
// docs/formats.md.
#ifndef MOHD_TOOLS_SUPPORT_FAILURE_H
#define MOHD_TOOLS_SUPPORT_FAILURE_H

#include "mohd/format/status.h"

#include <functional>
#include <string>
#include <string_view>

namespace mohdtool {

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

/// A command line that cannot be understood (exit code 2). The default hint names the tool's --help.
Failure usage(std::string message, std::string hint = "");

/// Throws `status` as a Failure unless it is ok.
void check(const mohdrt::Status &status, const std::string &where);

/// Prints a failure to stderr: "error: ...", "help: ...", or with `asJson` one object
/// {code, status, message, where, hint} on a line. Returns the exit code.
int report(const Failure &failure, bool asJson);

/// Prints "warning: ..." or "note: ..." to stderr.
void warn(const std::string &message);
void note(const std::string &message);
void remark(const std::string &message);

/// Warns about each variable called MOHD_... that nothing of the project reads.
void warnAboutUnknownVariables();

/// A check for the option parser: an empty string if `text` is a decimal number of 64 bits without sign, else what was expected.
/// (The parser itself would wrap -1 and clamp what is too large.)
std::string checkUnsigned(const std::string &text);

/// Runs a tool: warns about unknown variables, makes interrupts clean up, and turns what `body` throws into a report. Returns the
/// exit code. `argv` is searched for --json first, as parsing may fail.
int runTool(int argc, char **argv, const std::function<void()> &body);

/// Writes to stdout at once and throws an IO failure when it does not take the bytes.
void writeStdout(std::string_view text);

} // namespace mohdtool

#endif // MOHD_TOOLS_SUPPORT_FAILURE_H
