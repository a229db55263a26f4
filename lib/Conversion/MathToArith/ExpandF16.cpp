// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversions between f16 and f32 in integer arithmetic, for targets that would call a library.
//
//   %y = arith.extf %x : f16 to f32   ->   %b = arith.bitcast %x : f16 to i16; shifts, a multiplication by 2^112, a choice for Inf
//
// Before and after: test/Docs/expand-f16.mlir.
#include "mohd/Conversion/Passes.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_EXPANDF16PASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

/// Arithmetic on the bits of floats: scalars, or vectors of the shape of `shape`.
struct Bits {
  ImplicitLocOpBuilder &b;
  Type shape;

  Type type(Type element) {
    auto vector = dyn_cast<VectorType>(shape);
    return vector ? Type(vector.clone(element)) : element;
  }
  Type i16() { return type(b.getI16Type()); }
  Type i32() { return type(b.getI32Type()); }
  Type f32() { return type(b.getF32Type()); }
  Value constant(int32_t value) {
    if (auto vector = dyn_cast<VectorType>(i32()))
      return arith::ConstantOp::create(b,
                                       DenseElementsAttr::get(vector, b.getI32IntegerAttr(value)));
    return arith::ConstantOp::create(b, b.getI32IntegerAttr(value));
  }
  Value toFloat(Value x) { return arith::BitcastOp::create(b, f32(), x); }
  Value toBits(Value x) { return arith::BitcastOp::create(b, i32(), x); }
  Value add(Value x, int32_t y) { return arith::AddIOp::create(b, x, constant(y)); }
  Value mask(Value x, int32_t y) { return arith::AndIOp::create(b, x, constant(y)); }
  Value left(Value x, int32_t y) { return arith::ShLIOp::create(b, x, constant(y)); }
  Value right(Value x, int32_t y) { return arith::ShRUIOp::create(b, x, constant(y)); }
  Value join(Value x, Value y) { return arith::OrIOp::create(b, x, y); }
  Value isAtLeast(Value x, int32_t y) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::uge, x, constant(y));
  }
  Value select(Value condition, Value x, Value y) {
    return arith::SelectOp::create(b, condition, x, y);
  }
};

struct ExpandExtF : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isF16() || !getElementTypeOrSelf(op.getType()).isF32())
      return rewriter.notifyMatchFailure(op, "needs f16 to f32");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Bits bits{b, op.getType()};
    Value half = arith::BitcastOp::create(b, bits.i16(), op.getIn());
    half = arith::ExtUIOp::create(b, bits.i32(), half);
    Value sign = bits.left(bits.mask(half, 0x8000), 16), magnitude = bits.mask(half, 0x7FFF);
    // Exponent and mantissa in f32's places; the multiplication corrects the bias and normalises small numbers.
    Value shifted = bits.left(magnitude, 13), bias = bits.toFloat(bits.constant((127 + 112) << 23));
    Value finite = bits.toBits(arith::MulFOp::create(b, bits.toFloat(shifted), bias));
    Value infinite = bits.join(shifted, bits.constant(0x7F800000)); // or NaN
    Value result = bits.select(bits.isAtLeast(magnitude, 0x7C00), infinite, finite);
    rewriter.replaceOp(op, bits.toFloat(bits.join(sign, result)));
    return success();
  }
};

struct ExpandTruncF : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isF32() || !getElementTypeOrSelf(op.getType()).isF16())
      return rewriter.notifyMatchFailure(op, "needs f32 to f16");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Bits bits{b, op.getIn().getType()};
    Value full = bits.toBits(op.getIn());
    Value sign = bits.mask(bits.right(full, 16), 0x8000), magnitude = bits.mask(full, 0x7FFFFFFF);
    // A number below 2^-14, the least normal one: adding 0.5 rounds it to a multiple of 2^-24 and leaves it in the low bits.
    Value half = bits.toFloat(bits.constant(0x3F000000));
    Value sum = arith::AddFOp::create(b, bits.toFloat(magnitude), half);
    Value small = bits.add(bits.toBits(sum), -0x3F000000);
    // A normal one: exponent corrected, the 13 bits rounded to nearest even; a carry may make it Inf.
    Value odd = bits.mask(bits.right(magnitude, 13), 1);
    Value rounded = bits.add(magnitude, -(112 << 23) + 0xFFF);
    Value normal = bits.right(arith::AddIOp::create(b, rounded, odd), 13);
    // From 2^16 on Inf, and a NaN becomes the quiet one.
    Value large = bits.select(bits.isAtLeast(magnitude, 0x7F800001), bits.constant(0x7E00),
                              bits.constant(0x7C00));

    Value result = bits.select(bits.isAtLeast(magnitude, (127 - 14) << 23), normal, small);
    result = bits.select(bits.isAtLeast(magnitude, (127 + 16) << 23), large, result);
    Value narrow = arith::TruncIOp::create(b, bits.i16(), bits.join(sign, result));
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), narrow);
    return success();
  }
};

struct ExpandF16Pass : impl::ExpandF16PassBase<ExpandF16Pass> {
  using Base::Base;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandExtF, ExpandTruncF>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace mlir::mohd
