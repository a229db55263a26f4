// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The prompt as tokens.
#ifndef MOHD_TOOLS_MOHD_RUN_PROMPT_H
#define MOHD_TOOLS_MOHD_RUN_PROMPT_H

#include "Options.h"

#include "mohd/format/bundle.h"

#include <cstdint>
#include <vector>

namespace mohdrun {

/// The tokens of --prompt, --prompt-file or --prompt-tokens: at least one, each of the model's
/// vocabulary, no more than it has positions. Throws a Failure for anything else, text for a model
/// without tokenizer and text that is no UTF-8 included.
std::vector<int32_t> readPrompt(const Options &options, const mohdrt::ModelInfo &model);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_PROMPT_H
