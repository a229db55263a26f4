// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order in which the blocks of a product, as many as fit the GPU, take its tiles: each block takes every numBlocks-th of them.
//
// Tiles whose masks have many groups are much work. So that all blocks have about the same, tiles of rows with most groups come first. Where groups are columns, a tile of columns beyond
// the groups of a tile of rows is but zeros: all of those come last.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_TILELIST_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_TILELIST_H

#include "Products.h"
#include "WarpSort.h"

namespace mlir::mohd {

/// A tile's first row, and the position of its first column.
struct TilePlace {
  Term row, position;
};

class TileList {
public:
  /// Tiles of `rows` rows and `columns` columns, for blocks of `numThreads` threads. Reserves its shared memory.
  TileList(const Product &product, int64_t rows, int64_t columns, int64_t numThreads);

  /// Makes the list; all threads of the block do it together, and have to wait for each other before they use it.
  void write();
  Term size() const { return numDown * numAcross; }
  /// The tile at a place of the list; all threads of a warp do it together.
  TilePlace at(const Term &tile);

  /// What the list of a product takes of shared memory, in bytes, at most.
  static int64_t getBytes(const Product &product, int64_t columns);

private:
  bool sortsColumns() const { return product.hasMasks() && product.groupsAreColumns; }
  Value keyAt(const Term &down) { return e.advance(e.shared(keys), down * 4); }
  Value firstAt(const Term &column) { return e.advance(e.shared(firsts), column * 4); }
  Term loadI32(Value pointer) { return e.load(pointer, e.b.getI32Type()); }
  void sortRows();
  void writeFirsts(llvm::function_ref<Term(Term)> countOf);
  TilePlace place(const Term &down, const Term &across);

  const Product &product;
  GpuEmitter &e;
  const int64_t rows, columns, numThreads, numAcross;
  Term numDown, isSorted;
  // Places in shared memory: of tiles of rows their keys, [kMostSorted] i32, and their order; where groups are columns, of tiles of columns the places
  // in the list of the first ones with products and, after these, of the first ones without.
  int64_t keys = 0, order = 0, firsts = 0;
  std::optional<WarpSort> sort;
};

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_TILELIST_H
