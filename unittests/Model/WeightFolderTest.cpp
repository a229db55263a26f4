// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Model folders on disk: one file and shards, each way in which they can disagree with config.json
// or the index.

#include "ModelFolder.h"
#include "mohd/Model/Weights.h"

#include <cmath>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir::mohd;

namespace {

constexpr const char *kSingle = "model.safetensors";
constexpr const char *kIndex = "model.safetensors.index.json";

class WeightFolder : public testing::Test {
protected:
  std::string refusal() {
    Result<std::unique_ptr<WeightSource>> source = openWeights(folder.path(), config);
    return source.ok() ? "accepted" : source.status().message();
  }

  void expectRefusal(const std::string &part) {
    std::string message = refusal();
    EXPECT_EQ(message.rfind(folder.path(), 0), 0u) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  /// Two shards, tensors dealt out in turn, and their index.
  void writeShards() {
    std::vector<TensorSpec> halves[2];
    for (size_t i = 0; i < specs.size(); ++i)
      halves[i % 2].push_back(specs[i]);
    folder.writeWeights("a-1.safetensors", halves[0]);
    folder.writeWeights("a-2.safetensors", halves[1]);
    writeIndex([&](size_t i) { return i % 2 ? "a-2.safetensors" : "a-1.safetensors"; });
  }

  template <typename FileOf> void writeIndex(FileOf fileOf, size_t count = size_t(-1)) {
    std::string text = R"({"metadata":{"total_size":1},"weight_map":{)";
    for (size_t i = 0; i < std::min(count, specs.size()); ++i)
      text += (i ? ",\"" : "\"") + specs[i].name + "\":\"" + fileOf(i) + "\"";
    folder.writeText(kIndex, text + "}}");
  }

  ModelConfig config = tinyModelConfig();
  std::vector<TensorSpec> specs = expectedTensors(config);
  ModelFolder folder;
};

TEST_F(WeightFolder, SingleFile) {
  folder.writeWeights(kSingle, specs);
  Result<std::unique_ptr<WeightSource>> source = openWeights(folder.path(), config);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ((*source)->fileNames(), std::vector<std::string>{kSingle});
  for (const TensorSpec &spec : specs) {
    std::vector<float> values(static_cast<size_t>(spec.numElements()));
    Status status = (*source)->readTensor(spec.name, {}, values.data(), values.size() * 4);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(values, ModelFolder::valuesOf(spec)) << spec.name;
  }
  float value;
  EXPECT_FALSE((*source)->readTensor("nothing", {}, &value, 4).ok());
  EXPECT_EQ((*source)->storedType(specs[0].name), DType::F32);
}

TEST_F(WeightFolder, ShardsInHalfPrecisionAndALayout) {
  folder.storageType = DType::BF16;
  writeShards();
  Result<std::unique_ptr<WeightSource>> source = openWeights(folder.path(), config);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ((*source)->fileNames(),
            (std::vector<std::string>{"a-1.safetensors", "a-2.safetensors"}));
  TensorSpec q{"model.layers.0.self_attn.q_proj.weight", {4, 8}};
  EXPECT_EQ((*source)->storedType(q.name), DType::BF16);
  std::vector<float> got(32), stored = ModelFolder::valuesOf(q);
  TensorLayout layout{DType::F32, {4, 4, 2}, {1, 2, 0}}; // [E, D] to [N, d_e, E]
  ASSERT_TRUE((*source)->readTensor(q.name, layout, got.data(), 128).ok());
  for (size_t e = 0; e < 4; ++e)
    for (size_t d = 0; d < 8; ++d)
      EXPECT_EQ(got[d * 4 + e], stored[e * 8 + d]);
}

TEST_F(WeightFolder, MissingTensor) {
  specs.pop_back();
  folder.writeWeights(kSingle, specs);
  expectRefusal("tensor 'lm_head.weight' is missing, expected shape [10, 8]");
}

TEST_F(WeightFolder, UnknownTensor) {
  specs.push_back({"model.layers.0.self_attn.q_proj.bias", {4}});
  folder.writeWeights(kSingle, specs);
  expectRefusal(
      "model.safetensors: tensor 'model.layers.0.self_attn.q_proj.bias' is not part of the model");
}

TEST_F(WeightFolder, WrongShape) {
  specs[0].shape = {8, 10};
  folder.writeWeights(kSingle, specs);
  expectRefusal("tensor 'model.embed_tokens.weight' has shape [8, 10], expected [10, 8]");
}

TEST_F(WeightFolder, NoWeights) {
  expectRefusal("expects model.safetensors or model.safetensors.index.json");
}

TEST_F(WeightFolder, BothSingleFileAndIndex) {
  writeShards();
  folder.writeWeights(kSingle, specs);
  expectRefusal("expects model.safetensors or model.safetensors.index.json, got both");
}

TEST_F(WeightFolder, FolderItselfMissing) {
  Result<std::unique_ptr<WeightSource>> source = openWeights(folder.path() + "/none", config);
  ASSERT_FALSE(source.ok());
  EXPECT_EQ(source.status().code(), StatusCode::NotFound);
}

TEST_F(WeightFolder, ShardNamesStayInTheFolder) {
  writeShards();
  for (const char *name :
       {"../a-1.safetensors", "/etc/passwd", "sub/a-1.safetensors", "..", ".safetensors", "a-1.bin",
        "a 1.safetensors", "a\\u0000.safetensors", ""}) {
    writeIndex([&](size_t) { return name; });
    expectRefusal("/weight_map/lm_head.weight': expected a file name");
  }
}

TEST_F(WeightFolder, SymbolicLinksAreNotFollowed) {
  writeShards();
  ModelFolder elsewhere;
  ASSERT_EQ(
      std::rename((folder.path() + "/a-2.safetensors").c_str(), (elsewhere.path() + "/x").c_str()),
      0);
  ASSERT_EQ(
      ::symlink((elsewhere.path() + "/x").c_str(), (folder.path() + "/a-2.safetensors").c_str()),
      0);
  expectRefusal("a-2.safetensors: is a symbolic link");
}

TEST_F(WeightFolder, OnlyRegularFiles) {
  writeShards();
  ::unlink((folder.path() + "/a-2.safetensors").c_str());
  expectRefusal("a-2.safetensors: cannot open");
  ASSERT_EQ(::mkfifo((folder.path() + "/a-2.safetensors").c_str(), 0600), 0);
  expectRefusal("a-2.safetensors: expected a regular file");
}

TEST_F(WeightFolder, IndexAndShardsMustAgree) {
  writeShards();
  writeIndex([](size_t i) { return i % 2 ? "a-1.safetensors" : "a-2.safetensors"; });
  expectRefusal("is not in a-");
  writeIndex([](size_t i) { return i % 2 ? "a-2.safetensors" : "a-1.safetensors"; },
             specs.size() - 1);
  expectRefusal("expected an entry for 'lm_head.weight'");
  specs.push_back({"ghost.weight", {1}});
  writeIndex([](size_t i) { return i % 2 ? "a-2.safetensors" : "a-1.safetensors"; });
  expectRefusal("'ghost.weight' is not in");
}

TEST_F(WeightFolder, ATensorInTwoShards) {
  writeShards();
  folder.writeWeights("a-2.safetensors", specs);
  expectRefusal("is in another shard as well");
}

TEST_F(WeightFolder, BrokenIndex) {
  writeShards();
  folder.writeText(kIndex, "{}");
  expectRefusal("weight_map");
  folder.writeText(kIndex, R"({"weight_map":[]})");
  expectRefusal("/weight_map");
  folder.writeText(kIndex, R"({"weight_map":{"a":1}})");
  expectRefusal("/weight_map/a");
  folder.writeText(kIndex, R"({"weight_map":{}})");
  expectRefusal("tensor 'model.embed_tokens.weight' is missing");
}

TEST_F(WeightFolder, TruncatedFilesAreRefused) {
  folder.writeWeights(kSingle, specs);
  std::string whole = folder.readText(kSingle);
  for (size_t size = 0; size < whole.size(); size += size < 16 ? 1 : 61) {
    folder.writeText(kSingle, whole.substr(0, size));
    ASSERT_NE(refusal(), "accepted") << size;
  }
}

/// The models in examples/ were written by PyTorch and the safetensors library.
TEST(ExampleModels, AreReadWithoutComplaint) {
  for (const char *name : {"pydoc-mohd", "pydoc-dense"}) {
    std::string folder = std::string(MOHD_EXAMPLES) + "/" + name;
    Result<ParsedConfig> parsed = readConfig(folder);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_TRUE(parsed->warnings.empty()) << parsed->warnings.front();
    Result<std::unique_ptr<WeightSource>> source = openWeights(folder, parsed->config);
    ASSERT_TRUE(source.ok()) << source.status().message();
    for (const TensorSpec &spec : expectedTensors(parsed->config)) {
      std::vector<float> values(static_cast<size_t>(spec.numElements()));
      ASSERT_TRUE((*source)->readTensor(spec.name, {}, values.data(), values.size() * 4).ok());
      for (float value : values)
        ASSERT_TRUE(std::isfinite(value)) << spec.name;
    }
  }
}

} // namespace
