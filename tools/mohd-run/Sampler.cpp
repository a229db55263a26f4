// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Greedy choice and sampling by temperature, top k and top p.
#include "Sampler.h"

#include "Failure.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mohdtool;

namespace mohdrun {

int64_t Sampler::choose(const float *logits, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(logits[i]) || logits[i] == INFINITY)
      throw Failure{
          1, "NOT_FINITE",
          "the model's logit of token " + std::to_string(i) + " is " + std::to_string(logits[i]),
          "", "the weights are damaged or overflow; compare the model with python -m mohd.compare"};
    if (logits[i] > logits[best])
      best = i;
  }
  if (logits[best] == -INFINITY)
    throw Failure{1, "NOT_FINITE", "the model's logits are all -inf", "", ""};
  if (options_.temperature == 0)
    return best;

  candidates_.resize(static_cast<size_t>(count));
  std::iota(candidates_.begin(), candidates_.end(), 0);
  std::sort(candidates_.begin(), candidates_.end(), [&](int64_t a, int64_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  if (options_.topK && *options_.topK < count)
    candidates_.resize(static_cast<size_t>(*options_.topK));
  weights_.clear();
  for (int64_t token : candidates_)
    weights_.push_back(std::exp((double(logits[token]) - logits[best]) / options_.temperature));

  double total = std::accumulate(weights_.begin(), weights_.end(), 0.0), kept = 0;
  size_t numKept = 0;
  while (numKept < weights_.size() && (numKept == 0 || kept < options_.topP * total))
    kept += weights_[numKept++];
  double draw = static_cast<double>(generator_() >> 11) * 0x1p-53 * kept;
  size_t chosen = 0;
  for (; chosen + 1 < numKept && draw >= weights_[chosen]; ++chosen)
    draw -= weights_[chosen];
  return candidates_[chosen];
}

} // namespace mohdrun
