// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernel of mohd.attention: softmax(query . keys^T / sqrt(head_dim)) . values over the rows of a cache, as far as the token's position.
//
// A task is one key head with its H query heads (a share of them where they are many) for a block of tokens. It walks the cache in blocks
// of rows and keeps the softmax's maximum and mass as it goes (Milakov and Gimelshein, arXiv 1805.02867). There are two ways:
//
// - Successive tokens of one sequence (a prompt) together: a column for each token and query head. Columns are the lanes of vectors, and
//   both products multiply an element of the cache, the same for all lanes, by a vector of columns: scores [rows, columns] +=
//   key[row, j] * query[j, columns], sums [j, columns] += value[row, j] * weights[row, columns]. So nothing is added up across lanes, and
//   a block of the cache is read once for all columns.
// - A token alone (decoding): columns of the head are the lanes. A row is read once for several query heads, for all of them where a key
//   head has up to four.
//
// A row that a token may not see has no influence on it, be it NaN: weights that are zero are not multiplied with values.
#include "Attention.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mohd;

/// Columns, one for each token and query head, that a task has if its tokens are many.
static constexpr int64_t kTaskColumns = 64;
/// Elements of a token's queries that a task keeps on the stack, two f32 for each.
static constexpr int64_t kMaxTaskElements = 16384;
/// Widest heads whose tokens are attended together: wider ones take too much of a stack.
static constexpr int64_t kMaxTileHeadDim = 512;

AttentionShape::AttentionShape(AttentionOp op, int64_t lanes)
    : headDim(op.getHeadDim()), panelWidth(2 * lanes) {
  int64_t numShared = std::max<int64_t>(op.getNumHeads() / op.getNumKvHeads(), 1);
  numHeads = std::clamp<int64_t>(kMaxTaskElements / headDim, 1, numShared);
  while (numShared % numHeads != 0)
    --numHeads;
  tasksOfKey = numShared / numHeads;
  // Without `sequence` tokens are of different sequences.
  if (op.getSequence() && headDim <= kMaxTileHeadDim)
    tokensOfTask = std::max<int64_t>(kTaskColumns / numHeads, 1);
  fewestColumns = numHeads % 2 == 0 ? panelWidth : lanes;
  usesTiles = headDim <= kMaxTileHeadDim && tokensOfTask * numHeads >= fewestColumns;
  numPanels = llvm::divideCeil(tokensOfTask * numHeads, panelWidth);
  tileRows = lanes >= 16 ? 8 : 6;
}

/// Calls body(first, end) for each run of successive tokens in [lower, upper) that have the same sequence.
static void forEachRun(Attention &a, Value lower, Value upper,
                       llvm::function_ref<void(Value, Value)> body) {
  KernelEmitter &e = a.e;
  e.loop(lower, upper, 1, lower, [&](Value token, ValueRange first) {
    Value next = e.add(token, e.index(1));
    Value isLast = arith::CmpIOp::create(a.b, arith::CmpIPredicate::eq, next, upper);
    Value other = arith::SelectOp::create(a.b, isLast, token, next);
    Value differs =
        arith::CmpIOp::create(a.b, arith::CmpIPredicate::ne, e.loadIndex(a.sequences, token),
                              e.loadIndex(a.sequences, other));
    Value ends = arith::OrIOp::create(a.b, isLast, differs);
    e.branch(ends, [&] {
      a.sequence = e.loadIndex(a.sequences, token);
      body(first[0], next);
    });
    return SmallVector<Value>{arith::SelectOp::create(a.b, ends, next, first[0])};
  });
}

std::string mlir::mohd::gridOfAttention(AttentionOp op, int64_t lanes, StringRef tokens) {
  AttentionShape shape(op, lanes);
  return KernelEmitter::gridOf(op.getNumHeads() / shape.numHeads, shape.tokensOfTask, tokens);
}

void mlir::mohd::emitAttention(KernelEmitter &e, AttentionOp op, ValueRange operands,
                               ValueRange results) {
  Attention a(e, op, operands, results[0]);
  // Where a single token has columns enough, no token is alone.
  std::unique_ptr<AttentionWay> tiles, tokens;
  if (a.shape.usesTiles)
    tiles = createTileAttention(a);
  if (!a.shape.usesTiles || a.shape.numHeads < a.shape.fewestColumns)
    tokens = createTokenAttention(a);
  auto attend = [&](Value first, Value end) {
    if (!tiles || !tokens)
      return (tiles ? tiles : tokens)->emit(first, end);
    int64_t fewest = llvm::divideCeil(a.shape.fewestColumns, a.shape.numHeads);
    Value isLong =
        arith::CmpIOp::create(e.b, arith::CmpIPredicate::uge, e.sub(end, first), e.index(fewest));
    e.branch(isLong, [&] { tiles->emit(first, end); }, [&] { tokens->emit(first, end); });
  };
  int64_t blockSize = a.shape.tokensOfTask;
  Value lastBlock = e.mul(e.sub(e.ceilDiv(e.numTokens, blockSize), e.index(1)), e.index(blockSize));
  e.tasks(blockSize, [&](Value part, Value lower, Value upper) {
    // Later tokens of a prompt see more rows: they come first, so that no thread starts on them when the others are done.
    lower = e.sub(lastBlock, lower);
    upper = e.min(e.add(lower, e.index(blockSize)), e.numTokens);
    a.column = e.mul(e.div(part, a.shape.tasksOfKey), e.index(a.shape.headDim));
    a.firstHead = e.mul(part, e.index(a.shape.numHeads));
    if (a.sequences)
      return forEachRun(a, lower, upper, attend);
    a.sequence = lower; // tokensOfTask is 1
    attend(lower, upper);
  });
}
