// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Declares the options with CLI11 and checks how they go together.
#include "Options.h"

#include "Failure.h"

#include <CLI/CLI.hpp>

#include <cctype>
#include <cmath>

using namespace mohdtool;

namespace mohdrun {
namespace {

/// The options as CLI11 fills them in.
struct RawOptions {
  bool greedy = false, listDevices = false, collectEnv = false, version = false, skipHashes = false;
  std::string inspect; // "text" or "json" if given
  std::optional<double> temperature, topP;
  std::optional<int64_t> topK;
  std::optional<uint64_t> seed;
  std::vector<std::string> inputs, outputs, expectations;
};

void declareGeneration(CLI::App &app, Options &options, RawOptions &raw) {
  const char *group = "Text generation";
  app.add_option("--prompt", options.prompt, "Text to continue")->type_name("TEXT")->group(group);
  app.add_option("--prompt-file", options.promptFile, "File with the text to continue; - is stdin")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--prompt-tokens", options.promptTokens,
                 "Token ids to continue, separated by commas")
      ->type_name("IDS")
      ->group(group);
  app.add_option("--max-new-tokens", options.maxNewTokens, "Tokens to generate (default 128)")
      ->type_name("N")
      ->group(group);
  app.add_flag("--greedy", raw.greedy, "Take the most likely token (the default)")->group(group);
  app.add_option("--temperature", raw.temperature, "Sample, with logits divided by X (0 is greedy)")
      ->type_name("X")
      ->group(group);
  app.add_option("--top-p", raw.topP, "Sample from the smallest set of tokens with probability P")
      ->type_name("P")
      ->group(group);
  app.add_option("--top-k", raw.topK, "Sample from the K most likely tokens")
      ->type_name("K")
      ->group(group);
  app.add_option("--seed", raw.seed, "Seed of the sampler (default 0)")
      ->check(checkUnsigned)
      ->type_name("N")
      ->group(group);
  app.add_flag("--print-tokens", options.printTokens, "Print token ids instead of text")
      ->group(group);
  app.add_flag("--echo", options.echo, "Print the prompt first")->group(group);
}

void declareFunction(CLI::App &app, Options &options, RawOptions &raw) {
  const char *group = "Any entry point";
  app.add_option("--function", options.function, "Entry point to run")
      ->type_name("NAME")
      ->group(group);
  auto list = [&](const char *name, std::vector<std::string> &values, const char *type,
                  const char *what) {
    app.add_option(name, values, what)->type_name(type)->allow_extra_args(false)->group(group);
  };
  list("--input", raw.inputs, "NAME=TENSOR",
       "An input: 4x64xf32=@FILE.npy, =1,2,..., =0 or =random:SEED; @FILE.npy alone has its own "
       "type");
  list("--output", raw.outputs, "NAME[=@FILE.npy]",
       "An output or mutable input to write, or to print");
  list("--expect", raw.expectations, "NAME=TENSOR",
       "What an output must be; exit status 1 if it is not");
  app.add_option("--atol", options.atol, "Absolute tolerance of --expect (default 0)")
      ->type_name("X")
      ->group(group);
  app.add_option("--rtol", options.rtol, "Relative tolerance of --expect (default 0)")
      ->type_name("X")
      ->group(group);
}

void declareGeneral(CLI::App &app, Options &options, RawOptions &raw) {
  app.add_option("bundle", options.bundle, "Bundle made by mohd-compile")->type_name("FILE.mohdb");
  app.add_flag("--inspect{text}", raw.inspect,
               "Print what the bundle holds; =json prints its manifest");
  app.add_flag("--list-devices", raw.listDevices, "Print the devices of this machine");
  app.add_flag("--collect-env", raw.collectEnv, "Print what a bug report needs to know");
  app.add_flag("--version", raw.version,
               "Print the versions of the program, the bundle format and the C ABI");
  app.add_option("--device", options.device,
                 "Device to run on: cpu (the default), cuda, cuda:N or emulate")
      ->type_name("DEVICE");
  app.add_flag("--require-cubin", options.requireCubin,
               "On a GPU, refuse PTX, which the driver compiles");
  app.add_option("--threads", options.threads, "Threads (default: MOHD_THREADS, else all CPUs)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--pin-threads", options.pinThreads,
               "Pin each worker thread to a CPU (default: if MOHD_PIN_THREADS is 1)");
  app.add_flag("--mmap", options.mapWeights, "Map the weights instead of reading them");
  app.add_flag("--skip-hashes", raw.skipHashes, "Do not compare the bundle with its sha256");
  app.add_flag("--json", options.json, "Print nothing but an error to stderr, as a JSON object");
  app.add_flag("-q,--quiet", options.quiet, "Print no statistics and notes");
}

/// Splits "NAME=VALUE"; only with `valueIsOptional` may it be a name alone.
NamedValue splitNamed(const std::string &option, const std::string &text, bool valueIsOptional) {
  size_t equals = text.find('=');
  bool alone = equals == std::string::npos;
  NamedValue value{text.substr(0, equals), alone ? "" : text.substr(equals + 1)};
  if (value.name.empty() || (value.rest.empty() && !(alone && valueIsOptional)))
    throw usage("expected " + option + " NAME=VALUE, got '" + text + "'");
  return value;
}

/// The one thing to do; several or none are an error.
Options::Mode chooseMode(const Options &options, const RawOptions &raw) {
  std::vector<std::pair<std::string, Options::Mode>> chosen;
  if (raw.version)
    chosen.emplace_back("--version", Options::Mode::Version);
  if (raw.listDevices)
    chosen.emplace_back("--list-devices", Options::Mode::ListDevices);
  if (raw.collectEnv)
    chosen.emplace_back("--collect-env", Options::Mode::CollectEnv);
  if (!raw.inspect.empty())
    chosen.emplace_back("--inspect", Options::Mode::Inspect);
  if (!options.function.empty())
    chosen.emplace_back("--function", Options::Mode::Function);
  if (options.prompt)
    chosen.emplace_back("--prompt", Options::Mode::Generate);
  if (options.promptTokens)
    chosen.emplace_back("--prompt-tokens", Options::Mode::Generate);
  if (options.promptFile)
    chosen.emplace_back("--prompt-file", Options::Mode::Generate);
  if (chosen.empty())
    throw usage("expected something to do: --prompt TEXT, --function NAME or --inspect");
  if (chosen.size() > 1)
    throw usage(chosen[0].first + " and " + chosen[1].first + " exclude each other");
  return chosen[0].second;
}

void checkSampling(Options &options, const RawOptions &raw) {
  bool samples = raw.temperature || raw.topP || raw.topK || raw.seed;
  if (raw.greedy && samples)
    throw usage("--greedy excludes --temperature, --top-p, --top-k and --seed");
  SamplingOptions &sampling = options.sampling;
  sampling.temperature = raw.temperature.value_or(samples ? 1 : 0);
  sampling.topP = raw.topP.value_or(1);
  sampling.topK = raw.topK;
  sampling.seed = raw.seed.value_or(0);
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature))
    throw usage("expected a --temperature of at least 0");
  if (!(sampling.topP > 0 && sampling.topP <= 1))
    throw usage("expected a --top-p above 0 and at most 1");
  if (sampling.topK && *sampling.topK < 1)
    throw usage("expected a --top-k of at least 1");
  if (options.maxNewTokens < 0)
    throw usage("expected a --max-new-tokens of at least 0");
}

void checkFunction(Options &options, const RawOptions &raw) {
  for (const std::string &text : raw.inputs)
    options.inputs.push_back(splitNamed("--input", text, false));
  for (const std::string &text : raw.outputs)
    options.outputs.push_back(splitNamed("--output", text, true));
  for (const std::string &text : raw.expectations)
    options.expectations.push_back(splitNamed("--expect", text, false));
  for (const NamedValue &output : options.outputs)
    if (!output.rest.empty() && (output.rest[0] != '@' || output.rest.size() == 1))
      throw usage("expected --output " + output.name + "=@FILE.npy, got '" + output.rest + "'");
  bool named = !raw.inputs.empty() || !raw.outputs.empty() || !raw.expectations.empty();
  if (named && options.mode != Options::Mode::Function)
    throw usage("--input, --output and --expect need --function NAME");
  if (!(options.atol >= 0) || !(options.rtol >= 0))
    throw usage("expected an --atol and an --rtol of at least 0");
}

} // namespace

Options parseOptions(int argc, char **argv) {
  CLI::App app("Runs a bundle: continues a text with a language model, or calls any entry point.",
               "mohd-run");
  Options options;
  RawOptions raw;
  declareGeneral(app, options, raw);
  declareGeneration(app, options, raw);
  declareFunction(app, options, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    options.helpText = app.help();
    return options;
  } catch (const CLI::ParseError &error) {
    throw usage(error.what());
  }
  options.mode = chooseMode(options, raw);
  options.quiet |= options.json;
  options.checkHashes = !raw.skipHashes;
  options.inspectAsJson = raw.inspect == "json";
  if (!raw.inspect.empty() && raw.inspect != "json" && raw.inspect != "text")
    throw usage("expected --inspect=text or --inspect=json, got '" + raw.inspect + "'");
  checkSampling(options, raw);
  checkFunction(options, raw);
  bool needsBundle = options.mode == Options::Mode::Generate ||
                     options.mode == Options::Mode::Function ||
                     options.mode == Options::Mode::Inspect;
  if (needsBundle && options.bundle.empty())
    throw usage("expected a bundle to run, such as model.mohdb",
                "mohd-compile MODEL -o model.mohdb makes one");
  return options;
}

} // namespace mohdrun
