// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The configuration of a model: what `config.json` says, checked. Symbols (D, N, K_s, ...) are
// those of docs/semantics.md.

#ifndef MOHD_MODEL_CONFIG_H
#define MOHD_MODEL_CONFIG_H

#include "mohd/format/dtype.h"
#include "mohd/format/status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlir::mohd {

using ::mohdrt::DType;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

// The values of the `mohd` block; each first value is the default. docs/semantics.md defines them.
enum class GateKind { Softmax, SharedOne, Renormalized, Binary };
enum class ScalingKind { SqrtNKOverMass, NTimesMass, KOverMass, SqrtNOverK, NOverK, None };
enum class ScoreKind { SoftmaxAll, SoftmaxRouted, Sigmoid };
enum class FusionKind { Monarch, BlockDiagonal, None };
enum class BalanceKind { Deepseek, Switch, None };
enum class RoutedAxis { Residual, FfnInner };
enum class NormStat { Full, Active };

/// The spelling of a value in `config.json` and in the `mohd` dialect's attributes.
std::string_view toString(GateKind value);
std::string_view toString(ScalingKind value);
std::string_view toString(ScoreKind value);
std::string_view toString(FusionKind value);
std::string_view toString(BalanceKind value);
std::string_view toString(RoutedAxis value);
std::string_view toString(NormStat value);

/// How the hidden dimensions are routed: the `mohd` block of `config.json`.
struct RoutingConfig {
  int64_t numGroups = 0; // N
  int64_t numShared = 0; // K_s
  int64_t numRouted = 0; // K_r
  GateKind gate = GateKind::Softmax;
  ScalingKind scaling = ScalingKind::SqrtNKOverMass;
  ScoreKind score = ScoreKind::SoftmaxAll;
  FusionKind fusion = FusionKind::Monarch;
  BalanceKind balance = BalanceKind::Deepseek;
  double balanceCoefficient = 0.01;
  RoutedAxis axis = RoutedAxis::Residual;
  NormStat normStat = NormStat::Full;

  /// K, the groups that are active for a token.
  int64_t numActive() const { return numShared + numRouted; }

  /// True if every group is active with gate 1, scale 1 and no fusion, so that the sub-layer is a
  /// dense one.
  bool isDense() const;

  /// True if the result depends on the router's scores, so that the model has router weights.
  bool needsRouter() const;
};

/// A LLaMA-style decoder, with or without routed hidden dimensions.
struct ModelConfig {
  int64_t hiddenSize = 0;       // D
  int64_t intermediateSize = 0; // d_ff
  int64_t numLayers = 0;
  int64_t numHeads = 0;
  int64_t numKvHeads = 0;
  int64_t headDim = 0;
  int64_t vocabSize = 0; // V
  int64_t maxPositions = 0;
  double rmsNormEps = 1e-5;
  double ropeTheta = 10000.0;
  bool tieWordEmbeddings = false;
  std::string torchDtype;               // empty: not stated
  std::string tokenizer;                // "bytes" or empty: text prompts are refused
  std::optional<RoutingConfig> routing; // absent: a dense model, `model_type` "llama"

  int64_t queryWidth() const { return numHeads * headDim; }
  int64_t kvWidth() const { return numKvHeads * headDim; }

  /// True if the attention sub-layer (or the FFN) routes the hidden dimensions of the residual.
  bool routesResidual() const;

  /// True if the FFN routes its intermediate width (axis `ffn_inner`); such an FFN has no gate
  /// projection.
  bool routesFfnInner() const;

  /// True if the FFN has the form of axis `ffn_inner`, be it routed or dense.
  bool hasInnerFfn() const { return routing && routing->axis == RoutedAxis::FfnInner; }

  /// The width that is cut into N groups: D, or d_ff with axis `ffn_inner`. Needs `routing`.
  int64_t routedWidth() const { return hasInnerFfn() ? intermediateSize : hiddenSize; }

  /// d_e, the width of a group. Needs `routing`.
  int64_t groupWidth() const { return routedWidth() / routing->numGroups; }
};

/// A configuration and what was odd but legal about it.
struct ParsedConfig {
  ModelConfig config;
  std::vector<std::string> warnings; // each `FILE: POINTER: text`
};

/// Reads the text of a `config.json`; `fileName` is only used in messages.
///
/// Errors name the file, the JSON pointer, the value found and what was expected. Never reads
/// beyond `text`.
Result<ParsedConfig> parseConfig(std::string_view text, const std::string &fileName);

/// Reads `config.json` of a model folder (at most 1 MiB).
Result<ParsedConfig> readConfig(const std::string &folder);

/// Checks ranges, divisibility and the combinations that docs/semantics.md rejects; adds to
/// `warnings` what is odd. `fileName` is only used in messages.
Status checkConfig(const ModelConfig &config, const std::string &fileName,
                   std::vector<std::string> &warnings);

/// The `config.json` of a configuration: parseConfig() of it gives the same configuration back.
std::string writeConfig(const ModelConfig &config);

/// The candidate nearest to `word` by edit distance, or an empty string if none is near enough to
/// be a likely meaning.
std::string closestMatch(std::string_view word, const std::vector<std::string> &candidates);

} // namespace mlir::mohd

#endif // MOHD_MODEL_CONFIG_H
