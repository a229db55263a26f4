// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values of a kernel with the arithmetic of their type, so that kernels read as formulas.
#ifndef MOHD_CONVERSION_MOHDTOGPU_TERM_H
#define MOHD_CONVERSION_MOHDTOGPU_TERM_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <type_traits>

namespace mlir::mohd {

/// A value of type i1, i32, i64 or f32 and the builder that its operators insert at. Both sides of an operator have one type; a C++ number
/// takes the type of the other side. Integers are compared as signed numbers, and divided and shifted right as unsigned ones: sizes and
/// indices are never negative. Operators on constants fold.
class Term {
public:
  Term() = default;
  Term(ImplicitLocOpBuilder &builder, Value value) : builder(&builder), value(value) {}

  operator Value() const { return value; }
  explicit operator bool() const { return bool(value); }
  Type getType() const { return value.getType(); }
  bool isFloat() const { return isa<FloatType>(getType()); }

  /// A constant of this term's type.
  Term like(int64_t number) const;
  Term like(double number) const;

  Term operator+(const Term &rhs) const;
  Term operator-(const Term &rhs) const;
  Term operator*(const Term &rhs) const;
  Term operator/(const Term &rhs) const;
  Term operator%(const Term &rhs) const;
  Term operator&(const Term &rhs) const;
  Term operator|(const Term &rhs) const;
  Term operator^(const Term &rhs) const;
  Term operator<<(const Term &rhs) const;
  Term operator>>(const Term &rhs) const;
  /// Of type i1; false where a float is a NaN, except for !=.
  Term operator<(const Term &rhs) const;
  Term operator<=(const Term &rhs) const;
  Term operator>(const Term &rhs) const { return rhs < *this; }
  Term operator>=(const Term &rhs) const { return rhs <= *this; }
  Term operator==(const Term &rhs) const;
  Term operator!=(const Term &rhs) const;

  ImplicitLocOpBuilder *builder = nullptr;
  Value value;
};

#define MOHD_TERM_OPERATOR(op)                                                                     \
  template <typename N, typename = std::enable_if_t<std::is_arithmetic_v<N>>>                      \
  Term operator op(const Term &lhs, N rhs) {                                                       \
    if constexpr (std::is_floating_point_v<N>)                                                     \
      return lhs op lhs.like(double(rhs));                                                         \
    else                                                                                           \
      return lhs op lhs.like(int64_t(rhs));                                                        \
  }
MOHD_TERM_OPERATOR(+)
MOHD_TERM_OPERATOR(-)
MOHD_TERM_OPERATOR(*)
MOHD_TERM_OPERATOR(/)
MOHD_TERM_OPERATOR(%)
MOHD_TERM_OPERATOR(&)
MOHD_TERM_OPERATOR(|)
MOHD_TERM_OPERATOR(^)
MOHD_TERM_OPERATOR(<<)
MOHD_TERM_OPERATOR(>>)
MOHD_TERM_OPERATOR(<)
MOHD_TERM_OPERATOR(<=)
MOHD_TERM_OPERATOR(>)
MOHD_TERM_OPERATOR(>=)
MOHD_TERM_OPERATOR(==)
MOHD_TERM_OPERATOR(!=)
#undef MOHD_TERM_OPERATOR

/// `condition` ? `yes` : `no`.
Term select(const Term &condition, const Term &yes, const Term &no);
/// The smaller and the larger of two integers; of two f32, of which one may be a NaN, the other one.
Term min(const Term &lhs, const Term &rhs);
Term max(const Term &lhs, const Term &rhs);
/// lhs * rhs + sum in f32, rounded once.
Term fma(const Term &lhs, const Term &rhs, const Term &sum);
/// The number of parts of size `rhs` that hold `lhs`.
Term ceilDiv(const Term &lhs, int64_t rhs);
/// Not `condition`. `!` would be taken for "is there no value".
Term logicalNot(const Term &condition);
Term operator!(const Term &) = delete;
/// Conversions: of integers (i32 to i64 keeps the sign), and of an i32 to f32.
Term toI32(const Term &term);
Term toI64(const Term &term);
Term toF32(const Term &term);
/// The bits of an f32 as an i32, and the f32 of such bits.
Term toBits(const Term &term);
Term fromBits(const Term &term);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOGPU_TERM_H
