// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles in this process, keeps copies of weights, and calls the runtime.
#include "Call.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace mohdrt;
using namespace mohdrun;
using namespace mohdtool;
using namespace mlir::mohd;

namespace mohdbench {

static size_t bytesOf(const BundleWeight &weight) {
  return static_cast<size_t>(
      tensorBytes(weight.layout.type, weight.shape.data(), weight.shape.size()).value_or(0));
}

double toleranceOf(DType weightType) { return weightType == DType::F32 ? 1e-5 : 5e-3; }

Failure mismatch(const std::string &message) {
  return {1, "MISMATCH", message, "",
          "nothing wrong is timed; mohd-compile --lowering=reference makes plain loops to compare "
          "with"};
}

void Difference::add(double actual, double expected) {
  wrong_ += (actual - expected) * (actual - expected);
  right_ += expected * expected;
}

double Difference::relative() const {
  return right_ > 0 ? std::sqrt(wrong_ / right_) : std::sqrt(wrong_);
}

Verified Difference::judge(double tolerance, const char *against) const {
  if (relative() <= tolerance)
    return {relative(), tolerance, against};
  char text[128];
  std::snprintf(text, sizeof(text), "the relative error is %.3g, at most %.3g is allowed (%s)",
                relative(), tolerance, against);
  throw mismatch(text);
}

Program::Program(CompileOptions options, const Fill &fill) {
  options.weights = WeightsMode::None;
  options.warn = warn;
  auto start = std::chrono::steady_clock::now();
  Result<CompiledBundle> compiled = compileToMemory(options);
  check(compiled.status(), options.input);
  compileSeconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  compiled_ = std::move(*compiled);
  std::vector<Buffer> &first = copies_.emplace_back();
  for (const BundleWeight &weight : compiled_.weights) {
    first.push_back(allocate(bytesOf(weight)));
    fill(weight, first.back().get(), bytesOf(weight));
  }
}

size_t Program::weightBytes() const {
  size_t total = 0;
  for (const BundleWeight &weight : compiled_.weights)
    total += bytesOf(weight);
  return total;
}

void Program::makeCopies(size_t count) {
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

mohd_tensor_t Program::view(const std::string &name, size_t copy) const {
  for (size_t i = 0; i < compiled_.weights.size(); ++i) {
    const BundleWeight &weight = compiled_.weights[i];
    if (weight.name != name)
      continue;
    mohd_tensor_t view = {};
    view.struct_size = sizeof(view);
    view.data = copies_[copy][i].get();
    view.dtype = static_cast<mohd_dtype_t>(weight.layout.type);
    view.rank = static_cast<uint32_t>(weight.shape.size());
    std::copy(weight.shape.begin(), weight.shape.end(), view.shape);
    view.byte_size = bytesOf(weight);
    return view;
  }
  throw failure(StatusCode::Unsupported, "nothing is known of the input '" + name + "'");
}

Call::Call(Runner runner, const std::string &entry, std::vector<Input> inputs, Program *program,
           double readBytes, const Cold &cold)
    : runner_(std::move(runner)), entry_(runner_.entry(entry)), inputs_(std::move(inputs)) {
  size_t rotating = program ? program->weightBytes() : 0;
  for (const Input &input : inputs_)
    rotating += input.rotates ? input.tensor.numBytes() : 0;
  double wanted = std::ceil(static_cast<double>(cold.bytes) / std::max(1.0, readBytes));
  size_t room = cold.memory / std::max<size_t>(rotating, 1), count = 1;
  if (rotating)
    count = std::max<size_t>(1, std::min(static_cast<size_t>(wanted), room));
  if (program)
    program->makeCopies(count);
  for (size_t copy = 0; copy < count; ++copy) {
    std::vector<Tensor> &copies = inputCopies_.emplace_back();
    for (const Input &input : inputs_)
      if (input.rotates) {
        copies.emplace_back(input.tensor.type());
        std::memcpy(copies.back().data(), input.tensor.data(), input.tensor.numBytes());
      }
    std::vector<mohd_tensor_t> &views = views_.emplace_back();
    for (const mohd_tensor_info_t &info : entry_.inputs)
      views.push_back(inputView(info.name, program, copy));
  }
  for (uint32_t i = 0; i < entry_.outputs.size(); ++i)
    outputs_.emplace_back(runner_.outputType(entry_, i, views_[0]));
  for (Tensor &output : outputs_)
    outputViews_.push_back(output.view());
  runner_.reserve(entry_, views_[0]);
}

mohd_tensor_t Call::inputView(const std::string &name, const Program *program, size_t copy) {
  size_t place = 0; // among the inputs that rotate
  for (Input &input : inputs_) {
    if (input.name == name)
      return input.rotates ? inputCopies_[copy][place].view() : input.tensor.view();
    place += input.rotates;
  }
  if (!program)
    throw failure(StatusCode::Unsupported, "nothing is known of the input '" + name + "'");
  return program->view(name, copy);
}

void Call::run() {
  runner_.run(entry_, views_[next_], outputViews_);
  next_ = (next_ + 1) % views_.size();
}

void Call::poisonOutputs() {
  for (Tensor &output : outputs_) // all bits set is a NaN in every float type
    std::memset(output.data(), 0xff, output.numBytes());
}

void Call::checkRepeats() {
  next_ = views_.size() - 1; // the run after it reads the first copy
  poisonOutputs();
  run();
  std::vector<std::string> first;
  for (const Tensor &output : outputs_)
    first.emplace_back(static_cast<const char *>(output.data()), output.numBytes());
  poisonOutputs();
  run();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (std::memcmp(first[i].data(), outputs_[i].data(), first[i].size()) != 0)
      throw mismatch("two runs of the same call differ");
    for (int64_t j = 0; j < outputs_[i].numElements(); ++j)
      if (!std::isfinite(outputs_[i].number(j)))
        throw mismatch("element " + std::to_string(j) + " of output '" + entry_.outputs[i].name +
                       "' is " + std::to_string(outputs_[i].number(j)));
  }
}

} // namespace mohdbench
