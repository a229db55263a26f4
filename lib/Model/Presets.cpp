// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The presets as two small tables: sizes and variants.

#include "mohd/Model/Presets.h"

namespace mlir::mohd {
namespace {

struct Size {
  const char *name;
  int64_t hidden, intermediate; // of the dense model
};

struct Variant {
  const char *name;
  int64_t widthFactor;            // D over the dense model's D
  int64_t groups, shared, routed; // N, K_s, K_r; N = 0: dense
};

constexpr Size kSizes[] = {{"355m", 1024, 2560}, {"495m", 1536, 1536}, {"1130m", 2048, 4096}};

constexpr Variant kVariants[] = {{"dense", 1, 0, 0, 0}, {"50", 1, 16, 6, 2}, {"75", 1, 16, 9, 3},
                                 {"x2", 2, 16, 6, 2},   {"x3", 3, 12, 3, 1}, {"x4", 4, 16, 3, 1}};

constexpr const char *kThirdPartyFfn = "third_party_ffn";

/// The dense model of a size. Heads are those of the dense width in every variant, so E does not
/// change.
ModelConfig denseConfig(const Size &size) {
  ModelConfig config;
  config.hiddenSize = size.hidden;
  config.intermediateSize = size.intermediate;
  config.numLayers = 24;
  config.headDim = 128;
  config.numHeads = config.numKvHeads = size.hidden / config.headDim;
  config.vocabSize = 32000;
  config.maxPositions = 2048;
  return config;
}

ModelConfig variantConfig(const Size &size, const Variant &variant) {
  ModelConfig config = denseConfig(size);
  config.hiddenSize *= variant.widthFactor;
  if (variant.groups == 0)
    return config;
  RoutingConfig routing;
  routing.numGroups = variant.groups;
  routing.numShared = variant.shared;
  routing.numRouted = variant.routed;
  config.routing = routing;
  return config;
}

/// The third-party module's form at the 355M width. Its FFN has two matrices instead of three, so
/// d_ff is 3/2 of the dense model's: the FFN weights are as many.
ModelConfig thirdPartyConfig() {
  ModelConfig config = denseConfig(kSizes[0]);
  config.intermediateSize = config.intermediateSize * 3 / 2;
  RoutingConfig routing;
  routing.numGroups = 16;
  routing.numShared = 6;
  routing.numRouted = 2;
  routing.axis = RoutedAxis::FfnInner;
  routing.gate = GateKind::Softmax;
  routing.scaling = ScalingKind::NTimesMass;
  routing.fusion = FusionKind::BlockDiagonal;
  routing.balance = BalanceKind::Switch;
  config.routing = routing;
  return config;
}

std::string presetName(const Size &size, const Variant &variant) {
  return std::string("mohd-") + size.name + "-" + variant.name;
}

} // namespace

const std::vector<std::string> &presetNames() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Size &size : kSizes)
      for (const Variant &variant : kVariants)
        result.push_back(presetName(size, variant));
    result.push_back(kThirdPartyFfn);
    return result;
  }();
  return names;
}

std::optional<ModelConfig> presetConfig(std::string_view name) {
  for (const Size &size : kSizes)
    for (const Variant &variant : kVariants)
      if (name == presetName(size, variant))
        return variantConfig(size, variant);
  if (name == kThirdPartyFfn)
    return thirdPartyConfig();
  return std::nullopt;
}

} // namespace mlir::mohd
