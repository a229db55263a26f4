// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Import of every preset and of every combination of options: the module verifies, round-trips, and
// asks for exactly the tensors that the configuration lists, in layouts that fit them.

#include "mohd/Model/Import.h"
#include "ModelFolder.h"
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
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

TensorLayout layoutOf(WeightOp op) {
  return weightLayout(op.getType(), op.getExpandedShapeAttr(), op.getPermutationAttr(),
                      op.getPanelsAttr());
}

class Import : public testing::Test {
protected:
  OwningOpRef<ModuleOp> expectImport(const ModelConfig &config, const ImportOptions &options = {}) {
    OwningOpRef<ModuleOp> module = importModel(context, config, options);
    EXPECT_TRUE(module) << writeConfig(config);
    return module;
  }

  /// Checks that each function names all tensors of the configuration, and no other; `sample` none.
  void expectExactWeights(ModuleOp module, const ModelConfig &config) {
    for (auto function : module.getOps<func::FuncOp>()) {
      std::map<std::string, int64_t> missing;
      if (function.getName() != "sample")
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
      module->walk([&](WeightOp weight) { EXPECT_EQ(layoutOf(weight).type, type); });
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

TEST_F(Import, LayoutsOfWeights) {
  context.loadDialect<MohdDialect>();
  Block block;
  const char *text = R"(
    %plain = mohd.weight "norm" : tensor<64xf32>
    %view = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xf16>
    %panels = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16
      : tensor<16x6x4x16xbf16>
  )";
  ASSERT_TRUE(succeeded(parseSourceString(text, &block, ParserConfig(&context))));
  std::vector<TensorLayout> layouts;
  for (WeightOp op : block.getOps<WeightOp>())
    layouts.push_back(layoutOf(op));
  ASSERT_EQ(layouts.size(), 3u);
  EXPECT_EQ(layouts[0].type, DType::F32);
  EXPECT_TRUE(layouts[0].expanded.empty());
  EXPECT_TRUE(layouts[0].permutation.empty());
  EXPECT_EQ(layouts[0].panel, 0);
  EXPECT_EQ(layouts[1].type, DType::F16);
  EXPECT_EQ(layouts[1].panel, 0);
  EXPECT_EQ(layouts[2].type, DType::BF16);
  EXPECT_EQ(layouts[2].expanded, (std::vector<int64_t>{96, 16, 4}));
  EXPECT_EQ(layouts[2].permutation, (std::vector<int64_t>{1, 2, 0}));
  EXPECT_EQ(layouts[2].panel, 16);
}

TEST_F(Import, EntryPointsAreChosen) {
  ImportOptions options;
  options.prefill = false;
  OwningOpRef<ModuleOp> module = expectImport(tinyModelConfig(), options);
  EXPECT_FALSE(module->lookupSymbol("prefill"));
  EXPECT_TRUE(module->lookupSymbol("decode"));
  EXPECT_TRUE(module->lookupSymbol("sample"));
  options.sample = false;
  EXPECT_FALSE(expectImport(tinyModelConfig(), options)->lookupSymbol("sample"));
}

/// All ops of one kind in a function, in order.
template <typename OpTy> std::vector<OpTy> opsOf(ModuleOp module, StringRef function) {
  std::vector<OpTy> ops;
  module.lookupSymbol(function)->walk([&](OpTy op) { ops.push_back(op); });
  return ops;
}

TEST_F(Import, RouterSeesTheFullNormAndProjectionsTheActiveOne) {
  ModelConfig config = tinyModelConfig();
  config.routing->normStat = NormStat::Active;
  config.routing->gate = GateKind::Renormalized;
  config.routing->numRouted = 2;
  config.routing->score = ScoreKind::Sigmoid;
  config.routing->scaling = ScalingKind::KOverMass;
  config.rmsNormEps = 1e-6;
  OwningOpRef<ModuleOp> module = expectImport(config);
  std::vector<RouteOp> routes = opsOf<RouteOp>(*module, "decode");
  ASSERT_EQ(routes.size(), 2u); // attention and FFN have a router each
  EXPECT_EQ(routes[0].getGate(), Gate::Renormalized);
  EXPECT_EQ(routes[0].getScore(), Score::Sigmoid);
  std::vector<SpmmOp> projections = opsOf<SpmmOp>(*module, "decode");
  ASSERT_EQ(projections.size(), 5u); // q, k, v, gate, up
  for (size_t i = 0; i < projections.size(); ++i) {
    RouteOp route = routes[i < 3 ? 0 : 1];
    EXPECT_EQ(projections[i].getRouting(), route.getRouting());
    auto scale = projections[i].getInput().getDefiningOp<ScaleOp>();
    ASSERT_TRUE(scale);
    EXPECT_EQ(scale.getScaling(), Scaling::KOverMass);
    auto active = scale.getInput().getDefiningOp<RmsNormOp>();
    auto full = route.getInput().getDefiningOp<RmsNormOp>();
    ASSERT_TRUE(active && full);
    EXPECT_EQ(active.getRouting(), route.getRouting());
    EXPECT_FALSE(full.getRouting());
    EXPECT_EQ(active.getInput(), full.getInput());
    EXPECT_EQ(active.getEpsilon().convertToDouble(), 1e-6);
  }
  std::vector<SddmmOp> outputs = opsOf<SddmmOp>(*module, "decode");
  ASSERT_EQ(outputs.size(), 2u); // o, down
  EXPECT_TRUE(outputs[0].getInput().getDefiningOp<AttentionOp>());
  EXPECT_TRUE(outputs[1].getInput().getDefiningOp<SwigluOp>());
}

TEST_F(Import, WithFullNormTheProjectionsShareTheRoutersInput) {
  OwningOpRef<ModuleOp> module = expectImport(tinyModelConfig());
  RouteOp route = opsOf<RouteOp>(*module, "prefill").front();
  auto scale = opsOf<SpmmOp>(*module, "prefill").front().getInput().getDefiningOp<ScaleOp>();
  ASSERT_TRUE(scale);
  EXPECT_EQ(scale.getInput(), route.getInput());
}

TEST_F(Import, DenseSubLayersUseLinear) {
  ModelConfig config = tinyModelConfig();
  config.routing->gate = GateKind::Binary;
  config.routing->scaling = ScalingKind::None;
  config.routing->fusion = FusionKind::None;
  config.routing->numShared = 4;
  config.routing->numRouted = 0;
  ModelConfig dense = tinyModelConfig();
  dense.routing.reset();
  std::string text = print(*expectImport(config));
  EXPECT_EQ(text, print(*expectImport(dense)));
  EXPECT_EQ(text.find("mohd.route"), std::string::npos);
  EXPECT_NE(text.find("mohd.linear"), std::string::npos);
}

TEST_F(Import, SequencesBelongToPrefillAndCachesAreUpdatedInPlace) {
  ModelConfig config = tinyModelConfig();
  config.numLayers = 3;
  OwningOpRef<ModuleOp> module = expectImport(config);
  for (StringRef name : {"prefill", "decode"}) {
    auto function = cast<func::FuncOp>(module->lookupSymbol(name));
    for (AttentionOp attention : opsOf<AttentionOp>(*module, name))
      EXPECT_EQ(bool(attention.getSequence()), name == "prefill");
    auto results = function.getBody().front().getTerminator()->getOperands();
    unsigned arguments = function.getNumArguments();
    for (unsigned i = 0; i < 2; ++i) { // follow the updates from the result back to the argument
      Value cache = results[1 + i];
      for (int64_t layer = 2; layer >= 0; --layer) {
        auto append = cache.getDefiningOp<KvCacheAppendOp>();
        ASSERT_TRUE(append);
        EXPECT_EQ(static_cast<int64_t>(append.getLayer()), layer);
        cache = append.getCache();
      }
      EXPECT_EQ(cache, function.getArgument(arguments - 2 + i));
      EXPECT_EQ(function.getResultAttr(1 + i, kNameAttr),
                function.getArgAttr(arguments - 2 + i, kNameAttr));
    }
  }
}

TEST_F(Import, TiedEmbeddingsServeAsHead) {
  ModelConfig config = tinyModelConfig();
  config.tieWordEmbeddings = true;
  OwningOpRef<ModuleOp> module = expectImport(config);
  auto head = opsOf<LinearOp>(*module, "decode").back().getWeight().getDefiningOp<WeightOp>();
  EXPECT_EQ(head.getSource(), "model.embed_tokens.weight");
  EXPECT_EQ(layoutOf(head).permutation, (std::vector<int64_t>{1, 0}));
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
      [&](WeightOp weight) { layouts[weight.getSource().str()] = layoutOf(weight); });

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
