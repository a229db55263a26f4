// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that walk each token's active groups: mohd.gate, mohd.spmm and mohd.sddmm.
//
// T tokens, N groups of d_e columns, K active groups. A task of spmm is a tile of columns of E,
// held in registers, for a block of tokens: the tile's weights stay in the cache from one token to
// the next. A task of sddmm is a tile of one group for a block of tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task of spmm and sddmm: enough to use a weight often, few enough to give every
/// thread work.
static constexpr int64_t kProductTokens = 32;
/// Tokens in a task of gate.
static constexpr int64_t kGateTokens = 8;

int64_t mlir::mohd::getTileWidth(int64_t columns, int64_t lanes) {
  for (int64_t vectors = 8; vectors >= 4; --vectors)
    if (columns % (vectors * lanes) == 0)
      return vectors * lanes;
  return 8 * lanes;
}

/// True if a plan says that all groups are walked; all are active then, and slot i is group i.
static bool walksAllGroups(std::optional<PlanAttr> plan) {
  return plan && plan->getStrategy() == Strategy::Dense;
}

//===----------------------------------------------------------------------===//
// mohd.gate
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfGate(GateOp op, int64_t lanes, StringRef tokens) {
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

//===----------------------------------------------------------------------===//
// mohd.spmm
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfSpmm(SpmmOp op, int64_t lanes, StringRef tokens) {
  int64_t columns = op.getWeight().getType().getDimSize(2);
  return KernelEmitter::gridOf(llvm::divideCeil(columns, getTileWidth(columns, lanes)),
                               kProductTokens, tokens);
}

void mlir::mohd::emitSpmm(KernelEmitter &e, SpmmOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], indices = operands[1], gates = operands[2], weight = operands[3];
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getWeight().getType().getDimSize(1),
          columns = op.getWeight().getType().getDimSize(2);
  bool allGroups = walksAllGroups(op.getPlan());

  auto computeTile = [&](Value token, Value column, ArrayRef<Segment> segments) {
    SmallVector<Value> sums =
        e.loop(e.index(0), e.index(routing.getNumActive()), 1, e.zeros(segments),
               [&](Value slot, ValueRange acc) {
                 Value group = allGroups ? slot : e.loadIndex(indices, {token, slot});
                 Value first = e.mul(group, e.index(groupWidth)),
                       gate = e.loadScalar(gates, {token, slot});
                 auto gatedInput = [&](Value row) -> Value {
                   return arith::MulFOp::create(e.b, gate,
                                                e.loadScalar(input, {token, e.add(first, row)}));
                 };
                 return e.addRows(acc, groupWidth, gatedInput, weight, group, column, segments);
               });
    e.storeSegments(sums, results[0], token, column, segments);
  };
  e.tasks(kProductTokens, [&](Value tile, Value lower, Value upper) {
    e.columnTile(columns, getTileWidth(columns, e.lanes), tile,
                 [&](Value column, ArrayRef<Segment> segments) {
                   e.loop(lower, upper, 1,
                          [&](Value token) { computeTile(token, column, segments); });
                 });
  });
}

//===----------------------------------------------------------------------===//
// mohd.sddmm
//===----------------------------------------------------------------------===//

/// Number of column tiles of a group of sddmm's result.
static int64_t getTilesPerGroup(int64_t groupWidth, int64_t lanes) {
  return llvm::divideCeil(groupWidth, getTileWidth(groupWidth, lanes));
}

std::string mlir::mohd::gridOfSddmm(SddmmOp op, int64_t lanes, StringRef tokens) {
  RankedTensorType weight = op.getWeight().getType(); // [N, E, d_e]
  return KernelEmitter::gridOf(weight.getDimSize(0) * getTilesPerGroup(weight.getDimSize(2), lanes),
                               kProductTokens, tokens);
}

/// The product of a token and `segments` of a group's weight from `column` on. A group of one
/// column is a dot product.
static SmallVector<Value> multiplyGroup(KernelEmitter &e, Value input, Value weight, Value token,
                                        Value group, Value column, ArrayRef<Segment> segments) {
  auto type = cast<MemRefType>(weight.getType());
  int64_t inner = type.getDimSize(1);
  if (type.getDimSize(2) > 1)
    return e.addRows(
        e.zeros(segments), inner, [&](Value row) { return e.loadScalar(input, {token, row}); },
        weight, group, column, segments);
  SmallVector<ReassociationIndices> dims = {{0}, {1, 2}};
  Value rows = memref::CollapseShapeOp::create(e.b, weight, dims);
  return {e.splat(e.dot(input, {token, e.index(0)}, rows, {group, e.index(0)}, inner), 1)};
}

void mlir::mohd::emitSddmm(KernelEmitter &e, SddmmOp op, ValueRange operands, ValueRange results) {
  Value input = operands[0], indices = operands[1], weight = operands[3], result = results[0];
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getWeight().getType().getDimSize(2);
  int64_t tileWidth = getTileWidth(groupWidth, e.lanes),
          tilesPerGroup = getTilesPerGroup(groupWidth, e.lanes);
  bool allGroups = walksAllGroups(op.getPlan());

  auto computeTile = [&](Value token, Value group, Value column, ArrayRef<Segment> segments) {
    Value resultColumn = e.add(e.mul(group, e.index(groupWidth)), column);
    auto multiply = [&] {
      SmallVector<Value> sums = multiplyGroup(e, input, weight, token, group, column, segments);
      e.storeSegments(sums, result, token, resultColumn, segments);
    };
    auto clear = [&] { e.storeSegments(e.zeros(segments), result, token, resultColumn, segments); };
    if (allGroups)
      return multiply();
    e.branch(e.isActive(indices, token, group, routing), multiply, clear);
  };
  e.tasks(kProductTokens, [&](Value part, Value lower, Value upper) {
    Value group = e.div(part, tilesPerGroup), tile = e.rem(part, tilesPerGroup);
    e.columnTile(groupWidth, tileWidth, tile, [&](Value column, ArrayRef<Segment> segments) {
      e.loop(lower, upper, 1, [&](Value token) { computeTile(token, group, column, segments); });
    });
  });
}
