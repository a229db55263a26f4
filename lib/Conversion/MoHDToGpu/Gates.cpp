// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of ops that the models' pipelines fold into others, for programs that have them by themselves: mohd.scale, mohd.balance_loss, mohd.dequantize,
// and mohd.group_fusion of kinds other than monarch.
#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

using namespace mlir;
using namespace mlir::mohd;

static constexpr int64_t kThreads = 256, kWarps = 4;

LogicalResult mlir::mohd::emitGpuScale(GpuKernelSet &kernels, ScaleOp op) {
  RoutingType routing = op.getRouting().getType();
  int64_t width = op.getType().getDimSize(1);
  GpuLaunch launch;
  launch.threads = 32 * kWarps;
  launch.grid = ("ceildiv(" + kernels.getTokens() + "," + Twine(kWarps) + ")").str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term token = e.block() * kWarps + e.warp();
    e.when(token < kernels.numTokens(), [&] {
      Term factor = computeScaling(e, routing, op.getScaling(), [&] {
        Term sum = e.loop(e.lane(), e.i32(routing.getNumActive()), e.i32(32), {e.f32(0.0)},
                          [&](Term slot, ArrayRef<Term> carried) {
                            Term gate =
                                e.loadF32(kernels.buffer(op.getRouting(), 1), {token, slot});
                            return SmallVector<Term>{carried[0] + gate};
                          })[0];
        return e.warpSum(sum);
      });
      e.loop(e.lane(), e.i32(width), 32, [&](Term column) {
        Term value = e.loadF32(kernels.buffer(op.getInput()), {token, column});
        e.storeF32(factor ? value * factor : value, kernels.buffer(op.getResult()),
                   {token, column});
      });
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
  int64_t size = op.getType().getNumElements();
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid = std::to_string(llvm::divideCeil(size, kThreads));
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term place = e.block() * kThreads + e.thread();
    e.when(place < size, [&] {
      const GpuBuffer &values = kernels.buffer(op.getValues());
      const GpuBuffer &scales = kernels.buffer(op.getScales());
      Term ofScale = place / (rows * columns) * columns + place % columns;
      Term value = e.loadF32(e.advance(values.pointer, place), values.getElementType());
      Term scale = e.loadF32(e.advance(scales.pointer, ofScale * 4), scales.getElementType());
      const GpuBuffer &result = kernels.buffer(op.getResult());
      e.storeF32(value * scale, e.advance(result.pointer, place * 4), result.getElementType());
    });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuGroupFusion(GpuKernelSet &kernels, GroupFusionOp op) {
  if (op.getKind() == Fusion::Monarch)
    return op.emitOpError("expects a Monarch fusion to be a 'mohd.bucket_fusion' on a GPU");
  int64_t width = op.getType().getDimSize(1);
  GpuLaunch launch;
  launch.threads = kThreads;
  launch.grid =
      ("ceildiv(" + kernels.getTokens() + "*" + Twine(width) + "," + Twine(kThreads) + ")").str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term place = toI64(e.block()) * kThreads + toI64(e.thread());
    int64_t divisor = std::max<int64_t>(width, 1);
    Term token = toI32(place / divisor), column = toI32(place % divisor);
    e.when(token < kernels.numTokens(), [&] {
      const GpuBuffer &input = kernels.buffer(op.getInput());
      Term sum;
      if (op.getKind() == Fusion::None) {
        sum = e.loadF32(input, {token, column});
      } else {
        ArrayRef<int64_t> shape = op.getRight().getType().getShape(); // [k, q, p]
        Term block = column / shape[1], row = column % shape[1];
        // What is not active may be anything: such a block has no columns to add up.
        Term numColumns = e.i32(shape[2]);
        if (op.getRouting()) {
          RoutingType routing = op.getRouting().getType();
          Term isActive = e.loop(e.i32(0), e.i32(routing.getNumActive()), e.i32(1), {e.i1(false)},
                                 [&](Term slot, ArrayRef<Term> carried) {
                                   Term group =
                                       e.loadI32(kernels.buffer(op.getRouting(), 0), {token, slot});
                                   return SmallVector<Term>{carried[0] | (group == block)};
                                 })[0];
          numColumns = select(isActive, numColumns, e.i32(0));
        }
        Term first = op.getBias() ? e.loadF32(kernels.buffer(op.getBias()), {column}) : e.f32(0.0);
        sum = e.loop(e.i32(0), numColumns, e.i32(1), {first}, [&](Term p, ArrayRef<Term> carried) {
          Term x = e.loadF32(input, {token, block * shape[2] + p});
          Term weight = e.loadF32(kernels.buffer(op.getRight()), {block, row, p});
          return SmallVector<Term>{fma(x, weight, carried[0])};
        })[0];
      }
      e.storeF32(sum, kernels.buffer(op.getResult()), {token, column});
    });
  });
  return success();
}
