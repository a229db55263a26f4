// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The command --prompt: prefill, then one decode for each token. All memory is allocated before the
// first token.
#include "Commands.h"
#include "Failure.h"
#include "Prompt.h"
#include "Runner.h"
#include "Sampler.h"

#include <chrono>
#include <cstring>
#include <unistd.h>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A tensor of a call, by the name it has in docs/formats.md.
struct Argument {
  const char *name;
  Tensor *tensor;
};

/// A call of an entry point with buffers that stay.
struct Call {
  Entry entry;
  std::vector<mohd_tensor_t> inputs, outputs;
  Tensor logits; // [rows, V] f32

  /// Puts `arguments` in the entry point's order and makes room for its logits and workspace.
  Call(Runner &runner, const std::string &name, const std::vector<Argument> &arguments)
      : entry(runner.entry(name)) {
    bool fits = entry.inputs.size() == arguments.size() && entry.outputs.size() == 1 &&
                entry.outputs[0].dtype == MOHD_DTYPE_F32 && entry.outputs[0].rank == 2;
    for (const mohd_tensor_info_t &info : entry.inputs)
      for (const Argument &argument : arguments)
        if (std::strcmp(info.name, argument.name) == 0)
          inputs.push_back(argument.tensor->view());
    if (!fits || inputs.size() != arguments.size())
      throw failure(StatusCode::Unsupported,
                    "entry point '" + name + "' has other inputs than a language model's", "",
                    "if it was made with --weights=none, compile with weights; --function " + name +
                        " takes any inputs");
    logits = Tensor(runner.outputType(entry, 0, inputs));
    if (logits.type().shape[0] != 1 || logits.type().shape[1] < 1)
      throw failure(StatusCode::Unsupported, "expected one row of logits from entry point '" +
                                                 name + "', got " + toString(logits.type()));
    outputs.push_back(logits.view());
    runner.reserve(entry, inputs);
  }
};

Tensor idTensor(const std::vector<int32_t> &ids) {
  Tensor tensor({DType::I32, {static_cast<int64_t>(ids.size())}});
  std::memcpy(tensor.data(), ids.data(), tensor.numBytes());
  return tensor;
}

/// Writes tokens to stdout: bytes, or ids separated by commas.
class TokenPrinter {
public:
  explicit TokenPrinter(bool asText) : asText_(asText), onTerminal_(::isatty(STDOUT_FILENO)) {}

  void print(int64_t token) {
    if (!asText_)
      return writeStdout((std::exchange(first_, false) ? "" : ",") + std::to_string(token));
    char byte = static_cast<char>(token);
    bool control = (token < 0x20 && byte != '\n' && byte != '\t') || token == 0x7f;
    last_ = byte;
    if (token < 256) // a larger vocabulary has tokens that stand for no byte
      writeStdout(onTerminal_ && control ? std::string_view("?") : std::string_view(&byte, 1));
  }
  void finish() {
    if (!asText_ || (onTerminal_ && last_ != '\n'))
      writeStdout("\n");
  }

private:
  bool asText_, onTerminal_, first_ = true;
  char last_ = '\n';
};

void printRate(const char *what, int64_t count, double seconds) {
  std::fprintf(stderr, "%s: %lld tokens in %.3f s", what, static_cast<long long>(count), seconds);
  if (count > 0 && seconds > 0)
    std::fprintf(stderr, ", %.1f tokens/s", static_cast<double>(count) / seconds);
  std::fputc('\n', stderr);
}

/// How many tokens can be fed and made: the last one is made but never fed.
int64_t clampNewTokens(const Options &options, const ModelInfo &model, int64_t promptLength) {
  int64_t room = model.maxPositions - promptLength + 1;
  if (options.maxNewTokens <= room)
    return options.maxNewTokens;
  if (!options.quiet)
    note("the model has " + std::to_string(model.maxPositions) + " positions; generating " +
         std::to_string(room) + " tokens instead of " + std::to_string(options.maxNewTokens));
  return room;
}

} // namespace

void generate(const Options &options) {
  Clock::time_point start = Clock::now();
  Runner runner(options);
  std::optional<ModelInfo> model = runner.manifest().model;
  if (!model)
    throw failure(StatusCode::Unsupported, "the bundle holds no language model", options.bundle,
                  "--function NAME runs any entry point");
  std::vector<int32_t> prompt = readPrompt(options, *model);
  int64_t length = static_cast<int64_t>(prompt.size());
  int64_t numNew = clampNewTokens(options, *model, length);

  TensorType cacheType{
      DType::F32, {model->numLayers, 1, length + std::max<int64_t>(numNew - 1, 0), model->kvWidth}};
  Tensor keys(cacheType), values(cacheType);
  Tensor tokens = idTensor(prompt), sequence = idTensor(std::vector<int32_t>(prompt.size(), 0));
  Tensor positions = idTensor(prompt), rows = idTensor({static_cast<int32_t>(length - 1)});
  for (int32_t i = 0; i < length; ++i)
    positions.as<int32_t>()[i] = i;
  Tensor token = idTensor({0}), position = idTensor({0});
  Call prefill(runner, "prefill",
               {{"tokens", &tokens},
                {"sequence", &sequence},
                {"position", &positions},
                {"rows", &rows},
                {"k_cache", &keys},
                {"v_cache", &values}});
  Call decode(
      runner, "decode",
      {{"tokens", &token}, {"position", &position}, {"k_cache", &keys}, {"v_cache", &values}});
  Sampler sampler(runner, options.sampling, prefill.logits);
  double loadSeconds = secondsSince(start);

  bool asText = model->tokenizer == "bytes" && !options.printTokens;
  TokenPrinter printer(asText);
  if (options.echo)
    for (int32_t id : prompt)
      printer.print(id);
  start = Clock::now();
  runner.run(prefill.entry, prefill.inputs, prefill.outputs, Runner::Outputs::Stay);
  double prefillSeconds = secondsSince(start);

  start = Clock::now();
  Tensor *logits = &prefill.logits;
  for (int64_t made = 0; made < numNew; ++made) {
    int64_t next = sampler.choose(*logits);
    printer.print(next);
    if (made + 1 == numNew)
      break;
    *token.as<int32_t>() = static_cast<int32_t>(next);
    *position.as<int32_t>() = static_cast<int32_t>(length + made);
    runner.run(decode.entry, decode.inputs, decode.outputs, Runner::Outputs::Stay);
    logits = &decode.logits;
  }
  printer.finish();
  double decodeSeconds = secondsSince(start);
  if (options.quiet)
    return;
  std::fprintf(stderr, "loaded: %.3f s (%s)\n", loadSeconds, runner.describeContext().c_str());
  printRate("prompt", length, prefillSeconds);
  printRate("generated", numNew, decodeSeconds);
}

} // namespace mohdrun
