// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sampling against the distribution it should have.
#include "Sampler.h"
#include "Failure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

using namespace mohdrun;
using mohdtool::Failure;

static SamplingOptions sampling(double temperature, double topP = 1,
                                std::optional<int64_t> topK = std::nullopt) {
  SamplingOptions options;
  options.temperature = temperature;
  options.topP = topP;
  options.topK = topK;
  options.seed = 11;
  return options;
}

/// How often each token comes in `draws` draws, as a fraction.
static std::map<int64_t, double> frequencies(const SamplingOptions &options,
                                             const std::vector<float> &logits, int draws = 100000) {
  Sampler sampler(options);
  std::map<int64_t, double> result;
  for (int i = 0; i < draws; ++i)
    result[sampler.choose(logits.data(), static_cast<int64_t>(logits.size()))] += 1.0 / draws;
  return result;
}

TEST(SamplerTest, TemperatureZeroTakesTheFirstOfTheLargest) {
  Sampler sampler(sampling(0));
  std::vector<float> logits = {-1, 3, 2, 3, -INFINITY};
  EXPECT_EQ(sampler.choose(logits.data(), 5), 1);
}

TEST(SamplerTest, DrawsFollowTheSoftmax) {
  std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f), -INFINITY};
  std::map<int64_t, double> seen = frequencies(sampling(1), logits);
  EXPECT_NEAR(seen[0], 1.0 / 8, 0.005); // some 5 standard deviations
  EXPECT_NEAR(seen[1], 2.0 / 8, 0.007);
  EXPECT_NEAR(seen[2], 5.0 / 8, 0.008);
  EXPECT_EQ(seen.count(3), 0u);
  seen = frequencies(sampling(0.5), logits); // squares the odds
  EXPECT_NEAR(seen[2], 25.0 / 30, 0.006);
}

TEST(SamplerTest, TopKAndTopPCutTheTail) {
  std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f), 0};
  std::map<int64_t, double> seen = frequencies(sampling(1, 1, 2), logits);
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[2], 5.0 / 7, 0.008);
  // 5/9 does not reach 0.6, 7/9 does.
  seen = frequencies(sampling(1, 0.6), logits);
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[1], 2.0 / 7, 0.008);
  EXPECT_EQ(frequencies(sampling(1, 0.5), logits, 1000).size(), 1u);
  // Of equal logits the lower index stays; a k beyond the vocabulary changes nothing.
  EXPECT_EQ(frequencies(sampling(1, 1, 3), logits, 1000).count(3), 0u);
  EXPECT_EQ(frequencies(sampling(1, 1, 100), logits, 1000).size(), 4u);
}

TEST(SamplerTest, ASeedFixesTheSequence) {
  std::vector<float> logits(50, 0);
  Sampler first(sampling(1)), second(sampling(1));
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(first.choose(logits.data(), 50), second.choose(logits.data(), 50));
}

TEST(SamplerTest, LogitsThatAreNoNumbersEndIt) {
  Sampler sampler(sampling(0));
  for (std::vector<float> logits :
       {std::vector<float>{1, NAN}, {INFINITY, 0}, {-INFINITY, -INFINITY}})
    EXPECT_THROW(sampler.choose(logits.data(), 2), Failure);
}
