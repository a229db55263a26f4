// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of the entry point `sample`.
#include "Sampler.h"

#include "Failure.h"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

/// The failure of logits from which no token can be chosen.
Failure notFinite(const Tensor &logits) {
  const float *values = logits.as<float>();
  for (int64_t i = 0; i < logits.numElements(); ++i)
    if (std::isnan(values[i]) || values[i] == INFINITY)
      return {
          1, "NOT_FINITE",
          "the model's logit of token " + std::to_string(i) + " is " + std::to_string(values[i]),
          "", "the weights are damaged or overflow; compare the model with python -m mohd.compare"};
  return {1, "NOT_FINITE", "the model's logits are all -inf", "", ""};
}

} // namespace

Sampler::Sampler(Runner &runner, const SamplingOptions &options, Tensor &logits)
    : runner_(runner), entry_(runner.entry("sample")), generator_(options.seed),
      temperature_({DType::F32, {1}}), topK_({DType::I32, {1}}), topP_({DType::F32, {1}}),
      draw_({DType::F32, {1}}), token_({DType::I32, {1}}) {
  *temperature_.as<float>() = static_cast<float>(options.temperature);
  *topK_.as<int32_t>() =
      static_cast<int32_t>(std::min<int64_t>(options.topK.value_or(0), INT32_MAX));
  *topP_.as<float>() = static_cast<float>(options.topP);
  runner_.reserve(entry_, inputs(logits));
}

std::vector<mohd_tensor_t> Sampler::inputs(Tensor &logits) {
  return {logits.view(), temperature_.view(), topK_.view(), topP_.view(), draw_.view()};
}

int64_t Sampler::choose(Tensor &logits) {
  *draw_.as<float>() = static_cast<float>(generator_() >> 40) * 0x1p-24f;
  runner_.run(entry_, inputs(logits), {token_.view()});
  int64_t token = *token_.as<int32_t>();
  if (token < 0) {
    runner_.fetch(logits.view());
    throw notFinite(logits);
  }
  return token;
}

} // namespace mohdrun
