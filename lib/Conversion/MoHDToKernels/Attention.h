// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The two ways of mohd.attention's kernel (AttentionKernels.cpp chooses), and what they have in common.
#ifndef MOHD_LIB_CONVERSION_MOHDTOKERNELS_ATTENTION_H
#define MOHD_LIB_CONVERSION_MOHDTOKERNELS_ATTENTION_H

#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>
#include <limits>
#include <memory>

namespace mlir::mohd {

/// How the work is cut: known when the kernel is written.
struct AttentionShape {
  AttentionShape(AttentionOp op, int64_t lanes);

  int64_t headDim;
  /// H: query heads of a task, all of one key head.
  int64_t numHeads;
  /// Tasks that share a token's key head.
  int64_t tasksOfKey;
  /// Tokens of a task, at most.
  int64_t tokensOfTask = 1;
  /// Columns (tokens times heads) from which on tokens are faster together than alone, where a single head does not share what it loads.
  int64_t fewestColumns;
  /// Whether tokens may be attended together.
  bool usesTiles;
  /// Columns in registers at a time, and how many times that a task may have.
  int64_t panelWidth, numPanels;
  /// Rows (or columns of values) in registers at a time, a panel wide each: 16 or 12 vectors.
  int64_t tileRows;
};

/// A kernel's buffers, and what its ways have in common.
struct Attention {
  Attention(KernelEmitter &e, AttentionOp op, ValueRange operands, Value result)
      : Attention(e, op, operands, result, AttentionShape(op, e.lanes)) {}
  Attention(KernelEmitter &e, AttentionOp op, ValueRange operands, Value result,
            AttentionShape shape)
      : e(e), b(e.b), shape(shape), query(operands[0]), keys(operands[1]), values(operands[2]),
        positions(operands[3]), sequences(op.getSequence() ? operands[4] : Value()),
        result(result) {}

  Value multiply(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value exp(Value x) { return math::ExpOp::create(b, x); }
  Value minusInfinity() { return e.f32(-std::numeric_limits<double>::infinity()); }
  Value minusInfinity(int64_t width) { return e.splat(minusInfinity(), width); }
  /// What scores are taken relative to, of their maximum. While all scores are -Inf any finite number serves, and Inf - Inf must not come up.
  Value reference(Value maximum) {
    bool isVector = isa<VectorType>(maximum.getType());
    int64_t width = isVector ? cast<VectorType>(maximum.getType()).getDimSize(0) : 1;
    Value none = isVector ? minusInfinity(width) : minusInfinity();
    Value zero = isVector ? e.splat(e.f32(0), width) : e.f32(0);
    Value isNone = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, maximum, none);
    return arith::SelectOp::create(b, isNone, zero, maximum);
  }
  /// Part of a row of `cache` (keys or values), columns of the task's key head from `offset` on.
  Value load(Value cache, Value row, Value offset, int64_t width) {
    return e.load(cache, {e.index(0), sequence, row, e.add(column, offset)}, width);
  }
  /// Part of the query of a head, counted from the task's first, divided by sqrt(head_dim).
  Value loadQuery(Value token, Value head, Value offset, int64_t width) {
    Value scale = e.splat(e.f32(1.0 / std::sqrt(double(shape.headDim))), width);
    return multiply(e.load(query, {token, e.add(firstOf(head), offset)}, width), scale);
  }
  /// First column of a head in the query and the result.
  Value firstOf(Value head) { return e.mul(e.add(firstHead, head), e.index(shape.headDim)); }

  KernelEmitter &e;
  ImplicitLocOpBuilder &b;
  const AttentionShape shape;
  const Value query, keys, values, positions, sequences, result;
  Value column, firstHead; // of the task: first column of its key head, its first query head
  Value sequence;          // that is attended to
};

/// A way of attending to a sequence of the cache. Making it makes its buffers, to be done outside of loops.
class AttentionWay {
public:
  virtual ~AttentionWay() = default;
  /// Writes the code for tokens [first, end) of `sequence`.
  virtual void emit(Value first, Value end) = 0;
};

/// Tokens one by one.
std::unique_ptr<AttentionWay> createTokenAttention(Attention &attention);
/// Successive tokens, at most tokensOfTask, together.
std::unique_ptr<AttentionWay> createTileAttention(Attention &attention);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOKERNELS_ATTENTION_H
