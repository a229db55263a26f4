// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded bundle: manifest, weights, kernels, and its expressions in evaluable form.
#ifndef MOHD_SRC_MODULE_H
#define MOHD_SRC_MODULE_H

#include "device/cpu/code.h"
#include "mohd/format/expr.h"
#include "mohd/runtime.h"
#include "weights.h"

#include <atomic>
#include <memory>
#include <optional>

namespace mohdrt {

/// One extent of an input or output: a number, a dim (inputs), or an expression (outputs).
struct CompiledExtent {
  int64_t value = 0;
  int dim = -1; // index into the entry point's dims
  std::optional<Expr> expr;
};

struct CompiledTensor {
  const TensorSpec *spec = nullptr;
  std::vector<CompiledExtent> shape;
  std::optional<std::pair<Expr, Expr>> range; // [low, high)
};

struct CompiledEntry {
  const EntryPoint *spec = nullptr;
  std::vector<CompiledTensor> inputs, outputs;
};

struct CompiledBinding {
  Binding::Kind kind = Binding::Kind::Input;
  int64_t index = 0;
  int64_t offsetAlign = 1; // bytes
  Expr offset, size;
};

struct CompiledDispatch {
  const Kernel *kernel = nullptr;
  KernelFn function = nullptr;
  Expr grid;
  std::vector<Expr> params;
  std::vector<CompiledBinding> bindings;
};

struct CompiledProgram {
  Expr workspace;
  std::vector<CompiledDispatch> dispatches;
};

struct LoadOptions {
  uint32_t flags = 0; // MOHD_LOAD_...
  std::string weightsDirectory;
};

/// Immutable after load(); shared by contexts through counted references.
class Module {
public:
  /// `file` is `bundle` if that is a file, else null. The caller owns the first reference.
  static Result<Module *> load(const ByteSource &bundle, const FileSource *file,
                               const LoadOptions &options);
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete this;
  }

  const Manifest &manifest() const { return manifest_; }
  const std::string &manifestText() const { return manifestText_; }
  const std::vector<CompiledEntry> &entries() const { return entries_; }
  void *weight(size_t index) const { return weights_.data(index); }

  /// OK if there is code for this machine, else why not.
  const Status &cpuStatus() const { return cpuStatus_; }
  /// "cpu:x86-64-v3"
  const std::string &cpuTarget() const { return cpuTarget_; }
  /// The program of an entry point, or null if the target has none.
  const CompiledProgram *program(size_t entry) const {
    return entry < programs_.size() && programs_[entry] ? &*programs_[entry] : nullptr;
  }

private:
  Module() = default;
  ~Module() = default;
  Status initialize(const ByteSource &bundle, const FileSource *file, const LoadOptions &options);
  Status compileEntries();
  Status loadCpu(const ByteSource &bundle, bool checkHash);

  std::atomic<int64_t> references_{1};
  std::string manifestText_;
  Manifest manifest_;
  std::vector<CompiledEntry> entries_;
  WeightStore weights_;
  Status cpuStatus_;
  std::string cpuTarget_;
  std::unique_ptr<CpuCode> cpuCode_;
  std::vector<std::optional<CompiledProgram>> programs_; // one for each entry point
};

} // namespace mohdrt

#endif // MOHD_SRC_MODULE_H
