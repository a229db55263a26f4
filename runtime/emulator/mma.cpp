// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mma.sync: fragments of 32 lanes to matrices and back, by the tables of the PTX ISA.
#include "block.h"
#include "operations_impl.h"

#include "mohd/format/float16.h"

#include <cstring>

namespace mohdemu {

namespace {

constexpr uint32_t kM = 16, kN = 8;

struct MmaIn {
  const void *a, *b, *c;
};

uint32_t wordOf(const void *words, uint32_t index) {
  uint32_t word;
  std::memcpy(&word, static_cast<const char *>(words) + index * 4, 4);
  return word;
}

/// The elements of one register as T, of `kind`.
template <typename T> void unpackWord(uint32_t kind, uint32_t word, T *elements) {
  switch (kind) {
  case MOHD_EMU_MMA_BF16:
    for (int i = 0; i < 2; ++i)
      elements[i] = static_cast<T>(mohdrt::widenBf16(static_cast<uint16_t>(word >> 16 * i)));
    return;
  case MOHD_EMU_MMA_F16:
    for (int i = 0; i < 2; ++i)
      elements[i] = static_cast<T>(mohdrt::widenF16(static_cast<uint16_t>(word >> 16 * i)));
    return;
  case MOHD_EMU_MMA_TF32: // the low bits are not looked at
    elements[0] = static_cast<T>(mohdrt::floatOf(word & ~0x1fffu));
    return;
  default:
    for (int i = 0; i < 4; ++i)
      elements[i] = static_cast<T>(static_cast<int8_t>(word >> 8 * i));
  }
}

/// d = a * b + c, with `K` columns of a, `E` elements in a register.
template <typename T, uint32_t K, uint32_t E> void multiply(uint32_t kind, Rendezvous &meeting) {
  T a[kM][K], b[K][kN];
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const MmaIn &in = *static_cast<const MmaIn *>(meeting.in[lane]);
    const uint32_t group = lane / 4, part = lane % 4;
    T elements[4];
    for (uint32_t word = 0; word < 4; ++word) { // rows alternate, then columns
      unpackWord(kind, wordOf(in.a, word), elements);
      for (uint32_t i = 0; i < E; ++i)
        a[group + word % 2 * 8][part * E + i + word / 2 * 4 * E] = elements[i];
    }
    for (uint32_t word = 0; word < 2; ++word) {
      unpackWord(kind, wordOf(in.b, word), elements);
      for (uint32_t i = 0; i < E; ++i)
        b[part * E + i + word * 4 * E][group] = elements[i];
    }
  }
  T sums[kM][kN];
  const auto forEachSum = [&](auto visit) {
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t i = 0; i < 4; ++i)
        visit(lane, i, sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
  };
  forEachSum([&](uint32_t lane, uint32_t i, T &sum) {
    const void *c = static_cast<const MmaIn *>(meeting.in[lane])->c;
    std::memcpy(&sum, static_cast<const char *>(c) + i * 4, 4);
  });
  for (uint32_t m = 0; m < kM; ++m)
    for (uint32_t k = 0; k < K; ++k)
      for (uint32_t n = 0; n < kN; ++n)
        sums[m][n] += a[m][k] * b[k][n];
  forEachSum([&](uint32_t lane, uint32_t i, T &sum) {
    std::memcpy(static_cast<char *>(meeting.out[lane]) + i * 4, &sum, 4);
  });
}

} // namespace

namespace ops {

void mma(uint32_t kind, const void *a, const void *b, const void *c, void *d, const char *site) {
  Block &block = currentBlock();
  if (kind > MOHD_EMU_MMA_S8)
    block.fail(ErrorKind::Argument, site, text("expects a kind of mma, got ", kind));
  const MmaIn in{a, b, c};
  block.meet(Op::Mma, ~0u, kind, &in, d, site, [&](Rendezvous &meeting) {
    if (kind == MOHD_EMU_MMA_TF32)
      multiply<float, 8, 1>(kind, meeting);
    else if (kind == MOHD_EMU_MMA_S8)
      multiply<uint32_t, 32, 4>(kind, meeting); // sums wrap
    else
      multiply<float, 16, 2>(kind, meeting);
  });
}

} // namespace ops

} // namespace mohdemu
