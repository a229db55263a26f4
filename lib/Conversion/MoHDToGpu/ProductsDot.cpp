// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of products for a few tokens where weights or inputs are f32, or int8 values lie in short pieces: a block has few columns, and its threads share out the depth, four values at a time.
#include "Products.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

static constexpr int64_t kPiece = 4, kWarps = 8, kThreads = 32 * kWarps;

namespace {

class DotWriter {
public:
  DotWriter(Product &product, int64_t tokens, int64_t columns)
      : product(product), e(product.e()), tokens(tokens), columns(columns) {}

  void write();

private:
  SmallVector<Term> addPiece(const Term &piece, ArrayRef<Term> before);
  void finish(ArrayRef<Term> sums);

  Product &product;
  GpuEmitter &e;
  const int64_t tokens, columns; // at most, and of a block
  Term column;                   // position of the block's first one
  GroupList list;
  Term numPieces;          // to walk
  SmallVector<Term> lines; // columns whose weights are read
};

} // namespace

/// Sums [tokens, columns] of this thread and the products of a piece.
SmallVector<Term> DotWriter::addPiece(const Term &piece, ArrayRef<Term> before) {
  SmallVector<Term> sums(before);
  Term source = product.depthAt(list, piece * kPiece);
  SmallVector<SmallVector<Term>> weights;
  for (const Term &line : lines)
    weights.push_back(e.loadF32s(product.weightAt(line, source), product.getElement(), kPiece));
  SmallVector<Term> scales; // of the piece's group
  for (size_t j = 0; product.scalesGroups() && j < lines.size(); ++j)
    scales.push_back(product.loadScale(product.groupAt(list, piece * kPiece), lines[j]));
  Type element = cast<RankedTensorType>(product.input.getType()).getElementType();
  Term last = product.kernels.numTokens() - 1;
  for (int64_t token = 0; token < tokens; ++token) {
    Value from = product.inputAt(min(e.i32(token), last), source);
    SmallVector<Term> x = e.loadF32s(from, element, kPiece);
    for (int64_t j = 0; j < columns; ++j) {
      Term &sum = sums[token * columns + j];
      Term part = product.scalesGroups() ? e.f32(0.0) : sum;
      for (int64_t k = 0; k < kPiece; ++k)
        part = fma(x[k], weights[j][k], part);
      sum = product.scalesGroups() ? fma(part, scales[j], sum) : part;
    }
  }
  return sums;
}

/// Adds up the threads' sums, those of warps in their order; a thread finishes one element.
void DotWriter::finish(ArrayRef<Term> sums) {
  int64_t bytes = 4 * int64_t(sums.size());
  int64_t place = e.reserveShared(kWarps * bytes);
  for (auto [i, sum] : llvm::enumerate(sums)) {
    Term ofWarp = e.warpSum(sum);
    Term to = e.warp() * bytes + 4 * int64_t(i);
    e.when(e.lane() == int64_t(i % 32), [&] { e.store(ofWarp, e.advance(e.shared(place), to)); });
  }
  e.barrier();
  Term element = e.thread(), token = element / columns;
  e.when((token < tokens) & (token < product.kernels.numTokens()), [&] {
    Term sum;
    for (int64_t warp = 0; warp < kWarps; ++warp) {
      Value from = e.advance(e.shared(place + warp * bytes), element * 4);
      Term part = e.load(from, e.b.getF32Type());
      sum = warp == 0 ? part : sum + part;
    }
    product.write(product.findRow(token), product.columnAt(list, column + element % columns), sum);
  });
}

void DotWriter::write() {
  column = e.block() * columns;
  list = product.listGroups(product.loadMask(e.i32(0), kFewTokens), product.reserveLists(kWarps));
  numPieces = product.depthOfTile(list, column) / kPiece;
  for (int64_t j = 0; j < columns; ++j)
    lines.push_back(min(product.columnAt(list, column + j).column, e.i32(product.columns - 1)));
  SmallVector<Term> zeros(tokens * columns, e.f32(0.0));
  finish(e.loop(e.thread(), numPieces, e.i32(kThreads), zeros,
                [&](Term piece, ArrayRef<Term> before) { return addPiece(piece, before); }));
}

void mlir::mohd::addDotProduct(Product &product) {
  StringRef tokens = product.kernels.getTokens();
  std::string rest = ("min(1," + tokens + ")").str();
  for (int64_t few : {int64_t(1), int64_t(4), kFewTokens}) {
    int64_t columns = few <= 4 ? 4 : 2; // for the registers
    int64_t blocks = llvm::divideCeil(product.columns, columns);
    GpuLaunch launch;
    launch.grid = rest + "*" + isFew(tokens, few) + "*" + std::to_string(blocks);
    launch.threads = kThreads;
    launch.minBlocks = 2;
    rest += "*" + isMany(tokens, few);
    product.kernels.add("dot" + std::to_string(few), launch,
                        [&] { DotWriter(product, few, columns).write(); });
  }
}
