// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of products for a few tokens: each weight that a token needs is read once, past the first-level cache.
//
// A block has 16 columns, and its warps share out the depth. Weights are the rows of `mma`, tokens its columns. Which value of the depth stands in which place
// of a product of 16 does not matter as long as weights and inputs agree, so thread r mod 4 takes 8 values that lie together of both, and no fragment
// goes through shared memory. Sums of warps are added in their order.
#include "Products.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Values of the depth in an access and in those of four threads, and how many of those a warp loads at a time.
static constexpr int64_t kPiece = 8, kPieces = 4, kUnroll = 4;

namespace {

/// What a thread reads for one row of 16 bytes each of weights and inputs.
struct Pieces {
  SmallVector<Term> weights[2], inputs[2]; // 4 words each, of columns or tokens q and q + 8
};

class FewWriter {
public:
  explicit FewWriter(Product &product) : product(product), e(product.e()) {}

  void write();

private:
  Pieces load(const Term &piece);
  SmallVector<Term> walk();

  Product &product;
  GpuEmitter &e;
  Term column; // number of the block's first one
  GroupList list;
  Term numPieces; // to walk
  Term lines[2];  // columns of the result whose weights the thread reads
};

} // namespace

Term mlir::mohd::findFewLine(const Product &product, const GroupList &list, const Term &column,
                             int64_t half) {
  Term line = column + product.e().lane() / 4 + 8 * half;
  return min(product.columnAt(list, line).column, product.e().i32(product.columns - 1));
}

SmallVector<Term> mlir::mohd::loadFewWeights(const Product &product, Value from, int64_t words) {
  GpuEmitter &e = product.e();
  Type type = VectorType::get({words}, e.b.getI32Type());
  bool streams = product.kernels.gpu.ptxVersion >= 74; // or PTX has no word for it
  return e.split(streams ? e.loadStreaming(from, type) : e.load(from, type));
}

/// Loads piece number `piece`; inputs of tokens that are not there, and after the last piece, are zero.
Pieces FewWriter::load(const Term &piece) {
  Type words = VectorType::get({4}, e.b.getI32Type());
  Term numTokens = product.kernels.numTokens();
  Term source = product.depthAt(list, min(piece, numPieces - 1) * kPiece);
  Pieces loaded;
  for (int64_t half = 0; half < 2; ++half)
    loaded.weights[half] = loadFewWeights(product, product.weightAt(lines[half], source), 4);
  for (int64_t half = 0; half < 2; ++half) {
    Term token = e.lane() / 4 + 8 * half;
    Term isThere = (token < numTokens) & (piece < numPieces);
    Term row = min(token, numTokens - 1);
    for (Term word : e.split(e.load(product.inputAt(row, source), words)))
      loaded.inputs[half].push_back(select(isThere, word, e.i32(0)));
  }
  return loaded;
}

/// This warp's sums, of tokens 0..7 and 8..15.
SmallVector<Term> FewWriter::walk() {
  auto kind = product.getHalf() == tile::Half::BF16 ? tile::MmaKind::BF16 : tile::MmaKind::F16;
  Term zero = e.join(SmallVector<Term>(4, e.f32(0.0)));
  Term first = e.warp() * (kPieces * kUnroll);
  for (int64_t half = 0; half < 2; ++half)
    lines[half] = findFewLine(product, list, column, half);
  return e.loop(first, numPieces, e.i32(kFewWarps * kPieces * kUnroll), {zero, zero},
                [&](Term start, ArrayRef<Term> before) {
                  SmallVector<Pieces> loaded;
                  for (int64_t i = 0; i < kUnroll; ++i)
                    loaded.push_back(load(start + i * kPieces + e.lane() % 4));
                  SmallVector<Term> sums(before);
                  for (const Pieces &pieces : loaded)
                    for (int64_t k = 0; k < 4; k += 2) {
                      Term a = e.join({pieces.weights[0][k], pieces.weights[1][k],
                                       pieces.weights[0][k + 1], pieces.weights[1][k + 1]});
                      for (int64_t half = 0; half < 2; ++half) {
                        Term b = e.join({pieces.inputs[half][k], pieces.inputs[half][k + 1]});
                        sums[half] =
                            e.wrap(tile::MmaOp::create(e.b, kind, a.value, b.value, sums[half]));
                      }
                    }
                  return sums;
                });
}

void mlir::mohd::finishFew(const Product &product, const GroupList &list, const Term &column,
                           ArrayRef<Term> sums) {
  GpuEmitter &e = product.e();
  int64_t tokens = 8 * int64_t(sums.size()),
          bytes = tokens * kFewColumns * 4; // [tokens, columns] f32
  int64_t place = e.reserveShared(kFewWarps * bytes);
  Term q = e.lane() / 4, r = e.lane() % 4;
  for (auto [half, sum] : llvm::enumerate(sums))
    for (auto [i, part] : llvm::enumerate(e.split(sum))) {
      Term token = r * 2 + (8 * int64_t(half) + int64_t(i) % 2), line = q + 8 * (int64_t(i) / 2);
      Term to = e.warp() * bytes + (token * kFewColumns + line) * 4;
      e.store(part, e.advance(e.shared(place), to));
    }
  e.barrier();
  Term element = e.thread();
  e.when(element < tokens * kFewColumns, [&] {
    Term sum;
    for (int64_t warp = 0; warp < kFewWarps; ++warp) {
      Value from = e.advance(e.shared(place + warp * bytes), element * 4);
      Term part = e.load(from, e.b.getF32Type());
      sum = warp == 0 ? part : sum + part;
    }
    Term token = element / kFewColumns;
    e.when(token < product.kernels.numTokens(), [&] {
      ColumnPlace written = product.columnAt(list, column + element % kFewColumns);
      product.write(product.findRow(token), written, sum);
    });
  });
}

void FewWriter::write() {
  column = e.block() * kFewColumns;
  list =
      product.listGroups(product.loadMask(e.i32(0), kFewTokens), product.reserveLists(kFewWarps));
  numPieces = product.depthOfTile(list, column) / kPiece;
  finishFew(product, list, column, walk());
}

void mlir::mohd::addFewProduct(Product &product) {
  StringRef tokens = product.kernels.getTokens();
  int64_t blocks = llvm::divideCeil(product.columns, kFewColumns);
  GpuLaunch launch;
  launch.grid = ("min(1," + tokens + ")*" + isFew(tokens, kFewTokens) + "*" + Twine(blocks)).str();
  launch.threads = 32 * kFewWarps;
  product.kernels.add("few", launch, [&] { FewWriter(product).write(); });
}
