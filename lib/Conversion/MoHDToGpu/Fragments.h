// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products of a warp, and the words of 16-bit elements that they take, on terms.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_FRAGMENTS_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_FRAGMENTS_H

#include "mohd/Conversion/MoHDToGpu/GpuEmitter.h"

namespace mlir::mohd {

/// `count` elements at a multiple of their size, as f32, in accesses of up to 16 bytes.
SmallVector<Term> loadWide(GpuEmitter &e, Value pointer, Type element, int64_t count);

/// `count` words (1, 2 or 4) in one access.
SmallVector<Term> loadWords(GpuEmitter &e, Value pointer, int64_t count);
void storeWords(GpuEmitter &e, ArrayRef<Term> words, Value pointer);

/// 8x8 matrices of 16-bit elements as fragments: `tile.load_matrix` of four.
SmallVector<Term> loadMatrices(GpuEmitter &e, Value row, bool isTransposed = false);

/// The sums a * b + c of `tile.mma`: 4 words, 2 words, 4 sums.
SmallVector<Term> multiply(GpuEmitter &e, tile::MmaKind kind, ArrayRef<Term> a, ArrayRef<Term> b,
                           ArrayRef<Term> c);

/// Two f32 in a word.
Term pack(GpuEmitter &e, tile::Half kind, const Term &low, const Term &high);

/// The four int8 of a word as two words of elements; exact.
SmallVector<Term> widenBytes(GpuEmitter &e, tile::Half kind, const Term &word);

/// Words whose elements add up to pairs of f32: `parts` words, each the rest of those before it rounded.
SmallVector<Term> splitPair(GpuEmitter &e, tile::Half kind, const Term &low, const Term &high,
                            int64_t parts);

/// A word with a bit of kNotFinite set if one of a word's two elements is Inf or a NaN; its other bits mean nothing.
Term markNotFinite(GpuEmitter &e, tile::Half kind, const Term &word);
inline constexpr int64_t kNotFinite = int32_t(0x80008000);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_FRAGMENTS_H
