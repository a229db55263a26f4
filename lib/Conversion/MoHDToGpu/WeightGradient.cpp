// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Gradients of weights: tiles, steps of tokens, and the kernel for any types and sizes, in f32.
#include "WeightGradient.h"

using namespace mlir;
using namespace mlir::mohd;

/// Parts of the tokens at most: each has sums of its own.
static constexpr int64_t kMostParts = 8;

WeightGradient::WeightGradient(GpuKernelSet &kernels, BucketWeightGradientOp op, int64_t tileRows,
                               int64_t tileColumns)
    : kernels(kernels), op(op), isLocal(op.getLocal()) {
  RankedTensorType type = op.getType();
  SmallVector<int64_t> shape = getGradientShape(type, op.getPermutation()); // [G, P, C]
  numGroups = shape[0];
  groupRows = shape[1];
  numCommon = op.getNumCommon();
  numProducts = isLocal ? numGroups : 1;
  // Strides of the result's dimensions, and which of w they are.
  SmallVector<int64_t> order = {0, 1, 2}, strides(3);
  if (op.getPermutation())
    order.assign(op.getPermutation()->begin(), op.getPermutation()->end());
  int64_t stride = 1;
  for (int64_t axis : llvm::reverse(order)) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  groupStride = strides[0];
  rowStride = strides[1];
  columnStride = strides[2];
  rows = {op.getGrouped(), true, numGroups * groupRows / numProducts};
  columns = {op.getOther(), false, shape[2]};
  if (order.back() != 2)
    std::swap(rows, columns);
  rows.tile = tileRows;
  columns.tile = tileColumns;
}

bool WeightGradient::hasPieces() const {
  Type element = rows.getElement();
  auto hasPieces = [](const GradientSide &side) { return side.extent % 8 == 0; };
  return element.getIntOrFloatBitWidth() == 16 && element == columns.getElement() &&
         hasPieces(rows) && hasPieces(columns);
}

bool WeightGradient::hasPairs() const {
  return (columns.isGrouped ? rowStride : columnStride) == 1 &&
         (columns.isGrouped ? groupRows : columns.extent) % 2 == 0;
}

void WeightGradient::add(StringRef suffix, int64_t threads, llvm::function_ref<void()> body) {
  split.emplace(kernels, getNumTiles(), kMostParts);
  GpuLaunch launch;
  launch.threads = threads;
  launch.grid = std::to_string(getNumTiles() * split->numParts);
  kernels.add(suffix, launch, [&] {
    findTile();
    body();
  });
  split->addSums();
}

void WeightGradient::findTile() {
  Term tile = e().block() % getNumTiles();
  part = e().block() / getNumTiles();
  firstColumn = tile % columns.getNumTiles() * columns.tile;
  Term rest = tile / columns.getNumTiles();
  firstRow = rest % rows.getNumTiles() * rows.tile;
  product = rest / rows.getNumTiles();
  if (isLocal) {
    firstGroup = lastGroup = product;
    return;
  }
  const GradientSide &grouped = rows.isGrouped ? rows : columns;
  Term first = rows.isGrouped ? firstRow : firstColumn;
  firstGroup = first / groupRows;
  lastGroup = (min(first + grouped.tile, e().i32(grouped.extent)) - 1) / groupRows;
}

/// Whether the block has a step of this number, and some of its tokens have groups of the tile.
Term WeightGradient::isActive(const Term &number) {
  Term step = number * split->numParts + part;
  Term isThere = step < countAll();
  if (!op.getMasks())
    return isThere & (firstGroup < numCommon);
  Term tile = min(step, countAll() - 1) * kGradientStep / int64_t(op.getRows());
  Term found = e().loop(firstGroup / 32, lastGroup / 32 + 1, e().i32(1), {e().i32(0)},
                        [&](Term word, ArrayRef<Term> carried) {
                          Term lower = max(firstGroup - word * 32, e().i32(0));
                          Term upper = min(lastGroup - word * 32, e().i32(31));
                          Term bits =
                              (e().i32(-1) << lower) & (e().i32(-1) >> (e().i32(31) - upper));
                          Term mask = e().loadI32(kernels.buffer(op.getMasks()), {tile, word});
                          return SmallVector<Term>{carried[0] | (mask & bits)};
                        })[0];
  return isThere & (found != 0);
}

Term WeightGradient::countSteps() {
  return e().loop(e().i32(0), ceilDiv(countAll(), split->numParts), e().i32(32), {e().i32(0)},
                  [&](Term first, ArrayRef<Term> carried) {
                    Term word = e().ballot(isActive(first + e().lane()));
                    return SmallVector<Term>{carried[0] + e().popCount(word)};
                  })[0];
}

Term WeightGradient::nextStep(StepState &state) {
  SmallVector<Term> found = e().repeat(
      {state.first, state.word}, [&](ArrayRef<Term> values) { return values[1] == 0; },
      [&](ArrayRef<Term> values) {
        Term first = values[0] + 32;
        return SmallVector<Term>{first, e().ballot(isActive(first + e().lane()))};
      });
  state = {found[0], found[1] & (found[1] - 1)};
  Term number = found[0] + e().lowestBit(found[1]);
  return (number * split->numParts + part) * kGradientStep;
}

Term WeightGradient::sourceOf(const GradientSide &side, const Term &index) const {
  return isLocal ? product * side.extent + index : index;
}

Term WeightGradient::addProduct(const Term &row, const Term &column, const Term &sum) const {
  Term added = fma(row, column, sum);
  return skipsZeros() ? select((rows.isGrouped ? row : column) == 0.0, sum, added) : added;
}

void WeightGradient::write(const Term &row, const Term &column, ArrayRef<Term> sums) {
  e().when((row < rows.extent) & (column < columns.extent), [&] {
    Term grouped = rows.isGrouped ? row : column, other = rows.isGrouped ? column : row;
    Term group = isLocal ? product : grouped / groupRows;
    Term place = group * groupStride + other * columnStride +
                 (isLocal ? grouped : grouped % groupRows) * rowStride;
    split->store(sums, part, place);
  });
}

//===----------------------------------------------------------------------===//
// Any types and sizes
//===----------------------------------------------------------------------===//

/// Rows and columns of a block's tile, and of a thread's.
static constexpr int64_t kTile = 64, kSide = 4;

static void writeScalar(WeightGradient &gradient) {
  GpuEmitter &e = gradient.e();
  constexpr int64_t kAcross = kTile / kSide, kThreads = kAcross * kAcross;
  Term thread = e.thread(), numTokens = gradient.kernels.numTokens();
  // Shared memory: a step's [tokens, 64] f32 of each side.
  int64_t stages[] = {e.reserveShared(4 * kGradientStep * kTile),
                      e.reserveShared(4 * kGradientStep * kTile)};
  auto at = [&](int64_t side, const Term &token, const Term &index) {
    return e.advance(e.shared(stages[side]), (token * kTile + index) * 4);
  };
  auto copy = [&](int64_t number, const GradientSide &side, const Term &first,
                  const Term &firstToken) {
    e.loop(thread, e.i32(kGradientStep * kTile), kThreads, [&](Term item) {
      Term index = item % kTile, line = item / kTile;
      Term token = firstToken + line;
      Term isThere = (token < numTokens) & (first + index < side.extent);
      Term source = gradient.sourceOf(side, min(first + index, e.i32(side.extent - 1)));
      Term value =
          e.loadF32(gradient.kernels.buffer(side.tensor), {min(token, numTokens - 1), source});
      e.store(select(isThere, value, e.f32(0.0)), at(number, line, index));
    });
  };
  Term row = thread / kAcross * kSide, column = thread % kAcross * kSide;
  Term isThere = (gradient.firstRow + row < gradient.rows.extent) &
                 (gradient.firstColumn + column < gradient.columns.extent);
  Term numLines = select(isThere, e.i32(kGradientStep), e.i32(0));
  StepState start = gradient.firstState();
  SmallVector<Term> carried(kSide * kSide, e.f32(0.0));
  carried.append({start.first, start.word});
  carried =
      e.loop(e.i32(0), gradient.countSteps(), e.i32(1), carried, [&](Term, ArrayRef<Term> before) {
        StepState state = {before[kSide * kSide], before[kSide * kSide + 1]};
        Term token = gradient.nextStep(state);
        e.barrier(); // the last step's values have been read
        copy(0, gradient.rows, gradient.firstRow, token);
        copy(1, gradient.columns, gradient.firstColumn, token);
        e.barrier();
        SmallVector<Term> sums = e.loop(
            e.i32(0), numLines, e.i32(1), before.take_front(kSide * kSide),
            [&](Term line, ArrayRef<Term> values) {
              Type f32 = e.b.getF32Type();
              SmallVector<Term> left = e.loadF32s(at(0, line, row), f32, kSide);
              SmallVector<Term> right = e.loadF32s(at(1, line, column), f32, kSide), next;
              for (int64_t i = 0; i < kSide * kSide; ++i)
                next.push_back(gradient.addProduct(left[i / kSide], right[i % kSide], values[i]));
              return next;
            });
        sums.append({state.first, state.word});
        return sums;
      });
  for (int64_t i = 0; i < kSide * kSide; ++i)
    gradient.write(gradient.firstRow + row + i / kSide, gradient.firstColumn + column + i % kSide,
                   carried[i]);
}

LogicalResult mlir::mohd::emitGpuBucketWeightGradient(GpuKernelSet &kernels,
                                                      BucketWeightGradientOp op) {
  WeightGradient gradient(kernels, op, kTile, kTile);
  if (gradient.hasPieces())
    addMmaWeightGradient(kernels, op);
  else
    gradient.add("scalar", kTile / kSide * (kTile / kSide), [&] { writeScalar(gradient); });
  return success();
}
