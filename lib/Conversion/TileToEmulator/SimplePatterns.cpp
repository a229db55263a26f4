// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emulator calls for the ops that are one call with scalar arguments and perhaps a result, and for loads and stores.
//
//   tile.mbarrier_expect %barrier, %bytes   ->  llvm.call %function(%barrier, %bytes, %site), with %function from the table
//
// Each op has an overload of `getArguments`; the site is added by the call.
//
// Test: test/Conversion/TileToEmulator/{gpu,bulk}.mlir.
#include "EmulatorCalls.h"

#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

namespace mlir::mohd {
namespace {

using Arguments = SmallVector<Value>;

/// Makes constants of type i32 in place of one op.
struct Constants {
  OpBuilder &builder;
  Location loc;
  Value operator()(int64_t value) const { return createI32(builder, loc, value); }
};

/// i1 as i32.
Value widen(OpBuilder &builder, Value bit) {
  return LLVM::ZExtOp::create(builder, bit.getLoc(), builder.getI32Type(), bit);
}

/// The threads that take part: `mask`, or all of the warp.
Value getMask(Constants constant, Value mask) { return mask ? mask : constant(-1); }

//===----------------------------------------------------------------------===//
// What each op hands over
//===----------------------------------------------------------------------===//

Arguments getArguments(Constants constant, tile::SpecialRegisterOp op) {
  return {constant(int64_t(op.getWhich()))};
}
Arguments getArguments(Constants constant, tile::AtomicOp op) {
  return {constant(int64_t(op.getKind())), op.getPointer(), op.getValue(),
          createSpace(constant.builder, op.getLoc(), op.getPointer())};
}
Arguments getArguments(Constants constant, tile::BarrierSyncOp op) {
  if (!op.getBarrier())
    return {constant(0), constant(0)};
  return {op.getBarrier(), constant(*op.getThreads())};
}
Arguments getArguments(Constants constant, tile::BarrierArriveOp op) {
  return {op.getBarrier(), constant(op.getThreads())};
}
Arguments getArguments(Constants, tile::GridSyncOp op) { return {op.getCounter()}; }
Arguments getArguments(Constants constant, tile::FenceOp op) {
  return {constant(int64_t(op.getKind()))};
}
Arguments getArguments(Constants constant, tile::WarpSyncOp op) {
  return {getMask(constant, op.getMask())};
}
Arguments getArguments(Constants constant, tile::BallotOp op) {
  return {getMask(constant, op.getMask()), widen(constant.builder, op.getPredicate())};
}
Arguments getArguments(Constants constant, tile::CopyAsyncOp op) {
  Value bytes = constant(op.getBytes());
  return {op.getTo(), op.getFrom(), bytes, op.getSourceBytes() ? op.getSourceBytes() : bytes};
}
Arguments getArguments(Constants, tile::CopyAsyncCommitOp) { return {}; }
Arguments getArguments(Constants constant, tile::CopyAsyncWaitOp op) {
  return {constant(op.getPending())};
}
Arguments getArguments(Constants, tile::WgmmaFenceOp) { return {}; }
Arguments getArguments(Constants, tile::WgmmaCommitOp) { return {}; }
Arguments getArguments(Constants, tile::MbarrierInitOp op) {
  return {op.getBarrier(), op.getCount()};
}
Arguments getArguments(Constants, tile::MbarrierArriveOp op) { return {op.getBarrier()}; }
Arguments getArguments(Constants, tile::MbarrierExpectOp op) {
  return {op.getBarrier(), op.getBytes()};
}
Arguments getArguments(Constants, tile::MbarrierWaitOp op) {
  return {op.getBarrier(), op.getParity()};
}

/// Appends the rank and five coordinates, those that are not there as 0.
void appendCoordinates(Constants constant, ValueRange coordinates, Arguments &arguments) {
  arguments.push_back(constant(int64_t(coordinates.size())));
  llvm::append_range(arguments, coordinates);
  for (size_t i = coordinates.size(); i < 5; ++i)
    arguments.push_back(constant(0));
}
Arguments getArguments(Constants constant, tile::TmaLoadOp op) {
  Arguments arguments = {op.getTo(), op.getMap(), op.getBarrier()};
  appendCoordinates(constant, op.getCoordinates(), arguments);
  return arguments;
}
Arguments getArguments(Constants constant, tile::TmaStoreOp op) {
  Arguments arguments = {op.getMap(), op.getFrom()};
  appendCoordinates(constant, op.getCoordinates(), arguments);
  return arguments;
}
Arguments getArguments(Constants, tile::TmaStoreCommitOp) { return {}; }
Arguments getArguments(Constants constant, tile::TmaStoreWaitOp op) {
  return {constant(op.getPending()), constant(op.getRead())};
}
Arguments getArguments(Constants constant, tile::SetMaxRegistersOp op) {
  return {constant(op.getRegisters()), constant(op.getIncrease())};
}
Arguments getArguments(Constants, tile::Exp2Op op) { return {op.getX()}; }
Arguments getArguments(Constants constant, tile::PackOp op) {
  return {constant(int64_t(op.getKind())), op.getLow(), op.getHigh()};
}
Arguments getArguments(Constants, tile::TrapOp) { return {}; }

//===----------------------------------------------------------------------===//
// Patterns
//===----------------------------------------------------------------------===//

/// An op that is one call.
template <typename Op, EmulatorFunction function> struct LowerToCall : EmulatorPattern<Op> {
  using EmulatorPattern<Op>::EmulatorPattern;

  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    Arguments arguments = getArguments(Constants{rewriter, op.getLoc()}, op);
    Value result = this->calls.call(rewriter, op, function, arguments);
    if (result)
      rewriter.replaceOp(op, result);
    else
      rewriter.eraseOp(op);
    return success();
  }
};

struct LowerShared : EmulatorPattern<tile::SharedOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::SharedOp op, PatternRewriter &rewriter) const override {
    Value base = calls.call(rewriter, op, EmulatorFunction::shared_base, {});
    rewriter.replaceOpWithNewOp<LLVM::GEPOp>(
        op, op.getType(), rewriter.getI8Type(), base,
        ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(op.getOffset()))});
    return success();
  }
};

/// Bytes of a scalar or a vector.
int64_t getBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * int64_t(vector.getElementTypeBitWidth()) / 8;
  return type.getIntOrFloatBitWidth() / 8;
}

// The emulator reports addresses that are not aligned; the accesses then work all the same.

struct LowerLoad : EmulatorPattern<tile::LoadOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::LoadOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value bytes = createI32(rewriter, loc, getBytes(op.getType()));
    Value space = createSpace(rewriter, loc, op.getPointer());
    calls.call(rewriter, op, EmulatorFunction::check_load, {op.getPointer(), bytes, space});
    rewriter.replaceOpWithNewOp<LLVM::LoadOp>(op, op.getType(), op.getPointer(), /*alignment=*/1);
    return success();
  }
};

struct LowerStore : EmulatorPattern<tile::StoreOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::StoreOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value bytes = createI32(rewriter, loc, getBytes(op.getValue().getType()));
    Value space = createSpace(rewriter, loc, op.getPointer());
    calls.call(rewriter, op, EmulatorFunction::check_store, {op.getPointer(), bytes, space});
    rewriter.replaceOpWithNewOp<LLVM::StoreOp>(op, op.getValue(), op.getPointer(),
                                               /*alignment=*/1);
    return success();
  }
};

struct LowerShuffle : EmulatorPattern<tile::ShuffleOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::ShuffleOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Constants constant{rewriter, loc};
    bool isFloat = isa<FloatType>(op.getType());
    Value word = op.getValue();
    if (isFloat)
      word = LLVM::BitcastOp::create(rewriter, loc, rewriter.getI32Type(), word);
    Value result =
        calls.call(rewriter, op, EmulatorFunction::shuffle,
                   {constant(int64_t(op.getKind())), getMask(constant, op.getMask()), word,
                    op.getLane(), constant(getShuffleClamp(op.getKind(), op.getWidth()))});
    if (isFloat)
      result = LLVM::BitcastOp::create(rewriter, loc, op.getType(), result);
    rewriter.replaceOp(op, result);
    return success();
  }
};

struct LowerElect : EmulatorPattern<tile::ElectOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::ElectOp op, PatternRewriter &rewriter) const override {
    Constants constant{rewriter, op.getLoc()};
    Value isChosen =
        calls.call(rewriter, op, EmulatorFunction::elect, getMask(constant, op.getMask()));
    rewriter.replaceOpWithNewOp<LLVM::ICmpOp>(op, LLVM::ICmpPredicate::ne, isChosen, constant(0));
    return success();
  }
};

struct LowerUnpack : EmulatorPattern<tile::UnpackOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::UnpackOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Constants constant{rewriter, loc};
    Value kind = constant(int64_t(op.getKind()));
    Value low = LLVM::AndOp::create(rewriter, loc, op.getPair(), constant(0xffff));
    Value high = LLVM::LShrOp::create(rewriter, loc, op.getPair(), constant(16));
    Value lowResult = calls.call(rewriter, op, EmulatorFunction::unpack, {kind, low});
    Value highResult = calls.call(rewriter, op, EmulatorFunction::unpack, {kind, high});
    rewriter.replaceOp(op, {lowResult, highResult});
    return success();
  }
};

} // namespace

void populateSimpleToEmulatorPatterns(RewritePatternSet &patterns, EmulatorCalls &calls) {
  using Function = EmulatorFunction;
  patterns.add<LowerToCall<tile::SpecialRegisterOp, Function::special_register>,
               LowerToCall<tile::AtomicOp, Function::atomic>,
               LowerToCall<tile::BarrierSyncOp, Function::barrier_sync>,
               LowerToCall<tile::BarrierArriveOp, Function::barrier_arrive>,
               LowerToCall<tile::GridSyncOp, Function::grid_sync>,
               LowerToCall<tile::FenceOp, Function::fence>,
               LowerToCall<tile::WarpSyncOp, Function::warp_sync>,
               LowerToCall<tile::BallotOp, Function::vote_ballot>,
               LowerToCall<tile::CopyAsyncOp, Function::copy_async>,
               LowerToCall<tile::CopyAsyncCommitOp, Function::copy_async_commit>,
               LowerToCall<tile::CopyAsyncWaitOp, Function::copy_async_wait>,
               LowerToCall<tile::WgmmaFenceOp, Function::wgmma_fence>,
               LowerToCall<tile::WgmmaCommitOp, Function::wgmma_commit>,
               LowerToCall<tile::MbarrierInitOp, Function::mbarrier_init>,
               LowerToCall<tile::MbarrierArriveOp, Function::mbarrier_arrive>,
               LowerToCall<tile::MbarrierExpectOp, Function::mbarrier_expect>,
               LowerToCall<tile::MbarrierWaitOp, Function::mbarrier_wait>,
               LowerToCall<tile::TmaLoadOp, Function::tma_load>,
               LowerToCall<tile::TmaStoreOp, Function::tma_store>,
               LowerToCall<tile::TmaStoreCommitOp, Function::tma_store_commit>,
               LowerToCall<tile::TmaStoreWaitOp, Function::tma_store_wait>,
               LowerToCall<tile::SetMaxRegistersOp, Function::set_max_registers>,
               LowerToCall<tile::Exp2Op, Function::exp2>, LowerToCall<tile::PackOp, Function::pack>,
               LowerToCall<tile::TrapOp, Function::trap>, LowerShared, LowerLoad, LowerStore,
               LowerShuffle, LowerElect, LowerUnpack>(patterns.getContext(), calls);
}

} // namespace mlir::mohd
