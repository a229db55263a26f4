// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expressions: values, precedence, every error, and the limits.
#include "mohd/format/expr.h"

#include <gtest/gtest.h>

using namespace mohdrt;

namespace {

const std::vector<std::string> kDims = {"T", "R", "max_len"};
const int64_t kValues[] = {7, 0, 100};

int64_t valueOf(const std::string &text) {
  Result<Expr> expr = Expr::parse(text, kDims);
  EXPECT_TRUE(expr.ok()) << expr.status().message();
  int64_t value = -1;
  if (expr.ok()) {
    EXPECT_EQ(expr->evaluate(kValues, &value), ExprError::None) << text;
  }
  return value;
}

ExprError errorOf(const std::string &text) {
  Result<Expr> expr = Expr::parse(text, kDims);
  EXPECT_TRUE(expr.ok()) << expr.status().message();
  int64_t value = 0;
  return expr.ok() ? expr->evaluate(kValues, &value) : ExprError::None;
}

std::string refusalOf(const std::string &text) {
  Result<Expr> expr = Expr::parse(text, kDims);
  EXPECT_FALSE(expr.ok()) << text;
  return expr.ok() ? "" : expr.status().message();
}

TEST(Expr, Values) {
  EXPECT_EQ(valueOf("0"), 0);
  EXPECT_EQ(valueOf("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(valueOf("T*4+2"), 30);
  EXPECT_EQ(valueOf("2+T*4"), 30);
  EXPECT_EQ(valueOf("(2+T)*4"), 36);
  EXPECT_EQ(valueOf("T - 2 - 3"), 2);
  EXPECT_EQ(valueOf("T/2*2"), 6);
  EXPECT_EQ(valueOf("ceildiv(T, 4)"), 2);
  EXPECT_EQ(valueOf("min(T,max_len)+max(R,1)"), 8);
  EXPECT_EQ(valueOf("R*9223372036854775807"), 0);
}

TEST(Expr, EvaluationErrors) {
  EXPECT_EQ(errorOf("T-8"), ExprError::Negative);
  EXPECT_EQ(errorOf("T-8+8"), ExprError::Negative);
  EXPECT_EQ(errorOf("T/R"), ExprError::DivisionByZero);
  EXPECT_EQ(errorOf("ceildiv(T,R)"), ExprError::DivisionByZero);
  EXPECT_EQ(errorOf("9223372036854775807+T"), ExprError::Overflow);
  EXPECT_EQ(errorOf("9223372036854775807*T"), ExprError::Overflow);
  EXPECT_EQ(errorOf("4294967296*2147483648*2"), ExprError::Overflow);
}

TEST(Expr, Refusals) {
  EXPECT_NE(refusalOf("").find("expected a number, a name or '('"), std::string::npos);
  EXPECT_NE(refusalOf("T+").find("at byte 2"), std::string::npos);
  EXPECT_NE(refusalOf("S").find("the name of a dim"), std::string::npos);
  EXPECT_NE(refusalOf("T T").find("an operator or the end"), std::string::npos);
  EXPECT_NE(refusalOf("f(T)").find("'ceildiv', 'min' or 'max'"), std::string::npos);
  EXPECT_NE(refusalOf("min(T)").find("','"), std::string::npos);
  EXPECT_NE(refusalOf("(T").find("')'"), std::string::npos);
  EXPECT_NE(refusalOf("9223372036854775808").find("63 bits"), std::string::npos);
  refusalOf("-1");
  refusalOf("1.5");
  refusalOf("T%2");
  refusalOf(std::string("T\0", 2));
}

TEST(Expr, LongestAndDeepest) {
  std::string longest = "0";
  while (longest.size() + 2 <= kMaxExprBytes)
    longest += "+1";
  EXPECT_EQ(valueOf(longest), int64_t(longest.size() - 1) / 2);
  EXPECT_NE(refusalOf(longest + "+1+1").find("at most 4096"), std::string::npos);

  // The most values ever waiting: a sum's, a product's and a call's left side at every level.
  std::string deepest = "1";
  for (int i = 0; i < kMaxExprNesting; ++i)
    deepest = "1+1*max(1," + deepest + ")";
  EXPECT_EQ(valueOf(deepest), kMaxExprNesting + 1);
  EXPECT_NE(refusalOf("(" + deepest + ")").find("32 levels"), std::string::npos);
  EXPECT_NE(refusalOf(std::string(4000, '(')).find("32 levels"), std::string::npos);
}

} // namespace
