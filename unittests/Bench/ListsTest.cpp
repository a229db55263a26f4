// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lists and ranges as the command line has them.
#include "Lists.h"

#include "Failure.h"

#include <gtest/gtest.h>

using namespace mohdbench;

namespace {

std::vector<int64_t> parse(const std::string &text) { return parseIntegers("-T", text, 0, 4096); }

TEST(Lists, ReadsNumbersAndRanges) {
  EXPECT_EQ(parse("7"), (std::vector<int64_t>{7}));
  EXPECT_EQ(parse("1,2,8"), (std::vector<int64_t>{1, 2, 8}));
  EXPECT_EQ(parse("1-4"), (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(parse("8-32+8"), (std::vector<int64_t>{8, 16, 24, 32}));
  EXPECT_EQ(parse("1-50*2"), (std::vector<int64_t>{1, 2, 4, 8, 16, 32}));
  EXPECT_EQ(parse("3,1-4*2"), (std::vector<int64_t>{3, 1, 2, 4}));
}

TEST(Lists, RefusesWhatIsNoRange) {
  for (const char *text : {"", "x", "1-", "4-1", "1-8*1", "1-8+0", "0-8*2", "1,", "1-8x2", "-1",
                           "4097", "1-99999", "99999999999999999999"})
    EXPECT_THROW(parse(text), mohdtool::Failure) << text;
}

TEST(Lists, HoldsTheLargestNumbersWithoutOverflow) {
  int64_t largest = INT64_MAX;
  EXPECT_EQ(parseIntegers("--seed", "9223372036854775807", 0, largest).back(), largest);
  EXPECT_EQ(parseIntegers("--seed", "1-9223372036854775807*2", 0, largest).size(), 63u);
  EXPECT_THROW(parseIntegers("--seed", "0-9223372036854775807", 0, largest), mohdtool::Failure);
}

TEST(Lists, SplitsTexts) {
  EXPECT_TRUE(split("", ',').empty());
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
}

} // namespace
