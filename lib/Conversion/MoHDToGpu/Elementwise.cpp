// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that compute each element, or each row, by itself: sums, activations, mohd.rms_norm, mohd.embed, mohd.transpose_weight.
#include "Launches.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mohd;

/// Columns in one access of rows of `width` f32 or narrower elements.
static int64_t getVector(int64_t width) { return width % 4 == 0 ? 4 : 1; }

/// Copies a weight with its dimensions permuted.
static void addTranspose(GpuKernelSet &kernels, TransposeWeightOp op) {
  ArrayRef<int64_t> shape = op.getType().getShape();
  addForElements(kernels, op.getType().getNumElements(), [&](Term place) {
    GpuEmitter &e = kernels.e();
    Term rest = place;
    SmallVector<Term> to(3), from(3);
    for (int64_t dim = 2; dim >= 0; --dim) {
      to[dim] = rest % shape[dim];
      rest = rest / shape[dim];
      from[op.getPermutation()[dim]] = to[dim];
    }
    if (op.getWeight().getType().getRank() == 2)
      from.erase(from.begin()); // the one group
    Term value = e.loadF32(kernels.buffer(op.getWeight()), from);
    e.storeF32(value, kernels.buffer(op.getResult()), to);
  });
}

LogicalResult mlir::mohd::emitGpuElementwise(GpuKernelSet &kernels, Operation *op) {
  if (auto transpose = dyn_cast<TransposeWeightOp>(op)) {
    addTranspose(kernels, transpose);
    return success();
  }
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t vector = getVector(type.getDimSize(1));
  addForParts(kernels, llvm::divideCeil(type.getDimSize(1), vector), [&](Term token, Term part) {
    GpuEmitter &e = kernels.e();
    Term column = part * vector;
    SmallVector<SmallVector<Term>> operands;
    for (Value operand : op->getOperands()) {
      const GpuBuffer &buffer = kernels.buffer(operand);
      operands.push_back(
          e.loadF32s(e.at(buffer, {token, column}), buffer.getElementType(), vector));
    }
    SmallVector<Term> results;
    for (int64_t i = 0; i < vector; ++i)
      results.push_back(
          llvm::TypeSwitch<Operation *, Term>(op)
              .Case([&](AddOp) { return operands[0][i] + operands[1][i]; })
              .Case([&](SiluOp) { return e.silu(operands[0][i]); })
              .Case([&](SwigluOp) { return e.silu(operands[0][i]) * operands[1][i]; }));
    e.storeF32s(results, e.at(kernels.buffer(op->getResult(0)), {token, column}),
                type.getElementType());
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuEmbed(GpuKernelSet &kernels, EmbedOp op) {
  int64_t width = op.getType().getDimSize(1), vector = getVector(width);
  addForParts(kernels, llvm::divideCeil(width, vector), [&](Term token, Term part) {
    GpuEmitter &e = kernels.e();
    Term column = part * vector;
    const GpuBuffer &table = kernels.buffer(op.getTable()),
                    &result = kernels.buffer(op.getResult());
    Term id = e.loadI32(kernels.buffer(op.getIds()), {token});
    // Nobody has looked at what is in device memory.
    SmallVector<Term> values = e.choose(
        (id >= 0) & (id < table.extents[0]),
        [&] { return e.loadF32s(e.at(table, {id, column}), table.getElementType(), vector); },
        [&] { return SmallVector<Term>(vector, e.f32(0.0)); });
    e.storeF32s(values, e.at(result, {token, column}), result.getElementType());
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuRmsNorm(GpuKernelSet &kernels, RmsNormOp op) {
  int64_t width = op.getType().getDimSize(1);
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &input = kernels.buffer(op.getInput());
    // Adds up the squares of `count` columns from `first` on, a lane's share.
    auto addSquares = [&](Term first, int64_t count, Term sum) {
      return e.loop(e.lane(), e.i32(count), e.i32(32), {sum}, [&](Term i, ArrayRef<Term> carried) {
        Term x = e.loadF32(input, {token, first + i});
        return SmallVector<Term>{fma(x, x, carried[0])};
      })[0];
    };
    Term sum = e.f32(0.0);
    int64_t count = width;
    if (op.getRouting()) { // the mean of the active dimensions
      RoutingType type = op.getRouting().getType();
      int64_t groupWidth = width / type.getNumGroups();
      count = groupWidth * type.getNumActive();
      sum =
          e.loop(e.i32(0), e.i32(type.getNumActive()), e.i32(1), {sum},
                 [&](Term slot, ArrayRef<Term> carried) {
                   Term group = e.loadI32(kernels.buffer(op.getRouting(), 0), {token, slot});
                   group = max(min(group, e.i32(type.getNumGroups() - 1)), e.i32(0));
                   return SmallVector<Term>{addSquares(group * groupWidth, groupWidth, carried[0])};
                 })[0];
    } else {
      sum = addSquares(e.i32(0), width, sum);
    }
    Term scale = e.rsqrt(e.warpSum(sum) / double(count) + op.getEpsilon().convertToDouble());
    e.loop(e.lane(), e.i32(width), 32, [&](Term column) {
      Term value = e.loadF32(input, {token, column}) * scale *
                   e.loadF32(kernels.buffer(op.getWeight()), {column});
      e.storeF32(value, kernels.buffer(op.getResult()), {token, column});
    });
  });
  return success();
}
