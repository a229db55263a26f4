// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.bucket_fusion.
#include "EmulatedOp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

using namespace mlir;
using namespace mlir::mohd;
using namespace mohdgpu;

namespace {

struct Shape {
  DType input, weight, result;
  int64_t k, q, p, l, s, r;
  bool hasOrder = true, hasMasks = true, hasResidual = true;
  int64_t numCommon = 1, rows = 64;
};

/// The form of the models.
Shape square(DType half, int64_t groups, int64_t groupWidth, int64_t numCommon, int64_t rows) {
  Shape shape = {half,       half,       DType::F32, groups, groupWidth,
                 groupWidth, groupWidth, groups,     groups};
  shape.numCommon = numCommon;
  shape.rows = rows;
  return shape;
}

std::string tensor(const std::vector<int64_t> &extents, DType dtype) {
  std::string text = "tensor<";
  for (int64_t extent : extents)
    text += (extent < 0 ? "?" : std::to_string(extent)) + "x";
  return text +
         (dtype == DType::F32    ? "f32"
          : dtype == DType::BF16 ? "bf16"
          : dtype == DType::F16  ? "f16"
                                 : "i32") +
         ">";
}

std::string textOf(const Shape &shape) {
  std::string input = tensor({-1, shape.k * shape.p}, shape.input);
  std::string right = tensor({shape.k, shape.q, shape.p}, shape.weight);
  std::string left = tensor({shape.l, shape.s, shape.r}, shape.weight);
  std::string order = tensor({-1}, DType::I32),
              masks = tensor({-1, (shape.k + 31) / 32}, DType::I32);
  std::string result = tensor({-1, shape.l * shape.s}, shape.result);
  std::string text = "func.func @f(%x: " + input + ", %r: " + right + ", %l: " + left +
                     ", %o: " + order + ", %m: " + masks + " {mohd.dims = [\"M\"]}, %z: " + result +
                     ") -> " + result + " {\n  %y = mohd.bucket_fusion %x, %r, %l";
  std::string types = " : " + input + ", " + right + ", " + left;
  if (shape.hasOrder)
    text += " order(%o)", types += " order " + order;
  if (shape.hasMasks)
    text += " masks(%m)", types += " masks " + masks;
  if (shape.hasResidual)
    text += " residual(%z)", types += " residual " + result;
  return text + " common " + std::to_string(shape.numCommon) + " rows " +
         std::to_string(shape.rows) + types + " -> " + result + "\n  return %y : " + result +
         "\n}\n";
}

LogicalResult emit(GpuKernelSet &kernels, Operation *op) {
  return emitGpuBucketFusion(kernels, cast<BucketFusionOp>(op));
}

struct Call {
  Call(const Shape &shape, int64_t numTokens, uint32_t seed = 1);

  Shape shape;
  int64_t numTokens, numTiles;
  HostTensor input, right, left, order, masks, residual, result;

  bool isActive(int64_t row, int64_t k) const {
    return k < shape.numCommon ||
           (shape.hasMasks && (int64_t(masks.at(row / shape.rows, k / 32)) >> (k % 32) & 1));
  }
  std::string run(EmulatedOp &op, uint64_t seed = 0);
  /// Checks all rows; those whose reference is a NaN are NaNs.
  double getError() const;
};

Call::Call(const Shape &shape, int64_t numTokens, uint32_t seed)
    : shape(shape), numTokens(numTokens), numTiles((numTokens + shape.rows - 1) / shape.rows),
      input(shape.input, {numTokens, shape.k * shape.p}),
      right(shape.weight, {shape.k, shape.q, shape.p}),
      left(shape.weight, {shape.l, shape.s, shape.r}), order(DType::I32, {numTokens}),
      masks(DType::I32, {numTiles, (shape.k + 31) / 32}),
      residual(shape.result, {numTokens, shape.l * shape.s}), result(residual) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  auto fill = [&](HostTensor &tensor) {
    for (int64_t i = 0; i < tensor.size(); ++i)
      tensor.set(i, normal(random));
  };
  fill(right);
  fill(left);
  fill(residual);
  for (int64_t i = 0; i < masks.size(); ++i)
    masks.set(i, double(int32_t(random() & random())));
  std::vector<int64_t> permutation(static_cast<size_t>(numTokens));
  std::iota(permutation.begin(), permutation.end(), 0);
  if (shape.hasOrder)
    std::shuffle(permutation.begin(), permutation.end(), random);
  for (int64_t row = 0; row < numTokens; ++row) {
    order.set(row, double(permutation[size_t(row)]));
    // Blocks that are known to be zero stay NaNs: nobody reads them.
    for (int64_t i = 0; i < shape.k * shape.p; ++i)
      if (isActive(row, i / shape.p))
        input.setAt(row, i, normal(random));
  }
}

std::string Call::run(EmulatedOp &op, uint64_t seed) {
  result = HostTensor(shape.result, result.shape);
  std::vector<HostTensor *> tensors = {&input, &right, &left};
  if (shape.hasOrder)
    tensors.push_back(&order);
  if (shape.hasMasks)
    tensors.push_back(&masks);
  if (shape.hasResidual)
    tensors.push_back(&residual);
  tensors.push_back(&result);
  return op.run({{"T", numTokens}, {"M", numTiles}}, tensors, seed);
}

double Call::getError() const {
  double error = 0, norm = 0;
  std::vector<double> u(size_t(shape.k * shape.q));
  for (int64_t row = 0; row < numTokens; ++row) {
    for (int64_t i = 0; i < shape.k * shape.q; ++i) {
      u[size_t(i)] = 0;
      int64_t k = i / shape.q;
      for (int64_t p = 0; p < shape.p && isActive(row, k); ++p)
        u[size_t(i)] += right.get(i * shape.p + p) * input.at(row, k * shape.p + p);
    }
    int64_t target = int64_t(order.get(row));
    for (int64_t i = 0; i < shape.l * shape.s; ++i) {
      int64_t s = i / shape.l, l = i % shape.l;
      double sum = shape.hasResidual ? residual.at(target, i) : 0;
      for (int64_t r = 0; r < shape.r; ++r)
        sum += left.get((l * shape.s + s) * shape.r + r) * u[size_t(r * shape.l + l)];
      double got = result.at(target, i);
      EXPECT_EQ(std::isnan(got), std::isnan(sum)) << "row " << row << " column " << i;
      if (std::isnan(sum))
        continue;
      error += (got - sum) * (got - sum);
      norm += sum * sum;
    }
  }
  return norm == 0 ? 0 : std::sqrt(error / norm);
}

double limitOf(const Shape &shape) { return shape.result == DType::F32 ? 1e-5 : 4e-3; }

void expectCorrect(const Shape &shape, const std::vector<int64_t> &counts,
                   const std::vector<std::string> &few, const std::vector<std::string> &many,
                   const char *chip = "sm_80") {
  EmulatedOp op(chip, textOf(shape), emit);
  uint64_t seed = 0;
  for (int64_t count : counts) {
    Call call(shape, count);
    ASSERT_EQ(call.run(op, seed++), "");
    EXPECT_EQ(op.launched(), count == 0 ? std::vector<std::string>{} : count <= 16 ? few : many);
    double error = call.getError();
    EXPECT_LE(error, limitOf(shape)) << textOf(shape) << count << " tokens";
    if (std::getenv("MOHD_SHOW"))
      llvm::errs() << textOf(shape) << count << " tokens, error " << error << "\n";
  }
}

// Any sizes and types, with all operands and without.
TEST(FusionTest, AnyShape) {
  Shape general = {DType::F32, DType::F32, DType::F32, 3, 8, 5, 6, 7, 4};
  expectCorrect(general, {0, 1, 9, 65}, {""}, {""});
  Shape wide = {DType::BF16, DType::BF16, DType::BF16, 40, 4, 3, 8, 2, 20};
  wide.numCommon = 7;
  wide.rows = 16;
  expectCorrect(wide, {1, 33}, {""}, {""});
  Shape plain = {DType::F16, DType::F16, DType::F32, 2, 12, 12, 12, 2, 2};
  plain.hasOrder = plain.hasMasks = plain.hasResidual = false;
  expectCorrect(plain, {5, 20}, {""}, {""});
  Shape mixed = {DType::F32, DType::BF16, DType::F32, 4, 16, 16, 16, 4, 4};
  mixed.hasMasks = false;
  mixed.numCommon = 3;
  expectCorrect(mixed, {17}, {""}, {""});
}

// The tensor units' kernels, with odd numbers of tokens and groups.
TEST(FusionTest, Tiles) {
  expectCorrect(square(DType::BF16, 16, 32, 6, 64), {0, 1, 16, 17, 100}, {"few"}, {"many"});
  expectCorrect(square(DType::F16, 12, 16, 3, 16), {5, 75}, {"few"}, {"many"}, "sm_90a");
  expectCorrect(square(DType::BF16, 2, 64, 0, 32), {3, 40}, {"few"}, {"many"});
  Shape shape = square(DType::BF16, 34, 48, 34, 256);
  shape.hasOrder = shape.hasMasks = shape.hasResidual = false;
  shape.result = DType::BF16;
  expectCorrect(shape, {7, 33}, {"few"}, {"many"});
}

// Numbers that are not finite stay in their row.
TEST(FusionTest, NotFinite) {
  Shape shape = square(DType::BF16, 12, 32, 12, 64);
  EmulatedOp op("sm_80", textOf(shape), emit);
  for (int64_t count : {4, 50}) {
    Call call(shape, count);
    call.input.setAt(1, 40, std::nan(""));
    call.input.setAt(2, 3, std::numeric_limits<double>::infinity());
    ASSERT_EQ(call.run(op), "");
    int64_t target = int64_t(call.order.get(2));
    EXPECT_TRUE(std::isinf(call.result.at(target, 0)));
    call.input.setAt(2, 3, std::nan("")); // instead of what the reference makes of it
    for (int64_t i = 0; i < shape.l * shape.s; ++i)
      call.result.setAt(target, i, std::nan(""));
    for (int64_t i = 0; i < shape.k * shape.p; ++i)
      call.input.setAt(2, i, std::nan(""));
    EXPECT_LE(call.getError(), limitOf(shape));
  }
}

TEST(FusionTest, Assembles) {
  for (auto [chip, shape] :
       {std::pair("sm_80", square(DType::BF16, 16, 128, 6, 64)),
        {"sm_90a", square(DType::BF16, 12, 256, 3, 64)},
        {"sm_90a", square(DType::F16, 64, 48, 6, 64)},
        {"sm_90a", Shape{DType::F32, DType::F32, DType::F32, 16, 64, 64, 64, 16, 16}}}) {
    EmulatedOp op(chip, textOf(shape), emit);
    std::string figures;
    EXPECT_EQ(op.assemble(figures), "");
    if (std::getenv("MOHD_SHOW"))
      llvm::errs() << chip << " N " << shape.k << " width " << shape.p << "\n" << figures;
  }
}

} // namespace
