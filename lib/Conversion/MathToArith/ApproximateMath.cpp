// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mathematical functions as code that calls no library: MLIR's polynomials for f32, and sine and
// cosine in f64.
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

/// Scalar or vector arithmetic of one type, f64 or i64 by element.
struct Arithmetic {
  ImplicitLocOpBuilder &b;
  Type type; // of f64

  Value splat(Type element, TypedAttr value) {
    Type full = withElement(type, element);
    if (auto vector = dyn_cast<VectorType>(full))
      return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, Attribute(value)));
    return arith::ConstantOp::create(b, value);
  }
  Value f64(double value) { return splat(b.getF64Type(), b.getF64FloatAttr(value)); }
  Value i64(int64_t value) { return splat(b.getI64Type(), b.getI64IntegerAttr(value)); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  /// c[0] + x * (c[1] + x * (...)).
  Value polynomial(Value x, ArrayRef<double> coefficients) {
    Value result = f64(coefficients.back());
    for (double coefficient : llvm::reverse(coefficients.drop_back()))
      result = add(f64(coefficient), mul(x, result));
    return result;
  }
  /// True where bit `bit` of the integers `value` is set.
  Value testBit(Value value, int64_t bit) {
    Value masked = arith::AndIOp::create(b, value, i64(int64_t(1) << bit));
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, masked, i64(0));
  }
};

/// Sine (or, a quarter turn ahead, cosine) of f64 `x`, within 2 ulp for |x| up to 2^20; reduction
/// in three steps and polynomials as in fdlibm (k_sin.c, k_cos.c, e_rem_pio2.c).
Value sineF64(ImplicitLocOpBuilder &b, Value x, bool cosine) {
  Arithmetic a{b, x.getType()};
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
  Value magic = a.f64(0x1.8p52);
  Value shifted = a.add(a.mul(x, a.f64(0x1.45f306dc9c883p-1)), magic); // x * 2/pi
  Value k = a.sub(shifted, magic);
  Value quadrant = arith::BitcastOp::create(b, withElement(x.getType(), b.getI64Type()), shifted);
  if (cosine)
    quadrant = arith::AddIOp::create(b, quadrant, a.i64(1));
  // pi/2 in two parts of 33 bits, exact when multiplied by k < 2^20, and a rest.
  Value r = x;
  for (double part :
       {1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624879595063154e-21})
    r = a.sub(r, a.mul(k, a.f64(part)));

  Value z = a.mul(r, r);
  Value sine = a.polynomial(z, {-1.66666666666666324348e-01, 8.33333333332248946124e-03,
                                -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                -2.50507602534068634195e-08, 1.58969099521155010221e-10});
  sine = a.add(r, a.mul(a.mul(r, z), sine));
  Value cos = a.polynomial(z, {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                               2.48015872894767294178e-05, -2.75573143513906633035e-07,
                               2.08757232129817482790e-09, -1.13596475577881948265e-11});
  cos = a.sub(a.f64(1.0), a.sub(a.mul(z, a.f64(0.5)), a.mul(a.mul(z, z), cos)));

  Value result = arith::SelectOp::create(b, a.testBit(quadrant, 0), cos, sine);
  return arith::SelectOp::create(b, a.testBit(quadrant, 1), arith::NegFOp::create(b, result),
                                 result);
}

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
      return name != math::SinOp::getOperationName() && name != math::CosOp::getOperationName();
    };
    // 16-bit functions are computed in f32.
    populateMathF32ExpansionPatterns(patterns, [](StringRef) { return true; });
    populateMathPolynomialApproximationPatterns(patterns, hasNoOwnPattern);
    math::populateExpansionPatterns(patterns, {"rsqrt"});
    patterns.add<ExpandSine<math::SinOp, false>, ExpandSine<math::CosOp, true>, RelaxFma>(
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
