// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes a decoder down as `mohd` ops on tensors, sub-layer by sub-layer, as docs/semantics.md
// defines one:
//
//     %n = mohd.rms_norm %x, %norm            %routing, %s = mohd.route %n, %centroids
//     %h = mohd.scale %n, %routing            %q = mohd.spmm %h, %routing, %wq   (k, v alike)
//     ... attention ...                       %o = mohd.sddmm %a, %routing, %wo
//     %f = mohd.group_fusion %o               %x' = mohd.add %x, %f
//
// Weights lie as the ops want them: [N, d_e, E] for spmm, [N, E, d_e] for sddmm, [in, out] for
// linear. Shown by test/Model/import.mlir.

#include "mohd/Model/Import.h"
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Model/Tensors.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"

namespace mlir::mohd {
namespace {

Gate convert(GateKind kind) { return *symbolizeGate(toString(kind)); }
Scaling convert(ScalingKind kind) { return *symbolizeScaling(toString(kind)); }
Score convert(ScoreKind kind) { return *symbolizeScore(toString(kind)); }
Fusion convert(FusionKind kind) { return *symbolizeFusion(toString(kind)); }

/// An argument or result of an entry point.
struct Port {
  StringRef name;
  SmallVector<StringRef> dims; // names of the dynamic dimensions
  Type type;
};

/// Builds one entry point.
class EntryBuilder {
public:
  EntryBuilder(ModuleOp module, const ModelConfig &config, const ImportOptions &options)
      : config(config), builder(OpBuilder::atBlockEnd(module.getBody())),
        loc(builder.getUnknownLoc()), f32(builder.getF32Type()),
        weightElement(elementType(options.weightType)) {}

  void buildPrefill() {
    Port logits{"logits", {"R"}, tokenType(config.vocabSize)};
    Block *body = beginStep("prefill",
                            {{"tokens", {"T"}, idType()},
                             {"sequence", {"T"}, idType()},
                             {"position", {"T"}, idType()},
                             {"rows", {"R"}, idType()},
                             cachePort("k_cache"),
                             cachePort("v_cache")},
                            logits);
    sequence = body->getArgument(1);
    position = body->getArgument(2);
    Value x = buildLayers(body->getArgument(0), body->getArgument(4), body->getArgument(5));
    setLocation("rows");
    x = EmbedOp::create(builder, loc, tokenType(config.hiddenSize), body->getArgument(3), x);
    finishFunction(x);
  }

  void buildSample() {
    RankedTensorType setting = RankedTensorType::get({ShapedType::kDynamic}, f32);
    Port ports[] = {{"logits", {"T"}, tokenType(config.vocabSize)},
                    {"temperature", {"T"}, setting},
                    {"top_k", {"T"}, idType()},
                    {"top_p", {"T"}, setting},
                    {"draw", {"T"}, setting}};
    Block *body = beginFunction("sample", ports, {{"tokens", {"T"}, idType()}});
    auto sample = SampleOp::create(builder, loc, idType(), body->getArguments());
    func::ReturnOp::create(builder, loc, sample.getResult());
  }

  void buildDecode() {
    Port logits{"logits", {"T"}, tokenType(config.vocabSize)};
    Block *body = beginStep("decode",
                            {{"tokens", {"T"}, idType()},
                             {"position", {"T"}, idType()},
                             cachePort("k_cache"),
                             cachePort("v_cache")},
                            logits);
    position = body->getArgument(1);
    finishFunction(buildLayers(body->getArgument(0), body->getArgument(2), body->getArgument(3)));
  }

private:
  //===--------------------------------------------------------------------===//
  // Types, weights and functions
  //===--------------------------------------------------------------------===//

  Type elementType(DType type) {
    if (type == DType::BF16)
      return builder.getBF16Type();
    return type == DType::F16 ? Type(builder.getF16Type()) : Type(builder.getF32Type());
  }

  RankedTensorType tokenType(int64_t width) {
    return RankedTensorType::get({ShapedType::kDynamic, width}, f32);
  }

  RankedTensorType idType() {
    return RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  }

  /// [layers, B, S, kv_heads*head_dim]
  Port cachePort(StringRef name) {
    int64_t dynamic = ShapedType::kDynamic;
    return {name,
            {"B", "S"},
            RankedTensorType::get({config.numLayers, dynamic, dynamic, config.kvWidth()}, f32)};
  }

  DictionaryAttr portAttributes(const Port &port) {
    return builder.getDictionaryAttr(
        {builder.getNamedAttr(kDimsAttr, builder.getStrArrayAttr(port.dims)),
         builder.getNamedAttr(kNameAttr, builder.getStringAttr(port.name))});
  }

  /// Starts a function that returns `result` and the two caches, which are its last arguments.
  Block *beginStep(StringRef name, ArrayRef<Port> arguments, const Port &result) {
    return beginFunction(name, arguments,
                         {result, arguments[arguments.size() - 2], arguments.back()});
  }

  Block *beginFunction(StringRef name, ArrayRef<Port> arguments, ArrayRef<Port> results) {
    setLocation(name);
    SmallVector<Type> argumentTypes, resultTypes;
    for (const Port &port : arguments)
      argumentTypes.push_back(port.type);
    for (const Port &port : results)
      resultTypes.push_back(port.type);
    auto function = func::FuncOp::create(builder, loc, name,
                                         builder.getFunctionType(argumentTypes, resultTypes));
    for (auto [i, port] : llvm::enumerate(arguments))
      function.setArgAttrs(i, portAttributes(port));
    for (auto [i, port] : llvm::enumerate(results))
      function.setResultAttrs(i, portAttributes(port));
    Block *body = function.addEntryBlock();
    builder.setInsertionPointToStart(body);
    return body;
  }

  /// Ends the function with the final norm and the LM head of `x`.
  void finishFunction(Value x) {
    setLocation("head");
    x = buildNorm(x, "model.norm.weight");
    StringRef source = config.tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    x = buildLinear(x, source.str(), config.hiddenSize, config.vocabSize);
    func::ReturnOp::create(builder, loc, ValueRange{x, keys, values});
  }

  void setLocation(const Twine &name) { loc = NameLoc::get(builder.getStringAttr(name)); }

  /// A weight of shape `shape`: the tensor `source` seen as `expanded` (if given) and permuted (if
  /// given).
  Value buildWeight(const std::string &source, ArrayRef<int64_t> shape,
                    ArrayRef<int64_t> expanded = {}, ArrayRef<int64_t> permutation = {}) {
    auto attribute = [&](ArrayRef<int64_t> list) {
      return list.empty() ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr(list);
    };
    return WeightOp::create(builder, loc, RankedTensorType::get(shape, weightElement), source,
                            attribute(expanded), attribute(permutation), IntegerAttr(),
                            QuantizedPartAttr());
  }

  //===--------------------------------------------------------------------===//
  // Parts of a sub-layer
  //===--------------------------------------------------------------------===//

  /// Dense norm, or with `routing` over the active dimensions only.
  Value buildNorm(Value x, const std::string &source, Value routing = {}) {
    Value weight = buildWeight(source, {config.hiddenSize});
    return RmsNormOp::create(builder, loc, x.getType(), x, weight, routing,
                             builder.getF64FloatAttr(config.rmsNormEps));
  }

  /// Dense projection with the tensor [out, in] of the files.
  Value buildLinear(Value x, const std::string &source, int64_t in, int64_t out) {
    Value weight = buildWeight(source, {in, out}, {}, {1, 0});
    return LinearOp::create(builder, loc, tokenType(out), x, weight, PlanAttr());
  }

  /// A projection from the residual: [out, D] in the files. Routed if `routing` is given.
  Value buildIn(Value x, Value routing, const std::string &source, int64_t out) {
    if (!routing)
      return buildLinear(x, source, config.hiddenSize, out);
    int64_t groups = config.routing->numGroups, width = config.groupWidth();
    Value weight = buildWeight(source, {groups, width, out}, {out, groups, width}, {1, 2, 0});
    return SpmmOp::create(builder, loc, x, routing, weight, PlanAttr());
  }

  /// A projection to the routed width: [width, in] in the files. Without `routing` it goes to the
  /// whole residual.
  Value buildOut(Value x, Value routing, const std::string &source, int64_t in) {
    if (!routing)
      return buildLinear(x, source, in, config.hiddenSize);
    int64_t groups = config.routing->numGroups, width = config.groupWidth();
    Value weight = buildWeight(source, {groups, in, width}, {groups, width, in}, {0, 2, 1});
    return SddmmOp::create(builder, loc, x, routing, weight, PlanAttr());
  }

  Value buildRoute(Value n, const std::string &block) {
    const RoutingConfig &routing = *config.routing;
    Value centroids;
    if (routing.needsRouter())
      centroids = buildWeight(block + ".router.weight", {routing.numGroups, config.hiddenSize});
    auto type = RoutingType::get(builder.getContext(), routing.numGroups, routing.numShared,
                                 routing.numRouted);
    auto route = RouteOp::create(builder, loc, type, tokenType(routing.numGroups), n, centroids,
                                 convert(routing.gate), convert(routing.score), Scaling::None);
    return route.getRouting();
  }

  Value buildScale(Value x, Value routing) {
    if (config.routing->scaling == ScalingKind::None)
      return x;
    return ScaleOp::create(builder, loc, x.getType(), x, routing, convert(config.routing->scaling));
  }

  Value buildFusion(Value x, Value routing, const std::string &block) {
    FusionKind kind = config.routing->fusion;
    if (kind == FusionKind::None)
      return x;
    int64_t groups = config.routing->numGroups, width = config.groupWidth();
    Value right = buildWeight(block + ".fusion.right", {groups, width, width}), left, bias;
    if (kind == FusionKind::Monarch)
      left = buildWeight(block + ".fusion.left", {width, groups, groups});
    else if (config.hasInnerFfn())
      bias = buildWeight(block + ".fusion.bias", {config.intermediateSize});
    return GroupFusionOp::create(builder, loc, x.getType(), x, convert(kind), right, left, bias,
                                 routing);
  }

  /// What a routed sub-layer's input projections read, and its routing; without routing just the
  /// norm.
  struct RoutedInput {
    Value input, routing;
  };

  RoutedInput buildInput(Value x, const std::string &normSource, const std::string &block) {
    Value n = buildNorm(x, normSource);
    if (!config.routesResidual())
      return {n, {}};
    Value routing = buildRoute(n, block);
    if (config.routing->normStat == NormStat::Active)
      n = buildNorm(x, normSource, routing);
    return {buildScale(n, routing), routing};
  }

  //===--------------------------------------------------------------------===//
  // Sub-layers
  //===--------------------------------------------------------------------===//

  Value buildAttention(Value x, int64_t layer) {
    std::string block = layerTensorName(layer, "self_attn");
    setLocation(block);
    auto [n, routing] = buildInput(x, layerTensorName(layer, "input_layernorm.weight"), block);
    Value q = buildIn(n, routing, block + ".q_proj.weight", config.queryWidth());
    Value k = buildIn(n, routing, block + ".k_proj.weight", config.kvWidth());
    Value v = buildIn(n, routing, block + ".v_proj.weight", config.kvWidth());
    FloatAttr theta = builder.getF64FloatAttr(config.ropeTheta);
    IntegerAttr headDim = builder.getI64IntegerAttr(config.headDim),
                index = builder.getI64IntegerAttr(layer);
    q = RopeOp::create(builder, loc, q.getType(), q, position, headDim, theta);
    k = RopeOp::create(builder, loc, k.getType(), k, position, headDim, theta);
    keys =
        KvCacheAppendOp::create(builder, loc, keys.getType(), keys, k, position, sequence, index);
    values = KvCacheAppendOp::create(builder, loc, values.getType(), values, v, position, sequence,
                                     index);
    Value a = AttentionOp::create(builder, loc, q.getType(), q, keys, values, position, sequence,
                                  index, headDim);
    Value o = buildOut(a, routing, block + ".o_proj.weight", config.queryWidth());
    if (routing)
      o = buildFusion(o, routing, block);
    return AddOp::create(builder, loc, x.getType(), x, o);
  }

  Value buildFfn(Value x, int64_t layer) {
    std::string block = layerTensorName(layer, "mlp");
    std::string normSource = layerTensorName(layer, "post_attention_layernorm.weight");
    setLocation(block);
    if (config.hasInnerFfn())
      return buildInnerFfn(x, normSource, block);
    auto [n, routing] = buildInput(x, normSource, block);
    Value gate = buildIn(n, routing, block + ".gate_proj.weight", config.intermediateSize);
    Value up = buildIn(n, routing, block + ".up_proj.weight", config.intermediateSize);
    Value z = SwigluOp::create(builder, loc, gate.getType(), gate, up);
    Value o = buildOut(z, routing, block + ".down_proj.weight", config.intermediateSize);
    if (routing)
      o = buildFusion(o, routing, block);
    return AddOp::create(builder, loc, x.getType(), x, o);
  }

  /// Axis `ffn_inner`: u = fusion(scale(gate(sddmm(n, W_up)))), y = W_down silu(u).
  Value buildInnerFfn(Value x, const std::string &normSource, const std::string &block) {
    int64_t hidden = config.hiddenSize, inner = config.intermediateSize;
    Value n = buildNorm(x, normSource), u;
    if (config.routesFfnInner()) {
      Value routing = buildRoute(n, block);
      u = buildOut(n, routing, block + ".up_proj.weight", hidden);
      u = GateOp::create(builder, loc, u.getType(), u, routing);
      u = buildFusion(buildScale(u, routing), routing, block);
    } else {
      u = buildLinear(n, block + ".up_proj.weight", hidden, inner);
    }
    u = SiluOp::create(builder, loc, u.getType(), u);
    Value y = buildLinear(u, block + ".down_proj.weight", inner, hidden);
    return AddOp::create(builder, loc, x.getType(), x, y);
  }

  /// Embedding and all layers; leaves the updated caches in `keys` and `values`.
  Value buildLayers(Value tokens, Value keyCache, Value valueCache) {
    keys = keyCache;
    values = valueCache;
    setLocation("embed");
    Value table = buildWeight("model.embed_tokens.weight", {config.vocabSize, config.hiddenSize});
    Value x = EmbedOp::create(builder, loc, tokenType(config.hiddenSize), tokens, table);
    for (int64_t layer = 0; layer < config.numLayers; ++layer)
      x = buildFfn(buildAttention(x, layer), layer);
    return x;
  }

  const ModelConfig &config;
  OpBuilder builder;
  Location loc;
  Type f32, weightElement;
  Value sequence, position; // `sequence` is null in `decode`
  Value keys, values;       // the caches as updated so far
};

} // namespace

OwningOpRef<ModuleOp> importModel(MLIRContext &context, const ModelConfig &config,
                                  const ImportOptions &options) {
  context.loadDialect<MohdDialect, func::FuncDialect>();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context), "model");
  if (options.prefill)
    EntryBuilder(*module, config, options).buildPrefill();
  if (options.decode)
    EntryBuilder(*module, config, options).buildDecode();
  if (options.sample)
    EntryBuilder(*module, config, options).buildSample();
  if (failed(verify(*module)))
    return nullptr;
  return module;
}

TensorLayout weightLayout(RankedTensorType type, DenseI64ArrayAttr expandedShape,
                          DenseI64ArrayAttr permutation, IntegerAttr panels,
                          QuantizedPartAttr quantized) {
  Type element = type.getElementType();
  TensorLayout layout;
  layout.type = element.isBF16()       ? DType::BF16
                : element.isF16()      ? DType::F16
                : element.isInteger(8) ? DType::I8
                                       : DType::F32;
  if (quantized)
    layout.part = quantized.getValue() == QuantizedPart::Scales   ? TensorPart::Scales
                  : quantized.getValue() == QuantizedPart::Values ? TensorPart::Values
                                                                  : TensorPart::KMajorValues;
  if (expandedShape)
    layout.expanded = expandedShape.asArrayRef().vec();
  if (permutation)
    layout.permutation = permutation.asArrayRef().vec();
  if (panels)
    layout.panel = panels.getInt();
  return layout;
}

} // namespace mlir::mohd
