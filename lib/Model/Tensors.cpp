// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The table of docs/formats.md, "Model folder", as code.

#include "mohd/Model/Tensors.h"

namespace mlir::mohd {

int64_t TensorSpec::numElements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count *= extent;
  return count;
}

std::string layerTensorName(int64_t layer, std::string_view suffix) {
  return "model.layers." + std::to_string(layer) + "." + std::string(suffix);
}

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

namespace {

/// Collects the tensors of one layer.
class LayerTensors {
public:
  LayerTensors(const ModelConfig &config, int64_t layer, std::vector<TensorSpec> &tensors)
      : config(config), layer(layer), tensors(tensors) {}

  void addAttention() {
    int64_t hidden = config.hiddenSize;
    add("input_layernorm.weight", {hidden}, TensorRole::Norm);
    if (config.routesResidual())
      addRouter("self_attn");
    add("self_attn.q_proj.weight", {config.queryWidth(), hidden});
    add("self_attn.k_proj.weight", {config.kvWidth(), hidden});
    add("self_attn.v_proj.weight", {config.kvWidth(), hidden});
    add("self_attn.o_proj.weight", {hidden, config.queryWidth()});
    if (config.routesResidual())
      addFusion("self_attn");
  }

  void addFfn() {
    int64_t hidden = config.hiddenSize, inner = config.intermediateSize;
    bool routed = config.routesResidual() || config.routesFfnInner();
    add("post_attention_layernorm.weight", {hidden}, TensorRole::Norm);
    if (routed)
      addRouter("mlp");
    if (!config.hasInnerFfn())
      add("mlp.gate_proj.weight", {inner, hidden});
    add("mlp.up_proj.weight", {inner, hidden});
    add("mlp.down_proj.weight", {hidden, inner});
    if (routed)
      addFusion("mlp");
  }

private:
  void add(std::string_view suffix, std::vector<int64_t> shape,
           TensorRole role = TensorRole::Projection) {
    tensors.push_back({layerTensorName(layer, suffix), std::move(shape), role});
  }

  void addRouter(const std::string &block) {
    if (config.routing->needsRouter())
      add(block + ".router.weight", {config.routing->numGroups, config.hiddenSize});
  }

  void addFusion(const std::string &block) {
    const RoutingConfig &routing = *config.routing;
    int64_t groups = routing.numGroups, width = config.groupWidth();
    if (routing.fusion == FusionKind::None)
      return;
    add(block + ".fusion.right", {groups, width, width}, TensorRole::Fusion);
    if (routing.fusion == FusionKind::Monarch)
      add(block + ".fusion.left", {width, groups, groups}, TensorRole::Fusion);
    else if (config.hasInnerFfn())
      add(block + ".fusion.bias", {config.intermediateSize}, TensorRole::FusionBias);
  }

  const ModelConfig &config;
  int64_t layer;
  std::vector<TensorSpec> &tensors;
};

} // namespace

std::vector<TensorSpec> expectedTensors(const ModelConfig &config) {
  std::vector<TensorSpec> tensors;
  tensors.push_back({"model.embed_tokens.weight", {config.vocabSize, config.hiddenSize}});
  for (int64_t layer = 0; layer < config.numLayers; ++layer) {
    LayerTensors builder(config, layer, tensors);
    builder.addAttention();
    builder.addFfn();
  }
  tensors.push_back({"model.norm.weight", {config.hiddenSize}, TensorRole::Norm});
  if (!config.tieWordEmbeddings)
    tensors.push_back({"lm_head.weight", {config.vocabSize, config.hiddenSize}});
  return tensors;
}

} // namespace mlir::mohd
