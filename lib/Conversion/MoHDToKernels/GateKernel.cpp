// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.gate.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kGateTokens = 8;

std::string mlir::mohd::gridOfGate(GateOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, kGateTokens, tokens);
}

void mlir::mohd::emitGate(KernelEmitter &e, GateOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], indices = operands[1], gates = operands[2], result = results[0];
  RoutingType routing = op.getRouting().getType();
  int64_t width = op.getInput().getType().getDimSize(1),
          groupWidth = width / routing.getNumGroups();
  auto clear = [&](Value token, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value column) { e.store(e.f32(0), result, {token, column}); });
  };
  auto gateToken = [&](Value token) {
    // `done` columns are written; active groups come in ascending order.
    Value done = e.loop(e.index(0), e.index(routing.getNumActive()), 1, e.index(0),
                        [&](Value slot, ValueRange carried) {
                          Value first =
                              e.mul(e.loadIndex(indices, {token, slot}), e.index(groupWidth));
                          clear(token, carried[0], first);
                          Value gate = e.loadScalar(gates, {token, slot});
                          e.columns(groupWidth, e.lanes, [&](Value offset, int64_t vectorWidth) {
                            Value column = e.add(first, offset);
                            Value data = e.load(input, {token, column}, vectorWidth);
                            e.store(arith::MulFOp::create(e.b, data, e.splat(gate, vectorWidth)),
                                    result, {token, column});
                          });
                          return SmallVector<Value>{e.add(first, e.index(groupWidth))};
                        })[0];
    clear(token, done, e.index(width));
  };
  e.tasks(kGateTokens,
          [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, gateToken); });
}
