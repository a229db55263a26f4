// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reports of failures and warnings, and writes to stdout that may fail.
#include "Failure.h"

#include "mohd/format/json.h"
#include "mohd/format/output_file.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <new>
#include <unistd.h>

using namespace mohdrt;

namespace mohdtool {

Failure failure(StatusCode code, std::string message, std::string where, std::string hint) {
  return {exitCode(code), statusName(code), std::move(message), std::move(where), std::move(hint)};
}

Failure usage(std::string message, std::string hint) {
  if (!message.empty()) // the option parser's own messages are sentences
    message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(message[0])));
  if (hint.empty())
    hint = std::string(program_invocation_short_name) + " --help lists the options";
  return failure(StatusCode::InvalidArgument, std::move(message), "", std::move(hint));
}

void check(const Status &status, const std::string &where) {
  if (!status.ok())
    throw failure(status.code(), status.message(), where);
}

int report(const Failure &failure, bool asJson) {
  if (asJson) {
    JsonValue object = JsonValue::object();
    object.set("code", failure.exitCode);
    object.set("status", failure.status);
    object.set("message", failure.message);
    object.set("where", failure.where);
    object.set("hint", failure.hint);
    std::fprintf(stderr, "%s\n", writeCompactJson(object).c_str());
    return failure.exitCode;
  }
  // Messages from below may have named the place already.
  bool named = failure.where.empty() || failure.message.find(failure.where) != std::string::npos;
  std::string prefix = named ? "" : failure.where + ": ";
  std::fprintf(stderr, "error: %s%s\n", prefix.c_str(), failure.message.c_str());
  if (!failure.hint.empty())
    std::fprintf(stderr, "help: %s\n", failure.hint.c_str());
  return failure.exitCode;
}

void warn(const std::string &message) { std::fprintf(stderr, "warning: %s\n", message.c_str()); }

void note(const std::string &message) { std::fprintf(stderr, "note: %s\n", message.c_str()); }

void remark(const std::string &message) { std::fprintf(stderr, "remark: %s\n", message.c_str()); }

void warnAboutUnknownVariables() {
  // The first five are the runtime's, the sixth the compiler's; the others belong to the build and the Python package.
  static const char *const known[] = {
      "MOHD_THREADS",          "MOHD_PIN_THREADS", "MOHD_EMULATOR_SEED", "MOHD_LIBCUDA",
      "MOHD_CUDA_SYNCHRONIZE", "MOHD_PTXAS",       "MOHD_PYTHON",        "MOHD_CHECK_ROUNDTRIP",
      "MOHD_RUNTIME",          "MOHD_COMPILE",     "MOHD_BUILD"};
  for (char **variable = environ; *variable; ++variable) {
    if (std::strncmp(*variable, "MOHD_", 5) != 0)
      continue;
    std::string name(*variable, std::strcspn(*variable, "="));
    bool isKnown = false;
    for (const char *candidate : known)
      isKnown |= name == candidate;
    if (!isKnown)
      warn("nothing reads the variable '" + escapeForMessage(name) + "'");
  }
}

std::string checkUnsigned(const std::string &text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool whole = error == std::errc() && end == text.data() + text.size();
  return whole ? "" : "expected a number from 0 to 2^64-1, got '" + escapeForMessage(text) + "'";
}

int runTool(int argc, char **argv, const std::function<void()> &body) {
  bool json = false;
  for (int i = 1; i < argc; ++i)
    json |= std::strcmp(argv[i], "--json") == 0;
  installInterruptCleanup();
  if (!json)
    warnAboutUnknownVariables();
  try {
    body();
    return 0;
  } catch (const Failure &failure) {
    return report(failure, json);
  } catch (const std::bad_alloc &) {
    return report(failure(StatusCode::OutOfMemory, "out of memory"), json);
  } catch (const std::exception &error) {
    return report(failure(StatusCode::Internal, std::string("internal error: ") + error.what()),
                  json);
  }
}

void writeStdout(std::string_view text) {
  while (!text.empty()) {
    ssize_t done = ::write(STDOUT_FILENO, text.data(), text.size());
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      throw failure(StatusCode::Io, std::string("cannot write to stdout: ") + std::strerror(errno),
                    "stdout");
    text.remove_prefix(static_cast<size_t>(done));
  }
}

} // namespace mohdtool
