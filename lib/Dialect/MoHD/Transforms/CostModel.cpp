// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The cost model of products.
#include "mohd/Dialect/MoHD/Transforms/CostModel.h"

#include <algorithm>
#include <cmath>

using namespace mlir::mohd;

/// Multiplications and additions of vectors that a core does in a cycle, and the share of them that kernels reach.
static constexpr double kVectorsPerCycle = 2, kEfficiency = 0.7;
/// Bytes that a core reads from memory in a cycle: 12 to 16 GB/s at 2.5 to 3.5 GHz.
static constexpr double kBytesPerCycle = 4.7;
/// What a jump to another piece of a weight costs, in bytes that could have been read; columns of a piece.
static constexpr double kJumpBytes = 8192, kPieceColumns = 32;
/// Bytes of tokens that stay in the second-level cache beside weights.
static constexpr int64_t kCachedBytes = 512 << 10;
/// Tokens of a tile, about.
static constexpr int64_t kTileTokens = 14;

double CostModel::activeGroups(const ProductShape &shape, int64_t numTokens) const {
  double others = double(shape.numGroups - shape.numCommon);
  if (shape.numChosen == 0 || others == 0)
    return double(shape.numCommon);
  double missed = std::pow(1 - double(shape.numChosen) / others, double(numTokens));
  return double(shape.numCommon) + others * (1 - missed);
}

double CostModel::readCycles(const ProductShape &shape, int64_t numTokens) const {
  double bytes = double(shape.groupElements) * double(shape.elementBits) / 8;
  return activeGroups(shape, numTokens) * bytes / kBytesPerCycle;
}

double CostModel::multiplyCycles(const ProductShape &shape, int64_t numTokens) const {
  double active = double(shape.numCommon + shape.numChosen) * double(numTokens);
  return active * double(shape.groupElements) / (kVectorsPerCycle * double(lanes) * kEfficiency);
}

double CostModel::gatherCycles(const ProductShape &shape, int64_t numTokens) const {
  double first = multiplyCycles(shape, std::min(numTokens, kTileTokens));
  return multiplyCycles(shape, numTokens) + std::max(readCycles(shape, numTokens) - first, 0.0);
}

double CostModel::groupedCycles(const ProductShape &shape, int64_t numTokens) const {
  double piece = double(shape.depth) * kPieceColumns * double(shape.elementBits) / 8;
  double read = readCycles(shape, numTokens) * (1 + kJumpBytes / std::max(piece, 1.0));
  return std::max(read, multiplyCycles(shape, numTokens));
}

int64_t CostModel::gatherTokens(const ProductShape &shape, int64_t maxTokens) const {
  int64_t best = 0;
  for (int64_t tokens = 1; tokens <= maxTokens; ++tokens)
    if (gatherCycles(shape, tokens) < groupedCycles(shape, tokens))
      best = tokens;
  if (shape.sharesTokens)
    best =
        std::max(best, std::min(kCachedBytes / (4 * std::max<int64_t>(shape.depth, 1)), maxTokens));
  return best;
}
