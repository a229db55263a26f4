// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversion of the tile dialect to the llvm dialect: a kernel's parameters and buffers become
// loads from its two arrays.
//
//   %n = tile.param %params[1]            ->  %n = llvm.load %params[8 bytes on] : i64
//   %x = tile.binding %bindings[0] (%n)   ->  %p = llvm.load %bindings : !llvm.ptr, and a descriptor
//        : memref<?x64xf32>                   {%p, %p, 0, [%n, 64], [64, 1]}
//
// Before and after: test/Docs/tile-to-llvm.mlir.
#include "mohd/Conversion/TileToLLVM/TileToLLVM.h"

#include "mohd/Conversion/Passes.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_CONVERTTILETOLLVMPASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

/// The `index`-th 64-bit element of `array`, of type `type`.
Value loadElement(OpBuilder &builder, Location loc, Type type, Value array, int64_t index) {
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  Value place = LLVM::GEPOp::create(builder, loc, pointer, builder.getI64Type(), array,
                                    ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(index))});
  return LLVM::LoadOp::create(builder, loc, type, place);
}

struct ConvertParam : ConvertOpToLLVMPattern<tile::ParamOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult matchAndRewrite(tile::ParamOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    Value value = loadElement(rewriter, op.getLoc(), rewriter.getI64Type(), adaptor.getParams(),
                              op.getIndex());
    if (value.getType() != getIndexType()) // an index of 32 bits: params are sizes, which fit
      value = LLVM::TruncOp::create(rewriter, op.getLoc(), getIndexType(), value);
    rewriter.replaceOp(op, value);
    return success();
  }
};

struct ConvertBinding : ConvertOpToLLVMPattern<tile::BindingOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult matchAndRewrite(tile::BindingOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto type = cast<MemRefType>(op.getType());
    if (!isConvertibleAndHasIdentityMaps(type))
      return rewriter.notifyMatchFailure(op, "needs a memref that has a descriptor");
    SmallVector<Value> sizes, strides;
    Value byteSize;
    getMemRefDescriptorSizes(loc, type, adaptor.getSizes(), rewriter, sizes, strides, byteSize,
                             /*sizeInBytes=*/false);
    Value data = loadElement(rewriter, loc, LLVM::LLVMPointerType::get(getContext()),
                             adaptor.getBindings(), op.getIndex());
    rewriter.replaceOp(op,
                       {createMemRefDescriptor(loc, type, data, data, sizes, strides, rewriter)});
    return success();
  }
};

struct ConvertTileToLLVMPass : impl::ConvertTileToLLVMPassBase<ConvertTileToLLVMPass> {
  using Base::Base;

  void runOnOperation() override {
    LLVMTypeConverter converter(&getContext());
    LLVMConversionTarget target(getContext());
    target.addIllegalDialect<tile::TileDialect>();
    RewritePatternSet patterns(&getContext());
    populateTileToLLVMPatterns(converter, patterns);
    ConversionConfig config;
    config.allowPatternRollback = false;
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace

void populateTileToLLVMPatterns(const LLVMTypeConverter &converter, RewritePatternSet &patterns) {
  patterns.add<ConvertParam, ConvertBinding>(converter);
}

} // namespace mlir::mohd
