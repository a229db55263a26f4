// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a configuration means and which ones are refused; ConfigJson.cpp reads and writes them.

#include "mohd/Model/Config.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mlir::mohd {

bool RoutingConfig::isDense() const {
  return numActive() == numGroups && gate == GateKind::Binary && scaling == ScalingKind::None &&
         fusion == FusionKind::None;
}

bool RoutingConfig::needsRouter() const { return numRouted > 0 || gate == GateKind::Softmax; }

bool ModelConfig::routesResidual() const {
  return routing && routing->axis == RoutedAxis::Residual && !routing->isDense();
}

bool ModelConfig::routesFfnInner() const { return hasInnerFfn() && !routing->isDense(); }

namespace {

constexpr int64_t kMaxWidth = 1 << 20; // D, E
constexpr int64_t kMaxInner = 1 << 22; // d_ff
constexpr int64_t kMaxRows = 1 << 24;  // vocabulary, positions
constexpr int64_t kMaxLayers = 512;
constexpr int64_t kMaxHeadDim = 1 << 12;

/// Runs checks one after the other and keeps the first failure.
class Checker {
public:
  explicit Checker(const std::string &fileName) : fileName(fileName) {}

  void expect(bool holds, const char *pointer, const std::string &value,
              const std::string &expected) {
    if (!holds && first.ok())
      first = Status(StatusCode::Malformed,
                     fileName + ": at '" + pointer + "': expected " + expected + ", got " + value);
  }

  void expectRange(const char *pointer, int64_t value, int64_t low, int64_t high) {
    expect(low <= value && value <= high, pointer, std::to_string(value),
           "an integer in " + std::to_string(low) + ".." + std::to_string(high));
  }

  bool ok() const { return first.ok(); }
  Status status() const { return first; }

private:
  const std::string &fileName;
  Status first = Status();
};

std::string numberText(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value);
  return text;
}

void checkModel(const ModelConfig &config, Checker &checker) {
  checker.expectRange("/hidden_size", config.hiddenSize, 1, kMaxWidth);
  checker.expectRange("/intermediate_size", config.intermediateSize, 1, kMaxInner);
  checker.expectRange("/num_hidden_layers", config.numLayers, 1, kMaxLayers);
  checker.expectRange("/num_attention_heads", config.numHeads, 1, kMaxWidth);
  checker.expectRange("/num_key_value_heads", config.numKvHeads, 1, kMaxWidth);
  checker.expectRange("/head_dim", config.headDim, 2, kMaxHeadDim);
  checker.expectRange("/vocab_size", config.vocabSize, 1, kMaxRows);
  checker.expectRange("/max_position_embeddings", config.maxPositions, 1, kMaxRows);
  if (!checker.ok())
    return;
  checker.expect(config.headDim % 2 == 0, "/head_dim", std::to_string(config.headDim),
                 "an even number, as rotary embedding turns pairs");
  checker.expect(config.queryWidth() <= kMaxWidth, "/num_attention_heads",
                 std::to_string(config.numHeads),
                 "heads times head_dim of at most " + std::to_string(kMaxWidth));
  checker.expect(config.numHeads % config.numKvHeads == 0, "/num_key_value_heads",
                 std::to_string(config.numKvHeads),
                 "a divisor of the " + std::to_string(config.numHeads) + " attention heads");
  checker.expect(config.rmsNormEps > 0 && config.rmsNormEps <= 1, "/rms_norm_eps",
                 numberText(config.rmsNormEps), "a number above 0 and at most 1");
  checker.expect(config.ropeTheta > 0 && std::isfinite(config.ropeTheta), "/rope_theta",
                 numberText(config.ropeTheta), "a finite number above 0");
  checker.expect(config.tokenizer.empty() || config.tokenizer == "bytes", "/tokenizer",
                 "'" + config.tokenizer + "'", "'bytes'");
  checker.expect(config.tokenizer.empty() || config.vocabSize >= 256, "/vocab_size",
                 std::to_string(config.vocabSize), "at least 256 with tokenizer 'bytes'");
}

void checkRouting(const ModelConfig &config, Checker &checker) {
  const RoutingConfig &routing = *config.routing;
  int64_t width = config.routedWidth();
  checker.expectRange("/mohd/num_groups", routing.numGroups, 1, width);
  checker.expectRange("/mohd/num_shared", routing.numShared, 0, routing.numGroups);
  checker.expectRange("/mohd/num_routed", routing.numRouted, 0,
                      std::max<int64_t>(0, routing.numGroups - routing.numShared));
  if (!checker.ok())
    return;
  checker.expect(
      width % routing.numGroups == 0, "/mohd/num_groups", std::to_string(routing.numGroups),
      "a divisor of " + std::string(config.hasInnerFfn() ? "intermediate_size " : "hidden_size ") +
          std::to_string(width));
  checker.expect(routing.numActive() >= 1, "/mohd/num_routed", "0", "at least one active group");
  checker.expect(routing.gate != GateKind::SharedOne || routing.scaling != ScalingKind::NTimesMass,
                 "/mohd/scaling", "'n_times_mass'",
                 "another scaling with gate 'shared_one': this one is about 100 times too large");
  checker.expect(!config.hasInnerFfn() || routing.normStat == NormStat::Full, "/mohd/norm_stat",
                 "'active'", "'full' with axis 'ffn_inner', which does not route the normed width");
  checker.expect(routing.balanceCoefficient >= 0 && std::isfinite(routing.balanceCoefficient),
                 "/mohd/balance_coefficient", numberText(routing.balanceCoefficient),
                 "a finite number of at least 0");
}

} // namespace

Status checkConfig(const ModelConfig &config, const std::string &fileName,
                   std::vector<std::string> &warnings) {
  Checker checker(fileName);
  checkModel(config, checker);
  if (config.routing && checker.ok())
    checkRouting(config, checker);
  if (checker.ok() && config.routing && config.routing->gate == GateKind::Renormalized &&
      config.routing->numRouted == 1)
    warnings.push_back(fileName +
                       ": at '/mohd/gate': 'renormalized' with one routed group gives the "
                       "router no gradient from the model's loss");
  return checker.status();
}

std::string closestMatch(std::string_view word, const std::vector<std::string> &candidates) {
  std::string best;
  size_t bestDistance = std::max<size_t>(1, std::min<size_t>(word.size(), 64) / 3) + 1;
  if (word.size() > 64)
    return best;
  for (const std::string &candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1); // edit distances of word[0, i) to each prefix
    for (size_t j = 0; j < row.size(); ++j)
      row[j] = j;
    for (size_t i = 0; i < word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i + 1;
      for (size_t j = 0; j < candidate.size(); ++j) {
        size_t replaced = diagonal + (word[i] != candidate[j]);
        diagonal = row[j + 1];
        row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
      }
    }
    if (row.back() < bestDistance) {
      bestDistance = row.back();
      best = candidate;
    }
  }
  return best;
}

} // namespace mlir::mohd
