// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention of 128 tokens of a head at a time with wgmma.
//
// Two warpgroups have 64 queries each; a third brings tiles of keys and values, which it rounds or splits into 16-bit elements, through a ring of stages. A barrier tells that
// a stage is full, another that both warpgroups have read it. Operands lie in shared memory as rows of 64 elements, swizzled, one block of columns after the other.
//
// Products of a tile with its values start at zero, and are added to what came before, scaled, by the threads. A pass whose operands are unfit is done row by row
// instead.
#include "AttentionPass.h"
#include "Fragments.h"

using namespace mlir;
using namespace mlir::mohd;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kRows = 128, kColumns = 64, kConsumers = 256, kProducers = 128;
/// Registers of a thread that brings tiles, and of one that multiplies.
constexpr int64_t kFewRegisters = 104, kManyRegisters = 200;
/// Barrier of the threads that multiply.
constexpr int64_t kConsumerBarrier = 1;
/// Bytes of a row of 64 elements, and of eight of them.
constexpr int64_t kRowBytes = 128, kCoreBytes = 1024;

struct WgmmaPlan {
  WgmmaPlan(AttentionOp op, const GpuInfo &gpu, int64_t otherBytes);

  tile::Half half;
  int64_t parts, headDim, stages;

  int64_t getOperandBytes() const { return kColumns * headDim * 2; }
  int64_t getStageBytes() const { return 2 * parts * getOperandBytes(); }
  int64_t getQueryBytes() const { return kRows * headDim * 2; }
};

WgmmaPlan::WgmmaPlan(AttentionOp op, const GpuInfo &gpu, int64_t otherBytes)
    : headDim(op.getHeadDim()) {
  std::tie(half, parts) = getAttentionOperands(op);
  int64_t rest = gpu.sharedPerBlock - otherBytes - parts * getQueryBytes();
  stages = std::min<int64_t>(4, rest / getStageBytes());
}

class WgmmaEmitter {
public:
  WgmmaEmitter(AttentionBody &body, const WgmmaPlan &plan, const AttentionRowPlan &rowPlan);

  void run();

private:
  /// What the threads that multiply carry from tile to tile.
  struct State {
    AttentionSums sums;
    SmallVector<Term> weighted;

    SmallVector<Term> flatten() const;
    static State unflatten(ArrayRef<Term> terms);
  };
  /// A stage and the parity of its phase.
  struct Turn {
    Term stage, parity;
  };

  /// body(pass, the number of tiles of passes before) for each pass.
  void forEachPass(llvm::function_ref<void(const AttentionPass &, Term)> work);
  Term countTiles(const AttentionPass &pass) { return ceilDiv(pass.last + 1, kColumns); }
  Turn turnOf(const Term &tile) { return {tile % plan.stages, tile / plan.stages & 1}; }
  Value fullAt(const Turn &turn) { return e.advance(e.shared(barriers), turn.stage * 16); }
  Value emptyAt(const Turn &turn) { return e.advance(e.shared(barriers), turn.stage * 16 + 8); }
  /// Where eight elements of an operand of `rows` rows are, from its start.
  Term placeOf(const Term &row, const Term &chunk, int64_t rows) {
    return (chunk / 8 * rows + row) * kRowBytes + ((chunk ^ row) & 7) * 16;
  }
  /// Adds the bits of a warp's words to a word in shared memory.
  void keep(const Term &word, int64_t place);

  void bringTiles();
  /// Brings a tile of keys or values; returns its marks.
  AttentionMarks bringOperand(Value from, const AttentionPass &pass, const Term &tile,
                              const Term &to);
  void multiplyTiles();
  void writeQuery();
  void waitForConsumers() {
    tile::BarrierSyncOp::create(e.b, e.i32(kConsumerBarrier), e.b.getI32IntegerAttr(kConsumers));
  }
  State multiplyTile(const AttentionPass &pass, const Term &tile, const Turn &turn, State state);
  /// Products of each two parts that count, waited for.
  Term multiply(int64_t steps, int64_t columns,
                llvm::function_ref<Value(int64_t part, int64_t step)> a,
                llvm::function_ref<Value(int64_t part, int64_t step)> b, bool isTransposed);
  SmallVector<Term> read(const Term &sums);
  void finish(const AttentionPass &pass, const State &state);

  AttentionBody &body;
  const WgmmaPlan &plan;
  const AttentionRowPlan &rowPlan;
  GpuEmitter &e;
  int64_t query, stages, barriers, rowShared; // places in shared memory
  int64_t notFiniteQuery, notFinite, all;     // words of marks there
  Term warp;                                  // the same in all its threads
  Term head, firstToken;
};

WgmmaEmitter::WgmmaEmitter(AttentionBody &body, const WgmmaPlan &plan,
                           const AttentionRowPlan &rowPlan)
    : body(body), plan(plan), rowPlan(rowPlan), e(body.e) {
  query = e.reserveShared(plan.parts * plan.getQueryBytes(), kCoreBytes);
  stages = e.reserveShared(plan.stages * plan.getStageBytes(), kCoreBytes);
  barriers = e.reserveShared(16 * plan.stages, 8);
  for (int64_t *word : {&notFiniteQuery, &notFinite, &all})
    *word = e.reserveShared(4, 4);
  rowShared = reserveAttentionRow(e, rowPlan);
  warp = e.broadcast(e.warp(), e.i32(0));
  // The last tokens see the most: they come first.
  Term numTiles = ceilDiv(body.numTokens, kRows), block = e.block();
  head = block % body.numHeads;
  firstToken = (numTiles - 1 - block / body.numHeads) * kRows;
}

void WgmmaEmitter::run() {
  e.when(logicalNot(isMixed(body, firstToken, kRows)), [&] {
    e.when(e.thread() == 0, [&] {
      for (int64_t stage = 0; stage < plan.stages; ++stage) {
        Turn turn = {e.i32(stage), Term()};
        tile::MbarrierInitOp::create(e.b, fullAt(turn), e.i32(kProducers).value);
        tile::MbarrierInitOp::create(e.b, emptyAt(turn), e.i32(kConsumers / 32).value);
      }
      for (int64_t word : {notFiniteQuery, notFinite, all})
        e.store(e.i32(0), e.shared(word));
    });
    e.barrier();
    e.when(warp < kConsumers / 32, [&] { multiplyTiles(); }, [&] { bringTiles(); });
  });
}

void WgmmaEmitter::forEachPass(llvm::function_ref<void(const AttentionPass &, Term)> work) {
  // Loaded each time: there are few passes, and no registers to keep the tokens' places in.
  auto tokens = [&] { return AttentionTokens(body, firstToken, kRows); };
  e.repeat(
      {tokens().next(e.i32(-1)), e.i32(0)},
      [](ArrayRef<Term> values) { return values[0] != kNoSequence; },
      [&](ArrayRef<Term> values) {
        AttentionPass pass = tokens().see(values[0], head, warp);
        work(pass, values[1]);
        return SmallVector<Term>{tokens().next(values[0]), values[1] + countTiles(pass)};
      });
}

void WgmmaEmitter::keep(const Term &word, int64_t place) {
  Term ofWarp = e.warpReduce(word, [](Term lhs, Term rhs) { return lhs | rhs; });
  e.when((e.lane() == 0) & (ofWarp != 0),
         [&] { tile::AtomicOp::create(e.b, tile::Atomic::Or, ofWarp.value, e.shared(place)); });
}

//===----------------------------------------------------------------------===//
// The threads that bring tiles
//===----------------------------------------------------------------------===//

void WgmmaEmitter::bringTiles() {
  tile::SetMaxRegistersOp::create(e.b, kFewRegisters);
  forEachPass([&](const AttentionPass &pass, Term before) {
    e.loop(e.i32(0), countTiles(pass), 1, [&](Term tile) {
      Turn turn = turnOf(before + tile);
      // The phase before the first one has parity 1: all stages are empty.
      tile::MbarrierWaitOp::create(e.b, emptyAt(turn), (turn.parity ^ 1).value);
      // A loop, as what both take would not fit the registers.
      e.loop(e.i32(0), e.i32(2), 1, [&](Term operand) {
        Value from = LLVM::SelectOp::create(e.b, (operand == 0).value, pass.keys, pass.values);
        Term bytes = operand * (plan.parts * plan.getOperandBytes());
        AttentionMarks found =
            bringOperand(from, pass, tile, turn.stage * plan.getStageBytes() + bytes);
        keep(found.notFinite & kNotFinite, notFinite);
        if (plan.parts > 1)
          keep(select(operand == 0, e.i32(0), found.all), all);
      });
      tile::FenceOp::create(e.b, tile::Fence::ProxyAsync);
      tile::MbarrierArriveOp::create(e.b, fullAt(turn));
    });
    e.barrier(); // marks are read and cleared
  });
}

AttentionMarks WgmmaEmitter::bringOperand(Value from, const AttentionPass &pass, const Term &tile,
                                          const Term &to) {
  Type element = body.keys.getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8, chunks = plan.headDim / 8;
  Term thread = e.thread() - kConsumers, row = thread / chunks, chunk = thread % chunks;
  Value start = e.advance(from, chunk * (8 * bytes));
  int64_t step = kProducers / chunks; // rows from one load of a thread to its next
  SmallVector<SmallVector<Term>> loaded;
  auto cacheRow = [&](int64_t i) { return tile * kColumns + (row + i); };
  for (int64_t i = 0; i < kColumns; i += step) {
    Term inside = toI64(min(cacheRow(i), pass.last));
    Value place = e.advance(start, inside * (body.numKvHeads * plan.headDim * bytes));
    loaded.push_back(element.isF32() ? loadWide(e, place, element, 8) : loadWords(e, place, 4));
  }
  AttentionMarks found = {e.i32(0), e.i32(0)};
  for (auto [number, values] : llvm::enumerate(loaded)) {
    int64_t i = int64_t(number) * step;
    Term isThere = cacheRow(i) <= pass.last;
    for (Term &value : values)
      value = select(isThere, value, element.isF32() ? e.f32(0.0) : e.i32(0));
    SmallVector<SmallVector<Term>> words;
    if (element.isF32()) {
      words = splitEight(e, plan.half, plan.parts, values, found);
    } else {
      words.push_back(values);
      for (const Term &word : values)
        found.notFinite = found.notFinite | markNotFinite(e, plan.half, word);
    }
    for (int64_t part = 0; part < plan.parts; ++part) {
      Value shared = e.shared(stages + part * plan.getOperandBytes());
      storeWords(e, words[part], e.advance(shared, to + placeOf(row + i, chunk, kColumns)));
    }
  }
  return found;
}

//===----------------------------------------------------------------------===//
// The threads that multiply
//===----------------------------------------------------------------------===//

SmallVector<Term> WgmmaEmitter::State::flatten() const {
  SmallVector<Term> terms = {sums.largest[0], sums.largest[1], sums.total[0], sums.total[1]};
  terms.append(weighted);
  return terms;
}

WgmmaEmitter::State WgmmaEmitter::State::unflatten(ArrayRef<Term> terms) {
  State state = {{{terms[0], terms[1]}, {terms[2], terms[3]}}, {}};
  state.weighted.append(terms.begin() + 4, terms.end());
  return state;
}

void WgmmaEmitter::writeQuery() {
  Type element = body.query.getElementType();
  int64_t chunks = plan.headDim / 8;
  Term found = e.loop(e.thread(), e.i32(kRows * chunks), e.i32(kConsumers), {e.i32(0)},
                      [&](Term item, ArrayRef<Term> carried) {
                        AttentionMarks marks = {carried[0], e.i32(0)};
                        Term row = item / chunks, chunk = item % chunks;
                        Term token = min(firstToken + row, body.numTokens - 1);
                        Value from = e.at(body.query, {token, head * plan.headDim + chunk * 8});
                        auto words = splitEight(e, plan.half, plan.parts,
                                                loadWide(e, from, element, 8), marks);
                        for (int64_t part = 0; part < plan.parts; ++part) {
                          Value shared = e.shared(query + part * plan.getQueryBytes());
                          storeWords(e, words[part], e.advance(shared, placeOf(row, chunk, kRows)));
                        }
                        return SmallVector<Term>{marks.notFinite};
                      })[0];
  keep(found & kNotFinite, notFiniteQuery);
  tile::FenceOp::create(e.b, tile::Fence::ProxyAsync);
  waitForConsumers();
}

Term WgmmaEmitter::multiply(int64_t steps, int64_t columns,
                            llvm::function_ref<Value(int64_t, int64_t)> a,
                            llvm::function_ref<Value(int64_t, int64_t)> b, bool isTransposed) {
  // New sums, as those of a loop would take registers all the time.
  Term result =
      e.wrap(tile::WgmmaInitOp::create(e.b, tile::SumsType::get(e.b.getContext(), columns)));
  tile::WgmmaFenceOp::create(e.b);
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t part = 0; part < plan.parts; ++part)
      for (int64_t other = 0; other + part < plan.parts; ++other) {
        Term accumulates = e.i1(step + part + other > 0);
        result = e.wrap(tile::WgmmaOp::create(e.b, plan.half, a(other, step), b(part, step),
                                              result.value, accumulates.value,
                                              /*a_transposed=*/false, isTransposed));
      }
  tile::WgmmaCommitOp::create(e.b);
  return e.wrap(tile::WgmmaWaitOp::create(e.b, 0, result.value).getResult(0));
}

SmallVector<Term> WgmmaEmitter::read(const Term &sums) {
  SmallVector<Term> values;
  int64_t count = cast<tile::SumsType>(sums.getType()).getColumns() / 2;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(e.wrap(tile::WgmmaReadOp::create(e.b, sums.value, uint32_t(i))));
  return values;
}

WgmmaEmitter::State WgmmaEmitter::multiplyTile(const AttentionPass &pass, const Term &tile,
                                               const Turn &turn, State state) {
  tile::MbarrierWaitOp::create(e.b, fullAt(turn), turn.parity.value);
  // Descriptors count 16 bytes.
  auto describe = [&](int64_t place, const Term &offset, int64_t leading) {
    Value start = e.shared(place);
    return e.wrap(tile::MatrixDescriptorOp::create(e.b, start, tile::Swizzle::Swizzle128,
                                                   uint32_t(leading), uint32_t(kCoreBytes))) +
           toI64(offset);
  };
  auto alongRow = [](int64_t step, int64_t rows) { // of 16 elements
    return step / 4 * rows * kRowBytes / 16 + step % 4 * 2;
  };
  Term offset = turn.stage * (plan.getStageBytes() / 16);
  // The shuffle keeps descriptors from being made before the loop, for which there are no registers.
  Term group = e.broadcast(e.warp(), e.i32(0)) / 4;
  Term queries = describe(query, group * (64 * kRowBytes / 16), 16);
  Term keys = describe(stages, offset, 16);
  Term logits = multiply(
      plan.headDim / 16, kColumns,
      [&](int64_t part, int64_t step) {
        return (queries + (part * plan.getQueryBytes() / 16 + alongRow(step, kRows))).value;
      },
      [&](int64_t part, int64_t step) {
        return (keys + (part * plan.getOperandBytes() / 16 + alongRow(step, kColumns))).value;
      },
      /*isTransposed=*/false);

  Term factors[2];
  SmallVector<Term> weights = weigh(body, pass, tile * kColumns, read(logits), state.sums, factors);
  // The sums of two products side by side are an operand of the next: [part][step].
  SmallVector<SmallVector<Value>> operand(plan.parts);
  for (int64_t step = 0; step < kColumns / 16; ++step) {
    AttentionMarks ignored = {e.i32(0), e.i32(0)}; // weights are at most 1
    auto words =
        splitEight(e, plan.half, plan.parts, ArrayRef<Term>(weights).slice(8 * step, 8), ignored);
    for (int64_t part = 0; part < plan.parts; ++part)
      operand[part].push_back(e.join(words[part]).value);
  }
  Term values =
      describe(stages + plan.parts * plan.getOperandBytes(), offset, kColumns * kRowBytes);
  Term products = multiply(
      kColumns / 16, plan.headDim, [&](int64_t part, int64_t step) { return operand[part][step]; },
      [&](int64_t part, int64_t step) {
        return (values + (part * plan.getOperandBytes() / 16 + step * 16 * kRowBytes / 16)).value;
      },
      /*isTransposed=*/true);
  e.when(e.lane() == 0, [&] { tile::MbarrierArriveOp::create(e.b, emptyAt(turn)); });
  for (auto [i, product] : llvm::enumerate(read(products)))
    state.weighted[i] = fma(state.weighted[i], factors[i / 2 % 2], product);
  return state;
}

void WgmmaEmitter::multiplyTiles() {
  tile::SetMaxRegistersOp::create(e.b, kManyRegisters, /*increase=*/true);
  writeQuery();
  Term none = e.f32(-kInfinity), zero = e.f32(0.0);
  forEachPass([&](const AttentionPass &pass, Term before) {
    State state = {{{none, none}, {zero, zero}}, {}};
    state.weighted.assign(plan.headDim / 2, zero);
    state = State::unflatten(e.loop(e.i32(0), countTiles(pass), e.i32(1), state.flatten(),
                                    [&](Term tile, ArrayRef<Term> values) {
                                      return multiplyTile(pass, tile, turnOf(before + tile),
                                                          State::unflatten(values))
                                          .flatten();
                                    }));
    finish(pass, state);
  });
}

void WgmmaEmitter::finish(const AttentionPass &pass, const State &state) {
  auto load = [&](int64_t word) { return e.load(e.shared(word), e.b.getI32Type()); };
  AttentionMarks marks = {load(notFiniteQuery) | load(notFinite), load(all)};
  waitForConsumers();
  e.when(e.thread() == 0, [&] {
    for (int64_t word : {notFinite, all})
      e.store(e.i32(0), e.shared(word));
  });
  e.barrier(); // the next pass is brought
  e.when(
      logicalNot(isUnfit(e, plan.parts, marks)),
      [&] { writeRows(body, pass, firstToken, head, warp, state.sums, state.weighted); },
      [&] { redoRows(body, rowPlan, pass, firstToken, kRows, head, rowShared); });
}

} // namespace

int64_t mlir::mohd::addAttentionWgmma(GpuKernelSet &kernels, AttentionOp op, int64_t few) {
  int64_t headDim = op.getHeadDim();
  // Without sequences each token has its own.
  if (!kernels.gpu.hasWgmma || !op.getSequence() || (headDim != 64 && headDim != 128))
    return 0;
  AttentionRowPlan rowPlan(op, kConsumers / 32, /*maxHeads=*/1, /*numRegisters=*/80);
  rowPlan.barrier = kConsumerBarrier;
  WgmmaPlan plan(op, kernels.gpu, rowPlan.getSharedBytes() + 1024);
  if (plan.stages < 2)
    return 0;
  GpuLaunch launch = getAttentionTileLaunch(kernels, op, few, kRows, kConsumers + kProducers);
  kernels.add("wgmma", launch, [&] {
    AttentionBody body(kernels, op);
    WgmmaEmitter(body, plan, rowPlan).run();
  });
  return kRows;
}
