// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What --expect calls equal.
#include "Compare.h"

#include <gtest/gtest.h>

using namespace mohdrun;

static Tensor read(const char *text) { return parseTensor("x", text, std::nullopt); }

static std::string difference(const char *actual, const char *expected, double atol = 0,
                              double rtol = 0) {
  return findDifference(read(actual), read(expected), atol, rtol).value_or("");
}

TEST(CompareTest, EqualValuesDoNotDiffer) {
  EXPECT_EQ(difference("4xf32=1,nan,inf,-inf", "4xf32=1,nan,inf,-inf"), "");
  EXPECT_EQ(difference("2xf32=0,-0", "2xf32=-0,0"), "");
  EXPECT_EQ(difference("2xf32=0.5,2", "2xf64=0.5,2"), "");
  EXPECT_EQ(difference("2xi32=5,-7", "2xi64=5,-7"), "");
  EXPECT_EQ(difference("0xf32=", "0xf32="), "");
}

TEST(CompareTest, NamesTheFirstAndTheWorst) {
  EXPECT_EQ(difference("2x2xf32=1,2,3,7", "2x2xf32=1,2.5,3,4"),
            "2 of 4 elements differ, the first at [0, 1]: expected 2.5, got 2, the worst by 3 at "
            "[1, 1]: expected 4, got 7");
}

TEST(CompareTest, ToleranceNeverCoversInfinityOrNan) {
  EXPECT_NE(difference("f32=inf", "f32=1e30", 1e38, 1), "");
  EXPECT_NE(difference("f32=1e30", "f32=inf", 1e38, 1), "");
  EXPECT_NE(difference("f32=nan", "f32=1", 1e38, 1), "");
  EXPECT_NE(difference("f32=inf", "f32=-inf", 1e38, 1), "");
}

TEST(CompareTest, ToleranceIsAbsolutePlusRelativeToTheExpected) {
  EXPECT_EQ(difference("f64=112", "f64=100", 2, 0.1), "");
  EXPECT_NE(difference("f64=112.5", "f64=100", 2, 0.1), "");
}

TEST(CompareTest, LargeIntegersAreComparedExactly) {
  EXPECT_NE(difference("i64=9007199254740993", "i64=9007199254740992"), "");
}

TEST(CompareTest, ShapesAndKindsMustAgree) {
  EXPECT_EQ(difference("2xf32=1", "1x2xf32=1"), "expected type 1x2xf32, got 2xf32");
  EXPECT_EQ(difference("2xi32=1", "2xf32=1"), "expected type 2xf32, got 2xi32");
}
