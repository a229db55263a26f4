// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.rope and mohd.kv_cache_append: a thread for each pair of columns, or column.
#include "Launches.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

/// Threads of a block.
static constexpr int64_t kThreads = 128;

LogicalResult mlir::mohd::emitGpuRope(GpuKernelSet &kernels, RopeOp op) {
  int64_t width = op.getType().getDimSize(1), half = op.getHeadDim() / 2;
  // A thread turns the pairs of all heads by one angle.
  addForParts(
      kernels, half,
      [&](Term token, Term j) {
        GpuEmitter &e = kernels.e();
        Type f64 = e.b.getF64Type();
        auto real = [&](double value) {
          return arith::ConstantOp::create(e.b, e.b.getF64FloatAttr(value)).getResult();
        };
        // The angle is position * theta^(-2 j / head_dim), in f64, as its error grows with the position. The power is a product over the bits of j.
        Term position = e.loadI32(kernels.buffer(op.getPosition()), {token});
        Value frequency = real(op.getInverse() ? -1.0 : 1.0);
        for (int64_t bit = 1; bit < half; bit *= 2) {
          double power = std::pow(op.getTheta().convertToDouble(),
                                  -2.0 * double(bit) / double(op.getHeadDim()));
          Term isSet = (j & bit) != 0;
          Value factor = arith::SelectOp::create(e.b, isSet.value, real(power), real(1.0));
          frequency = arith::MulFOp::create(e.b, frequency, factor);
        }
        Value angle = arith::MulFOp::create(
            e.b, arith::SIToFPOp::create(e.b, f64, position.value).getResult(), frequency);
        auto narrow = [&](Value value) {
          return e.wrap(arith::TruncFOp::create(e.b, e.b.getF32Type(), value));
        };
        Term cosine = narrow(math::CosOp::create(e.b, angle));
        Term sine = narrow(math::SinOp::create(e.b, angle));
        const GpuBuffer &input = kernels.buffer(op.getInput()),
                        &result = kernels.buffer(op.getResult());
        e.loop(e.i32(0), e.i32(width / op.getHeadDim()), 1, [&](Term head) {
          Term first = head * op.getHeadDim() + j, second = first + half;
          Term x = e.loadF32(input, {token, first}), y = e.loadF32(input, {token, second});
          e.storeF32(x * cosine - y * sine, result, {token, first});
          e.storeF32(y * cosine + x * sine, result, {token, second});
        });
      },
      kThreads);
  return success();
}

LogicalResult mlir::mohd::emitGpuKvCacheAppend(GpuKernelSet &kernels, KvCacheAppendOp op) {
  int64_t width = op.getRows().getType().getDimSize(1);
  int64_t vector = width % 4 == 0 ? 4 : 1, parts = std::max<int64_t>(width / vector, 1);
  addForParts(
      kernels, parts,
      [&](Term token, Term part) {
        GpuEmitter &e = kernels.e();
        const GpuBuffer &cache = kernels.buffer(op.getCache()),
                        &rows = kernels.buffer(op.getRows());
        Term position = e.loadI32(kernels.buffer(op.getPosition()), {token});
        Term sequence =
            op.getSequence() ? e.loadI32(kernels.buffer(op.getSequence()), {token}) : token;
        // Nobody has looked at what is in device memory.
        Term isThere = (position >= 0) & (position < cache.extents[2]) & (sequence >= 0) &
                       (sequence < cache.extents[1]);
        e.when(isThere, [&] {
          SmallVector<Term> values =
              e.loadF32s(e.at(rows, {token, part * vector}), rows.getElementType(), vector);
          e.storeF32s(values, e.at(cache, {e.i32(0), sequence, position, part * vector}),
                      cache.getElementType());
        });
      },
      kThreads);
  return success();
}
