// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic of terms.
#include "mohd/Conversion/MoHDToGpu/Term.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::mohd;

Term Term::like(int64_t number) const {
  if (isFloat())
    return like(double(number));
  auto attribute = IntegerAttr::get(getType(), number);
  return {*builder, arith::ConstantOp::create(*builder, attribute)};
}

Term Term::like(double number) const {
  assert(isFloat() && "a fraction beside an integer");
  return {*builder, arith::ConstantOp::create(*builder, FloatAttr::get(getType(), number))};
}

/// The result of `Integer` or `Float`, by the type of the operands.
template <typename Integer, typename Float> static Term apply(const Term &lhs, const Term &rhs) {
  assert(lhs.getType() == rhs.getType() && "operands of two types");
  ImplicitLocOpBuilder &b = *lhs.builder;
  if (lhs.isFloat())
    return {b, b.createOrFold<Float>(lhs.value, rhs.value)};
  return {b, b.createOrFold<Integer>(lhs.value, rhs.value)};
}

template <typename Integer> static Term applyToIntegers(const Term &lhs, const Term &rhs) {
  assert(!lhs.isFloat() && lhs.getType() == rhs.getType() && "operands of another type");
  return {*lhs.builder, lhs.builder->createOrFold<Integer>(lhs.value, rhs.value)};
}

static Term compare(const Term &lhs, const Term &rhs, arith::CmpIPredicate integer,
                    arith::CmpFPredicate fraction) {
  assert(lhs.getType() == rhs.getType() && "operands of two types");
  ImplicitLocOpBuilder &b = *lhs.builder;
  if (lhs.isFloat())
    return {b, b.createOrFold<arith::CmpFOp>(fraction, lhs.value, rhs.value)};
  return {b, b.createOrFold<arith::CmpIOp>(integer, lhs.value, rhs.value)};
}

Term Term::operator+(const Term &rhs) const {
  return apply<arith::AddIOp, arith::AddFOp>(*this, rhs);
}
Term Term::operator-(const Term &rhs) const {
  return apply<arith::SubIOp, arith::SubFOp>(*this, rhs);
}
Term Term::operator*(const Term &rhs) const {
  return apply<arith::MulIOp, arith::MulFOp>(*this, rhs);
}
Term Term::operator/(const Term &rhs) const {
  return apply<arith::DivUIOp, arith::DivFOp>(*this, rhs);
}
Term Term::operator%(const Term &rhs) const { return applyToIntegers<arith::RemUIOp>(*this, rhs); }
Term Term::operator&(const Term &rhs) const { return applyToIntegers<arith::AndIOp>(*this, rhs); }
Term Term::operator|(const Term &rhs) const { return applyToIntegers<arith::OrIOp>(*this, rhs); }
Term Term::operator^(const Term &rhs) const { return applyToIntegers<arith::XOrIOp>(*this, rhs); }
Term Term::operator<<(const Term &rhs) const { return applyToIntegers<arith::ShLIOp>(*this, rhs); }
Term Term::operator>>(const Term &rhs) const { return applyToIntegers<arith::ShRUIOp>(*this, rhs); }

Term Term::operator<(const Term &rhs) const {
  return compare(rhs, *this, arith::CmpIPredicate::sgt, arith::CmpFPredicate::OGT);
}
Term Term::operator<=(const Term &rhs) const {
  return compare(*this, rhs, arith::CmpIPredicate::sle, arith::CmpFPredicate::OLE);
}
Term Term::operator==(const Term &rhs) const {
  return compare(*this, rhs, arith::CmpIPredicate::eq, arith::CmpFPredicate::OEQ);
}
Term Term::operator!=(const Term &rhs) const {
  return compare(*this, rhs, arith::CmpIPredicate::ne, arith::CmpFPredicate::UNE);
}

Term mlir::mohd::select(const Term &condition, const Term &yes, const Term &no) {
  ImplicitLocOpBuilder &b = *condition.builder;
  return {b, b.createOrFold<arith::SelectOp>(condition.value, yes.value, no.value)};
}

Term mlir::mohd::min(const Term &lhs, const Term &rhs) {
  return apply<arith::MinSIOp, arith::MinNumFOp>(lhs, rhs);
}

Term mlir::mohd::max(const Term &lhs, const Term &rhs) {
  return apply<arith::MaxSIOp, arith::MaxNumFOp>(lhs, rhs);
}

Term mlir::mohd::fma(const Term &lhs, const Term &rhs, const Term &sum) {
  ImplicitLocOpBuilder &b = *lhs.builder;
  return {b, math::FmaOp::create(b, lhs.value, rhs.value, sum.value)};
}

Term mlir::mohd::ceilDiv(const Term &lhs, int64_t rhs) { return (lhs + (rhs - 1)) / rhs; }

Term mlir::mohd::logicalNot(const Term &condition) {
  return condition ^ condition.like(int64_t(1));
}

Term mlir::mohd::toI32(const Term &term) {
  ImplicitLocOpBuilder &b = *term.builder;
  Type i32 = b.getI32Type();
  if (term.getType() == i32)
    return term;
  if (term.getType().getIntOrFloatBitWidth() < 32)
    return {b, b.createOrFold<arith::ExtUIOp>(i32, term.value)};
  return {b, b.createOrFold<arith::TruncIOp>(i32, term.value)};
}

Term mlir::mohd::toI64(const Term &term) {
  ImplicitLocOpBuilder &b = *term.builder;
  Type i64 = b.getI64Type();
  if (term.getType() == i64)
    return term;
  return {b, b.createOrFold<arith::ExtSIOp>(i64, term.value)};
}

Term mlir::mohd::toF32(const Term &term) {
  ImplicitLocOpBuilder &b = *term.builder;
  return {b, b.createOrFold<arith::SIToFPOp>(b.getF32Type(), term.value)};
}

Term mlir::mohd::toBits(const Term &term) {
  ImplicitLocOpBuilder &b = *term.builder;
  return {b, arith::BitcastOp::create(b, b.getI32Type(), term.value)};
}

Term mlir::mohd::fromBits(const Term &term) {
  ImplicitLocOpBuilder &b = *term.builder;
  return {b, arith::BitcastOp::create(b, b.getF32Type(), term.value)};
}
