// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the phases and writes what they make.
#include "mohd/Compiler/Compiler.h"

#include "BundleBuilder.h"
#include "MlirText.h"

#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/InitAll.h"
#include "mohd/Model/Presets.h"
#include "mohd/Target/CpuTarget.h"
#include "mohd/Target/GpuTarget.h"
#include "mohd/format/bytes.h"
#include "mohd/format/output_file.h"

#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

#include <deque>
#include <future>
#include <set>

#include <unistd.h>

using namespace mlir;
using namespace mlir::mohd;
using namespace ::mohdrt;

namespace {

/// One compilation.
class Compilation {
public:
  explicit Compilation(const CompileOptions &options)
      : options(options), context(getRegistry()), warn([this](const std::string &line) {
          // Verifiers run many times; a warning is worth saying once.
          if (this->options.warn && said.insert(line).second)
            this->options.warn(line);
        }),
        remark([this](const std::string &line) {
          if (this->options.remark && said.insert(line).second)
            this->options.remark(line);
        }) {}

  Status run();
  Result<CompiledBundle> runToMemory();

private:
  static const DialectRegistry &getRegistry();
  Status load();
  Status loadModel(ModelConfig parsed);
  Status loadMlir();
  Status hashInput(const std::string &path);
  Status runPhase(ModuleOp module, Phase phase, const TargetInfo &target);
  Status compileTarget(const TargetInfo &target);
  Status serializeHostCode(ModuleOp lowered, const TargetInfo &target);
  Status serializeCudaCode(ModuleOp lowered, const TargetInfo &target);
  /// A GPU's kernels while ptxas is at them.
  struct Assembly {
    TargetInfo target;
    size_t segment, manifestTarget;
    CudaImage image;
    std::future<Status> done; // waits when it is destroyed
  };
  Status finishAssembly(Assembly &assembly);
  Status parseTargets();
  Status compileTargets();
  void describeProducer();
  Status addWeightData();
  Status writeText(const std::string &text) const;
  Status writeBundleFile();
  Result<OutputFile> writeExternalWeights(const std::string &path, WeightContainer all);
  void addWeightSegment(WeightContainer container, std::string name);
  Status dump(const std::string &name, const std::string &text) const;
  std::string keepReproducer(ModuleOp module) const;

  bool weightsAsInputs() const { return options.weights == WeightsMode::None; }

  const CompileOptions &options;
  MLIRContext context;
  std::set<std::string> said;
  const std::function<void(const std::string &)> warn, remark;
  std::optional<ModelConfig> config; // of a model, not of an .mlir file
  std::unique_ptr<WeightSource> source;
  OwningOpRef<ModuleOp> module;
  std::vector<TargetInfo> targets;
  std::optional<OutputFile> externalFile; // of weights; has no name yet
  Manifest manifest;
  std::vector<SegmentData> segments;
  std::vector<ScheduledWeight> weights;
  QuantizationReport quantization;
  OwningOpRef<ModuleOp> firstScheduled; // of the first target
  std::optional<Result<Ptxas>> ptxas;   // looked for once
  std::deque<Assembly> assemblies;      // of the targets for CUDA
  std::string firstText, firstAssembly,
      firstCode; // of the first target: LLVM IR, assembly or PTX, and machine code
};

/// A target in names of files: "x86-64-v3", "cuda-sm_90a".
std::string getLabel(const TargetInfo &target) {
  switch (target.kind) {
  case TargetKind::Cpu:
    return target.arch;
  case TargetKind::Cuda:
    return "cuda-" + target.arch;
  case TargetKind::Emulate:
    return "emulate-" + target.arch;
  }
  llvm_unreachable("all kinds are known");
}

std::string print(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.print(os);
  return text + "\n";
}

/// `status` with the messages that MLIR reported.
Status withDiagnostics(StatusCode code, const std::string &what, const std::string &diagnostics) {
  return Status(code, diagnostics.empty() ? what : what + "\n" + diagnostics);
}

/// Prints "file:line:column: ", as editors know it, where the place is known.
void printPlace(llvm::raw_ostream &os, Location location) {
  if (auto place = location->findInstanceOf<FileLineColLoc>())
    os << place.getFilename().getValue() << ":" << place.getLine() << ":" << place.getColumn()
       << ": ";
}

/// Collects errors of a context as lines `file:line:column: text`.
class DiagnosticLog {
public:
  using Receiver = std::function<void(const std::string &)>;
  DiagnosticLog(MLIRContext &context, const Receiver &warn, const Receiver &remark = {})
      : handler(&context, [this, &warn, remark](Diagnostic &diagnostic) {
          std::string line;
          llvm::raw_string_ostream os(line);
          printPlace(os, diagnostic.getLocation());
          os << diagnostic;
          if (diagnostic.getSeverity() == DiagnosticSeverity::Remark) {
            if (remark)
              remark(line);
            return success();
          }
          for (Diagnostic &note : diagnostic.getNotes()) {
            os << "\n";
            printPlace(os, note.getLocation());
            os << "note: " << note;
          }
          if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
            errors += (errors.empty() ? "" : "\n") + line;
          else
            warn(line);
          return success();
        }) {}

  std::string errors;

private:
  ScopedDiagnosticHandler handler;
};

} // namespace

const DialectRegistry &Compilation::getRegistry() {
  static const DialectRegistry registry = [] {
    DialectRegistry all;
    registerAllDialects(all);
    return all;
  }();
  return registry;
}

Status Compilation::hashInput(const std::string &path) {
  Result<std::unique_ptr<FileSource>> file = FileSource::open(path);
  if (!file.ok())
    return file.status();
  Sha256 hash;
  std::vector<char> piece(1 << 20);
  for (int64_t offset = 0, size = (*file)->size(); offset < size;) {
    int64_t count = std::min<int64_t>(piece.size(), size - offset);
    MOHDRT_TRY((*file)->read(offset, piece.data(), count));
    hash.update(piece.data(), count);
    offset += count;
  }
  manifest.producer.inputs.push_back({llvm::sys::path::filename(path).str(), hash.finish()});
  return Status();
}

Status Compilation::loadModel(ModelConfig parsed) {
  config = std::move(parsed);
  if (options.randomSeed) {
    source = randomWeights(*config, *options.randomSeed);
  } else if (options.weights != WeightsMode::None) {
    if (options.input.empty())
      return Status(StatusCode::InvalidArgument,
                    "preset '" + options.preset +
                        "' has no weights: expected --random-weights SEED or --weights=none");
    Result<std::unique_ptr<WeightSource>> opened = openWeights(options.input, *config);
    if (!opened.ok())
      return opened.status();
    source = std::move(*opened);
    for (const std::string &file : source->fileNames())
      MOHDRT_TRY(hashInput(options.input + "/" + file));
  }
  ImportOptions import;
  if (options.weightType)
    import.weightType = *options.weightType;
  else if (source)
    import.weightType = source->storedType("model.embed_tokens.weight");
  DiagnosticLog log(context, warn);
  module = importModel(context, *config, import);
  if (!module)
    return withDiagnostics(StatusCode::Internal, "the imported model does not verify", log.errors);

  ModelInfo &info = manifest.model.emplace();
  info.type = config->routing ? "mohd" : "llama";
  info.vocabSize = config->vocabSize;
  info.maxPositions = config->maxPositions;
  info.numLayers = config->numLayers;
  info.kvWidth = config->kvWidth();
  if (!config->tokenizer.empty())
    info.tokenizer = config->tokenizer;
  Result<JsonValue> json = parseJson(writeConfig(*config));
  if (!json.ok())
    return json.status();
  info.config.set("json",
                  JsonValue(writeCompactJson(*json))); // fractions: the canonical form has none
  return Status();
}

Status Compilation::loadMlir() {
  if (options.randomSeed || options.weightType)
    return Status(
        StatusCode::InvalidArgument,
        "expected a model folder or a preset with --random-weights and --weights-dtype, got '" +
            options.input + "'");
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  if (options.text) {
    buffer = llvm::MemoryBuffer::getMemBuffer(*options.text, options.input);
  } else {
    MOHDRT_TRY(hashInput(options.input));
    auto file = llvm::MemoryBuffer::getFile(options.input);
    if (!file)
      return Status(StatusCode::Io, options.input + ": cannot read: " + file.getError().message());
    buffer = std::move(*file);
  }
  MOHDRT_TRY(checkMlirText(buffer->getBuffer()).withPrefix(options.input));
  DiagnosticLog log(context, warn);
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(std::move(buffer), llvm::SMLoc());
  module = parseSourceFile<ModuleOp>(sources, &context);
  if (!module)
    return withDiagnostics(StatusCode::Malformed,
                           options.input + ": expected a module that verifies", log.errors);
  if (!module->getOps<ProgramOp>().empty()) // what a program says of its interface is trusted
    return Status(StatusCode::Malformed,
                  options.input + ": expected entry points as functions, got 'mohd.program'");
  return Status();
}

Status Compilation::load() {
  if (options.text)
    return loadMlir();
  if (options.config)
    return loadModel(*options.config);
  if (!options.preset.empty()) {
    std::optional<ModelConfig> preset = presetConfig(options.preset);
    if (!preset) {
      std::string nearest = closestMatch(options.preset, presetNames());
      return Status(
          StatusCode::InvalidArgument,
          "no preset is called '" + options.preset + "'" +
              (nearest.empty() ? "; see --list-presets" : "; did you mean '" + nearest + "'?"));
    }
    return loadModel(*preset);
  }
  if (!llvm::sys::fs::exists(options.input))
    return Status(StatusCode::NotFound,
                  options.input + ": expected a model folder or an .mlir file, found nothing");
  if (!llvm::sys::fs::is_directory(options.input))
    return loadMlir();
  Result<ParsedConfig> parsed = readConfig(options.input);
  if (!parsed.ok())
    return parsed.status();
  for (const std::string &warning : parsed->warnings)
    warn(warning);
  MOHDRT_TRY(hashInput(options.input + "/config.json"));
  return loadModel(parsed->config);
}

Status Compilation::dump(const std::string &name, const std::string &text) const {
  if (options.dumpDir.empty())
    return Status();
  if (std::error_code error = llvm::sys::fs::create_directories(options.dumpDir))
    return Status(StatusCode::Io, options.dumpDir + ": cannot make the folder: " + error.message());
  return writeFile(options.dumpDir + "/" + name, text.data(), text.size());
}

/// Keeps the IR that a phase failed on; returns the file's name, or an empty string.
std::string Compilation::keepReproducer(ModuleOp failed) const {
  int descriptor;
  llvm::SmallString<128> path;
  if (llvm::sys::fs::createTemporaryFile("mohd-reproducer", "mlir", descriptor, path))
    return "";
  llvm::raw_fd_ostream os(descriptor, /*shouldClose=*/true);
  os << print(failed);
  return path.str().str();
}

Status Compilation::runPhase(ModuleOp target, Phase phase, const TargetInfo &info) {
  const PhaseInfo &entry = getPhases()[unsigned(phase)];
  if (options.progress)
    options.progress(entry.name.str() + ": " + entry.summary.str());
  DiagnosticLog log(context, warn, remark);
  // For the reproducer; an .mlir file is its own.
  OwningOpRef<ModuleOp> before = config ? target.clone() : nullptr;
  PassManager passes(&context);
  entry.build(passes,
              {options.reference, info.vectorLanes, info.vectorRegisters, info.l2Bytes,
               info.convertsF16, options.gatherTokens.value_or(-1), bool(options.remark),
               info.gpu ? info.arch : "", info.kind == TargetKind::Emulate, options.quantize});
  if (succeeded(passes.run(target)))
    return dump(std::to_string(unsigned(phase)) + "-" + entry.name.str() + "-" + getLabel(info) +
                    ".mlir",
                options.dumpDir.empty() ? "" : print(target));
  if (!config) // the user's IR: the message says what is wrong with it
    return withDiagnostics(
        StatusCode::Malformed,
        options.input + ": phase '" + entry.name.str() + "' cannot take this module", log.errors);
  return withDiagnostics(StatusCode::Internal,
                         "phase '" + entry.name.str() + "' failed; the IR is kept in " +
                             keepReproducer(*before),
                         log.errors);
}

Status Compilation::compileTarget(const TargetInfo &target) {
  OwningOpRef<ModuleOp> copy = module->clone();
  for (Phase phase : {Phase::Plan, Phase::Schedule})
    MOHDRT_TRY(runPhase(*copy, phase, target));
  std::vector<int64_t> weightIndices = addScheduledWeights(weights, *copy);
  addTarget(manifest, *copy, target, segments.size(), weightIndices, weightsAsInputs());
  MOHDRT_TRY(runPhase(*copy, Phase::Lower, target));
  if (options.progress)
    options.progress("serialize: code for " + getLabel(target));
  Status status = target.kind == TargetKind::Cuda ? serializeCudaCode(*copy, target)
                                                  : serializeHostCode(*copy, target);
  if (!firstScheduled)
    firstScheduled = std::move(copy);
  return status;
}

Status Compilation::serializeHostCode(ModuleOp lowered, const TargetInfo &target) {
  bool keepText =
      options.emit == Emit::Llvm || options.emit == Emit::Asm || !options.dumpDir.empty();
  Result<NativeCode> code = compileKernels(lowered, target, keepText);
  if (!code.ok())
    return code.status();
  std::string label = getLabel(target);
  MOHDRT_TRY(dump("kernels-" + label + ".ll", code->llvmIR));
  MOHDRT_TRY(dump("kernels-" + label + ".s", code->assembly));
  MOHDRT_TRY(dump("kernels-" + label + ".o", code->object));
  MOHDRT_TRY(dump("kernels-" + label + ".so", code->sharedObject));
  MOHDRT_TRY(dump("commands-" + label + ".txt", code->linkCommand + "\n"));
  if (segments.empty()) {
    firstText = code->llvmIR;
    firstAssembly = code->assembly;
    firstCode = code->sharedObject;
  }
  const char *kind = target.kind == TargetKind::Cpu ? "code.cpu." : "code.emulate.";
  segments.push_back(
      SegmentData::fromBytes(kind + std::to_string(segments.size()), code->sharedObject));
  return Status();
}

/// Makes the PTX, and lets ptxas run beside what is compiled next.
Status Compilation::serializeCudaCode(ModuleOp lowered, const TargetInfo &target) {
  if (!ptxas)
    ptxas = findPtxas(PtxasPlaces::fromEnvironment());
  Result<CudaImage> image = compileToPtx(lowered, target, options.dumpDir);
  if (!image.ok())
    return image.status();
  std::string label = getLabel(target);
  MOHDRT_TRY(dump("kernels-" + label + ".ll", image->llvmIR));
  MOHDRT_TRY(dump("kernels-" + label + ".ptx", image->ptx));
  if (segments.empty()) {
    firstText = image->llvmIR;
    firstAssembly = image->ptx;
  }
  assemblies.push_back(
      {target, segments.size(), manifest.targets.size() - 1, std::move(*image), {}});
  Assembly &assembly = assemblies.back();
  assembly.done = std::async(std::launch::async, [this, &assembly] {
    return assembleImage(assembly.image, assembly.target, *ptxas, options.dumpDir);
  });
  segments.emplace_back(); // finishAssembly() fills it
  return Status();
}

Status Compilation::finishAssembly(Assembly &assembly) {
  MOHDRT_TRY(assembly.done.get());
  const CudaImage &image = assembly.image;
  std::string label = getLabel(assembly.target);
  if (!image.cubin.empty()) {
    MOHDRT_TRY(dump("kernels-" + label + ".cubin", image.cubin));
    manifest.producer.ptxas = (*ptxas)->version;
  }
  if (!image.assembly.empty())
    MOHDRT_TRY(dump("commands-" + label + ".txt", image.assembly + "\n"));
  addKernelFigures(manifest.targets[assembly.manifestTarget], image);
  if (assembly.segment == 0)
    firstCode = image.code();
  segments[assembly.segment] =
      SegmentData::fromBytes("code.cuda." + std::to_string(assembly.segment), image.code());
  return Status();
}

Status Compilation::writeText(const std::string &text) const {
  if (options.output != "-")
    return writeFile(options.output, text.data(), text.size());
  llvm::raw_fd_ostream os(STDOUT_FILENO, /*shouldClose=*/false, /*unbuffered=*/true);
  os << text;
  std::error_code error = os.error();
  os.clear_error();
  return error ? Status(StatusCode::Io, "cannot write to stdout: " + error.message()) : Status();
}

/// Writes the weights beside the bundle; the caller gives the file its name once the bundle is there.
Result<OutputFile> Compilation::writeExternalWeights(const std::string &path, WeightContainer all) {
  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok())
    return file;
  Sha256 hash;
  auto append = [&](const void *data, size_t bytes) {
    hash.update(data, bytes);
    return file->append(data, bytes);
  };
  MOHDRT_TRY(produceWeights(manifest, weights, all, *source, append, quantization));
  manifest.files.push_back({llvm::sys::path::filename(path).str(), all.size, hash.finish()});
  return file;
}

void Compilation::addWeightSegment(WeightContainer container, std::string name) {
  SegmentData &segment = segments.emplace_back();
  segment.name = std::move(name);
  segment.size = container.size;
  segment.align = kWeightsSegmentAlign;
  segment.produce = [this, container](const ByteSink &sink) {
    return produceWeights(manifest, weights, container, *source, sink, quantization);
  };
}

void Compilation::describeProducer() {
  manifest.producer.name = "mohd-compile";
  manifest.producer.version = kVersion;
  manifest.producer.llvm = LLVM_VERSION_STRING;
  manifest.producer.flags = options.flags;
}

/// Puts the weights into segments, or into `externalFile`.
Status Compilation::addWeightData() {
  if (weights.empty() || weightsAsInputs())
    return Status();
  if (!source)
    return Status(StatusCode::InvalidArgument,
                  options.input +
                      ": 'mohd.weight' ops need a model folder, or --weights=none to make them "
                      "inputs");
  bool external = options.weights == WeightsMode::External;
  std::vector<WeightContainer> containers =
      addWeights(manifest, weights, external, segments.size());
  if (external) {
    llvm::StringRef stem(options.output);
    stem.consume_back(".mohdb");
    Result<OutputFile> file = writeExternalWeights(stem.str() + ".mohdw", containers.front());
    if (!file.ok())
      return file.status();
    externalFile.emplace(std::move(*file));
    return Status();
  }
  for (const WeightContainer &container : containers)
    addWeightSegment(container, "weights." + std::to_string(&container - containers.data()));
  return Status();
}

Status Compilation::writeBundleFile() {
  describeProducer();
  MOHDRT_TRY(addWeightData());
  if (options.progress)
    options.progress("bundle: " + options.output);
  MOHDRT_TRY(writeBundle(options.output, manifest, segments));
  if (options.progress && quantization.numTensors > 0)
    options.progress("quantize: " + quantization.describe());
  return externalFile ? externalFile->commit() : Status();
}

Status Compilation::parseTargets() {
  for (const std::string &spec : options.targets) {
    if (isGpuTarget(spec)) {
      Result<std::vector<TargetInfo>> gpus = parseGpuTargets(spec);
      if (!gpus.ok())
        return gpus.status();
      if (options.reference)
        return Status(StatusCode::Unsupported,
                      "expected a target 'cpu:...' for the reference lowering, got '" + spec + "'");
      targets.insert(targets.end(), gpus->begin(), gpus->end());
      continue;
    }
    Result<TargetInfo> target = parseCpuTarget(spec);
    if (!target.ok())
      return target.status();
    targets.push_back(std::move(*target));
  }
  return Status();
}

Status Compilation::compileTargets() {
  for (const TargetInfo &target : targets)
    MOHDRT_TRY(compileTarget(target));
  for (Assembly &assembly : assemblies)
    MOHDRT_TRY(finishAssembly(assembly));
  return addEntryPoints(manifest, *firstScheduled, weights, weightsAsInputs());
}

Status Compilation::run() {
  MOHDRT_TRY(parseTargets());
  MOHDRT_TRY(load());
  const TargetInfo &first = targets.front();
  MOHDRT_TRY(runPhase(*module, Phase::Import, first));
  if (options.emit == Emit::Mlir) {
    for (Phase phase : {Phase::Plan, Phase::Schedule, Phase::Lower})
      if (phase <= options.stopAfter)
        MOHDRT_TRY(runPhase(*module, phase, first));
    return writeText(print(*module));
  }
  MOHDRT_TRY(compileTargets());
  if (options.emit == Emit::Llvm)
    return writeText(firstText);
  if (options.emit == Emit::Asm)
    return writeText(firstAssembly);
  if (options.emit == Emit::Obj)
    return writeText(firstCode);
  return writeBundleFile();
}

Result<CompiledBundle> Compilation::runToMemory() {
  if (options.weights == WeightsMode::External)
    return Status(StatusCode::InvalidArgument, "a bundle in memory has no external weights");
  MOHDRT_TRY(parseTargets());
  MOHDRT_TRY(load());
  MOHDRT_TRY(runPhase(*module, Phase::Import, targets.front()));
  MOHDRT_TRY(compileTargets());
  describeProducer();
  MOHDRT_TRY(addWeightData());
  Result<std::string> bytes = serializeBundle(manifest, segments);
  if (!bytes.ok())
    return bytes.status();
  CompiledBundle bundle{std::move(*bytes), {}};
  for (auto [weight, name] : llvm::zip_equal(weights, getWeightNames(weights)))
    bundle.weights.push_back({name, weight.source, weight.layout, weight.shape});
  return bundle;
}

Status mlir::mohd::compile(const CompileOptions &options) { return Compilation(options).run(); }

Result<CompiledBundle> mlir::mohd::compileToMemory(const CompileOptions &options) {
  return Compilation(options).runToMemory();
}
