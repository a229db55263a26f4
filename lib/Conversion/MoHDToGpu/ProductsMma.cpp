// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of products with mma.sync: a step of 32 of the depth at a time, brought by copies that threads do not wait for.
//
// Shared memory of a stage: rows of 64 bytes, those of inputs, then those of weights. 16-byte piece c of row i is at piece c xor (i / 2 mod 4), so that eight rows' pieces
// of one number are in different banks.
#include "Products.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mohd;

/// Pieces of 16 bytes, or 8 values, of a step, and the bytes of one row of it.
static constexpr int64_t kPieces = 4, kRowBytes = 64, kStages = 4;
/// A warp has 32 columns: 4 products of 16 x 8 beside each other.
static constexpr int64_t kWide = 4, kWarpColumns = 8 * kWide;

namespace {

/// A block's warps, and the products of 16 x 8 on top of each other that a warp has.
struct MmaShape {
  int64_t warpsDown, warpsAcross, tall;

  int64_t getThreads() const { return 32 * warpsDown * warpsAcross; }
  int64_t getRows() const { return 16 * tall * warpsDown; }
  int64_t getColumns() const { return kWarpColumns * warpsAcross; }
  int64_t getStageBytes() const { return (getRows() + getColumns()) * kRowBytes; }
};

/// A row that a thread copies a piece of in each step.
struct CopiedLine {
  Term line;  // row of `input` or of `weight`
  Term bytes; // of a piece: 16, or 0 if there is no such row
  Term to;    // in the stage
};

class MmaWriter {
public:
  MmaWriter(Product &product, const MmaShape &shape)
      : product(product), e(product.e()), shape(shape) {}

  void write();

private:
  void findLines();
  Term placeInStage(const Term &line, const Term &piece) {
    return line * kRowBytes + (piece ^ (line / 2 % kPieces)) * 16;
  }
  void copyStep(const Term &step, const Term &stage);
  SmallVector<Term> multiplyStage(const Term &stage, ArrayRef<Term> before);
  SmallVector<Term> walk();
  void finish(ArrayRef<Term> sums);
  Value stageAt(const Term &stage, const Term &offset) {
    return e.advance(e.shared(place), stage * shape.getStageBytes() + offset);
  }

  Product &product;
  GpuEmitter &e;
  const MmaShape shape;
  int64_t place = 0;        // of the stages
  Term row, position;       // of the tile's first row and column
  Term warpRow, warpColumn; // of this warp's in the tile
  GroupList list;
  Term numPieces, numSteps; // to walk
  SmallVector<CopiedLine> inputs, weights;
};

} // namespace

/// This thread copies piece thread mod 4 of some rows of inputs and of weights.
void MmaWriter::findLines() {
  Term piece = e.thread() % kPieces, numTokens = product.kernels.numTokens();
  Term sixteen = e.i32(16), none = e.i32(0);
  int64_t linesAtATime = shape.getThreads() / kPieces;
  for (int64_t first = 0; first < shape.getRows(); first += linesAtATime) {
    Term line = e.thread() / kPieces + first, token = row + line;
    inputs.push_back({min(token, numTokens - 1), select(token < numTokens, sixteen, none),
                      placeInStage(line, piece)});
  }
  for (int64_t first = 0; first < shape.getColumns(); first += linesAtATime) {
    Term line = e.thread() / kPieces + first;
    Term column = product.columnAt(list, position + line).column;
    Term isThere = column < product.columns;
    weights.push_back({select(isThere, column, none), select(isThere, sixteen, none),
                       placeInStage(line + shape.getRows(), piece)});
  }
}

/// Starts the copies of a step, if there is one, and makes them a group.
void MmaWriter::copyStep(const Term &step, const Term &stage) {
  e.when(step < numSteps, [&] {
    Term piece = step * kPieces + e.thread() % kPieces;
    Term isThere = piece < numPieces;
    Term source = product.depthAt(list, min(piece, numPieces - 1) * 8);
    auto copy = [&](const CopiedLine &line, Value from) {
      Term bytes = select(isThere, line.bytes, e.i32(0));
      tile::CopyAsyncOp::create(e.b, stageAt(stage, line.to), from, 16, bytes.value);
    };
    for (const CopiedLine &line : inputs)
      copy(line, product.inputAt(line.line, source));
    for (const CopiedLine &line : weights)
      copy(line, product.weightAt(line.line, source));
  });
  tile::CopyAsyncCommitOp::create(e.b);
}

/// The warp's sums and a stage's products.
SmallVector<Term> MmaWriter::multiplyStage(const Term &stage, ArrayRef<Term> before) {
  auto kind = product.getHalf() == tile::Half::BF16 ? tile::MmaKind::BF16 : tile::MmaKind::F16;
  Type fragments = VectorType::get({4}, e.b.getI32Type());
  SmallVector<Term> sums(before);
  Term lane = e.lane();
  auto load = [&](const Term &line, const Term &piece) {
    Value at = stageAt(stage, placeInStage(line, piece));
    return e.wrap(tile::LoadMatrixOp::create(e.b, fragments, at));
  };
  for (int64_t k = 0; k < kPieces; k += 2) { // 16 of the depth
    SmallVector<Term> weights;               // 2 words for each 8 columns
    for (int64_t j = 0; j < kWide; j += 2) {
      Term line = warpColumn + lane / 16 * 8 + lane % 8 + 8 * j;
      llvm::append_range(weights, e.split(load(line + shape.getRows(), lane / 8 % 2 + k)));
    }
    for (int64_t i = 0; i < shape.tall; ++i) {
      Term a = load(warpRow + lane % 16 + 16 * i, lane / 16 + k);
      for (int64_t j = 0; j < kWide; ++j) {
        Term b = e.join({weights[2 * j], weights[2 * j + 1]});
        Term &sum = sums[i * kWide + j];
        sum = e.wrap(tile::MmaOp::create(e.b, kind, a.value, b.value, sum.value));
      }
    }
  }
  return sums;
}

/// The warp's sums over all steps.
SmallVector<Term> MmaWriter::walk() {
  for (int64_t step = 0; step < kStages - 1; ++step)
    copyStep(e.i32(step), e.i32(step));
  SmallVector<Term> carried(shape.tall * kWide, e.join(SmallVector<Term>(4, e.f32(0.0))));
  carried.push_back(e.i32(0)); // the stage
  carried = e.loop(e.i32(0), numSteps, e.i32(1), carried, [&](Term step, ArrayRef<Term> before) {
    Term stage = before.back();
    Term last = select(stage == 0, e.i32(kStages - 1), stage - 1); // the one that all have left
    tile::CopyAsyncWaitOp::create(e.b, kStages - 2);
    e.barrier();
    copyStep(step + (kStages - 1), last);
    SmallVector<Term> after = multiplyStage(stage, before.drop_back());
    after.push_back(select(stage == kStages - 1, e.i32(0), stage + 1));
    return after;
  });
  carried.pop_back();
  return carried;
}

void MmaWriter::finish(ArrayRef<Term> sums) {
  // Values of their own, or what is computed of them would be in registers from before the products on.
  Term firstRow = e.broadcast(row + warpRow, e.i32(0));
  Term firstPosition = e.broadcast(position + warpColumn, e.i32(0));
  SmallVector<ColumnPlace> places;
  for (int64_t j = 0; j < kWide; ++j)
    places.push_back(product.columnAt(list, firstPosition + 8 * j));
  for (int64_t i = 0; i < shape.tall; ++i) {
    SmallVector<SmallVector<Term>> elements;
    for (int64_t j = 0; j < kWide; ++j)
      elements.push_back(e.split(sums[i * kWide + j]));
    for (int64_t half = 0; half < 2; ++half) {
      ResultRow found = product.findRow(firstRow + e.lane() / 4 + (16 * i + 8 * half));
      SmallVector<EightColumns> eights;
      for (int64_t j = 0; j < kWide; ++j)
        eights.push_back({places[j], elements[j][2 * half], elements[j][2 * half + 1]});
      product.write(found, eights);
    }
  }
}

void MmaWriter::write() {
  Term numTiles = ceilDiv(product.kernels.numTokens(), shape.getRows());
  row = e.block() % numTiles * shape.getRows();
  position = e.block() / numTiles * shape.getColumns();
  warpRow = e.warp() / shape.warpsAcross * (16 * shape.tall);
  warpColumn = e.warp() % shape.warpsAcross * kWarpColumns;
  place = e.reserveShared(kStages * shape.getStageBytes(), 128);
  list = product.listGroups(product.loadMask(row, shape.getRows()),
                            product.reserveLists(shape.getThreads() / 32));
  numPieces = product.depthOfTile(list, position) / 8;
  numSteps = ceilDiv(numPieces, kPieces);
  findLines();
  finish(walk());
}

/// Adds the kernel of one shape.
static void addKernel(Product &product, const MmaShape &shape, StringRef condition) {
  GpuLaunch launch;
  launch.grid = (condition + "*" +
                 gridOf(product.kernels.getTokens(), shape.getRows(),
                        llvm::divideCeil(product.columns, shape.getColumns())))
                    .str();
  launch.threads = shape.getThreads();
  product.kernels.add("mma" + std::to_string(shape.getRows()), launch,
                      [&] { MmaWriter(product, shape).write(); });
}

void mlir::mohd::addMmaProduct(Product &product, StringRef condition) {
  addTiles(product, product.kernels.gpu.mmaTiles, condition,
           [&](const GpuTile &tile, StringRef condition) {
             addKernel(product, {2, tile.columns / kWarpColumns, tile.rows / 32}, condition);
           });
}
