// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the gradients of attention and of KV caches: a warp for each token and query head, or for each row and key head of a cache, whose lanes share the columns of
// the head. The softmax is computed again from the arguments. A sum over tokens is one warp's, in ascending order.
#include "Attention.h"
#include "Launches.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::mohd;

/// Columns of a head whose sums a warp has in registers; more are the work of several warps.
static constexpr int64_t kSliceColumns = 256;

LogicalResult mlir::mohd::emitGpuZeroCache(GpuKernelSet &kernels, ZeroCacheOp op) {
  constexpr int64_t kMostBlocks = 4096;
  int64_t vector = op.getType().getDimSize(3) % 4 == 0 ? 4 : 1;
  std::string size = llvm::join(kernels.getType(op.getResult()).extents, "*");
  GpuLaunch launch;
  launch.threads = kElementThreads;
  launch.grid = ("min(" + Twine(kMostBlocks) + ",ceildiv(" + size + "," +
                 Twine(vector * kElementThreads) + "))")
                    .str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &result = kernels.buffer(op.getResult());
    Term numElements = e.i64(1);
    for (const Term &extent : result.extents)
      numElements = numElements * toI64(extent);
    int64_t bytes = result.getElementType().getIntOrFloatBitWidth() / 8;
    Term first = toI64(e.block()) * kElementThreads + toI64(e.thread());
    e.loop(first * vector, numElements, toI64(e.numBlocks()) * (kElementThreads * vector),
           [&](Term element) {
             e.storeF32s(SmallVector<Term>(vector, e.f32(0.0)),
                         e.advance(result.pointer, element * bytes), result.getElementType());
           });
  });
  return success();
}

LogicalResult mlir::mohd::emitGpuKvCacheAppendGradient(GpuKernelSet &kernels,
                                                       KvCacheAppendGradientOp op) {
  int64_t width = op.getRows().getType().getDimSize(1), vector = width % 4 == 0 ? 4 : 1;
  addForParts(kernels, std::max<int64_t>(width / vector, 1), [&](Term token, Term part) {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &cache = kernels.buffer(op.getResult()), &rows = kernels.buffer(op.getRows());
    Term position = e.loadI32(kernels.buffer(op.getPosition()), {token});
    Term sequence = op.getSequence() ? e.loadI32(kernels.buffer(op.getSequence()), {token}) : token;
    SmallVector<Term> zeros(vector, e.f32(0.0));
    // Nobody has looked at what is in device memory.
    Term isThere = (position >= 0) & (position < cache.extents[2]) & (sequence >= 0) &
                   (sequence < cache.extents[1]);
    auto take = [&] {
      Value place = e.at(cache, {e.i32(0), sequence, position, part * vector});
      SmallVector<Term> values = e.loadF32s(place, cache.getElementType(), vector);
      e.storeF32s(zeros, place, cache.getElementType());
      return values;
    };
    SmallVector<Term> values = e.choose(isThere, take, [&] { return zeros; });
    e.storeF32s(values, e.at(rows, {token, part * vector}), rows.getElementType());
  });
  return success();
}

namespace {

/// What both gradients of an attention are made of, in a warp that has `columns` of a head.
class GradientTerms {
public:
  template <typename OpTy>
  GradientTerms(GpuKernelSet &kernels, OpTy op, const Term &slice)
      : body(kernels, op), e(body.e), grad(kernels.buffer(op.getGrad())),
        statistics(kernels.buffer(op.getStatistics())),
        scale(1.0 / std::sqrt(double(op.getHeadDim()))) {
    int64_t perLane = llvm::divideCeil(std::min(body.headDim, kSliceColumns), 32);
    for (int64_t i = 0; i < perLane; ++i)
      columns.push_back(slice * kSliceColumns + (e.lane() + 32 * i));
  }

  SmallVector<Term> zeros() { return SmallVector<Term>(columns.size(), e.f32(0.0)); }
  Term kvColumn(const Term &head) { return head / body.getRatio() * body.headDim; }
  Term score(const Term &token, const Term &head, const Term &sequence, const Term &row) {
    return dot(body.query, body.keys, token, head, sequence, row) * scale;
  }
  Term product(const Term &token, const Term &head, const Term &sequence, const Term &row) {
    return dot(grad, body.values, token, head, sequence, row);
  }
  /// The gradient of a score, with the factor that queries and keys have.
  Term slope(const Term &weight, const Term &product, const Term &delta) {
    return weight * (product - delta) * scale;
  }
  /// The place of number 0, 1 or 2 of the statistics of a token's head.
  SmallVector<Term> statistic(const Term &token, const Term &head, int64_t number) {
    return {token, head * 3 + number};
  }
  /// sums + factor * buffer[place + columns].
  SmallVector<Term> addRow(ArrayRef<Term> sums, const Term &factor, const GpuBuffer &buffer,
                           ArrayRef<Term> place) {
    SmallVector<Term> next;
    for (auto [sum, column] : llvm::zip_equal(sums, columns)) {
      SmallVector<Term> at(place);
      at.back() = at.back() + min(column, e.i32(body.headDim - 1));
      next.push_back(fma(factor, e.loadF32(buffer, at), sum));
    }
    return next;
  }
  /// Calls store(i, place + column i) for each of the columns that the head has.
  void forColumns(ArrayRef<Term> place, llvm::function_ref<void(size_t, ArrayRef<Term>)> store) {
    for (auto [number, column] : llvm::enumerate(columns)) {
      SmallVector<Term> at(place);
      at.back() = at.back() + column;
      e.when(column < body.headDim, [&] { store(number, at); });
    }
  }

  AttentionBody body;
  GpuEmitter &e;
  const GpuBuffer grad, statistics;
  const double scale;

private:
  Term dot(const GpuBuffer &rows, const GpuBuffer &cache, const Term &token, const Term &head,
           const Term &sequence, const Term &row) {
    return sumOverLanes(e, e.i32(0), e.i32(body.headDim), [&](Term column) {
      return e.loadF32(rows, {token, head * body.headDim + column}) *
             e.loadF32(cache, {e.i32(0), sequence, row, kvColumn(head) + column});
    });
  }

  SmallVector<Term> columns; // of the head
};

} // namespace

LogicalResult mlir::mohd::emitGpuAttentionGradient(GpuKernelSet &kernels, AttentionGradientOp op) {
  int64_t numSlices = llvm::divideCeil(op.getHeadDim(), kSliceColumns);
  int64_t numParts = op.getNumHeads() * numSlices;
  GpuLaunch launch;
  launch.threads = 32 * kRowWarps;
  launch.grid =
      ("ceildiv(" + kernels.getTokens() + "*" + Twine(numParts) + "," + Twine(kRowWarps) + ")")
          .str();
  auto emitPart = [&](const Term &token, const Term &head, const Term &slice) {
    GradientTerms terms(kernels, op, slice);
    GpuEmitter &e = terms.e;
    Term sequence = terms.body.sequenceOf(token), numRows = terms.body.lastOf(token) + 1;
    Term zero = e.i32(0), one = e.i32(1);
    auto score = [&](const Term &row) { return terms.score(token, head, sequence, row); };
    auto product = [&](const Term &row) { return terms.product(token, head, sequence, row); };
    Term lowest = e.f32(-std::numeric_limits<double>::infinity());
    Term largest = e.loop(zero, numRows, one, {lowest}, [&](Term row, ArrayRef<Term> carried) {
      return SmallVector<Term>{max(carried[0], score(row))};
    })[0];
    SmallVector<Term> both =
        e.loop(zero, numRows, one, {e.f32(0.0), e.f32(0.0)}, [&](Term row, ArrayRef<Term> carried) {
          Term power = e.exp(score(row) - largest);
          return SmallVector<Term>{carried[0] + power, carried[1] + power * product(row)};
        });
    Term mass = both[0], delta = both[1] / mass;
    SmallVector<Term> sums =
        e.loop(zero, numRows, one, terms.zeros(), [&](Term row, ArrayRef<Term> carried) {
          Term slope = terms.slope(e.exp(score(row) - largest) / mass, product(row), delta);
          return terms.addRow(carried, slope, terms.body.keys,
                              {zero, sequence, row, terms.kvColumn(head)});
        });
    terms.forColumns({token, head * op.getHeadDim()}, [&](size_t number, ArrayRef<Term> at) {
      e.storeF32(sums[number], terms.body.result, at);
    });
    SmallVector<Term> statistics = {largest, mass, delta};
    e.when((slice == 0) & (e.lane() == 0), [&] {
      for (auto [number, value] : llvm::enumerate(statistics))
        e.storeF32(value, terms.statistics, terms.statistic(token, head, number));
    });
  };
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    Term item = toI64(e.block()) * kRowWarps + toI64(e.warp());
    Term token = toI32(item / numParts), part = toI32(item % numParts);
    e.when(token < kernels.numTokens(),
           [&] { emitPart(token, part / numSlices, part % numSlices); });
  });
  return success();
}

namespace {

/// Adds up what a row of a cache gets for a slice of a key head's columns.
class RowSumEmitter {
public:
  RowSumEmitter(GpuKernelSet &kernels, AttentionCacheGradientOp op, const Term &sequence,
                const Term &row, const Term &kvHead, const Term &slice)
      : op(op), terms(kernels, op, slice), e(terms.e), sequence(sequence), row(row),
        kvHead(kvHead) {}

  void emit();

private:
  SmallVector<Term> addToken(ArrayRef<Term> sums, const Term &token);
  /// Which of the 32 tokens from `first` on see the row.
  Term find(const Term &first, const Term &end) {
    Term token = first + e.lane(), inside = min(token, end - 1);
    return e.ballot((token < end) & (terms.body.sequenceOf(inside) == sequence) &
                    (terms.body.lastOf(inside) >= row));
  }

  AttentionCacheGradientOp op;
  GradientTerms terms;
  GpuEmitter &e;
  Term sequence, row, kvHead;
};

} // namespace

SmallVector<Term> RowSumEmitter::addToken(ArrayRef<Term> sums, const Term &token) {
  int64_t ratio = terms.body.getRatio();
  return e.loop(e.i32(0), e.i32(ratio), e.i32(1), sums, [&](Term h, ArrayRef<Term> carried) {
    Term head = kvHead * ratio + h;
    auto statistic = [&](int64_t number) {
      return e.loadF32(terms.statistics, terms.statistic(token, head, number));
    };
    Term score = terms.score(token, head, sequence, row);
    Term factor = e.exp(score - statistic(0)) / statistic(1);
    if (!op.getOfValues())
      factor = terms.slope(factor, terms.product(token, head, sequence, row), statistic(2));
    return terms.addRow(carried, factor, op.getOfValues() ? terms.grad : terms.body.query,
                        {token, head * terms.body.headDim});
  });
}

void RowSumEmitter::emit() {
  // Without `sequence` a sequence has one token.
  Term lower = op.getSequence() ? e.i32(0) : sequence;
  Term upper = op.getSequence() ? terms.body.numTokens : sequence + 1;
  SmallVector<Term> sums =
      e.loop(lower, upper, e.i32(32), terms.zeros(), [&](Term first, ArrayRef<Term> carried) {
        SmallVector<Term> state(carried);
        state.push_back(find(first, upper));
        state = e.repeat(
            state, [&](ArrayRef<Term> values) { return values.back() != 0; },
            [&](ArrayRef<Term> values) {
              Term word = values.back();
              SmallVector<Term> next = addToken(values.drop_back(), first + e.lowestBit(word));
              next.push_back(word & (word - 1));
              return next;
            });
        state.pop_back();
        return state;
      });
  SmallVector<Term> place = {e.i32(0), sequence, row, kvHead * terms.body.headDim};
  terms.forColumns(place, [&](size_t number, ArrayRef<Term> at) {
    e.storeF32(e.loadF32(terms.body.result, at) + sums[number], terms.body.result, at);
  });
}

LogicalResult mlir::mohd::emitGpuAttentionCacheGradient(GpuKernelSet &kernels,
                                                        AttentionCacheGradientOp op) {
  int64_t numSlices = llvm::divideCeil(op.getHeadDim(), kSliceColumns);
  int64_t numParts = op.getNumKvHeads() * numSlices;
  ArrayRef<std::string> extents = kernels.getType(op.getInto()).extents;
  GpuLaunch launch;
  launch.threads = 32 * kRowWarps;
  launch.grid = ("ceildiv(" + extents[1] + "*" + extents[2] + "*" + Twine(numParts) + "," +
                 Twine(kRowWarps) + ")")
                    .str();
  kernels.add("", launch, [&] {
    GpuEmitter &e = kernels.e();
    const GpuBuffer &into = kernels.buffer(op.getInto());
    Term item = toI64(e.block()) * kRowWarps + toI64(e.warp()), numPositions = into.extents[2];
    Term place = item / numParts, part = toI32(item % numParts);
    e.when(place < toI64(into.extents[1]) * toI64(numPositions), [&] {
      Term sequence = toI32(place / toI64(numPositions)), row = toI32(place % toI64(numPositions));
      RowSumEmitter(kernels, op, sequence, row, part / numSlices, part % numSlices).emit();
    });
  });
  return success();
}
