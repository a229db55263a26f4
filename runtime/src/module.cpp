// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading: validate, take code, take weights, compile expressions.
#include "module.h"

#include <algorithm>

namespace mohdrt {
namespace {

/// Compiles expressions of one entry point. The validator has parsed each once, so that failures
/// here are defects; they are kept all the same and returned at the end.
class Compiler {
public:
  explicit Compiler(const std::vector<std::string> &dims) : dims_(dims) {}

  Expr expr(const std::string &text) {
    Result<Expr> result = Expr::parse(text, dims_);
    if (result.ok())
      return std::move(*result);
    status_ = result.status();
    return Expr();
  }

  CompiledTensor tensor(const TensorSpec &spec, bool isInput) {
    CompiledTensor tensor;
    tensor.spec = &spec;
    for (const Extent &extent : spec.shape) {
      CompiledExtent compiled;
      if (extent.isStatic())
        compiled.value = extent.value;
      else if (isInput)
        compiled.dim =
            static_cast<int>(std::find(dims_.begin(), dims_.end(), extent.text) - dims_.begin());
      else
        compiled.expr = expr(extent.text);
      tensor.shape.push_back(std::move(compiled));
    }
    if (spec.range)
      tensor.range.emplace(expr(spec.range->first), expr(spec.range->second));
    return tensor;
  }

  const Status &status() const { return status_; }

private:
  const std::vector<std::string> &dims_;
  Status status_;
};

/// Returns what a binding's offset must be a multiple of.
int64_t offsetAlignOf(const Binding &binding, const Manifest &manifest, const EntryPoint &entry) {
  switch (binding.kind) {
  case Binding::Kind::Input:
    return dtypeSize(entry.inputs[binding.index].dtype);
  case Binding::Kind::Output:
    return dtypeSize(entry.outputs[binding.index].dtype);
  case Binding::Kind::Weight:
    return dtypeSize(manifest.weights[binding.index].dtype);
  case Binding::Kind::Workspace:
    break;
  }
  return kBufferAlign;
}

CompiledDispatch compileDispatch(Compiler &compiler, const Dispatch &dispatch, const Target &target,
                                 const Manifest &manifest, const EntryPoint &entry) {
  CompiledDispatch compiled;
  compiled.kernel = &target.kernels[dispatch.kernel];
  compiled.grid = compiler.expr(dispatch.grid);
  compiled.params.reserve(dispatch.params.size());
  for (const std::string &param : dispatch.params)
    compiled.params.push_back(compiler.expr(param));
  compiled.bindings.reserve(dispatch.bindings.size());
  for (const Binding &binding : dispatch.bindings)
    compiled.bindings.push_back({binding.kind, binding.index,
                                 offsetAlignOf(binding, manifest, entry),
                                 compiler.expr(binding.offset), compiler.expr(binding.size)});
  return compiled;
}

bool hasHostCode(const Manifest &manifest) {
  return std::any_of(manifest.targets.begin(), manifest.targets.end(),
                     [](const Target &target) { return target.kind == "cpu"; });
}

} // namespace

Result<Module *> Module::load(const ByteSource &bundle, const FileSource *file,
                              const LoadOptions &options) {
  struct Release {
    void operator()(Module *module) const { module->release(); }
  };
  std::unique_ptr<Module, Release> module(new Module());
  MOHDRT_TRY(module->initialize(bundle, file, options));
  return module.release();
}

Status Module::initialize(const ByteSource &bundle, const FileSource *file,
                          const LoadOptions &options) {
  const bool checkHashes = !(options.flags & MOHD_LOAD_SKIP_HASHES);
  ValidateOptions validate;
  validate.hashSegments = false; // done while each is loaded
  validate.checkManifestHash = checkHashes;
  Result<BundleInfo> info = validateBundle(bundle, validate);
  if (!info.ok())
    return info.status();
  manifest_ = std::move(info->manifest);
  manifestText_ = std::move(info->manifestText);
  if ((options.flags & MOHD_LOAD_NO_HOST_CODE) && hasHostCode(manifest_))
    return Status(StatusCode::Unsupported,
                  "the bundle holds CPU code, which MOHD_LOAD_NO_HOST_CODE forbids");
  MOHDRT_TRY(compileEntries());
  WeightOptions weights;
  weights.directory = options.weightsDirectory;
  weights.checkHashes = checkHashes;
  weights.map = (options.flags & MOHD_LOAD_MMAP) != 0;
  MOHDRT_TRY(weights_.load(manifest_, bundle, file, weights));
  return loadCpu(bundle, checkHashes);
}

Status Module::compileEntries() {
  entries_.reserve(manifest_.entryPoints.size());
  for (const EntryPoint &spec : manifest_.entryPoints) {
    Compiler compiler(spec.dims);
    CompiledEntry entry;
    entry.spec = &spec;
    for (const TensorSpec &input : spec.inputs)
      entry.inputs.push_back(compiler.tensor(input, /*isInput=*/true));
    for (const TensorSpec &output : spec.outputs)
      entry.outputs.push_back(compiler.tensor(output, /*isInput=*/false));
    MOHDRT_TRY(compiler.status());
    entries_.push_back(std::move(entry));
  }
  return Status();
}

Status Module::loadCpu(const ByteSource &bundle, bool checkHash) {
  Result<size_t> selected = selectCpuTarget(manifest_);
  if (!selected.ok()) {
    cpuStatus_ = selected.status(); // reported when a context is wanted
    return Status();
  }
  const Target &target = manifest_.targets[*selected];
  cpuTarget_ = "cpu:" + target.arch;
  Result<std::unique_ptr<CpuCode>> code = CpuCode::load(bundle, manifest_, target, checkHash);
  if (!code.ok())
    return code.status();
  cpuCode_ = std::move(*code);
  programs_.resize(manifest_.entryPoints.size());
  for (const Program &program : target.programs) {
    const EntryPoint &entry = manifest_.entryPoints[program.entry];
    Compiler compiler(entry.dims);
    CompiledProgram compiled;
    compiled.workspace = compiler.expr(program.workspace);
    compiled.dispatches.reserve(program.dispatches.size());
    for (const Dispatch &dispatch : program.dispatches) {
      compiled.dispatches.push_back(compileDispatch(compiler, dispatch, target, manifest_, entry));
      compiled.dispatches.back().function = cpuCode_->kernels()[dispatch.kernel];
    }
    MOHDRT_TRY(compiler.status());
    programs_[program.entry] = std::move(compiled);
  }
  return Status();
}

} // namespace mohdrt
