// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products of a warp.
#include "Fragments.h"

using namespace mlir;
using namespace mlir::mohd;

SmallVector<Term> mlir::mohd::loadWide(GpuEmitter &e, Value pointer, Type element, int64_t count) {
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  int64_t step = std::min(count, 16 / bytes);
  SmallVector<Term> values;
  for (int64_t i = 0; i < count; i += step)
    values.append(e.loadF32s(e.advance(pointer, e.i32(i * bytes)), element, step));
  return values;
}

SmallVector<Term> mlir::mohd::loadWords(GpuEmitter &e, Value pointer, int64_t count) {
  Type word = e.b.getI32Type();
  if (count == 1)
    return {e.load(pointer, word)};
  return e.split(e.load(pointer, VectorType::get({count}, word)));
}

void mlir::mohd::storeWords(GpuEmitter &e, ArrayRef<Term> words, Value pointer) {
  e.store(words.size() == 1 ? words.front() : e.join(words), pointer);
}

SmallVector<Term> mlir::mohd::loadMatrices(GpuEmitter &e, Value row, bool isTransposed) {
  auto type = VectorType::get({4}, e.b.getI32Type());
  return e.split(e.wrap(tile::LoadMatrixOp::create(e.b, type, row, isTransposed)));
}

SmallVector<Term> mlir::mohd::multiply(GpuEmitter &e, tile::MmaKind kind, ArrayRef<Term> a,
                                       ArrayRef<Term> b, ArrayRef<Term> c) {
  return e.split(
      e.wrap(tile::MmaOp::create(e.b, kind, e.join(a).value, e.join(b).value, e.join(c).value)));
}

Term mlir::mohd::pack(GpuEmitter &e, tile::Half kind, const Term &low, const Term &high) {
  return e.wrap(tile::PackOp::create(e.b, kind, low.value, high.value));
}

SmallVector<Term> mlir::mohd::widenBytes(GpuEmitter &e, tile::Half kind, const Term &word) {
  // 128 + value in the low byte of 2^23, or in the next one of 2^15, is added to that number; conversions of integers are slow.
  SmallVector<Term> values;
  auto widen = [&](const Term &bits, double base) {
    values.push_back(fromBits(bits) - (base + 128.0));
  };
  for (const Term &pair : {word, word >> e.i32(16)}) {
    widen((pair & 0xff) ^ 0x4b000080, 0x1p23);
    widen((pair & 0xff00) ^ 0x47008000, 0x1p15);
  }
  return {pack(e, kind, values[0], values[1]), pack(e, kind, values[2], values[3])};
}

SmallVector<Term> mlir::mohd::splitPair(GpuEmitter &e, tile::Half kind, const Term &low,
                                        const Term &high, int64_t parts) {
  SmallVector<Term> words;
  Term restLow = low, restHigh = high;
  for (int64_t part = 0; part < parts; ++part) {
    words.push_back(pack(e, kind, restLow, restHigh));
    if (part + 1 == parts)
      break;
    auto rounded = tile::UnpackOp::create(e.b, kind, words.back().value);
    restLow = restLow - e.wrap(rounded.getLow());
    restHigh = restHigh - e.wrap(rounded.getHigh());
  }
  return words;
}

Term mlir::mohd::markNotFinite(GpuEmitter &e, tile::Half kind, const Term &word) {
  // The exponents, all ones: adding their lowest bit carries into the sign.
  bool isBF16 = kind == tile::Half::BF16;
  return (word & (isBF16 ? 0x7f807f80 : 0x7c007c00)) + (isBF16 ? 0x00800080 : 0x04000400);
}
