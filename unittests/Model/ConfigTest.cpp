// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json: what is accepted with which defaults, each refusal with its message, and the way
// back to text.

#include "AllocationMeter.h"
#include "ModelFolder.h"
#include "mohd/Model/Presets.h"

#include <gtest/gtest.h>
#include <random>

using namespace mlir::mohd;

namespace {

const char *kSmall = R"({"model_type": "mohd", "hidden_size": 64, "intermediate_size": 96,
  "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256, "max_position_embeddings": 128,
  "mohd": {"num_groups": 8, "num_shared": 2, "num_routed": 2}})";

/// kSmall with the first `from` replaced.
std::string edited(const std::string &from, const std::string &to) {
  std::string text = kSmall;
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

/// kSmall with members added to the top level, or to the mohd block.
std::string withMembers(const std::string &members) {
  return edited("{\"model_type\"", "{" + members + ", \"model_type\"");
}
std::string withRouting(const std::string &members) {
  return edited("{\"num_groups\"", "{" + members + ", \"num_groups\"");
}

void expectRefusal(const std::string &text, const std::string &part) {
  Result<ParsedConfig> parsed = parseConfig(text, "config.json");
  ASSERT_FALSE(parsed.ok()) << text;
  const std::string &message = parsed.status().message();
  EXPECT_EQ(parsed.status().code(), StatusCode::Malformed) << message;
  EXPECT_EQ(message.rfind("config.json: ", 0), 0u) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

ParsedConfig expectAccepted(const std::string &text) {
  Result<ParsedConfig> parsed = parseConfig(text, "config.json");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? *parsed : ParsedConfig();
}

TEST(Config, Defaults) {
  ParsedConfig parsed = expectAccepted(kSmall);
  EXPECT_TRUE(parsed.warnings.empty());
  const ModelConfig &config = parsed.config;
  EXPECT_EQ(config.numKvHeads, 4);
  EXPECT_EQ(config.headDim, 16);
  EXPECT_EQ(config.rmsNormEps, 1e-5);
  EXPECT_EQ(config.ropeTheta, 10000.0);
  EXPECT_FALSE(config.tieWordEmbeddings);
  EXPECT_EQ(config.tokenizer, "");
  EXPECT_EQ(config.routing->gate, GateKind::Softmax);
  EXPECT_EQ(config.routing->scaling, ScalingKind::SqrtNKOverMass);
  EXPECT_EQ(config.routing->score, ScoreKind::SoftmaxAll);
  EXPECT_EQ(config.routing->fusion, FusionKind::Monarch);
  EXPECT_EQ(config.routing->balance, BalanceKind::Deepseek);
  EXPECT_EQ(config.routing->balanceCoefficient, 0.01);
  EXPECT_EQ(config.routing->axis, RoutedAxis::Residual);
  EXPECT_EQ(config.routing->normStat, NormStat::Full);
}

TEST(Config, EveryPresetSurvivesWritingAndReading) {
  for (const std::string &name : presetNames()) {
    ModelConfig config = *presetConfig(name);
    std::string text = writeConfig(config);
    ParsedConfig parsed = expectAccepted(text);
    EXPECT_TRUE(parsed.warnings.empty()) << parsed.warnings.front();
    EXPECT_EQ(writeConfig(parsed.config), text) << name;
    EXPECT_EQ(parsed.config.routing.has_value(), config.routing.has_value());
  }
}

TEST(Config, EveryValueSurvivesWritingAndReading) {
  ModelConfig config = tinyModelConfig();
  config.vocabSize = 300;
  config.tokenizer = "bytes";
  config.torchDtype = "bfloat16";
  config.tieWordEmbeddings = true;
  config.rmsNormEps = 1e-6;
  config.ropeTheta = 500000.0;
  config.routing->balanceCoefficient = 0.003;
  config.routing->normStat = NormStat::Active;
  for (int i = 0; i < 6; ++i) {
    config.routing->gate = static_cast<GateKind>(i % 4);
    config.routing->scaling = static_cast<ScalingKind>(i == 1 ? 0 : i);
    config.routing->score = static_cast<ScoreKind>(i % 3);
    config.routing->fusion = static_cast<FusionKind>(i % 3);
    config.routing->balance = static_cast<BalanceKind>(i % 3);
    ModelConfig back = expectAccepted(writeConfig(config)).config;
    EXPECT_EQ(back.tokenizer, "bytes");
    EXPECT_EQ(back.torchDtype, "bfloat16");
    EXPECT_TRUE(back.tieWordEmbeddings);
    EXPECT_EQ(back.rmsNormEps, 1e-6);
    EXPECT_EQ(back.ropeTheta, 500000.0);
    EXPECT_EQ(back.routing->balanceCoefficient, 0.003);
    EXPECT_EQ(back.routing->normStat, NormStat::Active);
    EXPECT_EQ(back.routing->gate, config.routing->gate);
    EXPECT_EQ(back.routing->scaling, config.routing->scaling);
    EXPECT_EQ(back.routing->score, config.routing->score);
    EXPECT_EQ(back.routing->fusion, config.routing->fusion);
    EXPECT_EQ(back.routing->balance, config.routing->balance);
  }
}

TEST(Config, WhatHuggingFaceWritesIsAccepted) {
  ParsedConfig parsed = expectAccepted(withMembers(
      R"("architectures": ["X"], "transformers_version": "4.40", "bos_token_id": 1, "eos_token_id": [2, 3],
         "pad_token_id": null, "use_cache": true, "initializer_range": 0.02, "attention_dropout": 0.0,
         "pretraining_tp": 1, "attention_bias": false, "mlp_bias": false, "rope_scaling": null,
         "hidden_act": "silu", "torch_dtype": "bfloat16", "num_key_value_heads": 2, "head_dim": null)"));
  EXPECT_TRUE(parsed.warnings.empty());
  EXPECT_EQ(parsed.config.numKvHeads, 2);
  EXPECT_EQ(parsed.config.headDim, 16);
}

TEST(Config, UnknownKeysWarnOutsideAndFailInsideTheMohdBlock) {
  ParsedConfig parsed = expectAccepted(withMembers(R"("hidden_sise": 1, "zzz": {})"));
  ASSERT_EQ(parsed.warnings.size(), 2u);
  EXPECT_EQ(parsed.warnings[0], "config.json: at '/hidden_sise': unknown key, it is ignored");
  expectRefusal(withRouting(R"("num_group": 8)"),
                "at '/mohd/num_group': unknown key, did you mean 'num_groups'?");
  expectRefusal(withRouting(R"("scalling": "none")"), "did you mean 'scaling'?");
  expectRefusal(withRouting(R"("completely_else": 8)"), "at '/mohd/completely_else': unknown key");
}

TEST(Config, DenseModels) {
  std::string block = R"("mohd": {"num_groups": 8, "num_shared": 2, "num_routed": 2})";
  std::string dense = edited(",\n  " + block, "").replace(16, 4, "llama");
  EXPECT_FALSE(expectAccepted(dense).config.routing);
  expectRefusal(edited(",\n  " + block, ""), "expected a 'mohd' block");
  expectRefusal(edited("\"mohd\",", "\"llama\","),
                "at '/model_type': expected 'mohd', as there is");
  expectRefusal(edited("\"mohd\",", "\"gpt2\","),
                "at '/model_type': expected 'mohd' or 'llama', got \"gpt2\"");
}

TEST(Config, TypesOfValues) {
  expectRefusal("[]", "expected an object, got an array");
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": 64.0"),
                "at '/hidden_size': expected an integer, got 64.0");
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": \"64\""),
                "at '/hidden_size': expected an integer, got \"64\"");
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": 18446744073709551680"),
                "/hidden_size");
  expectRefusal(edited("\"hidden_size\": 64,", ""), "missing key 'hidden_size'");
  expectRefusal(edited("\"num_routed\": 2", "\"num_routed\": null"),
                "at '/mohd/num_routed': expected an integer, got null");
  expectRefusal(edited(", \"num_routed\": 2", ""), "at '/mohd': missing key 'num_routed'");
  expectRefusal(withMembers(R"("rms_norm_eps": "1e-5")"), "at '/rms_norm_eps': expected a number");
  expectRefusal(withMembers(R"("tie_word_embeddings": 0)"),
                "at '/tie_word_embeddings': expected true or false, got 0");
  expectRefusal(withMembers(R"("torch_dtype": "int8")"),
                "at '/torch_dtype': expected 'float32', 'bfloat16' or 'float16'");
  expectRefusal(withMembers(R"("hidden_act": "gelu")"),
                "at '/hidden_act': expected 'silu', got \"gelu\"");
  expectRefusal(withMembers(R"("attention_bias": true)"),
                "at '/attention_bias': expected false or null");
  expectRefusal(withMembers(R"("mlp_bias": true)"), "at '/mlp_bias'");
  expectRefusal(withMembers(R"("rope_scaling": {"type": "linear"})"), "at '/rope_scaling'");
  expectRefusal(withMembers(R"("tokenizer": "bpe")"),
                "at '/tokenizer': expected 'bytes', got 'bpe'");
  expectRefusal(withRouting(R"("gate": "Softmax")"),
                "at '/mohd/gate': expected one of 'softmax', 'shared_one', 'renormalized', "
                "'binary', got \"Softmax\"");
  expectRefusal(withRouting(R"("axis": 1)"),
                "at '/mohd/axis': expected one of 'residual', 'ffn_inner', got 1");
  expectRefusal(edited("{\"num_groups\": 8, \"num_shared\": 2, \"num_routed\": 2}", "[]"),
                "at '/mohd': expected an object");
}

TEST(Config, Ranges) {
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": 0"),
                "at '/hidden_size': expected an integer in 1..1048576, got 0");
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": -64"), "at '/hidden_size'");
  expectRefusal(edited("\"hidden_size\": 64", "\"hidden_size\": 9223372036854775807"), "at '/");
  expectRefusal(edited("\"intermediate_size\": 96", "\"intermediate_size\": 0"),
                "at '/intermediate_size'");
  expectRefusal(edited("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 513"),
                "at '/num_hidden_layers'");
  expectRefusal(edited("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
                "at '/num_attention_heads'");
  expectRefusal(edited("\"vocab_size\": 256", "\"vocab_size\": 4294967296"), "at '/vocab_size'");
  expectRefusal(edited("\"max_position_embeddings\": 128", "\"max_position_embeddings\": 0"),
                "at '/max_position_embeddings'");
  expectRefusal(withMembers(R"("num_key_value_heads": 0)"), "at '/num_key_value_heads'");
  expectRefusal(withMembers(R"("head_dim": 0)"), "at '/head_dim'");
  expectRefusal(withMembers(R"("rms_norm_eps": 0)"),
                "at '/rms_norm_eps': expected a number above 0 and at most 1, got 0");
  expectRefusal(withMembers(R"("rope_theta": -1.5)"),
                "at '/rope_theta': expected a finite number above 0, got -1.5");
  expectRefusal(withRouting(R"("balance_coefficient": -1)"), "at '/mohd/balance_coefficient'");
  expectRefusal(edited("\"num_shared\": 2", "\"num_shared\": 9"),
                "at '/mohd/num_shared': expected an integer in 0..8, got 9");
  expectRefusal(edited("\"num_routed\": 2", "\"num_routed\": 7"),
                "at '/mohd/num_routed': expected an integer in 0..6, got 7");
  expectRefusal(edited("\"num_groups\": 8", "\"num_groups\": 0"), "at '/mohd/num_groups'");
  expectRefusal(
      edited("\"num_shared\": 2, \"num_routed\": 2", "\"num_shared\": 0, \"num_routed\": 0"),
      "at '/mohd/num_routed': expected at least one active group");
}

TEST(Config, Divisibility) {
  expectRefusal(edited("\"num_groups\": 8", "\"num_groups\": 12"),
                "at '/mohd/num_groups': expected a divisor of hidden_size 64, got 12");
  expectRefusal(
      edited("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
      "at '/num_attention_heads': expected a divisor of hidden_size 64, or a head_dim, got 5");
  expectRefusal(withMembers(R"("num_key_value_heads": 3)"),
                "at '/num_key_value_heads': expected a divisor of the 4 attention heads, got 3");
  expectRefusal(withMembers(R"("head_dim": 15)"), "at '/head_dim': expected an even number");
  // With axis ffn_inner it is d_ff that is cut.
  EXPECT_EQ(
      expectAccepted(edited("\"num_groups\": 8", "\"axis\": \"ffn_inner\", \"num_groups\": 12"))
          .config.groupWidth(),
      8);
  expectRefusal(edited("\"num_groups\": 8", "\"axis\": \"ffn_inner\", \"num_groups\": 64"),
                "expected a divisor of intermediate_size 96, got 64");
}

TEST(Config, RefusedCombinations) {
  expectRefusal(withRouting(R"("gate": "shared_one", "scaling": "n_times_mass")"),
                "at '/mohd/scaling'");
  expectRefusal(withRouting(R"("axis": "ffn_inner", "norm_stat": "active")"),
                "at '/mohd/norm_stat'");
  expectRefusal(edited("\"vocab_size\": 256", "\"tokenizer\": \"bytes\", \"vocab_size\": 255"),
                "at '/vocab_size': expected at least 256 with tokenizer 'bytes', got 255");
}

TEST(Config, RenormalizedWithOneRoutedGroupWarns) {
  std::string one = edited("\"num_routed\": 2", "\"num_routed\": 1, \"gate\": \"renormalized\"");
  ParsedConfig parsed = expectAccepted(one);
  ASSERT_EQ(parsed.warnings.size(), 1u);
  EXPECT_NE(parsed.warnings[0].find("at '/mohd/gate': 'renormalized' with one routed group"),
            std::string::npos);
  EXPECT_TRUE(expectAccepted(withRouting(R"("gate": "renormalized")")).warnings.empty());
}

TEST(Config, ReadsFromAFolder) {
  ModelFolder folder;
  Result<ParsedConfig> missing = readConfig(folder.path());
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), StatusCode::NotFound) << missing.status().message();
  folder.writeText("config.json", kSmall);
  EXPECT_TRUE(readConfig(folder.path()).ok());
  folder.writeText("config.json", kSmall + std::string(1 << 20, ' '));
  EXPECT_NE(readConfig(folder.path()).status().message().find("expected at most 1048576"),
            std::string::npos);
}

TEST(Config, DamagedTextIsRefusedOrReadWithinBounds) {
  std::string text = kSmall;
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parseConfig(text.substr(0, size), "config.json").ok()) << size;
  std::mt19937_64 random(11);
  for (int round = 0; round < 10000; ++round) {
    std::string damaged = text;
    uint64_t bit = random() % (8 * text.size());
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    Result<ParsedConfig> parsed = parseConfig(damaged, "config.json");
    std::vector<std::string> warnings;
    if (parsed.ok())
      EXPECT_TRUE(checkConfig(parsed->config, "config.json", warnings).ok());
    else
      EXPECT_FALSE(parsed.status().message().empty());
  }
}

TEST(Config, NestingAndDuplicates) {
  expectRefusal(withMembers("\"x\": " + std::string(1000000, '[') + std::string(1000000, ']')),
                "nested deeper");
  expectRefusal(withMembers(R"("hidden_size": 64)"), "duplicate key");
  expectRefusal(withRouting(R"("num_groups": 8)"), "duplicate key");
  AllocationMeter meter;
  expectRefusal(std::string(1000000, '['), "nested deeper");
  EXPECT_LE(meter.peak(), size_t(16 << 20));
}

TEST(ClosestMatch, NearWordsOnly) {
  std::vector<std::string> words = {"num_groups", "gate", "scaling", "score"};
  EXPECT_EQ(closestMatch("num_group", words), "num_groups");
  EXPECT_EQ(closestMatch("scalings", words), "scaling");
  EXPECT_EQ(closestMatch("gaet", words), "");
  EXPECT_EQ(closestMatch("gat", words), "gate");
  EXPECT_EQ(closestMatch("", words), "");
  EXPECT_EQ(closestMatch(std::string(10000, 'x'), words), "");
}

} // namespace
