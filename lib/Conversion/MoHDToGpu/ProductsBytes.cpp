// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernels of products for a few tokens of int8 weights, each of which is read once, and the copy of the weight that many tokens read.
//
// As for weights of 16 bits (ProductsFew.cpp) columns are the rows of `mma`, and thread r mod 4 takes values that lie together. int8 is exact in 16 bits, so that
// products are, too. The pieces of four threads are always of one group: where groups have scales of their own, what those add up is scaled before it is
// added to the sum.
#include "Fragments.h"
#include "Products.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mohd;

/// Pieces of a product of a warp, of four threads.
static constexpr int64_t kPieces = 4;

namespace {

/// How the depth is shared out.
struct BytesShape {
  int64_t halves; // of 8 tokens
  int64_t piece;  // bytes of the weight in an access, 8 or 16
  int64_t unroll;
  int64_t unit,
      stepsOfUnit; // a part of the depth with one scale, and the steps of kPieces pieces in it

  BytesShape(const Product &product, int64_t halves);
};

/// What a thread reads in a step.
struct BytesStep {
  SmallVector<Term> weights[2], inputs[2]; // words, of columns or tokens q and q + 8
  Term scales[2];                          // of columns q and q + 8, if groups have their own
};

class BytesWriter {
public:
  BytesWriter(const Product &product, const BytesShape &shape)
      : product(product), e(product.e()), shape(shape) {}

  void write();

private:
  BytesStep load(const Term &step);
  SmallVector<Term> multiply(const BytesStep &loaded, ArrayRef<Term> before);
  SmallVector<Term> walk();

  const Product &product;
  GpuEmitter &e;
  const BytesShape shape;
  Term column; // number of the block's first one
  GroupList list;
  Term numSteps; // to walk
  Term lines[2]; // columns of the result whose weights the thread reads
};

} // namespace

BytesShape::BytesShape(const Product &product, int64_t halves) : halves(halves) {
  unit = product.groupsAreColumns ? product.depth : product.groupSize;
  // Wide accesses, if not many of a narrow group's threads would have none.
  bool isWide = product.depth % 16 == 0 && unit % 16 == 0 && (unit % 64 == 0 || unit >= 512);
  piece = isWide ? 16 : 8;
  stepsOfUnit = llvm::divideCeil(unit, kPieces * piece);
  // As much at a time as the registers hold, if a warp has that much to do when half of the groups are active.
  int64_t steps =
      product.groupsAreColumns ? stepsOfUnit : llvm::divideCeil(product.numGroups, 2) * stepsOfUnit;
  unroll = std::clamp<int64_t>(llvm::divideCeil(steps, kFewWarps), 1, halves == 1 ? 4 : 2);
}

/// Loads step number `step`; inputs of tokens that are not there, and after the end of the unit or of all, are zero.
BytesStep BytesWriter::load(const Term &step) {
  Term known = min(step, numSteps - 1);
  Term piece = known % shape.stepsOfUnit * kPieces + e.lane() % kPieces;
  int64_t piecesOfUnit = shape.unit / shape.piece;
  Term isInUnit = (step < numSteps) & (piece < piecesOfUnit);
  Term source = min(piece, e.i32(piecesOfUnit - 1)) * shape.piece;
  Term group;
  if (!product.groupsAreColumns) {
    group = list.at(known / shape.stepsOfUnit);
    source = source + group * shape.unit;
  }
  BytesStep loaded;
  for (int64_t half = 0; half < 2; ++half) {
    Value from = product.weightAt(lines[half], source);
    loaded.weights[half] = loadFewWeights(product, from, shape.piece / 4);
    if (product.scalesGroups())
      loaded.scales[half] = product.loadScale(group, lines[half]);
  }
  Term numTokens = product.kernels.numTokens();
  for (int64_t half = 0; half < shape.halves; ++half) {
    Term token = e.lane() / 4 + 8 * half;
    Term isThere = isInUnit & (token < numTokens);
    Term row = min(token, numTokens - 1);
    for (int64_t first = 0; first < shape.piece; first += 8)
      for (Term word : loadWords(e, product.inputAt(row, source + first), 4))
        loaded.inputs[half].push_back(select(isThere, word, e.i32(0)));
  }
  return loaded;
}

/// The sums, of 8 tokens each, and a step's products.
SmallVector<Term> BytesWriter::multiply(const BytesStep &loaded, ArrayRef<Term> before) {
  tile::Half half = mohd::getHalf(getElementTypeOrSelf(product.input));
  auto kind = half == tile::Half::BF16 ? tile::MmaKind::BF16 : tile::MmaKind::F16;
  SmallVector<Term> weights[2];
  for (int64_t line = 0; line < 2; ++line)
    for (const Term &word : loaded.weights[line])
      llvm::append_range(weights[line], widenBytes(e, half, word));
  SmallVector<Term> sums;
  for (int64_t tokens = 0; tokens < shape.halves; ++tokens) {
    const SmallVector<Term> &inputs = loaded.inputs[tokens];
    SmallVector<Term> sum = e.split(before[tokens]), part = sum;
    if (product.scalesGroups())
      part.assign(4, e.f32(0.0));
    for (size_t k = 0; k < inputs.size(); k += 2)
      part = mohd::multiply(e, kind,
                            {weights[0][k], weights[1][k], weights[0][k + 1], weights[1][k + 1]},
                            {inputs[k], inputs[k + 1]}, part);
    if (product.scalesGroups())
      for (int64_t i = 0; i < 4; ++i)
        part[i] = fma(part[i], loaded.scales[i / 2], sum[i]);
    sums.push_back(e.join(part));
  }
  return sums;
}

/// This warp's sums.
SmallVector<Term> BytesWriter::walk() {
  for (int64_t half = 0; half < 2; ++half)
    lines[half] = findFewLine(product, list, column, half);
  SmallVector<Term> zeros(shape.halves, e.join(SmallVector<Term>(4, e.f32(0.0))));
  Term stride = e.i32(kFewWarps * shape.unroll);
  return e.loop(e.warp(), numSteps, stride, zeros, [&](Term start, ArrayRef<Term> before) {
    SmallVector<BytesStep, 4> loaded;
    for (int64_t i = 0; i < shape.unroll; ++i)
      loaded.push_back(load(start + i * kFewWarps)); // side by side: lines of memory are whole
    SmallVector<Term> sums(before);
    for (const BytesStep &step : loaded)
      sums = multiply(step, sums);
    return sums;
  });
}

void BytesWriter::write() {
  column = e.block() * kFewColumns;
  list =
      product.listGroups(product.loadMask(e.i32(0), kFewTokens), product.reserveLists(kFewWarps));
  Term all = e.i32(shape.stepsOfUnit);
  if (product.groupsAreColumns)
    numSteps = select(product.depthOfTile(list, column) > 0, all, e.i32(0));
  else
    numSteps = list.count * all;
  finishFew(product, list, column, walk());
}

void mlir::mohd::addBytesProduct(Product &product) {
  StringRef tokens = product.kernels.getTokens();
  std::string rest = ("min(1," + tokens + ")").str();
  for (int64_t halves : {1, 2}) {
    BytesShape shape(product, halves);
    GpuLaunch launch;
    launch.grid = rest + "*" + isFew(tokens, 8 * halves) + "*" +
                  std::to_string(llvm::divideCeil(product.columns, kFewColumns));
    launch.threads = 32 * kFewWarps;
    rest += "*" + isMany(tokens, 8 * halves);
    product.kernels.add("bytes" + std::to_string(8 * halves), launch,
                        [&] { BytesWriter(product, shape).write(); });
  }
}

//===----------------------------------------------------------------------===//
// The copy for many tokens
//===----------------------------------------------------------------------===//

/// Values that a thread converts, in one access of each side.
static constexpr int64_t kExpanded = 8, kThreads = 256;

int64_t mlir::mohd::getExpansionSize(const Product &product) {
  return product.columns * product.depth / 2;
}

void mlir::mohd::addExpansion(Product &product, StringRef condition) {
  int64_t pieces = product.columns * product.depth / kExpanded;
  GpuLaunch launch;
  launch.grid = (condition + "*" + Twine(llvm::divideCeil(pieces, kThreads))).str();
  launch.threads = kThreads;
  product.kernels.add("expand", launch, [&] {
    GpuEmitter &e = product.e();
    Term piece = e.block() * kThreads + e.thread();
    e.when(piece < pieces, [&] {
      Term column = piece / (product.depth / kExpanded);
      Term index = piece % (product.depth / kExpanded) * kExpanded;
      Term group = product.scalesGroups() ? index / product.groupSize : Term();
      Term scale = product.loadScale(group, column);
      SmallVector<Term> values =
          e.loadF32s(product.weightAt(column, index), product.getElement(), kExpanded);
      for (Term &value : values)
        value = value * scale;
      Value to = e.advance(product.kernels.scratch().pointer, toI64(piece) * (2 * kExpanded));
      e.storeF32s(values, to, getElementTypeOrSelf(product.input));
    });
  });
}
