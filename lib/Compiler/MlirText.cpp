// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Counts nesting by characters. A closing bracket that fits no open one lets the count sink, which does
// no harm: the parser stops there.
#include "MlirText.h"

using ::mohdrt::Status;
using ::mohdrt::StatusCode;

/// Levels of nesting; more than any program has, and far fewer than 8 MiB of stack hold.
static constexpr int kMaxNesting = 256;

/// The text after the string or comment that `text` begins with, or `text` itself.
static llvm::StringRef skipQuoted(llvm::StringRef text) {
  if (text.starts_with("//"))
    return text.drop_until([](char c) { return c == '\n'; });
  if (!text.consume_front("\""))
    return text;
  while (!text.empty() && text.front() != '"' && text.front() != '\n')
    text = text.drop_front(text.front() == '\\' ? std::min<size_t>(2, text.size()) : 1);
  return text.drop_front(text.empty() ? 0 : 1);
}

Status mlir::mohd::checkMlirText(llvm::StringRef text) {
  if (text.starts_with("ML\xefR"))
    return Status(StatusCode::Malformed, "expected MLIR as text, got bytecode");
  const llvm::StringRef whole = text;
  int depth = 0, minusSigns = 0; // a chain of minus signs nests as well
  while (!text.empty()) {
    llvm::StringRef rest = skipQuoted(text);
    if (rest.size() != text.size()) {
      text = rest;
      continue;
    }
    bool isOperator = text.starts_with("->") || text.starts_with("<=") || text.starts_with(">=");
    char c = text.front();
    text = text.drop_front(isOperator ? 2 : 1);
    if (!isOperator && llvm::StringRef("([{<").contains(c))
      ++depth;
    else if (!isOperator && llvm::StringRef(")]}>").contains(c))
      depth = std::max(0, depth - 1);
    if (c == '-' && !isOperator)
      ++minusSigns;
    else if (!llvm::isSpace(c) && c != '(')
      minusSigns = 0;
    if (depth > kMaxNesting || minusSigns > kMaxNesting)
      return Status(StatusCode::Malformed,
                    "line " + std::to_string(1 + whole.drop_back(text.size()).count('\n')) +
                        ": expected at most " + std::to_string(kMaxNesting) + " levels of nesting");
  }
  return Status();
}
