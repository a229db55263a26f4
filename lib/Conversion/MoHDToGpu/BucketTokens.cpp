// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.bucket_tokens, which is that of mohd.gate, too: a warp for each row, which reads its token, twice if it is normalised.
#include "Launches.h"

using namespace mlir;
using namespace mlir::mohd;

namespace {

/// What the ops say; norm, routing and order may be null.
struct TokenLayout {
  Value input, norm, routing, order, result;
  double epsilon;
  bool isGated;
};

class BucketTokensWriter {
public:
  BucketTokensWriter(GpuKernelSet &kernels, const TokenLayout &op)
      : kernels(kernels), e(kernels.e()), op(op), input(kernels.buffer(op.input)),
        width(cast<RankedTensorType>(op.result.getType()).getDimSize(1)) {}

  void write(Term row);

private:
  void writeRow(Term row, Term token);
  void collectGates(Term token);
  Term computeScale(Term token);

  GpuKernelSet &kernels;
  GpuEmitter &e;
  const TokenLayout &op;
  const GpuBuffer &input;
  const int64_t width;
  int64_t vector = 1; // columns in an access
  int64_t numGroups = 1;
  Value gates, active; // shared, of this warp: [N] f32, and [N] i32: 1 if the token has the group
};

} // namespace

/// Puts the token's gates where its groups are.
void BucketTokensWriter::collectGates(Term token) {
  e.loop(e.lane(), e.i32(numGroups), 32,
         [&](Term group) { e.store(e.i32(0), e.advance(active, group * 4)); });
  e.warpSync();
  int64_t numActive = cast<RoutingType>(op.routing.getType()).getNumActive();
  e.loop(e.lane(), e.i32(numActive), 32, [&](Term slot) {
    Term group = e.loadI32(kernels.buffer(op.routing, 0), {token, slot});
    // Indices may be an argument.
    e.when((group >= 0) & (group < numGroups), [&] {
      if (op.isGated)
        e.store(e.loadF32(kernels.buffer(op.routing, 1), {token, slot}),
                e.advance(gates, group * 4));
      e.store(e.i32(1), e.advance(active, group * 4));
    });
  });
  e.warpSync();
}

/// 1 / rms of a token.
Term BucketTokensWriter::computeScale(Term token) {
  Term sum = e.loop(e.lane() * vector, e.i32(width), e.i32(32 * vector), {e.f32(0.0)},
                    [&](Term column, ArrayRef<Term> carried) {
                      Term sum = carried[0];
                      for (const Term &x :
                           e.loadF32s(e.at(input, {token, column}), input.getElementType(), vector))
                        sum = fma(x, x, sum);
                      return SmallVector<Term>{sum};
                    })[0];
  return e.rsqrt(e.warpSum(sum) / double(width) + op.epsilon);
}

void BucketTokensWriter::writeRow(Term row, Term token) {
  if (op.routing)
    collectGates(token);
  Term scale;
  if (op.norm)
    scale = computeScale(token);
  const GpuBuffer &result = kernels.buffer(op.result);
  e.loop(e.lane() * vector, e.i32(width), 32 * vector, [&](Term column) {
    Term gate, isActive;
    if (op.routing) {
      Term group = column / (width / numGroups);
      isActive = e.load(e.advance(active, group * 4), e.b.getI32Type()) != 0;
      // What is not active is not read: it may be anything.
      if (op.isGated)
        gate = e.choose(
            isActive,
            [&] {
              return SmallVector<Term>{e.load(e.advance(gates, group * 4), e.b.getF32Type())};
            },
            [&] { return SmallVector<Term>{e.f32(0.0)}; })[0];
    }
    auto compute = [&] {
      SmallVector<Term> values =
          e.loadF32s(e.at(input, {token, column}), input.getElementType(), vector);
      SmallVector<Term> weights;
      if (op.norm) {
        const GpuBuffer &norm = kernels.buffer(op.norm);
        weights = e.loadF32s(e.at(norm, {column}), norm.getElementType(), vector);
      }
      for (auto [v, value] : llvm::enumerate(values)) {
        if (op.norm)
          value = value * scale * weights[v];
        if (gate)
          value = value * gate;
      }
      return values;
    };
    SmallVector<Term> values =
        op.routing
            ? e.choose(isActive, compute, [&] { return SmallVector<Term>(vector, e.f32(0.0)); })
            : compute();
    e.storeF32s(values, e.at(result, {row, column}), result.getElementType());
  });
}

void BucketTokensWriter::write(Term row) {
  if (op.routing) {
    numGroups = cast<RoutingType>(op.routing.getType()).getNumGroups();
    int64_t places = e.reserveShared(kRowWarps * numGroups * 8);
    gates = e.advance(e.shared(places), e.warp() * (numGroups * 8));
    active = e.advance(gates, e.i32(numGroups * 4));
  }
  if (width / numGroups % 4 == 0)
    vector = 4;
  Term token = op.order ? e.loadI32(kernels.buffer(op.order), {row}) : row;
  writeRow(row, token);
}

static LogicalResult emit(GpuKernelSet &kernels, const TokenLayout &layout) {
  addForRows(kernels, [&](Term row) { BucketTokensWriter(kernels, layout).write(row); });
  return success();
}

LogicalResult mlir::mohd::emitGpuBucketTokens(GpuKernelSet &kernels, BucketTokensOp op) {
  return emit(kernels, {op.getInput(), op.getNorm(), op.getRouting(), op.getOrder(), op.getResult(),
                        op.getEpsilon().convertToDouble(), !op.getUngated()});
}

LogicalResult mlir::mohd::emitGpuGate(GpuKernelSet &kernels, GateOp op) {
  return emit(kernels,
              {op.getInput(), Value(), op.getRouting(), Value(), op.getResult(), 0.0, true});
}
