// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks on PTX as LLVM prints it: a function's head and the brace that opens its body each begin a line.
#include "mohd/Target/PtxText.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Regex.h"

using namespace mlir::mohd;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

namespace {
/// A kernel or function of a PTX text.
struct PtxFunction {
  std::string name;
  bool isKernel = false, isExternal = false;
  std::string code; // lines of the body without comments
};
} // namespace

/// The functions of `ptx`, in order; declarations of functions that follow are left out.
static std::vector<PtxFunction> parseFunctions(llvm::StringRef ptx) {
  // A result in parentheses may stand before the name of a function.
  const llvm::Regex head("^(\\.(visible|weak|extern) +)?\\.(entry|func) +(\\([^)]*\\) *)?"
                         "([A-Za-z_$%][A-Za-z0-9_$]*)");
  std::vector<PtxFunction> functions;
  int64_t depth = 0; // of braces; inline assembly has some of its own
  for (llvm::StringRef line : llvm::split(ptx, '\n')) {
    llvm::SmallVector<llvm::StringRef> match;
    line = line.split("//").first;
    if (depth > 0 || (line.starts_with("{") && !functions.empty())) {
      depth += int64_t(line.count('{')) - int64_t(line.count('}'));
      functions.back().code += line.str() + "\n";
    } else if (head.match(line, &match)) {
      functions.push_back({match[5].str(), match[3] == "entry", line.starts_with(".extern"), ""});
    }
  }
  return functions;
}

bool mlir::mohd::hasInstruction(llvm::StringRef code, llvm::StringRef instruction) {
  auto continues = [](char c) { return llvm::isAlnum(c) || c == '_' || c == '$'; };
  for (size_t at = code.find(instruction); at != llvm::StringRef::npos;
       at = code.find(instruction, at + 1)) {
    size_t end = at + instruction.size();
    bool begins = at == 0 || !(continues(code[at - 1]) || code[at - 1] == '.');
    if (begins && (end == code.size() || !continues(code[end])))
      return true;
  }
  return false;
}

/// The local memory that a body declares, in bytes.
static int64_t localBytes(llvm::StringRef code) {
  int64_t total = 0, bytes;
  llvm::SmallVector<llvm::StringRef> match;
  const llvm::Regex local("\\.local .*\\[([0-9]+)\\];");
  for (llvm::StringRef line : llvm::split(code, '\n'))
    if (local.match(line, &match) && !match[1].getAsInteger(10, bytes))
      total += bytes;
  return total;
}

Status mlir::mohd::checkPtx(llvm::StringRef ptx, llvm::ArrayRef<GpuKernel> kernels) {
  std::vector<std::string> problems;
  llvm::StringSet<> external, found;
  for (const PtxFunction &function : parseFunctions(ptx)) {
    const std::string what = (function.isKernel ? "kernel '" : "function '") + function.name + "'";
    if (function.isExternal) {
      external.insert(function.name);
      continue;
    }
    if (function.isKernel)
      found.insert(function.name);
    for (const auto &callee : external)
      if (hasInstruction(function.code, callee.first()))
        problems.push_back(what + " calls '" + callee.first().str() +
                           "', which no target provides");
    if (int64_t bytes = localBytes(function.code))
      problems.push_back(what + " expects no local memory, got " + std::to_string(bytes) +
                         " bytes for a thread");
    for (const GpuKernel &kernel : kernels)
      if (kernel.name == function.name)
        for (const std::string &instruction : kernel.instructions)
          if (!hasInstruction(function.code, instruction))
            problems.push_back(what + " expects instruction '" + instruction + "', got none");
  }
  for (const GpuKernel &kernel : kernels)
    if (!found.contains(kernel.name))
      problems.push_back("expects kernel '" + kernel.name + "' in the PTX, got none");
  return problems.empty() ? Status() : Status(StatusCode::Internal, llvm::join(problems, "\n"));
}
