// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a row derives from its samples.
#include "Row.h"

#include <gtest/gtest.h>

using namespace mohdbench;

namespace {

Row exampleRow() {
  Row row;
  row.point.what = "op:spmm";
  row.point.width = 64, row.point.inner = 32, row.point.tokens = 4;
  row.point.groups = {16, 6, 2};
  row.unionGroups = 10;
  row.coverage = 0.8;
  row.work = {4e9, 1e9, 1e9};
  row.seconds = {3, 1, 2};
  row.peak = {4e9};
  row.bandwidth = {2e9, 2e9};
  row.denseSeconds = 3;
  return row;
}

TEST(Row, DerivesRatios) {
  Row row = exampleRow();
  EXPECT_EQ(row.median(), 2);
  EXPECT_EQ(row.shareOfPeak(), 0.5);
  EXPECT_EQ(row.shareOfBandwidth(), 0.25);
  EXPECT_EQ(row.floorSeconds(), 1); // both limits alike
  EXPECT_EQ(row.shareOfFloor(), 0.5);
  EXPECT_EQ(row.speedup(), 1.5);
  EXPECT_EQ(row.tokensPerSecond(), 2);
  EXPECT_EQ(row.shape(), "64x32 16,6,2");
}

TEST(Row, KeepsEverySample) {
  mohdrt::JsonValue json = toJson(exampleRow());
  EXPECT_EQ(json.find("samples_s")->asArray()->size(), 3u);
  EXPECT_EQ(*json.find("union")->asInteger(), 10);
  EXPECT_EQ(*json.find("groups")->asString(), "16,6,2");
  EXPECT_EQ(*json.find("over_dense")->asFloat(), 1.5);
}

TEST(Row, LeavesCellsEmptyThatHaveNoMeaning) {
  Row row = exampleRow();
  row.isDense = true, row.unionGroups = 0, row.denseSeconds = 0;
  std::vector<std::string> titles = columnTitles(true), all = cells(row, true);
  ASSERT_EQ(titles.size(), all.size());
  for (size_t i = 0; i < titles.size(); ++i)
    if (titles[i] == "union" || titles[i] == "over_dense" || titles[i] == "routing")
      EXPECT_EQ(all[i], "") << titles[i];
}

} // namespace
