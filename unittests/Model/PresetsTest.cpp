// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Presets and costs against numbers that are known from elsewhere or counted by hand.

#include "mohd/Model/Presets.h"
#include "ModelFolder.h"
#include "mohd/Model/Cost.h"
#include "mohd/Model/Tensors.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

using namespace mlir::mohd;

namespace {

uint64_t countParameters(const ModelConfig &config) {
  uint64_t count = 0;
  for (const TensorSpec &spec : expectedTensors(config))
    count += static_cast<uint64_t>(spec.numElements());
  return count;
}

TEST(Presets, AllNamesResolveAndPassTheChecks) {
  EXPECT_EQ(presetNames().size(), 19u);
  for (const std::string &name : presetNames()) {
    std::optional<ModelConfig> config = presetConfig(name);
    ASSERT_TRUE(config) << name;
    std::vector<std::string> warnings;
    Status status = checkConfig(*config, name, warnings);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(warnings.empty()) << warnings.front();
  }
  EXPECT_FALSE(presetConfig("mohd-355m-x5"));
  EXPECT_FALSE(presetConfig(""));
}

TEST(Presets, DenseSizesAreThePublishedOnes) {
  EXPECT_EQ(countParameters(*presetConfig("mohd-355m-dense")), 354993152u); // 354.99M
  EXPECT_EQ(countParameters(*presetConfig("mohd-495m-dense")), 494740992u); // 494.74M
  EXPECT_EQ(std::llround(countParameters(*presetConfig("mohd-1130m-dense")) / 1e4),
            113781); // 1137.81M
}

TEST(Presets, WideVariantsKeepTheActiveWidthAndTheHeads) {
  for (const char *size : {"355m", "495m", "1130m"}) {
    ModelConfig dense = *presetConfig(std::string("mohd-") + size + "-dense");
    for (const char *variant : {"x2", "x3", "x4"}) {
      ModelConfig wide = *presetConfig(std::string("mohd-") + size + "-" + variant);
      EXPECT_EQ(wide.hiddenSize, dense.hiddenSize * (variant[1] - '0'));
      EXPECT_EQ(wide.groupWidth() * wide.routing->numActive(), dense.hiddenSize);
      EXPECT_EQ(wide.queryWidth(), dense.hiddenSize);
      EXPECT_EQ(wide.intermediateSize, dense.intermediateSize);
    }
  }
}

TEST(Presets, ThirdPartyFfnHasTheFormOfExactnessRule3) {
  ModelConfig config = *presetConfig("third_party_ffn");
  EXPECT_TRUE(config.hasInnerFfn());
  EXPECT_EQ(config.routing->gate, GateKind::Softmax);
  EXPECT_EQ(config.routing->scaling, ScalingKind::NTimesMass);
  EXPECT_EQ(config.routing->fusion, FusionKind::BlockDiagonal);
  EXPECT_EQ(config.routing->balance, BalanceKind::Switch);
  EXPECT_EQ(config.routing->balanceCoefficient, 0.01);
  bool hasBias = false;
  for (const TensorSpec &spec : expectedTensors(config)) {
    EXPECT_EQ(spec.name.find("gate_proj"), std::string::npos);
    EXPECT_EQ(spec.name.find("self_attn.router"), std::string::npos);
    hasBias |= spec.name == "model.layers.23.mlp.fusion.bias";
  }
  EXPECT_TRUE(hasBias);
}

TEST(Cost, ParametersAreThoseOfTheTensors) {
  std::vector<ModelConfig> configs;
  for (const std::string &name : presetNames())
    configs.push_back(*presetConfig(name));
  for (FusionKind fusion : {FusionKind::Monarch, FusionKind::BlockDiagonal, FusionKind::None})
    for (RoutedAxis axis : {RoutedAxis::Residual, RoutedAxis::FfnInner})
      for (GateKind gate : {GateKind::Softmax, GateKind::Binary})
        for (int64_t routed : {int64_t(0), int64_t(3)})
          for (bool tied : {false, true}) {
            ModelConfig config = *presetConfig("mohd-355m-50");
            config.routing->fusion = fusion;
            config.routing->axis = axis;
            config.routing->gate = gate;
            config.routing->scaling = ScalingKind::None;
            config.routing->numShared = 13;
            config.routing->numRouted = routed;
            config.tieWordEmbeddings = tied;
            configs.push_back(config);
          }
  for (const ModelConfig &config : configs)
    EXPECT_EQ(computeCost(config, 2).total().parameters, countParameters(config));
}

TEST(Cost, TinyModelCountedByHand) {
  ModelCost cost = computeCost(tinyModelConfig(), 2, 5);
  // q 4x8, k and v 2x8 each, o 8x4: 96, half of it active; norm 8.
  EXPECT_EQ(cost.layer.attention.parameters, 8u + 96u);
  EXPECT_EQ(cost.layer.attention.activated, 8u + 48u);
  // Scores and values: 2 heads, head_dim 2, 5 positions, 2 matrices, 2 operations.
  EXPECT_EQ(cost.layer.attention.flops, 2 * 48u + 2 * 2 * 4 * 5u);
  EXPECT_EQ(cost.layer.attention.cacheBytes, 2 * 2 * 4 * (5 + 1u));
  EXPECT_EQ(cost.layer.ffn.parameters, 8u + 3 * 6 * 8u);
  EXPECT_EQ(cost.layer.ffn.activated, 8u + 3 * 6 * 4u);
  EXPECT_EQ(cost.layer.ffn.flops, 2 * 3 * 6 * 4u);
  EXPECT_EQ(cost.layer.router.parameters, 2 * 4 * 8u);
  EXPECT_EQ(cost.layer.router.activated, 2 * 4 * 8u);
  // Monarch: D * (d_e + N), two sub-layers.
  EXPECT_EQ(cost.layer.fusion.parameters, 2 * 8 * (2 + 4u));
  EXPECT_EQ(cost.layer.fusion.activated, 8 * (2 + 4u));
  EXPECT_EQ(cost.embed.parameters, 80u);
  EXPECT_EQ(cost.embed.activated, 8u);
  EXPECT_EQ(cost.head.parameters, 88u);
  EXPECT_EQ(cost.head.flops, 160u);
  uint64_t activated = 8 + 56 + 80 + 64 + 48 + 88;
  EXPECT_EQ(cost.total().activated, activated);
  EXPECT_EQ(cost.bytesPerToken(cost.total()), 2 * activated + 96);
}

TEST(Cost, InnerFfnIsDenseBehindAFusionOnly) {
  ModelConfig config = tinyModelConfig();
  config.intermediateSize = 12; // d_e = 3
  config.routing->axis = RoutedAxis::FfnInner;
  config.routing->fusion = FusionKind::BlockDiagonal;
  ModelCost cost = computeCost(config, 4, 1);
  EXPECT_EQ(cost.layer.ffn.activated, 8u + 6 * 8 + 12 * 8);
  EXPECT_EQ(cost.layer.fusion.parameters, 4 * 3 * 3 + 12u);
  EXPECT_EQ(cost.layer.fusion.activated, 2 * 3 * 3 + 12u);
  EXPECT_EQ(cost.layer.attention.activated, 8u + 96);
  EXPECT_EQ(cost.layer.router.parameters, 4 * 8u);
  config.routing->fusion = FusionKind::None;
  EXPECT_EQ(computeCost(config, 4, 1).layer.ffn.activated, 8u + 6 * 8 + 6 * 8);
}

TEST(Cost, QuantizedProjectionsAreAByteAndScales) {
  ModelCost cost = computeCost(tinyModelConfig(), 2, 5, /*quantized=*/true);
  // Two of four groups are active: q, k and v have 8 columns and scales of each; o has 4 active columns.
  EXPECT_EQ(cost.layer.attention.projected, 48u);
  EXPECT_EQ(cost.layer.attention.scales, 2 * 8 + 4u);
  EXPECT_EQ(cost.layer.ffn.projected, 3 * 6 * 4u);
  EXPECT_EQ(cost.layer.ffn.scales, 2 * 2 * 6 + 4u);
  EXPECT_EQ(cost.head.projected, 80u);
  EXPECT_EQ(cost.head.scales, 10u);
  EXPECT_EQ(cost.layer.router.projected + cost.layer.fusion.projected + cost.embed.projected, 0u);
  EXPECT_EQ(cost.bytesPerToken(cost.layer.ffn), 2 * 8 + 72 + 4 * 28u);
  EXPECT_EQ(cost.bytesPerToken(cost.layer.router), 2 * 64u);
  cost.quantized = false;
  EXPECT_EQ(cost.bytesPerToken(cost.layer.ffn), 2 * 80u);
}

TEST(Cost, DenseModelHasOneGroupOfScales) {
  ModelConfig config = tinyModelConfig();
  config.routing.reset();
  ModelCost cost = computeCost(config, 2, 5, /*quantized=*/true);
  EXPECT_EQ(cost.layer.attention.scales, 8 + 8u);
  EXPECT_EQ(cost.layer.ffn.scales, 2 * 6 + 8u);
}

TEST(Cost, TableAndJsonShowTheSameNumbers) {
  ModelCost cost = computeCost(*presetConfig("mohd-355m-dense"), 2);
  std::string table = formatCostTable(cost), json = formatCostJson(cost);
  EXPECT_NE(table.find("354.99M total"), std::string::npos) << table;
  EXPECT_NE(table.find("354,993,152"), std::string::npos) << table;
  EXPECT_NE(json.find("\"model\":{\"activated\":322226176,"), std::string::npos) << json;
  EXPECT_NE(json.find("\"parameters\":354993152"), std::string::npos) << json;
  EXPECT_NE(json.find("\"context_length\":2048"), std::string::npos) << json;
}

/// The row of a preset in docs/models.md: 16-bit weights, context 2048.
std::string documentedRow(const std::string &name) {
  ModelConfig config = *presetConfig(name);
  ModelCost cost = computeCost(config, 2, 2048);
  PartCost total = cost.total();
  std::string groups = "-";
  if (const auto &routing = config.routing)
    groups = std::to_string(routing->numGroups) + ", " + std::to_string(routing->numShared) + ", " +
             std::to_string(routing->numRouted);
  char numbers[128];
  std::snprintf(numbers, sizeof(numbers), "%.2fM | %.2fM | %.3f | %.1f", total.parameters / 1e6,
                total.activated / 1e6, total.flops / 1e9, cost.bytesPerToken(total) / 1e6);
  return "| `" + name + "` | " + std::to_string(config.hiddenSize) + " | " +
         std::to_string(config.intermediateSize) + " | " + groups + " | " + numbers + " |";
}

TEST(Cost, TableInTheDocumentationIsFresh) {
  std::ifstream stream(MOHD_MODELS_PAGE);
  std::string page(std::istreambuf_iterator<char>(stream), {});
  ASSERT_FALSE(page.empty()) << MOHD_MODELS_PAGE;
  for (const std::string &name : presetNames())
    EXPECT_NE(page.find(documentedRow(name)), std::string::npos) << documentedRow(name);
}

} // namespace
