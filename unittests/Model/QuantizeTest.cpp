// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// int8 values and scales of weights against a plain computation of their definition.

#include "mohd/Model/Quantize.h"

#include "AllocationMeter.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace mlir::mohd;

namespace {

using Numbers = std::vector<float>;

ElementReader reader(const Numbers &source) {
  return [&source](int64_t first, int64_t count, float *target) {
    std::memcpy(target, source.data() + first, static_cast<size_t>(count) * sizeof(float));
    return Status();
  };
}

/// The quantised values of `source`, a tensor of `shape`.
std::vector<int8_t> valuesOf(const Numbers &source, const std::vector<int64_t> &shape,
                             TensorLayout layout, size_t count,
                             QuantizationError *error = nullptr) {
  layout.type = DType::I8;
  layout.part = TensorPart::Values;
  std::vector<int8_t> values(count, 99);
  Status status = copyTensor(shape, layout, reader(source), values.data(), count, error);
  EXPECT_TRUE(status.ok()) << status.message();
  return values;
}

Numbers scalesOf(const Numbers &source, const std::vector<int64_t> &shape, TensorLayout layout,
                 size_t count) {
  layout.part = TensorPart::Scales;
  Numbers scales(count, 99.0f);
  Status status = copyTensor(shape, layout, reader(source), scales.data(), count * sizeof(float));
  EXPECT_TRUE(status.ok()) << status.message();
  return scales;
}

TEST(Quantize, TiesGoToEvenAndExtremesAreSymmetric) {
  // One column whose scale is 1 exactly.
  Numbers column = {127,   0.5f,   1.5f,    2.5f, -0.5f,       -1.5f,
                    -2.5f, 126.5f, -126.5f, -127, 0.49999997f, -0.0f};
  std::vector<int8_t> expected = {127, 0, 2, 2, 0, -2, -2, 126, -126, -127, 0, 0};
  EXPECT_EQ(valuesOf(column, {12, 1}, {}, 12), expected);
  EXPECT_EQ(scalesOf(column, {12, 1}, {}, 1), Numbers{1});
  // The largest magnitude is negative.
  EXPECT_EQ(valuesOf({-254, 2, 254}, {3, 1}, {}, 3), (std::vector<int8_t>{-127, 1, 127}));
}

TEST(Quantize, ColumnsOfZerosAndOfTinyWeightsAreZero) {
  const float tiny = 1e-38f, largest = std::numeric_limits<float>::max();
  Numbers source = {0, tiny, 3, largest, 0, -tiny, -1, -largest}; // [2, 4]
  EXPECT_EQ(valuesOf(source, {2, 4}, {}, 8),
            (std::vector<int8_t>{0, 0, 127, 127, 0, 0, -42, -127}));
  EXPECT_EQ(scalesOf(source, {2, 4}, {}, 4), (Numbers{0, 0, 3.0f / 127, largest / 127}));
  QuantizationError error;
  valuesOf({0, 0}, {2, 1}, {}, 2, &error);
  EXPECT_EQ(error.relative(), 0.0);
}

TEST(Quantize, WhatIsNotFiniteIsRefused) {
  for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::quiet_NaN()})
    for (TensorPart part : {TensorPart::Values, TensorPart::Scales}) {
      Numbers source = {1, 2, bad, 4}, target(4);
      bool isScales = part == TensorPart::Scales;
      TensorLayout layout{isScales ? DType::F32 : DType::I8, {}, {}, 0, part};
      Status status = copyTensor({2, 2}, layout, reader(source), target.data(), isScales ? 8 : 4);
      EXPECT_EQ(status.code(), StatusCode::Malformed);
      EXPECT_NE(std::string(status.message()).find("finite weights"), std::string::npos);
    }
}

TEST(Quantize, RefusesOtherRanksAndTypes) {
  Numbers source(8, 1.0f), target(8);
  auto isRefused = [&](std::vector<int64_t> shape, DType type, TensorPart part) {
    return !copyTensor(shape, {type, {}, {}, 0, part}, reader(source), target.data(), 8).ok();
  };
  EXPECT_TRUE(isRefused({8}, DType::I8, TensorPart::Values));
  EXPECT_TRUE(isRefused({2, 2, 2, 1}, DType::I8, TensorPart::Values));
  EXPECT_TRUE(isRefused({2, 4}, DType::F32, TensorPart::Values));
  EXPECT_TRUE(isRefused({2, 4}, DType::BF16, TensorPart::Scales));
  EXPECT_FALSE(isRefused({2, 4}, DType::I8, TensorPart::Values));
}

/// Checks both parts of a random tensor of `view` permuted by `permutation`, [G, R, C], in panels of 16.
void expectPanels(std::vector<int64_t> view, std::vector<int64_t> permutation) {
  std::mt19937 random(3);
  Numbers source(static_cast<size_t>(view[0] * view[1] * view[2]));
  for (float &weight : source)
    weight = std::normal_distribution<float>()(random);
  auto extent = [&](int axis) {
    return view[static_cast<size_t>(permutation[static_cast<size_t>(axis)])];
  };
  const int64_t groups = extent(0), rows = extent(1), columns = extent(2);
  const int64_t panels = (columns + 15) / 16;
  auto weight = [&](int64_t g, int64_t r, int64_t c) {
    int64_t at[3], given[] = {g, r, c};
    for (size_t i = 0; i < 3; ++i)
      at[permutation[i]] = given[i];
    return source[static_cast<size_t>((at[0] * view[1] + at[1]) * view[2] + at[2])];
  };
  TensorLayout layout{DType::F32, view, permutation, 16};
  std::vector<int64_t> shape = {view[0], view[1] * view[2]}; // as in the files
  QuantizationError error;
  std::vector<int8_t> values =
      valuesOf(source, shape, layout, static_cast<size_t>(groups * panels * rows * 16), &error);
  Numbers scales = scalesOf(source, shape, layout, static_cast<size_t>(groups * panels * 16));
  double errors = 0, squares = 0;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t c = 0; c < panels * 16; ++c) {
      float largest = 0;
      for (int64_t r = 0; r < rows && c < columns; ++r)
        largest = std::max(largest, std::fabs(weight(g, r, c)));
      const int64_t panel = g * panels + c / 16;
      const float scale = scales[static_cast<size_t>(panel * 16 + c % 16)];
      EXPECT_EQ(scale, largest / 127.0f);
      for (int64_t r = 0; r < rows; ++r) {
        int value = values[static_cast<size_t>((panel * rows + r) * 16 + c % 16)];
        if (c >= columns) { // the padding
          EXPECT_EQ(value, 0);
          continue;
        }
        EXPECT_EQ(value, static_cast<int>(std::nearbyint(weight(g, r, c) / scale)));
        errors += std::pow(weight(g, r, c) - double(value) * scale, 2);
        squares += std::pow(double(weight(g, r, c)), 2);
      }
    }
  EXPECT_NEAR(error.relative(), std::sqrt(errors / squares), 1e-12);
  EXPECT_LT(error.relative(), 0.01);
}

TEST(Quantize, PanelsOfEveryLayoutOfTheCompiler) {
  expectPanels({64, 4, 8}, {1, 2, 0});  // spmm: [E, N, d_e] as [N, d_e, E]
  expectPanels({37, 4, 8}, {1, 2, 0});  // the last panel is not whole
  expectPanels({4, 16, 12}, {0, 2, 1}); // sddmm: [N, d_e, E] as [N, E, d_e]
  expectPanels({4, 5, 12}, {0, 2, 1});
  expectPanels({33, 20, 1}, {2, 1, 0}); // linear: [out, in, 1] as [1, in, out]
  expectPanels({3, 7, 20}, {0, 1, 2});
  expectPanels({1100, 8, 125}, {1, 2, 0}); // several pieces
  expectPanels({2, 1100, 1000}, {0, 2, 1});
}

/// Checks that K-major values of `view` are those of [G, R, C], which `permutation` makes of it, transposed by `order`.
void expectKMajor(std::vector<int64_t> view, std::vector<int64_t> permutation,
                  std::vector<int64_t> order) {
  std::mt19937 random(4);
  Numbers source(static_cast<size_t>(view[0] * view[1] * view[2]));
  for (float &weight : source)
    weight = std::normal_distribution<float>()(random);
  std::vector<int64_t> shape = {view[0], view[1] * view[2]}, extents, kMajor;
  for (int64_t axis : permutation)
    extents.push_back(view[static_cast<size_t>(axis)]);
  for (int64_t axis : order)
    kMajor.push_back(permutation[static_cast<size_t>(axis)]);
  std::vector<int8_t> values =
      valuesOf(source, shape, {DType::F32, view, permutation, 0}, source.size());
  std::vector<int8_t> transposed(source.size(), 99);
  Status status = copyTensor(shape, {DType::I8, view, kMajor, 0, TensorPart::KMajorValues},
                             reader(source), transposed.data(), transposed.size());
  ASSERT_TRUE(status.ok()) << status.message();
  size_t place = 0;
  int64_t at[3]; // of [G, R, C]
  auto extent = [&](size_t axis) { return extents[static_cast<size_t>(order[axis])]; };
  for (int64_t i = 0; i < extent(0); ++i)
    for (int64_t j = 0; j < extent(1); ++j)
      for (int64_t k = 0; k < extent(2); ++k) {
        at[order[0]] = i;
        at[order[1]] = j;
        at[order[2]] = k;
        const int64_t from = (at[0] * extents[1] + at[1]) * extents[2] + at[2];
        ASSERT_EQ(transposed[place++], values[static_cast<size_t>(from)]);
      }
}

TEST(Quantize, KMajorValuesOfEveryProduct) {
  expectKMajor({37, 4, 8}, {1, 2, 0}, {2, 0, 1});  // spmm: [N, d_e, E] as [E, N, d_e]
  expectKMajor({4, 5, 12}, {0, 2, 1}, {0, 2, 1});  // sddmm: [N, E, d_e] as [N, d_e, E]
  expectKMajor({33, 20, 1}, {2, 1, 0}, {2, 0, 1}); // linear: [1, in, out] as [out, 1, in]
}

TEST(Quantize, MemoryIsBounded) {
  // 32 MiB of f32; the scales are 4 KiB, a piece 4 MiB.
  const std::vector<int64_t> shape = {1024, 8192};
  auto read = [](int64_t first, int64_t count, float *target) {
    for (int64_t i = 0; i < count; ++i)
      target[i] = static_cast<float>((first + i) % 255) - 127;
    return Status();
  };
  std::vector<int8_t> values(1024 * 8192);
  AllocationMeter meter;
  TensorLayout layout{DType::I8, {1024, 8192, 1}, {2, 1, 0}, 16, TensorPart::Values};
  ASSERT_TRUE(copyTensor(shape, layout, read, values.data(), values.size()).ok());
  EXPECT_LE(meter.peak(), size_t(16) << 20);
}

} // namespace
