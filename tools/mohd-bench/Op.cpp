// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of ops and what they share.
#include "Ops.h"

#include "Failure.h"

#include <cstring>
#include <random>

using namespace mohdrun;
using namespace mohdtool;

namespace mohdbench {

Op::~Op() = default;

std::unique_ptr<Op> Op::dense() const { return nullptr; }

const Tensor &Given::input(const std::string &name) const {
  for (const Input &input : inputs)
    if (input.name == name)
      return input.tensor;
  throw failure(mohdrt::StatusCode::Internal, "the op has no input '" + name + "'");
}

void fillUniform(Tensor &tensor, uint64_t seed) {
  std::mt19937_64 generator(seed);
  for (int64_t i = 0, count = tensor.numElements(); i < count; ++i)
    tensor.setNumber(i, static_cast<double>(generator() >> 11) * 0x1p-52 - 1.0);
}

std::string tensorText(const std::vector<int64_t> &shape, const std::string &element) {
  std::string text = "tensor<";
  for (int64_t extent : shape)
    text += (extent < 0 ? std::string("?") : std::to_string(extent)) + "x";
  return text + element + ">";
}

std::string routingText(const Groups &groups) {
  return "!mohd.routing<" + std::to_string(groups.total) + ", " + std::to_string(groups.shared) +
         ", " + std::to_string(groups.routed) + ">";
}

std::string argumentText(const std::string &name, const std::string &type) {
  return "%" + name + ": " + type + " {mohd.name = \"" + name + "\"}";
}

Input floatInput(const std::string &name, std::vector<int64_t> shape, uint64_t seed) {
  Input input{name, Tensor({mohdrt::DType::F32, std::move(shape)})};
  fillUniform(input.tensor, seed);
  return input;
}

Input intInput(const std::string &name, std::vector<int64_t> shape,
               const std::vector<int32_t> &values) {
  Input input{name, Tensor({mohdrt::DType::I32, std::move(shape)})};
  if (!values.empty())
    std::memcpy(input.tensor.data(), values.data(), input.tensor.numBytes());
  return input;
}

std::vector<Input> routingInputs(const TokenRouting &routing, uint64_t seed) {
  std::vector<Input> inputs;
  std::vector<int64_t> shape{routing.tokens, routing.groups.active()};
  inputs.push_back(intInput("indices", shape, routing.indices));
  inputs.push_back(floatInput("gates", shape, seed));
  return inputs;
}

const std::vector<std::string> &opNames() {
  static const std::vector<std::string> names{"op:spmm",  "op:sddmm",  "op:linear",
                                              "op:route", "op:fusion", "op:attention"};
  return names;
}

std::unique_ptr<Op> makeOp(const Point &point) {
  const Groups &groups = point.groups;
  bool isRouted = point.what != "op:linear" && point.what != "op:attention";
  if (isRouted && point.width % groups.total != 0)
    throw usage("expected -D to be a multiple of the " + std::to_string(groups.total) +
                " groups of --groups " + toString(groups) + ", got " + std::to_string(point.width));
  if (point.what == "op:spmm" || point.what == "op:sddmm")
    return makeProjection(point);
  if (point.what == "op:linear")
    return makeLinear(point, point.width, point.inner);
  if (point.what == "op:route")
    return makeRoute(point);
  if (point.what == "op:fusion")
    return makeFusion(point);
  return makeAttention(point);
}

} // namespace mohdbench
