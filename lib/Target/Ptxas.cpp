// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NVIDIA's assembler as a child process.
#include "mohd/Target/Ptxas.h"

#include "MemoryFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

static constexpr unsigned kAssembleSeconds = 600, kVersionSeconds = 30;

//===--- Where it is ----------------------------------------------------------------------------===//

PtxasPlaces PtxasPlaces::fromEnvironment() {
  PtxasPlaces places;
  if (const char *program = std::getenv("MOHD_PTXAS"))
    places.program = program;
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *folder = std::getenv(variable); folder && *folder)
      places.folders.push_back(std::string(folder) + "/bin");
  if (const char *path = std::getenv("PATH"))
    for (llvm::StringRef folder : llvm::split(path, ':'))
      if (!folder.empty())
        places.folders.push_back(folder.str());
  places.folders.push_back("/usr/local/cuda/bin");
  llvm::SmallString<128> cache;
  if (llvm::sys::path::cache_directory(cache))
    places.folders.push_back(cache.str().str() + "/mohd");
  return places;
}

/// Runs `program`; what it printed on both streams, or an error that says how it ended.
static Result<std::string> run(const std::string &program, llvm::ArrayRef<std::string> arguments,
                               unsigned seconds) {
  MemoryFile messages("messages");
  std::string messagesPath = messages.path(), error;
  std::vector<llvm::StringRef> line = {program};
  line.insert(line.end(), arguments.begin(), arguments.end());
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), llvm::StringRef(messagesPath),
                                                llvm::StringRef(messagesPath)};
  // Not ExecuteAndWait with a limit, whose alarm is the process's: several threads do this at once.
  llvm::sys::ProcessInfo child =
      llvm::sys::ExecuteNoWait(program, line, std::nullopt, redirects, 0, &error);
  int code = -1;
  if (child.Pid != llvm::sys::ProcessInfo::InvalidPid) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    llvm::sys::ProcessInfo ended;
    while ((ended = llvm::sys::Wait(child, 0, &error)).Pid == 0 &&
           std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (ended.Pid == 0) {
      ::kill(child.Pid, SIGKILL);
      ended = llvm::sys::Wait(child, std::nullopt, &error);
      error = "it took more than " + std::to_string(seconds) + " s";
      ended.ReturnCode = -2;
    }
    code = ended.ReturnCode;
  }
  std::string text = llvm::StringRef(messages.read()).trim().str();
  if (code == 0)
    return text;
  std::string how = code < 0 ? "died: " + error : "ended with status " + std::to_string(code);
  return Status(StatusCode::Internal, "ptxas " + how + (text.empty() ? "" : "\n" + text));
}

static std::string parseVersion(llvm::StringRef text) {
  llvm::SmallVector<llvm::StringRef> match;
  return llvm::Regex("V([0-9]+(\\.[0-9]+)+)").match(text, &match) ? match[1].str() : "unknown";
}

Result<Ptxas> mlir::mohd::findPtxas(const PtxasPlaces &places) {
  std::string path;
  if (places.program && !places.program->empty()) {
    path = *places.program;
    if (!llvm::sys::fs::can_execute(path))
      return Status(StatusCode::InvalidArgument,
                    "expects MOHD_PTXAS to be the path of ptxas, got '" + path + "'");
  } else if (!places.program) {
    for (const std::string &folder : places.folders)
      if (path.empty() && llvm::sys::fs::can_execute(folder + "/ptxas"))
        path = folder + "/ptxas";
  }
  if (path.empty())
    return Status(
        StatusCode::NotFound,
        "cannot find ptxas, which makes machine code of PTX: run scripts/setup --cuda, or "
        "set MOHD_PTXAS to its path or CUDA_HOME to that of the CUDA toolkit");
  Result<std::string> version = run(path, {"--version"}, kVersionSeconds);
  if (!version.ok())
    return version.status().withPrefix(path);
  return Ptxas{path, parseVersion(*version)};
}

//===--- What it says ---------------------------------------------------------------------------===//

const PtxasFunction *PtxasReport::find(llvm::StringRef name) const {
  auto found = llvm::find_if(functions,
                             [&](const PtxasFunction &function) { return function.name == name; });
  return found == functions.end() ? nullptr : &*found;
}

/// The number that `pattern` has in parentheses, or 0.
static int64_t numberIn(llvm::StringRef line, const char *pattern) {
  llvm::SmallVector<llvm::StringRef> match;
  int64_t number = 0;
  if (llvm::Regex(pattern).match(line, &match) && match[1].getAsInteger(10, number))
    number = 0;
  return number;
}

/// The function called `name`, which may be mentioned for the first time.
static PtxasFunction &touch(PtxasReport &report, llvm::StringRef name) {
  for (PtxasFunction &function : report.functions)
    if (function.name == name)
      return function;
  report.functions.emplace_back().name = name.str();
  return report.functions.back();
}

PtxasReport mlir::mohd::parsePtxasReport(llvm::StringRef text) {
  const llvm::Regex entry("Compiling entry function '([^']+)'"),
      properties("Function properties for ([^ ]+)"), code("\\((C75[0-9][0-9])\\)"),
      error("(^|[ ;])(error|fatal) *:");
  PtxasReport report;
  std::string kernel, function; // that the next figures are of
  for (llvm::StringRef line : llvm::split(text, '\n')) {
    llvm::SmallVector<llvm::StringRef> match;
    line = line.trim();
    if (entry.match(line, &match)) {
      kernel = match[1].str();
      touch(report, kernel).isKernel = true;
    } else if (properties.match(line, &match)) {
      function = match[1].str();
    } else if (line.contains("bytes stack frame") && !function.empty()) {
      PtxasFunction &figures = touch(report, function);
      figures.stackBytes = numberIn(line, "([0-9]+) bytes stack frame");
      figures.spillStoreBytes = numberIn(line, "([0-9]+) bytes spill stores");
      figures.spillLoadBytes = numberIn(line, "([0-9]+) bytes spill loads");
    } else if (line.contains(": Used ") && !kernel.empty()) {
      PtxasFunction &figures = touch(report, kernel);
      figures.registers = numberIn(line, "Used ([0-9]+) registers");
      figures.barriers = numberIn(line, "used ([0-9]+) barriers");
      figures.sharedBytes = numberIn(line, "([0-9]+) bytes smem");
    } else if (code.match(line, &match)) {
      if (match[1] != "C7519")
        report.losses.push_back(line.str());
    } else if (error.match(line)) {
      report.errors.push_back(line.str());
    }
  }
  return report;
}

Status mlir::mohd::checkPtxasReport(const PtxasReport &report) {
  std::vector<std::string> problems;
  for (const PtxasFunction &function : report.functions) {
    std::string what = (function.isKernel ? "kernel '" : "function '") + function.name + "' ";
    if (function.spillStoreBytes || function.spillLoadBytes)
      problems.push_back(what + "expects no spills, got " +
                         std::to_string(function.spillStoreBytes) + " bytes of stores and " +
                         std::to_string(function.spillLoadBytes) + " of loads with " +
                         std::to_string(function.registers) + " registers");
    else if (function.stackBytes)
      problems.push_back(what + "expects no stack frame, got " +
                         std::to_string(function.stackBytes) + " bytes");
  }
  for (const std::string &loss : report.losses)
    problems.push_back("expects no performance loss, got '" + loss + "'");
  return problems.empty() ? Status() : Status(StatusCode::Internal, llvm::join(problems, "\n"));
}

//===--- How it is run --------------------------------------------------------------------------===//

static std::vector<std::string> flags(llvm::StringRef chip) {
  return {"-arch=" + chip.str(), "-O3", "-v", "--warn-on-spills", "--warn-on-local-memory-usage"};
}

std::string mlir::mohd::ptxasCommand(const Ptxas &ptxas, llvm::StringRef chip,
                                     llvm::StringRef input) {
  return ptxas.path + " " + llvm::join(flags(chip), " ") + " -o /dev/null " + input.str();
}

Result<Assembled> mlir::mohd::assemblePtx(const Ptxas &ptxas, llvm::StringRef chip,
                                          llvm::StringRef ptx) {
  MemoryFile input("kernels.ptx"), output("kernels.cubin");
  if (output.fd() < 0 || !input.write(ptx))
    return Status(StatusCode::Io, "cannot write the input of ptxas");
  std::vector<std::string> arguments = flags(chip);
  arguments.insert(arguments.end(), {"-o", output.path(), input.path()});
  Result<std::string> messages = run(ptxas.path, arguments, kAssembleSeconds);
  if (!messages.ok())
    return messages.status();
  Assembled assembled{output.read(), parsePtxasReport(*messages)};
  if (assembled.cubin.empty() || !assembled.report.errors.empty())
    return Status(StatusCode::Internal, "ptxas wrote no machine code\n" + *messages);
  return assembled;
}
