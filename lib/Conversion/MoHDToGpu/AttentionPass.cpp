// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What kernels that do attention in tiles share.
#include "AttentionPass.h"
#include "Fragments.h"

using namespace mlir;
using namespace mlir::mohd;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Which rows see what
//===----------------------------------------------------------------------===//

AttentionTokens::AttentionTokens(AttentionBody &body, const Term &first, int64_t count)
    : first(first), body(body) {
  GpuEmitter &e = body.e;
  for (int64_t i = 0; i < count; i += 32) {
    Term token = first + (e.lane() + i);
    Term inside = min(token, body.numTokens - 1);
    Term isThere = token < body.numTokens;
    sequences.push_back(select(isThere, body.sequenceOf(inside), e.i32(kNoSequence)));
    positions.push_back(body.lastOf(inside));
  }
}

static Term smaller(Term lhs, Term rhs) { return min(lhs, rhs); }
static Term larger(Term lhs, Term rhs) { return max(lhs, rhs); }

Term AttentionTokens::next(const Term &sequence) const {
  GpuEmitter &e = body.e;
  Term next = e.i32(kNoSequence);
  for (const Term &other : sequences)
    next = min(next, select(other > sequence, other, e.i32(kNoSequence)));
  return e.warpReduce(next, smaller);
}

AttentionPass AttentionTokens::see(const Term &sequence, const Term &head, const Term &warp) const {
  GpuEmitter &e = body.e;
  AttentionPass pass;
  pass.sequence = sequence;
  Term last = e.i32(-1), always = e.i32(kNoSequence), none = e.i32(-1);
  SmallVector<Term> limits;
  for (const auto &[other, position] : llvm::zip_equal(sequences, positions)) {
    limits.push_back(select(other == sequence, position, none));
    last = max(last, limits.back());
    always = min(always, select(other == kNoSequence, e.i32(kNoSequence), limits.back()));
  }
  pass.last = e.warpReduce(last, larger);
  pass.always = e.warpReduce(always, smaller);
  // Of the 32 tokens that this warp's are among.
  Term ofWarp = limits.front();
  for (size_t i = 1; i < limits.size(); ++i)
    ofWarp = select(warp / 2 == int64_t(i), limits[i], ofWarp);
  for (int64_t i = 0; i < 2; ++i)
    pass.limits[i] = e.broadcast(ofWarp, warp % 2 * 16 + (e.lane() / 4 + 8 * i));
  Term column = head / body.getRatio() * body.headDim;
  pass.keys = e.at(body.keys, {e.i32(0), sequence, e.i32(0), column});
  pass.values = e.at(body.values, {e.i32(0), sequence, e.i32(0), column});
  return pass;
}

//===----------------------------------------------------------------------===//
// The softmax
//===----------------------------------------------------------------------===//

Term mlir::mohd::isPartial(const AttentionPass &pass, const Term &first, int64_t columns) {
  return first + (columns - 1) > pass.always;
}

SmallVector<Term> mlir::mohd::weigh(AttentionBody &body, const AttentionPass &pass,
                                    const Term &first, ArrayRef<Term> logits, AttentionSums &sums,
                                    Term (&factors)[2]) {
  GpuEmitter &e = body.e;
  int64_t count = int64_t(logits.size());
  SmallVector<Term> seen(logits);
  // Take out what rows do not see, where there is such a thing.
  seen = e.choose(
      isPartial(pass, first, count * 2),
      [&] {
        SmallVector<Term> values;
        Term column = first + e.lane() % 4 * 2;
        for (int64_t i = 0; i < count; ++i)
          values.push_back(select(column + (i / 4 * 8 + i % 2) <= pass.limits[i / 2 % 2], seen[i],
                                  e.f32(-kInfinity)));
        return values;
      },
      [&] { return seen; });

  Term scale = e.f32(body.getScale()), zero = e.f32(0.0);
  SmallVector<Term> weights(seen.size());
  for (int64_t half = 0; half < 2; ++half) {
    Term before = sums.largest[half], &largest = sums.largest[half], &total = sums.total[half];
    for (int64_t i = 0; i < count; ++i)
      if (i / 2 % 2 == half)
        largest = max(largest, seen[i]);
    largest = e.warpReduce(largest, larger, /*width=*/4);
    // A row that has seen nothing: 2^(-Inf - 0) is 0.
    Term reference = select(largest == -kInfinity, zero, largest * scale);
    factors[half] = e.exp2(fma(before, scale, zero - reference));
    total = total * factors[half];
    for (int64_t i = 0; i < count; ++i)
      if (i / 2 % 2 == half) {
        weights[i] = e.exp2(fma(seen[i], scale, zero - reference));
        total = total + weights[i];
      }
  }
  return weights;
}

void mlir::mohd::writeRows(AttentionBody &body, const AttentionPass &pass, const Term &firstToken,
                           const Term &head, const Term &warp, const AttentionSums &sums,
                           ArrayRef<Term> weighted) {
  GpuEmitter &e = body.e;
  Type element = body.result.getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  for (int64_t half = 0; half < 2; ++half) {
    Term factor = e.f32(1.0) / e.warpSum(sums.total[half], /*width=*/4);
    Term row = firstToken + (warp * 16 + e.lane() / 4 + 8 * half);
    e.when(pass.limits[half] >= 0, [&] {
      Value to = e.at(body.result, {row, head * body.headDim + e.lane() % 4 * 2});
      for (int64_t i = 2 * half; i < int64_t(weighted.size()); i += 4) {
        SmallVector<Term> pair = {weighted[i] * factor, weighted[i + 1] * factor};
        e.storeF32s(pair, e.advance(to, e.i32(i / 4 * 8 * bytes)), element);
      }
    });
  }
}

//===----------------------------------------------------------------------===//
// Words
//===----------------------------------------------------------------------===//

SmallVector<SmallVector<Term>> mlir::mohd::splitEight(GpuEmitter &e, tile::Half half, int64_t parts,
                                                      ArrayRef<Term> values,
                                                      AttentionMarks &marks) {
  SmallVector<SmallVector<Term>> words(parts);
  for (int64_t i = 0; i < 8; i += 2) {
    SmallVector<Term> pair = splitPair(e, half, values[i], values[i + 1], parts);
    marks.notFinite = marks.notFinite | markNotFinite(e, half, pair.front());
    marks.all = marks.all | pair.front();
    for (int64_t part = 0; part < parts; ++part)
      words[part].push_back(pair[part]);
  }
  return words;
}

Term mlir::mohd::isUnfit(GpuEmitter &e, int64_t parts, const AttentionMarks &marks) {
  Term isNotFinite = (marks.notFinite & kNotFinite) != 0;
  if (parts == 1)
    return isNotFinite;
  // An exponent of f16 that is at least that of 2^-7 has one of two bits, and so have several that are `or`ed.
  return isNotFinite | (((marks.all & 0x7fff7fff) != 0) & ((marks.all & 0x60006000) == 0));
}

void mlir::mohd::redoRows(AttentionBody &body, const AttentionRowPlan &rowPlan,
                          const AttentionPass &pass, const Term &firstToken, int64_t count,
                          const Term &head, int64_t shared) {
  GpuEmitter &e = body.e;
  Term end = min(firstToken + count, body.numTokens);
  e.loop(firstToken, end, 1, [&](Term token) {
    e.when(body.sequenceOf(token) == pass.sequence,
           [&] { emitAttentionRow(body, rowPlan, token, head, e.i32(0), shared); });
  });
}
