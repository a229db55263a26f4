// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From scheduled modules to a bundle's manifest and segments.
#include "BundleBuilder.h"

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::mohd;
using namespace ::mohdrt;

std::vector<int64_t> mlir::mohd::addScheduledWeights(std::vector<ScheduledWeight> &weights,
                                                     ModuleOp module) {
  std::vector<int64_t> indices;
  auto list = module->getAttrOfType<ArrayAttr>(kWeightsAttr);
  for (Attribute attribute : list ? list.getValue() : ArrayRef<Attribute>()) {
    auto known = llvm::find_if(
        weights, [&](const ScheduledWeight &weight) { return weight.entry == attribute; });
    indices.push_back(known - weights.begin());
    if (known != weights.end())
      continue;
    auto entry = cast<DictionaryAttr>(attribute);
    auto type = cast<RankedTensorType>(entry.getAs<TypeAttr>("type").getValue());
    ScheduledWeight &weight = weights.emplace_back();
    weight.entry = entry;
    weight.source = entry.getAs<StringAttr>("source").str();
    weight.shape = type.getShape().vec();
    weight.layout = weightLayout(type, entry.getAs<DenseI64ArrayAttr>("expanded_shape"),
                                 entry.getAs<DenseI64ArrayAttr>("permutation"),
                                 entry.getAs<IntegerAttr>("panels"),
                                 entry.getAs<QuantizedPartAttr>("quantized"));
  }
  return indices;
}

/// Names by which the manifest knows the weights: the source, with a suffix for scales and one for a second layout of one source.
std::vector<std::string> mlir::mohd::getWeightNames(const std::vector<ScheduledWeight> &weights) {
  std::vector<std::string> names;
  std::map<std::string, int> seen;
  for (const ScheduledWeight &weight : weights) {
    std::string name = weight.source;
    if (weight.layout.part == TensorPart::Scales)
      name += ".scales";
    int count = seen[name]++;
    names.push_back(count == 0 ? name : name + "#" + std::to_string(count));
  }
  return names;
}

static ::mohdrt::TensorSpec readTensorSpec(DictionaryAttr entry) {
  ::mohdrt::TensorSpec spec;
  spec.name = entry.getAs<StringAttr>("name").str();
  spec.dtype = *parseDType(entry.getAs<StringAttr>("dtype").getValue());
  for (auto extent : entry.getAs<ArrayAttr>("shape").getAsRange<StringAttr>()) {
    int64_t value;
    if (extent.getValue().getAsInteger(10, value))
      spec.shape.emplace_back(extent.str());
    else
      spec.shape.emplace_back(value);
  }
  if (auto range = entry.getAs<ArrayAttr>("range"))
    spec.range = {cast<StringAttr>(range[0]).str(), cast<StringAttr>(range[1]).str()};
  if (auto isMutable = entry.getAs<BoolAttr>("mutable"))
    spec.isMutable = isMutable.getValue();
  return spec;
}

Status mlir::mohd::addEntryPoints(Manifest &manifest, ModuleOp module,
                                  const std::vector<ScheduledWeight> &weights,
                                  bool weightsAsInputs) {
  std::vector<std::string> names = getWeightNames(weights);
  for (auto program : module.getOps<ProgramOp>()) {
    EntryPoint &entry = manifest.entryPoints.emplace_back();
    entry.name = program.getSymName().str();
    DictionaryAttr interface = program.getInterface();
    for (auto name : interface.getAs<ArrayAttr>("dims").getAsRange<StringAttr>())
      entry.dims.push_back(name.str());
    for (auto input : interface.getAs<ArrayAttr>("inputs").getAsRange<DictionaryAttr>())
      entry.inputs.push_back(readTensorSpec(input));
    for (auto output : interface.getAs<ArrayAttr>("outputs").getAsRange<DictionaryAttr>())
      entry.outputs.push_back(readTensorSpec(output));
    for (size_t i = 0; weightsAsInputs && i < weights.size(); ++i) {
      ::mohdrt::TensorSpec &spec = entry.inputs.emplace_back();
      spec.name = names[i];
      spec.dtype = weights[i].layout.type;
      spec.shape.assign(weights[i].shape.begin(), weights[i].shape.end());
    }
  }
  if (manifest.entryPoints.empty())
    return Status(StatusCode::Malformed,
                  "expected a public function, which becomes an entry point, got none");
  return Status();
}

namespace {
/// Reads the parts of a program into the manifest's form, for one target.
class ProgramReader {
public:
  ProgramReader(ModuleOp module, Target &target, const std::vector<int64_t> &weightIndices,
                bool weightsAsInputs)
      : module(module), target(target), weightIndices(weightIndices),
        weightsAsInputs(weightsAsInputs) {}

  void read(ProgramOp program);

private:
  Binding readBinding(BindingAttr attribute, int64_t numInputs) const;
  int64_t addKernel(DispatchOp dispatch);

  ModuleOp module;
  Target &target;
  const std::vector<int64_t> &weightIndices;
  const bool weightsAsInputs;
  std::map<std::string, int64_t> kernelIndex;
};
} // namespace

/// A binding of an entry point with `numInputs` inputs of its own.
Binding ProgramReader::readBinding(BindingAttr attribute, int64_t numInputs) const {
  Binding binding;
  binding.index = attribute.getIndex();
  binding.offset = attribute.getOffset().str();
  binding.size = attribute.getSize().str();
  switch (attribute.getKind()) {
  case BindingKind::Input:
    binding.kind = Binding::Kind::Input;
    break;
  case BindingKind::Output:
    binding.kind = Binding::Kind::Output;
    break;
  case BindingKind::Weight:
    binding.kind = weightsAsInputs ? Binding::Kind::Input : Binding::Kind::Weight;
    binding.index = weightIndices[binding.index] + (weightsAsInputs ? numInputs : 0);
    break;
  case BindingKind::Workspace:
    binding.kind = Binding::Kind::Workspace;
    break;
  }
  return binding;
}

static std::vector<std::string> readTexts(ArrayAttr texts) {
  std::vector<std::string> result;
  for (auto text : texts.getAsRange<StringAttr>())
    result.push_back(text.str());
  return result;
}

static TensorMap readMap(TensorMapAttr attribute) {
  TensorMap map;
  map.binding = attribute.getBinding();
  Type element = attribute.getElement();
  map.dtype = element.isBF16()        ? DType::BF16
              : element.isF16()       ? DType::F16
              : element.isInteger(8)  ? DType::I8
              : element.isInteger(32) ? DType::I32
                                      : DType::F32;
  map.extents = readTexts(attribute.getExtents());
  map.strides = readTexts(attribute.getStrides());
  map.box = attribute.getBox().asArrayRef().vec();
  map.swizzle = attribute.getSwizzle();
  return map;
}

/// The index of a dispatch's kernel.
int64_t ProgramReader::addKernel(DispatchOp dispatch) {
  std::string name = dispatch.getKernel().str();
  auto [known, isNew] = kernelIndex.try_emplace(name, target.kernels.size());
  if (!isNew)
    return known->second;
  Kernel &kernel = target.kernels.emplace_back();
  kernel.name = name;
  kernel.bindings = dispatch.getBindings().size();
  kernel.params = dispatch.getParams().size();
  if (!target.isGpu())
    return known->second;
  kernel.maps = dispatch.getMaps() ? dispatch.getMaps()->size() : 0;
  Operation *function = SymbolTable::lookupSymbolIn(module, dispatch.getKernelAttr());
  auto get = [&](StringRef attribute) {
    auto number = function->getAttrOfType<IntegerAttr>(attribute);
    return number ? number.getInt() : 0;
  };
  kernel.threads = get(tile::kThreadsAttr);
  kernel.sharedBytes = get(tile::kSharedBytesAttr);
  kernel.cooperative = function->hasAttr(tile::kCooperativeAttr);
  return known->second;
}

void ProgramReader::read(ProgramOp program) {
  Program &out = target.programs.emplace_back();
  out.entry = target.programs.size() - 1;
  out.workspace = program.getWorkspace().str();
  int64_t numInputs = program.getInterface().getAs<ArrayAttr>("inputs").size();
  for (auto dispatch : program.getBody().getOps<DispatchOp>()) {
    Dispatch &step = out.dispatches.emplace_back();
    step.kernel = addKernel(dispatch);
    step.grid = dispatch.getGrid().str();
    step.params = readTexts(dispatch.getParams());
    for (auto binding : dispatch.getBindings().getAsRange<BindingAttr>())
      step.bindings.push_back(readBinding(binding, numInputs));
    if (dispatch.getMaps())
      for (auto map : dispatch.getMaps()->getAsRange<TensorMapAttr>())
        step.maps.push_back(readMap(map));
  }
}

void mlir::mohd::addTarget(Manifest &manifest, ModuleOp module, const TargetInfo &info,
                           int64_t segment, const std::vector<int64_t> &weightIndices,
                           bool weightsAsInputs) {
  Target &target = manifest.targets.emplace_back();
  target.arch = info.arch;
  target.segment = segment;
  switch (info.kind) {
  case TargetKind::Cpu:
    target.kind = "cpu";
    target.features = info.features;
    break;
  case TargetKind::Cuda:
    target.kind = "cuda";
    target.code = info.gpu->isPtx ? "ptx" : "cubin";
    break;
  case TargetKind::Emulate:
    target.kind = "emulate";
    target.features = info.features;
    target.host = info.host;
    break;
  }
  ProgramReader reader(module, target, weightIndices, weightsAsInputs);
  for (auto program : module.getOps<ProgramOp>())
    reader.read(program);
}

void mlir::mohd::addKernelFigures(Target &target, const CudaImage &image) {
  for (Kernel &kernel : target.kernels)
    for (const CudaKernel &compiled : image.kernels)
      if (compiled.source.name == kernel.name && compiled.resources && target.isCubin()) {
        kernel.registers = compiled.resources->registers;
        kernel.staticSharedBytes = compiled.resources->sharedBytes;
        kernel.blocksPerSm = compiled.blocksPerSm.value_or(0);
      }
}

/// The size from which on a segment takes no further weight: enough segments for the CPUs of a large machine, none of them tiny.
static int64_t getSegmentSize(const std::vector<ScheduledWeight> &weights) {
  constexpr int64_t kSegments = 16, kSmallest = 256 << 10;
  int64_t total = 0;
  for (const ScheduledWeight &weight : weights)
    total += tensorBytes(weight.layout.type, weight.shape.data(), weight.shape.size()).value_or(0);
  return std::max(total / kSegments, kSmallest);
}

std::vector<WeightContainer> mlir::mohd::addWeights(Manifest &manifest,
                                                    const std::vector<ScheduledWeight> &weights,
                                                    bool external, int64_t segment) {
  std::vector<std::string> names = getWeightNames(weights);
  std::vector<WeightContainer> containers;
  const int64_t segmentSize = getSegmentSize(weights);
  for (auto [weight, name] : llvm::zip_equal(weights, names)) {
    if (containers.empty() || (!external && containers.back().size >= segmentSize))
      containers.push_back({manifest.weights.size(), 0, 0});
    WeightContainer &container = containers.back();
    WeightInfo &info = manifest.weights.emplace_back();
    info.name = name;
    info.dtype = weight.layout.type;
    info.shape = weight.shape;
    info.external = external;
    info.container = external ? 0 : segment + int64_t(containers.size()) - 1;
    info.offset = llvm::alignTo(container.size, kBufferAlign);
    info.size = tensorBytes(info.dtype, info.shape.data(), info.shape.size()).value_or(0);
    container.size = info.offset + info.size;
    ++container.count;
  }
  return containers;
}

void QuantizationReport::add(const std::string &source, const QuantizationError &error) {
  if (numTensors++ == 0 || error.relative() > worst.relative()) {
    worst = error;
    worstSource = source;
  }
  total += error;
}

std::string QuantizationReport::describe() const {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(
      "%lld weights as int8, relative error %.2e; worst %.2e in ", (long long)numTensors,
      total.relative(), worst.relative());
  return text + worstSource;
}

Status mlir::mohd::produceWeights(const Manifest &manifest,
                                  const std::vector<ScheduledWeight> &weights,
                                  WeightContainer container, const WeightSource &source,
                                  const ByteSink &sink, QuantizationReport &report) {
  static const char zeros[kBufferAlign] = {};
  int64_t written = 0;
  std::vector<char> buffer;
  for (size_t i = container.first; i < container.first + container.count; ++i) {
    const WeightInfo &info = manifest.weights[i];
    MOHDRT_TRY(sink(zeros, info.offset - written));
    buffer.resize(info.size);
    QuantizationError error;
    Status status = source.readTensor(weights[i].source, weights[i].layout, buffer.data(),
                                      buffer.size(), &error);
    if (weights[i].layout.part != TensorPart::Whole)
      status = status.withPrefix("tensor '" + weights[i].source + "'");
    MOHDRT_TRY(status);
    if (weights[i].layout.part == TensorPart::Values ||
        weights[i].layout.part == TensorPart::KMajorValues)
      report.add(weights[i].source, error);
    MOHDRT_TRY(sink(buffer.data(), buffer.size()));
    written = info.offset + info.size;
  }
  return Status();
}
