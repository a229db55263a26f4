// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of ops that the models' pipelines fold into others, for programs that have them by themselves: mohd.scale, mohd.balance_loss, mohd.dequantize,
// and mohd.group_fusion of kinds other than monarch.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

/// Threads of the block that computes mohd.balance_loss.
static constexpr int64_t kThreads = 256;

LogicalResult mlir::mohd::emitGpuScale(GpuKernelSet &kernels, ScaleOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t width = op.getType().getDimSize(1);
  addForRows(kernels, [&](Term token) {
    GpuEmitter &e = kernels.e();
    Term factor = computeScaling(e, routing, op.getScaling(), [&] {
      Term sum = e.loop(e.lane(), e.i32(routing.getNumActive()), e.i32(32), {e.f32(0.0)},
                        [&](Term slot, ArrayRef<Term> carried) {
                          Term gate = e.loadF32(kernels.buffer(op.getRouting(), 1), {token, slot});
                          return SmallVector<Term>{carried[0] + gate};
                        })[0];
      return e.warpSum(sum);
    });
    e.loop(e.lane(), e.i32(width), 32, [&](Term column) {
      Term value = e.loadF32(kernels.buffer(op.getInput()), {token, column});
      e.storeF32(factor ? value * factor : value, kernels.buffer(op.getResult()), {token, column});
    });
  });
  return success();
}

/// One block: the sums are short beside what made the scores.
LogicalResult mlir::mohd::emitGpuBalanceLoss(GpuKernelSet &kernels, BalanceLossOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t numGroups = routing.getNumGroups(), numShared = routing.getNumShared(),
          numRouted = routing.getNumRouted();
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid = "1";
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    auto add = [](Term lhs, Term rhs) { return lhs + rhs; };
    Term tokens = kernels.numTokens(), loss = e.f32(0.0);
    if (op.getKind() != Balance::None && numRouted > 0) {
      Term sum =
          e.loop(e.i32(numShared), e.i32(numGroups), e.i32(1), {loss},
                 [&](Term group, ArrayRef<Term> carried) {
                   SmallVector<Term> sums = e.loop(
                       e.thread(), tokens, e.i32(kThreads), {e.f32(0.0), e.i32(0)},
                       [&](Term token, ArrayRef<Term> sums) {
                         Term score = e.loadF32(kernels.buffer(op.getScores()), {token, group});
                         Term count =
                             e.loop(e.i32(numShared), e.i32(routing.getNumActive()), e.i32(1),
                                    {sums[1]}, [&](Term slot, ArrayRef<Term> counted) {
                                      Term other = e.loadI32(kernels.buffer(op.getRouting(), 0),
                                                             {token, slot});
                                      return SmallVector<Term>{counted[0] + toI32(other == group)};
                                    })[0];
                         return SmallVector<Term>{sums[0] + score, count};
                       });
                   Term scores = e.blockReduce(sums[0], kThreads, add);
                   Term count = e.blockReduce(sums[1], kThreads, add);
                   return SmallVector<Term>{carried[0] + toF32(count) * scores};
                 })[0];
      double share =
          double(numGroups - numShared) / (op.getKind() == Balance::DeepSeek ? numRouted : 1);
      Term count = toF32(tokens);
      Term mean = sum * (op.getCoefficient().convertToDouble() * share) / count / count;
      loss = select(tokens > 0, mean, loss);
    }
    e.when(e.thread() == 0, [&] { e.storeF32(loss, kernels.buffer(op.getLoss()), {}); });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuDequantize(GpuKernelSet &kernels, DequantizeOp op) {
  ArrayRef<int64_t> shape = op.getType().getShape();
  int64_t columns = shape.back(), rows = shape[shape.size() - 2];
  addForElements(kernels, op.getType().getNumElements(), [&](Term place) {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &values = kernels.buffer(op.getValues());
    const GpuBuffer &scales = kernels.buffer(op.getScales());
    Term ofScale = place / (rows * columns) * columns + place % columns;
    Term value = e.loadF32(e.advance(values.pointer, place), values.getElementType());
    Term scale = e.loadF32(e.advance(scales.pointer, ofScale * 4), scales.getElementType());
    const GpuBuffer &result = kernels.buffer(op.getResult());
    int64_t bytes = result.getElementType().getIntOrFloatBitWidth() / 8;
    e.storeF32(value * scale, e.advance(result.pointer, place * bytes), result.getElementType());
  });
  return success();
}

/// Whether a token has a group.
static Term hasGroup(GpuKernelSet &kernels, TypedValue<RoutingType> routing, const Term &token,
                     const Term &group) {
  GpuEmitter &e = kernels.e();
  int64_t numActive = routing.getType().getNumActive();
  return e.loop(e.i32(0), e.i32(numActive), e.i32(1), {e.i1(false)},
                [&](Term slot, ArrayRef<Term> carried) {
                  Term other = e.loadI32(kernels.buffer(routing, 0), {token, slot});
                  return SmallVector<Term>{carried[0] | (other == group)};
                })[0];
}

/// Column `column` of a token's block-diagonal fusion.
static Term computeBlock(GpuKernelSet &kernels, GroupFusionOp op, const Term &token,
                         const Term &column) {
  GpuEmitter &e = kernels.e();
  ArrayRef<int64_t> shape = op.getRight().getType().getShape(); // [k, q, p]
  Term block = column / shape[1], row = column % shape[1];
  // What is not active may be anything: such a block has no columns to add up.
  Term numColumns = e.i32(shape[2]);
  if (op.getRouting())
    numColumns = select(hasGroup(kernels, op.getRouting(), token, block), numColumns, e.i32(0));
  Term first = op.getBias() ? e.loadF32(kernels.buffer(op.getBias()), {column}) : e.f32(0.0);
  return e.loop(e.i32(0), numColumns, e.i32(1), {first}, [&](Term p, ArrayRef<Term> carried) {
    Term x = e.loadF32(kernels.buffer(op.getInput()), {token, block * shape[2] + p});
    Term weight = e.loadF32(kernels.buffer(op.getRight()), {block, row, p});
    return SmallVector<Term>{fma(x, weight, carried[0])};
  })[0];
}

LogicalResult mlir::mohd::emitGpuGroupFusion(GpuKernelSet &kernels, GroupFusionOp op) {
  if (op.getKind() == Fusion::Monarch)
    return op.emitOpError("expects a Monarch fusion to be a 'mohd.bucket_fusion' on a GPU");
  addForParts(kernels, op.getType().getDimSize(1), [&](Term token, Term column) {
    GpuEmitter &e = kernels.e();
    Term value = op.getKind() == Fusion::None
                     ? e.loadF32(kernels.buffer(op.getInput()), {token, column})
                     : computeBlock(kernels, op, token, column);
    e.storeF32(value, kernels.buffer(op.getResult()), {token, column});
  });
  return success();
}
