// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the two lowerings of GPU kernels share: the walk over a kernel, and what is plain arithmetic in both.
//
// Patterns replace ops one by one, and values that they do not touch (arguments of loops and branches) get
// their new types afterwards. A dialect conversion would need patterns for every op that passes values on.
#include "mohd/Conversion/TileKernels/TileKernels.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/Rewrite/FrozenRewritePatternSet.h"
#include "mlir/Transforms/RegionUtils.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::mohd {

SmallVector<LLVM::LLVMFuncOp> getTileKernels(ModuleOp module) {
  SmallVector<LLVM::LLVMFuncOp> kernels;
  for (auto function : module.getOps<LLVM::LLVMFuncOp>())
    if (function->hasAttr(tile::kKernelAttr) && !function.isExternal())
      kernels.push_back(function);
  return kernels;
}

/// Gives the values that `op` defines their new types.
static void convertTypes(Operation *op, function_ref<Type(Type)> convertType) {
  for (Value result : op->getResults())
    result.setType(convertType(result.getType()));
  for (Region &region : op->getRegions())
    for (BlockArgument argument : region.getArguments())
      argument.setType(convertType(argument.getType()));
  for (Region &region : op->getRegions())
    for (Block &block : llvm::drop_begin(region))
      for (BlockArgument argument : block.getArguments())
        argument.setType(convertType(argument.getType()));
}

LogicalResult lowerTileKernel(LLVM::LLVMFuncOp kernel, const FrozenRewritePatternSet &patterns,
                              function_ref<Type(Type)> convertType) {
  IRRewriter rewriter(kernel.getContext());
  (void)eraseUnreachableBlocks(rewriter, kernel->getRegions()); // the walk leaves them out
  walkAndApplyPatterns(kernel, patterns);
  WalkResult result = kernel.walk([&](Operation *op) -> WalkResult {
    convertTypes(op, convertType);
    if (op->getName().getDialectNamespace() == tile::TileDialect::getDialectNamespace())
      return op->emitOpError("expects a CPU kernel, got '")
             << kernel.getSymName() << "', which has '" << tile::kKernelAttr << "'";
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

int64_t getShuffleClamp(tile::Shuffle kind, int64_t width) {
  return (32 - width) << 8 | (kind == tile::Shuffle::Up ? 0 : 31);
}

Value createI32(OpBuilder &builder, Location loc, int64_t value) {
  return LLVM::ConstantOp::create(builder, loc, builder.getI32Type(), value);
}

SmallVector<Value> extractElements(OpBuilder &builder, Location loc, Value vector) {
  SmallVector<Value> elements;
  for (int64_t i = 0, end = cast<VectorType>(vector.getType()).getNumElements(); i < end; ++i)
    elements.push_back(
        LLVM::ExtractElementOp::create(builder, loc, vector, createI32(builder, loc, i)));
  return elements;
}

Value createVector(OpBuilder &builder, Location loc, ValueRange elements) {
  auto type = VectorType::get({int64_t(elements.size())}, elements.front().getType());
  Value vector = LLVM::PoisonOp::create(builder, loc, type);
  for (auto [i, element] : llvm::enumerate(elements))
    vector = LLVM::InsertElementOp::create(builder, loc, vector, element,
                                           createI32(builder, loc, int64_t(i)));
  return vector;
}

namespace {

struct LowerMatrixDescriptor : OpRewritePattern<tile::MatrixDescriptorOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tile::MatrixDescriptorOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Type i64 = rewriter.getI64Type();
    uint64_t rest = uint64_t(op.getLeading() / 16) << 16 | uint64_t(op.getStride() / 16) << 32 |
                    uint64_t(op.getSwizzle()) << 62;
    Value address = LLVM::PtrToIntOp::create(rewriter, loc, i64, op.getStart());
    Value mask = LLVM::ConstantOp::create(rewriter, loc, i64, kSharedAddressMask);
    Value four = LLVM::ConstantOp::create(rewriter, loc, i64, 4);
    Value bits = LLVM::ConstantOp::create(rewriter, loc, i64, int64_t(rest));
    Value inWindow = LLVM::AndOp::create(rewriter, loc, address, mask);
    Value start = LLVM::LShrOp::create(rewriter, loc, inWindow, four);
    rewriter.replaceOpWithNewOp<LLVM::OrOp>(op, start, bits);
    return success();
  }
};

} // namespace

void populateMatrixDescriptorPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerMatrixDescriptor>(patterns.getContext());
}

} // namespace mlir::mohd
