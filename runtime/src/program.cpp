// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From the manifest's texts to expressions.
#include "program.h"

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

  std::vector<Expr> exprs(const std::vector<std::string> &texts) {
    std::vector<Expr> compiled;
    compiled.reserve(texts.size());
    for (const std::string &text : texts)
      compiled.push_back(expr(text));
    return compiled;
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
  compiled.kernelIndex = dispatch.kernel;
  compiled.kernel = &target.kernels[dispatch.kernel];
  compiled.grid = compiler.expr(dispatch.grid);
  compiled.params = compiler.exprs(dispatch.params);
  compiled.bindings.reserve(dispatch.bindings.size());
  for (const Binding &binding : dispatch.bindings)
    compiled.bindings.push_back({binding.kind, binding.index,
                                 offsetAlignOf(binding, manifest, entry),
                                 compiler.expr(binding.offset), compiler.expr(binding.size)});
  compiled.maps.reserve(dispatch.maps.size());
  for (const TensorMap &map : dispatch.maps)
    compiled.maps.push_back({&map, compiler.exprs(map.extents), compiler.exprs(map.strides)});
  return compiled;
}

} // namespace

Result<std::vector<CompiledEntry>> compileEntries(const Manifest &manifest) {
  std::vector<CompiledEntry> entries;
  entries.reserve(manifest.entryPoints.size());
  for (const EntryPoint &spec : manifest.entryPoints) {
    Compiler compiler(spec.dims);
    CompiledEntry entry;
    entry.spec = &spec;
    for (const TensorSpec &input : spec.inputs)
      entry.inputs.push_back(compiler.tensor(input, /*isInput=*/true));
    for (const TensorSpec &output : spec.outputs)
      entry.outputs.push_back(compiler.tensor(output, /*isInput=*/false));
    MOHDRT_TRY(compiler.status());
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<CompiledTarget> compileTarget(const Manifest &manifest, const Target &target) {
  CompiledTarget result;
  result.spec = &target;
  result.name = target.name();
  result.programs.resize(manifest.entryPoints.size());
  for (const Program &program : target.programs) {
    const EntryPoint &entry = manifest.entryPoints[program.entry];
    Compiler compiler(entry.dims);
    CompiledProgram compiled;
    compiled.workspace = compiler.expr(program.workspace);
    compiled.dispatches.reserve(program.dispatches.size());
    for (const Dispatch &dispatch : program.dispatches)
      compiled.dispatches.push_back(compileDispatch(compiler, dispatch, target, manifest, entry));
    MOHDRT_TRY(compiler.status());
    result.programs[program.entry] = std::move(compiled);
  }
  return result;
}

std::vector<bool> weightsOf(const Manifest &manifest, const Target &target) {
  std::vector<bool> bound(manifest.weights.size());
  for (const Program &program : target.programs)
    for (const Dispatch &dispatch : program.dispatches)
      for (const Binding &binding : dispatch.bindings)
        if (binding.kind == Binding::Kind::Weight)
          bound[binding.index] = true;
  return bound;
}

} // namespace mohdrt
