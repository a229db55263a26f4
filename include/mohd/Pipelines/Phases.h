// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The phases of the compiler: one table for mohd-opt's pipelines, `mohd-compile --compile-to` and the docs.
#ifndef MOHD_PIPELINES_PHASES_H
#define MOHD_PIPELINES_PHASES_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>

namespace mlir {
class OpPassManager;
}

namespace mlir::mohd {

/// The phases that work on IR, in order. Each starts from the IR that the one before it leaves.
enum class Phase { Import, Plan, Schedule, Lower };

struct PhaseOptions {
  /// Lower every op by its reference lowering (plain dense loops) instead of the fast kernels.
  bool reference = false;
  /// f32 lanes of the target's vectors, and how many vectors its registers hold.
  int64_t lanes = 8;
  int64_t registers = 16;
  /// Bytes of the target's second-level data cache.
  int64_t l2Bytes = 256 << 10;
  /// The target has instructions for conversions between f16 and f32.
  bool convertsF16 = true;
  /// Tokens up to which every plan gathers, negative: as the cost model says.
  int64_t gatherTokens = -1;
  /// Explain choices in remarks.
  bool remarks = false;
  /// The GPU whose kernels are made, as the targets name it ("sm_90a"), or empty: a CPU. `emulate`: the kernels are for a CPU that emulates it.
  std::string chip;
  bool emulate = false;
  /// Let int8 values and scales stand for the weights of projections.
  bool quantize = false;
};

struct PhaseInfo {
  Phase phase;
  llvm::StringLiteral name;
  llvm::StringLiteral summary;
  void (*build)(OpPassManager &passes, const PhaseOptions &options);
};

/// All phases, in order.
llvm::ArrayRef<PhaseInfo> getPhases();

/// The phase called `name`, if there is one.
std::optional<Phase> parsePhase(llvm::StringRef name);

/// Registers a pipeline `mohd-pipeline-<phase>` for each phase.
void registerPhasePipelines();

} // namespace mlir::mohd

#endif // MOHD_PIPELINES_PHASES_H
