// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every op compiles, agrees with its loops, and counts its work; a wrong result is found.
#include "OpSubject.h"

#include "Failure.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace mohdbench;

namespace {

Point examplePoint(const std::string &what) {
  Point point;
  point.what = what;
  point.width = 64, point.inner = 48, point.tokens = 6;
  point.groups = {16, 6, 2};
  point.heads = 4, point.kvHeads = 2, point.headDim = 8, point.context = 5, point.sequences = 3;
  return point;
}

TokenRouting routingOf(const Point &point) {
  return makeRouting("uniform", point.groups, point.tokens, 1);
}

TEST(Op, AgreesWithItsLoops) {
  for (const std::string &what : opNames())
    for (mohdrt::DType type : {mohdrt::DType::F32, mohdrt::DType::BF16}) {
      Point point = examplePoint(what);
      point.weightType = type;
      std::unique_ptr<Op> op = makeOp(point);
      Kernel kernel("", *op, point, "cpu:native");
      OpSubject subject(*op, kernel, routingOf(point), 2, {100000, 1000000});
      EXPECT_GE(subject.numCopies(), 2u) << what;
      EXPECT_LE(subject.verify().error, 1e-5) << what;
    }
}

TEST(Op, CountsWhatIsWanted) {
  Point point = examplePoint("op:spmm");
  TokenRouting routing = makeRouting("identical", point.groups, 6, 1);
  Work work = makeOp(point)->work(routing);
  EXPECT_EQ(work.flops, 2.0 * 6 * 32 * 48); // half of the groups
  EXPECT_EQ(work.weightBytes, 4.0 * 32 * 48);
  EXPECT_EQ(work.otherBytes, 4.0 * 6 * (32 + 48));
  EXPECT_EQ(makeOp(point)->dense()->work(routing).flops, 2.0 * 6 * 64 * 48);
}

TEST(Op, RefusesShapesThatDoNotFit) {
  Point point = examplePoint("op:spmm");
  point.width = 65;
  EXPECT_THROW(makeOp(point), mohdtool::Failure);
  point = examplePoint("op:attention");
  point.sequences = 4;
  EXPECT_THROW(makeOp(point), mohdtool::Failure);
  point = examplePoint("op:attention");
  point.kvHeads = 3;
  EXPECT_THROW(makeOp(point), mohdtool::Failure);
}

TEST(Difference, FindsWhatIsWrong) {
  Difference difference;
  difference.add(1, 1);
  difference.add(2.5, 2);
  EXPECT_NEAR(difference.relative(), 0.5 / std::sqrt(5.0), 1e-12);
  EXPECT_THROW(difference.judge(0.1, "loops"), mohdtool::Failure);
  EXPECT_EQ(difference.judge(0.3, "loops").tolerance, 0.3);
  difference.add(NAN, 0);
  EXPECT_THROW(difference.judge(0.3, "loops"), mohdtool::Failure);
}

} // namespace
