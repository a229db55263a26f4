// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// wgmma against plain loops: both majors, all swizzles, operand A from registers, all kinds of N.
// Where elements lie is written out from the canonical layouts of the PTX ISA.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

/// How an operand of extent x 16 lies in shared memory: where its elements are and what its
/// descriptor says.
struct Layout {
  uint32_t start, mode;
  bool transposed;
  uint32_t leading, stride, bytes;
  uint32_t kStep = 0; // of 16, within a swizzled row along K

  uint64_t descriptor() const { return descriptorOf(start + kStep * 32, leading, stride, mode); }

  uint32_t placeOf(uint32_t mn, uint32_t k) const {
    k += kStep * 16;
    switch (mode * 2 + transposed) {
    case 0: // core matrices of 8 rows x 16 bytes
      return start + mn / 8 * stride + k / 8 * leading + mn % 8 * 16 + k % 8 * 2;
    case 1: // core matrices of 8 k x 16 bytes
      return start + mn / 8 * stride + k / 8 * leading + k % 8 * 16 + mn % 8 * 2;
    case 2: // rows of 32 bytes: 16 k
      return start + mn / 8 * stride + mn % 8 * 32 + (k / 8 ^ mn % 8 / 4) * 16 + k % 8 * 2;
    case 3: // 16 m or n
      return start + mn / 16 * leading + k / 8 * stride + k % 8 * 32 +
             (mn / 8 % 2 ^ k % 8 / 4) * 16 + mn % 8 * 2;
    case 4: // rows of 64 bytes
      return start + mn / 8 * stride + mn % 8 * 64 + (k / 8 ^ mn % 8 / 2) * 16 + k % 8 * 2;
    case 5:
      return start + mn / 32 * leading + k / 8 * stride + k % 8 * 64 +
             (mn / 8 % 4 ^ k % 8 / 2) * 16 + mn % 8 * 2;
    case 6: // rows of 128 bytes
      return start + mn / 8 * stride + mn % 8 * 128 + (k / 8 ^ mn % 8) * 16 + k % 8 * 2;
    default:
      return start + mn / 64 * leading + k / 8 * stride + k % 8 * 128 + (mn / 8 % 8 ^ k % 8) * 16 +
             mn % 8 * 2;
    }
  }
};

/// A layout of `extent` x 16 elements at `start`.
Layout layoutOf(uint32_t start, uint32_t extent, uint32_t mode, bool transposed) {
  const uint32_t row = 16u << mode, eights = extent / 8;
  if (!mode && !transposed) // second halves of K after all first halves
    return {start, mode, transposed, eights * 128, 128, eights * 256};
  if (!mode)
    return {start, mode, transposed, 128, 256, eights * 256};
  if (!transposed)
    return {start, mode, transposed, 16, row * 8, eights * row * 8};
  const uint32_t blocks = (extent * 2 + row - 1) / row; // along M or N, each of 16 k
  return {start, mode, transposed, row * 16, row * 8, blocks * row * 16};
}

struct Case {
  uint32_t type, n, modeA, modeB;
  bool transposedA, transposedB, inRegisters;
};

/// Puts an operand to shared memory, all threads together.
void place(const Layout &layout, const std::vector<uint16_t> &values, uint32_t extent) {
  for (uint32_t i = threadIndex(); i < extent * 16; i += 128)
    storeShared(layout.placeOf(i / 16, i % 16), values[i]);
}

/// Row and column of sum `i` of thread `t`, from "WGMMA .m64nNk16 register fragment layout for D".
void placeOfSum(uint32_t t, uint32_t i, uint32_t &row, uint32_t &column) {
  row = t / 32 * 16 + t % 32 / 4 + (i % 4 < 2 ? 0 : 8);
  column = i / 4 * 8 + t % 4 * 2 + i % 2;
}

void checkCase(const Case &test, uint32_t kStep = 0) {
  const std::vector<uint16_t> a = randomHalves(64 * 16, test.type, 1);
  const std::vector<uint16_t> b = randomHalves(test.n * 16, test.type, 2);
  Layout layoutA = layoutOf(0, 64, test.modeA, test.transposedA);
  Layout layoutB = layoutOf(16384, test.n, test.modeB, test.transposedB);
  layoutA.kStep = layoutB.kStep = kStep;
  std::vector<float> sums(128 * test.n / 2);
  EXPECT_TRUE(isClean(emulate(oneBlock(128, 65536, test.n), [&] {
    const uint32_t t = threadIndex(), count = test.n / 2;
    float *mine = &sums[t * count];
    uint16_t words[8]; // rows t / 4 and 8 below in turns, then columns 8 further
    for (uint32_t i = 0; i < 8; ++i)
      words[i] = a[(t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8) * 16 + t % 4 * 2 + i % 2 + i / 4 * 8];
    if (!test.inRegisters)
      place(layoutA, a, 64);
    place(layoutB, b, test.n);
    gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence");
    syncBlock();
    std::fill_n(mine, count, 1000.0f);
    gpu.wgmma_check(mine, count * 4, "sums");
    gpu.wgmma_fence("wgmma fence");
    for (uint32_t accumulates : {0, 1}) // the second one adds to the first one's sums
      gpu.wgmma(test.type, test.n, layoutA.descriptor(), test.inRegisters ? words : nullptr,
                layoutB.descriptor(), test.transposedA, test.transposedB, accumulates, mine, "w");
    gpu.wgmma_commit("commit");
    EXPECT_EQ(mine[0], 1000.0f);
    gpu.wgmma_wait(0, "wait");
  })));
  for (uint32_t t = 0; t < 128; ++t)
    for (uint32_t i = 0; i < test.n / 2; ++i) {
      uint32_t row, column;
      placeOfSum(t, i, row, column);
      double expected = 0;
      for (uint32_t k = 0; k < 16; ++k)
        expected +=
            2 * valueOf(a[row * 16 + k], test.type) * valueOf(b[column * 16 + k], test.type);
      ASSERT_EQ(sums[t * test.n / 2 + i], expected) // small multiples of 1/64: exact
          << "type " << test.type << " n " << test.n << " swizzles " << test.modeA << " "
          << test.modeB << " transposed " << test.transposedA << " " << test.transposedB
          << " registers " << test.inRegisters << " k step " << kStep << " row " << row
          << " column " << column;
    }
}

TEST(EmulatorWgmma, MajorsAndSwizzlesOfBothOperands) {
  for (uint32_t mode = 0; mode < 4; ++mode)
    for (bool transposed : {false, true}) {
      checkCase({MOHD_EMU_BF16, 128, mode, 3, transposed, false, false});
      checkCase({MOHD_EMU_F16, 128, 3, mode, false, transposed, false});
    }
}

TEST(EmulatorWgmma, EveryN) {
  for (uint32_t n = 8; n <= 256; n += n < 40 ? 8 : 72)
    for (bool transposed : {false, true})
      checkCase({MOHD_EMU_BF16, n, 3, 3, false, transposed, false});
  checkCase({MOHD_EMU_BF16, 256, 3, 3, false, true, false});
  checkCase({MOHD_EMU_BF16, 256, 3, 3, false, false, false});
}

TEST(EmulatorWgmma, OperandAFromRegisters) {
  checkCase({MOHD_EMU_BF16, 64, 0, 3, false, false, true});
  checkCase({MOHD_EMU_F16, 24, 0, 1, false, true, true});
}

// K steps of 16 within rows of 64 elements: the start moves by 32 bytes, the swizzle stays.
TEST(EmulatorWgmma, StartMovesWithinASwizzledRow) {
  for (uint32_t step = 0; step < 4; ++step)
    checkCase({MOHD_EMU_BF16, 64, 3, 3, false, false, false}, step);
}

// Groups end in order: after wait(1) the first group's sums are there, the second one's are not.
TEST(EmulatorWgmma, WaitLeavesPendingGroups) {
  const std::vector<uint16_t> a = randomHalves(64 * 16, MOHD_EMU_BF16, 1);
  const std::vector<uint16_t> b = randomHalves(8 * 16, MOHD_EMU_BF16, 2);
  const Layout layoutA = layoutOf(0, 64, 0, false), layoutB = layoutOf(4096, 8, 0, false);
  EXPECT_TRUE(isClean(emulate(oneBlock(256, 8192, 4), [&] {
    if (threadIndex() < 128) {
      place(layoutA, a, 64);
      place(layoutB, b, 8);
    }
    gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence");
    syncBlock();
    float first[4] = {}, second[4] = {};
    second[0] = 5;
    gpu.wgmma_fence("wgmma fence");
    for (float *sums : {first, second}) {
      gpu.wgmma(MOHD_EMU_MMA_BF16, 8, layoutA.descriptor(), nullptr, layoutB.descriptor(), 0, 0, 1,
                sums, "w");
      gpu.wgmma_commit("commit");
    }
    gpu.wgmma_wait(1, "first");
    gpu.wgmma_check(first, sizeof(first), "first sums");
    EXPECT_EQ(second[0], 5);
    gpu.wgmma_wait(0, "second");
    gpu.wgmma_check(second, sizeof(second), "second sums");
    EXPECT_EQ(second[0], first[0] + 5);
    EXPECT_EQ(second[3], first[3]);
  })));
}

} // namespace
