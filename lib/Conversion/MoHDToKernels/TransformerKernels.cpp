// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that work row by row: embed, rms_norm and the element-wise ops. Tasks are blocks of tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of the ops that work row by row.
static constexpr int64_t kRowTokens = 8;

/// Calls body for each token of the tasks of a kernel that works row by row.
static void forEachToken(KernelEmitter &e, llvm::function_ref<void(Value)> body) {
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, body); });
}

//===----------------------------------------------------------------------===//
// mohd.embed
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfEmbed(EmbedOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

void mlir::mohd::emitEmbed(KernelEmitter &e, EmbedOp op, ValueRange operands, ValueRange results) {
  Value ids = operands[0], table = operands[1];
  forEachToken(e, [&](Value token) {
    Value row = e.loadIndex(ids, token);
    e.columns(op.getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
      e.store(e.load(table, {row, column}, width), results[0], {token, column});
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.rms_norm
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfRmsNorm(RmsNormOp op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

void mlir::mohd::emitRmsNorm(KernelEmitter &e, RmsNormOp op, ValueRange operands,
                             ValueRange results) {
  Value input = operands[0], weight = operands[1];
  int64_t width = op.getType().getDimSize(1);
  // Sum of squares (f32) of `length` columns of a token from `first` on.
  auto sumSquares = [&](Value token, Value first, int64_t length) {
    return e.dot(input, {token, first}, input, {token, first}, length);
  };
  // Mean square (f32) of a token, over all its columns or those of its active groups.
  auto meanSquare = [&](Value token) -> Value {
    if (!op.getRouting())
      return arith::DivFOp::create(e.b, sumSquares(token, e.index(0), width), e.f32(width));
    RoutingType routing = op.getRouting().getType();
    int64_t groupWidth = width / routing.getNumGroups(), numActive = routing.getNumActive();
    Value sum =
        e.loop(e.index(0), e.index(numActive), 1, e.f32(0), [&](Value slot, ValueRange sum) {
          Value first = e.mul(e.loadIndex(operands[2], {token, slot}), e.index(groupWidth));
          Value part = sumSquares(token, first, groupWidth);
          return SmallVector<Value>{arith::AddFOp::create(e.b, sum[0], part)};
        })[0];
    return arith::DivFOp::create(e.b, sum, e.f32(numActive * groupWidth));
  };
  forEachToken(e, [&](Value token) {
    Value biased =
        arith::AddFOp::create(e.b, meanSquare(token), e.f32(op.getEpsilon().convertToDouble()));
    Value factor = arith::DivFOp::create(e.b, e.f32(1), math::SqrtOp::create(e.b, biased));
    e.columns(width, e.lanes, [&](Value column, int64_t vectorWidth) {
      Value data = e.load(input, {token, column}, vectorWidth);
      Value scaled = arith::MulFOp::create(e.b, data, e.splat(factor, vectorWidth));
      scaled = arith::MulFOp::create(e.b, scaled, e.load(weight, column, vectorWidth));
      e.store(scaled, results[0], {token, column});
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.add, mohd.silu, mohd.swiglu
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfElementwise(Operation *op, int64_t lanes, StringRef tokens) {
  return KernelEmitter::gridOf(1, kRowTokens, tokens);
}

/// x / (1 + exp(-x)), and 0 for -Inf.
static Value silu(KernelEmitter &e, Value x, int64_t width) {
  Value exp = math::ExpOp::create(e.b, arith::NegFOp::create(e.b, x));
  Value one = e.splat(e.f32(1), width);
  Value result = arith::DivFOp::create(e.b, x, arith::AddFOp::create(e.b, one, exp));
  Value infinity = e.splat(e.f32(-std::numeric_limits<double>::infinity()), width);
  Value isInfinite = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OEQ, x, infinity);
  return arith::SelectOp::create(e.b, isInfinite, e.splat(e.f32(0), width), result);
}

void mlir::mohd::emitElementwise(KernelEmitter &e, Operation *op, ValueRange operands,
                                 ValueRange results) {
  int64_t columns = cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(1);
  auto compute = [&](ArrayRef<Value> data, int64_t width) -> Value {
    if (isa<AddOp>(op))
      return arith::AddFOp::create(e.b, data[0], data[1]);
    Value activated = silu(e, data[0], width);
    return isa<SiluOp>(op) ? activated : arith::MulFOp::create(e.b, activated, data[1]).getResult();
  };
  forEachToken(e, [&](Value token) {
    e.columns(columns, e.lanes, [&](Value column, int64_t width) {
      SmallVector<Value> data;
      for (Value operand : operands)
        data.push_back(e.load(operand, {token, column}, width));
      e.store(compute(data, width), results[0], {token, column});
    });
  });
}
