// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.gate, mohd.gather_groups and mohd.scatter_groups.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kGateTokens = 8;

std::string mlir::mohd::gridOfGate(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGateTokens, tokens);
}

/// Writes rows of `result`: load(token, slot, offset, width) in the active groups, 0 in the others.
static void
writeGroups(KernelEmitter &e, RoutingType routing, Value indices, Value result,
            llvm::function_ref<Value(Value token, Value slot, Value offset, int64_t width)> load) {
  int64_t width = cast<MemRefType>(result.getType()).getDimSize(1),
          groupWidth = width / routing.getNumGroups();
  auto clear = [&](Value token, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value column) { e.store(e.f32(0), result, {token, column}); });
  };
  auto writeToken = [&](Value token) {
    // `done` columns are written; active groups come in ascending order.
    auto writeSlot = [&](Value slot, ValueRange done) {
      Value first = e.mul(e.loadIndex(indices, {token, slot}), e.index(groupWidth));
      clear(token, done[0], first);
      e.columns(groupWidth, e.lanes, [&](Value offset, int64_t vectorWidth) {
        e.store(load(token, slot, offset, vectorWidth), result, {token, e.add(first, offset)});
      });
      return SmallVector<Value>{e.add(first, e.index(groupWidth))};
    };
    Value done =
        e.loop(e.index(0), e.index(routing.getNumActive()), 1, e.index(0), writeSlot).front();
    clear(token, done, e.index(width));
  };
  e.tasks(kGateTokens,
          [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, writeToken); });
}

void mlir::mohd::emitGate(KernelEmitter &e, GateOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], indices = operands[1], gates = operands[2];
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.getNumGroups();
  writeGroups(e, routing, indices, results[0],
              [&](Value token, Value slot, Value offset, int64_t width) -> Value {
                Value first = e.mul(e.loadIndex(indices, {token, slot}), e.index(groupWidth));
                Value gate = e.splat(e.loadScalar(gates, {token, slot}), width);
                Value data = e.load(input, {token, e.add(first, offset)}, width);
                return arith::MulFOp::create(e.b, data, gate);
              });
}

void mlir::mohd::emitScatterGroups(KernelEmitter &e, ScatterGroupsOp op, ValueRange operands,
                                   ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getType().getDimSize(1) / routing.getNumGroups();
  writeGroups(e, routing, operands[1], results[0],
              [&](Value token, Value slot, Value offset, int64_t width) {
                Value column = e.add(e.mul(slot, e.index(groupWidth)), offset);
                return e.load(operands[0], {token, column}, width);
              });
}

void mlir::mohd::emitGatherGroups(KernelEmitter &e, GatherGroupsOp op, ValueRange operands,
                                  ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.getNumGroups();
  auto gather = [&](Value token, Value slot) {
    Value from = e.mul(e.loadIndex(operands[1], {token, slot}), e.index(groupWidth));
    Value to = e.mul(slot, e.index(groupWidth));
    e.columns(groupWidth, e.lanes, [&](Value offset, int64_t width) {
      e.store(e.load(operands[0], {token, e.add(from, offset)}, width), results[0],
              {token, e.add(to, offset)});
    });
  };
  e.tasks(kGateTokens, [&](Value, Value lower, Value upper) {
    e.loop(lower, upper, 1, [&](Value token) {
      e.loop(e.index(0), e.index(routing.getNumActive()), 1,
             [&](Value slot) { gather(token, slot); });
    });
  });
}
