// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of products for any types and sizes: tiles of 64 x 64 in f32, of which a thread has 4 x 4.
#include "Products.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Extents of a tile, the depth of a step, and how far apart in shared memory two values of the depth are.
static constexpr int64_t kTile = 64, kStep = 16, kPitch = kTile + 4, kThreads = 256;
/// Rows, and columns, of a thread.
static constexpr int64_t kSide = 4;

namespace {

class ScalarWriter {
public:
  explicit ScalarWriter(Product &product) : product(product), e(product.e()) {}

  void write();

private:
  void fetchStep(const Term &start);
  SmallVector<Term> multiplyStep(ArrayRef<Term> before);
  /// Where value number `depth` of the tile's line `line` is, of `input` or of `weight`.
  Value place(int64_t of, const Term &depth, const Term &line) {
    return e.advance(e.shared(of), (depth * kPitch + line) * 4);
  }

  Product &product;
  GpuEmitter &e;
  int64_t inputs = 0, weights = 0; // [kStep, kPitch] f32 in shared memory
  GroupList list;
  Term depth;                                    // to walk
  SmallVector<Term> fetchedRows, fetchedColumns; // by this thread, those that there are
};

} // namespace

/// Brings values [start, start + kStep) of the depth, zeros after its end: a thread one of them for four rows and four columns.
void ScalarWriter::fetchStep(const Term &start) {
  Term own = e.thread() % kStep, line = e.thread() / kStep;
  Term index = start + own;
  Term isThere = index < depth, zero = e.f32(0.0);
  Term source = product.depthAt(list, min(index, depth - 1));
  Type inputType = cast<RankedTensorType>(product.input.getType()).getElementType();
  for (int64_t i = 0; i < kSide; ++i) {
    Term to = line + i * (kThreads / kStep);
    Term x = e.loadF32(product.inputAt(fetchedRows[i], source), inputType);
    e.store(select(isThere, x, zero), place(inputs, own, to));
    Term w = e.loadF32(product.weightAt(fetchedColumns[i], source), product.getElement());
    if (product.scalesGroups())
      w = w * product.loadScale(product.groupAt(list, min(index, depth - 1)), fetchedColumns[i]);
    e.store(select(isThere, w, zero), place(weights, own, to));
  }
}

/// The thread's sums and a step's products.
SmallVector<Term> ScalarWriter::multiplyStep(ArrayRef<Term> before) {
  SmallVector<Term> sums(before);
  Term row = e.thread() / kStep * kSide, column = e.thread() % kStep * kSide;
  for (int64_t k = 0; k < kStep; ++k) {
    Type f32 = e.b.getF32Type();
    SmallVector<Term> x = e.loadF32s(place(inputs, e.i32(k), row), f32, kSide);
    SmallVector<Term> w = e.loadF32s(place(weights, e.i32(k), column), f32, kSide);
    for (int64_t i = 0; i < kSide * kSide; ++i)
      sums[i] = fma(x[i / kSide], w[i % kSide], sums[i]);
  }
  return sums;
}

void ScalarWriter::write() {
  int64_t numTiles = llvm::divideCeil(product.columns, kTile);
  Term row = e.block() / numTiles * kTile, column = e.block() % numTiles * kTile;
  list = product.listGroups(product.loadMask(row, kTile), product.reserveLists(kThreads / 32));
  inputs = e.reserveShared(kStep * kPitch * 4);
  weights = e.reserveShared(kStep * kPitch * 4);
  depth = product.depthOfTile(list, column);
  Term lastRow = product.kernels.numTokens() - 1;
  for (int64_t i = 0; i < kSide; ++i) {
    Term line = e.thread() / kStep + i * (kThreads / kStep);
    fetchedRows.push_back(min(row + line, lastRow));
    Term wanted = product.columnAt(list, column + line).column;
    fetchedColumns.push_back(min(wanted, e.i32(product.columns - 1)));
  }
  SmallVector<Term> sums(kSide * kSide, e.f32(0.0));
  sums = e.loop(e.i32(0), depth, e.i32(kStep), sums, [&](Term start, ArrayRef<Term> before) {
    fetchStep(start);
    e.barrier();
    SmallVector<Term> after = multiplyStep(before);
    e.barrier();
    return after;
  });
  SmallVector<ColumnPlace> places;
  for (int64_t j = 0; j < kSide; ++j)
    places.push_back(product.columnAt(list, column + e.thread() % kStep * kSide + j));
  for (int64_t i = 0; i < kSide; ++i) {
    ResultRow found = product.findRow(row + e.thread() / kStep * kSide + i);
    for (int64_t j = 0; j < kSide; ++j)
      product.write(found, places[j], sums[i * kSide + j]);
  }
}

void mlir::mohd::addScalarProduct(Product &product, StringRef condition) {
  GpuLaunch launch;
  launch.grid =
      (condition + "*" +
       gridOf(product.kernels.getTokens(), kTile, llvm::divideCeil(product.columns, kTile)))
          .str();
  launch.threads = kThreads;
  product.kernels.add("scalar", launch, [&] { ScalarWriter(product).write(); });
}
