// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json to ModelConfig and back. One table of keys for each block, so that reading knows
// every key there is.

#include "JsonHelpers.h"
#include "mohd/Model/InputFile.h"

#include <algorithm>
#include <array>
#include <functional>

namespace mlir::mohd {

namespace {

using ::mohdrt::JsonDocument;
using ::mohdrt::JsonMember;
using ::mohdrt::JsonNode;
using ::mohdrt::JsonValue;

constexpr uint64_t kMaxConfigBytes = 1 << 20;

template <typename Enum> struct EnumNames;
template <> struct EnumNames<GateKind> {
  static constexpr std::array<const char *, 4> names = {"softmax", "shared_one", "renormalized",
                                                        "binary"};
};
template <> struct EnumNames<ScalingKind> {
  static constexpr std::array<const char *, 6> names = {
      "sqrt_nk_over_mass", "n_times_mass", "k_over_mass", "sqrt_n_over_k", "n_over_k", "none"};
};
template <> struct EnumNames<ScoreKind> {
  static constexpr std::array<const char *, 3> names = {"softmax_all", "softmax_routed", "sigmoid"};
};
template <> struct EnumNames<FusionKind> {
  static constexpr std::array<const char *, 3> names = {"monarch", "block_diagonal", "none"};
};
template <> struct EnumNames<BalanceKind> {
  static constexpr std::array<const char *, 3> names = {"deepseek", "switch", "none"};
};
template <> struct EnumNames<RoutedAxis> {
  static constexpr std::array<const char *, 2> names = {"residual", "ffn_inner"};
};
template <> struct EnumNames<NormStat> {
  static constexpr std::array<const char *, 2> names = {"full", "active"};
};

template <typename Enum> std::string_view nameOf(Enum value) {
  return EnumNames<Enum>::names[static_cast<size_t>(value)];
}

void readValue(const JsonNode &node, int64_t &target) { target = readInteger(node, INT64_MIN); }

void readValue(const JsonNode &node, double &target) {
  if (node.isInteger() || (node.value() && node.value()->asFloat()))
    target = node.number();
  else
    failValue(node, "a number");
}

void readValue(const JsonNode &node, bool &target) {
  if (node.value() && node.value()->asBool())
    target = node.boolean();
  else
    failValue(node, "true or false");
}

void readValue(const JsonNode &node, std::string &target) { target = readString(node); }

template <typename Enum, typename = std::enable_if_t<std::is_enum_v<Enum>>>
void readValue(const JsonNode &node, Enum &target) {
  const auto &names = EnumNames<Enum>::names;
  std::string expected;
  for (size_t i = 0; i < names.size(); ++i) {
    if (node.isString() && node.string() == names[i]) {
      target = static_cast<Enum>(i);
      return;
    }
    expected += std::string(i ? ", '" : "one of '") + names[i] + "'";
  }
  failValue(node, expected);
}

/// A key of an object and how to read its value.
struct Key {
  const char *name;
  bool required;
  std::function<void(const JsonNode &)> read;
};

template <typename T> Key requiredKey(const char *name, T &target) {
  return {name, true, [&target](const JsonNode &node) { readValue(node, target); }};
}

/// A key with a default; JSON null counts as absent, as Hugging Face writes it for some.
template <typename T> Key optionalKey(const char *name, T &target) {
  return {name, false, [&target](const JsonNode &node) {
            if (!node.isNull())
              readValue(node, target);
          }};
}

/// A key whose value changes nothing.
Key ignoredKey(const char *name) {
  return {name, false, [](const JsonNode &) {}};
}

/// A key that may only say that a feature is not used.
Key unsupportedKey(const char *name) {
  return {name, false, [](const JsonNode &node) {
            const bool *used = node.value() ? node.value()->asBool() : nullptr;
            if (!node.isNull() && !(used && !*used))
              failValue(node, "false or null, as this is not supported");
          }};
}

/// Reads the members of `object` that `keys` names and returns the names of the others.
std::vector<std::string> readObject(const JsonNode &object, const std::vector<Key> &keys) {
  std::vector<std::string> unknown;
  const JsonValue::Object &members = membersOf(object);
  for (const Key &key : keys)
    if (JsonNode value = key.required ? object.member(key.name) : object.optional(key.name))
      key.read(value);
  for (const JsonMember &member : members)
    if (std::none_of(keys.begin(), keys.end(),
                     [&](const Key &key) { return member.key == key.name; }))
      unknown.push_back(member.key);
  return unknown;
}

void readRouting(const JsonNode &node, RoutingConfig &routing) {
  std::vector<Key> keys = {requiredKey("num_groups", routing.numGroups),
                           requiredKey("num_shared", routing.numShared),
                           requiredKey("num_routed", routing.numRouted),
                           optionalKey("gate", routing.gate),
                           optionalKey("scaling", routing.scaling),
                           optionalKey("score", routing.score),
                           optionalKey("fusion", routing.fusion),
                           optionalKey("balance", routing.balance),
                           optionalKey("balance_coefficient", routing.balanceCoefficient),
                           optionalKey("axis", routing.axis),
                           optionalKey("norm_stat", routing.normStat)};
  std::vector<std::string> unknown = readObject(node, keys);
  if (unknown.empty())
    return;
  std::vector<std::string> known;
  for (const Key &key : keys)
    known.push_back(key.name);
  std::string meant = closestMatch(unknown.front(), known);
  node.optional(unknown.front())
      .fail("unknown key" + (meant.empty() ? "" : ", did you mean '" + meant + "'?"));
}

Key routingKey(std::optional<RoutingConfig> &routing) {
  return {"mohd", false, [&routing](const JsonNode &node) {
            if (!node.isNull())
              readRouting(node, routing.emplace());
          }};
}

/// What only reading needs to know.
struct RawConfig {
  ModelConfig config;
  std::string modelType, activation = "silu";
};

std::vector<Key> modelKeys(RawConfig &raw) {
  ModelConfig &config = raw.config;
  std::vector<Key> keys = {requiredKey("model_type", raw.modelType),
                           requiredKey("hidden_size", config.hiddenSize),
                           requiredKey("intermediate_size", config.intermediateSize),
                           requiredKey("num_hidden_layers", config.numLayers),
                           requiredKey("num_attention_heads", config.numHeads),
                           optionalKey("num_key_value_heads", config.numKvHeads),
                           optionalKey("head_dim", config.headDim),
                           requiredKey("vocab_size", config.vocabSize),
                           requiredKey("max_position_embeddings", config.maxPositions),
                           optionalKey("rms_norm_eps", config.rmsNormEps),
                           optionalKey("rope_theta", config.ropeTheta),
                           optionalKey("tie_word_embeddings", config.tieWordEmbeddings),
                           optionalKey("hidden_act", raw.activation),
                           optionalKey("torch_dtype", config.torchDtype),
                           optionalKey("tokenizer", config.tokenizer),
                           routingKey(config.routing),
                           unsupportedKey("attention_bias"),
                           unsupportedKey("mlp_bias"),
                           unsupportedKey("rope_scaling")};
  for (const char *name :
       {"architectures", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id",
        "use_cache", "initializer_range", "attention_dropout", "pretraining_tp"})
    keys.push_back(ignoredKey(name));
  return keys;
}

bool isPresent(const JsonNode &root, const char *key) {
  JsonNode node = root.optional(key);
  return node && !node.isNull();
}

/// Fills in what the keys leave open and checks what no range can.
void completeConfig(RawConfig &raw, const JsonNode &root) {
  ModelConfig &config = raw.config;
  if (raw.modelType != "mohd" && raw.modelType != "llama")
    failValue(root.member("model_type"), "'mohd' or 'llama'");
  if (raw.modelType == "mohd" && !config.routing)
    root.fail("expected a 'mohd' block with model_type 'mohd'");
  if (raw.modelType == "llama" && config.routing)
    failValue(root.member("model_type"), "'mohd', as there is a 'mohd' block");
  if (raw.activation != "silu")
    failValue(root.member("hidden_act"), "'silu'");
  const std::string &dtype = config.torchDtype;
  if (!dtype.empty() && dtype != "float32" && dtype != "bfloat16" && dtype != "float16")
    failValue(root.member("torch_dtype"), "'float32', 'bfloat16' or 'float16'");
  if (!isPresent(root, "num_key_value_heads"))
    config.numKvHeads = config.numHeads;
  if (isPresent(root, "head_dim"))
    return;
  if (config.numHeads > 0 && config.hiddenSize % config.numHeads == 0)
    config.headDim = config.hiddenSize / config.numHeads;
  else
    failValue(root.member("num_attention_heads"),
              "a divisor of hidden_size " + std::to_string(config.hiddenSize) + ", or a head_dim");
}

} // namespace

std::string_view toString(GateKind value) { return nameOf(value); }
std::string_view toString(ScalingKind value) { return nameOf(value); }
std::string_view toString(ScoreKind value) { return nameOf(value); }
std::string_view toString(FusionKind value) { return nameOf(value); }
std::string_view toString(BalanceKind value) { return nameOf(value); }
std::string_view toString(RoutedAxis value) { return nameOf(value); }
std::string_view toString(NormStat value) { return nameOf(value); }

Result<ParsedConfig> parseConfig(std::string_view text, const std::string &fileName) {
  Result<JsonValue> value = parseBounded(text, fileName);
  if (!value.ok())
    return value.status();
  JsonDocument document(*value, fileName);
  ParsedConfig parsed;
  RawConfig raw;
  for (const std::string &name : readObject(document.root(), modelKeys(raw)))
    parsed.warnings.push_back(fileName + ": at '/" + ::mohdrt::escapeForMessage(name) +
                              "': unknown key, it is ignored");
  if (document.ok())
    completeConfig(raw, document.root());
  MOHDRT_TRY(document.status());
  MOHDRT_TRY(checkConfig(raw.config, fileName, parsed.warnings));
  parsed.config = std::move(raw.config);
  return parsed;
}

Result<ParsedConfig> readConfig(const std::string &folder) {
  Result<InputFile> file = InputFile::openBeneath(folder, "config.json");
  if (!file.ok())
    return file.status();
  Result<std::string> text = file->readText(kMaxConfigBytes);
  if (!text.ok())
    return text.status();
  return parseConfig(*text, file->path());
}

namespace {

JsonValue text(std::string_view value) { return JsonValue(value); }

JsonValue writeRouting(const RoutingConfig &routing) {
  JsonValue value = JsonValue::object();
  value.set("num_groups", routing.numGroups);
  value.set("num_shared", routing.numShared);
  value.set("num_routed", routing.numRouted);
  value.set("gate", text(toString(routing.gate)));
  value.set("scaling", text(toString(routing.scaling)));
  value.set("score", text(toString(routing.score)));
  value.set("fusion", text(toString(routing.fusion)));
  value.set("balance", text(toString(routing.balance)));
  value.set("balance_coefficient", routing.balanceCoefficient);
  value.set("axis", text(toString(routing.axis)));
  value.set("norm_stat", text(toString(routing.normStat)));
  return value;
}

} // namespace

std::string writeConfig(const ModelConfig &config) {
  JsonValue value = JsonValue::object();
  value.set("model_type", config.routing ? "mohd" : "llama");
  value.set("hidden_size", config.hiddenSize);
  value.set("intermediate_size", config.intermediateSize);
  value.set("num_hidden_layers", config.numLayers);
  value.set("num_attention_heads", config.numHeads);
  value.set("num_key_value_heads", config.numKvHeads);
  value.set("head_dim", config.headDim);
  value.set("vocab_size", config.vocabSize);
  value.set("max_position_embeddings", config.maxPositions);
  value.set("rms_norm_eps", config.rmsNormEps);
  value.set("rope_theta", config.ropeTheta);
  value.set("tie_word_embeddings", config.tieWordEmbeddings);
  value.set("hidden_act", "silu");
  if (!config.torchDtype.empty())
    value.set("torch_dtype", config.torchDtype);
  if (!config.tokenizer.empty())
    value.set("tokenizer", config.tokenizer);
  if (config.routing)
    value.set("mohd", writeRouting(*config.routing));
  return ::mohdrt::writePrettyJson(value);
}

} // namespace mlir::mohd
