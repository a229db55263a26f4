// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which tiles a product on tensor units is cut into, for how many tokens: what a GPU is expected to take for each of them.
#ifndef MOHD_CONVERSION_MOHDTOGPU_TILECHOICE_H
#define MOHD_CONVERSION_MOHDTOGPU_TILECHOICE_H

#include "mohd/Target/TargetInfo.h"

#include "mlir/Support/LLVM.h"

namespace mlir::mohd {

/// A product as far as its time depends on it: columns of the result that are not zero for a token, and how much is added up for each.
struct GpuProductShape {
  int64_t columns, depth;
};

/// The cycles that a product of `numTokens` tokens takes: those of the most tiles that an SM has. Of a tile's multiplications and its reads from the second-level cache
/// the longer ones count whole, and a quarter of the others, which overlap with them in part.
double estimateCycles(const GpuInfo &gpu, const GpuTile &tile, const GpuProductShape &shape,
                      int64_t numTokens);

/// A tile for more tokens than the one before, up to `lastTokens`.
struct TileRange {
  static constexpr int64_t kNoEnd = -1;
  size_t tile; // in the list of candidates
  int64_t lastTokens;
};

/// The candidate for each number of tokens above `few`. The last range has no end. The choice changes only where that saves enough, as each change is a part of the
/// condition of a launch, and each candidate that is chosen a kernel.
SmallVector<TileRange> chooseTiles(const GpuInfo &gpu, ArrayRef<GpuTile> candidates,
                                   const GpuProductShape &shape, int64_t few);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_MOHDTOGPU_TILECHOICE_H
