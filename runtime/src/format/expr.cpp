// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expressions: recursive descent (bounded by the nesting limit) to a compact postfix code, so that
// code is never more than twice as long as the text, and evaluation on a small fixed stack.
#include "mohd/format/expr.h"

#include "mohd/format/json.h"

#include <algorithm>

namespace mohdrt {
namespace {

enum Op : char { Constant, Dim, Add, Sub, Mul, Div, CeilDiv, Min, Max };

// Between two brackets at most a sum's and a product's left side wait, or a call's first argument.
constexpr int kStackSize = 3 * (kMaxExprNesting + 2);

bool isNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool isDigit(char c) { return c >= '0' && c <= '9'; }

ExprError apply(Op op, int64_t a, int64_t b, int64_t *result) {
  switch (op) {
  case Add:
    return __builtin_add_overflow(a, b, result) ? ExprError::Overflow : ExprError::None;
  case Sub:
    *result = a - b; // both non-negative: cannot overflow
    return *result < 0 ? ExprError::Negative : ExprError::None;
  case Mul:
    return __builtin_mul_overflow(a, b, result) ? ExprError::Overflow : ExprError::None;
  case Div:
  case CeilDiv:
    if (b == 0)
      return ExprError::DivisionByZero;
    *result = a / b + (op == CeilDiv && a % b != 0);
    return ExprError::None;
  case Min:
    *result = std::min(a, b);
    return ExprError::None;
  default:
    *result = std::max(a, b);
    return ExprError::None;
  }
}

} // namespace

class ExprParser {
public:
  ExprParser(std::string_view text, const std::vector<std::string> &dims)
      : text_(text), dims_(dims) {}

  Result<Expr> parse() {
    if (text_.size() > kMaxExprBytes)
      return Status(StatusCode::Malformed, "expression of " + std::to_string(text_.size()) +
                                               " bytes, at most " + std::to_string(kMaxExprBytes) +
                                               " are allowed");
    if (parseSum(0) && (skipSpace(), at_ != text_.size()))
      fail("an operator or the end");
    if (!status_.ok())
      return status_;
    expr_.code_.shrink_to_fit();
    return std::move(expr_);
  }

private:
  bool fail(const std::string &expected) {
    if (status_.ok())
      status_ = Status(StatusCode::Malformed, "expression '" + escapeForMessage(text_, 80) +
                                                  "': expected " + expected + " at byte " +
                                                  std::to_string(at_));
    return false;
  }

  void skipSpace() {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
  }

  /// Takes the character if it comes next.
  bool accept(char c) {
    skipSpace();
    if (at_ == text_.size() || text_[at_] != c)
      return false;
    ++at_;
    return true;
  }

  bool expect(char c) { return accept(c) || fail(std::string("'") + c + "'"); }

  void emit(Op op) { expr_.code_ += static_cast<char>(op); }

  void emit(Op op, uint64_t operand) {
    emit(op);
    for (; operand >= 0x80; operand >>= 7)
      expr_.code_ += static_cast<char>(0x80 | (operand & 0x7f));
    expr_.code_ += static_cast<char>(operand);
  }

  bool parseSum(int depth) {
    if (depth > kMaxExprNesting)
      return fail("at most " + std::to_string(kMaxExprNesting) + " levels of nesting");
    if (!parseProduct(depth))
      return false;
    while (true) {
      Op op = accept('+') ? Add : accept('-') ? Sub : Constant;
      if (op == Constant)
        return true;
      if (!parseProduct(depth))
        return false;
      emit(op);
    }
  }

  bool parseProduct(int depth) {
    if (!parsePrimary(depth))
      return false;
    while (true) {
      Op op = accept('*') ? Mul : accept('/') ? Div : Constant;
      if (op == Constant)
        return true;
      if (!parsePrimary(depth))
        return false;
      emit(op);
    }
  }

  bool parsePrimary(int depth) {
    if (accept('('))
      return parseSum(depth + 1) && expect(')');
    if (at_ < text_.size() && isDigit(text_[at_]))
      return parseConstant();
    if (at_ < text_.size() && isNameStart(text_[at_]))
      return parseName(depth);
    return fail("a number, a name or '('");
  }

  bool parseConstant() {
    int64_t value = 0;
    for (; at_ < text_.size() && isDigit(text_[at_]); ++at_)
      if (__builtin_mul_overflow(value, int64_t(10), &value) ||
          __builtin_add_overflow(value, int64_t(text_[at_] - '0'), &value))
        return fail("a number that fits in 63 bits");
    emit(Constant, static_cast<uint64_t>(value));
    return true;
  }

  bool parseName(int depth) {
    const size_t start = at_;
    while (at_ < text_.size() && (isNameStart(text_[at_]) || isDigit(text_[at_])))
      ++at_;
    const std::string_view name = text_.substr(start, at_ - start);
    if (accept('(')) {
      Op op = name == "ceildiv" ? CeilDiv : name == "min" ? Min : name == "max" ? Max : Constant;
      if (op == Constant) {
        at_ = start;
        return fail("'ceildiv', 'min' or 'max' before '('");
      }
      if (!parseSum(depth + 1) || !expect(',') || !parseSum(depth + 1) || !expect(')'))
        return false;
      emit(op);
      return true;
    }
    auto dim = std::find(dims_.begin(), dims_.end(), name);
    if (dim == dims_.end()) {
      at_ = start;
      return fail("the name of a dim");
    }
    emit(Dim, static_cast<uint64_t>(dim - dims_.begin()));
    return true;
  }

  std::string_view text_;
  const std::vector<std::string> &dims_;
  size_t at_ = 0;
  Status status_;
  Expr expr_;
};

const char *exprErrorName(ExprError error) noexcept {
  switch (error) {
  case ExprError::None:
    return "no error";
  case ExprError::Overflow:
    return "overflow";
  case ExprError::Negative:
    return "negative result";
  case ExprError::DivisionByZero:
    return "division by zero";
  }
  return "unknown error";
}

Result<Expr> Expr::parse(std::string_view text, const std::vector<std::string> &dims) {
  return ExprParser(text, dims).parse();
}

ExprError Expr::evaluate(const int64_t *dims, int64_t *result) const noexcept {
  int64_t stack[kStackSize];
  int depth = 0;
  for (size_t i = 0; i < code_.size();) {
    const Op op = static_cast<Op>(code_[i++]);
    if (op == Constant || op == Dim) {
      uint64_t operand = 0;
      for (int shift = 0;; shift += 7) {
        const uint8_t byte = static_cast<uint8_t>(code_[i++]);
        operand |= uint64_t(byte & 0x7f) << shift;
        if (byte < 0x80)
          break;
      }
      stack[depth++] = op == Constant ? static_cast<int64_t>(operand) : dims[operand];
      continue;
    }
    --depth;
    ExprError error = apply(op, stack[depth - 1], stack[depth], &stack[depth - 1]);
    if (error != ExprError::None)
      return error;
  }
  *result = stack[0];
  return ExprError::None;
}

} // namespace mohdrt
