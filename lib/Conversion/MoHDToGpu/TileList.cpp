// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order of a product's tiles.
#include "TileList.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tiles of rows at most that are sorted. Of more, each block has so many that it gets some of all.
static constexpr int64_t kMostSorted = 512;
/// Tiles of rows below each other that are in work at one time.
static constexpr int64_t kBand = 16;

TileList::TileList(const Product &product, int64_t rows, int64_t columns, int64_t numThreads)
    : product(product), e(product.e()), rows(rows), columns(columns), numThreads(numThreads),
      numAcross(llvm::divideCeil(product.columns, columns)) {
  if (!product.hasMasks())
    return;
  sort.emplace(e, product.numGroups + 1, /*numWarps=*/1);
  keys = e.reserveShared(4 * kMostSorted);
  order = e.reserveShared(4 * kMostSorted);
  if (sortsColumns())
    firsts = e.reserveShared(4 * 2 * numAcross);
}

int64_t TileList::getBytes(const Product &product, int64_t columns) {
  if (!product.hasMasks())
    return 0;
  int64_t perColumn = product.groupsAreColumns ? 8 * llvm::divideCeil(product.columns, columns) : 0;
  return 4 * (product.numGroups + 1) + 8 * kMostSorted + perColumn + 64; // each a multiple of 16
}

/// One warp: where the tiles of each column begin; countOf is how many of a column's have products.
void TileList::writeFirsts(llvm::function_ref<Term(Term)> countOf) {
  if (!sortsColumns())
    return;
  e.loop(e.lane(), e.i32(numAcross), 32, [&](Term column) {
    Term count = countOf(column);
    e.store(count, firstAt(column));
    e.store(numDown - count, firstAt(column + numAcross));
  });
  e.warpSync();
  sumUpShared(e, e.shared(firsts), 2 * numAcross);
  e.warpSync();
}

/// Sorts tiles of rows by the groups that they lack, in a stable way.
void TileList::sortRows() {
  sort->clear(e.thread(), numThreads);
  e.barrier();
  e.loop(e.thread(), numDown, numThreads, [&](Term down) {
    Term key = e.i32(product.numGroups);
    for (const Term &word : product.loadMask(down * rows, rows))
      key = key - e.popCount(word);
    e.store(key, keyAt(down));
    sort->count(e.i32(0), key);
  });
  e.barrier();
  e.when(e.warp() == 0, [&] {
    sort->sumUp();
    e.warpSync();
    // A tile of columns has products with tiles of rows that have more groups than come before it.
    writeFirsts([&](Term column) {
      return sort->countBelow(e.i32(product.numGroups) - column * columns / product.groupSize);
    });
    sort->place(
        e.i32(0), e.i32(0), numDown, [&](Term down) { return loadI32(keyAt(down)); },
        [&](Term place, Term down) { e.store(down, e.advance(e.shared(order), place * 4)); });
  });
}

void TileList::write() {
  numDown = ceilDiv(product.kernels.numTokens(), rows);
  if (!product.hasMasks())
    return;
  // With a tile for each block there is nothing to balance.
  isSorted = (numDown <= kMostSorted) & (size() > e.numBlocks());
  e.when(
      isSorted, [&] { sortRows(); },
      [&] { e.when(e.warp() == 0, [&] { writeFirsts([&](Term) { return numDown; }); }); });
}

TilePlace TileList::place(const Term &down, const Term &across) {
  Term number = down;
  if (product.hasMasks())
    number = e.choose(
        isSorted, [&] { return SmallVector<Term>{loadI32(e.advance(e.shared(order), down * 4))}; },
        [&] { return SmallVector<Term>{down}; })[0];
  return {number * rows, across * columns};
}

/// Where all tiles of rows have the same columns only a band of them comes first, as what is in work at one time then has the fewest rows and columns, and the second-level
/// cache holds them.
TilePlace TileList::at(const Term &tile) {
  if (!sortsColumns()) {
    Term ofBand = e.i32(numAcross * kBand); // tiles
    Term first = tile / ofBand * kBand;
    Term height = min(e.i32(kBand), numDown - first), inBand = tile % ofBand;
    return place(first + inBand % height, inBand / height);
  }
  // The last of the columns that begin up to here.
  Term column = e.i32(-1);
  for (int64_t chunk = 0; chunk < 2 * numAcross; chunk += 32) {
    Term mine = e.lane() + chunk;
    Term first = loadI32(firstAt(min(mine, e.i32(2 * numAcross - 1))));
    column = column + e.popCount(e.ballot((mine < 2 * numAcross) & (first <= tile)));
  }
  Term isEmpty = column >= numAcross;
  Term across = select(isEmpty, column - numAcross, column);
  Term withProducts = loadI32(firstAt(across + 1)) - loadI32(firstAt(across));
  Term down = tile - loadI32(firstAt(column)) + select(isEmpty, withProducts, e.i32(0));
  return place(down, across);
}
