// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The manifest between structs and JSON. Each pair of functions below is one row of the manifest's
// description in docs/formats.md.
#include "mohd/format/bundle.h"

#include <new>

namespace mohdrt {
namespace {

//===----------------------------------------------------------------------===//
// To JSON
//===----------------------------------------------------------------------===//

template <typename T, typename ToJson>
JsonValue listToJson(const std::vector<T> &items, ToJson itemToJson) {
  JsonValue list = JsonValue::array();
  for (const T &item : items)
    list.push(itemToJson(item));
  return list;
}

JsonValue stringsToJson(const std::vector<std::string> &items) {
  return listToJson(items, [](const std::string &item) { return JsonValue(item); });
}

JsonValue producerToJson(const Producer &producer) {
  JsonValue json;
  json.set("name", producer.name);
  json.set("version", producer.version);
  json.set("llvm", producer.llvm);
  if (!producer.ptxas.empty())
    json.set("ptxas", producer.ptxas);
  json.set("flags", stringsToJson(producer.flags));
  json.set("inputs", listToJson(producer.inputs, [](const InputHash &input) {
             JsonValue item;
             item.set("name", input.name);
             item.set("sha256", toHex(input.sha256));
             return item;
           }));
  return json;
}

JsonValue modelToJson(const std::optional<ModelInfo> &model) {
  JsonValue json;
  if (!model)
    return json;
  json.set("type", model->type);
  json.set("vocab_size", model->vocabSize);
  json.set("max_positions", model->maxPositions);
  json.set("num_layers", model->numLayers);
  json.set("kv_width", model->kvWidth);
  json.set("tokenizer", model->tokenizer ? JsonValue(*model->tokenizer) : JsonValue());
  json.set("config", model->config);
  return json;
}

JsonValue segmentToJson(const SegmentInfo &segment) {
  JsonValue json;
  json.set("name", segment.name);
  json.set("offset", segment.offset);
  json.set("size", segment.size);
  json.set("align", segment.align);
  json.set("sha256", toHex(segment.sha256));
  return json;
}

JsonValue fileToJson(const ExternalFile &file) {
  JsonValue json;
  json.set("name", file.name);
  json.set("size", file.size);
  json.set("sha256", toHex(file.sha256));
  return json;
}

JsonValue weightToJson(const WeightInfo &weight) {
  JsonValue json;
  json.set("name", weight.name);
  json.set("dtype", dtypeName(weight.dtype));
  json.set("shape", listToJson(weight.shape, [](int64_t extent) { return JsonValue(extent); }));
  json.set(weight.external ? "file" : "segment", weight.container);
  json.set("offset", weight.offset);
  json.set("size", weight.size);
  return json;
}

JsonValue tensorToJson(const TensorSpec &tensor) {
  JsonValue json;
  json.set("name", tensor.name);
  json.set("dtype", dtypeName(tensor.dtype));
  json.set("shape", listToJson(tensor.shape, [](const Extent &extent) {
             return extent.isStatic() ? JsonValue(extent.value) : JsonValue(extent.text);
           }));
  if (tensor.range)
    json.set("range", stringsToJson({tensor.range->first, tensor.range->second}));
  if (tensor.isMutable)
    json.set("mutable", true);
  return json;
}

JsonValue entryToJson(const EntryPoint &entry) {
  JsonValue json;
  json.set("name", entry.name);
  json.set("dims", stringsToJson(entry.dims));
  json.set("inputs", listToJson(entry.inputs, tensorToJson));
  json.set("outputs", listToJson(entry.outputs, tensorToJson));
  return json;
}

JsonValue kernelToJson(const Kernel &kernel, const Target &target) {
  JsonValue json;
  json.set("name", kernel.name);
  json.set("bindings", kernel.bindings);
  json.set("params", kernel.params);
  if (target.isGpu()) {
    json.set("maps", kernel.maps);
    json.set("threads", kernel.threads);
    json.set("shared_bytes", kernel.sharedBytes);
    if (kernel.cooperative)
      json.set("cooperative", true);
  }
  if (target.isCubin()) {
    json.set("registers", kernel.registers);
    json.set("static_shared_bytes", kernel.staticSharedBytes);
    json.set("blocks_per_sm", kernel.blocksPerSm);
  }
  return json;
}

JsonValue bindingToJson(const Binding &binding) {
  JsonValue json;
  switch (binding.kind) {
  case Binding::Kind::Input:
    json.set("input", binding.index);
    break;
  case Binding::Kind::Output:
    json.set("output", binding.index);
    break;
  case Binding::Kind::Weight:
    json.set("weight", binding.index);
    break;
  case Binding::Kind::Workspace:
    json.set("workspace", true);
    break;
  }
  json.set("offset", binding.offset);
  json.set("size", binding.size);
  return json;
}

JsonValue mapToJson(const TensorMap &map) {
  JsonValue json;
  json.set("binding", map.binding);
  json.set("dtype", dtypeName(map.dtype));
  json.set("extents", stringsToJson(map.extents));
  json.set("strides", stringsToJson(map.strides));
  json.set("box", listToJson(map.box, [](int64_t extent) { return JsonValue(extent); }));
  json.set("swizzle", map.swizzle == 0 ? "none" : std::to_string(map.swizzle));
  return json;
}

JsonValue dispatchToJson(const Dispatch &dispatch, const Target &target) {
  JsonValue json;
  json.set("kernel", dispatch.kernel);
  json.set("grid", dispatch.grid);
  json.set("params", stringsToJson(dispatch.params));
  json.set("bindings", listToJson(dispatch.bindings, bindingToJson));
  if (target.isGpu())
    json.set("maps", listToJson(dispatch.maps, mapToJson));
  return json;
}

JsonValue programToJson(const Program &program, const Target &target) {
  JsonValue json;
  json.set("entry", program.entry);
  json.set("workspace", program.workspace);
  json.set("dispatches", listToJson(program.dispatches, [&](const Dispatch &dispatch) {
             return dispatchToJson(dispatch, target);
           }));
  return json;
}

JsonValue targetToJson(const Target &target) {
  JsonValue json;
  json.set("kind", target.kind);
  json.set("arch", target.arch);
  json.set("features", stringsToJson(target.features));
  if (target.kind == "cuda")
    json.set("code", target.code);
  if (target.kind == "emulate")
    json.set("host", target.host);
  json.set("segment", target.segment);
  json.set("kernels", listToJson(target.kernels, [&](const Kernel &kernel) {
             return kernelToJson(kernel, target);
           }));
  json.set("programs", listToJson(target.programs, [&](const Program &program) {
             return programToJson(program, target);
           }));
  return json;
}

//===----------------------------------------------------------------------===//
// From JSON
//===----------------------------------------------------------------------===//

template <typename FromJson> auto listFromJson(const JsonNode &node, FromJson itemFromJson) {
  std::vector<decltype(itemFromJson(node))> items;
  const size_t count = node.size();
  items.reserve(count);
  for (size_t i = 0; i < count; ++i)
    items.push_back(itemFromJson(node.at(i)));
  return items;
}

std::vector<std::string> stringsFromJson(const JsonNode &node) {
  return listFromJson(node, [](const JsonNode &item) { return item.string(); });
}

Sha256Digest digestFromJson(const JsonNode &node) {
  std::optional<Sha256Digest> digest = parseSha256(node.string());
  if (!digest)
    node.fail("expected a sha256 as 64 lower-case hexadecimal digits");
  return digest.value_or(Sha256Digest{});
}

DType dtypeFromJson(const JsonNode &node) {
  std::optional<DType> dtype = parseDType(node.string());
  if (!dtype)
    node.fail("expected one of f32, bf16, f16, f64, i8, i32, i64");
  return dtype.value_or(DType::F32);
}

Producer producerFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"name", "version", "llvm", "ptxas", "flags", "inputs"});
  Producer producer;
  producer.name = node.member("name").string();
  producer.version = node.member("version").string();
  producer.llvm = node.member("llvm").string();
  if (JsonNode ptxas = node.optional("ptxas"))
    producer.ptxas = ptxas.string();
  producer.flags = stringsFromJson(node.member("flags"));
  producer.inputs = listFromJson(node.member("inputs"), [](const JsonNode &item) {
    item.refuseUnknownKeys({"name", "sha256"});
    return InputHash{item.member("name").string(), digestFromJson(item.member("sha256"))};
  });
  return producer;
}

std::optional<ModelInfo> modelFromJson(const JsonNode &node) {
  if (!node || node.isNull())
    return std::nullopt;
  node.refuseUnknownKeys(
      {"type", "vocab_size", "max_positions", "num_layers", "kv_width", "tokenizer", "config"});
  ModelInfo model;
  model.type = node.member("type").string();
  model.vocabSize = node.member("vocab_size").integer(1);
  model.maxPositions = node.member("max_positions").integer(1);
  model.numLayers = node.member("num_layers").integer(0);
  model.kvWidth = node.member("kv_width").integer(0);
  if (JsonNode tokenizer = node.member("tokenizer"); tokenizer && !tokenizer.isNull()) {
    model.tokenizer = tokenizer.string();
    if (*model.tokenizer != "bytes")
      tokenizer.fail("expected null or \"bytes\"");
  }
  JsonNode config = node.member("config");
  if (config && !config.value()->asObject())
    config.fail("expected object, got " + std::string(config.value()->kindName()));
  else if (config)
    model.config = *config.value();
  return model;
}

SegmentInfo segmentFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"name", "offset", "size", "align", "sha256"});
  SegmentInfo segment;
  segment.name = node.member("name").string();
  segment.offset = node.member("offset").integer(0);
  segment.size = node.member("size").integer(0);
  segment.align = node.member("align").integer(1);
  segment.sha256 = digestFromJson(node.member("sha256"));
  return segment;
}

ExternalFile fileFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"name", "size", "sha256"});
  ExternalFile file;
  file.name = node.member("name").string();
  file.size = node.member("size").integer(0);
  file.sha256 = digestFromJson(node.member("sha256"));
  return file;
}

WeightInfo weightFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"name", "dtype", "shape", "segment", "file", "offset", "size"});
  WeightInfo weight;
  weight.name = node.member("name").string();
  weight.dtype = dtypeFromJson(node.member("dtype"));
  weight.shape =
      listFromJson(node.member("shape"), [](const JsonNode &extent) { return extent.integer(0); });
  const JsonNode file = node.optional("file"), segment = node.optional("segment");
  weight.external = static_cast<bool>(file);
  if (static_cast<bool>(file) == static_cast<bool>(segment))
    node.fail("expected exactly one of the keys 'segment' and 'file'");
  weight.container = (file ? file : segment).integer(0);
  weight.offset = node.member("offset").integer(0);
  weight.size = node.member("size").integer(0);
  return weight;
}

Extent extentFromJson(const JsonNode &node) {
  if (node.isString()) {
    std::string text = node.string();
    if (text.empty())
      node.fail("expected an expression, got an empty string");
    return Extent(std::move(text));
  }
  return Extent(node.integer(0));
}

TensorSpec tensorFromJson(const JsonNode &node, bool isInput) {
  if (isInput)
    node.refuseUnknownKeys({"name", "dtype", "shape", "range", "mutable"});
  else
    node.refuseUnknownKeys({"name", "dtype", "shape"});
  TensorSpec tensor;
  tensor.name = node.member("name").string();
  tensor.dtype = dtypeFromJson(node.member("dtype"));
  tensor.shape = listFromJson(node.member("shape"), extentFromJson);
  if (JsonNode range = node.optional("range")) {
    if (range.size() != 2)
      range.fail("expected two expressions, [low, high)");
    tensor.range = {range.at(0).string(), range.at(1).string()};
  }
  if (JsonNode flag = node.optional("mutable"))
    tensor.isMutable = flag.boolean();
  return tensor;
}

EntryPoint entryFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"name", "dims", "inputs", "outputs"});
  EntryPoint entry;
  entry.name = node.member("name").string();
  entry.dims = stringsFromJson(node.member("dims"));
  entry.inputs = listFromJson(node.member("inputs"), [](const JsonNode &item) {
    return tensorFromJson(item, /*isInput=*/true);
  });
  entry.outputs = listFromJson(node.member("outputs"), [](const JsonNode &item) {
    return tensorFromJson(item, /*isInput=*/false);
  });
  return entry;
}

Kernel kernelFromJson(const JsonNode &node, const Target &target) {
  if (target.isCubin())
    node.refuseUnknownKeys({"name", "bindings", "params", "maps", "threads", "shared_bytes",
                            "cooperative", "registers", "static_shared_bytes", "blocks_per_sm"});
  else if (target.isGpu())
    node.refuseUnknownKeys(
        {"name", "bindings", "params", "maps", "threads", "shared_bytes", "cooperative"});
  else
    node.refuseUnknownKeys({"name", "bindings", "params"});
  Kernel kernel;
  kernel.name = node.member("name").string();
  kernel.bindings = node.member("bindings").integer(0, kMaxBindings);
  kernel.params = node.member("params").integer(0, kMaxParams);
  if (target.isGpu()) {
    kernel.maps = node.member("maps").integer(0, kMaxMaps);
    kernel.threads = node.member("threads").integer(1, 1024);
    kernel.sharedBytes = node.member("shared_bytes").integer(0, 227 << 10);
    if (JsonNode cooperative = node.optional("cooperative"))
      kernel.cooperative = cooperative.boolean();
  }
  if (target.isCubin()) {
    kernel.registers = node.member("registers").integer(1, 255);
    kernel.staticSharedBytes = node.member("static_shared_bytes").integer(0, 48 << 10);
    kernel.blocksPerSm = node.member("blocks_per_sm").integer(1, 32);
  }
  return kernel;
}

Binding bindingFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"input", "output", "weight", "workspace", "offset", "size"});
  Binding binding;
  int kinds = 0;
  auto readIndex = [&](const char *key, Binding::Kind kind) {
    if (JsonNode index = node.optional(key)) {
      binding.kind = kind;
      binding.index = index.integer(0);
      ++kinds;
    }
  };
  readIndex("input", Binding::Kind::Input);
  readIndex("output", Binding::Kind::Output);
  readIndex("weight", Binding::Kind::Weight);
  if (JsonNode workspace = node.optional("workspace")) {
    binding.kind = Binding::Kind::Workspace;
    if (!workspace.boolean())
      workspace.fail("expected true");
    ++kinds;
  }
  if (kinds != 1)
    node.fail("expected exactly one of the keys 'input', 'output', 'weight' and 'workspace'");
  binding.offset = node.member("offset").string();
  binding.size = node.member("size").string();
  return binding;
}

int64_t swizzleFromJson(const JsonNode &node) {
  const std::string text = node.string();
  for (int64_t bytes : {32, 64, 128})
    if (text == std::to_string(bytes))
      return bytes;
  if (text != "none")
    node.fail("expected \"none\", \"32\", \"64\" or \"128\"");
  return 0;
}

TensorMap mapFromJson(const JsonNode &node) {
  node.refuseUnknownKeys({"binding", "dtype", "extents", "strides", "box", "swizzle"});
  TensorMap map;
  map.binding = node.member("binding").integer(0);
  map.dtype = dtypeFromJson(node.member("dtype"));
  map.extents = stringsFromJson(node.member("extents"));
  map.strides = stringsFromJson(node.member("strides"));
  map.box = listFromJson(node.member("box"),
                         [](const JsonNode &extent) { return extent.integer(1, 256); });
  map.swizzle = swizzleFromJson(node.member("swizzle"));
  return map;
}

Dispatch dispatchFromJson(const JsonNode &node, const Target &target) {
  if (target.isGpu())
    node.refuseUnknownKeys({"kernel", "grid", "params", "bindings", "maps"});
  else
    node.refuseUnknownKeys({"kernel", "grid", "params", "bindings"});
  Dispatch dispatch;
  dispatch.kernel = node.member("kernel").integer(0);
  dispatch.grid = node.member("grid").string();
  dispatch.params = stringsFromJson(node.member("params"));
  dispatch.bindings = listFromJson(node.member("bindings"), bindingFromJson);
  if (target.isGpu())
    dispatch.maps = listFromJson(node.member("maps"), mapFromJson);
  return dispatch;
}

Program programFromJson(const JsonNode &node, const Target &target) {
  node.refuseUnknownKeys({"entry", "workspace", "dispatches"});
  Program program;
  program.entry = node.member("entry").integer(0);
  program.workspace = node.member("workspace").string();
  program.dispatches = listFromJson(node.member("dispatches"), [&](const JsonNode &item) {
    return dispatchFromJson(item, target);
  });
  return program;
}

Target targetFromJson(const JsonNode &node) {
  Target target;
  target.kind = node.member("kind").string();
  if (target.kind == "cuda")
    node.refuseUnknownKeys({"kind", "arch", "features", "code", "segment", "kernels", "programs"});
  else if (target.kind == "emulate")
    node.refuseUnknownKeys({"kind", "arch", "features", "host", "segment", "kernels", "programs"});
  else
    node.refuseUnknownKeys({"kind", "arch", "features", "segment", "kernels", "programs"});
  target.arch = node.member("arch").string();
  target.features = stringsFromJson(node.member("features"));
  if (target.kind == "cuda")
    target.code = node.member("code").string();
  if (target.kind == "emulate")
    target.host = node.member("host").string();
  target.segment = node.member("segment").integer(0);
  target.kernels = listFromJson(node.member("kernels"),
                                [&](const JsonNode &item) { return kernelFromJson(item, target); });
  target.programs = listFromJson(
      node.member("programs"), [&](const JsonNode &item) { return programFromJson(item, target); });
  return target;
}

Manifest readManifest(JsonDocument &document) {
  const JsonNode root = document.root();
  // A newer minor version may have added keys; what it needs understood is in required_features.
  if (root.member("format").member("minor").integer(0, 65535) > kFormatMinor)
    document.allowUnknownKeys();
  root.refuseUnknownKeys({"format", "required_features", "abi", "producer", "model", "segments",
                          "files", "weights", "entry_points", "targets"});
  Manifest manifest;
  const JsonNode format = root.member("format"), abi = root.member("abi");
  format.refuseUnknownKeys({"major", "minor"});
  manifest.formatMajor = format.member("major").integer(0, 65535);
  manifest.formatMinor = format.member("minor").integer(0, 65535);
  manifest.requiredFeatures = stringsFromJson(root.member("required_features"));
  abi.refuseUnknownKeys({"min", "max"});
  manifest.abiMin = abi.member("min").integer(0, 65535);
  manifest.abiMax = abi.member("max").integer(0, 65535);
  manifest.producer = producerFromJson(root.member("producer"));
  manifest.model = modelFromJson(root.member("model"));
  manifest.segments = listFromJson(root.member("segments"), segmentFromJson);
  manifest.files = listFromJson(root.member("files"), fileFromJson);
  manifest.weights = listFromJson(root.member("weights"), weightFromJson);
  manifest.entryPoints = listFromJson(root.member("entry_points"), entryFromJson);
  manifest.targets = listFromJson(root.member("targets"), targetFromJson);
  return manifest;
}

} // namespace

JsonValue toJson(const Manifest &manifest) {
  JsonValue format, abi, json;
  format.set("major", manifest.formatMajor);
  format.set("minor", manifest.formatMinor);
  abi.set("min", manifest.abiMin);
  abi.set("max", manifest.abiMax);
  json.set("format", std::move(format));
  json.set("required_features", stringsToJson(manifest.requiredFeatures));
  json.set("abi", std::move(abi));
  json.set("producer", producerToJson(manifest.producer));
  json.set("model", modelToJson(manifest.model));
  json.set("segments", listToJson(manifest.segments, segmentToJson));
  json.set("files", listToJson(manifest.files, fileToJson));
  json.set("weights", listToJson(manifest.weights, weightToJson));
  json.set("entry_points", listToJson(manifest.entryPoints, entryToJson));
  json.set("targets", listToJson(manifest.targets, targetToJson));
  return json;
}

Result<Manifest> manifestFromJson(const JsonValue &json) {
  try {
    JsonDocument document(json, "manifest");
    Manifest manifest = readManifest(document);
    if (!document.ok())
      return document.status();
    return manifest;
  } catch (const std::bad_alloc &) {
    return Status(StatusCode::OutOfMemory, "out of memory while reading the manifest");
  }
}

} // namespace mohdrt
