// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "WarpSort.h"

#include "mohd/Dialect/Tile/IR/Tile.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

void mlir::mohd::sumUpShared(GpuEmitter &e, Value values, int64_t count) {
  e.loop(e.i32(0), e.i32(count), e.i32(32), {e.i32(0)}, [&](Term first, ArrayRef<Term> base) {
    Term place = first + e.lane();
    Term isThere = place < count;
    Value pointer = e.advance(values, min(place, e.i32(count - 1)) * 4);
    Term value = select(isThere, e.load(pointer, e.b.getI32Type()), e.i32(0));
    Term sum = value; // of the lanes up to this one
    for (int64_t distance = 1; distance < 32; distance *= 2) {
      Term other = e.wrap(tile::ShuffleOp::create(e.b, tile::Shuffle::Up, sum.value,
                                                  e.i32(distance).value, 32, Value()));
      sum = sum + select(e.lane() >= distance, other, e.i32(0));
    }
    e.warpSync(); // lanes after the last one have read its place
    e.when(isThere, [&] { e.store(base[0] + sum - value, pointer); });
    return SmallVector<Term>{base[0] + e.broadcast(sum, e.i32(31))};
  });
}

void WarpSort::clear(const Term &number, int64_t numThreads) {
  e.loop(number, e.i32(numKeys * numWarps), numThreads,
         [&](Term i) { e.store(e.i32(0), e.advance(e.shared(counters), i * 4)); });
}

void WarpSort::count(const Term &warp, const Term &key) {
  tile::AtomicOp::create(e.b, tile::Atomic::Add, e.i32(1).value, counter(warp, key));
}

void WarpSort::place(const Term &warp, const Term &lower, const Term &upper,
                     llvm::function_ref<Term(Term)> keyOf,
                     llvm::function_ref<void(Term, Term)> store) {
  int64_t keyBits = llvm::Log2_64_Ceil(numKeys + 1);
  e.loop(lower, upper, 32, [&](Term first) {
    Term item = first + e.lane();
    Term isThere = item < upper;
    Term key = select(isThere, keyOf(min(item, upper - 1)), e.i32(numKeys));
    Term peers = e.i32(-1); // lanes with the same key
    for (int64_t bit = 0; bit < keyBits; ++bit) {
      Term isSet = ((key >> bit) & 1) == 1;
      Term lanes = e.ballot(isSet);
      peers = peers & select(isSet, lanes, lanes ^ -1);
    }
    Term rank = e.countBelow(peers);
    Value place = counter(warp, min(key, e.i32(numKeys - 1)));
    Term start = e.load(place, e.b.getI32Type());
    e.warpSync();
    e.when(isThere, [&] {
      store(start + rank, item);
      // The first of them moves the place on.
      Term count = e.popCount(peers);
      e.when(rank == 0, [&] { e.store(start + count, place); });
    });
    e.warpSync();
  });
}
