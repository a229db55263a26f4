// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that compute each element, or each row, by itself: sums, activations and their gradients, mohd.rms_norm, mohd.embed, mohd.transpose_weight,
// mohd.permute_weight.
#include "Launches.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mohd;

/// Columns in one access of rows of `width` f32 or narrower elements.
static int64_t getVector(int64_t width) { return width % 4 == 0 ? 4 : 1; }

/// Copies a weight: dimension i of the result is dimension permutation[i] of it.
static void addTranspose(GpuKernelSet &kernels, ArrayRef<int64_t> permutation) {
  Value weight = kernels.op->getOperand(0), result = kernels.op->getResult(0);
  auto type = cast<RankedTensorType>(result.getType());
  int64_t rank = type.getRank();
  addForElements(kernels, type.getNumElements(), [&](Term place) {
    GpuEmitter &e = kernels.e();
    Term rest = place;
    SmallVector<Term> to(rank), from(rank);
    for (int64_t dim = rank - 1; dim >= 0; --dim) {
      to[dim] = rest % type.getDimSize(dim);
      rest = rest / type.getDimSize(dim);
      from[permutation[dim]] = to[dim];
    }
    if (cast<RankedTensorType>(weight.getType()).getRank() < rank)
      from.erase(from.begin()); // the one group
    Term value = e.loadF32(kernels.buffer(weight), from);
    e.storeF32(value, kernels.buffer(result), to);
  });
}

/// The derivative of silu, 0 for -Inf.
static Term siluSlope(GpuEmitter &e, const Term &x) {
  Term zero = e.f32(0.0), one = e.f32(1.0);
  Term sigmoid = one / (e.exp(zero - x) + 1.0);
  Term slope = sigmoid * (x * (one - sigmoid) + 1.0);
  return select(x == -std::numeric_limits<double>::infinity(), zero, slope);
}

/// One element of each result.
static SmallVector<Term> computeElement(GpuEmitter &e, Operation *op, ArrayRef<Term> x) {
  return llvm::TypeSwitch<Operation *, SmallVector<Term>>(op)
      .Case([&](AddOp) { return SmallVector<Term>{x[0] + x[1]}; })
      .Case([&](CopyOp) { return SmallVector<Term>{x[0]}; })
      .Case([&](SiluOp) { return SmallVector<Term>{e.silu(x[0])}; })
      .Case([&](SiluGradientOp) { return SmallVector<Term>{x[1] * siluSlope(e, x[0])}; })
      .Case([&](SwigluOp) { return SmallVector<Term>{e.silu(x[0]) * x[1]}; })
      .Case([&](SwigluGradientOp) {
        return SmallVector<Term>{x[1] * x[2] * siluSlope(e, x[0]), e.silu(x[0]) * x[2]};
      });
}

LogicalResult mlir::mohd::emitGpuElementwise(GpuKernelSet &kernels, Operation *op) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t vector = getVector(type.getDimSize(1));
  addForParts(kernels, llvm::divideCeil(type.getDimSize(1), vector), [&](Term token, Term part) {
    GpuEmitter &e = kernels.e();
    Term column = part * vector;
    auto at = [&](Value value) { return e.at(kernels.buffer(value), {token, column}); };
    SmallVector<SmallVector<Term>> operands, results(op->getNumResults());
    for (Value operand : op->getOperands())
      operands.push_back(e.loadF32s(at(operand), getElementTypeOrSelf(operand), vector));
    for (int64_t i = 0; i < vector; ++i) {
      auto element = [&](ArrayRef<Term> values) { return values[i]; };
      for (auto [values, value] :
           llvm::zip_equal(results, computeElement(e, op, llvm::map_to_vector(operands, element))))
        values.push_back(value);
    }
    for (auto [result, values] : llvm::zip_equal(op->getResults(), results))
      e.storeF32s(values, at(result), type.getElementType());
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuTransposeWeight(GpuKernelSet &kernels, TransposeWeightOp op) {
  addTranspose(kernels, op.getPermutation());
  return success();
}

LogicalResult mlir::mohd::emitGpuPermuteWeight(GpuKernelSet &kernels, PermuteWeightOp op) {
  addTranspose(kernels, op.getPermutation());
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
