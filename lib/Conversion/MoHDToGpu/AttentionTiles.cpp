// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention of 64 tokens of a head at a time: products of 16-bit elements by the tensor units, a softmax in registers.
//
// Each of four warps has 16 queries. Tiles of keys and values pass through shared memory; a 16-bit cache is copied there while the last tile is worked on, an f32 one is
// rounded or split, in which case the product of the lower parts is left out. A pass whose operands are unfit is done row by row instead.
#include "AttentionPass.h"
#include "Fragments.h"

using namespace mlir;
using namespace mlir::mohd;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kNumThreads = 128, kRows = 64;

/// Sizes of the kernel, and where things are in shared memory.
struct TilePlan {
  explicit TilePlan(AttentionOp op);

  tile::Half half; // of the products
  tile::MmaKind kind;
  int64_t parts; // words of an operand's elements
  int64_t headDim;
  int64_t columns; // rows of the cache in a tile
  int64_t pitch;   // bytes of a row in shared memory; rows 0..7 are in different banks
  int64_t stages;  // tiles in shared memory
  bool keepsQuery; // in registers
  bool copies;     // the cache as it is

  int64_t getOperandBytes() const { return columns * pitch; }
  int64_t getStageBytes() const { return 2 * parts * getOperandBytes(); }
  int64_t getQueryBytes() const { return parts * kRows * pitch; }
  /// Bytes for the tiles, and for the queries where they do not lie in the last tile.
  int64_t getBytes() const { return stages * getStageBytes() + (keepsQuery ? 0 : getQueryBytes()); }
  int64_t getQueryOffset() const { return (keepsQuery ? stages - 1 : stages) * getStageBytes(); }
};

TilePlan::TilePlan(AttentionOp op) : headDim(op.getHeadDim()) {
  std::tie(half, parts) = getAttentionOperands(op);
  kind = half == tile::Half::F16 ? tile::MmaKind::F16 : tile::MmaKind::BF16;
  copies = !op.getKeys().getType().getElementType().isF32();
  columns = headDim <= 128 ? 64 : 32;
  pitch = 2 * headDim + 16;
  stages = copies ? 2 : 1;
  keepsQuery = parts * headDim <= 128;
}

/// What a pass carries from tile to tile.
struct State {
  SmallVector<SmallVector<Term>> sums; // [headDim / 8], the fragments of the weighted values
  AttentionSums weights;
  AttentionMarks marks;

  SmallVector<Term> flatten() const;
  static State unflatten(ArrayRef<Term> terms);
};

SmallVector<Term> State::flatten() const {
  SmallVector<Term> terms = {weights.largest[0], weights.largest[1], weights.total[0],
                             weights.total[1],   marks.notFinite,    marks.all};
  for (const auto &fragment : sums)
    terms.append(fragment);
  return terms;
}

State State::unflatten(ArrayRef<Term> terms) {
  State state;
  state.weights = {{terms[0], terms[1]}, {terms[2], terms[3]}};
  state.marks = {terms[4], terms[5]};
  for (terms = terms.drop_front(6); !terms.empty(); terms = terms.drop_front(4))
    state.sums.emplace_back(terms.take_front(4));
  return state;
}

/// A part of an operand as fragments: [part][step along the products' sum].
using Fragments = SmallVector<SmallVector<SmallVector<Term>>>;

class TileEmitter {
public:
  TileEmitter(AttentionBody &body, const TilePlan &plan, const AttentionRowPlan &rowPlan);

  void run();

private:
  using Pass = AttentionPass;

  void runPass(const Pass &pass);
  void writeQuery();
  Fragments readQuery();
  SmallVector<Term> readQuery(int64_t part, int64_t step);
  /// work(row, chunk) for each chunk of 8 elements of some rows of a head.
  void forEachChunk(int64_t rows, llvm::function_ref<void(Term, Term)> work);
  /// Starts the copy of a 16-bit tile.
  void copyTile(const Pass &pass, const Term &tile);
  /// Writes a tile of keys or values in parts; returns its marks.
  AttentionMarks splitOperand(Value from, const Pass &pass, const Term &tile, int64_t to);
  State runTile(const Pass &pass, const Term &tile, const State &old);
  void multiplyKeys(Term stage, SmallVector<SmallVector<Term>> &logits);
  void multiplyValues(Term stage, ArrayRef<SmallVector<Term>> weights, State &state);
  Term scanValues(const Term &stage);

  /// A place in shared memory for each lane of `load_matrix`: the matrices 0 and 1 of eight rows and one column of eight under each other, 2 and
  /// 3 to their right; or the other way round.
  Value matrixPlace(int64_t offset, const Term &stage, bool isDownFirst);

  AttentionBody &body;
  const TilePlan &plan;
  const AttentionRowPlan &rowPlan;
  GpuEmitter &e;
  int64_t base, rowShared;
  Term lane, warp;
  Term firstToken, head;
  Term notFinite; // marks of the queries
  Fragments queries;
};

TileEmitter::TileEmitter(AttentionBody &body, const TilePlan &plan, const AttentionRowPlan &rowPlan)
    : body(body), plan(plan), rowPlan(rowPlan), e(body.e) {
  base = e.reserveShared(plan.getBytes(), 128);
  rowShared = reserveAttentionRow(e, rowPlan);
  lane = e.lane();
  warp = e.warp();
  // The last tokens see the most: they come first.
  Term numTiles = ceilDiv(body.numTokens, kRows), block = e.block();
  head = block % body.numHeads;
  firstToken = (numTiles - 1 - block / body.numHeads) * kRows;
}

void TileEmitter::run() {
  e.when(logicalNot(isMixed(body, firstToken, kRows)), [&] {
    AttentionTokens tokens(body, firstToken, kRows);
    writeQuery();
    e.barrier();
    if (plan.keepsQuery) {
      queries = readQuery();
      e.barrier();
    }
    e.repeat(
        {tokens.next(e.i32(-1))}, [](ArrayRef<Term> values) { return values[0] != kNoSequence; },
        [&](ArrayRef<Term> values) {
          runPass(tokens.see(values[0], head, warp));
          return SmallVector<Term>{tokens.next(values[0])};
        });
  });
}

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

Value TileEmitter::matrixPlace(int64_t offset, const Term &stage, bool isDownFirst) {
  Term down = isDownFirst ? lane / 8 % 2 : lane / 16;
  Term right = isDownFirst ? lane / 16 : lane / 8 % 2;
  Term place = (lane % 8 + down * 8) * plan.pitch + right * 16;
  return e.advance(e.shared(base + offset), place + stage);
}

void TileEmitter::writeQuery() {
  Type element = body.query.getElementType();
  int64_t chunks = plan.headDim / 8;
  SmallVector<Term> init = {e.i32(0)};
  notFinite =
      e.loop(e.thread(), e.i32(kRows * chunks), e.i32(kNumThreads), init,
             [&](Term item, ArrayRef<Term> before) {
               AttentionMarks marks = {before[0], e.i32(0)};
               Term row = item / chunks, chunk = item % chunks;
               Term token = min(firstToken + row, body.numTokens - 1);
               Value from = e.at(body.query, {token, head * plan.headDim + chunk * 8});
               auto words =
                   splitEight(e, plan.half, plan.parts, loadWide(e, from, element, 8), marks);
               for (int64_t part = 0; part < plan.parts; ++part) {
                 Value to = e.shared(base + plan.getQueryOffset() + part * kRows * plan.pitch);
                 storeWords(e, words[part], e.advance(to, row * plan.pitch + chunk * 16));
               }
               return SmallVector<Term>{marks.notFinite};
             })[0];
}

SmallVector<Term> TileEmitter::readQuery(int64_t part, int64_t step) {
  int64_t offset = plan.getQueryOffset() + part * kRows * plan.pitch;
  Value place = matrixPlace(offset, warp * (16 * plan.pitch), /*isDownFirst=*/true);
  return loadMatrices(e, e.advance(place, e.i32(32 * step)));
}

Fragments TileEmitter::readQuery() {
  Fragments fragments(plan.parts);
  for (int64_t part = 0; part < plan.parts; ++part)
    for (int64_t step = 0; step < plan.headDim / 16; ++step)
      fragments[part].push_back(readQuery(part, step));
  return fragments;
}

void TileEmitter::forEachChunk(int64_t rows, llvm::function_ref<void(Term, Term)> work) {
  int64_t chunks = plan.headDim / 8, items = rows * chunks;
  Term thread = e.thread();
  if (kNumThreads % chunks != 0 || items % kNumThreads != 0) {
    e.loop(thread, e.i32(items), kNumThreads,
           [&](Term item) { work(item / chunks, item % chunks); });
    return;
  }
  // Rows at a constant distance take few registers.
  Term row = thread / chunks, chunk = thread % chunks;
  for (int64_t i = 0; i < items; i += kNumThreads)
    work(row + i / chunks, chunk);
}

void TileEmitter::copyTile(const Pass &pass, const Term &tile) {
  Term stage = tile % plan.stages * plan.getStageBytes();
  forEachChunk(plan.columns, [&](Term row, Term chunk) {
    Term cacheRow = tile * plan.columns + row;
    Term bytes = select(cacheRow <= pass.last, e.i32(16), e.i32(0));
    Term from =
        toI64(min(cacheRow, pass.last)) * (body.numKvHeads * plan.headDim * 2) + toI64(chunk * 16);
    Term to = stage + (row * plan.pitch + chunk * 16);
    for (int64_t operand = 0; operand < 2; ++operand) {
      Value shared = e.shared(base + operand * plan.getOperandBytes());
      Value start = operand == 0 ? pass.keys : pass.values;
      tile::CopyAsyncOp::create(e.b, e.advance(shared, to), e.advance(start, from), 16,
                                bytes.value);
    }
  });
}

AttentionMarks TileEmitter::splitOperand(Value start, const Pass &pass, const Term &tile,
                                         int64_t to) {
  Type f32 = e.b.getF32Type();
  int64_t chunks = plan.headDim / 8, rowBytes = body.numKvHeads * plan.headDim * 4;
  SmallVector<Term> init = {e.i32(0), e.i32(0)};
  // Whole warps: chunks of 32 rows are a multiple of 32.
  SmallVector<Term> found =
      e.loop(e.thread(), e.i32(plan.columns * chunks), e.i32(kNumThreads), init,
             [&](Term item, ArrayRef<Term> before) {
               AttentionMarks marks = {before[0], before[1]};
               Term row = item / chunks, chunk = item % chunks;
               Term cacheRow = tile * plan.columns + row;
               Term bytes = toI64(min(cacheRow, pass.last)) * rowBytes + toI64(chunk * 32);
               SmallVector<Term> values = loadWide(e, e.advance(start, bytes), f32, 8);
               Term isThere = cacheRow <= pass.last;
               for (Term &value : values)
                 value = select(isThere, value, e.f32(0.0));
               auto words = splitEight(e, plan.half, plan.parts, values, marks);
               for (int64_t part = 0; part < plan.parts; ++part) {
                 Value shared = e.shared(base + to + part * plan.getOperandBytes());
                 storeWords(e, words[part], e.advance(shared, row * plan.pitch + chunk * 16));
               }
               return SmallVector<Term>{marks.notFinite, marks.all};
             });
  return {found[0], found[1]};
}

Term TileEmitter::scanValues(const Term &stage) {
  int64_t chunks = plan.headDim / 8;
  SmallVector<Term> init = {e.i32(0)};
  return e.loop(e.thread(), e.i32(plan.columns * chunks), e.i32(kNumThreads), init,
                [&](Term item, ArrayRef<Term> marks) {
                  Term place = item / chunks * plan.pitch + item % chunks * 16;
                  Value values = e.shared(base + plan.getOperandBytes());
                  Term all = marks[0];
                  for (const Term &word : loadWords(e, e.advance(values, stage + place), 4))
                    all = all | markNotFinite(e, plan.half, word);
                  return SmallVector<Term>{all};
                })[0];
}

//===----------------------------------------------------------------------===//
// A tile
//===----------------------------------------------------------------------===//

void TileEmitter::multiplyKeys(Term stage, SmallVector<SmallVector<Term>> &logits) {
  SmallVector<Value> places;
  for (int64_t part = 0; part < plan.parts; ++part)
    places.push_back(matrixPlace(part * plan.getOperandBytes(), stage, /*isDownFirst=*/false));
  for (int64_t step = 0; step < plan.headDim / 16; ++step) {
    SmallVector<SmallVector<Term>> query;
    for (int64_t part = 0; part < plan.parts; ++part)
      query.push_back(plan.keepsQuery ? queries[part][step] : readQuery(part, step));
    for (int64_t block = 0; block < plan.columns / 16; ++block) {
      Term place = e.i32(16 * block * plan.pitch + 32 * step);
      for (int64_t part = 0; part < plan.parts; ++part) {
        SmallVector<Term> keys = loadMatrices(e, e.advance(places[part], place));
        for (int64_t i = 0; i < 2; ++i)
          for (int64_t other = 0; other + part < plan.parts; ++other) {
            SmallVector<Term> &sums = logits[2 * block + i];
            sums = multiply(e, plan.kind, query[other], ArrayRef<Term>(keys).slice(2 * i, 2), sums);
          }
      }
    }
  }
}

void TileEmitter::multiplyValues(Term stage, ArrayRef<SmallVector<Term>> weights, State &state) {
  int64_t values = plan.parts * plan.getOperandBytes();
  SmallVector<Value> places;
  for (int64_t part = 0; part < plan.parts; ++part)
    places.push_back(
        matrixPlace(values + part * plan.getOperandBytes(), stage, /*isDownFirst=*/true));
  for (int64_t step = 0; step < plan.columns / 16; ++step) {
    // The sums of two products side by side are an operand of the next.
    SmallVector<SmallVector<Term>> operand(plan.parts);
    for (int64_t i = 0; i < 4; ++i) {
      ArrayRef<Term> pair = ArrayRef<Term>(weights[2 * step + i / 2]).slice(i % 2 * 2, 2);
      for (auto [part, word] :
           llvm::enumerate(splitPair(e, plan.half, pair[0], pair[1], plan.parts)))
        operand[part].push_back(word);
    }
    for (int64_t block = 0; block < plan.headDim / 16; ++block) {
      Term place = e.i32(16 * step * plan.pitch + 32 * block);
      for (int64_t part = 0; part < plan.parts; ++part) {
        SmallVector<Term> words =
            loadMatrices(e, e.advance(places[part], place), /*isTransposed=*/true);
        for (int64_t i = 0; i < 2; ++i)
          for (int64_t other = 0; other + part < plan.parts; ++other) {
            SmallVector<Term> &sums = state.sums[2 * block + i];
            sums =
                multiply(e, plan.kind, operand[other], ArrayRef<Term>(words).slice(2 * i, 2), sums);
          }
      }
    }
  }
}

State TileEmitter::runTile(const Pass &pass, const Term &tile, const State &old) {
  State state = old;
  Term stage = tile % plan.stages * plan.getStageBytes();
  int64_t numBlocks = plan.columns / 8;
  SmallVector<SmallVector<Term>> logits(numBlocks, SmallVector<Term>(4, e.f32(0.0)));
  multiplyKeys(stage, logits);

  SmallVector<Term> flat;
  for (const auto &fragment : logits)
    flat.append(fragment);
  Term first = tile * plan.columns, factors[2];
  flat = weigh(body, pass, first, flat, state.weights, factors);
  SmallVector<SmallVector<Term>> weights;
  for (int64_t i = 0; i < numBlocks; ++i)
    weights.emplace_back(ArrayRef<Term>(flat).slice(4 * i, 4));
  for (auto &fragment : state.sums)
    for (int64_t i = 0; i < 4; ++i)
      fragment[i] = fragment[i] * factors[i / 2];
  if (plan.copies) // nobody has looked at it yet
    state.marks.notFinite = e.choose(
        isPartial(pass, first, plan.columns),
        [&] { return SmallVector<Term>{state.marks.notFinite | scanValues(stage)}; },
        [&] { return SmallVector<Term>{state.marks.notFinite}; })[0];
  multiplyValues(stage, weights, state);
  return state;
}

//===----------------------------------------------------------------------===//
// A pass
//===----------------------------------------------------------------------===//

void TileEmitter::runPass(const Pass &pass) {
  State init;
  Term zero = e.f32(0.0);
  init.sums.assign(plan.headDim / 8, SmallVector<Term>(4, zero));
  Term none = e.f32(-kInfinity);
  init.weights = {{none, none}, {zero, zero}};
  init.marks = {notFinite, e.i32(0)};
  Term numTiles = ceilDiv(pass.last + 1, plan.columns);
  auto start = [&](const Term &tile) {
    e.when(tile < numTiles, [&] { copyTile(pass, tile); });
    tile::CopyAsyncCommitOp::create(e.b);
  };
  if (plan.copies)
    start(e.i32(0));
  State state = State::unflatten(
      e.loop(e.i32(0), numTiles, e.i32(1), init.flatten(), [&](Term tile, ArrayRef<Term> values) {
        State old = State::unflatten(values);
        if (plan.copies) {
          start(tile + 1);
          tile::CopyAsyncWaitOp::create(e.b, 1);
        } else {
          int64_t values = plan.parts * plan.getOperandBytes();
          AttentionMarks ofKeys = splitOperand(pass.keys, pass, tile, 0);
          AttentionMarks ofValues = splitOperand(pass.values, pass, tile, values);
          old.marks.notFinite = old.marks.notFinite | ofKeys.notFinite | ofValues.notFinite;
          old.marks.all = old.marks.all | ofValues.all;
        }
        e.barrier();
        State next = runTile(pass, tile, old);
        e.barrier(); // the tile is overwritten
        return next.flatten();
      }));
  if (plan.copies)
    tile::CopyAsyncWaitOp::create(e.b, 0);
  auto reduce = [&](const Term &word) {
    return e.blockReduce(word, kNumThreads, [](Term lhs, Term rhs) { return lhs | rhs; });
  };
  AttentionMarks marks = {reduce(state.marks.notFinite), state.marks.all};
  if (plan.parts > 1)
    marks.all = reduce(marks.all);
  SmallVector<Term> weighted;
  for (const auto &fragment : state.sums)
    weighted.append(fragment);
  e.when(
      isUnfit(e, plan.parts, marks),
      [&] { redoRows(body, rowPlan, pass, firstToken, kRows, head, rowShared); },
      [&] { writeRows(body, pass, firstToken, head, warp, state.weights, weighted); });
}

} // namespace

int64_t mlir::mohd::addAttentionTiles(GpuKernelSet &kernels, AttentionOp op, int64_t few) {
  int64_t headDim = op.getHeadDim();
  // Without sequences each token has its own.
  if (!op.getSequence() || headDim % 16 != 0 || headDim > 256)
    return 0;
  TilePlan plan(op);
  AttentionRowPlan rowPlan(op, kNumThreads / 32, /*maxHeads=*/1, /*numRegisters=*/80);
  if (plan.getBytes() + rowPlan.getSharedBytes() + 256 > kernels.gpu.sharedPerBlock)
    return 0;
  GpuLaunch launch = getAttentionTileLaunch(kernels, op, few, kRows, kNumThreads);
  kernels.add("tiles", launch, [&] {
    AttentionBody body(kernels, op);
    TileEmitter(body, plan, rowPlan).run();
  });
  return kRows;
}
