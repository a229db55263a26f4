// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prompts from the command line, from files and as token ids.
#include "Prompt.h"

#include "Failure.h"

#include "mohd/format/bytes.h"
#include "mohd/format/json.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

constexpr size_t kMaxPromptBytes = size_t(16) << 20;

std::string readText(const std::string &path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(
      path == "-" ? stdin : std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file)
    check(systemError("open", path, errno), path);
  std::string text;
  char buffer[1 << 16];
  while (size_t got = std::fread(buffer, 1, sizeof(buffer), file.get())) {
    text.append(buffer, got);
    if (text.size() > kMaxPromptBytes)
      throw failure(StatusCode::Malformed, "expected a prompt of at most 16 MiB", path);
  }
  if (std::ferror(file.get()))
    check(systemError("read", path, errno), path);
  return text;
}

std::vector<int32_t> parseIds(std::string_view text) {
  std::vector<int32_t> ids;
  while (!text.empty() || !ids.empty()) {
    int32_t id = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    size_t used = static_cast<size_t>(end - text.data());
    if (error != std::errc() || (used < text.size() && text[used] != ','))
      throw usage("expected token ids such as 1,2,3 for --prompt-tokens, got '" +
                  escapeForMessage(text) + "' as id " + std::to_string(ids.size()));
    ids.push_back(id);
    if (used == text.size())
      break;
    text.remove_prefix(used + 1);
  }
  return ids;
}

std::vector<int32_t> encode(std::string_view text, const ModelInfo &model,
                            const std::string &where) {
  if (model.tokenizer != "bytes")
    throw failure(StatusCode::InvalidArgument, "the model has no tokenizer, so it cannot take text",
                  where, "give token ids: --prompt-tokens 1,2,3");
  if (size_t bad = findInvalidUtf8(text); bad != std::string_view::npos)
    throw failure(StatusCode::Malformed, "the prompt is not UTF-8 at byte " + std::to_string(bad),
                  where, "give any bytes as token ids: --prompt-tokens 1,2,3");
  std::vector<int32_t> tokens;
  for (char character : text)
    tokens.push_back(static_cast<uint8_t>(character));
  return tokens;
}

} // namespace

std::vector<int32_t> readPrompt(const Options &options, const ModelInfo &model) {
  std::vector<int32_t> tokens;
  if (options.promptTokens)
    tokens = parseIds(*options.promptTokens);
  else if (options.prompt)
    tokens = encode(*options.prompt, model, "--prompt");
  else
    tokens = encode(readText(*options.promptFile), model, *options.promptFile);
  if (tokens.empty())
    throw usage("the prompt is empty, and a model needs at least one token to continue");
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= model.vocabSize)
      throw usage("expected token ids from 0 to " + std::to_string(model.vocabSize - 1) + ", got " +
                      std::to_string(tokens[i]) + " as id " + std::to_string(i),
                  "");
  if (static_cast<int64_t>(tokens.size()) > model.maxPositions)
    throw usage("the prompt has " + std::to_string(tokens.size()) +
                    " tokens, more than the model's " + std::to_string(model.maxPositions) +
                    " positions",
                "shorten the prompt");
  return tokens;
}

} // namespace mohdrun
