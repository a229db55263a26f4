// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Routings: shapes, unions and coverages on known answers.
#include "Routing.h"

#include "Failure.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace mohdbench;

namespace {

constexpr Groups kGroups{16, 6, 2};

/// The routed groups of a token.
std::vector<int32_t> routedOf(const TokenRouting &routing, int64_t token) {
  auto row = routing.indices.begin() + token * routing.groups.active();
  return {row + routing.groups.shared, row + routing.groups.active()};
}

TEST(Routing, EveryRowIsAnActiveSet) {
  for (const char *name : {"uniform", "zipf", "identical", "disjoint"}) {
    TokenRouting routing = makeRouting(name, kGroups, 100, 3);
    ASSERT_EQ(routing.indices.size(), 800u) << name;
    for (int64_t token = 0; token < 100; ++token) {
      for (int64_t i = 0; i < 6; ++i)
        EXPECT_EQ(routing.indices[static_cast<size_t>(token * 8 + i)], i) << name;
      std::vector<int32_t> routed = routedOf(routing, token);
      EXPECT_LT(routed[0], routed[1]) << name;
      EXPECT_GE(routed[0], 6) << name;
      EXPECT_LT(routed[1], 16) << name;
    }
  }
}

TEST(Routing, OneTokenUsesItsOwnGroupsOnly) {
  TokenRouting routing = makeRouting("uniform", kGroups, 1, 0);
  EXPECT_EQ(routing.unionGroups().size(), 8u);
  EXPECT_EQ(routing.coverage(), 1);
}

TEST(Routing, IdenticalTokensUseAsManyGroupsAsOne) {
  TokenRouting routing = makeRouting("identical", kGroups, 1000, 5);
  EXPECT_EQ(routing.unionGroups().size(), 8u);
  EXPECT_EQ(routing.coverage(), 1);
}

TEST(Routing, DisjointTokensUseUpTheGroups) {
  for (int64_t tokens = 1; tokens <= 5; ++tokens) {
    TokenRouting routing = makeRouting("disjoint", kGroups, tokens, 0);
    EXPECT_EQ(routing.unionGroups().size(), static_cast<size_t>(6 + 2 * tokens));
    EXPECT_EQ(routing.coverage(), 8.0 / static_cast<double>(6 + 2 * tokens));
  }
  TokenRouting routing = makeRouting("disjoint", kGroups, 6, 0);
  EXPECT_EQ(routing.unionGroups().size(), 16u);
  EXPECT_EQ(routedOf(routing, 5), routedOf(routing, 0));
}

TEST(Routing, ZipfPrefersAGroupAndUniformDoesNot) {
  auto mostUsed = [](const char *name) {
    TokenRouting routing = makeRouting(name, {16, 0, 1}, 16000, 1);
    std::vector<int> counts(16);
    for (int32_t index : routing.indices)
      ++counts[static_cast<size_t>(index)];
    return *std::max_element(counts.begin(), counts.end());
  };
  // The harmonic sum of 16 is 3.38, so that the most popular group has 0.296 of the tokens.
  EXPECT_NEAR(mostUsed("zipf"), 4733, 300);
  EXPECT_LT(mostUsed("uniform"), 1200);
}

TEST(Routing, SeedsDecide) {
  EXPECT_EQ(makeRouting("zipf", kGroups, 50, 1).indices,
            makeRouting("zipf", kGroups, 50, 1).indices);
  EXPECT_NE(makeRouting("zipf", kGroups, 50, 1).indices,
            makeRouting("zipf", kGroups, 50, 2).indices);
}

TEST(Routing, AllGroupsActiveOrNoneRouted) {
  EXPECT_EQ(makeRouting("uniform", {4, 1, 3}, 3, 0).coverage(), 1);
  EXPECT_EQ(makeRouting("disjoint", {4, 4, 0}, 3, 0).unionGroups().size(), 4u);
  EXPECT_EQ(makeRouting("uniform", {4, 2, 0}, 3, 0).unionGroups().size(), 2u);
  EXPECT_EQ(makeRouting("uniform", kGroups, 0, 0).coverage(), 1);
}

TEST(Routing, RepeatsATrace) {
  TokenRouting routing = traceRouting({0, 2, 0, 3}, 2, {4, 1, 1}, 3, "t.npy");
  EXPECT_EQ(routing.indices, (std::vector<int32_t>{0, 2, 0, 3, 0, 2}));
  EXPECT_EQ(routing.unionGroups(), (std::vector<int32_t>{0, 2, 3}));
}

TEST(Routing, RefusesATraceThatIsNoRouting) {
  Groups groups{4, 1, 1};
  for (std::vector<int32_t> row : {std::vector<int32_t>{1, 2}, {0, 0}, {0, 4}, {0, -1}})
    EXPECT_THROW(traceRouting(row, 2, groups, 1, "t.npy"), mohdtool::Failure);
  EXPECT_THROW(traceRouting({0, 1, 2}, 3, groups, 1, "t.npy"), mohdtool::Failure);
  EXPECT_THROW(traceRouting({}, 2, groups, 1, "t.npy"), mohdtool::Failure);
  EXPECT_THROW(checkDistribution("gauss"), mohdtool::Failure);
  EXPECT_THROW(checkDistribution("trace:"), mohdtool::Failure);
  EXPECT_NO_THROW(checkDistribution("trace:x.npy"));
}

} // namespace
