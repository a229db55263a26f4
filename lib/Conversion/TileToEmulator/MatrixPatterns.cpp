// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emulator calls for matrices: fragments are handed over in slots on the thread's stack, and the sums of a warpgroup's products stay in one.
//
//   %f = tile.load_matrix %row : vector<4xi32>
// becomes, with the slot made where the kernel starts,
//   llvm.call %function(%row, 4, 0, %slot, %site)
//   %f = llvm.load %slot : vector<4xi32>
//
// Test: test/Conversion/TileToEmulator/matrix.mlir.
#include "EmulatorCalls.h"

#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

namespace mlir::mohd {
namespace {

struct LowerLoadMatrix : EmulatorPattern<tile::LoadMatrixOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::LoadMatrixOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Type type = op->getResult(0).getType();
    Value count = createI32(rewriter, loc, cast<VectorType>(type).getNumElements());
    Value transposed = createI32(rewriter, loc, op.getTransposed());
    Value slot = calls.createSlot(rewriter, op, type);
    calls.call(rewriter, op, EmulatorFunction::load_matrix, {op.getRow(), count, transposed, slot});
    rewriter.replaceOpWithNewOp<LLVM::LoadOp>(op, type, slot);
    return success();
  }
};

struct LowerStoreMatrix : EmulatorPattern<tile::StoreMatrixOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::StoreMatrixOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value words = op.getFragments();
    Value count = createI32(rewriter, loc, cast<VectorType>(words.getType()).getNumElements());
    Value transposed = createI32(rewriter, loc, op.getTransposed());
    Value slot = calls.createSlotWith(rewriter, op, words);
    calls.call(rewriter, op, EmulatorFunction::store_matrix,
               {op.getRow(), count, transposed, slot});
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerMma : EmulatorPattern<tile::MmaOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::MmaOp op, PatternRewriter &rewriter) const override {
    Type type = op->getResult(0).getType();
    Value a = calls.createSlotWith(rewriter, op, op.getA());
    Value b = calls.createSlotWith(rewriter, op, op.getB());
    Value c = calls.createSlotWith(rewriter, op, op.getC());
    Value d = calls.createSlot(rewriter, op, type);
    Value kind = createI32(rewriter, op.getLoc(), int64_t(op.getKind()));
    calls.call(rewriter, op, EmulatorFunction::mma, {kind, a, b, c, d});
    rewriter.replaceOpWithNewOp<LLVM::LoadOp>(op, type, d);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Products of a warpgroup
//===----------------------------------------------------------------------===//

/// The number of columns of sums: of a result, whose type is not converted yet.
int64_t getColumns(Operation *op) {
  return cast<tile::SumsType>(op->getResult(0).getType()).getColumns();
}

struct LowerWgmmaInit : EmulatorPattern<tile::WgmmaInitOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::WgmmaInitOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    int64_t count = getColumns(op) / 2;
    auto type = VectorType::get({count}, rewriter.getF32Type());
    Value slot = calls.createSlot(rewriter, op, type);
    Value bytes = createI32(rewriter, loc, count * 4);
    calls.call(rewriter, op, EmulatorFunction::wgmma_check, {slot, bytes});
    // Not memset: kernels link against nothing.
    LLVM::StoreOp::create(rewriter, loc, LLVM::ZeroOp::create(rewriter, loc, type), slot,
                          /*alignment=*/16);
    rewriter.replaceOp(op, slot);
    return success();
  }
};

struct LowerWgmma : EmulatorPattern<tile::WgmmaOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::WgmmaOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value a = op.getA(), words;
    if (a.getType().isInteger(64)) {
      words = LLVM::ZeroOp::create(rewriter, loc, LLVM::LLVMPointerType::get(getContext()));
    } else {
      // A slot of its own: the emulator reads it at the wait, as the hardware may read registers.
      words = calls.createSlotWith(rewriter, op, a);
      a = LLVM::ConstantOp::create(rewriter, loc, rewriter.getI64Type(), 0);
    }
    Value sums = op.getSumsMutable().get();
    Value accumulates =
        LLVM::ZExtOp::create(rewriter, loc, rewriter.getI32Type(), op.getAccumulates());
    calls.call(rewriter, op, EmulatorFunction::wgmma,
               {createI32(rewriter, loc, int64_t(op.getKind())),
                createI32(rewriter, loc, getColumns(op)), a, words, op.getB(),
                createI32(rewriter, loc, op.getATransposed()),
                createI32(rewriter, loc, op.getBTransposed()), accumulates, sums});
    rewriter.replaceOp(op, sums);
    return success();
  }
};

struct LowerWgmmaWait : EmulatorPattern<tile::WgmmaWaitOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::WgmmaWaitOp op, PatternRewriter &rewriter) const override {
    calls.call(rewriter, op, EmulatorFunction::wgmma_wait,
               createI32(rewriter, op.getLoc(), op.getPending()));
    rewriter.replaceOp(op, op->getOperands());
    return success();
  }
};

struct LowerWgmmaRead : EmulatorPattern<tile::WgmmaReadOp> {
  using EmulatorPattern::EmulatorPattern;

  LogicalResult matchAndRewrite(tile::WgmmaReadOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value place = LLVM::GEPOp::create(rewriter, loc, LLVM::LLVMPointerType::get(getContext()),
                                      rewriter.getF32Type(), op->getOperand(0),
                                      ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(op.getIndex()))});
    calls.call(rewriter, op, EmulatorFunction::wgmma_check, {place, createI32(rewriter, loc, 4)});
    rewriter.replaceOpWithNewOp<LLVM::LoadOp>(op, rewriter.getF32Type(), place);
    return success();
  }
};

} // namespace

void populateMatrixToEmulatorPatterns(RewritePatternSet &patterns, EmulatorCalls &calls) {
  patterns.add<LowerLoadMatrix, LowerStoreMatrix, LowerMma, LowerWgmmaInit, LowerWgmma,
               LowerWgmmaWait, LowerWgmmaRead>(patterns.getContext(), calls);
}

} // namespace mlir::mohd
