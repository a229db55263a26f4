// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Symmetric int8 values of a weight, with one scale for each group and output column.

#ifndef MOHD_MODEL_QUANTIZE_H
#define MOHD_MODEL_QUANTIZE_H

#include "mohd/Model/TensorCopy.h"

namespace mlir::mohd {

/// Quantises a tensor whose layout, panels aside, is [G, R, C] or [R, C], or of K-major values [G, C, R], [C, G, R] or [C, R]: an element of group g and column c becomes
/// the integer in -127..127 that is nearest to element / scale[g, c], ties to even, with scale[g, c] the largest absolute
/// value of its R elements / 127. Where that scale is below the smallest normal f32, it and the integers are 0.
class Quantizer {
public:
  /// Reads the tensor once to find the scales; holds those and at most 4 MiB. An element that is not finite is an
  /// error (Malformed), and so is a layout of another rank (Internal).
  static Result<Quantizer> create(const std::vector<int64_t> &shape, const TensorLayout &layout,
                                  const ElementReader &read);

  /// The scales, [G, C] row by row.
  const std::vector<float> &scales() const { return table; }
  /// C.
  int64_t columns() const { return numColumns; }

  /// Quantises elements [first, first + count) of the source. Adds to `error`.
  void quantize(int64_t first, int64_t count, const float *source, int8_t *target,
                QuantizationError &error) const;

private:
  Quantizer(const std::vector<int64_t> &view, const std::vector<int64_t> &permutation);

  /// Calls body(offset, length, place, step) for runs of elements [first, first + count): the scale of element `offset` + i
  /// of a run is number `place` + i * `step`.
  template <typename Body> void forRuns(int64_t first, int64_t count, const Body &body) const;

  std::vector<int64_t> extents, steps; // of the source's axes: how far apart their scales are
  int64_t numColumns;
  std::vector<float> table;
};

} // namespace mlir::mohd

#endif // MOHD_MODEL_QUANTIZE_H
