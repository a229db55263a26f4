// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.bucket_spmm and mohd.bucket_sddmm in the emulator against sums in double precision: which groups are added, which rows and columns are
// written, and that a row's NaN and infinities stay in it. Of the combinations of sizes every MOHD_GPU_TESTS-th is run; 1, all, takes half an hour.
#include "EmulatedOp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>
#include <sstream>

using namespace mlir;
using namespace mlir::mohd;
using namespace mohdgpu;

namespace {

/// How tokens choose their groups.
enum class Choice { Random, Same, Disjoint };

struct Sizes {
  int64_t numGroups, numShared, numRouted, groupSize, inner; // N, K_s, K_r, d_e, E
  int64_t numActive() const { return numShared + numRouted; }
  bool isRouted() const { return numRouted > 0 && numActive() < numGroups; }
  int64_t numCommon() const { return numActive() == numGroups ? numGroups : numShared; }
  int64_t width() const { return numGroups * groupSize; }
  int64_t numWords() const { return (numGroups + 31) / 32; }
};

/// What of an op is given.
struct Options {
  DType input = DType::BF16, weight = DType::BF16, result = DType::F32;
  bool orders = true, gates = false, residual = false, scatters = false;
  int64_t rows = 64, sms = 132;
  std::string chip = "sm_90a";
  std::vector<int64_t> tokens = {0, 1, 2, 5, 16, 17, 64, 65, 129, 200};
  std::vector<std::string> kernels; // that have to be launched for the numbers of tokens
};

std::string tensorType(const std::vector<int64_t> &shape, const std::string &element) {
  std::string text = "tensor<";
  for (int64_t extent : shape)
    text += (extent < 0 ? "?" : std::to_string(extent)) + "x";
  return text + element + ">";
}
std::string tensorType(const std::vector<int64_t> &shape, DType dtype) {
  return tensorType(shape, mohdrt::dtypeName(dtype));
}

/// Writes the function with one op: arguments, clauses and their types.
class OpText {
public:
  void operand(const std::string &type, const std::string &clause = "") {
    const std::string name = "%a" + std::to_string(count++);
    arguments += (arguments.empty() ? "" : ", ") + name + ": " + type;
    if (clause.empty()) {
      operands += (operands.empty() ? "" : ", ") + name;
      types += (types.empty() ? "" : ", ") + type;
    } else {
      operands += " " + clause + "(" + name + ")";
      types += " " + clause + " " + type;
    }
  }
  std::string write(const std::string &op, const std::string &rest, const std::string &result) {
    return "func.func @f(" + arguments + ") -> " + result + " {\n  %y = mohd." + op + " " +
           operands + " " + rest + " : " + types + " -> " + result + "\n  return %y : " + result +
           "\n}\n";
  }

private:
  int count = 0;
  std::string arguments, operands, types;
};

/// Tokens' groups, their order, and the masks of tiles.
struct Routing {
  HostTensor indices, gates, order, masks;
  std::vector<std::vector<bool>> has; // [tokens][groups]

  Routing(const Sizes &sizes, int64_t numTokens, int64_t rows, Choice choice, bool orders,
          std::mt19937 &engine)
      : indices(DType::I32, {numTokens, sizes.numActive()}),
        gates(DType::F32, {numTokens, sizes.numActive()}), order(DType::I32, {numTokens}),
        masks(DType::I32, {numTokens, sizes.numWords()}),
        has(size_t(numTokens), std::vector<bool>(size_t(sizes.numGroups))) {
    std::vector<int64_t> others(size_t(sizes.numGroups - sizes.numShared));
    std::iota(others.begin(), others.end(), sizes.numShared);
    for (int64_t t = 0; t < numTokens; ++t) {
      if (choice == Choice::Random)
        std::shuffle(others.begin(), others.end(), engine);
      if (choice == Choice::Disjoint && !others.empty())
        std::rotate(others.begin(),
                    others.begin() +
                        std::min<int64_t>(sizes.numRouted, others.size()) % int64_t(others.size()),
                    others.end());
      std::vector<bool> &mine = has[size_t(t)];
      std::fill_n(mine.begin(), sizes.numShared, true);
      for (int64_t i = 0; i < sizes.numRouted; ++i)
        mine[size_t(others[size_t(i)])] = true;
      for (int64_t g = 0, slot = 0; g < sizes.numGroups; ++g)
        if (mine[size_t(g)])
          indices.setAt(t, slot++, double(g));
    }
    std::vector<int64_t> sorted(static_cast<size_t>(numTokens));
    std::iota(sorted.begin(), sorted.end(), 0);
    if (orders)
      std::stable_sort(sorted.begin(), sorted.end(),
                       [&](int64_t a, int64_t b) { return has[size_t(a)] < has[size_t(b)]; });
    for (int64_t r = 0; r < numTokens; ++r)
      order.set(r, double(sorted[size_t(r)]));
    // Those after the last tile stay as they are: not written.
    for (int64_t tile = 0; tile * rows < numTokens; ++tile)
      for (int64_t word = 0; word < sizes.numWords(); ++word) {
        uint32_t bits = 0;
        for (int64_t r = tile * rows; r < std::min(numTokens, (tile + 1) * rows); ++r)
          for (int64_t g = 32 * word; g < std::min(sizes.numGroups, 32 * word + 32); ++g)
            if (rowHas(r, g))
              bits |= 1u << (g - 32 * word);
        masks.setAt(tile, word, double(int32_t(bits)));
      }
  }
  int64_t tokenOf(int64_t row) const { return int64_t(order.get(row)); }
  bool rowHas(int64_t row, int64_t group) const { return has[size_t(tokenOf(row))][size_t(group)]; }
};

void fillRandom(HostTensor &tensor, std::mt19937 &engine, double largest = 1) {
  std::uniform_real_distribution<double> range(-largest, largest);
  for (int64_t i = 0; i < tensor.size(); ++i)
    tensor.set(i, range(engine));
}

std::vector<double> valuesOf(const HostTensor &tensor) {
  std::vector<double> values(size_t(tensor.size()));
  for (int64_t i = 0; i < tensor.size(); ++i)
    values[size_t(i)] = tensor.get(i);
  return values;
}

double silu(double x) { return x == -INFINITY ? 0 : x / (1 + std::exp(-x)); }

/// One op, and the reference for it.
class ProductCase {
public:
  ProductCase(bool isSpmm, const Sizes &sizes, const Options &options)
      : isSpmm(isSpmm), sizes(sizes), options(options),
        hasOrder(options.orders && sizes.isRouted()),
        scatters(isSpmm ? hasOrder : hasOrder && options.scatters),
        gates(options.gates && isSpmm && !hasOrder),
        residual(options.residual && !gates && (isSpmm || !hasOrder || scatters)),
        op(
            options.chip, isSpmm ? spmmText() : sddmmText(),
            [isSpmm](GpuKernelSet &kernels, Operation *op) {
              return isSpmm ? emitGpuBucketSpmm(kernels, cast<BucketSpmmOp>(op))
                            : emitGpuBucketSddmm(kernels, cast<BucketSddmmOp>(op));
            },
            [&options](GpuInfo &gpu) { gpu.typicalSms = options.sms; }) {}

  void check();

  EmulatedOp &getOp() { return op; }

private:
  bool isQuantized() const { return options.weight == DType::I8; }
  int64_t depth() const { return isSpmm ? sizes.width() : sizes.inner; }
  int64_t columns() const { return isSpmm ? sizes.inner : sizes.width(); }
  std::string spmmText() const;
  std::string sddmmText() const;
  void check(int64_t numTokens, Choice choice, uint64_t seed);
  std::vector<double> weightsOf(const HostTensor &w, const HostTensor &scales) const;
  void compare(const Routing &routing, const HostTensor &x, const std::vector<double> &ws,
               const HostTensor &extra, const HostTensor &y);

  const bool isSpmm;
  const Sizes sizes;
  const Options options;
  const bool hasOrder, scatters, gates, residual;
  EmulatedOp op;
};

std::string ProductCase::spmmText() const {
  OpText text;
  const std::string result = tensorType({-1, columns()}, options.result);
  text.operand(tensorType({-1, depth()}, options.input));
  text.operand(tensorType({sizes.inner, sizes.numGroups, sizes.groupSize}, options.weight));
  if (isQuantized())
    text.operand(tensorType({sizes.numGroups, sizes.inner}, "f32"), "scales");
  if (hasOrder)
    text.operand("tensor<?xi32>", "order");
  if (sizes.isRouted())
    text.operand(tensorType({-1, sizes.numWords()}, "i32"), "masks");
  if (gates)
    text.operand(result, "gate");
  if (residual)
    text.operand(result, "residual");
  return text.write("bucket_spmm",
                    "common " + std::to_string(sizes.numCommon()) + " rows " +
                        std::to_string(options.rows),
                    result);
}

std::string ProductCase::sddmmText() const {
  OpText text;
  const std::string result = tensorType({-1, columns()}, options.result);
  text.operand(tensorType({-1, depth()}, options.input));
  text.operand(tensorType({sizes.numGroups, sizes.groupSize, sizes.inner}, options.weight));
  if (isQuantized())
    text.operand(tensorType({sizes.numGroups, sizes.groupSize}, "f32"), "scales");
  text.operand("!mohd.routing<" + std::to_string(sizes.numGroups) + ", " +
                   std::to_string(sizes.numShared) + ", " + std::to_string(sizes.numRouted) + ">",
               "routing");
  if (sizes.isRouted()) {
    text.operand("tensor<?xi32>", "order");
    text.operand(tensorType({-1, sizes.numWords()}, "i32"), "masks");
  }
  if (residual)
    text.operand(result, "residual");
  return text.write("bucket_sddmm",
                    "rows " + std::to_string(options.rows) + (scatters ? " scatters" : ""), result);
}

void ProductCase::check() {
  std::vector<std::string> launched;
  uint64_t seed = 0;
  for (int64_t numTokens : options.tokens) {
    check(numTokens, Choice::Random, seed++ % 3);
    for (const std::string &name : op.launched())
      if (!llvm::is_contained(launched, name))
        launched.push_back(name);
    if (::testing::Test::HasFailure())
      return;
  }
  check(options.tokens.back(), Choice::Same, 0);
  check(options.tokens.back(), Choice::Disjoint, 0);
  if (!options.kernels.empty())
    EXPECT_EQ(launched, options.kernels);
}

void ProductCase::check(int64_t numTokens, Choice choice, uint64_t seed) {
  std::mt19937 engine(unsigned(numTokens * 31 + int64_t(choice)));
  Routing routing(sizes, numTokens, options.rows, choice, hasOrder, engine);
  HostTensor x(options.input, {numTokens, depth()}), w(options.weight, {columns(), depth()});
  HostTensor extra(options.result, {numTokens, columns()}), y = extra;
  HostTensor scales(DType::F32, isSpmm ? std::vector<int64_t>{sizes.numGroups, sizes.inner}
                                       : std::vector<int64_t>{sizes.numGroups, sizes.groupSize});
  fillRandom(x, engine);
  fillRandom(w, engine, isQuantized() ? 127 : 1);
  fillRandom(scales, engine);
  fillRandom(extra, engine);
  if (numTokens > 2) { // what must stay in its row
    x.setAt(numTokens / 2, 0, NAN);
    x.setAt(numTokens - 1, 0, INFINITY);
  }
  if (isSpmm)
    for (int64_t r = 0; r < numTokens; ++r)
      for (int64_t k = 0; k < depth(); ++k)
        if (!routing.rowHas(r, k / sizes.groupSize))
          x.setAt(r, k, 0);
  std::vector<HostTensor *> tensors = {&x, &w};
  if (isQuantized())
    tensors.push_back(&scales);
  if (!isSpmm)
    tensors.insert(tensors.end(), {&routing.indices, &routing.gates});
  if (isSpmm ? hasOrder : sizes.isRouted())
    tensors.push_back(&routing.order);
  if (sizes.isRouted())
    tensors.push_back(&routing.masks);
  if (gates || residual)
    tensors.push_back(&extra);
  tensors.push_back(&y);
  SCOPED_TRACE(std::to_string(numTokens) + " tokens, choice " + std::to_string(int(choice)) +
               ", seed " + std::to_string(seed));
  ASSERT_EQ(op.run({{"T", numTokens}}, tensors, seed), "");
  const bool expands = llvm::is_contained(op.launched(), "expand");
  ASSERT_EQ(op.launched().size(), numTokens == 0 ? 0u : expands ? 2u : 1u);
  ASSERT_TRUE(!expands || numTokens > 16);
  compare(routing, x, weightsOf(w, scales), extra, y);
}

/// The weights as the launched kernel has them: scaled, and as a copy for many tokens rounded.
std::vector<double> ProductCase::weightsOf(const HostTensor &w, const HostTensor &scales) const {
  std::vector<double> values = valuesOf(w);
  if (!isQuantized())
    return values;
  HostTensor rounded(options.input, {1});
  for (int64_t c = 0; c < columns(); ++c)
    for (int64_t k = 0; k < depth(); ++k) {
      double &value = values[size_t(c * depth() + k)];
      value *= scales.get(isSpmm ? k / sizes.groupSize * columns() + c : c);
      if (!llvm::is_contained(op.launched(), "expand"))
        continue;
      rounded.set(0, double(float(value)));
      value = rounded.get(0);
    }
  return values;
}

/// Compares every element with its sum.
void ProductCase::compare(const Routing &routing, const HostTensor &x,
                          const std::vector<double> &ws, const HostTensor &extra,
                          const HostTensor &y) {
  const std::vector<double> xs = valuesOf(x);
  int64_t numWrong = 0;
  std::ostringstream message;
  for (int64_t r = 0; r < y.shape[0]; ++r)
    for (int64_t c = 0; c < columns(); ++c) {
      const double *a = &xs[size_t(r * depth())], *b = &ws[size_t(c * depth())];
      double sum = 0, magnitude = 0;
      bool isKept = isSpmm || routing.rowHas(r, c / sizes.groupSize);
      for (int64_t k = 0; isKept && k < depth(); ++k)
        if (!isSpmm || routing.rowHas(r, k / sizes.groupSize)) {
          sum += a[k] * b[k];
          magnitude += std::abs(a[k] * b[k]);
        }
      const int64_t target = scatters ? routing.tokenOf(r) : r;
      if (gates) {
        const double factor = silu(extra.at(r, c));
        sum *= factor;
        magnitude *= std::abs(factor) * 2;
      }
      if (residual)
        sum += extra.at(target, c);
      const double got = y.at(target, c);
      const double tolerance = toleranceOf(options.result, sum, magnitude);
      const bool isRight = std::isfinite(sum) ? std::abs(got - sum) <= tolerance
                           : std::isnan(sum)  ? std::isnan(got)
                                              : got == sum;
      if (!isRight && ++numWrong <= 5)
        message << "row " << r << ", column " << c << ": expects " << sum << ", got " << got
                << "\n";
    }
  EXPECT_EQ(numWrong, 0) << message.str();
}

/// Every how many-th of a list of cases is run.
int64_t getStride() {
  const char *value = std::getenv("MOHD_GPU_TESTS");
  return value ? std::max(1, std::atoi(value)) : 61;
}

} // namespace

//===----------------------------------------------------------------------===//
// Which kernel is launched
//===----------------------------------------------------------------------===//

TEST(Products, F32OfAnyWidth) {
  Options options;
  options.input = options.weight = options.result = DType::F32;
  options.kernels = {"scalar"};
  ProductCase(true, {16, 3, 1, 3, 37}, options).check();
  ProductCase(false, {16, 3, 1, 3, 37}, options).check();
  options.kernels = {"dot1", "dot4", "dot16", "scalar"};
  ProductCase(true, {16, 3, 1, 4, 37}, options).check();
  ProductCase(false, {16, 3, 1, 4, 36}, options).check();
}

TEST(Products, TypesMix) {
  Options options;
  options.tokens = {1, 65};
  options.input = DType::F32;
  options.weight = DType::F16;
  options.result = DType::BF16;
  options.kernels = {"dot1", "scalar"};
  ProductCase(true, {12, 3, 1, 16, 64}, options).check();
  ProductCase(false, {12, 3, 1, 16, 64}, options).check();
}

TEST(Products, MmaOfSmallGroups) {
  Options options;
  options.chip = "sm_80";
  options.tokens = {16, 17, 129};
  options.kernels = {"few", "mma64"};
  ProductCase(true, {16, 3, 1, 8, 96}, options).check();
  ProductCase(false, {16, 3, 1, 8, 96}, options).check();
}

TEST(Products, WgmmaOfSmallGroups) {
  Options options;
  options.tokens = {16, 17, 129};
  options.kernels = {"few", "wgmma64"};
  ProductCase(true, {16, 3, 1, 16, 96}, options).check();
  ProductCase(false, {16, 3, 1, 8, 96}, options).check();
  // Many boxes of weights for a tile.
  options.sms = 1;
  options.rows = 16;
  options.kernels = {"few", "wgmma128"};
  for (int64_t groupSize : {8, 16}) {
    ProductCase product(false, {32, 20, 1, groupSize, 320}, options);
    product.check();
    std::string figures;
    EXPECT_EQ(product.getOp().assemble(figures), "");
  }
}

// Large tiles where an SM would have several small ones.
TEST(Products, MmaOfAllSizes) {
  for (bool isSpmm : {true, false}) {
    Options options;
    options.chip = "sm_80";
    options.tokens = {100, 300};
    options.sms = isSpmm ? 8 : 4;
    options.kernels = {"mma64", "mma128"};
    ProductCase(isSpmm, {4, 1, 1, 64, 256}, options).check();
  }
}

// Wider tiles where an SM would have several narrow ones; columns of zeros do not count. Then blocks go on to further tiles.
TEST(Products, WgmmaOfAllWidths) {
  for (bool isSpmm : {true, false}) {
    Options options;
    options.tokens = {100, 200, 300};
    options.sms = 4;
    options.kernels = {"wgmma64", "wgmma128", "wgmma256"};
    if (!isSpmm)
      options.kernels.pop_back();
    ProductCase(isSpmm, {4, 1, 1, 64, 256}, options).check();
    options.tokens = {700};
    options.sms = 3;
    options.kernels = {"wgmma256"};
    ProductCase(isSpmm, {8, 3, 1, 64, 256}, options).check();
  }
}

// Pieces of 16 bytes, but no eight columns.
TEST(Products, ScalarBesideFew) {
  Options options;
  options.tokens = {16, 17, 129};
  options.kernels = {"few", "scalar"};
  ProductCase(true, {16, 3, 1, 16, 37}, options).check();
  ProductCase(false, {16, 3, 1, 4, 96}, options).check();
}

// Few tokens read int8 values in pieces of 16 and of 8 bytes, of groups that are whole steps and that are not; many read a copy.
TEST(Products, Int8) {
  for (const char *chip : {"sm_80", "sm_90a"})
    for (DType input : {DType::BF16, DType::F16})
      for (int64_t groupSize : {8, 24, 64, 80}) {
        Options options;
        options.chip = chip;
        options.input = input;
        options.weight = DType::I8;
        options.tokens = {0, 1, 2, 8, 9, 15, 16, 17, 70};
        options.residual = options.scatters = groupSize == 64;
        options.result = groupSize == 80 ? input : DType::F32;
        const bool usesWgmma = options.chip == "sm_90a" && groupSize % 16 == 0;
        options.kernels = {"bytes8", "bytes16", "expand", usesWgmma ? "wgmma64" : "mma64"};
        ProductCase(true, {8, 2, 1, groupSize, 40}, options).check();
        options.kernels.back() = options.chip == "sm_90a" ? "wgmma64" : "mma64";
        ProductCase(false, {8, 2, 1, groupSize, 72}, options).check();
      }
}

// All groups active, none routed, one group, and columns and depths of any number.
TEST(Products, Int8OfUnusualRoutings) {
  for (const Sizes &sizes : {Sizes{4, 4, 0, 32, 48}, Sizes{4, 2, 0, 8, 48}, Sizes{1, 1, 0, 512, 40},
                             Sizes{4, 0, 2, 16, 37}, Sizes{40, 3, 1, 8, 56}}) {
    Options options;
    options.weight = DType::I8;
    options.tokens = {1, 16, 17};
    options.gates = sizes.numRouted == 0;
    options.orders = !options.gates;
    ProductCase(true, sizes, options).check();
    ProductCase(false, sizes, options).check();
  }
  Options options;
  options.weight = DType::I8;
  options.tokens = {0, 1, 4, 16, 17, 70};
  options.kernels = {"dot1", "dot4", "dot16", "scalar"};
  ProductCase(true, {16, 3, 1, 4, 37}, options).check();
  ProductCase(false, {16, 3, 1, 3, 36}, options).check();
  options.kernels = {"scalar"};
  ProductCase(true, {16, 3, 1, 3, 37}, options).check();
  ProductCase(false, {16, 3, 1, 3, 37}, options).check();
  options.input = DType::F32;
  options.kernels = {"dot1", "dot4", "dot16", "scalar"};
  ProductCase(true, {16, 3, 1, 8, 40}, options).check();
}

TEST(Products, GateAndResidual) {
  for (const char *chip : {"sm_80", "sm_90a"})
    for (DType result : {DType::BF16, DType::F32})
      for (bool gates : {true, false}) {
        Options options;
        options.chip = chip;
        options.tokens = {3, 70};
        options.result = result;
        options.gates = gates;
        options.orders = !gates;
        options.residual = options.scatters = !gates;
        ProductCase(true, {8, 2, 2, 16, 72}, options).check();
        if (!gates)
          ProductCase(false, {8, 2, 2, 16, 72}, options).check();
      }
}

// More groups than a word of a mask has bits, up to those that a routing may have.
TEST(Products, ManyGroups) {
  const std::pair<int64_t, const char *> cases[] = {
      {70, "sm_80"}, {70, "sm_90a"}, {256, "sm_90a"}, {1024, "sm_90a"}};
  for (const auto &[numGroups, chip] : cases)
    for (bool isSpmm : {true, false}) {
      Options options;
      options.chip = chip;
      options.tokens = {numGroups < 256 ? 70 : 5};
      ProductCase product(isSpmm, {numGroups, 33, 3, numGroups < 256 ? 16 : 8, 64}, options);
      product.check();
      std::string figures;
      EXPECT_EQ(product.getOp().assemble(figures), "") << figures;
    }
}

//===----------------------------------------------------------------------===//
// Sizes, types and operands in all combinations
//===----------------------------------------------------------------------===//

TEST(Products, Combinations) {
  const Sizes routings[] = {
      {16, 6, 2, 0, 0}, {16, 3, 1, 0, 0}, {12, 3, 1, 0, 0}, {8, 0, 2, 0, 0}, {4, 4, 0, 0, 0}};
  const std::pair<DType, const char *> kinds[] = {{DType::F32, "sm_80"},
                                                  {DType::BF16, "sm_80"},
                                                  {DType::F16, "sm_80"},
                                                  {DType::BF16, "sm_90a"},
                                                  {DType::F16, "sm_90a"}};
  const int64_t stride = getStride();
  int64_t number = 0;
  for (const auto &[dtype, chip] : kinds)
    for (Sizes sizes : routings)
      for (int64_t groupSize : {4, 16, 32, 64, 128})
        for (int64_t inner : {37, 16, 64, 320})
          for (bool isSpmm : {true, false}) {
            if (++number % stride != 0)
              continue;
            const int64_t variant = number * 7 / 5;
            Options options;
            if (stride > 20)
              options.tokens = {1, 16, 17, 129};
            options.chip = chip;
            options.input = options.weight = dtype;
            options.result = variant % 2 ? DType::F32 : dtype;
            options.rows = 16 << variant % 5;
            options.sms = variant % 2 ? 2 : 132;
            options.gates = variant % 3 == 1;
            options.orders = !options.gates;
            options.residual = variant % 3 == 0;
            options.scatters = variant % 4 < 2;
            sizes.groupSize = groupSize;
            sizes.inner = inner;
            SCOPED_TRACE("number " + std::to_string(number));
            ProductCase product(isSpmm, sizes, options);
            product.check();
            std::string figures;
            if (stride <= 20 && number % 4 == 0)
              EXPECT_EQ(product.getOp().assemble(figures), "");
            if (HasFailure())
              return;
          }
}

//===----------------------------------------------------------------------===//
// What ptxas makes of them: spills, stack frames and lost performance are errors. At the sizes of models.
//===----------------------------------------------------------------------===//

/// Types and operands as models have them.
static Options optionsOf(const char *chip, int variant) {
  Options options;
  options.chip = chip;
  options.input = options.weight = variant < 3 || variant > 4 ? DType::BF16 : DType::F32;
  if (variant > 4)
    options.weight = DType::I8;
  options.result = variant == 0 || variant == 2 ? DType::BF16 : DType::F32;
  options.gates = variant == 2;
  options.orders = !options.gates;
  options.residual = options.scatters = variant != 0;
  return options;
}

static void assemble(const char *chip, int variant, const Sizes &sizes) {
  const bool isSpmm = variant % 2 == 0;
  ProductCase product(isSpmm, sizes, optionsOf(chip, variant));
  std::string figures;
  EXPECT_EQ(product.getOp().assemble(figures), "") << figures;
  std::cout << chip << (isSpmm ? " spmm " : " sddmm ") << sizes.numGroups << " x "
            << sizes.groupSize << ", " << sizes.inner << "\n"
            << figures;
}

TEST(Products, Assemble) {
  assemble("ptx", 0, {16, 3, 1, 256, 1024});
  for (const char *chip : {"sm_80", "sm_90a"})
    for (int variant = 0; variant < 7; ++variant)
      assemble(chip, variant, {16, 3, 1, 256, 1024});
  if (getStride() > 20)
    return;
  for (const char *chip : {"sm_80", "sm_90a"})
    for (int variant = 0; variant < 7; ++variant)
      for (const Sizes &sizes :
           {Sizes{16, 6, 2, 128, 2048}, Sizes{16, 9, 3, 64, 2560}, Sizes{12, 3, 1, 256, 4096},
            Sizes{16, 6, 2, 96, 1536}, Sizes{32, 12, 4, 64, 4096}, Sizes{64, 16, 8, 32, 2048},
            Sizes{128, 32, 8, 64, 11008}, Sizes{1, 1, 0, 2048, 32000}, Sizes{4, 4, 0, 512, 5632},
            Sizes{8, 0, 2, 512, 1000}, Sizes{16, 6, 2, 16, 64}, Sizes{16, 6, 2, 8, 64},
            Sizes{16, 6, 2, 4, 64}, Sizes{4, 1, 1, 16, 128}, Sizes{200, 20, 4, 24, 512}})
        assemble(chip, variant, sizes);
}
