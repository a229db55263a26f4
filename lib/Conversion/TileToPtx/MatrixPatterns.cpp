// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX for asynchronous copies and for products of a warp and a warpgroup.
//
//   %d = tile.wgmma bf16 %a, %b, %c accumulates %more : i64, !tile.sums<64x8>
// becomes, with the sums tied to the results,
//   %d = llvm.inline_asm has_side_effects "{ .reg .pred p; setp.ne.b32 p, $6, 0; wgmma.mma_async... {$0, $1, $2, $3}, $4, $5, p, ...; }",
//        "=f,=f,=f,=f,l,l,r,0,1,2,3" %a, %b, %more32, %c0, %c1, %c2, %c3
//
// Test: test/Conversion/TileToPtx/matrix.mlir.
#include "PtxAssembly.h"

#include "mohd/Conversion/TileKernels/TileKernels.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::mohd {
namespace {

struct LowerCopyAsync : OpRewritePattern<tile::CopyAsyncOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::CopyAsyncOp op, PatternRewriter &rewriter) const override {
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string to = assembly.addShared(op.getTo());
    std::string from = assembly.addOperand("l", op.getFrom());
    StringRef cache = op.getBytes() == 16 ? "cg" : "ca"; // cg takes 16 bytes only
    std::string rest =
        op.getSourceBytes() ? ", " + assembly.addOperand("r", op.getSourceBytes()) : "";
    assembly.emit("cp.async." + cache + ".shared.global [" + to + "], [" + from + "], " +
                      Twine(op.getBytes()) + rest + ";",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerCopyAsyncCommit : OpRewritePattern<tile::CopyAsyncCommitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::CopyAsyncCommitOp op,
                                PatternRewriter &rewriter) const override {
    PtxAssembly(rewriter, op.getLoc()).emit("cp.async.commit_group;", /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerCopyAsyncWait : OpRewritePattern<tile::CopyAsyncWaitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::CopyAsyncWaitOp op,
                                PatternRewriter &rewriter) const override {
    PtxAssembly(rewriter, op.getLoc())
        .emit("cp.async.wait_group " + Twine(op.getPending()) + ";", /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Products of a warp
//===----------------------------------------------------------------------===//

/// The matrices that ldmatrix and stmatrix move: ".m8n8.x4.trans".
std::string getMatrices(int64_t count, bool isTransposed) {
  return ".m8n8.x" + std::to_string(count) + (isTransposed ? ".trans" : "");
}

struct LowerLoadMatrix : OpRewritePattern<tile::LoadMatrixOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::LoadMatrixOp op, PatternRewriter &rewriter) const override {
    int64_t count = cast<VectorType>(op.getType()).getNumElements();
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string results = assembly.addResults("r", rewriter.getI32Type(), count);
    std::string row = assembly.addShared(op.getRow());
    SmallVector<Value> words =
        assembly.emit("ldmatrix.sync.aligned" + getMatrices(count, op.getTransposed()) +
                          ".shared.b16 {" + results + "}, [" + row + "];",
                      /*clobbersMemory=*/true);
    rewriter.replaceOp(op, createVector(rewriter, op.getLoc(), words));
    return success();
  }
};

struct LowerStoreMatrix : OpRewritePattern<tile::StoreMatrixOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::StoreMatrixOp op, PatternRewriter &rewriter) const override {
    SmallVector<Value> values = extractElements(rewriter, op.getLoc(), op.getFragments());
    PtxAssembly assembly(rewriter, op.getLoc());
    std::string row = assembly.addShared(op.getRow());
    std::string words = assembly.addOperands("r", values);
    assembly.emit("stmatrix.sync.aligned" +
                      getMatrices(int64_t(values.size()), op.getTransposed()) + ".shared.b16 [" +
                      row + "], {" + words + "};",
                  /*clobbersMemory=*/true);
    rewriter.eraseOp(op);
    return success();
  }
};

/// Shape and types of mma.sync.
StringRef getMmaSuffix(tile::MmaKind kind) {
  switch (kind) {
  case tile::MmaKind::BF16:
    return "m16n8k16.row.col.f32.bf16.bf16.f32";
  case tile::MmaKind::F16:
    return "m16n8k16.row.col.f32.f16.f16.f32";
  case tile::MmaKind::TF32:
    return "m16n8k8.row.col.f32.tf32.tf32.f32";
  case tile::MmaKind::S8:
    break;
  }
  return "m16n8k32.row.col.s32.s8.s8.s32";
}

struct LowerMma : OpRewritePattern<tile::MmaOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MmaOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Type element = op.getC().getType().getElementType();
    StringRef sums = op.getKind() == tile::MmaKind::S8 ? "r" : "f";
    PtxAssembly assembly(rewriter, loc);
    std::string d = assembly.addResults(sums, element, 4);
    std::string a = assembly.addOperands("r", extractElements(rewriter, loc, op.getA()));
    std::string b = assembly.addOperands("r", extractElements(rewriter, loc, op.getB()));
    std::string c = assembly.addOperands(sums, extractElements(rewriter, loc, op.getC()));
    SmallVector<Value> values =
        assembly.emit("mma.sync.aligned." + getMmaSuffix(op.getKind()) + " {" + d + "}, {" + a +
                          "}, {" + b + "}, {" + c + "};",
                      /*clobbersMemory=*/false);
    rewriter.replaceOp(op, createVector(rewriter, loc, values));
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Products of a warpgroup
//===----------------------------------------------------------------------===//

/// The f32 that a structure of sums has.
SmallVector<Value> extractSums(OpBuilder &builder, Location loc, Value sums, int64_t columns) {
  SmallVector<Value> values;
  for (int64_t i = 0; i < columns / 2; ++i)
    values.push_back(LLVM::ExtractValueOp::create(builder, loc, builder.getF32Type(), sums,
                                                  ArrayRef<int64_t>{i}));
  return values;
}

/// The structure of sums that has these f32.
Value insertSums(OpBuilder &builder, Location loc, ValueRange values) {
  Type type = getRegistersOfSums(builder.getContext(), int64_t(values.size()) * 2);
  Value sums = LLVM::PoisonOp::create(builder, loc, type);
  for (auto [i, value] : llvm::enumerate(values))
    sums = LLVM::InsertValueOp::create(builder, loc, sums, value, int64_t(i));
  return sums;
}

struct LowerWgmmaInit : OpRewritePattern<tile::WgmmaInitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaInitOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    int64_t count = cast<tile::SumsType>(op->getResult(0).getType()).getColumns() / 2;
    Type f32 = rewriter.getF32Type();
    Value zero = LLVM::ConstantOp::create(rewriter, loc, f32, rewriter.getF32FloatAttr(0));
    // Without an instruction here, an empty one, LLVM would set the registers to zero at the first
    // product, where others may be in flight already, and ptxas would have to wait for those.
    PtxAssembly assembly(rewriter, loc);
    assembly.addResults("f", f32, count);
    assembly.addTied(SmallVector<Value>(count, zero));
    rewriter.replaceOp(op, insertSums(rewriter, loc, assembly.emit("", /*clobbersMemory=*/false)));
    return success();
  }
};

struct LowerWgmmaFence : OpRewritePattern<tile::WgmmaFenceOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaFenceOp op, PatternRewriter &rewriter) const override {
    callNvvm(rewriter, op.getLoc(), "wgmma.fence.sync.aligned", nullptr);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerWgmma : OpRewritePattern<tile::WgmmaOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    // The operand has its new type already, the result not yet.
    int64_t columns = cast<tile::SumsType>(op->getResult(0).getType()).getColumns();
    bool hasDescriptor = op.getA().getType().isInteger(64);
    Value more = LLVM::ZExtOp::create(rewriter, loc, rewriter.getI32Type(), op.getAccumulates());

    PtxAssembly assembly(rewriter, loc);
    std::string d = assembly.addResults("f", rewriter.getF32Type(), columns / 2);
    std::string a =
        hasDescriptor
            ? assembly.addOperand("l", op.getA())
            : "{" + assembly.addOperands("r", extractElements(rewriter, loc, op.getA())) + "}";
    std::string b = assembly.addOperand("l", op.getB());
    std::string flag = assembly.addOperand("r", more);
    assembly.addTied(extractSums(rewriter, loc, op.getSumsMutable().get(), columns));
    StringRef type = tile::stringifyHalf(op.getKind());
    // After the flag: the signs of A and B, then for each descriptor whether it is transposed.
    std::string transposed = hasDescriptor ? (op.getATransposed() ? ", 1" : ", 0") : "";
    transposed += op.getBTransposed() ? ", 1" : ", 0";
    SmallVector<Value> values = assembly.emit(
        "{ .reg .pred p; setp.ne.b32 p, " + flag + ", 0; wgmma.mma_async.sync.aligned.m64n" +
            Twine(columns) + "k16.f32." + type + "." + type + " {" + d + "}, " + a + ", " + b +
            ", p, 1, 1" + transposed + "; }",
        /*clobbersMemory=*/true);
    rewriter.replaceOp(op, insertSums(rewriter, loc, values));
    return success();
  }
};

struct LowerWgmmaCommit : OpRewritePattern<tile::WgmmaCommitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaCommitOp op, PatternRewriter &rewriter) const override {
    callNvvm(rewriter, op.getLoc(), "wgmma.commit_group.sync.aligned", nullptr);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerWgmmaWait : OpRewritePattern<tile::WgmmaWaitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaWaitOp op, PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    SmallVector<Value> before;
    for (auto [sums, result] : llvm::zip_equal(op->getOperands(), op->getResults()))
      llvm::append_range(before, extractSums(rewriter, loc, sums,
                                             cast<tile::SumsType>(result.getType()).getColumns()));
    PtxAssembly assembly(rewriter, loc);
    assembly.addResults("f", rewriter.getF32Type(), int64_t(before.size()));
    assembly.addTied(before);
    SmallVector<Value> after = assembly.emit(
        "wgmma.wait_group.sync.aligned " + Twine(op.getPending()) + ";", /*clobbersMemory=*/true);

    SmallVector<Value> results;
    ArrayRef<Value> rest = after;
    for (Value result : op->getResults()) {
      size_t count = cast<tile::SumsType>(result.getType()).getColumns() / 2;
      results.push_back(insertSums(rewriter, loc, rest.take_front(count)));
      rest = rest.drop_front(count);
    }
    rewriter.replaceOp(op, results);
    return success();
  }
};

struct LowerWgmmaRead : OpRewritePattern<tile::WgmmaReadOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::WgmmaReadOp op, PatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<LLVM::ExtractValueOp>(op, op.getType(), op->getOperand(0),
                                                      ArrayRef<int64_t>{op.getIndex()});
    return success();
  }
};

} // namespace

void populateMatrixToPtxPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerCopyAsync, LowerCopyAsyncCommit, LowerCopyAsyncWait, LowerLoadMatrix,
               LowerStoreMatrix, LowerMma, LowerWgmmaInit, LowerWgmmaFence, LowerWgmma,
               LowerWgmmaCommit, LowerWgmmaWait, LowerWgmmaRead>(patterns.getContext());
}

} // namespace mlir::mohd
