// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Work in a child process: fork without exec, results through a file in memory.
#include "mohd/Target/IsolatedProcess.h"

#include "MemoryFile.h"

#include "llvm/Support/ErrorHandling.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

using Strings = std::vector<std::string>;

// How the child ends: with a result in the file, or with the message of a fatal error there.
static constexpr int kFinished = 0, kFatal = 112;
static constexpr size_t kMessageBytes = 2000; // of the child's stderr that an error quotes

static Status internal(const std::string &message) { return Status(StatusCode::Internal, message); }

//===--- Results as bytes: for each string its length and a line feed, then the string ----------===//

static void append(std::string &bytes, llvm::StringRef text) {
  bytes += std::to_string(text.size()) + "\n";
  bytes += text;
}

static std::optional<Strings> split(llvm::StringRef bytes) {
  Strings strings;
  while (!bytes.empty()) {
    size_t size;
    if (bytes.consumeInteger(10, size) || !bytes.consume_front("\n") || size > bytes.size())
      return std::nullopt;
    strings.push_back(bytes.take_front(size).str());
    bytes = bytes.drop_front(size);
  }
  return strings;
}

/// The first string is the status, as a number; then its message, or the result's strings.
static std::string encode(const Result<Strings> &result) {
  std::string bytes;
  append(bytes, std::to_string(int(result.status().code())));
  if (!result.ok())
    append(bytes, result.status().message());
  else
    for (const std::string &text : *result)
      append(bytes, text);
  return bytes;
}

static Result<Strings> decode(llvm::StringRef bytes) {
  std::optional<Strings> strings = split(bytes);
  int code;
  if (!strings || strings->empty() || llvm::StringRef(strings->front()).getAsInteger(10, code))
    return internal("the child process left no result");
  strings->erase(strings->begin());
  if (code == int(StatusCode::Ok))
    return std::move(*strings);
  return Status(StatusCode(code), strings->empty() ? "" : strings->front());
}

//===--- The child ------------------------------------------------------------------------------===//

/// LLVM would remove files of the parent's before it aborts.
static void exitWithMessage(void *file, const char *reason, bool) {
  static_cast<MemoryFile *>(file)->write(reason);
  ::_exit(kFatal);
}

[[noreturn]] static void runChild(llvm::function_ref<Result<Strings>()> body, MemoryFile &result,
                                  MemoryFile &messages, unsigned seconds) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL); // an interrupted compiler leaves no child behind
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL); // handlers are the parent's
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_UNBLOCK, &all, nullptr);
  ::dup2(messages.fd(), STDERR_FILENO);
  ::dup2(messages.fd(), STDOUT_FILENO);
  const rlimit none = {0, 0};
  ::setrlimit(RLIMIT_CORE, &none); // its death is expected
  ::alarm(seconds);
  llvm::remove_fatal_error_handler();
  llvm::remove_bad_alloc_error_handler();
  llvm::install_fatal_error_handler(exitWithMessage, &result);
  llvm::install_bad_alloc_error_handler(exitWithMessage, &result);
  ::_exit(result.write(encode(body())) ? kFinished : kFatal);
}

//===--- The parent -----------------------------------------------------------------------------===//

/// How the child ended, in words.
static std::string describeEnd(int state, unsigned seconds, const std::string &result,
                               llvm::StringRef messages) {
  std::string text;
  if (WIFEXITED(state) && WEXITSTATUS(state) == kFatal)
    text = result.empty() ? "fatal error" : result;
  else if (WIFEXITED(state))
    text = "exit status " + std::to_string(WEXITSTATUS(state));
  else if (WIFSIGNALED(state) && WTERMSIG(state) == SIGALRM)
    text = "not done after " + std::to_string(seconds) + " seconds";
  else
    text = "killed by signal " + std::to_string(WTERMSIG(state)) + " (" +
           ::strsignal(WTERMSIG(state)) + ")";
  messages = messages.take_back(kMessageBytes).trim();
  return messages.empty() ? text : text + "\n" + messages.str();
}

Result<Strings> mlir::mohd::runIsolated(llvm::function_ref<Result<Strings>()> body,
                                        unsigned seconds) {
  MemoryFile result("result"), messages("messages");
  if (result.fd() < 0 || messages.fd() < 0)
    return internal(std::string("cannot make a file in memory: ") + std::strerror(errno));
  pid_t child = ::fork();
  if (child < 0)
    return internal(std::string("cannot start a child process: ") + std::strerror(errno));
  if (child == 0)
    runChild(body, result, messages, seconds);
  int state = 0;
  pid_t waited;
  while ((waited = ::waitpid(child, &state, 0)) < 0 && errno == EINTR)
    continue;
  if (waited != child)
    return internal(std::string("lost the child process: ") + std::strerror(errno));
  if (WIFEXITED(state) && WEXITSTATUS(state) == kFinished)
    return decode(result.read());
  return internal(describeEnd(state, seconds, result.read(), messages.read()));
}
