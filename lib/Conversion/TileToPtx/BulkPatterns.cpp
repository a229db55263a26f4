// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX for barriers in shared memory, TMA, and the number of registers.
//
//   tile.tma_load %to, %map[%k, %row], %barrier
// becomes
//   llvm.inline_asm has_side_effects "cp.async.bulk.tensor.2d... [$0], [$1, {$2, $3}], [$4];", "r,l,r,r,r,~{memory}" ...
//
// Test: test/Conversion/TileToPtx/bulk.mlir.
#include "PtxAssembly.h"

#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::mohd {
namespace {

struct LowerMbarrierInit : OpRewritePattern<tile::MbarrierInitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MbarrierInitOp op, PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string barrier = assembly.addShared(op.getBarrier());
    std::string count = assembly.addOperand("r", op.getCount());
    assembly.emit("mbarrier.init.shared::cta.b64 [" + barrier + "], " + count + ";",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerMbarrierArrive : OpRewritePattern<tile::MbarrierArriveOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MbarrierArriveOp op,
                                PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string barrier = assembly.addShared(op.getBarrier());
    assembly.emit("mbarrier.arrive.shared::cta.b64 _, [" + barrier + "];",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerMbarrierExpect : OpRewritePattern<tile::MbarrierExpectOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MbarrierExpectOp op,
                                PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string barrier = assembly.addShared(op.getBarrier());
    std::string bytes = assembly.addOperand("r", op.getBytes());
    assembly.emit("mbarrier.arrive.expect_tx.shared::cta.b64 _, [" + barrier + "], " + bytes + ";",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerMbarrierWait : OpRewritePattern<tile::MbarrierWaitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MbarrierWaitOp op, PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string barrier = assembly.addShared(op.getBarrier());
    std::string parity = assembly.addOperand("r", op.getParity());
    // try_wait gives up after a time that the system sets. Labels are local to the braces.
    assembly.emit("{ .reg .pred done; try: mbarrier.try_wait.parity.shared::cta.b64 done, [" +
                      barrier + "], " + parity + "; @!done bra try; }",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

/// Adds a tensor map and coordinates to an instruction; returns "[map, {c0, ...}]".
std::string addTile(PtxAssembly &assembly, Value map, ValueRange coordinates) {
  std::string name = assembly.addOperand("l", map);
  return "[" + name + ", {" + assembly.addOperands("r", coordinates) + "}]";
}

struct LowerTmaLoad : OpRewritePattern<tile::TmaLoadOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::TmaLoadOp op, PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string to = assembly.addShared(op.getTo());
    std::string from = addTile(assembly, op.getMap(), op.getCoordinates());
    std::string barrier = assembly.addShared(op.getBarrier());
    assembly.emit("cp.async.bulk.tensor." + Twine(op.getCoordinates().size()) +
                      "d.shared::cluster.global.mbarrier::complete_tx::bytes [" + to + "], " +
                      from + ", [" + barrier + "];",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerTmaStore : OpRewritePattern<tile::TmaStoreOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::TmaStoreOp op, PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string to = addTile(assembly, op.getMap(), op.getCoordinates());
    std::string from = assembly.addShared(op.getFrom());
    assembly.emit("cp.async.bulk.tensor." + Twine(op.getCoordinates().size()) +
                      "d.global.shared::cta.bulk_group " + to + ", [" + from + "];",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerTmaStoreCommit : OpRewritePattern<tile::TmaStoreCommitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::TmaStoreCommitOp op,
                                PatternRewriter &rewriter) const override {
    PtxAssembly(rewriter, op.getLoc()).emit("cp.async.bulk.commit_group;", /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerTmaStoreWait : OpRewritePattern<tile::TmaStoreWaitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::TmaStoreWaitOp op, PatternRewriter &rewriter) const override {
    StringRef read = op.getRead() ? ".read" : "";
    PtxAssembly(rewriter, op.getLoc())
        .emit("cp.async.bulk.wait_group" + read + " " + Twine(op.getPending()) + ";",
              /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerSetMaxRegisters : OpRewritePattern<tile::SetMaxRegistersOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::SetMaxRegistersOp op,
                                PatternRewriter &rewriter) const override {
    StringRef direction = op.getIncrease() ? "inc" : "dec";
    Value registers = LLVM::ConstantOp::create(rewriter, op.getLoc(), rewriter.getI32Type(),
                                               int64_t(op.getRegisters()));
    callNvvm(rewriter, op.getLoc(), "setmaxnreg." + direction + ".sync.aligned.u32", nullptr,
             registers);
    rewriter.eraseOp(op);
    return success();
  }
};

} // namespace

void populateBulkToPtxPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerMbarrierInit, LowerMbarrierArrive, LowerMbarrierExpect, LowerMbarrierWait,
               LowerTmaLoad, LowerTmaStore, LowerTmaStoreCommit, LowerTmaStoreWait,
               LowerSetMaxRegisters>(patterns.getContext());
}

} // namespace mlir::mohd
