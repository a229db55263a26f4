// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention of one token: the warps of a block share the rows of the cache, and each keeps a softmax of its own until the end.
#include "Attention.h"
#include "Fragments.h"

#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace mlir::mohd;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

Term AttentionBody::sequenceOf(const Term &token) {
  Term index = sequence ? e.loadI32(*sequence, {token}) : token;
  return max(min(index, keys.extents[1] - 1), e.i32(0));
}

Term AttentionBody::lastOf(const Term &token) {
  Term last = min(max(e.loadI32(position, {token}), e.i32(0)), keys.extents[2] - 1);
  return select(keys.extents[1] == 0, e.i32(-1), last);
}

double AttentionBody::getScale() const {
  constexpr double log2e = 1.4426950408889634;
  return log2e / std::sqrt(double(headDim));
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

/// Elements of a row, and of an accumulator, that a lane may have in registers.
static constexpr int64_t kMaxPerLane = 32;

AttentionRowPlan::AttentionRowPlan(AttentionOp op, int64_t numWarps, int64_t maxHeads,
                                   int64_t numRegisters)
    : numWarps(numWarps) {
  int64_t headDim = op.getHeadDim();
  int64_t bytes = op.getKeys().getType().getElementTypeBitWidth() / 8;
  vector = std::gcd(headDim, 16 / bytes);
  chunks = headDim / vector;
  lanes = std::min<int64_t>(32, llvm::PowerOf2Ceil(chunks));
  loads = std::min(int64_t(llvm::divideCeil(chunks, lanes)), kMaxPerLane / vector);
  slices = llvm::divideCeil(chunks, lanes * loads);
  heads = unrolls = 1;
  int64_t ratio = op.getNumHeads() / op.getNumKvHeads();
  // Queries and sums of each head, keys and values of each row, logits of both.
  auto fits = [&](int64_t heads, int64_t rows) {
    return 2 * getPerLane() * (heads + rows) + heads * rows <= numRegisters;
  };
  for (int64_t count = 2; count <= std::min(ratio, maxHeads); ++count)
    if (ratio % count == 0 && slices == 1 && fits(count, 4))
      heads = count;
  while (unrolls < 8 && slices == 1 && fits(heads, 2 * unrolls))
    unrolls *= 2;
}

//===----------------------------------------------------------------------===//
// A softmax in progress
//===----------------------------------------------------------------------===//

namespace {

/// Largest logit (times log2 e), sum of 2^(logit - largest), and that sum weighted with values, of some rows of the cache.
struct Softmax {
  Term largest, sum;
  SmallVector<Term> weighted;
};

/// Computes one token; see `emitAttentionRow`.
class RowEmitter {
public:
  RowEmitter(AttentionBody &body, const AttentionRowPlan &plan, const Term &token,
             const Term &firstHead, const Term &slice, int64_t shared, const AttentionPart *part);

  void run();

private:
  using State = SmallVector<Softmax>; // of each head

  /// The number of a lane's chunk of a row, in this slice.
  Term chunkOf(int64_t load) const { return firstChunk + (place + load * plan.lanes); }
  /// Whether every lane has such a chunk.
  bool isWhole(int64_t load) const {
    return plan.slices == 1 && (load + 1) * plan.lanes <= plan.chunks;
  }
  Term columnOf(int64_t load) const {
    Term chunk = chunkOf(load);
    return (isWhole(load) ? chunk : min(chunk, chunk.like(plan.chunks - 1))) * plan.vector;
  }
  /// This lane's part of a row of the cache.
  SmallVector<Term> loadRow(Value start, const Term &row);
  SmallVector<Term> loadQuery(int64_t head);
  /// The products of a row of keys and each query, in the lanes that share the row.
  SmallVector<Term> multiplyRow(const Term &row);
  /// Takes rows into a state; with `isPartial` the rows from `end` on are left out.
  State take(const State &state, ArrayRef<Term> rows, bool isPartial);
  Softmax merge(const Softmax &lhs, const Softmax &rhs);
  void writeAcrossWarps(const State &state);
  /// Waits for the other warps.
  void wait();

  SmallVector<Term> flatten(const State &state);
  State unflatten(ArrayRef<Term> terms);

  AttentionBody &body;
  const AttentionRowPlan &plan;
  GpuEmitter &e;
  Term token, firstHead, slice;
  int64_t shared;
  const AttentionPart *part; // null for all that the token sees
  Term begin, end;           // of the rows
  Term lane, place, group;   // place among the lanes of a row, number of these
  Term firstChunk;
  Value keyRows, valueRows; // of the token's sequence and key head
  SmallVector<SmallVector<Term>> queries;
};

} // namespace

RowEmitter::RowEmitter(AttentionBody &body, const AttentionRowPlan &plan, const Term &token,
                       const Term &firstHead, const Term &slice, int64_t shared,
                       const AttentionPart *part)
    : body(body), plan(plan), e(body.e), token(token), firstHead(firstHead), slice(slice),
      shared(shared), part(part) {
  begin = part ? part->begin : e.i32(0);
  end = part ? part->end : body.lastOf(token) + 1;
  lane = e.lane();
  place = lane % plan.lanes;
  group = lane / plan.lanes;
  firstChunk = slice * (plan.lanes * plan.loads);
  Term column = firstHead / body.getRatio() * body.headDim;
  Term sequence = body.sequenceOf(token);
  keyRows = e.at(body.keys, {e.i32(0), sequence, e.i32(0), column});
  valueRows = e.at(body.values, {e.i32(0), sequence, e.i32(0), column});
}

SmallVector<Term> RowEmitter::loadRow(Value start, const Term &row) {
  Type element = body.keys.getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  Value pointer = e.advance(start, toI64(row) * (body.numKvHeads * body.headDim * bytes));
  SmallVector<Term> values;
  for (int64_t load = 0; load < plan.loads; ++load)
    values.append(e.loadF32s(e.advance(pointer, columnOf(load) * bytes), element, plan.vector));
  return values;
}

SmallVector<Term> RowEmitter::loadQuery(int64_t head) {
  SmallVector<Term> values;
  for (int64_t load = 0; load < plan.loads; ++load) {
    Term column = (firstHead + head) * body.headDim + columnOf(load);
    for (const Term &value :
         loadWide(e, e.at(body.query, {token, column}), body.query.getElementType(), plan.vector))
      values.push_back(value * body.getScale());
  }
  return values;
}

SmallVector<Term> RowEmitter::multiplyRow(const Term &row) {
  SmallVector<Term> sums;
  if (plan.slices == 1) {
    SmallVector<Term> key = loadRow(keyRows, row);
    for (int64_t head = 0; head < plan.heads; ++head) {
      Term sum = e.f32(0.0);
      for (int64_t load = 0; load < plan.loads; ++load) {
        Term next = sum;
        for (int64_t i = load * plan.vector; i < (load + 1) * plan.vector; ++i)
          next = fma(queries[head][i], key[i], next);
        sum = isWhole(load) ? next : select(chunkOf(load) < plan.chunks, next, sum);
      }
      sums.push_back(e.warpSum(sum, plan.lanes));
    }
    return sums;
  }
  // The row is longer than a slice: its chunks in turn.
  assert(plan.heads == 1 && plan.lanes == 32);
  Type element = body.keys.getElementType(), queryElement = body.query.getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  Value pointer = e.advance(keyRows, toI64(row) * (body.numKvHeads * body.headDim * bytes));
  Value queryPointer = e.at(body.query, {token, firstHead * body.headDim});
  Term end = e.i32(llvm::alignTo(plan.chunks, 32));
  SmallVector<Term> init = {e.f32(0.0)};
  Term sum = e.loop(lane, end, e.i32(32), init, [&](Term chunk, ArrayRef<Term> sums) {
    Term column = min(chunk, e.i32(plan.chunks - 1)) * plan.vector;
    SmallVector<Term> key = e.loadF32s(e.advance(pointer, column * bytes), element, plan.vector);
    SmallVector<Term> query =
        loadWide(e, e.advance(queryPointer, column * queryElement.getIntOrFloatBitWidth() / 8),
                 queryElement, plan.vector);
    Term next = sums[0];
    for (int64_t i = 0; i < plan.vector; ++i)
      next = fma(query[i], key[i], next);
    return SmallVector<Term>{select(chunk < plan.chunks, next, sums[0])};
  })[0];
  return {e.warpSum(sum) * body.getScale()};
}

/// `largest`, or 0 for a softmax of nothing, so that 2^(-Inf - it) is 0.
static Term getReference(GpuEmitter &e, const Term &largest) {
  return select(largest == -kInfinity, e.f32(0.0), largest);
}

RowEmitter::State RowEmitter::take(const State &state, ArrayRef<Term> rows, bool isPartial) {
  SmallVector<SmallVector<Term>> logits, values; // of each row: of each head; this lane's part
  for (const Term &row : rows) {
    Term inside = isPartial ? min(row, end - 1) : row;
    logits.push_back(multiplyRow(inside));
    values.push_back(loadRow(valueRows, inside));
    if (!isPartial)
      continue;
    Term isThere = row < end;
    for (Term &logit : logits.back())
      logit = select(isThere, logit, e.f32(-kInfinity));
    for (Term &value : values.back())
      value = select(isThere, value, e.f32(0.0)); // 0 * Inf would be a NaN
  }
  State next;
  for (auto [head, old] : llvm::enumerate(state)) {
    Softmax softmax = old;
    for (const auto &logit : logits)
      softmax.largest = max(softmax.largest, logit[head]);
    Term reference = getReference(e, softmax.largest);
    Term factor = e.exp2(old.largest - reference);
    softmax.sum = softmax.sum * factor;
    for (Term &value : softmax.weighted)
      value = value * factor;
    for (const auto &[logit, value] : llvm::zip_equal(logits, values)) {
      Term weight = e.exp2(logit[head] - reference);
      softmax.sum = softmax.sum + weight;
      for (auto [sum, element] : llvm::zip_equal(softmax.weighted, value))
        sum = fma(weight, element, sum);
    }
    next.push_back(softmax);
  }
  return next;
}

Softmax RowEmitter::merge(const Softmax &lhs, const Softmax &rhs) {
  Softmax both;
  both.largest = max(lhs.largest, rhs.largest);
  Term reference = getReference(e, both.largest);
  Term left = e.exp2(lhs.largest - reference), right = e.exp2(rhs.largest - reference);
  both.sum = lhs.sum * left + rhs.sum * right;
  for (const auto &[l, r] : llvm::zip_equal(lhs.weighted, rhs.weighted))
    both.weighted.push_back(l * left + r * right);
  return both;
}

SmallVector<Term> RowEmitter::flatten(const State &state) {
  SmallVector<Term> terms;
  for (const Softmax &softmax : state) {
    terms.append({softmax.largest, softmax.sum});
    terms.append(softmax.weighted);
  }
  return terms;
}

RowEmitter::State RowEmitter::unflatten(ArrayRef<Term> terms) {
  State state;
  for (; !terms.empty(); terms = terms.drop_front(2 + plan.getPerLane())) {
    auto weighted = terms.slice(2, plan.getPerLane());
    state.push_back({terms[0], terms[1], SmallVector<Term>(weighted)});
  }
  return state;
}

int64_t mlir::mohd::reserveAttentionRow(GpuEmitter &e, const AttentionRowPlan &plan) {
  return e.reserveShared(plan.getSharedBytes());
}

void RowEmitter::wait() {
  if (plan.barrier == 0)
    return e.barrier();
  tile::BarrierSyncOp::create(e.b, e.i32(plan.barrier),
                              e.b.getI32IntegerAttr(int32_t(32 * plan.numWarps)));
}

void RowEmitter::writeAcrossWarps(const State &state) {
  int64_t numWarps = plan.numWarps, columns = plan.getSliceColumns();
  int64_t statistics = shared + 4 * numWarps * columns;
  Type f32 = e.b.getF32Type();
  Term warp = e.warp();
  for (int64_t head = 0; head < plan.heads; ++head) {
    e.when(group == 0, [&] {
      Value start = e.advance(e.shared(shared), warp * (4 * columns));
      for (int64_t load = 0; load < plan.loads; ++load)
        for (int64_t i = 0; i < plan.vector; i += std::min<int64_t>(plan.vector, 4)) {
          ArrayRef<Term> part = state[head].weighted;
          part = part.slice(load * plan.vector + i, std::min<int64_t>(plan.vector, 4));
          Term column = (place + load * plan.lanes) * plan.vector + i;
          e.storeF32s(part, e.advance(start, column * 4), f32);
        }
    });
    if (head == 0)
      e.when(lane == 0, [&] {
        Value start = e.advance(e.shared(statistics), warp * (8 * plan.heads));
        for (auto [i, softmax] : llvm::enumerate(state)) {
          e.store(softmax.largest, e.advance(start, e.i32(8 * int64_t(i))));
          e.store(softmax.sum, e.advance(start, e.i32(8 * int64_t(i) + 4)));
        }
      });
    wait();
    SmallVector<Term> factors;
    Term largest = e.f32(-kInfinity), sum = e.f32(0.0);
    for (int64_t i = 0; i < numWarps; ++i) {
      factors.push_back(e.load(e.shared(statistics + 8 * (plan.heads * i + head)), f32));
      largest = max(largest, factors.back());
    }
    Term reference = getReference(e, largest);
    for (int64_t i = 0; i < numWarps; ++i) {
      factors[i] = e.exp2(factors[i] - reference);
      Term part = e.load(e.shared(statistics + 8 * (plan.heads * i + head) + 4), f32);
      sum = fma(factors[i], part, sum);
    }
    Term first = firstChunk * plan.vector;
    int64_t columnsOfHead = body.headDim;
    Value to = part ? e.advance(part->to, e.i32(head * part->headBytes)) : Value();
    Term rest = min(e.i32(body.headDim) - first, e.i32(columns));
    e.loop(e.thread(), rest, 32 * numWarps, [&](Term column) {
      Term total = e.f32(0.0);
      for (int64_t i = 0; i < numWarps; ++i) {
        Value from = e.advance(e.shared(shared + 4 * columns * i), column * 4);
        total = fma(factors[i], e.load(from, f32), total);
      }
      auto write = [&] {
        Term value = select(end == 0, e.f32(0.0), total / sum); // of an empty cache
        e.storeF32(value, body.result, {token, (firstHead + head) * body.headDim + first + column});
      };
      if (part)
        e.when(part->isWhole, write, [&] { e.store(total, e.advance(to, column * 4)); });
      else
        write();
    });
    if (part)
      e.when((e.thread() == 0) & logicalNot(part->isWhole), [&] {
        e.store(largest, e.advance(to, e.i32(4 * columnsOfHead)));
        e.store(sum, e.advance(to, e.i32(4 * columnsOfHead + 4)));
      });
    wait(); // the place is used again
  }
}

void RowEmitter::run() {
  if (plan.slices == 1)
    for (int64_t head = 0; head < plan.heads; ++head)
      queries.push_back(loadQuery(head));
  State state;
  for (int64_t head = 0; head < plan.heads; ++head)
    state.push_back(
        {e.f32(-kInfinity), e.f32(0.0), SmallVector<Term>(plan.getPerLane(), e.f32(0.0))});

  // Rows of a warp at once, in full; then what is left, fewer at once.
  int64_t groups = 32 / plan.lanes, step = groups * plan.unrolls;
  Term warp = e.warp();
  SmallVector<Term> terms =
      e.loop(begin + warp * step, end - (step - 1), e.i32(plan.numWarps * step), flatten(state),
             [&](Term base, ArrayRef<Term> values) {
               SmallVector<Term> rows;
               for (int64_t i = 0; i < plan.unrolls; ++i)
                 rows.push_back(base + group + i * groups);
               return flatten(take(unflatten(values), rows, /*isPartial=*/false));
             });
  terms = e.loop(begin + (end - begin) / step * step + warp * groups, end,
                 e.i32(plan.numWarps * groups), terms, [&](Term base, ArrayRef<Term> values) {
                   Term row = base + group;
                   return flatten(take(unflatten(values), row, /*isPartial=*/true));
                 });
  state = unflatten(terms);
  for (Softmax &softmax : state)
    for (int64_t distance = plan.lanes; distance < 32; distance *= 2) {
      auto exchange = [&](const Term &term) { return e.shuffleXor(term, distance); };
      Softmax other = {exchange(softmax.largest), exchange(softmax.sum),
                       llvm::map_to_vector(softmax.weighted, exchange)};
      softmax = merge(softmax, other);
    }
  writeAcrossWarps(state);
}

void mlir::mohd::emitAttentionRow(AttentionBody &body, const AttentionRowPlan &plan,
                                  const Term &token, const Term &firstHead, const Term &slice,
                                  int64_t shared, const AttentionPart *part) {
  RowEmitter(body, plan, token, firstHead, slice, shared, part).run();
}
