// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-compile: from a model folder, a preset or an .mlir file to a bundle.
#include "Failure.h"

#include "mohd/Compiler/Compiler.h"
#include "mohd/Model/Cost.h"
#include "mohd/Model/Presets.h"
#include "mohd/format/bundle.h"

#include "llvm/Config/llvm-config.h"

#include <CLI/CLI.hpp>

#include <sstream>

using namespace mlir::mohd;
using namespace mohdtool;

namespace {

constexpr int64_t kMaxContext = 1 << 24; // as many positions as a model may have

/// What the command line says, as text; `toOptions` turns it into what the compiler takes.
struct Arguments {
  std::string input, preset, output, weights = "embedded", weightType, quantize, emit = "bundle",
                                     compileTo = "lower", lowering = "fast", dumpDir;
  std::vector<std::string> targets;
  std::optional<uint64_t> seed;
  std::optional<int64_t> gatherTokens;
  bool printCost = false, remarks = false, listPresets = false, json = false, quiet = false,
       version = false;
  int64_t context = 0;
};

const std::map<std::string, WeightsMode> weightsModes = {{"embedded", WeightsMode::Embedded},
                                                         {"external", WeightsMode::External},
                                                         {"none", WeightsMode::None}};
const std::map<std::string, Emit> emits = {
    {"bundle", Emit::Bundle}, {"mlir", Emit::Mlir}, {"llvm", Emit::Llvm}, {"asm", Emit::Asm},
    {"obj", Emit::Obj},       {"ptx", Emit::Asm},   {"cubin", Emit::Obj}};

std::vector<std::string> phaseNames() {
  std::vector<std::string> names;
  for (const PhaseInfo &phase : getPhases())
    names.push_back(phase.name.str());
  return names;
}

void declare(CLI::App &app, Arguments &arguments) {
  app.add_option("input", arguments.input,
                 "Model folder (config.json, *.safetensors) or an .mlir file");
  app.add_option("--preset", arguments.preset,
                 "Compile a model of the paper by name, see --list-presets");
  app.add_option("-o,--output", arguments.output,
                 "File to write; '-' is standard output (not for bundles)");
  app.add_option("--target", arguments.targets,
                 "cpu:native, cpu:x86-64-v2, cpu:x86-64-v3, cpu:x86-64-v4 or cpu:aarch64; "
                 "cuda:CHIP,... with chips sm_80, sm_90a, ptx; emulate:sm_80 or emulate:sm_90a; "
                 "may be repeated (default cpu:native)")
      ->allow_extra_args(false);
  app.add_option("--weights", arguments.weights,
                 "embedded in the bundle, external in a file beside it, or none: kernels alone, "
                 "weights are inputs")
      ->check(CLI::IsMember(weightsModes))
      ->capture_default_str();
  app.add_option("--weights-dtype", arguments.weightType,
                 "Storage type of weights (default: as the model's files)")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  app.add_option("--quantize", arguments.quantize,
                 "Store the weights of projections as int8 values with a scale for each group and "
                 "output column")
      ->check(CLI::IsMember({"int8"}));
  app.add_option("--random-weights", arguments.seed,
                 "Draw the weights from this seed instead of reading them")
      ->check(checkUnsigned)
      ->type_name("SEED");
  app.add_option("--emit", arguments.emit,
                 "What to write: bundle, mlir (after --compile-to), llvm IR, asm (assembly), obj "
                 "(shared object), or of a GPU's kernels ptx or cubin")
      ->check(CLI::IsMember(emits))
      ->capture_default_str();
  app.add_option("--compile-to", arguments.compileTo,
                 "Stop after this phase and write its IR (implies --emit=mlir)")
      ->check(CLI::IsMember(phaseNames()));
  app.add_option("--lowering", arguments.lowering,
                 "fast kernels, or the reference lowering: plain dense loops, slow")
      ->check(CLI::IsMember({"fast", "reference"}))
      ->capture_default_str();
  app.add_option("--gather-tokens", arguments.gatherTokens,
                 "Tokens of a block up to which products take one group after the other (default: "
                 "what the cost model says)")
      ->check(CLI::Range(int64_t(0), int64_t(512)));
  app.add_flag("--remarks", arguments.remarks,
               "Explain plans and tile sizes on standard error, one line for each choice");
  app.add_option("--dump-dir", arguments.dumpDir,
                 "Folder for the IR after each phase, LLVM IR, assembly, objects and commands");
  app.add_flag("--print-cost", arguments.printCost,
               "Print parameters, FLOPs and bytes per token, and stop");
  app.add_option("--context", arguments.context,
                 "Context length that --print-cost assumes (default: the model's maximum)")
      ->check(CLI::Range(int64_t(1), kMaxContext));
  app.add_flag("--list-presets", arguments.listPresets, "Print the names of the presets and stop");
  app.add_flag("--json", arguments.json, "Errors, and the cost, as one JSON object");
  app.add_flag("-q,--quiet", arguments.quiet, "No progress on standard error");
  app.add_flag("--version", arguments.version, "Print versions and stop");
}

std::string versionText() {
  std::ostringstream text;
  text << "mohd-compile " << kVersion << "\nbundle format " << ::mohdrt::kFormatMajor << '.'
       << ::mohdrt::kFormatMinor << "\nC ABI " << ::mohdrt::kAbiVersion << "\nLLVM "
       << LLVM_VERSION_STRING << "\ntargets cpu cuda emulate\n";
  return text.str();
}

std::string costText(const Arguments &arguments) {
  std::optional<ModelConfig> config = presetConfig(arguments.preset);
  if (arguments.preset.empty()) {
    ::mohdrt::Result<ParsedConfig> parsed = readConfig(arguments.input);
    check(parsed.status(), arguments.input);
    config = parsed->config;
  }
  if (!config)
    throw usage("no preset is called '" + arguments.preset + "'", "--list-presets lists them");
  int64_t bytes = arguments.weightType == "f32" ? 4 : 2;
  ModelCost cost = computeCost(*config, bytes, arguments.context, !arguments.quantize.empty());
  return arguments.json ? formatCostJson(cost) : formatCostTable(cost);
}

/// The options that change the bundle, for its manifest.
std::vector<std::string> describeFlags(const Arguments &arguments) {
  std::vector<std::string> flags;
  for (const std::string &target : arguments.targets)
    flags.push_back("--target=" + target);
  if (!arguments.preset.empty())
    flags.push_back("--preset=" + arguments.preset);
  flags.push_back("--weights=" + arguments.weights);
  if (!arguments.weightType.empty())
    flags.push_back("--weights-dtype=" + arguments.weightType);
  if (!arguments.quantize.empty())
    flags.push_back("--quantize=" + arguments.quantize);
  if (arguments.seed)
    flags.push_back("--random-weights=" + std::to_string(*arguments.seed));
  flags.push_back("--lowering=" + arguments.lowering);
  if (arguments.gatherTokens)
    flags.push_back("--gather-tokens=" + std::to_string(*arguments.gatherTokens));
  return flags;
}

CompileOptions toOptions(const Arguments &arguments, bool stopsEarly) {
  CompileOptions options;
  options.input = arguments.input;
  options.preset = arguments.preset;
  options.output = arguments.output;
  if (!arguments.targets.empty())
    options.targets = arguments.targets;
  options.weights = weightsModes.at(arguments.weights);
  if (!arguments.weightType.empty())
    options.weightType = ::mohdrt::parseDType(arguments.weightType);
  options.quantize = !arguments.quantize.empty();
  options.randomSeed = arguments.seed;
  options.emit = stopsEarly ? Emit::Mlir : emits.at(arguments.emit);
  options.stopAfter = *parsePhase(arguments.compileTo);
  options.reference = arguments.lowering == "reference";
  options.gatherTokens = arguments.gatherTokens;
  options.dumpDir = arguments.dumpDir;
  options.flags = describeFlags(arguments);
  options.warn = warn;
  if (!arguments.quiet)
    options.progress = note;
  if (arguments.remarks)
    options.remark = remark;
  return options;
}

} // namespace

static void run(int argc, char **argv) {
  Arguments arguments;
  CLI::App app("Compiles a MoHD model into a bundle that libmohd_rt and mohd-run execute.",
               "mohd-compile");
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    return writeStdout(app.help());
  } catch (const CLI::ParseError &error) {
    throw usage(error.what());
  }
  if (arguments.version)
    return writeStdout(versionText());
  if (arguments.listPresets) {
    for (const std::string &name : presetNames())
      writeStdout(name + "\n");
    return;
  }
  if (arguments.input.empty() == arguments.preset.empty())
    throw usage("expected a model folder, an .mlir file or --preset, and just one of them");
  if (arguments.seed && arguments.weights == "none")
    throw usage("--random-weights and --weights=none exclude each other");
  if (arguments.printCost)
    return writeStdout(costText(arguments));
  bool stopsEarly = app.count("--compile-to") > 0;
  bool isCodeText = arguments.emit == "llvm" || arguments.emit == "asm" || arguments.emit == "ptx";
  bool isText = stopsEarly || arguments.emit == "mlir" || isCodeText;
  if (arguments.output.empty() && isText)
    arguments.output = "-";
  if (arguments.output.empty() || (arguments.output == "-" && !isText))
    throw usage("expected -o FILE for a binary output");
  bool isCode = !stopsEarly && (isCodeText || arguments.emit == "obj" || arguments.emit == "cubin");
  if (isCode && arguments.targets.size() > 1)
    throw usage("expected one --target with --emit=" + arguments.emit + ", got " +
                std::to_string(arguments.targets.size()));
  bool isCuda = arguments.emit == "ptx" || arguments.emit == "cubin";
  if (isCuda && (arguments.targets.empty() ||
                 !llvm::StringRef(arguments.targets.front()).starts_with("cuda:")))
    throw usage("expected --target=cuda:CHIP with --emit=" + arguments.emit);
  check(compile(toOptions(arguments, stopsEarly)),
        arguments.preset.empty() ? arguments.input : arguments.preset);
}

int main(int argc, char **argv) {
  return runTool(argc, argv, [&] { run(argc, argv); });
}
