// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The choice of the next token from its logits.
#ifndef MOHD_TOOLS_MOHD_RUN_SAMPLER_H
#define MOHD_TOOLS_MOHD_RUN_SAMPLER_H

#include "Options.h"

#include <cstdint>
#include <random>
#include <vector>

namespace mohdrun {

/// Draws tokens; the same options and logits give the same tokens.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options) : options_(options), generator_(options.seed) {}

  /// Chooses among `count` logits: the largest (the lowest index among equals) at temperature 0,
  /// else a draw from softmax(logits / temperature), cut to the top k, then to the fewest tokens
  /// whose probability reaches top p. Throws a Failure if a logit is NaN or +Inf, or all are -Inf.
  int64_t choose(const float *logits, int64_t count);

private:
  SamplingOptions options_;
  // The engine's sequence is fixed by the C++ standard; its top 53 bits make a uniform number in
  // [0, 1).
  std::mt19937_64 generator_;
  std::vector<int64_t> candidates_; // tokens, the most likely first
  std::vector<double> weights_;     // of the candidates: exp((logit - largest) / temperature)
};

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_SAMPLER_H
