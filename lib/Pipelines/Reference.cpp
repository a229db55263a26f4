// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The reference way through phase schedule: slow, simple, and with no code of the fast one.
#include "mohd/Pipelines/Reference.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Pipelines/Passes.h"

#include "mlir/Dialect/Bufferization/Pipelines/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void mohd::buildReferencePipeline(OpPassManager &passes) {
  passes.addNestedPass<func::FuncOp>(createConvertMohdToLinalgPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  // A result is computed where it is wanted, if nothing still reads there.
  passes.addPass(bufferization::createEmptyTensorEliminationPass());
  passes.addPass(bufferization::createOneShotBufferizePass());
  passes.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
  // An update in place leaves a loop that carries its own buffer and a copy onto itself: both must
  // go before ownership is looked at.
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  bufferization::buildBufferDeallocationPipeline(
      passes, bufferization::BufferDeallocationPipelineOptions());
  passes.addPass(createVerifyPhasePass({"schedule"}));
}
