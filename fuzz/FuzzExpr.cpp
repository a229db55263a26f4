// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fuzz entry point: any bytes as an expression of a manifest, evaluated for small, zero and huge dims.

#include "mohd/format/expr.h"

#include <cstdlib>

using namespace mohdrt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::vector<std::string> names = {"T", "R", "kv_width"};
  static const int64_t dims[][3] = {{1, 2, 3}, {0, 0, 0}, {INT64_MAX, INT64_MAX, 1}};
  std::string_view text(reinterpret_cast<const char *>(data), size);
  if (!text.empty() && text.back() == '\n') // seeds are text files
    text.remove_suffix(1);
  Result<Expr> expr = Expr::parse(text, names);
  if (!expr.ok())
    return 0;
  for (const auto &values : dims) {
    int64_t result = 0;
    if (expr->evaluate(values, &result) == ExprError::None && result < 0)
      std::abort(); // values are never negative
  }
  return 0;
}
