// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The command line of mohd-run.
#ifndef MOHD_TOOLS_MOHD_RUN_OPTIONS_H
#define MOHD_TOOLS_MOHD_RUN_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mohdrun {

/// How the next token is chosen. Temperature 0 takes the largest logit.
struct SamplingOptions {
  double temperature = 0;
  double topP = 1;
  std::optional<int64_t> topK;
  uint64_t seed = 0;
};

/// "name=rest" of --input, --output and --expect; `rest` is empty if there is no "=".
struct NamedValue {
  std::string name, rest;
};

struct Options {
  enum class Mode { Generate, Function, Inspect, ListDevices, CollectEnv, Version, Help };
  Mode mode = Mode::Help;
  std::string helpText;

  std::string bundle;
  bool json = false, quiet = false;

  std::string device = "cpu";
  uint32_t threads = 0; // 0: the runtime chooses
  bool pinThreads = false, requireCubin = false;
  bool mapWeights = false, checkHashes = true;

  bool inspectAsJson = false;

  std::optional<std::string> prompt, promptTokens, promptFile; // one of them in Mode::Generate
  int64_t maxNewTokens = 128;
  bool printTokens = false, echo = false;
  SamplingOptions sampling;

  std::string function;
  std::vector<NamedValue> inputs, outputs, expectations;
  double atol = 0, rtol = 0;
};

/// Reads the command line. Throws a Failure (exit code 2) for one that makes no sense.
Options parseOptions(int argc, char **argv);

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_OPTIONS_H
