// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The choice of the next token from its logits, by the bundle's entry point `sample`.
#ifndef MOHD_TOOLS_MOHD_RUN_SAMPLER_H
#define MOHD_TOOLS_MOHD_RUN_SAMPLER_H

#include "Options.h"
#include "Runner.h"
#include "Tensor.h"

#include <cstdint>
#include <random>
#include <vector>

namespace mohdrun {

/// Draws tokens where the logits are; the same options and logits give the same tokens.
class Sampler {
public:
  /// `runner` must live as long; rows to choose from have the type of `logits`. Throws a Failure if the bundle has no such entry point.
  Sampler(Runner &runner, const SamplingOptions &options, Tensor &logits);

  /// Chooses from one row of logits [1, V] that a run has left on the runner's device. Throws a Failure if a logit is NaN or +Inf, or all are -Inf.
  int64_t choose(Tensor &logits);

private:
  std::vector<mohd_tensor_t> inputs(Tensor &logits);

  Runner &runner_;
  Entry entry_;
  // The engine's sequence is fixed by the C++ standard; its top 24 bits make a uniform number in [0, 1).
  std::mt19937_64 generator_;
  Tensor temperature_, topK_, topP_, draw_, token_; // [1]
};

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_SAMPLER_H
