// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the reference lowering writes a computation: a tensor is a function of its indices, a
// reduction is a serial loop.
//
// Everything is f32 inside; a value is widened when it is read and rounded once when it becomes an
// element of a result. Nothing here is shared with the fast lowering, so that the two can disagree.
#ifndef MOHD_LIB_CONVERSION_MOHDTOLINALG_LOOPEMITTER_H
#define MOHD_LIB_CONVERSION_MOHDTOLINALG_LOOPEMITTER_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/DialectConversion.h"

namespace mlir::mohd {

/// The element type of a tensor.
inline Type elementOf(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getElementType();
}

/// Writes loops. Loop variables, counts and indices are of type index; data are
/// f32 scalars.
class LoopEmitter {
public:
  LoopEmitter(OpBuilder &builder, Location loc) : b(loc, builder) {}

  ImplicitLocOpBuilder b;

  Value index(int64_t value);
  Value f32(double value);

  /// The size of a dimension: an attribute if it is static.
  OpFoldResult dim(Value tensor, int64_t dimension);
  /// The number of tokens of `tensor` [tokens, ...], as an index.
  Value numTokens(Value tensor);

  /// A new tensor of shape `sizes`: the element at `indices` is body(indices), rounded to `element`
  /// if that is a narrower float.
  Value tensor(ArrayRef<OpFoldResult> sizes, Type element,
               llvm::function_ref<Value(ValueRange)> body);
  /// A tensor like `input` [tokens, width] whose elements are body(indices).
  Value tensorLike(Value input, llvm::function_ref<Value(ValueRange)> body) {
    return tensor({dim(input, 0), dim(input, 1)}, elementOf(input), body);
  }

  /// acc = init; for i in [first, count): acc = body(i, acc).
  Value loop(Value first, Value count, Value init, llvm::function_ref<Value(Value, Value)> body);

  /// Sum and maximum of body(i) over i in [0, count) in f32; the empty maximum is -Inf, a NaN is
  /// kept.
  Value sum(Value count, llvm::function_ref<Value(Value)> body);
  Value max(Value count, llvm::function_ref<Value(Value)> body);

  /// One element; a narrow float is widened to f32.
  Value read(Value tensor, ValueRange indices);
  /// One i32 element as an index.
  Value readIndex(Value tensor, ValueRange indices);

  /// Rounds f32 data to `element`.
  Value narrow(Value data, Type element);

  /// `tensor` as `type`, which may know less or more of its token count.
  Value castTo(Value tensor, Type type) {
    return tensor.getType() == type ? tensor : tensor::CastOp::create(b, type, tensor).getResult();
  }

  Value add(Value lhs, Value rhs) { return arith::AddFOp::create(b, lhs, rhs); }
  Value sub(Value lhs, Value rhs) { return arith::SubFOp::create(b, lhs, rhs); }
  Value mul(Value lhs, Value rhs) { return arith::MulFOp::create(b, lhs, rhs); }
  Value div(Value lhs, Value rhs) { return arith::DivFOp::create(b, lhs, rhs); }
  Value exp(Value data);
  /// 1 / (1 + exp(-x)).
  Value sigmoid(Value data) {
    return div(f32(1), add(f32(1), exp(arith::NegFOp::create(b, data))));
  }
  /// x / (1 + exp(-x)), with silu(-Inf) = 0.
  Value silu(Value data);

  /// Index arithmetic, folded where it can be: i + j, i * factor, i / factor, i % factor.
  Value addIndex(Value lhs, Value rhs) { return b.createOrFold<arith::AddIOp>(lhs, rhs); }
  Value scaleIndex(Value i, int64_t factor) {
    return b.createOrFold<arith::MulIOp>(i, index(factor));
  }
  Value divIndex(Value i, int64_t factor) {
    return b.createOrFold<arith::DivUIOp>(i, index(factor));
  }
  Value remIndex(Value i, int64_t factor) {
    return b.createOrFold<arith::RemUIOp>(i, index(factor));
  }

  /// Comparisons and choices; `less` and `equal` are on integers and indices.
  Value less(Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, lhs, rhs);
  }
  Value equal(Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lhs, rhs);
  }
  Value both(Value lhs, Value rhs) { return arith::AndIOp::create(b, lhs, rhs); }
  Value either(Value lhs, Value rhs) { return arith::OrIOp::create(b, lhs, rhs); }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
  /// `data` where `condition` holds, 0 elsewhere.
  Value masked(Value condition, Value data) { return select(condition, data, f32(0)); }
};

/// A routing inside a function: its two tensors and the numbers of its type.
struct RoutingTensors {
  RoutingTensors(RoutingType type, ValueRange parts)
      : indices(parts[0]), gates(parts[1]), type(type) {}

  /// Whether each group is active, [tokens, N] i1.
  Value emitActive(LoopEmitter &e) const;
  /// The gate of each group, 0 where it is not active, [tokens, N] f32.
  Value emitDenseGates(LoopEmitter &e) const;

  Value indices; // [tokens, K] i32
  Value gates;   // [tokens, K] f32
  RoutingType type;
};

/// Gates of the active groups before scaling, [tokens, K] f32, from scores [tokens, N].
Value emitGates(LoopEmitter &e, RoutingType type, Gate gate, Value indices, Value scores);
/// The activation scaling of each token, [tokens] f32, from gates [tokens, K].
Value emitScaling(LoopEmitter &e, Value gates, RoutingType type, Scaling scaling);

/// The operands of an op after conversion: two values for a routing, one for anything else.
template <typename OpTy>
using ConvertedOperands = typename OpConversionPattern<OpTy>::OneToNOpAdaptor;

/// The sequence of token `t`: sequence[t], or t itself.
template <typename OpTy>
Value emitSequence(LoopEmitter &e, OpTy op, ConvertedOperands<OpTy> operands, Value t) {
  return op.getSequence() ? e.readIndex(operands.getSequence().front(), {t}) : t;
}

/// Lowers an op with one tensor result by the function that writes it.
template <typename OpTy, Value (*emit)(LoopEmitter &, OpTy, ConvertedOperands<OpTy>)>
struct LowerToLoops : OpConversionPattern<OpTy> {
  using OpConversionPattern<OpTy>::OpConversionPattern;
  LogicalResult matchAndRewrite(OpTy op, ConvertedOperands<OpTy> operands,
                                ConversionPatternRewriter &rewriter) const override {
    LoopEmitter e(rewriter, op.getLoc());
    rewriter.replaceOp(op, e.castTo(emit(e, op, operands), op->getResult(0).getType()));
    return success();
  }
};

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOLINALG_LOOPEMITTER_H
