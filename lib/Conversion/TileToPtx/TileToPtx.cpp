// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversion of GPU kernels to the llvm dialect for NVPTX: what is about the kernel as a whole.
//
//   llvm.func @k(%map: !llvm.ptr {tile.tensor_map}) attributes {tile.kernel, tile.threads = 128 : i32}
// becomes
//   llvm.func @k(%map: !llvm.ptr {llvm.align = 64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant})
//     attributes {nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>}
//
// The nvvm attributes are only names here: including NVVM's header would cost each file 20 seconds.
//
// Before and after: test/Docs/tile-to-ptx.mlir.
#include "PtxAssembly.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_CONVERTTILETOPTXPASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

/// Declares the start of dynamic shared memory, whose size the launch says.
void declareSharedMemory(ModuleOp module) {
  if (module.lookupSymbol(kSharedMemoryName))
    return;
  OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
  auto bytes = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
  LLVM::GlobalOp::create(builder, module.getLoc(), bytes, /*isConstant=*/false,
                         LLVM::Linkage::External, kSharedMemoryName, Attribute(),
                         /*alignment=*/1024, /*addrSpace=*/3);
}

/// Replaces the tile dialect's attributes of a kernel by those that NVPTX reads.
void convertAttributes(LLVM::LLVMFuncOp kernel) {
  Builder builder(kernel.getContext());
  kernel->removeAttr(tile::kKernelAttr);
  kernel->removeAttr(tile::kCooperativeAttr); // a matter of the launch
  kernel->setAttr("nvvm.kernel", builder.getUnitAttr());
  if (auto threads = cast_or_null<IntegerAttr>(kernel->removeAttr(tile::kThreadsAttr)))
    kernel->setAttr("nvvm.reqntid",
                    builder.getDenseI32ArrayAttr({int32_t(threads.getInt()), 1, 1}));
  if (auto blocks = cast_or_null<IntegerAttr>(kernel->removeAttr(tile::kMinBlocksAttr)))
    kernel->setAttr("nvvm.minctasm", builder.getI32IntegerAttr(int32_t(blocks.getInt())));
  for (unsigned i = 0; i < kernel.getNumArguments(); ++i) {
    if (!kernel.removeArgAttr(i, tile::kTensorMapAttr))
      continue;
    auto map = LLVM::LLVMArrayType::get(builder.getI8Type(), 128);
    kernel.setArgAttr(i, LLVM::LLVMDialect::getByValAttrName(), TypeAttr::get(map));
    kernel.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), builder.getI64IntegerAttr(64));
    // Without it the kernel copies the map to local memory, where TMA may not read it.
    kernel.setArgAttr(i, "nvvm.grid_constant", builder.getUnitAttr());
  }
}

struct ConvertTileToPtxPass : impl::ConvertTileToPtxPassBase<ConvertTileToPtxPass> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    RewritePatternSet set(&getContext());
    populateGpuToPtxPatterns(set);
    populateMatrixToPtxPatterns(set);
    populateBulkToPtxPatterns(set);
    populateMatrixDescriptorPatterns(set);
    FrozenRewritePatternSet patterns(std::move(set));
    auto convertType = [&](Type type) -> Type {
      auto sums = dyn_cast<tile::SumsType>(type);
      return sums ? getRegistersOfSums(&getContext(), sums.getColumns()) : type;
    };
    for (LLVM::LLVMFuncOp kernel : getTileKernels(module)) {
      if (kernel->hasAttr(tile::kSharedBytesAttr))
        declareSharedMemory(module);
      if (failed(lowerTileKernel(kernel, patterns, convertType)))
        return signalPassFailure();
      convertAttributes(kernel);
    }
  }
};

} // namespace
} // namespace mlir::mohd
