// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Phase lower for the CPU: the order of passes from kernels on memrefs to the llvm dialect.
#include "mohd/Pipelines/LowerToLLVM.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Pipelines/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

/// Passes that keep loops and vectors but settle how each op is done.
static void addKernelPasses(OpPassManager &passes, bool convertsF16) {
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
  passes.addPass(createConvertVectorToSCFPass());
  passes.addPass(mohd::createApproximateMathPass());
  if (!convertsF16)
    passes.addPass(mohd::createExpandF16Pass());
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = true; // or conversions from and to bf16 would be calls
  passes.addPass(arith::createArithExpandOpsPass(expand));
  passes.addPass(memref::createExpandStridedMetadataPass());
  passes.addPass(createLowerAffinePass()); // also what the pass before it made
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
}

void mohd::buildLowerToLLVM(OpPassManager &passes, bool convertsF16) {
  addKernelPasses(passes, convertsF16);
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(createConvertTileToLLVMPass());
  ConvertVectorToLLVMPassOptions vectors;
  vectors.reassociateFPReductions = true; // a tree over the lanes, the same every time
  passes.addPass(createConvertVectorToLLVMPass(vectors));
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createFinalizeMemRefToLLVMConversionPass());
  passes.addPass(createConvertIndexToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createConvertFuncToLLVMPass());
  passes.addPass(createUBToLLVMConversionPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createVerifyPhasePass({"lower"}));
}
