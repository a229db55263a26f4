// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expressions of the manifest: sizes, grids and parameters as functions of a call's dims.
// Grammar and limits: docs/formats.md.
#ifndef MOHD_FORMAT_EXPR_H
#define MOHD_FORMAT_EXPR_H

#include "mohd/format/status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mohdrt {

inline constexpr size_t kMaxExprBytes = 4096;
inline constexpr int kMaxExprNesting = 32;

/// Why an evaluation has no value.
enum class ExprError { None, Overflow, Negative, DivisionByZero };

/// Returns "overflow", "negative result" or "division by zero".
const char *exprErrorName(ExprError error) noexcept;

/// A parsed expression over non-negative 64-bit integers.
class Expr {
public:
  /// Parses `text` with names from `dims`; MALFORMED says what was expected at which byte.
  static Result<Expr> parse(std::string_view text, const std::vector<std::string> &dims);

  /// Computes the value for `dims` (in the order given to parse(), none negative). Neither
  /// allocates nor recurses.
  ExprError evaluate(const int64_t *dims, int64_t *result) const noexcept;

private:
  friend class ExprParser;
  std::string code_; // postfix: one byte an operation, operands as base-128 numbers
};

} // namespace mohdrt

#endif // MOHD_FORMAT_EXPR_H
