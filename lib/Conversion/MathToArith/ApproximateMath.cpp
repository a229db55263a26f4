// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mathematical functions as code that calls no library: MLIR's polynomials for f32, an exponential that takes
// fewer operations than MLIR's, and sine and cosine in f64.
//
//   %y = math.sin %x : f64   ->   %k = round(%x * 2/pi); %r = %x - %k * pi/2; sine or cosine of %r
//   by %k mod 4
//
// Before and after: test/Docs/approximate-math.mlir.
#include "mohd/Conversion/Passes.h"

#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_APPROXIMATEMATHPASS
#include "mohd/Conversion/Passes.h.inc"

namespace {

/// `type` with `element` as its element type: a scalar or a vector of the same shape.
Type withElement(Type type, Type element) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.clone(element);
  return element;
}

/// Scalar or vector arithmetic of one type, and of integers of the same width.
struct Arithmetic {
  ImplicitLocOpBuilder &b;
  Type type; // of f64 or f32

  Value splat(Type element, TypedAttr value) {
    Type full = withElement(type, element);
    if (auto vector = dyn_cast<VectorType>(full))
      return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, Attribute(value)));
    return arith::ConstantOp::create(b, value);
  }
  Type integerType() {
    return b.getIntegerType(getElementTypeOrSelf(type).getIntOrFloatBitWidth());
  }
  Value real(double value) {
    Type element = getElementTypeOrSelf(type);
    return splat(element, b.getFloatAttr(element, value));
  }
  Value integer(int64_t value) {
    return splat(integerType(), b.getIntegerAttr(integerType(), value));
  }
  Value bits(Value x) { return arith::BitcastOp::create(b, withElement(type, integerType()), x); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  /// x * y + z; need not be fused.
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, x, y, z); }
  /// x within [low, high]; a NaN stays.
  Value clamp(Value x, double low, double high) {
    auto replace = [&](Value greater, Value less, Value bound) {
      Value outside = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, greater, less);
      x = arith::SelectOp::create(b, outside, bound, x);
    };
    replace(real(low), x, real(low));
    replace(x, real(high), real(high));
    return x;
  }
  /// c[0] + x * (c[1] + x * (...)).
  Value polynomial(Value x, ArrayRef<double> coefficients) {
    Value result = real(coefficients.back());
    for (double coefficient : llvm::reverse(coefficients.drop_back()))
      result = add(real(coefficient), mul(x, result));
    return result;
  }
  /// True where bit `bit` of the integers `value` is set.
  Value testBit(Value value, int64_t bit) {
    Value masked = arith::AndIOp::create(b, value, integer(int64_t(1) << bit));
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, masked, integer(0));
  }
};

/// Sine (or, a quarter turn ahead, cosine) of f64 `x`, within 2 ulp for |x| up to 2^20; reduction
/// in three steps and polynomials as in fdlibm (k_sin.c, k_cos.c, e_rem_pio2.c).
Value sineF64(ImplicitLocOpBuilder &b, Value x, bool cosine) {
  Arithmetic a{b, x.getType()};
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
  Value magic = a.real(0x1.8p52);
  Value shifted = a.add(a.mul(x, a.real(0x1.45f306dc9c883p-1)), magic); // x * 2/pi
  Value k = a.sub(shifted, magic);
  Value quadrant = a.bits(shifted);
  if (cosine)
    quadrant = arith::AddIOp::create(b, quadrant, a.integer(1));
  // pi/2 in two parts of 33 bits, exact when multiplied by k < 2^20, and a rest.
  Value r = x;
  for (double part :
       {1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624879595063154e-21})
    r = a.sub(r, a.mul(k, a.real(part)));

  Value z = a.mul(r, r);
  Value sine = a.polynomial(z, {-1.66666666666666324348e-01, 8.33333333332248946124e-03,
                                -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                -2.50507602534068634195e-08, 1.58969099521155010221e-10});
  sine = a.add(r, a.mul(a.mul(r, z), sine));
  Value cos = a.polynomial(z, {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                               2.48015872894767294178e-05, -2.75573143513906633035e-07,
                               2.08757232129817482790e-09, -1.13596475577881948265e-11});
  cos = a.sub(a.real(1.0), a.sub(a.mul(z, a.real(0.5)), a.mul(a.mul(z, z), cos)));

  Value result = arith::SelectOp::create(b, a.testBit(quadrant, 0), cos, sine);
  return arith::SelectOp::create(b, a.testBit(quadrant, 1), arith::NegFOp::create(b, result),
                                 result);
}

/// Exponential of f32 `x`, within 1.2 ulp; results below 2^-125.5 are 0. Reduction in two steps and polynomial as in Cephes (expf.c).
Value expF32(ImplicitLocOpBuilder &b, Value x) {
  Arithmetic a{b, x.getType()};
  // From here on the result is 0, or Inf; a NaN stays one.
  x = a.clamp(x, -87.34, 89.0);
  // Adding 1.5 * 2^23 rounds to an integer k and leaves it in the low bits; with 126 more they are the exponent of 2^(k-1), which is a
  // number for every k from -126 (0 then) to 128.
  Value magic = a.real(0x1.8p23 + 126);
  Value shifted = a.fma(x, a.real(1.44269504088896341), magic); // x * 1/ln(2)
  Value k = a.sub(shifted, magic);
  Value shift = arith::ShLIOp::create(b, a.bits(shifted), a.integer(23));
  Value half = arith::BitcastOp::create(b, x.getType(), shift);
  // ln(2) in a part that is exact when multiplied by k, and a rest.
  Value r = a.fma(k, a.real(-0.693359375), x);
  r = a.fma(k, a.real(2.12194440e-4), r);
  Value sum = a.real(1.9875691500e-4);
  for (double coefficient :
       {1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1})
    sum = a.fma(sum, r, a.real(coefficient));
  sum = a.fma(sum, a.mul(r, r), r); // e^r - 1
  Value result = a.fma(sum, half, half);
  return a.add(result, result);
}

/// Lowers `math.exp` on f32.
struct ExpandExp : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32())
      return rewriter.notifyMatchFailure(op, "needs f32");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    rewriter.replaceOp(op, expF32(b, op.getOperand()));
    return success();
  }
};

/// Lowers `math.sin` and `math.cos` on f64 and f32.
template <typename Op, bool cosine> struct ExpandSine : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Type type = op.getType(), element = getElementTypeOrSelf(type);
    if (!element.isF32() && !element.isF64())
      return rewriter.notifyMatchFailure(op, "needs f32 or f64");
    Value x = op.getOperand();
    if (element.isF32())
      x = arith::ExtFOp::create(b, withElement(type, b.getF64Type()), x);
    Value result = sineF64(b, x, cosine);
    if (element.isF32())
      result = arith::TruncFOp::create(b, type, result);
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// `math.fma` must be fused and so calls fmaf where the target has no such instruction; `fmuladd`
/// need not be.
struct RelaxFma : OpRewritePattern<math::FmaOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::FmaOp op, PatternRewriter &rewriter) const override {
    auto vector = dyn_cast<VectorType>(op.getType());
    if (vector && vector.getRank() != 1)
      return rewriter.notifyMatchFailure(op, "needs a scalar or a vector of rank 1");
    rewriter.replaceOpWithNewOp<LLVM::FMulAddOp>(op, op.getA(), op.getB(), op.getC());
    return success();
  }
};

/// True if every target does `op` without a library.
bool isNative(Operation *op) {
  return !isa<math::MathDialect>(op->getDialect()) ||
         isa<math::AbsFOp, math::AbsIOp, math::CopySignOp, math::CountLeadingZerosOp,
             math::CountTrailingZerosOp, math::CtPopOp, math::SqrtOp, math::FloorOp, math::CeilOp,
             math::TruncOp, math::RoundOp, math::RoundEvenOp, math::IsNaNOp, math::IsInfOp,
             math::IsFiniteOp, math::IsNormalOp>(op);
}

struct ApproximateMathPass : impl::ApproximateMathPassBase<ApproximateMathPass> {
  using Base::Base;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    auto hasNoOwnPattern = [](StringRef name) {
      return name != math::SinOp::getOperationName() && name != math::CosOp::getOperationName() &&
             name != math::ExpOp::getOperationName();
    };
    // 16-bit functions are computed in f32.
    populateMathF32ExpansionPatterns(patterns, [](StringRef) { return true; });
    populateMathPolynomialApproximationPatterns(patterns, hasNoOwnPattern);
    math::populateExpansionPatterns(patterns, {"rsqrt"});
    patterns
        .add<ExpandExp, ExpandSine<math::SinOp, false>, ExpandSine<math::CosOp, true>, RelaxFma>(
            &getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([&](Operation *op) {
      if (isNative(op))
        return;
      op->emitOpError("has no approximation for ")
          << op->getResult(0).getType() << ", and kernels call no library";
      signalPassFailure();
    });
  }
};

} // namespace
} // namespace mlir::mohd
