// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes tokens, caches and weights of a model, and checks its logits.
#include "ModelSubject.h"

#include "Ops.h"

#include "mohd/Model/Cost.h"
#include "mohd/Model/Presets.h"
#include "mohd/Model/Weights.h"

#include <algorithm>
#include <cstring>
#include <random>

using namespace mohdrt;
using namespace mohdrun;
using namespace mohdtool;
using namespace mlir::mohd;

namespace mohdbench {
namespace {

constexpr uint64_t kWeightSeed = 7;
constexpr double kVerifiedFlops = 2e9; // of the reference lowering: some seconds
constexpr int64_t kVerifiedTokens = 8;
// Errors of layers add up, on both sides of the comparison.
constexpr double kModelFactor = 10; // of an op's tolerance, with f32 weights
constexpr size_t kLargeBytes = size_t(1) << 30;
constexpr int64_t kLayerVocabulary = 256;

const char *entryOf(const Point &point) { return point.what == "decode" ? "decode" : "prefill"; }

std::vector<int32_t> randomTokens(int64_t count, int64_t vocabulary, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(generator() % static_cast<uint64_t>(vocabulary)));
  return tokens;
}

std::vector<int32_t> countFrom(int64_t first, int64_t count) {
  std::vector<int32_t> numbers;
  for (int64_t i = 0; i < count; ++i)
    numbers.push_back(static_cast<int32_t>(first + i));
  return numbers;
}

void addCaches(std::vector<Input> &inputs, const ModelConfig &config, int64_t sequences,
               int64_t rows, uint64_t seed) {
  std::vector<int64_t> shape{config.numLayers, sequences, rows, config.kvWidth()};
  inputs.push_back(floatInput("k_cache", shape, seed + 1));
  inputs.push_back(floatInput("v_cache", shape, seed + 2));
}

/// `tokens` of one sequence from its start; logits of all of them, or of the last.
std::vector<Input> prefillInputs(const ModelConfig &config, const std::vector<int32_t> &tokens,
                                 uint64_t seed, bool allRows) {
  int64_t count = static_cast<int64_t>(tokens.size());
  std::vector<int32_t> rows = allRows ? countFrom(0, count) : countFrom(count - 1, 1);
  std::vector<Input> inputs;
  inputs.push_back(intInput("tokens", {count}, tokens));
  inputs.push_back(intInput("sequence", {count}, std::vector<int32_t>(tokens.size(), 0)));
  inputs.push_back(intInput("position", {count}, countFrom(0, count)));
  inputs.push_back(intInput("rows", {static_cast<int64_t>(rows.size())}, rows));
  addCaches(inputs, config, 1, count, seed);
  return inputs;
}

/// One token of each sequence, after `context` others with random keys and values.
std::vector<Input> decodeInputs(const ModelConfig &config, const std::vector<int32_t> &tokens,
                                int64_t context, uint64_t seed) {
  int64_t count = static_cast<int64_t>(tokens.size());
  std::vector<Input> inputs;
  inputs.push_back(intInput("tokens", {count}, tokens));
  inputs.push_back(intInput("position", {count},
                            std::vector<int32_t>(tokens.size(), static_cast<int32_t>(context))));
  addCaches(inputs, config, count, context + 1, seed);
  return inputs;
}

std::vector<Input> makeInputs(const ModelConfig &config, const Point &point, int64_t count,
                              bool allRows) {
  std::vector<int32_t> tokens = randomTokens(point.tokens, config.vocabSize, point.seed);
  tokens.resize(static_cast<size_t>(count));
  return point.what == "decode" ? decodeInputs(config, tokens, point.context, point.seed)
                                : prefillInputs(config, tokens, point.seed, allRows);
}

/// Arithmetic and traffic of the call. Which groups several tokens share is not known here: their weights count once for each token,
/// until all are counted.
Work workOf(const ModelConfig &config, const Point &point, DType weightType, bool isQuantized) {
  bool decodes = point.what == "decode";
  double tokens = static_cast<double>(point.tokens);
  ModelCost cost = computeCost(config, dtypeSize(weightType),
                               decodes ? point.context + 1 : (point.tokens + 1) / 2, isQuantized);
  auto bytesOf = [&](PartCost part) { // of weights, for one token
    part.cacheBytes = 0;
    return static_cast<double>(cost.bytesPerToken(part));
  };
  PartCost layer = cost.layer.total();
  double layers = static_cast<double>(cost.numLayers), headRows = decodes ? tokens : 1;
  Work work;
  work.flops = tokens * layers * double(layer.flops) + headRows * double(cost.head.flops);
  double allOverActivated = double(layer.parameters) / double(layer.activated);
  double layerBytes = bytesOf(layer) * std::min(tokens, allOverActivated);
  work.weightBytes = layers * layerBytes + bytesOf(cost.head) + tokens * bytesOf(cost.embed);
  work.otherBytes = tokens * double(cost.total().cacheBytes);
  return work;
}

void addDifference(Difference &difference, const Tensor &actual, const Tensor &expected) {
  for (int64_t i = 0; i < expected.numElements(); ++i)
    difference.add(actual.number(i), expected.number(i));
}

double modelTolerance(DType weightType) {
  return weightType == DType::F32 ? kModelFactor * toleranceOf(weightType)
                                  : toleranceOf(weightType);
}

Runner runnerOf(const Point &point) {
  mohdrun::Options options;
  options.bundle = point.model;
  options.threads = point.threads;
  return Runner(options);
}

} // namespace

ModelConfig configOf(const Point &point, bool dense) {
  ModelConfig config = *presetConfig(point.model);
  if (point.layers)
    config.numLayers = std::min(config.numLayers, point.layers);
  if (point.what == "layer")
    config.vocabSize = kLayerVocabulary;
  config.maxPositions = std::max(config.maxPositions, point.tokens + point.context);
  if (dense)
    config.routing.reset();
  return config;
}

static void checkMemory(const ModelConfig &config, DType weightType, size_t memoryBytes) {
  double bytes = double(computeCost(config, dtypeSize(weightType)).total().parameters) *
                 double(dtypeSize(weightType));
  if (bytes > double(memoryBytes))
    throw failure(StatusCode::OutOfMemory,
                  "the model's weights need " + std::to_string(int64_t(bytes / 1e6)) +
                      " MB, more than --memory-mb " + std::to_string(memoryBytes / 1000000),
                  "", "--layers takes a part of the model, --weights-dtype bf16 halves it");
}

static std::unique_ptr<Program> buildProgram(const ModelConfig &config, DType weightType,
                                             const std::string &target, bool reference) {
  CompileOptions options;
  options.config = config;
  options.weightType = weightType;
  options.targets = {target};
  options.reference = reference;
  std::unique_ptr<WeightSource> source = randomWeights(config, kWeightSeed);
  return std::make_unique<Program>(
      options, [&](const BundleWeight &weight, void *memory, size_t bytes) {
        check(source->readTensor(weight.source, weight.layout, memory, bytes), weight.name);
      });
}

Model::Model(std::string key, const ModelConfig &config, DType weightType,
             const std::string &target, size_t memoryBytes)
    : key_(std::move(key)), config_(config), weightType_(weightType), target_(target) {
  checkMemory(config, weightType, memoryBytes);
  program_ = buildProgram(config, weightType, target, false);
}

Program &Model::reference() {
  if (!reference_)
    reference_ = buildProgram(config_, weightType_, target_, true);
  return *reference_;
}

void Model::trimReference() {
  if (reference_ && reference_->weightBytes() > kLargeBytes)
    reference_.reset();
}

ModelSubject::ModelSubject(Model &model, const Point &point, const Cold &cold)
    : model_(model), point_(point),
      call_(Runner(model.program().bytes(), point.model, point.threads), entryOf(point),
            makeInputs(model.config(), point, point.tokens, false), &model.program(),
            workOf(model.config(), point, point.weightType, false).weightBytes, cold) {}

Work ModelSubject::work() const {
  return workOf(model_.config(), point_, point_.weightType, false);
}

Verified ModelSubject::verify() {
  call_.checkRepeats();
  const ModelConfig &config = model_.config();
  double each = double(computeCost(config, 4, point_.context + 1).total().flops);
  int64_t count = std::clamp<int64_t>(int64_t(kVerifiedFlops / each), 1,
                                      std::min(point_.tokens, kVerifiedTokens));
  auto logits = [&](Program &program) {
    Call call(Runner(program.bytes(), point_.model, point_.threads), entryOf(point_),
              makeInputs(config, point_, count, true), &program, 1, Cold());
    call.run();
    Tensor copy(call.outputs()[0].type());
    std::memcpy(copy.data(), call.outputs()[0].data(), copy.numBytes());
    return copy;
  };
  Difference difference;
  addDifference(difference, logits(model_.program()), logits(model_.reference()));
  model_.trimReference();
  return difference.judge(modelTolerance(point_.weightType), "reference lowering");
}

BundleSubject::BundleSubject(const Point &point) : point_(point) {
  Runner runner = runnerOf(point);
  Manifest manifest = runner.manifest();
  const JsonValue *text = manifest.model ? manifest.model->config.find("json") : nullptr;
  if (!text || !text->asString())
    throw failure(StatusCode::Unsupported, "the bundle holds no language model", point.model);
  Result<ParsedConfig> parsed = parseConfig(*text->asString(), point.model);
  check(parsed.status(), point.model);
  config_ = parsed->config;
  for (const WeightInfo &weight : manifest.weights)
    isQuantized_ |= weight.dtype == DType::I8;
  if (!manifest.weights.empty())
    weightType_ = manifest.weights[0].dtype; // of the embedding, which is never quantised
  bool decodes = point.what == "decode";
  int64_t last = decodes ? point.context + 1 : point.tokens;
  if (last > config_.maxPositions)
    throw usage("expected at most the model's " + std::to_string(config_.maxPositions) +
                " positions, got " + std::to_string(last));
  call_ =
      std::make_unique<Call>(std::move(runner), entryOf(point),
                             makeInputs(config_, point, point.tokens, false), nullptr, 1, Cold());
}

Work BundleSubject::work() const { return workOf(config_, point_, weightType_, isQuantized_); }

Verified BundleSubject::verify() {
  call_->checkRepeats();
  int64_t count = std::min(kVerifiedTokens, config_.maxPositions);
  std::vector<int32_t> tokens = randomTokens(count, config_.vocabSize, point_.seed);
  Call whole(runnerOf(point_), "prefill", prefillInputs(config_, tokens, 1, false), nullptr, 1,
             Cold());
  whole.run();
  // The last token again, by decode, on the keys and values that prefill has left.
  std::vector<Input> inputs;
  inputs.push_back(intInput("tokens", {1}, {tokens.back()}));
  inputs.push_back(intInput("position", {1}, {static_cast<int32_t>(count - 1)}));
  for (Input &input : whole.inputs())
    if (input.name == "k_cache" || input.name == "v_cache")
      inputs.push_back(std::move(input));
  Tensor expected(whole.outputs()[0].type());
  std::memcpy(expected.data(), whole.outputs()[0].data(), expected.numBytes());
  Call step(runnerOf(point_), "decode", std::move(inputs), nullptr, 1, Cold());
  step.run();
  Difference difference;
  addDifference(difference, step.outputs()[0], expected);
  return difference.judge(modelTolerance(weightType_), "prefill against decode");
}

} // namespace mohdbench
