// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Summaries of samples.
#include "Statistics.h"

#include <gtest/gtest.h>

using namespace mohdbench;

namespace {

TEST(Statistics, SummarisesSamples) {
  Summary summary = summarize({4, 1, 3, 2, 5});
  EXPECT_EQ(summary.mean, 3);
  EXPECT_EQ(summary.median, 3);
  EXPECT_DOUBLE_EQ(summary.deviation, 1.5811388300841898);
  EXPECT_DOUBLE_EQ(summary.p5, 1.2);
  EXPECT_DOUBLE_EQ(summary.p95, 4.8);
}

TEST(Statistics, TakesFewSamples) {
  EXPECT_EQ(summarize({}).median, 0);
  EXPECT_EQ(summarize({7}).deviation, 0);
  EXPECT_EQ(summarize({7}).p95, 7);
  EXPECT_EQ(quantile({1, 2}, 0.5), 1.5);
}

} // namespace
