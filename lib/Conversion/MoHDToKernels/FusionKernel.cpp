// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of mohd.group_fusion.
//
// Monarch with `right` [k, q, p] and `left` [l, s, r] falls apart into l independent products:
// column l of the middle, u[r*L + l] for all r, needs one row of `right` for each r and feeds the
// results y[s*L + l]. A task does some of these l for a block of tokens, with u for one l in an
// array of r numbers. A task of the block-diagonal form does some rows of one block for a block of
// tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kFusionTokens = 16;
/// Rows in a task: of l (monarch), of one block (block_diagonal). A cache line of results.
static constexpr int64_t kFusionRows = 16;

std::string mlir::mohd::gridOfGroupFusion(GroupFusionOp op, int64_t lanes, StringRef tokens) {
  auto partsOf = [](int64_t rows) { return llvm::divideCeil(rows, kFusionRows); };
  int64_t parts = 1;
  if (op.getKind() == Fusion::Monarch)
    parts = partsOf(op.getLeft().getType().getDimSize(0));
  else if (op.getKind() == Fusion::BlockDiagonal)
    parts = op.getRight().getType().getDimSize(0) * partsOf(op.getRight().getType().getDimSize(1));
  return KernelEmitter::gridOf(parts, kFusionTokens, tokens);
}

namespace {

/// The memrefs of the operands; null for those that are not given.
struct FusionBuffers {
  FusionBuffers(GroupFusionOp op, ValueRange operands) {
    input = operands[0];
    operands = operands.drop_front();
    auto take = [&](Value given) {
      Value first = given ? operands.front() : Value();
      operands = operands.drop_front(given ? 1 : 0);
      return first;
    };
    right = take(op.getRight());
    left = take(op.getLeft());
    bias = take(op.getBias());
    if (op.getRouting())
      indices = operands[0];
  }
  Value input, right, left, bias, indices;
};

/// Calls body(row) for rows [part * kFusionRows, ...) of `rows`.
void forEachRow(KernelEmitter &e, Value part, int64_t rows, llvm::function_ref<void(Value)> body) {
  Value first = e.mul(part, e.index(kFusionRows));
  Value last = e.min(e.add(first, e.index(kFusionRows)), e.index(rows));
  e.loop(first, last, 1, body);
}

/// right[block, row] . input[token, block]
Value multiplyRow(KernelEmitter &e, const FusionBuffers &buffers, Value token, Value block,
                  Value row) {
  int64_t width = cast<MemRefType>(buffers.right.getType()).getDimSize(2);
  return e.dot(buffers.right, {block, row, e.index(0)}, buffers.input,
               {token, e.mul(block, e.index(width))}, width);
}

void emitMonarch(KernelEmitter &e, GroupFusionOp op, const FusionBuffers &buffers, Value result) {
  int64_t rows = op.getRight().getType().getDimSize(1); // q
  int64_t l = op.getLeft().getType().getDimSize(0),
          s = op.getLeft().getType().getDimSize(1); // [l, s, r]
  int64_t r = op.getLeft().getType().getDimSize(2);
  Value middle = e.array({r});
  Value zero = e.index(0);
  // Row `place` = r*L + l of the middle comes from block place / q. If q = L that block is r: only
  // active ones are needed.
  bool skipsInactive = buffers.indices && rows == l;
  auto fillMiddle = [&](Value token, Value column) {
    if (!skipsInactive)
      return e.loop(zero, e.index(r), 1, [&](Value i) {
        Value place = e.add(e.mul(i, e.index(l)), column);
        e.store(multiplyRow(e, buffers, token, e.div(place, rows), e.rem(place, rows)), middle, i);
      });
    e.loop(zero, e.index(r), 1, [&](Value i) { e.store(e.f32(0), middle, i); });
    int64_t numActive = op.getRouting().getType().getNumActive();
    e.loop(zero, e.index(numActive), 1, [&](Value slot) {
      Value block = e.loadIndex(buffers.indices, {token, slot});
      e.store(multiplyRow(e, buffers, token, block, column), middle, block);
    });
  };
  e.tasks(kFusionTokens, [&](Value part, Value lower, Value upper) {
    forEachRow(e, part, l, [&](Value column) {
      e.loop(lower, upper, 1, [&](Value token) {
        fillMiddle(token, column);
        e.loop(zero, e.index(s), 1, [&](Value i) {
          Value sum = e.dot(buffers.left, {column, i, zero}, middle, zero, r);
          e.store(sum, result, {token, e.add(e.mul(i, e.index(l)), column)});
        });
      });
    });
  });
}

void emitBlockDiagonal(KernelEmitter &e, GroupFusionOp op, const FusionBuffers &buffers,
                       Value result) {
  int64_t rows = op.getRight().getType().getDimSize(1);
  int64_t parts = llvm::divideCeil(rows, kFusionRows);
  auto storeRow = [&](Value sum, Value token, Value block, Value row) {
    Value column = e.add(e.mul(block, e.index(rows)), row);
    if (buffers.bias)
      sum = arith::AddFOp::create(e.b, sum, e.loadScalar(buffers.bias, column));
    e.store(sum, result, {token, column});
  };
  auto multiply = [&](Value token, Value block, Value row) {
    storeRow(multiplyRow(e, buffers, token, block, row), token, block, row);
  };
  e.tasks(kFusionTokens, [&](Value part, Value lower, Value upper) {
    Value block = e.div(part, parts), rowPart = e.rem(part, parts);
    e.loop(lower, upper, 1, [&](Value token) {
      auto whole = [&] {
        forEachRow(e, rowPart, rows, [&](Value row) { multiply(token, block, row); });
      };
      auto empty = [&] {
        forEachRow(e, rowPart, rows, [&](Value row) { storeRow(e.f32(0), token, block, row); });
      };
      if (buffers.indices)
        e.branch(e.isActive(buffers.indices, token, block, op.getRouting().getType()), whole,
                 empty);
      else
        whole();
    });
  });
}

} // namespace

void mlir::mohd::emitGroupFusion(KernelEmitter &e, GroupFusionOp op, ValueRange operands,
                                 ValueRange results) {
  FusionBuffers buffers(op, operands);
  switch (op.getKind()) {
  case Fusion::Monarch:
    return emitMonarch(e, op, buffers, results[0]);
  case Fusion::BlockDiagonal:
    return emitBlockDiagonal(e, op, buffers, results[0]);
  case Fusion::None:
    return e.tasks(kFusionTokens, [&](Value, Value lower, Value upper) {
      e.loop(lower, upper, 1, [&](Value token) {
        e.columns(op.getInput().getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
          e.store(e.load(buffers.input, {token, column}, width), results[0], {token, column});
        });
      });
    });
  }
}
