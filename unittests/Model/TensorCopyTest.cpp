// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Conversion against a bit-by-bit definition, layouts against plain index arithmetic, and random
// weights.

#include "mohd/Model/TensorCopy.h"
#include "mohd/Model/Presets.h"
#include "mohd/Model/Weights.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>

using namespace mlir::mohd;

namespace {

uint16_t narrowOne(DType type, float value) {
  uint16_t result = 0;
  narrow(type, &value, &result, 1);
  return result;
}

float widenOne(DType type, uint16_t bits) {
  float result = 0;
  widen(type, &bits, &result, 1);
  return result;
}

/// The value of a 16-bit format by its definition.
double definedValue(DType type, uint16_t bits) {
  int mantissaBits = type == DType::BF16 ? 7 : 10, bias = type == DType::BF16 ? 127 : 15;
  int exponent = (bits & 0x7fff) >> mantissaBits, mantissa = bits & ((1 << mantissaBits) - 1);
  double value = exponent == 0
                     ? std::ldexp(mantissa, 1 - bias - mantissaBits)
                     : std::ldexp(mantissa + (1 << mantissaBits), exponent - bias - mantissaBits);
  return bits & 0x8000 ? -value : value;
}

class HalfTypes : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Both, HalfTypes, testing::Values(DType::BF16, DType::F16));

TEST_P(HalfTypes, EveryValueWidensExactlyAndComesBack) {
  uint16_t infinity = GetParam() == DType::BF16 ? 0x7f80 : 0x7c00;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float wide = widenOne(GetParam(), static_cast<uint16_t>(bits));
    if ((bits & 0x7fff) > infinity) {
      EXPECT_TRUE(std::isnan(wide)) << bits;
      EXPECT_TRUE(std::isnan(widenOne(GetParam(), narrowOne(GetParam(), wide)))) << bits;
      continue;
    }
    if ((bits & 0x7fff) == infinity)
      EXPECT_TRUE(std::isinf(wide)) << bits;
    else
      EXPECT_EQ(wide, definedValue(GetParam(), static_cast<uint16_t>(bits))) << bits;
    EXPECT_EQ(narrowOne(GetParam(), wide), bits);
  }
}

TEST_P(HalfTypes, NarrowingRoundsToTheNearestEven) {
  uint16_t infinity = GetParam() == DType::BF16 ? 0x7f80 : 0x7c00;
  for (uint16_t bits = 0; bits + 1 < infinity; ++bits) {
    float low = widenOne(GetParam(), bits), high = widenOne(GetParam(), bits + 1);
    float middle = static_cast<float>((double(low) + double(high)) / 2); // exact: one bit more
    EXPECT_EQ(narrowOne(GetParam(), middle), bits + (bits & 1));
    EXPECT_EQ(narrowOne(GetParam(), std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(narrowOne(GetParam(), std::nextafter(middle, high)), bits + 1);
    EXPECT_EQ(narrowOne(GetParam(), -middle), 0x8000 | (bits + (bits & 1)));
  }
  EXPECT_EQ(narrowOne(GetParam(), std::numeric_limits<float>::max()), infinity);
  EXPECT_EQ(narrowOne(GetParam(), -std::numeric_limits<float>::infinity()), 0x8000 | infinity);
}

TEST(Narrow, F16OverflowBoundary) {
  EXPECT_EQ(narrowOne(DType::F16, 65519.996f), 0x7bff);
  EXPECT_EQ(narrowOne(DType::F16, 65520.0f), 0x7c00);
}

/// Copies with plain index arithmetic, in f32.
std::vector<float> copyPlainly(const std::vector<float> &source, std::vector<int64_t> view,
                               std::vector<int64_t> permutation) {
  size_t rank = view.size();
  std::vector<float> target(source.size());
  std::vector<int64_t> index(rank, 0);
  for (size_t to = 0; to < target.size(); ++to) {
    std::vector<int64_t> from(rank);
    for (size_t i = 0; i < rank; ++i)
      from[static_cast<size_t>(permutation[i])] = index[i];
    int64_t linear = 0;
    for (size_t i = 0; i < rank; ++i)
      linear = linear * view[i] + from[i];
    target[to] = source[static_cast<size_t>(linear)];
    for (size_t i = rank; i-- > 0;) {
      if (++index[i] < view[static_cast<size_t>(permutation[i])])
        break;
      index[i] = 0;
    }
  }
  return target;
}

std::vector<float> someNumbers(size_t count) {
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i)
    numbers[i] = static_cast<float>((i * 2654435761u) % 251) - 125.0f; // exact in bf16
  return numbers;
}

void expectLayout(std::vector<int64_t> shape, std::vector<int64_t> view,
                  std::vector<int64_t> permutation, DType type) {
  int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
  std::vector<float> source = someNumbers(static_cast<size_t>(count));
  std::vector<uint32_t> storage(source.size()); // aligned for every type
  TensorLayout layout{type, view, permutation};
  int64_t largest = 0;
  auto read = [&](int64_t first, int64_t length, float *target) {
    largest = std::max(largest, length);
    std::memcpy(target, source.data() + first, static_cast<size_t>(length) * sizeof(float));
    return Status();
  };
  Status status = copyTensor(shape, layout, read, storage.data(),
                             static_cast<size_t>(count * ::mohdrt::dtypeSize(type)));
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_LE(largest, 1 << 20);
  std::vector<float> got(source.size());
  widen(type, storage.data(), got.data(), count);
  if (view.empty())
    view = shape;
  if (permutation.empty()) {
    permutation.resize(view.size());
    std::iota(permutation.begin(), permutation.end(), 0);
  }
  EXPECT_EQ(got, copyPlainly(source, view, permutation));
}

TEST(TensorCopy, LayoutsOfTheCompiler) {
  for (DType type : {DType::F32, DType::BF16, DType::F16}) {
    expectLayout({7}, {}, {}, type);
    expectLayout({5, 12}, {}, {}, type);
    expectLayout({5, 12}, {}, {1, 0}, type);
    expectLayout({5, 12}, {5, 4, 3}, {1, 2, 0}, type);
    expectLayout({12, 5}, {4, 3, 5}, {2, 0, 1}, type);
    expectLayout({3, 4, 4}, {}, {0, 2, 1}, type);
    expectLayout({1, 6}, {1, 6, 1}, {1, 2, 0}, type);
    expectLayout({0, 6}, {0, 3, 2}, {1, 2, 0}, type);
    expectLayout({}, {}, {}, type);
  }
}

TEST(TensorCopy, SeveralPieces) {
  expectLayout({1100, 1000}, {}, {}, DType::F32);
  expectLayout({1100, 1000}, {}, {1, 0}, DType::F32);
  expectLayout({1100, 1000}, {1100, 8, 125}, {1, 2, 0}, DType::BF16);
  expectLayout({2, 1100000}, {2, 1100, 1000}, {2, 0, 1}, DType::F16); // an axis above a piece
}

TEST(TensorCopy, RandomLayouts) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> view(1 + random() % 6), permutation(view.size());
    for (int64_t &extent : view)
      extent = 1 + random() % 7;
    std::iota(permutation.begin(), permutation.end(), 0);
    std::shuffle(permutation.begin(), permutation.end(), random);
    expectLayout(view, {}, permutation, DType::F32);
  }
}

TEST(TensorCopy, RefusesALayoutThatDoesNotFit) {
  float target[6];
  auto read = [](int64_t, int64_t, float *) { return Status(); };
  auto copy = [&](TensorLayout layout, size_t bytes) {
    return copyTensor({2, 3}, layout, read, target, bytes).ok();
  };
  EXPECT_TRUE(copy({}, 24));
  EXPECT_FALSE(copy({}, 23));
  EXPECT_FALSE(copy({DType::F32, {2, 4}, {}}, 24));
  EXPECT_FALSE(copy({DType::F32, {-2, -3}, {}}, 24));
  EXPECT_FALSE(copy({DType::F32, {}, {0, 0}}, 24));
  EXPECT_FALSE(copy({DType::F32, {}, {0}}, 24));
  EXPECT_FALSE(copy({DType::F32, {}, {1, 2}}, 24));
  EXPECT_FALSE(copy({DType::F32, {2, 3, 1, 1, 1, 1, 1, 1, 1}, {}}, 24));
}

/// Cuts `plain` [G, R, C] into panels of `panel` columns with plain index arithmetic.
std::vector<float> cutPlainly(const std::vector<float> &plain, int64_t groups, int64_t rows,
                              int64_t columns, int64_t panel) {
  int64_t panels = (columns + panel - 1) / panel;
  std::vector<float> target(static_cast<size_t>(groups * panels * rows * panel), 0.0f);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        target[static_cast<size_t>(((g * panels + c / panel) * rows + r) * panel + c % panel)] =
            plain[static_cast<size_t>((g * rows + r) * columns + c)];
  return target;
}

/// Checks a layout with panels of a tensor of `shape`, seen as `view` of rank 3 (empty: as it is).
void expectPanels(std::vector<int64_t> shape, std::vector<int64_t> view,
                  std::vector<int64_t> permutation, int64_t panel, DType type) {
  int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
  std::vector<float> source = someNumbers(static_cast<size_t>(count));
  TensorLayout layout{type, view, permutation, panel};
  if (view.empty())
    view = shape;
  if (permutation.empty())
    permutation = {0, 1, 2};
  int64_t extents[3];
  for (size_t i = 0; i < 3; ++i)
    extents[i] = view[static_cast<size_t>(permutation[i])];
  std::vector<float> expected =
      cutPlainly(copyPlainly(source, view, permutation), extents[0], extents[1], extents[2], panel);
  // No element of the target may keep what was there.
  std::vector<uint32_t> storage(expected.size() + 1, 0xdeadbeef);
  auto read = [&](int64_t first, int64_t length, float *target) {
    std::memcpy(target, source.data() + first, static_cast<size_t>(length) * sizeof(float));
    return Status();
  };
  size_t bytes = expected.size() * static_cast<size_t>(::mohdrt::dtypeSize(type));
  Status status = copyTensor(shape, layout, read, storage.data(), bytes);
  ASSERT_TRUE(status.ok()) << status.message();
  std::vector<float> got(expected.size());
  widen(type, storage.data(), got.data(), static_cast<int64_t>(got.size()));
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(copyTensor(shape, layout, read, storage.data(), bytes - 1).ok());
  EXPECT_FALSE(copyTensor(shape, layout, read, storage.data(), bytes + 1).ok());
  if (expected.size() != source.size()) // nor the size without what fills the last panel
    EXPECT_FALSE(copyTensor(shape, layout, read, storage.data(),
                            source.size() * static_cast<size_t>(::mohdrt::dtypeSize(type)))
                     .ok());
}

TEST(TensorCopy, WholePanels) {
  for (DType type : {DType::F32, DType::BF16, DType::F16}) {
    expectPanels({2, 3, 32}, {}, {}, 16, type);
    expectPanels({2, 3, 8}, {}, {}, 8, type);                 // one panel
    expectPanels({2, 3, 4}, {}, {}, 1, type);                 // panels of a column
    expectPanels({96, 20}, {96, 5, 4}, {1, 2, 0}, 16, type);  // [E, D] as spmm reads it
    expectPanels({64, 96}, {4, 16, 96}, {0, 2, 1}, 16, type); // [D, E] as sddmm reads it
    expectPanels({96, 64}, {96, 64, 1}, {2, 1, 0}, 16, type); // a linear's, transposed
    expectPanels({64, 96}, {64, 96, 1}, {2, 0, 1}, 16, type); // and as it is
    expectPanels({3, 2, 32}, {}, {1, 0, 2}, 16, type);
    expectPanels({32, 2, 3}, {}, {2, 1, 0}, 8, type);
  }
}

TEST(TensorCopy, TheLastPanelIsFilledUpWithZeros) {
  for (DType type : {DType::F32, DType::BF16, DType::F16}) {
    expectPanels({2, 3, 33}, {}, {}, 16, type);
    expectPanels({2, 3, 31}, {}, {}, 16, type);
    expectPanels({2, 3, 5}, {}, {}, 8, type); // no panel is whole
    expectPanels({1, 1, 1}, {}, {}, 16, type);
    expectPanels({100, 20}, {100, 5, 4}, {1, 2, 0}, 16, type);
    expectPanels({24, 96}, {4, 6, 96}, {0, 2, 1}, 8, type);
    expectPanels({100, 64}, {100, 64, 1}, {2, 1, 0}, 16, type);
    expectPanels({33, 2, 3}, {}, {2, 1, 0}, 8, type);
  }
}

TEST(TensorCopy, PanelsInSeveralPieces) {
  expectPanels({1100, 1000}, {1100, 8, 125}, {1, 2, 0}, 4, DType::BF16);
  expectPanels({1100, 1000}, {1100, 8, 125}, {1, 2, 0}, 16, DType::BF16);
  expectPanels({1001, 1100}, {1001, 1100, 1}, {2, 1, 0}, 16, DType::F32);
}

TEST(TensorCopy, RandomPanels) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> view(3), permutation = {0, 1, 2};
    for (int64_t &extent : view)
      extent = 1 + random() % 20;
    std::shuffle(permutation.begin(), permutation.end(), random);
    expectPanels(view, {}, permutation, int64_t(1) << random() % 5, DType::F32);
  }
}

TEST(TensorCopy, PanelsNeedAViewOfRankThree) {
  float target[64];
  auto read = [](int64_t, int64_t, float *) { return Status(); };
  auto copy = [&](std::vector<int64_t> view, std::vector<int64_t> permutation, int64_t panel) {
    return copyTensor({2, 4}, {DType::F32, view, permutation, panel}, read, target, 32).ok();
  };
  EXPECT_TRUE(copy({1, 2, 4}, {}, 4));
  EXPECT_FALSE(copy({}, {}, 4));
  EXPECT_FALSE(copy({1, 1, 2, 4}, {}, 4));
  EXPECT_FALSE(copy({8}, {0}, 4));
  EXPECT_FALSE(copy({1, 2, 4}, {}, -1));
  EXPECT_FALSE(copy({1, 2, 4}, {0, 1}, 4));
  EXPECT_FALSE(copy({1, 2, 3}, {}, 3));
  // A panel that would be too large for anything.
  EXPECT_FALSE(copy({1, 2, 4}, {}, std::numeric_limits<int64_t>::max()));
  EXPECT_FALSE(copy({1, 2, 4}, {}, std::numeric_limits<int64_t>::max() / 2));
}

TEST(TensorCopy, EmptyPanels) {
  auto read = [](int64_t, int64_t, float *) { return Status(StatusCode::Internal, "not asked"); };
  for (std::vector<int64_t> shape : {std::vector<int64_t>{0, 3, 20}, {2, 0, 20}, {2, 3, 0}})
    EXPECT_TRUE(copyTensor(shape, {DType::F32, {}, {}, 16}, read, nullptr, 0).ok());
}

TEST(TensorCopy, PanelsPassOnTheReadersError) {
  float target[48];
  auto read = [](int64_t, int64_t, float *) { return Status(StatusCode::Io, "cannot read"); };
  for (int64_t columns : {16, 10})
    EXPECT_EQ(copyTensor({1, 2, columns}, {DType::F32, {}, {}, 16}, read, target, 128).message(),
              "cannot read");
}

std::vector<float> drawTensor(const WeightSource &source, const std::string &name, size_t count,
                              std::vector<int64_t> permutation = {}) {
  std::vector<float> values(count);
  Status status = source.readTensor(name, {DType::F32, {}, permutation}, values.data(), count * 4);
  EXPECT_TRUE(status.ok()) << status.message();
  return values;
}

ModelConfig smallConfig() {
  ModelConfig config = *presetConfig("mohd-355m-50");
  config.hiddenSize = 256;
  config.intermediateSize = 192;
  config.numLayers = 2;
  config.numHeads = config.numKvHeads = 2;
  config.vocabSize = 300;
  return config;
}

TEST(RandomWeights, ValuesArePinned) {
  // The same on every machine and in every version: computed apart in Python; these bits may only
  // change on purpose.
  auto source = randomWeights(smallConfig(), 1);
  std::vector<float> values = drawTensor(*source, "model.layers.1.mlp.up_proj.weight", 192 * 256);
  uint32_t bits[3];
  std::memcpy(bits, values.data(), sizeof(bits));
  EXPECT_EQ(bits[0], 3158326094u);
  EXPECT_EQ(bits[1], 3159771665u);
  EXPECT_EQ(bits[2], 1013151841u);
}

TEST(RandomWeights, DistributionAndRoles) {
  auto source = randomWeights(smallConfig(), 42);
  std::vector<float> values = drawTensor(*source, "model.embed_tokens.weight", 300 * 256);
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  EXPECT_NEAR(sum / values.size(), 0.0, 2e-4);
  EXPECT_NEAR(std::sqrt(squares / values.size()), 0.02, 2e-4);
  for (float value : drawTensor(*source, "model.norm.weight", 256))
    EXPECT_EQ(value, 1.0f);
  std::vector<float> left = drawTensor(*source, "model.layers.0.mlp.fusion.left", 16 * 16 * 16);
  for (size_t i = 0; i < left.size(); ++i)
    EXPECT_NEAR(left[i], i / 16 % 16 == i % 16 ? 1.0 : 0.0, 0.01) << i;
  EXPECT_NE(left[1], 0.0f);
}

TEST(RandomWeights, StreamsDependOnSeedAndNameOnly) {
  auto one = randomWeights(smallConfig(), 1), again = randomWeights(smallConfig(), 1),
       two = randomWeights(smallConfig(), 2);
  const char *q = "model.layers.0.self_attn.q_proj.weight",
             *k = "model.layers.0.self_attn.k_proj.weight";
  std::vector<float> first = drawTensor(*one, q, 256 * 256);
  EXPECT_NE(drawTensor(*again, k, 256 * 256), first);
  EXPECT_EQ(drawTensor(*again, q, 256 * 256), first);
  EXPECT_NE(drawTensor(*two, q, 256 * 256), first);
  EXPECT_EQ(drawTensor(*one, q, 256 * 256, {1, 0}), copyPlainly(first, {256, 256}, {1, 0}));
  EXPECT_EQ(one->storedType(q), DType::F32);
  EXPECT_TRUE(one->fileNames().empty());
  float value;
  EXPECT_FALSE(one->readTensor("no.such.tensor", {}, &value, 4).ok());
}

} // namespace
