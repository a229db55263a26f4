// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Import of every preset and of every combination of options: the module verifies, round-trips, and
// asks for exactly the tensors that the configuration lists, in layouts that fit them.

#include "mohd/Model/Import.h"
#include "ModelFolder.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Model/Presets.h"
#include "mohd/Model/Weights.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>
#include <map>

using namespace mlir;
using namespace mlir::mohd;

namespace {

/// Options worth combining; those that checkConfig() refuses are left out.
std::vector<ModelConfig> allCombinations() {
  std::vector<ModelConfig> configs;
  for (int bits = 0; bits < 4 * 6 * 3 * 3 * 2 * 2 * 3; ++bits) {
    int rest = bits;
    auto next = [&rest](int count) { return std::exchange(rest, rest / count) % count; };
    ModelConfig config = tinyModelConfig();
    config.intermediateSize = 12;
    RoutingConfig &routing = *config.routing;
    routing.gate = static_cast<GateKind>(next(4));
    routing.scaling = static_cast<ScalingKind>(next(6));
    routing.score = static_cast<ScoreKind>(next(3));
    routing.fusion = static_cast<FusionKind>(next(3));
    routing.axis = static_cast<RoutedAxis>(next(2));
    routing.normStat = static_cast<NormStat>(next(2));
    int counts = next(3); // some routed, none routed, all active
    routing.numShared = counts == 0 ? 1 : counts == 1 ? 2 : 4;
    routing.numRouted = counts == 0 ? 2 : 0;
    std::vector<std::string> warnings;
    if (checkConfig(config, "config.json", warnings).ok())
      configs.push_back(config);
  }
  return configs;
}

class Import : public testing::Test {
protected:
  OwningOpRef<ModuleOp> expectImport(const ModelConfig &config, const ImportOptions &options = {}) {
    OwningOpRef<ModuleOp> module = importModel(context, config, options);
    EXPECT_TRUE(module) << writeConfig(config);
    return module;
  }

  /// Checks that each function names all tensors of the configuration, and no other.
  void expectExactWeights(ModuleOp module, const ModelConfig &config) {
    for (auto function : module.getOps<func::FuncOp>()) {
      std::map<std::string, int64_t> missing;
      for (const TensorSpec &spec : expectedTensors(config))
        missing[spec.name] = spec.numElements();
      std::map<std::string, int64_t> known = missing;
      function.walk([&](WeightOp weight) {
        std::string name = weight.getSource().str();
        ASSERT_TRUE(known.count(name)) << name;
        EXPECT_EQ(weight.getType().getNumElements(), known[name]) << name;
        missing.erase(name);
      });
      EXPECT_TRUE(missing.empty()) << missing.begin()->first << "\n" << writeConfig(config);
    }
  }

  std::string print(ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream(text) << module;
    return text;
  }

  MLIRContext context;
};

TEST_F(Import, EveryPresetInEveryWeightType) {
  for (const std::string &name : presetNames())
    for (DType type : {DType::F32, DType::BF16, DType::F16}) {
      ModelConfig config = *presetConfig(name);
      config.numLayers = 2; // all layers are alike
      ImportOptions options;
      options.weightType = type;
      OwningOpRef<ModuleOp> module = expectImport(config, options);
      ASSERT_TRUE(module);
      expectExactWeights(*module, config);
      module->walk([&](WeightOp weight) { EXPECT_EQ(weightLayout(weight).type, type); });
    }
}

TEST_F(Import, EveryCombinationOfOptions) {
  std::vector<ModelConfig> configs = allCombinations();
  EXPECT_GT(configs.size(), 800u);
  for (const ModelConfig &config : configs) {
    OwningOpRef<ModuleOp> module = expectImport(config);
    ASSERT_TRUE(module);
    expectExactWeights(*module, config);
  }
}

TEST_F(Import, PrintsAndParsesBack) {
  for (const char *name : {"mohd-355m-dense", "mohd-355m-x4", "third_party_ffn"}) {
    ModelConfig config = *presetConfig(name);
    config.numLayers = 1;
    std::string text = print(*expectImport(config));
    OwningOpRef<ModuleOp> parsed = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(print(*parsed), text);
  }
}

TEST_F(Import, EntryPointsAreChosen) {
  ImportOptions options;
  options.prefill = false;
  OwningOpRef<ModuleOp> module = expectImport(tinyModelConfig(), options);
  EXPECT_FALSE(module->lookupSymbol("prefill"));
  EXPECT_TRUE(module->lookupSymbol("decode"));
}

/// The layouts that the ops ask for, read from random weights and checked against the files' [out,
/// in] order.
TEST_F(Import, LayoutsPutEachWeightWhereItsOpReadsIt) {
  ModelConfig config = tinyModelConfig(); // D = 8, N = 4, d_e = 2, E = 4
  auto weights = randomWeights(config, 5);
  auto read = [&](const std::string &name, const TensorLayout &layout, size_t count) {
    std::vector<float> values(count);
    EXPECT_TRUE(weights->readTensor(name, layout, values.data(), count * 4).ok()) << name;
    return values;
  };
  std::map<std::string, TensorLayout> layouts;
  expectImport(config)->walk(
      [&](WeightOp weight) { layouts[weight.getSource().str()] = weightLayout(weight); });

  std::string q = "model.layers.0.self_attn.q_proj.weight",
              o = "model.layers.0.self_attn.o_proj.weight", head = "lm_head.weight";
  std::vector<float> plain = read(q, {}, 32), laid = read(q, layouts[q], 32);
  for (size_t group = 0; group < 4;
       ++group) // spmm reads [group, p, e], the file has [e, group * 2 + p]
    for (size_t p = 0; p < 2; ++p)
      for (size_t e = 0; e < 4; ++e)
        EXPECT_EQ(laid[(group * 2 + p) * 4 + e], plain[e * 8 + group * 2 + p]);
  plain = read(o, {}, 32), laid = read(o, layouts[o], 32);
  for (size_t group = 0; group < 4;
       ++group) // sddmm reads [group, e, p], the file has [group * 2 + p, e]
    for (size_t e = 0; e < 4; ++e)
      for (size_t p = 0; p < 2; ++p)
        EXPECT_EQ(laid[(group * 4 + e) * 2 + p], plain[(group * 2 + p) * 4 + e]);
  plain = read(head, {}, 80), laid = read(head, layouts[head], 80);
  for (size_t d = 0; d < 8; ++d) // linear reads [in, out], the file has [out, in]
    for (size_t v = 0; v < 10; ++v)
      EXPECT_EQ(laid[d * 10 + v], plain[v * 8 + d]);
}

} // namespace
