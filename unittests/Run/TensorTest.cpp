// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements and text of tensors.
#include "Tensor.h"
#include "Failure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

using namespace mohdrt;
using namespace mohdrun;
using mohdtool::Failure;

TEST(TensorTest, TypesReadWhatTheyPrint) {
  for (const char *text : {"f32", "0xi8", "4x64xbf16", "1x2x3x4x5x6x7x8xf16"}) {
    std::optional<TensorType> type = parseTensorType(text);
    ASSERT_TRUE(type) << text;
    EXPECT_EQ(toString(*type), text);
  }
  for (const char *text : {"", "x", "4x", "4", "f33", "-1xf32", "4xxf32", " 4xf32", "4xf32 ",
                           "+4xf32", "1x1x1x1x1x1x1x1x1xf32", "99999999999999999999xf32"})
    EXPECT_FALSE(parseTensorType(text)) << text;
}

TEST(TensorTest, DataIsAlignedAndZero) {
  for (int64_t count : {0, 1, 63, 1000}) {
    Tensor tensor({DType::I8, {count}});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0u);
    for (int64_t i = 0; i < count; ++i)
      ASSERT_EQ(tensor.integer(i), 0);
  }
}

TEST(TensorTest, Bf16RoundsToNearestEven) {
  Tensor tensor({DType::BF16, {6}});
  // One unit in the last place of 1 is 2^-7: a tie to even below, a tie to even above, just above a tie.
  const double values[] = {1 + 0x1p-8, 1 + 3 * 0x1p-8, 1 + 0x1p-8 + 0x1p-20, -INFINITY,
                           NAN,        3.4e38};
  for (int i = 0; i < 6; ++i)
    tensor.setNumber(i, values[i]);
  EXPECT_EQ(tensor.number(0), 1);
  EXPECT_EQ(tensor.number(1), 1 + 0x1p-6);
  EXPECT_EQ(tensor.number(2), 1 + 0x1p-7);
  EXPECT_EQ(tensor.number(3), -INFINITY);
  EXPECT_TRUE(std::isnan(tensor.number(4)));
  EXPECT_EQ(tensor.number(5), INFINITY); // above the largest bf16 by more than half a unit
}

TEST(TensorTest, IntegersMustFit) {
  Tensor tensor({DType::I8, {1}});
  EXPECT_TRUE(tensor.setInteger(0, -128));
  EXPECT_FALSE(tensor.setInteger(0, 128));
  EXPECT_EQ(tensor.integer(0), -128);
}

TEST(TensorTest, RandomNumbersDependOnTheSeedAlone) {
  std::string a = toString(parseTensor("x", "16xf64=random:1", std::nullopt));
  EXPECT_EQ(a, toString(parseTensor("y", "16xf64=random:1", std::nullopt)));
  EXPECT_NE(a, toString(parseTensor("x", "16xf64=random:2", std::nullopt)));
}

TEST(TensorTest, SizesBeyond64BitsAreRefused) {
  EXPECT_THROW(Tensor({DType::F64, {int64_t(1) << 61}}), Failure);
  EXPECT_THROW(Tensor({DType::I8, {INT64_MAX}}), Failure);
}
