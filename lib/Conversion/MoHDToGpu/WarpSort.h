// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A stable counting sort inside of a block: each warp counts the keys of its items, one turns the counts into places, and each puts its items there.
//
// Integers only, in an order that nothing changes: the result is always the same.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_WARPSORT_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_WARPSORT_H

#include "mohd/Conversion/MoHDToGpu/GpuEmitter.h"

namespace mlir::mohd {

/// Replaces `count` i32 in shared memory by the sums of those before each. All threads of one warp do it together.
void sumUpShared(GpuEmitter &e, Value values, int64_t count);

/// Items with keys in 0..numKeys. Between its parts the block, or with one warp that warp, has to wait for its threads.
class WarpSort {
public:
  /// Reserves the counters. Items of warps before others come first among equal ones.
  WarpSort(GpuEmitter &e, int64_t numKeys, int64_t numWarps)
      : e(e), numKeys(numKeys), numWarps(numWarps),
        counters(e.reserveShared(numKeys * numWarps * 4)) {}

  /// Sets the counters to zero: `number` is a thread's number among the `numThreads` that do it.
  void clear(const Term &number, int64_t numThreads);
  /// One more item of a warp with this key.
  void count(const Term &warp, const Term &key);
  /// Turns counts into places. One warp does it.
  void sumUp() { sumUpShared(e, e.shared(counters), numKeys * numWarps); }
  /// How many items have a key below this one, after sumUp() and before place().
  Term countBelow(const Term &key) { return e.load(counter(e.i32(0), key), e.b.getI32Type()); }
  /// store(place, item) for each item in [lower, upper), in ascending order; all threads of `warp` do it together.
  void place(const Term &warp, const Term &lower, const Term &upper,
             llvm::function_ref<Term(Term)> keyOf, llvm::function_ref<void(Term, Term)> store);

private:
  Value counter(const Term &warp, const Term &key) {
    return e.advance(e.shared(counters), (key * numWarps + warp) * 4);
  }

  GpuEmitter &e;
  const int64_t numKeys, numWarps, counters; // shared: [keys, warps] i32
};

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_WARPSORT_H
