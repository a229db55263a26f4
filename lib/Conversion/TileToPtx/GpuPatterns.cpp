// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX for special registers, memory, synchronisation, exchange within a warp, and conversions.
//
//   %x = tile.load %p : !llvm.ptr<1> -> vector<4xf32>   ->  %x = llvm.load %p {alignment = 16}
//   %m = tile.ballot %bit                               ->  %m = llvm.call_intrinsic "llvm.nvvm.vote.ballot.sync"(%all, %bit)
//
// Test: test/Conversion/TileToPtx/gpu.mlir.
#include "PtxAssembly.h"

#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::mohd {
namespace {

/// The threads that take part: `mask`, or all of the warp.
Value getMask(OpBuilder &builder, Location loc, Value mask) {
  return mask ? mask : createI32(builder, loc, -1);
}

/// Bytes of a scalar or a vector.
int64_t getBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * int64_t(vector.getElementTypeBitWidth()) / 8;
  return type.getIntOrFloatBitWidth() / 8;
}

struct LowerSpecialRegister : OpRewritePattern<tile::SpecialRegisterOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::SpecialRegisterOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = tile::stringifyRegister(op.getWhich()).str(); // tid_x, ..., lane
    if (op.getWhich() == tile::Register::Lane)
      name = "laneid";
    llvm::replace(name, '_', '.');
    rewriter.replaceOp(op, callNvvm(rewriter, op.getLoc(), "read.ptx.sreg." + name, op.getType()));
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

struct LowerShared : OpRewritePattern<tile::SharedOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::SharedOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value start = LLVM::AddressOfOp::create(rewriter, loc, op.getType(), kSharedMemoryName);
    rewriter.replaceOpWithNewOp<LLVM::GEPOp>(
        op, op.getType(), rewriter.getI8Type(), start,
        ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(op.getOffset()))});
    return success();
  }
};

/// A load past the first-level cache, of one, two or four words.
Value loadStreaming(OpBuilder &builder, Location loc, Value pointer, Type type) {
  int64_t words = getBytes(type) / 4;
  PtxAssembly assembly(builder, loc);
  std::string results = assembly.addResults("r", builder.getI32Type(), words);
  std::string address = assembly.addOperand("l", pointer);
  std::string shape = words == 1 ? "" : ".v" + std::to_string(words);
  if (words > 1)
    results = "{" + results + "}";
  SmallVector<Value> values = assembly.emit("ld.global.L1::no_allocate" + shape + ".b32 " +
                                                results + ", [" + address + "];",
                                            /*clobbersMemory=*/true);
  Value value = words == 1 ? values[0] : createVector(builder, loc, values);
  return value.getType() == type ? value
                                 : LLVM::BitcastOp::create(builder, loc, type, value).getResult();
}

struct LowerLoad : OpRewritePattern<tile::LoadOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::LoadOp op, PatternRewriter &rewriter) const override {
    if (op.getStreaming())
      rewriter.replaceOp(op, loadStreaming(rewriter, op.getLoc(), op.getPointer(), op.getType()));
    else
      rewriter.replaceOpWithNewOp<LLVM::LoadOp>(op, op.getType(), op.getPointer(),
                                                unsigned(getBytes(op.getType())));
    return success();
  }
};

struct LowerStore : OpRewritePattern<tile::StoreOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::StoreOp op, PatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<LLVM::StoreOp>(op, op.getValue(), op.getPointer(),
                                               unsigned(getBytes(op.getValue().getType())));
    return success();
  }
};

LLVM::AtomicBinOp getBinOp(tile::Atomic kind) {
  switch (kind) {
  case tile::Atomic::Add:
    return LLVM::AtomicBinOp::add;
  case tile::Atomic::Min:
    return LLVM::AtomicBinOp::umin;
  case tile::Atomic::Max:
    return LLVM::AtomicBinOp::umax;
  case tile::Atomic::And:
    return LLVM::AtomicBinOp::_and;
  case tile::Atomic::Or:
    return LLVM::AtomicBinOp::_or;
  case tile::Atomic::Exchange:
    break;
  }
  return LLVM::AtomicBinOp::xchg;
}

struct LowerAtomic : OpRewritePattern<tile::AtomicOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::AtomicOp op, PatternRewriter &rewriter) const override {
    bool isGlobal = op.getPointer().getType().getAddressSpace() == 1;
    rewriter.replaceOpWithNewOp<LLVM::AtomicRMWOp>(op, getBinOp(op.getKind()), op.getPointer(),
                                                   op.getValue(), LLVM::AtomicOrdering::monotonic,
                                                   isGlobal ? "device" : "block");
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Synchronisation and exchange
//===----------------------------------------------------------------------===//

struct LowerBarrierSync : OpRewritePattern<tile::BarrierSyncOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::BarrierSyncOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    if (op.getBarrier())
      callNvvm(rewriter, loc, "barrier.cta.sync.aligned.count", nullptr,
               {op.getBarrier(), createI32(rewriter, loc, *op.getThreads())});
    else
      callNvvm(rewriter, loc, "barrier.cta.sync.aligned.all", nullptr, createI32(rewriter, loc, 0));
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerBarrierArrive : OpRewritePattern<tile::BarrierArriveOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::BarrierArriveOp op,
                                PatternRewriter &rewriter) const override {
    callNvvm(rewriter, op.getLoc(), "barrier.cta.arrive.aligned.count", nullptr,
             {op.getBarrier(), createI32(rewriter, op.getLoc(), op.getThreads())});
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerGridSync : OpRewritePattern<tile::GridSyncOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::GridSyncOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value zero = createI32(rewriter, loc, 0), one = createI32(rewriter, loc, 1);
    auto read = [&](StringRef name) {
      return callNvvm(rewriter, loc, "read.ptx.sreg." + name, rewriter.getI32Type());
    };
    auto isZero = [&](StringRef name) -> Value {
      return arith::CmpIOp::create(rewriter, loc, arith::CmpIPredicate::eq, read(name), zero);
    };
    callNvvm(rewriter, loc, "barrier.cta.sync.aligned.all", nullptr, zero);
    auto first = scf::IfOp::create(rewriter, loc, isZero("tid.x"));
    {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPointToStart(first.thenBlock());
      Value blocks = read("nctaid.x");
      Value rest = arith::SubIOp::create(rewriter, loc,
                                         createI32(rewriter, loc, int32_t(0x80000001)), blocks);
      Value added = arith::SelectOp::create(rewriter, loc, isZero("ctaid.x"), rest, one);
      PtxAssembly assembly(rewriter, loc);
      std::string counter = assembly.addOperand("l", op.getCounter());
      std::string amount = assembly.addOperand("r", added);
      assembly.emit("{ .reg .pred wait; .reg .b32 before, now; fence.acq_rel.gpu; "
                    "atom.relaxed.gpu.global.add.u32 before, [" +
                        counter + "], " + amount + "; AGAIN: ld.acquire.gpu.global.u32 now, [" +
                        counter +
                        "]; xor.b32 now, now, before; setp.ge.s32 wait, now, 0; "
                        "@wait bra AGAIN; fence.acq_rel.gpu; }",
                    /*clobbersMemory=*/true);
    }
    callNvvm(rewriter, loc, "barrier.cta.sync.aligned.all", nullptr, zero);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerFence : OpRewritePattern<tile::FenceOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::FenceOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    switch (op.getKind()) {
    case tile::Fence::Block:
      callNvvm(rewriter, loc, "membar.cta", nullptr);
      break;
    case tile::Fence::Device:
      callNvvm(rewriter, loc, "membar.gl", nullptr);
      break;
    case tile::Fence::ProxyAsync:
      PtxAssembly(rewriter, loc).emit("fence.proxy.async.shared::cta;", /*clobbersMemory=*/true);
      break;
    case tile::Fence::MbarrierInit:
      callNvvm(rewriter, loc, "fence.mbarrier_init.release.cluster", nullptr);
      break;
    }
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerWarpSync : OpRewritePattern<tile::WarpSyncOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WarpSyncOp op, PatternRewriter &rewriter) const override {
    callNvvm(rewriter, op.getLoc(), "bar.warp.sync", nullptr,
             getMask(rewriter, op.getLoc(), op.getMask()));
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerShuffle : OpRewritePattern<tile::ShuffleOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::ShuffleOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    StringRef type = isa<FloatType>(op.getType()) ? "f32" : "i32";
    Value clamp = createI32(rewriter, loc, getShuffleClamp(op.getKind(), op.getWidth()));
    rewriter.replaceOp(
        op, callNvvm(rewriter, loc,
                     "shfl.sync." + tile::stringifyShuffle(op.getKind()) + "." + type, op.getType(),
                     {getMask(rewriter, loc, op.getMask()), op.getValue(), op.getLane(), clamp}));
    return success();
  }
};

struct LowerBallot : OpRewritePattern<tile::BallotOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::BallotOp op, PatternRewriter &rewriter) const override {
    rewriter.replaceOp(op,
                       callNvvm(rewriter, op.getLoc(), "vote.ballot.sync", op.getType(),
                                {getMask(rewriter, op.getLoc(), op.getMask()), op.getPredicate()}));
    return success();
  }
};

struct LowerElect : OpRewritePattern<tile::ElectOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::ElectOp op, PatternRewriter &rewriter) const override {
    // The chosen lane, and whether it is this one.
    Type type = LLVM::LLVMStructType::getLiteral(getContext(),
                                                 {rewriter.getI32Type(), rewriter.getI1Type()});
    Value both = callNvvm(rewriter, op.getLoc(), "elect.sync", type,
                          getMask(rewriter, op.getLoc(), op.getMask()));
    rewriter.replaceOpWithNewOp<LLVM::ExtractValueOp>(op, both, 1);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

struct LowerExp2 : OpRewritePattern<tile::Exp2Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::Exp2Op op, PatternRewriter &rewriter) const override {
    rewriter.replaceOp(op,
                       callNvvm(rewriter, op.getLoc(), "ex2.approx.ftz", op.getType(), op.getX()));
    return success();
  }
};

/// vector<2xbf16> or vector<2xf16>
VectorType getPairType(OpBuilder &builder, tile::Half half) {
  return VectorType::get({2}, half == tile::Half::BF16 ? Type(builder.getBF16Type())
                                                       : Type(builder.getF16Type()));
}

struct LowerPack : OpRewritePattern<tile::PackOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::PackOp op, PatternRewriter &rewriter) const override {
    StringRef type = op.getKind() == tile::Half::BF16 ? "bf16x2" : "f16x2";
    // The intrinsic's first operand becomes the upper half.
    Value pair = callNvvm(rewriter, op.getLoc(), "ff2" + type + ".rn",
                          getPairType(rewriter, op.getKind()), {op.getHigh(), op.getLow()});
    rewriter.replaceOpWithNewOp<LLVM::BitcastOp>(op, rewriter.getI32Type(), pair);
    return success();
  }
};

struct LowerUnpack : OpRewritePattern<tile::UnpackOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::UnpackOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value pair =
        LLVM::BitcastOp::create(rewriter, loc, getPairType(rewriter, op.getKind()), op.getPair());
    SmallVector<Value> halves;
    for (Value half : extractElements(rewriter, loc, pair))
      halves.push_back(LLVM::FPExtOp::create(rewriter, loc, rewriter.getF32Type(), half));
    rewriter.replaceOp(op, halves);
    return success();
  }
};

struct LowerTrap : OpRewritePattern<tile::TrapOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::TrapOp op, PatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<LLVM::Trap>(op);
    return success();
  }
};

} // namespace

void populateGpuToPtxPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerSpecialRegister, LowerShared, LowerLoad, LowerStore, LowerAtomic,
               LowerBarrierSync, LowerBarrierArrive, LowerGridSync, LowerFence, LowerWarpSync,
               LowerShuffle, LowerBallot, LowerElect, LowerExp2, LowerPack, LowerUnpack, LowerTrap>(
      patterns.getContext());
}

} // namespace mlir::mohd
