// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Phase lower for GPUs: the order of passes from kernels of tile ops to the llvm dialect.
#include "mohd/Pipelines/LowerGpuKernels.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Pipelines/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void mohd::buildLowerGpuKernels(OpPassManager &passes, bool emulate) {
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
  passes.addPass(createApproximateMathPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  // While loops are scf's: sums in flight pass through them, not through the llvm dialect's branches.
  if (emulate)
    passes.addPass(createConvertTileToEmulatorPass());
  else
    passes.addPass(createConvertTileToPtxPass());
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createVerifyPhasePass({"lower"}));
}
