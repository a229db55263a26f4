// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Moving a tensor into the element type and axis order that the compiler wants, a bounded piece at
// a time.

#ifndef MOHD_MODEL_TENSORCOPY_H
#define MOHD_MODEL_TENSORCOPY_H

#include "mohd/Model/Config.h"

#include <functional>

namespace mlir::mohd {

// Weights are stored in F32, BF16 or F16, on disk and in a bundle; no other DType may be given to
// widen() and narrow().

/// Converts `count` elements to f32 (exact). Neither pointer needs alignment; the ranges must not
/// overlap.
void widen(DType type, const void *source, float *target, int64_t count);

/// Converts `count` f32 to `type`: nearest even, overflow to infinity, a NaN stays a NaN. Same
/// pointer rules.
void narrow(DType type, const float *source, void *target, int64_t count);

/// What is wanted of a tensor: itself, or what stands for it in int8 (Quantize.h), values or the scales that these are multiplied by.
enum class TensorPart { Whole, Values, Scales, KMajorValues };

/// How far quantised weights are from the weights: sums of squares over all elements.
struct QuantizationError {
  double squaredErrors = 0, squaredWeights = 0;

  QuantizationError &operator+=(const QuantizationError &other) {
    squaredErrors += other.squaredErrors;
    squaredWeights += other.squaredWeights;
    return *this;
  }
  /// The relative Frobenius norm of the error; 0 of no weights, and of weights that all are 0.
  double relative() const;
};

/// How a tensor is to lie in memory. With `expanded` its dimensions are seen as these (same
/// elements in the same order), e.g. [E, D] as [E, N, d_e]; with `permutation` axis i of the result
/// is axis permutation[i] of that view, so (1, 2, 0) gives [N, d_e, E]. Either may be empty: no
/// change. With `panel` P the last axis of that, of rank 3, is cut into panels: [G, R, C] becomes [G, ceildiv(C, P), R, P],
/// with zeros in the place of missing columns. The result is row-major.
///
/// The quantised values of a tensor (of type I8) lie like the tensor itself, its scales (of type F32) like one of its rows: [G, C] or [C], in
/// panels [G, ceildiv(C, P), P]. Of K-major values the last axis is the one whose elements share a scale.
struct TensorLayout {
  DType type = DType::F32;
  std::vector<int64_t> expanded;
  std::vector<int64_t> permutation;
  int64_t panel = 0; // none
  TensorPart part = TensorPart::Whole;
};

/// Delivers source elements [first, first + count) as f32 into `target`.
using ElementReader = std::function<Status(int64_t first, int64_t count, float *target)>;

/// Fills `target` with a tensor of `shape`, read piece by piece, in the given layout. `target`
/// holds as many elements of layout.type as the layout has, which is checked against
/// `targetBytes`. Uses at most 16 MiB besides, and the tensor's size more if its last panel is not whole. A quantised part reads the tensor
/// a second time, holds its scales, and adds what is lost to `error` if that is given (values only). Fails if the layout does not
/// fit the shape, or with the reader's first error.
Status copyTensor(const std::vector<int64_t> &shape, const TensorLayout &layout,
                  const ElementReader &read, void *target, size_t targetBytes,
                  QuantizationError *error = nullptr);

} // namespace mlir::mohd

#endif // MOHD_MODEL_TENSORCOPY_H
