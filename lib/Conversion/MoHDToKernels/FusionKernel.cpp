// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of group fusion: mohd.group_fusion in its block-diagonal form, and mohd.mix_groups, the
// second factor of the Monarch form (the first is a mohd.tiled_sddmm).
//
// A task of the block-diagonal form does some rows of one block for a block of tokens. A task of mix_groups is a panel of columns
// for a block of tokens: the panel's weights, [r, s, P], stay in the cache, a token's sums for some s in registers. For more than a few tokens they are
// copied to lie side by side: rows of a power of two bytes are in each other's way in a cache.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kFusionTokens = 16;
/// Rows of one block in a task of block_diagonal: a cache line of results.
static constexpr int64_t kFusionRows = 16;

std::string mlir::mohd::gridOfGroupFusion(GroupFusionOp op, StringRef tokens) {
  auto partsOf = [](int64_t rows) { return llvm::divideCeil(rows, kFusionRows); };
  int64_t parts = 1;
  if (op.getKind() == Fusion::BlockDiagonal)
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
    bias = take(op.getBias());
    if (op.getRouting())
      indices = operands[0];
  }
  Value input, right, bias, indices;
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
    return; // no kernel: the caller refuses it
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

//===----------------------------------------------------------------------===//
// mohd.mix_groups
//===----------------------------------------------------------------------===//

/// Sums of a token that are in registers at once: half of these, of which targets have 32 with vectors of 16 lanes and 16 with narrower ones.
static int64_t getMixSums(int64_t lanes) { return lanes >= 16 ? 16 : 8; }
/// Tokens of a task of mix_groups, those from which on it copies its weights, and their number at most.
static constexpr int64_t kMixTokens = 64, kMixCopyTokens = 16, kMixCopyWeights = 1 << 14;

std::string mlir::mohd::gridOfMixGroups(MixGroupsOp op, StringRef tokens) {
  return KernelEmitter::gridOf(op.getWeight().getType().getDimSize(1), kMixTokens, tokens);
}

namespace {

/// Writes the kernel of mohd.mix_groups.
class MixEmitter {
public:
  MixEmitter(KernelEmitter &e, MixGroupsOp op, ValueRange operands, Value result)
      : e(e), numBlocks(op.getWeight().getType().getDimSize(0)),
        numResults(op.getWeight().getType().getDimSize(2)),
        panel(op.getWeight().getType().getDimSize(3)),
        columns(op.getInput().getType().getDimSize(1) / numBlocks),
        numActive(op.getRouting() ? op.getRouting().getType().getNumActive() : numBlocks),
        input(operands[0]), weight(operands[1]),
        indices(op.getRouting() && numActive < numBlocks ? operands[2] : Value()),
        residual(op.getResidual() ? operands.back() : Value()), result(result) {}

  void emit() {
    bool mayCopy = numBlocks * numResults * panel <= kMixCopyWeights;
    if (mayCopy)
      copied = e.array({numBlocks, 1, numResults, panel});
    e.tasks(kMixTokens, [&](Value part, Value lower, Value upper) {
      auto mixAll = [&](Value from, Value fromPart) {
        e.columnTile(columns, panel, part, [&](Value column, ArrayRef<Segment> segments) {
          e.loop(lower, upper, 1, [&](Value token) {
            for (Segment segment : segments)
              mixToken(token, {from, fromPart}, column, segment);
          });
        });
      };
      if (!mayCopy)
        return mixAll(weight, part);
      Value isMany = arith::CmpIOp::create(e.b, arith::CmpIPredicate::uge, e.sub(upper, lower),
                                           e.index(kMixCopyTokens));
      auto mixCopied = [&] {
        copyWeights(part);
        mixAll(copied, e.index(0));
      };
      e.branch(isMany, mixCopied, [&] { mixAll(weight, part); });
    });
  }

private:
  /// A panel of the weights: number `part` of those in `buffer`.
  struct Panel {
    Value buffer, part;
  };

  void copyWeights(Value part);
  void mixToken(Value token, const Panel &from, Value column, Segment segment);
  void mix(Value token, const Panel &from, Value column, Segment segment, Value first,
           int64_t count);
  Value place(Value block, Value column, Segment segment) {
    return e.add(e.mul(block, e.index(columns)), e.add(column, e.index(segment.offset)));
  }

  KernelEmitter &e;
  const int64_t numBlocks, numResults, panel, columns, numActive; // r, s, P, L, active blocks
  const Value input, weight, indices, residual, result;
  Value copied; // [r, 1, s, P] f32
};

} // namespace

/// Copies the weights of a panel.
void MixEmitter::copyWeights(Value part) {
  int64_t width = std::min(e.lanes, panel);
  e.loop(e.index(0), e.index(numBlocks), 1, [&](Value block) {
    e.loop(e.index(0), e.index(numResults), 1, [&](Value number) {
      e.loop(e.index(0), e.index(panel), width, [&](Value column) {
        e.store(e.load(weight, {block, part, number, column}, width), copied,
                {block, e.index(0), number, column});
      });
    });
  });
}

/// All results of a token in the columns of `segment`.
void MixEmitter::mixToken(Value token, const Panel &from, Value column, Segment segment) {
  int64_t most = getMixSums(e.lanes), whole = numResults / most * most;
  e.loop(e.index(0), e.index(whole), most,
         [&](Value first) { mix(token, from, column, segment, first, most); });
  if (whole < numResults)
    mix(token, from, column, segment, e.index(whole), numResults - whole);
}

/// Results [first, +count) of a token in the columns of `segment`.
void MixEmitter::mix(Value token, const Panel &from, Value column, Segment segment, Value first,
                     int64_t count) {
  auto number = [&](int64_t i) { return e.add(first, e.index(i)); };
  SmallVector<Value> sums;
  for (int64_t i = 0; i < count; ++i)
    sums.push_back(residual
                       ? e.load(residual, {token, place(number(i), column, segment)}, segment.width)
                       : e.splat(e.f32(0), segment.width));
  sums = e.loop(e.index(0), e.index(numActive), 1, sums, [&](Value slot, ValueRange carried) {
    Value block = indices ? e.loadIndex(indices, {token, slot}) : slot;
    Value factor = e.load(input, {token, place(block, column, segment)}, segment.width);
    SmallVector<Value> next;
    for (auto [i, sum] : llvm::enumerate(carried)) {
      Value at[] = {block, from.part, number(i), e.index(segment.offset)};
      next.push_back(e.fma(e.load(from.buffer, at, segment.width), factor, sum));
    }
    return next;
  });
  for (auto [i, sum] : llvm::enumerate(sums))
    e.store(sum, result, {token, place(number(i), column, segment)});
}

void mlir::mohd::emitMixGroups(KernelEmitter &e, MixGroupsOp op, ValueRange operands,
                               ValueRange results) {
  MixEmitter(e, op, operands, results[0]).emit();
}
