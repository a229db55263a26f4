// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles an op in this process, packs its weights, and checks what it computes.
#include "OpSubject.h"

#include "Failure.h"

#include "mohd/Model/TensorCopy.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
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
  std::mt19937_64 generator(std::hash<std::string>()(spec.name));
  for (float &value : values) {
    double unit = static_cast<double>(generator() >> 11) * 0x1p-52 - 1.0;
    value = static_cast<float>(spec.centre + spec.scale * unit);
  }
  std::vector<char> narrowed(values.size() * static_cast<size_t>(dtypeSize(type)));
  narrow(type, values.data(), narrowed.data(), count);
  widen(type, narrowed.data(), values.data(), count);
  return values;
}

size_t bytesOf(const BundleWeight &weight) {
  return static_cast<size_t>(
      tensorBytes(weight.layout.type, weight.shape.data(), weight.shape.size()).value_or(0));
}

/// `weight` packed from its values in the op's layout.
Buffer pack(const BundleWeight &weight, const WeightSpec &spec, const std::vector<float> &values) {
  size_t bytes = bytesOf(weight);
  Buffer buffer = allocate(bytes);
  ElementReader read = [&](int64_t first, int64_t count, float *target) {
    std::copy_n(values.data() + first, count, target);
    return Status();
  };
  check(copyTensor(spec.shape, weight.layout, read, buffer.get(), bytes), weight.name);
  return buffer;
}

/// Tokens to compare: the first and the last, and some in between.
std::vector<int64_t> chooseTokens(int64_t tokens) {
  std::vector<int64_t> chosen;
  int64_t count = std::min(tokens, kVerifiedTokens);
  for (int64_t i = 0; i < count; ++i)
    chosen.push_back(count == 1 ? 0 : i * (tokens - 1) / (count - 1));
  return chosen;
}

Failure mismatch(const std::string &message) {
  return {1, "MISMATCH", message, "",
          "nothing wrong is timed; mohd-compile --lowering=reference "
          "compiles the op to plain loops"};
}

} // namespace

double toleranceOf(DType weightType) { return weightType == DType::F32 ? 1e-5 : 5e-3; }

Kernel::Kernel(const Op &op, DType weightType, const std::string &target) : key_(op.key()) {
  CompileOptions options;
  options.text = op.text();
  options.input = "benchmark.mlir";
  options.weights = WeightsMode::None;
  options.targets = {target};
  options.warn = warn;
  auto start = std::chrono::steady_clock::now();
  Result<CompiledBundle> compiled = compileToMemory(options);
  check(compiled.status(), options.input);
  compileSeconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  compiled_ = std::move(*compiled);
  std::vector<WeightSpec> specs = op.weights();
  for (const WeightSpec &spec : specs)
    logical_[spec.name] = drawWeight(spec, weightType);
  std::vector<Buffer> &packed = copies_.emplace_back();
  for (const BundleWeight &weight : compiled_.weights) {
    auto spec = std::find_if(specs.begin(), specs.end(),
                             [&](const WeightSpec &s) { return s.name == weight.source; });
    packed.push_back(pack(weight, *spec, logical_.at(weight.source)));
  }
}

size_t Kernel::totalBytes() const {
  size_t total = 0;
  for (const BundleWeight &weight : compiled_.weights)
    total += bytesOf(weight);
  return total;
}

void Kernel::makeCopies(size_t count) {
  while (copies_.size() < count) {
    std::vector<Buffer> copy;
    for (size_t i = 0; i < compiled_.weights.size(); ++i) {
      size_t bytes = bytesOf(compiled_.weights[i]);
      copy.push_back(allocate(bytes));
      std::memcpy(copy.back().get(), copies_[0][i].get(), bytes);
    }
    copies_.push_back(std::move(copy));
  }
}

OpSubject::OpSubject(const Op &op, Kernel &kernel, const TokenRouting &routing, uint32_t threads,
                     size_t coldBytes, size_t memoryBytes)
    : op_(op), kernel_(kernel), given_{op.makeInputs(routing), &kernel.logicalWeights(), routing},
      runner_(kernel.bundle(), "benchmark.mlir", threads), entry_(runner_.entry("main")) {
  size_t rotating = kernel.totalBytes();
  for (const Input &input : given_.inputs)
    rotating += input.rotates ? input.tensor.numBytes() : 0;
  double read = std::max(1.0, op.work(routing).weightBytes);
  size_t wanted = static_cast<size_t>(std::ceil(static_cast<double>(coldBytes) / read));
  size_t room = memoryBytes / std::max<size_t>(rotating, 1);
  size_t count = std::max<size_t>(1, std::min(wanted, room));
  kernel.makeCopies(count);
  for (size_t copy = 0; copy < count; ++copy) {
    std::vector<Tensor> &copies = inputCopies_.emplace_back();
    for (Input &input : given_.inputs)
      if (input.rotates) {
        copies.emplace_back(input.tensor.type());
        std::memcpy(copies.back().data(), input.tensor.data(), input.tensor.numBytes());
      }
    std::vector<mohd_tensor_t> &views = views_.emplace_back();
    for (const mohd_tensor_info_t &info : entry_.inputs)
      views.push_back(inputView(info, copy));
  }
  for (uint32_t i = 0; i < entry_.outputs.size(); ++i)
    outputs_.emplace_back(runner_.outputType(entry_, i, views_[0]));
  for (Tensor &output : outputs_)
    outputViews_.push_back(output.view());
  runner_.reserve(entry_, views_[0]);
  tolerance_ = 1e-5;
  for (const BundleWeight &weight : kernel.weights())
    tolerance_ = std::max(tolerance_, toleranceOf(weight.layout.type));
}

mohd_tensor_t OpSubject::inputView(const mohd_tensor_info_t &info, size_t copy) {
  size_t place = 0; // among the inputs that rotate
  for (Input &input : given_.inputs) {
    if (input.name == info.name)
      return input.rotates ? inputCopies_[copy][place].view() : input.tensor.view();
    place += input.rotates;
  }
  for (size_t i = 0; i < kernel_.weights().size(); ++i) {
    const BundleWeight &weight = kernel_.weights()[i];
    if (weight.name != info.name)
      continue;
    mohd_tensor_t view = {};
    view.struct_size = sizeof(view);
    view.data = kernel_.weight(copy, i);
    view.dtype = static_cast<mohd_dtype_t>(weight.layout.type);
    view.rank = static_cast<uint32_t>(weight.shape.size());
    std::copy(weight.shape.begin(), weight.shape.end(), view.shape);
    view.byte_size = bytesOf(weight);
    return view;
  }
  throw failure(StatusCode::Internal, std::string("nothing is known of input '") + info.name + "'");
}

void OpSubject::run() {
  runner_.run(entry_, views_[next_], outputViews_);
  next_ = (next_ + 1) % views_.size();
}

void OpSubject::poisonOutputs() {
  for (Tensor &output : outputs_) // all bits set is a NaN in every float type
    std::memset(output.data(), 0xff, output.numBytes());
}

std::vector<double> OpSubject::actualRow(int64_t token) const {
  std::vector<double> row;
  for (const Tensor &output : outputs_) {
    int64_t width = output.type().shape[1];
    for (int64_t i = token * width; i < (token + 1) * width; ++i)
      row.push_back(output.number(i));
  }
  return row;
}

Verified OpSubject::verify() {
  next_ = views_.size() - 1; // the run after it reads the first copy
  poisonOutputs();
  run();
  std::vector<std::string> first;
  for (const Tensor &output : outputs_)
    first.emplace_back(static_cast<const char *>(output.data()), output.numBytes());
  poisonOutputs();
  run();
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (std::memcmp(first[i].data(), outputs_[i].data(), first[i].size()) != 0)
      throw mismatch("two runs of the same call differ");
  double wrong = 0, right = 0;
  for (int64_t token : chooseTokens(given_.routing.tokens)) {
    std::vector<double> actual = actualRow(token), expected = op_.expectedRow(given_, token);
    for (size_t i = 0; i < expected.size(); ++i) {
      wrong += (actual[i] - expected[i]) * (actual[i] - expected[i]);
      right += expected[i] * expected[i];
    }
  }
  for (const Tensor &output : outputs_)
    for (int64_t i = 0; i < output.numElements(); ++i)
      if (!std::isfinite(output.number(i)))
        throw mismatch("element " + std::to_string(i) + " of an output is " +
                       std::to_string(output.number(i)));
  double error = right > 0 ? std::sqrt(wrong / right) : std::sqrt(wrong);
  if (!(error <= tolerance_)) {
    char text[96];
    std::snprintf(text, sizeof(text), "the relative error is %.3g, at most %.3g is allowed", error,
                  tolerance_);
    throw mismatch(text);
  }
  return {error, tolerance_, "f64 loops"};
}

} // namespace mohdbench
