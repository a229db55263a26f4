// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A bundle in words, for `mohd-run --inspect`.
#include "mohd/format/bundle.h"

namespace mohdrt {
namespace {

std::string join(const std::vector<std::string> &items, const char *separator) {
  std::string text;
  for (const std::string &item : items)
    text += (text.empty() ? "" : separator) + escapeForMessage(item, 200);
  return text;
}

std::string bytesText(int64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  int64_t tenths = bytes;
  if (bytes < 1024)
    return std::to_string(bytes) + " B";
  while (tenths >= 1024 * 1024)
    tenths /= 1024, ++unit;
  tenths = tenths * 10 / 1024, ++unit;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " " + units[unit] +
         " (" + std::to_string(bytes) + " B)";
}

std::string shapeText(const std::vector<Extent> &shape) {
  std::vector<std::string> extents;
  for (const Extent &extent : shape)
    extents.push_back(extent.isStatic() ? std::to_string(extent.value) : extent.text);
  return "[" + join(extents, ", ") + "]";
}

std::string tensorText(const TensorSpec &tensor) {
  std::string text =
      escapeForMessage(tensor.name) + " " + dtypeName(tensor.dtype) + " " + shapeText(tensor.shape);
  if (tensor.range)
    text += " in [" + tensor.range->first + ", " + tensor.range->second + ")";
  return text + (tensor.isMutable ? " updated in place" : "");
}

std::string bindingText(const Binding &binding, const Manifest &manifest, const EntryPoint &entry) {
  std::string text;
  switch (binding.kind) {
  case Binding::Kind::Input:
    text = entry.inputs[binding.index].name;
    break;
  case Binding::Kind::Output:
    text = entry.outputs[binding.index].name;
    break;
  case Binding::Kind::Weight:
    text = manifest.weights[binding.index].name;
    break;
  case Binding::Kind::Workspace:
    text = "workspace";
    break;
  }
  return text + (binding.offset == "0" ? "" : "+" + binding.offset);
}

void describeModel(const Manifest &manifest, std::string &out) {
  const Producer &producer = manifest.producer;
  out += "producer  " + escapeForMessage(producer.name) + " " + escapeForMessage(producer.version) +
         ", LLVM " + escapeForMessage(producer.llvm);
  if (!producer.ptxas.empty())
    out += ", ptxas " + escapeForMessage(producer.ptxas);
  out += "\n";
  if (!producer.flags.empty())
    out += "flags     " + join(producer.flags, " ") + "\n";
  for (const InputHash &input : producer.inputs)
    out +=
        "input     " + escapeForMessage(input.name, 255) + " sha256 " + toHex(input.sha256) + "\n";
  if (!manifest.model) {
    out += "model     none\n";
    return;
  }
  const ModelInfo &model = *manifest.model;
  out += "model     " + escapeForMessage(model.type) + ": vocabulary " +
         std::to_string(model.vocabSize) + ", positions " + std::to_string(model.maxPositions) +
         ", layers " + std::to_string(model.numLayers) + ", kv width " +
         std::to_string(model.kvWidth) + ", tokenizer " + model.tokenizer.value_or("none") + "\n";
  out += "config    " + escapeForMessage(writeCompactJson(model.config), 4000) + "\n";
}

void describeData(const Manifest &manifest, std::string &out) {
  for (const SegmentInfo &segment : manifest.segments)
    out += "segment   " + segment.name + ": " + bytesText(segment.size) + " at " +
           std::to_string(segment.offset) + ", sha256 " + toHex(segment.sha256) + "\n";
  for (const ExternalFile &file : manifest.files)
    out += "file      " + file.name + ": " + bytesText(file.size) + ", sha256 " +
           toHex(file.sha256) + "\n";
  int64_t total = 0;
  for (const WeightInfo &weight : manifest.weights)
    total += weight.size;
  out += "weights   " + std::to_string(manifest.weights.size()) + " tensors, " + bytesText(total) +
         "\n";
  for (const WeightInfo &weight : manifest.weights) {
    std::vector<Extent> shape(weight.shape.begin(), weight.shape.end());
    out += "  " + weight.name + " " + dtypeName(weight.dtype) + " " + shapeText(shape) + " in " +
           (weight.external ? manifest.files[weight.container].name
                            : manifest.segments[weight.container].name) +
           " at " + std::to_string(weight.offset) + "\n";
  }
}

std::string counted(int64_t count, const char *what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// "gemm: 384 threads, 168 registers, shared memory 196 KiB, 1 block an SM"
std::string kernelText(const Kernel &kernel, const Target &target) {
  std::string text = kernel.name + ": " + counted(kernel.threads, "thread");
  if (target.isCubin())
    text += ", " + counted(kernel.registers, "register");
  text += ", shared memory " + bytesText(kernel.sharedBytes + kernel.staticSharedBytes);
  if (target.isCubin())
    text += ", " + counted(kernel.blocksPerSm, "block") + " an SM";
  if (kernel.cooperative)
    text += ", cooperative";
  return text;
}

/// "x bf16 [64, T] box [64, 128] swizzle 128"
std::string mapText(const TensorMap &map, const std::vector<std::string> &bindings) {
  std::vector<Extent> box(map.box.begin(), map.box.end());
  return bindings[map.binding] + " " + dtypeName(map.dtype) + " [" + join(map.extents, ", ") +
         "] box " + shapeText(box) + (map.swizzle ? " swizzle " + std::to_string(map.swizzle) : "");
}

void describeTarget(const Manifest &manifest, const Target &target, std::string &out) {
  out += "target    " + target.name() + (target.host.empty() ? "" : " on " + target.host) +
         " (segment " + manifest.segments[target.segment].name + ", " +
         std::to_string(target.kernels.size()) + " kernels)\n";
  if (!target.features.empty())
    out += "  features " + join(target.features, " ") + "\n";
  for (const Kernel &kernel : target.kernels)
    if (target.isGpu())
      out += "  kernel " + kernelText(kernel, target) + "\n";
  for (const Program &program : target.programs) {
    const EntryPoint &entry = manifest.entryPoints[program.entry];
    out += "  program " + entry.name + ": " + std::to_string(program.dispatches.size()) +
           " dispatches, workspace " + program.workspace + " bytes\n";
    for (const Dispatch &dispatch : program.dispatches) {
      std::vector<std::string> bindings;
      for (const Binding &binding : dispatch.bindings)
        bindings.push_back(bindingText(binding, manifest, entry));
      out += "    " + target.kernels[dispatch.kernel].name + " grid " + dispatch.grid + " (" +
             join(bindings, ", ") + ") params (" + join(dispatch.params, ", ") + ")";
      for (const TensorMap &map : dispatch.maps)
        out += " map (" + mapText(map, bindings) + ")";
      out += "\n";
    }
  }
}

} // namespace

std::string describeBundle(const BundleInfo &bundle) {
  const Manifest &manifest = bundle.manifest;
  std::string out = "bundle    format " + std::to_string(manifest.formatMajor) + "." +
                    std::to_string(manifest.formatMinor) + ", ABI " +
                    std::to_string(manifest.abiMin) + " to " + std::to_string(manifest.abiMax) +
                    ", " + bytesText(bundle.fileBytes) + "\n";
  describeModel(manifest, out);
  for (const EntryPoint &entry : manifest.entryPoints) {
    out += "entry     " + entry.name + "\n";
    for (const TensorSpec &input : entry.inputs)
      out += "  in   " + tensorText(input) + "\n";
    for (const TensorSpec &output : entry.outputs)
      out += "  out  " + tensorText(output) + "\n";
  }
  describeData(manifest, out);
  for (const Target &target : manifest.targets)
    describeTarget(manifest, target, out);
  return out;
}

} // namespace mohdrt
