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
// these functions.

/// Converts `count` elements to f32 (exact). Neither pointer needs alignment; the ranges must not
/// overlap.
void widen(DType type, const void *source, float *target, int64_t count);

/// Converts `count` f32 to `type`: nearest even, overflow to infinity, a NaN stays a NaN. Same
/// pointer rules.
void narrow(DType type, const float *source, void *target, int64_t count);

/// How a tensor is to lie in memory. With `expanded` its dimensions are seen as these (same
/// elements in the same order), e.g. [E, D] as [E, N, d_e]; with `permutation` axis i of the result
/// is axis permutation[i] of that view, so (1, 2, 0) gives [N, d_e, E]. Either may be empty: no
/// change. With `panel` P the last axis of that, of rank 3, is cut into panels: [G, R, C] becomes [G, ceildiv(C, P), R, P],
/// with zeros in the place of missing columns. The result is row-major.
struct TensorLayout {
  DType type = DType::F32;
  std::vector<int64_t> expanded;
  std::vector<int64_t> permutation;
  int64_t panel = 0; // none
};

/// Delivers source elements [first, first + count) as f32 into `target`.
using ElementReader = std::function<Status(int64_t first, int64_t count, float *target)>;

/// Fills `target` with a tensor of `shape`, read piece by piece, in the given layout. `target`
/// holds as many elements of layout.type as the layout has, which is checked against
/// `targetBytes`. Uses at most 16 MiB besides, and the tensor's size more if its last panel is not whole. Fails if the layout does not fit the shape, or with
/// the reader's first error.
Status copyTensor(const std::vector<int64_t> &shape, const TensorLayout &layout,
                  const ElementReader &read, void *target, size_t targetBytes);

} // namespace mlir::mohd

#endif // MOHD_MODEL_TENSORCOPY_H
