// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention over a KV cache: which kernels serve how many tokens.
//
// | tokens | kernel |
// |---|---|
// | 1..16 | a block for each token, key head and part of the cache's rows, which its warps share; then a warp's width of threads adds up the parts |
// | more, of few sequences | tiles of 64 or 128 tokens of a head, with the tensor units |
// | more, of many sequences | as for 1..16, block by block of those tiles |
// | more, shapes without tiles | as for 1..16, with smaller blocks |
#include "Attention.h"

#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace mlir::mohd;

std::pair<tile::Half, int64_t> mlir::mohd::getAttentionOperands(AttentionOp op) {
  for (Value tensor : {Value(op.getKeys()), Value(op.getQuery())}) {
    Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
    if (!element.isF32())
      return {element.isF16() ? tile::Half::F16 : tile::Half::BF16, 1};
  }
  return {tile::Half::F16, 2};
}

Term mlir::mohd::isMixed(AttentionBody &body, const Term &first, int64_t count) {
  GpuEmitter &e = body.e;
  // Tokens after which another sequence begins, as each warp counts them.
  Term changes = e.i32(0), lane = e.lane();
  for (int64_t i = 0; i < count; i += 32) {
    Term token = first + (lane + i);
    Term last = body.numTokens - 1;
    Term changesHere = body.sequenceOf(min(token, last)) != body.sequenceOf(min(token + 1, last));
    Term isInTile = lane + (i + 1) < count;
    changes = changes + toI32(changesHere & isInTile);
  }
  return e.warpSum(changes) > 3;
}

GpuLaunch mlir::mohd::getAttentionTileLaunch(GpuKernelSet &kernels, AttentionOp op, int64_t few,
                                             int64_t rows, int64_t threads) {
  std::string tokens = kernels.getTokens().str();
  GpuLaunch launch;
  launch.grid = isMany(tokens, few) + "*ceildiv(" + tokens + "," + std::to_string(rows) + ")*" +
                std::to_string(op.getNumHeads());
  launch.threads = threads;
  return launch;
}

/// Makes a kernel whose blocks compute a token's results of some heads each.
static void addRows(GpuKernelSet &kernels, AttentionOp op, StringRef suffix, StringRef tokens,
                    const AttentionRowPlan &plan) {
  int64_t numParts = op.getNumHeads() / plan.heads * plan.slices;
  GpuLaunch launch;
  launch.grid = (tokens + "*" + Twine(numParts)).str();
  launch.threads = 32 * plan.numWarps;
  kernels.add(suffix, launch, [&] {
    AttentionBody body(kernels, op);
    GpuEmitter &e = body.e;
    int64_t shared = reserveAttentionRow(e, plan);
    Term block = e.block(), part = block % numParts;
    emitAttentionRow(body, plan, block / numParts, part / plan.slices * plan.heads,
                     part % plan.slices, shared);
  });
}

/// Parts of a cache for few tokens, and the rows that one has at least.
static constexpr int64_t kMaxParts = 32, kMinPartRows = 128;

namespace {
/// The parts of the rows that a token sees.
struct PartCount {
  Term rows, parts;
  PartCount(AttentionBody &body, const Term &token, int64_t numParts)
      : rows(body.lastOf(token) + 1),
        parts(max(min(ceilDiv(rows, kMinPartRows), body.e.i32(numParts)), body.e.i32(1))) {}
};
} // namespace

/// Makes the kernels for few tokens: blocks for `numParts` parts of the rows, and blocks that add them up.
static void addParts(GpuKernelSet &kernels, AttentionOp op, StringRef tokens,
                     const AttentionRowPlan &plan, int64_t numParts) {
  int64_t numHeads = op.getNumHeads(), pitch = op.getHeadDim() + 2;
  int64_t numBlocks = numHeads / plan.heads * numParts;
  kernels.addScratch(kFewTokens * numHeads * numParts * pitch);
  // Of a token, a head and a part.
  auto placeOf = [&](GpuEmitter &e, const Term &token, const Term &head, const Term &part) {
    Term place = (token * numHeads + head) * numParts + part;
    return e.advance(kernels.scratch().pointer, place * (4 * pitch));
  };
  GpuLaunch launch;
  launch.grid = (tokens + "*" + Twine(numBlocks)).str();
  launch.threads = 32 * plan.numWarps;
  kernels.add("rows", launch, [&] {
    AttentionBody body(kernels, op);
    GpuEmitter &e = body.e;
    int64_t shared = reserveAttentionRow(e, plan);
    Term block = e.block(), token = block / numBlocks, number = block % numParts;
    Term head = block % numBlocks / numParts * plan.heads;
    PartCount count(body, token, numParts);
    e.when(number < count.parts, [&] {
      AttentionPart part;
      Term size = (count.rows + count.parts - 1) / count.parts;
      part.begin = min(number * size, count.rows);
      part.end = min(part.begin + size, count.rows);
      part.isWhole = count.parts == 1;
      part.to = placeOf(e, token, head, number);
      part.headBytes = 4 * pitch * numParts;
      emitAttentionRow(body, plan, token, head, e.i32(0), shared, &part);
    });
  });
  launch.grid = (tokens + "*" + Twine(numHeads)).str();
  launch.threads = std::clamp<int64_t>(llvm::alignTo(op.getHeadDim(), 32), 32, 256);
  kernels.add("combine", launch, [&] {
    AttentionBody body(kernels, op);
    GpuEmitter &e = body.e;
    Term token = e.block() / numHeads, head = e.block() % numHeads;
    PartCount count(body, token, numParts);
    e.when(count.parts > 1, [&] {
      Type f32 = e.b.getF32Type();
      Value from = placeOf(e, token, head, e.i32(0));
      // Each lane has the statistics of a part.
      Term lane = e.lane(), isThere = lane < count.parts;
      Value statistics = e.advance(from, (min(lane, count.parts - 1) * pitch + (pitch - 2)) * 4);
      Term none = e.f32(-std::numeric_limits<double>::infinity()), zero = e.f32(0.0);
      Term largest = select(isThere, e.load(statistics, f32), none);
      Term sum = e.load(e.advance(statistics, e.i32(4)), f32);
      Term all = e.warpReduce(largest, [](Term lhs, Term rhs) { return max(lhs, rhs); });
      Term factor = e.exp2(largest - select(all == none, zero, all));
      factor = factor / e.warpSum(select(isThere, sum * factor, zero));
      SmallVector<Term> factors;
      for (int64_t i = 0; i < numParts; ++i)
        factors.push_back(e.broadcast(factor, e.i32(i)));
      e.loop(e.thread(), e.i32(op.getHeadDim()), launch.threads, [&](Term column) {
        Term total = zero;
        for (int64_t i = 0; i < numParts; ++i) {
          Term part = min(e.i32(i), count.parts - 1);
          Term value = e.load(e.advance(from, (part * pitch + column) * 4), f32);
          // A part that is not there counts as nothing, not as 0 * Inf.
          total = select(count.parts > i, fma(factors[i], value, total), total);
        }
        e.storeF32(total, body.result, {token, head * op.getHeadDim() + column});
      });
    });
  });
}

/// Makes the kernel for the tokens that a kernel of tiles of `tile` tokens leaves out.
static void addMixedRows(GpuKernelSet &kernels, AttentionOp op, const AttentionRowPlan &plan,
                         int64_t tile) {
  constexpr int64_t kTokens = 8; // of an item of work, all of one tile
  int64_t numParts = op.getNumHeads() / plan.heads;
  assert(plan.slices == 1 && "tiles have heads that fit");
  std::string tokens = kernels.getTokens().str();
  GpuLaunch launch;
  launch.grid = isMany(tokens, kFewTokens) + "*min(2048,ceildiv(" + tokens + "," +
                std::to_string(kTokens) + ")*" + std::to_string(numParts) + ")";
  launch.threads = 32 * plan.numWarps;
  kernels.add("mixed", launch, [&] {
    AttentionBody body(kernels, op);
    GpuEmitter &e = body.e;
    int64_t shared = reserveAttentionRow(e, plan);
    Term numItems = ceilDiv(body.numTokens, kTokens) * numParts;
    e.loop(e.block(), numItems, e.numBlocks(), [&](Term item) {
      Term first = item / numParts * kTokens, part = item % numParts;
      e.when(isMixed(body, first / tile * tile, tile), [&] {
        e.loop(first, min(first + kTokens, body.numTokens), 1, [&](Term token) {
          emitAttentionRow(body, plan, token, part * plan.heads, e.i32(0), shared);
        });
      });
    });
  });
}

LogicalResult mlir::mohd::emitGpuAttention(GpuKernelSet &kernels, AttentionOp op) {
  StringRef tokens = kernels.getTokens();
  // Few blocks need much of the cache on its way at once; many share an SM.
  AttentionRowPlan wide(op, /*numWarps=*/8, /*maxHeads=*/4, /*numRegisters=*/152);
  AttentionRowPlan narrow(op, /*numWarps=*/4, /*maxHeads=*/8, /*numRegisters=*/100);
  std::string few = isFew(tokens, kFewTokens) + "*" + tokens.str();
  // So many parts that a token has some 128 blocks.
  int64_t numParts = llvm::bit_floor(uint64_t(128 / (op.getNumHeads() / wide.heads)));
  if (wide.slices == 1 && numParts > 1)
    addParts(kernels, op, few, wide, std::min(numParts, kMaxParts));
  else
    addRows(kernels, op, "rows", few, wide);
  int64_t tile = addAttentionWgmma(kernels, op, kFewTokens);
  if (tile == 0)
    tile = addAttentionTiles(kernels, op, kFewTokens);
  if (tile != 0)
    addMixedRows(kernels, op, narrow, tile);
  else
    addRows(kernels, op, "many", isMany(tokens, kFewTokens) + "*" + tokens.str(), narrow);
  return success();
}
