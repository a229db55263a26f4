// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order of passes in each phase. Nothing else knows it.
#include "mohd/Pipelines/Phases.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Dialect/MoHD/Transforms/Passes.h"
#include "mohd/Pipelines/LowerGpuKernels.h"
#include "mohd/Pipelines/LowerToLLVM.h"
#include "mohd/Pipelines/Passes.h"
#include "mohd/Pipelines/Reference.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::mohd;

static void buildImport(OpPassManager &passes, const PhaseOptions &) {
  passes.addPass(createDifferentiatePass());
  passes.addPass(createVerifyPhasePass({"import"}));
}

static void buildPlan(OpPassManager &passes, const PhaseOptions &options) {
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass()); // one mohd.weight for each weight
  // The reference keeps to the letter of the ops.
  if (!options.reference)
    passes.addNestedPass<func::FuncOp>(createFoldScalePass());
  if (options.quantize)
    passes.addNestedPass<func::FuncOp>(createQuantizeWeightsPass());
  passes.addNestedPass<func::FuncOp>(createPlanSparsityPass(
      {options.lanes, options.gatherTokens, !options.chip.empty(), options.remarks}));
  passes.addPass(createVerifyPhasePass({"plan"}));
}

static void buildSchedule(OpPassManager &passes, const PhaseOptions &options) {
  if (!options.chip.empty()) {
    passes.addNestedPass<func::FuncOp>(createBucketProductsPass());
    passes.addPass(createCSEPass()); // one layout for projections of the same tokens
    passes.addPass(createOutlineDispatchesPass({false, options.lanes, options.chip}));
    passes.addPass(createFuseLaunchesPass());
    passes.addPass(createVerifyPhasePass({"schedule"}));
    return;
  }
  if (!options.reference) {
    passes.addNestedPass<func::FuncOp>(createTileProductsPass(
        {options.lanes, options.registers, options.l2Bytes, options.remarks}));
    passes.addPass(createCSEPass()); // one list and one packing for projections of the same tokens
  }
  passes.addPass(createOutlineDispatchesPass({options.reference, options.lanes, ""}));
  if (options.reference)
    buildReferencePipeline(passes);
  else
    passes.addNestedPass<func::FuncOp>(createEmitKernelsPass({options.lanes}));
  passes.addPass(createVerifyPhasePass({"schedule"}));
}

static void buildLower(OpPassManager &passes, const PhaseOptions &options) {
  if (options.chip.empty())
    buildLowerToLLVM(passes, options.convertsF16);
  else
    buildLowerGpuKernels(passes, options.emulate);
}

static const PhaseInfo phases[] = {
    {Phase::Import, "import", "model files or an .mlir file as mohd ops on tensors", buildImport},
    {Phase::Plan, "plan", "every sparse op carries a plan", buildPlan},
    {Phase::Schedule, "schedule", "entry points are lists of dispatches, kernels work on buffers",
     buildSchedule},
    {Phase::Lower, "lower", "kernels are in the llvm dialect", buildLower},
};

ArrayRef<PhaseInfo> mlir::mohd::getPhases() { return phases; }

std::optional<Phase> mlir::mohd::parsePhase(StringRef name) {
  for (const PhaseInfo &info : phases)
    if (info.name == name)
      return info.phase;
  return std::nullopt;
}

namespace {
/// PhaseOptions on mohd-opt's command line.
struct PhasePipelineOptions : PassPipelineOptions<PhasePipelineOptions> {
  Option<bool> reference{*this, "reference", llvm::cl::init(false),
                         llvm::cl::desc("Lower every op by its reference lowering")};
  Option<int64_t> lanes{*this, "lanes", llvm::cl::init(8),
                        llvm::cl::desc("f32 lanes of the target's vectors")};
  Option<int64_t> registers{*this, "registers", llvm::cl::init(16),
                            llvm::cl::desc("Vector registers of the target")};
  Option<int64_t> l2Bytes{*this, "l2-bytes", llvm::cl::init(256 << 10),
                          llvm::cl::desc("Bytes of the target's second-level data cache")};
  Option<bool> convertsF16{
      *this, "converts-f16", llvm::cl::init(true),
      llvm::cl::desc("The target has instructions for conversions between f16 and f32")};
  Option<int64_t> gatherTokens{
      *this, "gather-tokens", llvm::cl::init(-1),
      llvm::cl::desc("Tokens up to which every plan gathers (negative: as the cost model says)")};
  Option<bool> remarks{*this, "remarks", llvm::cl::init(false),
                       llvm::cl::desc("Explain choices in remarks")};
  Option<std::string> chip{*this, "chip", llvm::cl::init(""),
                           llvm::cl::desc("GPU whose kernels are made; empty: a CPU")};
  Option<bool> emulate{*this, "emulate", llvm::cl::init(false),
                       llvm::cl::desc("Lower a GPU's kernels to a CPU that emulates it")};
  Option<bool> quantize{
      *this, "quantize", llvm::cl::init(false),
      llvm::cl::desc("Let int8 values and scales stand for the weights of projections")};
};
} // namespace

void mlir::mohd::registerPhasePipelines() {
  for (const PhaseInfo &info : phases)
    PassPipelineRegistration<PhasePipelineOptions>(
        ("mohd-pipeline-" + info.name).str(), info.summary,
        [build = info.build](OpPassManager &passes, const PhasePipelineOptions &options) {
          build(passes, {options.reference, options.lanes, options.registers, options.l2Bytes,
                         options.convertsF16, options.gatherTokens, options.remarks, options.chip,
                         options.emulate, options.quantize});
        });
}
