// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Declares the options with CLI11 and makes the points of their values.
#include "Options.h"

#include "Failure.h"
#include "Lists.h"
#include "Machine.h"
#include "Op.h"

#include "mohd/Model/Presets.h"
#include "mohd/format/json.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdbench {
namespace {

constexpr int64_t kMaxExtent = 1 << 20;   // of a width
constexpr int64_t kMaxTokens = 1 << 24;   // of a call
constexpr size_t kMegabyte = 1000 * 1000; // as of disks and of "600 MB"

const std::map<std::string, Format> kFormats = {{"md", Format::Markdown},
                                                {"csv", Format::Csv},
                                                {"json", Format::Json},
                                                {"jsonl", Format::JsonLines}};

/// The options as CLI11 fills them in; lists are still text.
struct RawOptions {
  std::vector<std::string> cases, groups;
  std::string models, bundle, widths = "2048", inners = "5632", shapes, tokens = "1";
  std::string threads = "1", types = "f32", routings = "uniform", seeds = "0";
  std::string gatherTokens;
  std::string heads = "16", kvHeads = "16", headDims = "128", contexts = "0", sequences = "1";
  std::string format = "md";
  int64_t layers = 0;
  double coldMegabytes = 0, memoryMegabytes = 6000, peakMilliseconds = 10;
  bool skipBaseline = false, version = false, json = false;
};

std::string joined(const std::vector<std::string> &names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

const std::vector<std::string> &modelCases() {
  static const std::vector<std::string> names{"layer", "prefill", "decode"};
  return names;
}

bool contains(const std::vector<std::string> &names, const std::string &name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void declareParameters(CLI::App &app, RawOptions &raw) {
  const char *group = "Parameters (lists: 1,2,8; ranges: 1-8, 8-32+8, 1-64*2)";
  auto add = [&](const char *name, std::string &value, const char *type, const char *what) {
    app.add_option(name, value, what)->type_name(type)->group(group);
  };
  add("-D,--width", raw.widths, "LIST", "Widths D of the residual (default 2048)");
  add("-E,--inner", raw.inners, "LIST", "Inner widths E of projections (default 5632)");
  add("--shapes", raw.shapes, "LIST", "Pairs instead of -D and -E: 2048x5632,4096x4096");
  app.add_option("--groups", raw.groups, "Groups N,K_s,K_r; may be repeated (default 16,6,2)")
      ->type_name("N,KS,KR")
      ->allow_extra_args(false)
      ->group(group);
  add("-T,--tokens", raw.tokens, "LIST", "Tokens of a call (default 1)");
  add("--threads", raw.threads, "LIST", "Threads (default 1)");
  add("--weights-dtype", raw.types, "LIST", "Types of weights: f32, bf16, f16 (default f32)");
  add("--routing", raw.routings, "LIST",
      "Distributions of groups: uniform, zipf, identical, disjoint, trace:FILE.npy");
  add("--gather-tokens", raw.gatherTokens, "LIST",
      "Projections: plans as mohd-compile --gather-tokens makes them, or the cost model's (default "
      "model)");
  add("--seed", raw.seeds, "LIST", "Seeds of inputs and routings (default 0)");
  add("--heads", raw.heads, "LIST", "Query heads of op:attention (default 16)");
  add("--kv-heads", raw.kvHeads, "LIST", "Key and value heads of op:attention (default 16)");
  add("--head-dim", raw.headDims, "LIST", "Columns of a head of op:attention (default 128)");
  add("--context", raw.contexts, "LIST",
      "Tokens in the cache before the call, of op:attention and decode (default 0)");
  add("--sequences", raw.sequences, "LIST", "Sequences that the tokens of op:attention belong to");
}

void declareGeneral(CLI::App &app, Options &options, RawOptions &raw) {
  app.add_option("case", raw.cases,
                 "What to run: " + joined(opNames()) + ", " + joined(modelCases()))
      ->type_name("CASE");
  app.add_option("--preset", raw.models, "Models of layer, prefill and decode: presets, by name")
      ->type_name("LIST");
  app.add_option("--bundle", raw.bundle, "A compiled model for prefill and decode")
      ->type_name("FILE.mohdb");
  app.add_option("--layers", raw.layers, "Layers of a preset (default: all of them)")
      ->type_name("N");
  app.add_option("--target", options.target, "Target to compile for (default cpu:native)")
      ->type_name("TARGET");
  app.add_option("-r,--repetitions", options.measure.repetitions, "Timed runs (default 30)")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--warmup", options.measure.warmup,
                 "Runs before them on each copy of the weights (default 1)")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000));
  app.add_option("--max-seconds", options.measure.maxSeconds,
                 "Stop repeating a row after this time, but not before 3 runs (default 20)")
      ->type_name("X");
  app.add_option("--cold-mb", raw.coldMegabytes,
                 "Megabytes read between two reads of a weight (default 600, or 1.5 times the "
                 "largest cache)")
      ->type_name("X");
  app.add_option("--cold-tokens", options.coldTokens,
                 "Only up to this many tokens; above, weights are read again at once (default 64)")
      ->type_name("N");
  app.add_option("--memory-mb", raw.memoryMegabytes,
                 "Megabytes that copies of weights may take (default 6000)")
      ->type_name("X");
  app.add_option("--peak-ms", raw.peakMilliseconds,
                 "Milliseconds of one measurement of the FMA peak (default 10)")
      ->type_name("X");
  app.add_flag("--skip-baseline", raw.skipBaseline, "No dense row beside each sparse one");
  app.add_option("--format", raw.format, "Table md, csv, json or jsonl (default md)")
      ->check(CLI::IsMember(kFormats));
  app.add_flag("--json", raw.json, "Print nothing but an error to stderr, as a JSON object");
  app.add_flag("-q,--quiet", options.quiet, "No progress on standard error");
  app.add_flag("--version", raw.version, "Print versions and stop");
}

Groups parseGroups(const std::string &text) {
  std::vector<int64_t> numbers;
  for (const std::string &piece : split(text, ','))
    numbers.push_back(parseIntegers("--groups", piece, 0, kMaxExtent)[0]);
  bool fits = numbers.size() == 3 && numbers[0] > 0 && numbers[1] + numbers[2] > 0 &&
              numbers[1] + numbers[2] <= numbers[0];
  if (!fits)
    throw usage("expected --groups N,K_s,K_r with 1 to N active groups, got '" +
                escapeForMessage(text) + "'");
  return {numbers[0], numbers[1], numbers[2]};
}

std::vector<std::pair<int64_t, int64_t>> parseShapes(const RawOptions &raw) {
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (const std::string &text : split(raw.shapes, ',')) {
    std::vector<std::string> sides = split(text, 'x');
    if (sides.size() != 2)
      throw usage("expected --shapes DxE, got '" + escapeForMessage(text) + "'");
    shapes.emplace_back(parseIntegers("--shapes", sides[0], 1, kMaxExtent)[0],
                        parseIntegers("--shapes", sides[1], 1, kMaxExtent)[0]);
  }
  if (shapes.empty())
    for (int64_t width : parseIntegers("-D", raw.widths, 1, kMaxExtent))
      for (int64_t inner : parseIntegers("-E", raw.inners, 1, kMaxExtent))
        shapes.emplace_back(width, inner);
  return shapes;
}

std::vector<DType> parseTypes(const std::string &text) {
  std::vector<DType> types;
  for (const std::string &name : split(text, ',')) {
    std::optional<DType> type = parseDType(name);
    if (!type || (type != DType::F32 && type != DType::BF16 && type != DType::F16))
      throw usage("expected --weights-dtype f32, bf16 or f16, got '" + escapeForMessage(name) +
                  "'");
    types.push_back(*type);
  }
  return types;
}

/// Every point with each of `values` in place of what `set` sets.
template <typename Values, typename Set>
void expand(std::vector<Point> &points, const Values &values, Set set) {
  std::vector<Point> expanded;
  for (const Point &point : points)
    for (const auto &value : values) {
      expanded.push_back(point);
      set(expanded.back(), value);
    }
  points = std::move(expanded);
}

/// The points of one case. What is compiled changes slowest, so that it is compiled once.
std::vector<Point> makePoints(const std::string &what, const RawOptions &raw) {
  auto integers = [](const char *option, const std::string &text, int64_t low, int64_t high) {
    return parseIntegers(option, text, low, high);
  };
  std::vector<Point> points(1);
  points[0].what = what;
  bool isAttention = what == "op:attention", isModel = contains(modelCases(), what);
  if (isModel) {
    points[0].isBundle = !raw.bundle.empty();
    points[0].layers = what == "layer" ? 1 : raw.layers;
    expand(points, raw.bundle.empty() ? split(raw.models, ',') : std::vector{raw.bundle},
           [](Point &p, const std::string &v) { p.model = v; });
  } else if (isAttention) {
    expand(points, integers("--heads", raw.heads, 1, 4096),
           [](Point &p, int64_t v) { p.heads = v; });
    expand(points, integers("--kv-heads", raw.kvHeads, 1, 4096),
           [](Point &p, int64_t v) { p.kvHeads = v; });
    expand(points, integers("--head-dim", raw.headDims, 1, 4096),
           [](Point &p, int64_t v) { p.headDim = v; });
  } else {
    bool hasInner = what != "op:route" && what != "op:fusion";
    expand(points, parseShapes(raw), [&](Point &p, const std::pair<int64_t, int64_t> &v) {
      p.width = v.first;
      p.inner = hasInner ? v.second : 0;
    });
  }
  if (!isAttention && !points[0].isBundle) // a bundle has its own
    expand(points, parseTypes(raw.types), [](Point &p, DType v) { p.weightType = v; });
  if (!isAttention && !isModel && what != "op:linear")
    expand(points, raw.groups.empty() ? std::vector<std::string>{"16,6,2"} : raw.groups,
           [](Point &p, const std::string &v) { p.groups = parseGroups(v); });
  if (contains({"op:spmm", "op:sddmm", "op:linear"}, what) && !raw.gatherTokens.empty())
    expand(points, split(raw.gatherTokens, ','), [](Point &p, const std::string &v) {
      p.gatherTokens = v == "model" ? -1 : parseIntegers("--gather-tokens", v, 0, 512)[0];
    });
  if (isAttention || what == "decode")
    expand(points, integers("--context", raw.contexts, 0, kMaxTokens),
           [](Point &p, int64_t v) { p.context = v; });
  if (isAttention)
    expand(points, integers("--sequences", raw.sequences, 1, kMaxTokens),
           [](Point &p, int64_t v) { p.sequences = v; });
  expand(points, integers("-T", raw.tokens, 1, kMaxTokens),
         [](Point &p, int64_t v) { p.tokens = v; });
  expand(points, integers("--threads", raw.threads, 1, 1024),
         [](Point &p, int64_t v) { p.threads = static_cast<uint32_t>(v); });
  if (what == "op:spmm" || what == "op:sddmm" || what == "op:fusion")
    expand(points, split(raw.routings, ','), [](Point &p, const std::string &v) {
      checkDistribution(v);
      p.routing = v;
    });
  expand(points, integers("--seed", raw.seeds, 0, INT64_MAX),
         [](Point &p, int64_t v) { p.seed = static_cast<uint64_t>(v); });
  return points;
}

void checkCases(const RawOptions &raw) {
  if (raw.cases.empty())
    throw usage("expected a case to run, such as op:spmm or decode");
  bool anyModel = false;
  for (const std::string &what : raw.cases) {
    if (!contains(opNames(), what) && !contains(modelCases(), what))
      throw usage("expected a case out of " + joined(opNames()) + ", " + joined(modelCases()) +
                  ", got '" + escapeForMessage(what) + "'");
    anyModel |= contains(modelCases(), what);
  }
  if (anyModel && raw.models.empty() == raw.bundle.empty())
    throw usage(
        "expected --preset or --bundle with layer, prefill and decode, and just one of them");
  if (!raw.bundle.empty() && (contains(raw.cases, "layer") || raw.layers != 0))
    throw usage("layer and --layers need a --preset: a bundle has all its layers");
  for (const std::string &name : split(raw.models, ','))
    if (!mlir::mohd::presetConfig(name))
      throw usage("no preset is called '" + escapeForMessage(name) + "'",
                  "mohd-compile --list-presets lists them");
}

void finishOptions(Options &options, const RawOptions &raw) {
  checkCases(raw);
  auto positive = [](const char *option, double value) {
    if (!(value > 0) || value > 1e9) {
      char text[32];
      std::snprintf(text, sizeof(text), "%g", value);
      throw usage(std::string("expected a ") + option + " above 0 and up to 1e9, got " + text);
    }
    return value;
  };
  positive("--max-seconds", options.measure.maxSeconds);
  if (raw.layers < 0 || raw.layers > 512)
    throw usage("expected --layers from 1 to 512, or 0 for all, got " + std::to_string(raw.layers));
  double largest = std::max(600.0, 1.5 * static_cast<double>(largestCache()) / kMegabyte);
  double cold = raw.coldMegabytes == 0 ? largest : positive("--cold-mb", raw.coldMegabytes);
  options.coldBytes = static_cast<size_t>(cold * kMegabyte);
  options.memoryBytes =
      static_cast<size_t>(positive("--memory-mb", raw.memoryMegabytes) * kMegabyte);
  options.peakSeconds = positive("--peak-ms", raw.peakMilliseconds) / 1e3;
  options.baseline = !raw.skipBaseline;
  options.format = kFormats.at(raw.format);
  options.quiet |= raw.json;
  for (const std::string &what : raw.cases)
    for (const Point &point : makePoints(what, raw))
      options.points.push_back(point);
}

} // namespace

Options parseOptions(int argc, char **argv) {
  CLI::App app("Measures compiled models and single ops, beside dense ones and beside what the "
               "machine can do.",
               "mohd-bench");
  Options options;
  options.coldTokens = 64;
  options.target = "cpu:native";
  RawOptions raw;
  declareGeneral(app, options, raw);
  declareParameters(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    options.mode = Options::Mode::Help;
    options.helpText = app.help();
    return options;
  } catch (const CLI::ParseError &error) {
    throw usage(error.what());
  }
  if (raw.version)
    options.mode = Options::Mode::Version;
  else
    finishOptions(options, raw);
  return options;
}

} // namespace mohdbench
