// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What products cost on a CPU, as far as plans depend on it.
#ifndef MOHD_DIALECT_MOHD_TRANSFORMS_COSTMODEL_H
#define MOHD_DIALECT_MOHD_TRANSFORMS_COSTMODEL_H

#include <cstdint>

namespace mlir::mohd {

/// A projection: of `numGroups` groups every token has `numCommon`, and `numChosen` others of its own.
struct ProductShape {
  int64_t numGroups, numCommon, numChosen;
  int64_t groupElements; // of a group's weight
  int64_t depth;         // rows of a group's weight, which the product contracts
  int64_t elementBits;   // of the weight's storage type
  bool sharesTokens; // whether every group reads the same columns of a token (sddmm), not its own
};

/// Estimates, in cycles of one core, of a block of tokens whose other groups are drawn uniformly, with weights that are in no cache.
class CostModel {
public:
  /// A core with vectors of `lanes` f32.
  explicit CostModel(int64_t lanes) : lanes(lanes) {}

  /// Groups that some token of the block has.
  double activeGroups(const ProductShape &shape, int64_t numTokens) const;
  /// Reading the weights of those groups.
  double readCycles(const ProductShape &shape, int64_t numTokens) const;
  /// Multiplying and adding.
  double multiplyCycles(const ProductShape &shape, int64_t numTokens) const;
  /// The block by plan `gather`: weights come in at full speed, but only while a group's first tile of tokens is computed.
  double gatherCycles(const ProductShape &shape, int64_t numTokens) const;
  /// The block by plan `grouped` or `dense`: reading is hidden behind the multiplications, but jumps from one group's column tile to the next one's.
  double groupedCycles(const ProductShape &shape, int64_t numTokens) const;
  /// The largest block, of at most `maxTokens`, that `gather` is the faster plan for. Groups that share the tokens' columns read them again and again: then it is
  /// also while these stay in the second-level cache, uncut.
  int64_t gatherTokens(const ProductShape &shape, int64_t maxTokens) const;

private:
  int64_t lanes;
};

} // namespace mlir::mohd

#endif // MOHD_DIALECT_MOHD_TRANSFORMS_COSTMODEL_H
