// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Entry points and a target's programs, with their expressions in evaluable form.
#ifndef MOHD_SRC_PROGRAM_H
#define MOHD_SRC_PROGRAM_H

#include "mohd/format/bundle.h"
#include "mohd/format/expr.h"

#include <optional>
#include <string>
#include <vector>

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

struct CompiledMap {
  const TensorMap *spec = nullptr;
  std::vector<Expr> extents, strides;
};

struct CompiledDispatch {
  int64_t kernelIndex = 0;
  const Kernel *kernel = nullptr;
  Expr grid;
  std::vector<Expr> params;
  std::vector<CompiledBinding> bindings;
  std::vector<CompiledMap> maps;
};

struct CompiledProgram {
  Expr workspace;
  std::vector<CompiledDispatch> dispatches;
};

/// A target of a manifest, which outlives it.
struct CompiledTarget {
  const Target *spec = nullptr;
  std::string name;                                     // "cpu:x86-64-v3"
  std::vector<std::optional<CompiledProgram>> programs; // one for each entry point

  /// The program of an entry point, or null if the target has none.
  const CompiledProgram *program(size_t entry) const {
    return programs[entry] ? &*programs[entry] : nullptr;
  }
};

/// The manifest has passed the validator, so that failures are defects.
Result<std::vector<CompiledEntry>> compileEntries(const Manifest &manifest);
Result<CompiledTarget> compileTarget(const Manifest &manifest, const Target &target);

/// Marks, for each weight, whether a program of `target` binds it.
std::vector<bool> weightsOf(const Manifest &manifest, const Target &target);

} // namespace mohdrt

#endif // MOHD_SRC_PROGRAM_H
