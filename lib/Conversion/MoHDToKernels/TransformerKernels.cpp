// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that work row by row: embed, rms_norm and the element-wise ops. Tasks are blocks of tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of the ops that work row by row.
static constexpr int64_t kRowTokens = 8;
/// Columns in a task of silu and swiglu, at most.
static constexpr int64_t kActivationColumns = 2048;

/// Calls body for each token of the tasks of a kernel that works row by row.
static void forEachToken(KernelEmitter &e, llvm::function_ref<void(Value)> body) {
  e.tasks(kRowTokens, [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, body); });
}

//===----------------------------------------------------------------------===//
// mohd.embed
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfEmbed(EmbedOp op, StringRef tokens) {
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

std::string mlir::mohd::gridOfRmsNorm(RmsNormOp op, StringRef tokens) {
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
// mohd.add, mohd.copy, mohd.silu, mohd.silu_gradient, mohd.swiglu
//===----------------------------------------------------------------------===//

namespace {
/// The tasks of an element-wise op.
struct ElementwiseTasks {
  ElementwiseTasks(Operation *op, int64_t lanes)
      : numColumns(cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(1)) {
    width = std::max<int64_t>(numColumns, 1);
    if (isa<AddOp, CopyOp>(op))
      return;
    // An exponential and a division for each element: a task is about a microsecond, so that threads share the row of a single token.
    numTokens = 1;
    int64_t atLeastOne = std::max<int64_t>(numColumns, 1);
    numParts = llvm::divideCeil(atLeastOne, kActivationColumns);
    width = llvm::alignTo(llvm::divideCeil(atLeastOne, numParts), lanes);
    numParts = llvm::divideCeil(atLeastOne, width);
  }

  int64_t numColumns;
  int64_t numTokens = kRowTokens; // tokens of a task
  int64_t numParts = 1, width;    // parts of a row, columns of one; the last one may be narrower
};
} // namespace

std::string mlir::mohd::gridOfElementwise(Operation *op, int64_t lanes, StringRef tokens) {
  ElementwiseTasks tasks(op, lanes);
  return KernelEmitter::gridOf(tasks.numParts, tasks.numTokens, tokens);
}

void mlir::mohd::emitElementwise(KernelEmitter &e, Operation *op, ValueRange operands,
                                 ValueRange results) {
  ElementwiseTasks tasks(op, e.lanes);
  auto compute = [&](ArrayRef<Value> data, int64_t width) -> Value {
    if (isa<AddOp>(op))
      return arith::AddFOp::create(e.b, data[0], data[1]);
    if (isa<CopyOp>(op))
      return data[0];
    if (isa<SiluGradientOp>(op))
      return arith::MulFOp::create(e.b, data[1], emitSiluSlope(e, data[0]));
    Value activated = e.silu(data[0]);
    return isa<SiluOp>(op) ? activated : arith::MulFOp::create(e.b, activated, data[1]).getResult();
  };
  auto computePart = [&](Value token, Value first, int64_t numColumns) {
    e.columns(numColumns, e.lanes, [&](Value offset, int64_t width) {
      Value column = e.add(first, offset);
      SmallVector<Value> data;
      for (Value operand : operands)
        data.push_back(e.load(operand, {token, column}, width));
      e.store(compute(data, width), results[0], {token, column});
    });
  };
  // Tasks that follow each other are parts of the same row: memory is read as it lies.
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value first = e.mul(e.rem(task, tasks.numParts), e.index(tasks.width));
    Value lower = e.mul(e.div(task, tasks.numParts), e.index(tasks.numTokens));
    Value upper = e.min(e.add(lower, e.index(tasks.numTokens)), e.numTokens);
    e.loop(lower, upper, 1, [&](Value token) {
      int64_t rest = tasks.numColumns % tasks.width;
      auto wholePart = [&] { computePart(token, first, tasks.width); };
      if (rest == 0)
        return wholePart();
      Value isWhole = arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, first,
                                            e.index(tasks.numColumns - rest));
      e.branch(isWhole, wholePart, [&] { computePart(token, first, rest); });
    });
  });
}
