// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The cost model of products on a GPU's tensor units.
#include "mohd/Conversion/MoHDToGpu/TileChoice.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <cassert>

using namespace mlir;
using namespace mlir::mohd;

/// Cycles before a tile's first product and after its last one.
static constexpr double kEdgeCycles = 1000;
/// What a change of tiles has to save.
static constexpr double kSaving = 0.08;
/// Tokens up to which choices are compared: with more each SM has many tiles, and the largest ones lose little with the last of them.
static constexpr int64_t kMostTokens = 8192;

double mlir::mohd::estimateCycles(const GpuInfo &gpu, const GpuTile &tile,
                                  const GpuProductShape &shape, int64_t numTokens) {
  int64_t tiles =
      llvm::divideCeil(numTokens, tile.rows) * llvm::divideCeil(shape.columns, tile.columns);
  int64_t ofSm = llvm::divideCeil(tiles, gpu.typicalSms);
  double multiplies = double(tile.rows * tile.columns) / double(gpu.multipliesPerCycle);
  double reads = 2.0 * double(tile.rows + tile.columns) / double(gpu.cacheBytesPerCycle);
  double step = std::max(multiplies, reads) + std::min(multiplies, reads) / 4;
  return double(ofSm) * (double(shape.depth) * step + kEdgeCycles);
}

SmallVector<TileRange> mlir::mohd::chooseTiles(const GpuInfo &gpu, ArrayRef<GpuTile> candidates,
                                               const GpuProductShape &shape, int64_t few) {
  assert(!candidates.empty() && "a product needs a tile");
  int64_t leastRows = candidates.front().rows;
  for (const GpuTile &tile : candidates)
    leastRows = std::min(leastRows, tile.rows);
  SmallVector<TileRange> ranges;
  // Times change only where a tile of rows begins.
  for (int64_t last = 0; last <= kMostTokens; last += leastRows) {
    int64_t numTokens = std::max(few, last) + 1;
    auto cycles = [&](size_t tile) {
      return estimateCycles(gpu, candidates[tile], shape, numTokens);
    };
    size_t best = 0;
    for (size_t tile = 1; tile < candidates.size(); ++tile)
      if (cycles(tile) < cycles(best))
        best = tile;
    if (ranges.empty()) {
      ranges.push_back({best, TileRange::kNoEnd});
    } else if (cycles(best) < cycles(ranges.back().tile) * (1 - kSaving)) {
      ranges.back().lastTokens = numTokens - 1;
      ranges.push_back({best, TileRange::kNoEnd});
    }
  }
  return ranges;
}
