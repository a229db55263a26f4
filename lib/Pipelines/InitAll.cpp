// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registration of dialects, interfaces, passes and pipelines for all tools.
#include "mohd/InitAll.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Dialect/MoHD/Transforms/Passes.h"
#include "mohd/Pipelines/Passes.h"
#include "mohd/Pipelines/Phases.h"
#include "mohd/Pipelines/Reference.h"
#include "mohd/Target/Passes.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Pass/PassRegistry.h"

void mlir::mohd::registerAllDialects(DialectRegistry &registry) {
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry.insert<MohdDialect, tile::TileDialect>();
}

void mlir::mohd::registerAllPasses() {
  mlir::registerAllPasses();
  registerMoHDPasses();
  registerMohdConversionPasses();
  registerMohdPipelinesPasses();
  registerMohdTargetPasses();
  registerPhasePipelines();
  PassPipelineRegistration<>("mohd-pipeline-reference",
                             "Take kernels on tensors to plain loops, as a reference",
                             buildReferencePipeline);
}
