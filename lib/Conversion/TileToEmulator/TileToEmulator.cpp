// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversion of GPU kernels to functions that call the emulator: what is about the kernel as a whole.
//
//   llvm.func @k(%x: !llvm.ptr<1>, %n: i32) attributes {tile.kernel}
// becomes a mohd_emu_kernel of operations.h, the body of one thread:
//   llvm.func @k(%arguments: !llvm.ptr) {
//     %0 = llvm.load %arguments : !llvm.ptr -> !llvm.ptr   // where the value of parameter 0 is
//     %x = llvm.load %0 : !llvm.ptr -> !llvm.ptr
//     ...
//
// Before and after: test/Docs/tile-to-emulator.mlir.
#include "EmulatorCalls.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_CONVERTTILETOEMULATORPASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

static_assert(int(tile::Register::Lane) == MOHD_EMU_LANE);
static_assert(int(tile::Atomic::Exchange) == MOHD_EMU_EXCHANGE);
static_assert(int(tile::Shuffle::Idx) == MOHD_EMU_SHFL_IDX);
static_assert(int(tile::Fence::MbarrierInit) == MOHD_EMU_FENCE_MBARRIER_INIT);
static_assert(int(tile::MmaKind::S8) == MOHD_EMU_MMA_S8);
static_assert(int(tile::Half::F16) == MOHD_EMU_F16 && int(tile::Half::F16) == MOHD_EMU_MMA_F16);

bool isShared(Type type) {
  auto pointer = dyn_cast<LLVM::LLVMPointerType>(type);
  return pointer && pointer.getAddressSpace() == 3;
}

/// A pointer to shared memory is a host pointer; as a number it is the address in shared memory.
struct LowerPtrToInt : OpRewritePattern<LLVM::PtrToIntOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LLVM::PtrToIntOp op, PatternRewriter &rewriter) const override {
    if (!isShared(op.getArg().getType()))
      return rewriter.notifyMatchFailure(op, "needs a pointer to shared memory");
    Type type = op.getType();
    Value address = LLVM::PtrToIntOp::create(rewriter, op.getLoc(), type, op.getArg());
    Value mask = LLVM::ConstantOp::create(rewriter, op.getLoc(), type, kSharedAddressMask);
    rewriter.replaceOpWithNewOp<LLVM::AndOp>(op, address, mask);
    return success();
  }
};

/// All memory is in the host's one address space.
struct EraseAddrSpaceCast : OpRewritePattern<LLVM::AddrSpaceCastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LLVM::AddrSpaceCastOp op,
                                PatternRewriter &rewriter) const override {
    rewriter.replaceOp(op, op.getArg());
    return success();
  }
};

/// Fails at an integer that becomes a pointer to shared memory: the host's address is lost.
LogicalResult checkCasts(LLVM::LLVMFuncOp kernel) {
  WalkResult result = kernel.walk([&](LLVM::IntToPtrOp op) -> WalkResult {
    if (isShared(op.getType()))
      return op.emitOpError("expects a pointer to global memory in an emulated kernel, got ")
             << op.getType();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

/// Makes the kernel a function of one pointer, to pointers to the values of its parameters.
void convertSignature(LLVM::LLVMFuncOp kernel) {
  MLIRContext *context = kernel.getContext();
  Location loc = kernel.getLoc();
  Type pointer = LLVM::LLVMPointerType::get(context);
  Block &entry = kernel.getBody().front();
  unsigned count = entry.getNumArguments();
  Value arguments = entry.addArgument(pointer, loc);
  OpBuilder builder = OpBuilder::atBlockBegin(&entry);
  for (unsigned i = 0; i < count; ++i) {
    Value place = LLVM::GEPOp::create(builder, loc, pointer, pointer, arguments,
                                      ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(i))});
    Value value = LLVM::LoadOp::create(builder, loc, pointer, place);
    BlockArgument argument = entry.getArgument(i);
    // A tensor map stays where it is: the kernel has its address.
    if (!kernel.getArgAttr(i, tile::kTensorMapAttr))
      value = LLVM::LoadOp::create(builder, loc, argument.getType(), value);
    argument.replaceAllUsesWith(value);
  }
  entry.eraseArguments(0, count);
  kernel->removeAttr(kernel.getArgAttrsAttrName());
  kernel.setFunctionType(LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer}));
  for (StringRef name :
       {tile::kKernelAttr, tile::kThreadsAttr, tile::kMinBlocksAttr, tile::kCooperativeAttr})
    kernel->removeAttr(name);
}

struct ConvertTileToEmulatorPass : impl::ConvertTileToEmulatorPassBase<ConvertTileToEmulatorPass> {
  using Base::Base;

  void runOnOperation() override {
    EmulatorCalls calls(getOperation());
    RewritePatternSet set(&getContext());
    populateSimpleToEmulatorPatterns(set, calls);
    populateMatrixToEmulatorPatterns(set, calls);
    populateMatrixDescriptorPatterns(set);
    set.add<LowerPtrToInt, EraseAddrSpaceCast>(&getContext());
    FrozenRewritePatternSet patterns(std::move(set));
    // Sums become the address of their slot, and pointers lose their address space.
    auto convertType = [&](Type type) -> Type {
      bool isAddress = isa<tile::SumsType, LLVM::LLVMPointerType>(type);
      return isAddress ? LLVM::LLVMPointerType::get(&getContext()) : type;
    };
    for (LLVM::LLVMFuncOp kernel : getTileKernels(getOperation())) {
      if (failed(checkCasts(kernel)) || failed(lowerTileKernel(kernel, patterns, convertType)))
        return signalPassFailure();
      convertSignature(kernel);
    }
  }
};

} // namespace
} // namespace mlir::mohd
