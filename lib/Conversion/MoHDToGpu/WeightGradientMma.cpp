// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of gradients of weights with mma.sync, for all chips: steps of 32 tokens, brought by copies that threads do not wait for.
//
// Shared memory of a stage: for each side 32 tokens' rows of a tile. 16-byte piece c of token t is at piece c xor (t mod 8), so that eight tokens' pieces of one number are
// in different banks. Both operands have tokens as rows, and are read transposed.
#include "Fragments.h"
#include "WeightGradient.h"

using namespace mlir;
using namespace mlir::mohd;

static constexpr int64_t kStages = 4;
/// A warp has 32 columns: 4 products of 16 x 8 beside each other.
static constexpr int64_t kWide = 4, kWarpColumns = 8 * kWide;

namespace {

/// A block's warps, and the products of 16 x 8 on top of each other that a warp has.
struct GradientShape {
  int64_t warpsDown, warpsAcross, tall;

  int64_t getThreads() const { return 32 * warpsDown * warpsAcross; }
  int64_t getRows() const { return 16 * tall * warpsDown; }
  int64_t getColumns() const { return kWarpColumns * warpsAcross; }
};

class WeightGradientWriter {
public:
  WeightGradientWriter(WeightGradient &gradient, const GradientShape &shape)
      : gradient(gradient), e(gradient.e()), shape(shape), numTokens(gradient.kernels.numTokens()) {
    stageBytes = 2 * kGradientStep * (shape.getRows() + shape.getColumns());
    place = e.reserveShared(kStages * stageBytes, 128);
    warpRow = e.warp() / shape.warpsAcross * (16 * shape.tall);
    warpColumn = e.warp() % shape.warpsAcross * kWarpColumns;
  }

  void write();

private:
  /// Where a piece of a token is in a stage, of rows or of columns.
  Value placeOf(const GradientSide &side, const Term &stage, const Term &token, const Term &piece) {
    Term offset = token * (2 * side.tile) + (piece ^ (token % 8)) * 16;
    if (&side == &gradient.columns)
      offset = offset + 2 * kGradientStep * gradient.rows.tile;
    return e.advance(e.shared(place), stage * stageBytes + offset);
  }
  void copySide(const GradientSide &side, const Term &first, const Term &firstToken,
                const Term &stage);
  StepState copyStep(const Term &step, const Term &stage, StepState state);
  SmallVector<Term> multiplyStage(const Term &stage, ArrayRef<Term> before);
  SmallVector<Term> walk();
  SmallVector<Term> addOneByOne(const Term &row, const Term &column);

  WeightGradient &gradient;
  GpuEmitter &e;
  const GradientShape shape;
  Term numTokens, numSteps;
  int64_t stageBytes, place;
  Term warpRow, warpColumn; // of this warp's in the tile
};

} // namespace

void WeightGradientWriter::copySide(const GradientSide &side, const Term &first,
                                    const Term &firstToken, const Term &stage) {
  int64_t numPieces = side.tile / 8, linesAtATime = shape.getThreads() / numPieces;
  Term piece = e.thread() % numPieces, index = first + piece * 8;
  Term isThere = index < side.extent;
  Term source = gradient.sourceOf(side, select(isThere, index, e.i32(0)));
  for (int64_t line = 0; line < kGradientStep; line += linesAtATime) {
    Term own = e.thread() / numPieces + line, token = firstToken + own;
    Term bytes = select(isThere & (token < numTokens), e.i32(16), e.i32(0));
    Value from = e.at(gradient.kernels.buffer(side.tensor), {min(token, numTokens - 1), source});
    tile::CopyAsyncOp::create(e.b, placeOf(side, stage, own, piece), from, 16, bytes.value);
  }
}

/// Starts the copies of a step, if there is one, and makes them a group.
StepState WeightGradientWriter::copyStep(const Term &step, const Term &stage, StepState state) {
  SmallVector<Term> after = e.choose(
      step < numSteps,
      [&] {
        StepState next = state;
        Term token = gradient.nextStep(next);
        copySide(gradient.rows, gradient.firstRow, token, stage);
        copySide(gradient.columns, gradient.firstColumn, token, stage);
        return SmallVector<Term>{next.first, next.word};
      },
      [&] { return SmallVector<Term>{state.first, state.word}; });
  tile::CopyAsyncCommitOp::create(e.b);
  return {after[0], after[1]};
}

/// The warp's sums and a stage's products.
SmallVector<Term> WeightGradientWriter::multiplyStage(const Term &stage, ArrayRef<Term> before) {
  bool isBF16 = gradient.rows.getElement().isBF16();
  tile::MmaKind kind = isBF16 ? tile::MmaKind::BF16 : tile::MmaKind::F16;
  SmallVector<Term> sums(before);
  Term lane = e.lane();
  for (int64_t k = 0; k < kGradientStep; k += 16) {
    SmallVector<Term> right; // 2 words for each 8 columns
    for (int64_t j = 0; j < kWide; j += 2) {
      Term token = lane % 16 + k, piece = warpColumn / 8 + lane / 16 + j;
      llvm::append_range(right,
                         loadMatrices(e, placeOf(gradient.columns, stage, token, piece), true));
    }
    for (int64_t i = 0; i < shape.tall; ++i) {
      Term token = lane / 16 * 8 + lane % 8 + k, piece = warpRow / 8 + lane / 8 % 2 + 2 * i;
      Term left = e.join(loadMatrices(e, placeOf(gradient.rows, stage, token, piece), true));
      for (int64_t j = 0; j < kWide; ++j) {
        Term b = e.join({right[2 * j], right[2 * j + 1]});
        Term &sum = sums[i * kWide + j];
        sum = e.wrap(tile::MmaOp::create(e.b, kind, left.value, b.value, sum.value));
      }
    }
  }
  return sums;
}

/// The warp's sums over all steps.
SmallVector<Term> WeightGradientWriter::walk() {
  StepState state = gradient.firstState();
  for (int64_t step = 0; step < kStages - 1; ++step)
    state = copyStep(e.i32(step), e.i32(step), state);
  SmallVector<Term> carried(shape.tall * kWide, e.join(SmallVector<Term>(4, e.f32(0.0))));
  carried.append({e.i32(0), state.first, state.word}); // the stage, and the state
  carried = e.loop(e.i32(0), numSteps, e.i32(1), carried, [&](Term step, ArrayRef<Term> before) {
    ArrayRef<Term> rest = before.take_back(3);
    Term stage = rest[0];
    Term last = select(stage == 0, e.i32(kStages - 1), stage - 1); // the one that all have left
    tile::CopyAsyncWaitOp::create(e.b, kStages - 2);
    e.barrier();
    StepState next = copyStep(step + (kStages - 1), last, {rest[1], rest[2]});
    SmallVector<Term> after = multiplyStage(stage, before.drop_back(3));
    after.append({select(stage == kStages - 1, e.i32(0), stage + 1), next.first, next.word});
    return after;
  });
  carried.pop_back_n(3);
  return carried;
}

/// The thread's sums without tensor units, from global memory; all threads of the warp do it together.
SmallVector<Term> WeightGradientWriter::addOneByOne(const Term &row, const Term &column) {
  SmallVector<Term> carried(shape.tall * kWide * 4, e.f32(0.0));
  StepState start = gradient.firstState();
  carried.append({start.first, start.word});
  carried = e.loop(e.i32(0), numSteps, e.i32(1), carried, [&](Term, ArrayRef<Term> before) {
    StepState state = {before[before.size() - 2], before.back()};
    Term first = gradient.nextStep(state);
    SmallVector<Term> after =
        e.loop(first, min(first + kGradientStep, numTokens), e.i32(1), before.drop_back(2),
               [&](Term token, ArrayRef<Term> sums) {
                 auto load = [&](const GradientSide &side, const Term &index) {
                   Term source = gradient.sourceOf(side, min(index, e.i32(side.extent - 1)));
                   return e.loadF32(gradient.kernels.buffer(side.tensor), {token, source});
                 };
                 SmallVector<Term> left, right, next;
                 for (int64_t i = 0; i < 2 * shape.tall; ++i)
                   left.push_back(load(gradient.rows, row + 8 * i));
                 for (int64_t j = 0; j < 2 * kWide; ++j)
                   right.push_back(load(gradient.columns, column + (j / 2 * 8 + j % 2)));
                 for (auto [number, sum] : llvm::enumerate(sums)) {
                   int64_t product = int64_t(number) / 4, i = product / kWide, j = product % kWide;
                   int64_t half = number % 4 / 2, odd = number % 2;
                   next.push_back(gradient.addProduct(left[2 * i + half], right[2 * j + odd], sum));
                 }
                 return next;
               });
    after.append({state.first, state.word});
    return after;
  });
  carried.pop_back_n(2);
  return carried;
}

void WeightGradientWriter::write() {
  numSteps = gradient.countSteps();
  SmallVector<Term> sums; // of each product of 16 x 8 four
  for (const Term &product : walk())
    llvm::append_range(sums, e.split(product));
  // Values of their own, or what is computed of them would be in registers from before the products on.
  Term row = e.broadcast(gradient.firstRow + warpRow, e.i32(0)) + e.lane() / 4;
  Term column = e.broadcast(gradient.firstColumn + warpColumn, e.i32(0)) + e.lane() % 4 * 2;
  if (gradient.skipsZeros()) {
    // A zero and what is not finite make a NaN, which stays in the sum.
    Term notFinite = e.i1(false);
    for (const Term &sum : sums)
      notFinite = notFinite | (sum - sum != 0.0);
    sums = e.choose(
        e.ballot(notFinite) != 0, [&] { return addOneByOne(row, column); }, [&] { return sums; });
  }
  for (int64_t number = 0; number < int64_t(sums.size()); number += 2) {
    int64_t product = number / 4, half = number % 4 / 2;
    Term own = row + (product / kWide * 16 + 8 * half), first = column + product % kWide * 8;
    if (gradient.hasPairs()) {
      gradient.write(own, first, {sums[number], sums[number + 1]});
    } else {
      gradient.write(own, first, sums[number]);
      gradient.write(own, first + 1, sums[number + 1]);
    }
  }
}

void mlir::mohd::addMmaWeightGradient(GpuKernelSet &kernels, BucketWeightGradientOp op) {
  // Large tiles if they are full, and enough for all SMs.
  GradientShape small = {2, 2, 2}, large = {2, 4, 4}; // 64 x 64 and 128 x 128
  WeightGradient inLarge(kernels, op, large.getRows(), large.getColumns());
  bool isLarge = inLarge.rows.extent >= large.getRows() &&
                 inLarge.columns.extent >= large.getColumns() &&
                 inLarge.getNumTiles() >= kernels.gpu.typicalSms;
  GradientShape shape = isLarge ? large : small;
  WeightGradient gradient(kernels, op, shape.getRows(), shape.getColumns());
  gradient.add("mma" + std::to_string(shape.getRows()), shape.getThreads(),
               [&] { WeightGradientWriter(gradient, shape).write(); });
}
