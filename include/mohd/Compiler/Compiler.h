// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The compiler as a library: from a model to a bundle, in one call.
#ifndef MOHD_COMPILER_COMPILER_H
#define MOHD_COMPILER_COMPILER_H

#include "mohd/Model/TensorCopy.h"
#include "mohd/Pipelines/Phases.h"
#include "mohd/format/dtype.h"
#include "mohd/format/status.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mlir::mohd {

/// Version of the project.
inline constexpr char kVersion[] = "0.1.0";

/// Where a bundle's weights are.
enum class WeightsMode {
  Embedded, // in the bundle
  External, // in a file of their own beside it
  None,     // nowhere: they become inputs of the entry points, after the others
};

/// What is written.
enum class Emit {
  Bundle,
  Mlir, // the IR after `stopAfter`
  Llvm, // optimised LLVM IR of the first target's kernels
  Asm,  // assembly of the first target's kernels; of a GPU's, PTX
  Obj,  // the shared object of the first target's kernels; of a GPU's, the cubin
};

struct CompileOptions {
  /// A model folder or an .mlir file; empty if `preset` or `config` is given.
  std::string input;
  /// Name of a preset; empty if `input` is given.
  std::string preset;
  /// The text of an .mlir file; `input` is then its name in messages.
  std::optional<std::string> text;
  /// A checked configuration instead of a preset; has no files, as a preset.
  std::optional<ModelConfig> config;
  /// Where to write; "-" is standard output (not for bundles).
  std::string output;
  /// As parseCpuTarget() and parseGpuTargets() read them.
  std::vector<std::string> targets = {"cpu:native"};
  WeightsMode weights = WeightsMode::Embedded;
  /// Storage type of weights; none: as the model's embedding is stored.
  std::optional<::mohdrt::DType> weightType;
  /// Store the weights of projections as int8 values with one scale for each group and output column.
  bool quantize = false;
  /// Draw the weights from this seed instead of reading them.
  std::optional<uint64_t> randomSeed;
  Emit emit = Emit::Bundle;
  /// With Emit::Mlir: the last phase to run.
  Phase stopAfter = Phase::Lower;
  bool reference = false;
  /// Tokens up to which products gather instead of what the cost model says; none: as it says.
  std::optional<int64_t> gatherTokens;
  /// Folder for the IR after each phase, LLVM IR, assembly, objects and commands; empty: none.
  std::string dumpDir;
  /// Options as the user gave them, for the bundle's `producer`; paths left out.
  std::vector<std::string> flags;
  /// Receives one line for each warning, and one for each phase as it starts.
  std::function<void(const std::string &)> warn, progress;
  /// Receives one line for each choice that a pass explains, in phases plan and schedule; may be empty.
  std::function<void(const std::string &)> remark;
};

/// Compiles. A failure leaves no output behind; its message names the file and what was expected.
::mohdrt::Status compile(const CompileOptions &options);

/// A weight as a bundle's kernels read it.
struct BundleWeight {
  std::string name;           // in the manifest: of a weight, or of an input with WeightsMode::None
  std::string source;         // of the tensor in the model's files
  TensorLayout layout;        // what copyTensor() makes of that tensor
  std::vector<int64_t> shape; // then
};

/// A bundle in memory.
struct CompiledBundle {
  std::string bytes;
  std::vector<BundleWeight> weights;
};

/// Compiles to a bundle in memory: `options.output` and `options.emit` are not looked at, and
/// WeightsMode::External is an error. Failures as compile().
::mohdrt::Result<CompiledBundle> compileToMemory(const CompileOptions &options);

} // namespace mlir::mohd

#endif // MOHD_COMPILER_COMPILER_H
