// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Monarch fusion of 16-bit elements in the form of the models, N groups of d_e, by the tensor units.
//
// A block has some rows and some j of d_e:
//
//   u[j, row, k] = sum over p of right[k, j, p] * input[row, k, p]     warps share rows and k, operands straight from global memory
//   y[j, row, s] = sum over k of left[j, s, k] * u[j, row, k]          warps share j; u in two tf32 parts, as good as f32
//
// u and then y lie in shared memory as [j, row, k or s], which makes k the row of an operand.
#include "Fragments.h"
#include "Fusion.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::mohd;

namespace {

struct FusionTilePlan {
  int64_t rows, columns;        // of a block; columns are j
  int64_t rowWarps, blockWarps; // warps that share the rows, and the k
  int64_t groups, groupWidth;   // N, d_e
  int64_t padded;               // N, in whole products
  int64_t pitch, columnPitch;   // f32 from a row to the next, from a j to the next

  FusionTilePlan(const FusionShape &shape, int64_t rows, int64_t columns, int64_t numWarps)
      : rows(rows), columns(columns), rowWarps(rows / 16), blockWarps(numWarps * 16 / rows),
        groups(shape.k), groupWidth(shape.p), padded(llvm::alignTo(shape.k, 8)), pitch(padded + 2),
        columnPitch(llvm::alignTo(rows * pitch, 32) + 2) {}

  int64_t getNumWarps() const { return rowWarps * blockWarps; }
  int64_t getSharedBytes() const { return 4 * columns * columnPitch; }
};

class FusionTileEmitter {
public:
  FusionTileEmitter(FusionBody &body, const FusionTilePlan &plan);

  void run();

private:
  using Sums = SmallVector<SmallVector<Term>>; // fragments side by side

  /// Where u[column, row, k] is.
  Value placeOf(const Term &column, const Term &row, const Term &k) {
    return e.advance(e.shared(middle), (column * plan.columnPitch + row * plan.pitch + k) * 4);
  }
  void clearPadding();
  void multiplyRight();
  Sums multiplyBlock(const Term &rowOfWarp, const Term &k);
  void multiplyLeft();
  Sums multiplyColumn(const Term &column, const Term &row);
  /// Two elements of a row of `left` from k on, as words; 0 outside.
  SmallVector<Term> loadLeft(const Term &column, const Term &s, const Term &k);
  void write();

  FusionBody &body;
  const FusionTilePlan &plan;
  GpuEmitter &e;
  int64_t middle;
  Term firstRow, firstColumn;
  Term warp, q, r; // lane = 4 q + r
};

FusionTileEmitter::FusionTileEmitter(FusionBody &body, const FusionTilePlan &plan)
    : body(body), plan(plan), e(body.e) {
  middle = e.reserveShared(plan.getSharedBytes());
  int64_t numSlices = plan.groupWidth / plan.columns;
  Term block = e.block(), lane = e.lane();
  firstRow = block / numSlices * plan.rows;
  firstColumn = block % numSlices * plan.columns;
  warp = e.warp();
  q = lane / 4;
  r = lane % 4;
}

void FusionTileEmitter::run() {
  clearPadding();
  multiplyRight();
  e.barrier();
  multiplyLeft();
  e.barrier();
  write();
}

void FusionTileEmitter::clearPadding() {
  int64_t width = plan.padded - plan.groups;
  if (width == 0)
    return;
  e.loop(
      e.thread(), e.i32(plan.columns * plan.rows * width), 32 * plan.getNumWarps(), [&](Term item) {
        Term row = item / width;
        e.store(e.f32(0.0), placeOf(row / plan.rows, row % plan.rows, item % width + plan.groups));
      });
}

//===----------------------------------------------------------------------===//
// The right factor
//===----------------------------------------------------------------------===//

void FusionTileEmitter::multiplyRight() {
  Term rowOfWarp = warp % plan.rowWarps * 16;
  Term mask = min(firstRow + rowOfWarp, body.numTokens - 1); // a row whose mask it is
  e.loop(warp / plan.rowWarps, e.i32(plan.groups), plan.blockWarps, [&](Term k) {
    SmallVector<Term> flat = e.choose(
        body.isActive(mask, k),
        [&] {
          SmallVector<Term> terms;
          for (const auto &fragment : multiplyBlock(rowOfWarp, k))
            terms.append(fragment);
          return terms;
        },
        [&] { return SmallVector<Term>(plan.columns / 2, e.f32(0.0)); });
    for (auto [i, term] : llvm::enumerate(flat)) {
      Term column = r * 2 + int64_t(i / 4 * 8 + i % 2);
      e.store(term, placeOf(column, rowOfWarp + q + int64_t(i / 2 % 2 * 8), k));
    }
  });
}

FusionTileEmitter::Sums FusionTileEmitter::multiplyBlock(const Term &rowOfWarp, const Term &k) {
  // The sum may go in any order: a thread takes as many elements that lie together as a load has.
  int64_t words = plan.groupWidth % 32 == 0 ? 4 : 2, step = 8 * words;
  int64_t numSteps = plan.groupWidth / step, unrolls = numSteps % 2 == 0 ? 2 : 1;
  Type element = body.input.getElementType();
  tile::MmaKind kind = element.isF16() ? tile::MmaKind::F16 : tile::MmaKind::BF16;
  SmallVector<Value> rows, columns;
  for (int64_t i = 0; i < 16; i += 8) {
    Term row = min(firstRow + rowOfWarp + q + i, body.numTokens - 1);
    rows.push_back(e.at(body.input, {row, k * plan.groupWidth + r * (2 * words)}));
  }
  for (int64_t i = 0; i < plan.columns; i += 8)
    columns.push_back(e.at(body.right, {k, firstColumn + q + i, r * (2 * words)}));

  SmallVector<Term> init(plan.columns / 2, e.f32(0.0));
  SmallVector<Term> flat =
      e.loop(e.i32(0), e.i32(2 * plan.groupWidth), e.i32(2 * step * unrolls), init,
             [&](Term offset, ArrayRef<Term> values) {
               SmallVector<Term> sums(values);
               SmallVector<SmallVector<SmallVector<Term>>> a, b; // [unroll][row or column][word]
               for (int64_t i = 0; i < unrolls; ++i) {
                 auto load = [&](Value start) {
                   return loadWords(e, e.advance(start, offset + 2 * step * i), words);
                 };
                 a.push_back(llvm::map_to_vector(rows, load));
                 b.push_back(llvm::map_to_vector(columns, load));
               }
               for (int64_t i = 0; i < unrolls; ++i)
                 for (int64_t word = 0; word < words; word += 2) {
                   SmallVector<Term> operand = {a[i][0][word], a[i][1][word], a[i][0][word + 1],
                                                a[i][1][word + 1]};
                   for (int64_t n = 0; n < plan.columns / 8; ++n) {
                     auto next = multiply(e, kind, operand, ArrayRef<Term>(b[i][n]).slice(word, 2),
                                          ArrayRef<Term>(sums).slice(4 * n, 4));
                     llvm::copy(next, sums.begin() + 4 * n);
                   }
                 }
               return sums;
             });
  Sums fragments;
  for (int64_t n = 0; n < plan.columns / 8; ++n)
    fragments.emplace_back(ArrayRef<Term>(flat).slice(4 * n, 4));
  return fragments;
}

//===----------------------------------------------------------------------===//
// The left factor
//===----------------------------------------------------------------------===//

void FusionTileEmitter::multiplyLeft() {
  e.loop(warp, e.i32(plan.columns), plan.getNumWarps(), [&](Term column) {
    for (int64_t row = 0; row < plan.rows; row += 16) {
      Term firstRowOfTile = e.i32(row);
      Sums sums = multiplyColumn(column, firstRowOfTile);
      e.warpSync(); // all have read what is overwritten
      for (auto [n, fragment] : llvm::enumerate(sums))
        for (int64_t i = 0; i < 4; ++i) {
          Term s = r * 2 + (8 * int64_t(n) + i % 2);
          auto store = [&, i = i, &fragment = fragment] {
            e.store(fragment[i], placeOf(column, q + (row + i / 2 * 8), s));
          };
          if (8 * int64_t(n + 1) <= plan.groups)
            store();
          else
            e.when(s < plan.groups, store);
        }
    }
  });
}

/// The words of tf32 that add up to an f32, but for its last bits.
static std::pair<Term, Term> splitTF32(GpuEmitter &e, const Term &value) {
  Term high = toBits(value) & -0x2000;
  Term rest = value - fromBits(high);
  rest = select(rest == rest, rest, e.f32(0.0)); // of Inf
  return {high, toBits(rest)};
}

SmallVector<Term> FusionTileEmitter::loadLeft(const Term &column, const Term &s, const Term &k) {
  Term last = e.i32(plan.groups - 1);
  bool isPadded = plan.padded != plan.groups;
  Term row = isPadded ? min(s, last) : s, first = isPadded ? min(k, last - 1) : k;
  Type element = body.left.getElementType();
  SmallVector<Term> pair =
      e.loadF32s(e.at(body.left, {firstColumn + column, row, first}), element, 2);
  for (Term &value : pair) {
    value = toBits(value);
    if (isPadded)
      value = select((s < plan.groups) & (k < plan.groups), value, e.i32(0));
  }
  return pair;
}

FusionTileEmitter::Sums FusionTileEmitter::multiplyColumn(const Term &column, const Term &row) {
  // A thread has k and k + 1 with k = 8 step + 2 r, for the places r and r + 4 of a product.
  Type f32 = e.b.getF32Type();
  SmallVector<SmallVector<Term>> high, low;
  for (int64_t step = 0; step < plan.padded / 8; ++step) {
    SmallVector<Term> highWords(4), lowWords(4);
    for (int64_t i = 0; i < 2; ++i) {
      Value from = placeOf(column, row + q + 8 * i, r * 2 + 8 * step);
      for (auto [j, value] : llvm::enumerate(e.loadF32s(from, f32, 2)))
        std::tie(highWords[2 * j + i], lowWords[2 * j + i]) = splitTF32(e, value);
    }
    high.push_back(highWords);
    low.push_back(lowWords);
  }
  Sums sums;
  for (int64_t n = 0; n < plan.padded / 8; ++n) {
    SmallVector<Term> fragment(4, e.f32(0.0));
    for (int64_t step = 0; step < plan.padded / 8; ++step) {
      SmallVector<Term> left = loadLeft(column, q + 8 * n, r * 2 + 8 * step);
      for (const auto &part : {high[step], low[step]})
        fragment = multiply(e, tile::MmaKind::TF32, part, left, fragment);
    }
    sums.push_back(fragment);
  }
  return sums;
}

void FusionTileEmitter::write() {
  int64_t quads = plan.columns / 4;
  Type f32 = e.b.getF32Type();
  e.loop(e.thread(), e.i32(plan.rows * plan.groups * quads), 32 * plan.getNumWarps(),
         [&](Term item) {
           Term quad = item % quads, s = item / quads % plan.groups;
           Term row = item / (quads * plan.groups);
           e.when(firstRow + row < body.numTokens, [&] {
             SmallVector<Term> sums;
             for (int64_t i = 0; i < 4; ++i)
               sums.push_back(e.load(placeOf(quad * 4 + i, row, s), f32));
             body.write(sums, body.destinationOf(firstRow + row),
                        s * plan.groupWidth + firstColumn + quad * 4);
           });
         });
}

/// Whether a type has 16 bits.
bool isHalf(RankedTensorType type) {
  return type.getElementType().isBF16() || type.getElementType().isF16();
}

} // namespace

LogicalResult mlir::mohd::addFusionTiles(GpuKernelSet &kernels, BucketFusionOp op) {
  FusionShape shape(op);
  RankedTensorType right = op.getRight().getType();
  bool hasTypes = isHalf(right) && isHalf(op.getLeft().getType()) &&
                  op.getInput().getType().getElementType() == right.getElementType();
  if (!shape.isSquare() || !hasTypes || shape.p % 16 != 0 || shape.k % 2 != 0 || shape.k > 64)
    return failure();

  auto add = [&](StringRef suffix, StringRef condition, const FusionTilePlan &plan) {
    StringRef tokens = kernels.getTokens();
    GpuLaunch launch;
    launch.grid = (condition + "*ceildiv(" + tokens + "," + Twine(plan.rows) + ")*" +
                   Twine(plan.groupWidth / plan.columns))
                      .str();
    launch.threads = 32 * plan.getNumWarps();
    launch.minBlocks = shape.k <= 32 ? 2 : 1; // the rows of more groups take more registers
    kernels.add(suffix, launch, [&] {
      FusionBody body(kernels, op);
      FusionTileEmitter(body, plan).run();
    });
  };
  constexpr int64_t kNumWarps = 8;
  // The larger a block, the less is read again; two of them fit an SM.
  const GpuInfo &gpu = kernels.gpu;
  int64_t limit = std::min(gpu.sharedPerBlock, gpu.sharedPerSm / 2 - gpu.sharedReserved);
  for (auto [rows, columns] : {std::pair(32, 32), {64, 16}, {32, 16}, {16, 16}}) {
    FusionTilePlan plan(shape, rows, columns, kNumWarps);
    if (shape.p % columns != 0 || plan.getSharedBytes() > limit)
      continue;
    add("few", isFew(kernels.getTokens(), kFewTokens), {shape, 16, 8, kNumWarps});
    add("many", isMany(kernels.getTokens(), kFewTokens), plan);
    return success();
  }
  return failure();
}
