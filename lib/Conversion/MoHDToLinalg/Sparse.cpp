// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference lowering of the ops that walk active groups: every group is walked, and what is not
// active is masked. A mask chooses and never multiplies, so that an infinity in an inactive group
// does no harm.
//
// Before:  %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
// After:   %y = linalg.generic outs(tensor<?x96xf32>) { sum over i < 16 of select(active[t, i], sum over p < 4 of g * x * w, 0) }
//
// Test: test/Conversion/MoHDToLinalg/sparse.mlir
#include "LoopEmitter.h"

#include "mohd/Conversion/MoHDToLinalg/MoHDToLinalg.h"

using namespace mlir;
using namespace mlir::mohd;

static Value emitGate(LoopEmitter &e, GateOp op, ConvertedOperands<GateOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front();
  Value active = routing.emitActive(e), gates = routing.emitDenseGates(e);
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.type.getNumGroups();
  return e.tensorLike(input, [&](ValueRange at) {
    Value group = e.divIndex(at[1], groupWidth);
    Value gated = e.mul(e.read(gates, {at[0], group}), e.read(input, at));
    return e.masked(e.read(active, {at[0], group}), gated);
  });
}

static Value emitGatherGroups(LoopEmitter &e, GatherGroupsOp op,
                              ConvertedOperands<GatherGroupsOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.type.getNumGroups();
  OpFoldResult width = e.b.getIndexAttr(op.getType().getDimSize(1));
  return e.tensor({e.dim(input, 0), width}, elementOf(input), [&](ValueRange at) {
    Value group = e.readIndex(routing.indices, {at[0], e.divIndex(at[1], groupWidth)});
    Value column = e.addIndex(e.scaleIndex(group, groupWidth), e.remIndex(at[1], groupWidth));
    return e.read(input, {at[0], column});
  });
}

static Value emitScatterGroups(LoopEmitter &e, ScatterGroupsOp op,
                               ConvertedOperands<ScatterGroupsOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front();
  int64_t width = op.getType().getDimSize(1), groupWidth = width / routing.type.getNumGroups();
  return e.tensor({e.dim(input, 0), e.b.getIndexAttr(width)}, elementOf(input), [&](ValueRange at) {
    Value group = e.divIndex(at[1], groupWidth), place = e.remIndex(at[1], groupWidth);
    auto choose = [&](Value slot, Value found) {
      Value isHere = e.equal(e.readIndex(routing.indices, {at[0], slot}), group);
      Value column = e.addIndex(e.scaleIndex(slot, groupWidth), place);
      return e.select(isHere, e.read(input, {at[0], column}), found);
    };
    return e.loop(e.index(0), e.index(routing.type.getNumActive()), e.f32(0), choose);
  });
}

static Value emitSpmm(LoopEmitter &e, SpmmOp op, ConvertedOperands<SpmmOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front(), weight = operands.getWeight().front();
  Value active = routing.emitActive(e), gates = routing.emitDenseGates(e);
  ArrayRef<int64_t> shape = op.getWeight().getType().getShape(); // [N, d_e, E]
  return e.tensor({e.dim(input, 0), e.dim(weight, 2)}, elementOf(input), [&](ValueRange at) {
    return e.sum(e.index(shape[0]), [&](Value i) {
      Value gate = e.read(gates, {at[0], i});
      Value part = e.sum(e.index(shape[1]), [&](Value p) {
        Value x = e.read(input, {at[0], e.addIndex(e.scaleIndex(i, shape[1]), p)});
        return e.mul(e.mul(gate, x), e.read(weight, {i, p, at[1]}));
      });
      return e.masked(e.read(active, {at[0], i}), part);
    });
  });
}

static Value emitSddmm(LoopEmitter &e, SddmmOp op, ConvertedOperands<SddmmOp> operands) {
  RoutingTensors routing(op.getRouting().getType(), operands.getRouting());
  Value input = operands.getInput().front(), weight = operands.getWeight().front();
  Value active = routing.emitActive(e);
  ArrayRef<int64_t> shape = op.getWeight().getType().getShape(); // [N, E, d_e]
  OpFoldResult width = e.b.getIndexAttr(shape[0] * shape[2]);
  return e.tensor({e.dim(input, 0), width}, elementOf(input), [&](ValueRange at) {
    Value group = e.divIndex(at[1], shape[2]), p = e.remIndex(at[1], shape[2]);
    Value dot = e.sum(e.index(shape[1]), [&](Value i) {
      return e.mul(e.read(input, {at[0], i}), e.read(weight, {group, i, p}));
    });
    return e.masked(e.read(active, {at[0], group}), dot);
  });
}

/// The right factor of a fusion, [tokens, k*q]: block k of the input times right[k], plus the bias
/// if there is one.
static Value emitBlocks(LoopEmitter &e, GroupFusionOp op, ConvertedOperands<GroupFusionOp> operands,
                        Type element) {
  Value input = operands.getInput().front(), right = operands.getRight().front(), active;
  if (op.getRouting())
    active = RoutingTensors(op.getRouting().getType(), operands.getRouting()).emitActive(e);
  ArrayRef<int64_t> shape = op.getRight().getType().getShape(); // [k, q, p]
  OpFoldResult width = e.b.getIndexAttr(shape[0] * shape[1]);
  return e.tensor({e.dim(input, 0), width}, element, [&](ValueRange at) {
    Value block = e.divIndex(at[1], shape[1]), row = e.remIndex(at[1], shape[1]);
    Value dot = e.sum(e.index(shape[2]), [&](Value p) {
      Value x = e.read(input, {at[0], e.addIndex(e.scaleIndex(block, shape[2]), p)});
      return e.mul(e.read(right, {block, row, p}), x);
    });
    if (active)
      dot = e.masked(e.read(active, {at[0], block}), dot);
    return op.getBias() ? e.add(dot, e.read(operands.getBias().front(), {at[1]})) : dot;
  });
}

static Value emitGroupFusion(LoopEmitter &e, GroupFusionOp op,
                             ConvertedOperands<GroupFusionOp> operands) {
  Value input = operands.getInput().front();
  if (op.getKind() == Fusion::None)
    return input;
  if (op.getKind() == Fusion::BlockDiagonal)
    return emitBlocks(e, op, operands, elementOf(input));
  Value blocks = emitBlocks(e, op, operands, e.b.getF32Type()), left = operands.getLeft().front();
  ArrayRef<int64_t> shape = op.getLeft().getType().getShape(); // [l, s, r]
  OpFoldResult width = e.b.getIndexAttr(shape[0] * shape[1]);
  return e.tensor({e.dim(input, 0), width}, elementOf(input), [&](ValueRange at) {
    Value s = e.divIndex(at[1], shape[0]), l = e.remIndex(at[1], shape[0]);
    return e.sum(e.index(shape[2]), [&](Value r) {
      return e.mul(e.read(left, {l, s, r}),
                   e.read(blocks, {at[0], e.addIndex(e.scaleIndex(r, shape[0]), l)}));
    });
  });
}

void mlir::mohd::populateSparseToLinalgPatterns(TypeConverter &converter,
                                                RewritePatternSet &patterns) {
  patterns.add<LowerToLoops<GateOp, emitGate>, LowerToLoops<GatherGroupsOp, emitGatherGroups>,
               LowerToLoops<ScatterGroupsOp, emitScatterGroups>, LowerToLoops<SpmmOp, emitSpmm>,
               LowerToLoops<SddmmOp, emitSddmm>, LowerToLoops<GroupFusionOp, emitGroupFusion>>(
      converter, patterns.getContext());
}
