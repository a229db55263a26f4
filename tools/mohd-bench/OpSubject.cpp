// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Draws and packs an op's weights, and checks what it computes.
#include "OpSubject.h"

#include "Failure.h"

#include "mohd/Model/TensorCopy.h"

#include <algorithm>
#include <random>

using namespace mohdrt;
using namespace mohdrun;
using namespace mohdtool;
using namespace mlir::mohd;

namespace mohdbench {
namespace {

constexpr int64_t kVerifiedTokens = 6;

/// Random weights of an op, f32, rounded to `type`.
std::vector<float> drawWeight(const WeightSpec &spec, DType type) {
  int64_t count = 1;
  for (int64_t extent : spec.shape)
    count *= extent;
  std::vector<float> values(static_cast<size_t>(count));
  std::mt19937_64 generator(spec.name.size() + static_cast<uint64_t>(count));
  for (float &value : values) {
    double unit = static_cast<double>(generator() >> 11) * 0x1p-52 - 1.0;
    value = static_cast<float>(spec.centre + spec.scale * unit);
  }
  std::vector<char> narrowed(values.size() * static_cast<size_t>(dtypeSize(type)));
  narrow(type, values.data(), narrowed.data(), count);
  widen(type, narrowed.data(), values.data(), count);
  return values;
}

/// Tokens to compare: the first and the last, and some in between.
std::vector<int64_t> chooseTokens(int64_t tokens) {
  std::vector<int64_t> chosen;
  int64_t count = std::min(tokens, kVerifiedTokens);
  for (int64_t i = 0; i < count; ++i)
    chosen.push_back(count == 1 ? 0 : i * (tokens - 1) / (count - 1));
  return chosen;
}

} // namespace

Kernel::Kernel(std::string key, const Op &op, const Point &point, const std::string &target)
    : key_(std::move(key)) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const WeightSpec &spec : op.weights()) {
    logical_[spec.name] = drawWeight(spec, point.weightType);
    shapes[spec.name] = spec.shape;
  }
  CompileOptions options;
  options.text = op.text();
  options.input = "benchmark.mlir";
  options.targets = {target};
  if (point.gatherTokens >= 0)
    options.gatherTokens = point.gatherTokens;
  auto fill = [&](const BundleWeight &weight, void *memory, size_t bytes) {
    const std::vector<float> &values = logical_.at(weight.source);
    ElementReader read = [&](int64_t first, int64_t count, float *out) {
      std::copy_n(values.data() + first, count, out);
      return Status();
    };
    check(copyTensor(shapes.at(weight.source), weight.layout, read, memory, bytes), weight.name);
  };
  program_ = std::make_unique<Program>(options, fill);
}

OpSubject::OpSubject(const Op &op, Kernel &kernel, const TokenRouting &routing, uint32_t threads,
                     const Cold &cold)
    : op_(op), kernel_(kernel), routing_(routing),
      call_(Runner(kernel.program().bytes(), "benchmark.mlir", threads), "main",
            op.makeInputs(routing), &kernel.program(), op.work(routing).weightBytes, cold) {}

std::vector<double> OpSubject::actualRow(int64_t token) const {
  std::vector<double> row;
  for (const Tensor &output : call_.outputs()) {
    int64_t width = output.type().shape[1];
    for (int64_t i = token * width; i < (token + 1) * width; ++i)
      row.push_back(output.number(i));
  }
  return row;
}

Verified OpSubject::verify() {
  call_.checkRepeats();
  Given given{call_.inputs(), kernel_.logicalWeights(), routing_};
  Difference difference;
  for (int64_t token : chooseTokens(routing_.tokens)) {
    std::vector<double> actual = actualRow(token), expected = op_.expectedRow(given, token);
    for (size_t i = 0; i < expected.size(); ++i)
      difference.add(actual[i], expected[i]);
  }
  double tolerance = toleranceOf(DType::F32);
  for (const BundleWeight &weight : kernel_.program().weights())
    tolerance = std::max(tolerance, toleranceOf(weight.layout.type));
  return difference.judge(tolerance, "f64 loops");
}

} // namespace mohdbench
