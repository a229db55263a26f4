// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.attention.
#include "EmulatedOp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace mlir;
using namespace mlir::mohd;
using namespace mohdgpu;

namespace {

const char *nameOf(DType dtype) {
  return dtype == DType::F32 ? "f32" : dtype == DType::BF16 ? "bf16" : "f16";
}

struct Shape {
  DType query, cache;
  int64_t numHeads, numKvHeads, headDim;
  bool hasSequence = true;
};

std::string textOf(const Shape &shape) {
  auto tensor = [](const std::string &extents, int64_t width, DType dtype) {
    return "tensor<" + extents + std::to_string(width) + "x" + nameOf(dtype) + ">";
  };
  std::string query = tensor("?x", shape.numHeads * shape.headDim, shape.query);
  std::string cache = tensor("1x?x?x", shape.numKvHeads * shape.headDim, shape.cache);
  std::string dims =
      shape.hasSequence ? " {mohd.dims = [\"S\", \"P\"]}" : " {mohd.dims = [\"T\", \"P\"]}";
  return "func.func @f(%q: " + query + ", %k: " + cache + dims + ", %v: " + cache + dims +
         ", %p: tensor<?xi32>, %s: tensor<?xi32>) -> " + query +
         " {\n  %y = mohd.attention %q, %k, %v, %p" + (shape.hasSequence ? " in %s" : "") +
         " layer 0 head_dim " + std::to_string(shape.headDim) + " : " + query + ", " + cache +
         ", " + cache + ", tensor<?xi32>" + (shape.hasSequence ? ", tensor<?xi32>" : "") +
         "\n  return %y : " + query + "\n}\n";
}

LogicalResult emit(GpuKernelSet &kernels, Operation *op) {
  return emitGpuAttention(kernels, cast<AttentionOp>(op));
}

/// A call: tokens, and a cache in which only rows that a token sees are numbers.
struct Call {
  Call(const Shape &shape, int64_t numSequences, int64_t numPositions,
       const std::vector<std::pair<int64_t, int64_t>>
           &places); // sequence and position of each token

  Shape shape;
  int64_t numTokens, numSequences, numPositions;
  HostTensor query, keys, values, position, sequence, result;

  int64_t cacheIndex(int64_t s, int64_t p, int64_t column) const {
    return (s * numPositions + p) * shape.numKvHeads * shape.headDim + column;
  }
  std::vector<double> reference(int64_t token) const;
  std::string run(EmulatedOp &op, uint64_t seed = 0);
  /// The relative error of finite elements; checks that others are as they should be.
  double getError() const;
};

Call::Call(const Shape &shape, int64_t numSequences, int64_t numPositions,
           const std::vector<std::pair<int64_t, int64_t>> &places)
    : shape(shape), numTokens(int64_t(places.size())), numSequences(numSequences),
      numPositions(numPositions), query(shape.query, {numTokens, shape.numHeads * shape.headDim}),
      keys(shape.cache, {1, numSequences, numPositions, shape.numKvHeads * shape.headDim}),
      values(keys), position(DType::I32, {numTokens}), sequence(DType::I32, {numTokens}),
      result(query) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < query.size(); ++i)
    query.set(i, normal(random));
  for (int64_t t = 0; t < numTokens; ++t) {
    auto [s, p] = places[size_t(t)];
    sequence.set(t, double(s));
    position.set(t, double(p));
    for (int64_t i = cacheIndex(s, 0, 0); i < cacheIndex(s, p + 1, 0); ++i)
      if (std::isnan(keys.get(i))) {
        keys.set(i, normal(random));
        values.set(i, normal(random));
      }
  }
}

std::vector<double> Call::reference(int64_t token) const {
  std::vector<double> row;
  int64_t s = int64_t(sequence.get(token)), rows = int64_t(position.get(token)) + 1;
  for (int64_t head = 0; head < shape.numHeads; ++head) {
    int64_t column = head / (shape.numHeads / shape.numKvHeads) * shape.headDim;
    std::vector<double> weights;
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t p = 0; p < rows; ++p) {
      double sum = 0;
      for (int64_t i = 0; i < shape.headDim; ++i)
        sum += query.at(token, head * shape.headDim + i) * keys.get(cacheIndex(s, p, column + i));
      weights.push_back(sum / std::sqrt(double(shape.headDim)));
      largest = std::max(largest, weights.back());
    }
    for (double &weight : weights)
      total += weight = std::exp(weight - largest);
    for (int64_t i = 0; i < shape.headDim; ++i) {
      double sum = 0;
      for (int64_t p = 0; p < rows; ++p)
        sum += weights[size_t(p)] * values.get(cacheIndex(s, p, column + i));
      row.push_back(sum / total);
    }
  }
  return row;
}

std::string Call::run(EmulatedOp &op, uint64_t seed) {
  result = HostTensor(shape.query, result.shape);
  std::vector<HostTensor *> tensors = {&query, &keys, &values, &position};
  if (shape.hasSequence)
    tensors.push_back(&sequence);
  tensors.push_back(&result);
  return op.run({{"T", numTokens}, {"S", numSequences}, {"P", numPositions}}, tensors, seed);
}

double Call::getError() const {
  double error = 0, norm = 0;
  for (int64_t token = 0; token < numTokens; ++token) {
    std::vector<double> row = reference(token);
    for (size_t i = 0; i < row.size(); ++i) {
      double got = result.at(token, int64_t(i));
      if (std::isfinite(row[i])) {
        error += (got - row[i]) * (got - row[i]);
        norm += row[i] * row[i];
      } else {
        EXPECT_TRUE(std::isnan(row[i]) ? std::isnan(got) : got == row[i])
            << "token " << token << " column " << i;
      }
    }
  }
  return norm == 0 ? 0 : std::sqrt(error / norm);
}

double limitOf(const Shape &shape) {
  bool isF32 = shape.query == DType::F32 && shape.cache == DType::F32;
  return isF32 ? 1e-6 : 4e-3;
}

using Places = std::vector<std::pair<int64_t, int64_t>>;

/// `count` tokens of a sequence from a position on.
void append(Places &places, int64_t sequence, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    places.emplace_back(sequence, first + i);
}

void expectCorrect(EmulatedOp &op, const Shape &shape, const Places &places,
                   const std::vector<std::string> &kernels, uint64_t seed = 0) {
  int64_t numSequences = 1, numPositions = 1;
  for (auto [s, p] : places) {
    numSequences = std::max(numSequences, s + 1);
    numPositions = std::max(numPositions, p + 1);
  }
  Call call(shape, numSequences, numPositions + 3, places);
  ASSERT_EQ(call.run(op, seed), "");
  EXPECT_EQ(op.launched(), kernels);
  double error = call.getError();
  EXPECT_LE(error, limitOf(shape)) << textOf(shape) << places.size() << " tokens";
  if (std::getenv("MOHD_SHOW"))
    llvm::errs() << nameOf(shape.query) << " " << nameOf(shape.cache) << " head_dim "
                 << shape.headDim << " tokens " << places.size() << " error " << error << "\n";
}

const std::vector<std::string> kRows = {"rows"}, kParts = {"rows", "combine"}, kMany = {"many"};

// No token, one, and all the ways that a lane can have a part of a head.
TEST(AttentionTest, FewTokens) {
  for (Shape shape :
       {Shape{DType::F32, DType::F32, 2, 1, 7}, Shape{DType::F32, DType::BF16, 4, 2, 64},
        Shape{DType::F16, DType::F16, 6, 2, 24}, Shape{DType::BF16, DType::BF16, 3, 3, 80},
        Shape{DType::F32, DType::F32, 8, 1, 128}}) {
    EmulatedOp op("sm_80", textOf(shape), emit);
    expectCorrect(op, shape, {}, {});
    expectCorrect(op, shape, {{0, 0}}, kParts);
    expectCorrect(op, shape, {{2, 130}, {0, 63}, {2, 5}, {1, 300}}, kParts, 3);
  }
}

// A head wider than what a block computes.
TEST(AttentionTest, WideHead) {
  for (int64_t headDim : {1031, 1280}) {
    Shape shape{DType::F32, DType::F32, 1, 1, headDim};
    EmulatedOp op("sm_80", textOf(shape), emit);
    expectCorrect(op, shape, {{0, 20}, {1, 3}}, kRows);
  }
}

// Token t is of sequence t.
TEST(AttentionTest, WithoutSequences) {
  Shape shape{DType::F32, DType::BF16, 4, 2, 32, /*hasSequence=*/false};
  EmulatedOp op("sm_80", textOf(shape), emit);
  Places places;
  for (int64_t t = 0; t < 5; ++t)
    places.emplace_back(t, 90 * t);
  expectCorrect(op, shape, places, kParts);
  for (int64_t t = 5; t < 20; ++t)
    places.emplace_back(t, 3 * t);
  expectCorrect(op, shape, places, kMany);
}

/// Tokens of one sequence, of a few, in any order, and of too many for tiles; an odd number of tiles.
void expectManyCorrect(const char *chip, const Shape &shape, const std::string &kernel) {
  std::vector<std::string> kernels = {kernel, "mixed"};
  EmulatedOp op(chip, textOf(shape), emit);
  Places places;
  append(places, 1, 0, 17);
  expectCorrect(op, shape, places, kernels, 2);
  append(places, 1, 17, 110);
  expectCorrect(op, shape, places, kernels);
  append(places, 0, 70, 21);
  std::swap(places[3], places[60]);
  std::swap(places[120], places[140]);
  expectCorrect(op, shape, places, kernels, 5);
  for (int64_t t = 0; t < 40; ++t)
    places.emplace_back(2 + t % 7, 3 * t);
  expectCorrect(op, shape, places, kernels);
}

TEST(AttentionTest, Tiles) {
  expectManyCorrect("sm_80", {DType::F32, DType::F32, 2, 1, 32}, "tiles");
  expectManyCorrect("sm_80", {DType::F32, DType::BF16, 2, 2, 64}, "tiles");
  expectManyCorrect("sm_90a", {DType::F16, DType::F16, 2, 1, 48}, "tiles");
  expectManyCorrect("sm_90a", {DType::BF16, DType::F32, 1, 1, 144}, "tiles");
}

TEST(AttentionTest, Wgmma) {
  expectManyCorrect("sm_90a", {DType::F32, DType::F32, 2, 1, 64}, "wgmma");
  expectManyCorrect("sm_90a", {DType::F32, DType::BF16, 1, 1, 128}, "wgmma");
  expectManyCorrect("sm_90a", {DType::F16, DType::F32, 2, 2, 64}, "wgmma");
  expectManyCorrect("sm_90a", {DType::F32, DType::F32, 1, 1, 128}, "wgmma");
}

// Numbers that are not finite stay in the rows that see them.
TEST(AttentionTest, NotFinite) {
  double infinity = std::numeric_limits<double>::infinity();
  for (auto [chip, shape] : {std::pair("sm_80", Shape{DType::F32, DType::F32, 2, 1, 32}),
                             {"sm_80", Shape{DType::F32, DType::F16, 1, 1, 16}},
                             {"sm_90a", Shape{DType::F32, DType::F16, 1, 1, 64}},
                             {"sm_90a", Shape{DType::F32, DType::F32, 1, 1, 64}}}) {
    EmulatedOp op(chip, textOf(shape), emit);
    Places places;
    append(places, 0, 5, 66);
    Call call(shape, 1, 80, places);
    call.query.setAt(30, 3, std::nan(""));
    call.values.set(call.cacheIndex(0, 50, 2), std::nan("")); // seen by tokens from 45 on
    call.values.set(call.cacheIndex(0, 60, 4), infinity);
    call.keys.set(call.cacheIndex(0, 66, 5), std::nan("")); // 61 on
    if (shape.query != shape.cache)
      call.query.setAt(7, 0, 1e6); // too large for f16
    ASSERT_EQ(call.run(op), "");
    EXPECT_LE(call.getError(), limitOf(shape));
    EXPECT_TRUE(std::isinf(call.result.at(58, 4)));
  }
}

// The same of parts that are added up.
TEST(AttentionTest, NotFiniteOfFew) {
  Shape shape{DType::F32, DType::BF16, 2, 1, 32};
  EmulatedOp op("sm_80", textOf(shape), emit);
  Call call(shape, 3, 320, {{0, 300}, {1, 300}, {2, 150}, {2, 149}});
  call.query.setAt(1, 40, std::nan(""));
  call.values.set(call.cacheIndex(0, 290, 3), std::numeric_limits<double>::infinity());
  call.values.set(call.cacheIndex(2, 150, 0), std::nan(""));
  ASSERT_EQ(call.run(op), "");
  EXPECT_LE(call.getError(), limitOf(shape));
  EXPECT_TRUE(std::isinf(call.result.at(0, 3)) && std::isnan(call.result.at(2, 0)));
}

// Places outside of the cache are the nearest ones inside.
TEST(AttentionTest, PlacesOutside) {
  for (auto [chip, headDim] : {std::pair("sm_80", 32), {"sm_90a", 64}}) {
    Shape shape{DType::F32, DType::F32, 1, 1, headDim};
    EmulatedOp op(chip, textOf(shape), emit);
    for (int64_t count : {6, 20}) {
      Places places;
      append(places, 1, 39 - count, count);
      places[0] = {0, 0};
      places[1] = places[2] = {1, 39};
      Call call(shape, 2, 40, places);
      call.sequence.set(0, -5);
      call.position.set(0, -1);
      call.sequence.set(1, 99);
      call.position.set(2, 1 << 30);
      ASSERT_EQ(call.run(op), "");
      for (int64_t token = 0; token < 3; ++token) {
        call.sequence.set(token, double(places[size_t(token)].first));
        call.position.set(token, double(places[size_t(token)].second));
      }
      EXPECT_LE(call.getError(), limitOf(shape));
    }
  }
}

// Small values of one sequence, which two parts of f16 would not hold; those of another are not.
TEST(AttentionTest, SmallValues) {
  for (auto [chip, headDim] : {std::pair("sm_80", 32), {"sm_90a", 64}}) {
    Shape shape{DType::F32, DType::F32, 1, 1, headDim};
    EmulatedOp op(chip, textOf(shape), emit);
    Places places;
    append(places, 0, 3, 20);
    append(places, 1, 0, 10);
    append(places, 2, 0, 5);
    Call call(shape, 3, 30, places);
    for (int64_t i = call.cacheIndex(1, 0, 0); i < call.cacheIndex(2, 0, 0); ++i)
      call.values.set(i, call.values.get(i) * 1e-7);
    for (int64_t i = call.cacheIndex(2, 0, 0); i < call.cacheIndex(2, 5, 0); ++i)
      call.values.set(i, 0);
    ASSERT_EQ(call.run(op), "");
    for (int64_t i = call.cacheIndex(0, 0, 0); i < call.cacheIndex(1, 0, 0); ++i)
      call.values.set(i, 0); // leaves the error of the small ones
    for (int64_t i = 0; i < 20 * headDim; ++i)
      call.result.set(i, 0);
    EXPECT_LE(call.getError(), limitOf(shape));
  }
}

// The same bits for each schedule.
TEST(AttentionTest, IsDeterministic) {
  for (auto [chip, headDim] : {std::pair("sm_80", 16), {"sm_90a", 64}}) {
    Shape shape{DType::F32, DType::BF16, 2, 1, headDim};
    EmulatedOp op(chip, textOf(shape), emit);
    for (int64_t count : {9, 70}) {
      Places places;
      append(places, 0, 3, count);
      Call call(shape, 1, 90, places);
      ASSERT_EQ(call.run(op, 0), "");
      HostTensor first = call.result;
      ASSERT_EQ(call.run(op, 11), "");
      EXPECT_EQ(std::memcmp(first.data(), call.result.data(), size_t(first.bytes())), 0);
    }
  }
}

// Heads as models have them fit the registers.
TEST(AttentionTest, Assembles) {
  for (auto [chip, shape] : {std::pair("sm_80", Shape{DType::F32, DType::BF16, 16, 4, 128}),
                             {"sm_80", Shape{DType::F32, DType::F32, 8, 1, 64}},
                             {"sm_90a", Shape{DType::F32, DType::F32, 16, 16, 128}},
                             {"sm_90a", Shape{DType::BF16, DType::BF16, 8, 2, 128}},
                             {"sm_90a", Shape{DType::BF16, DType::BF16, 8, 2, 256}}}) {
    EmulatedOp op(chip, textOf(shape), emit);
    std::string figures;
    EXPECT_EQ(op.assemble(figures), "");
    if (std::getenv("MOHD_SHOW"))
      llvm::errs() << chip << " " << nameOf(shape.cache) << " " << shape.headDim << "\n" << figures;
  }
}

} // namespace
