// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Operations of threads, warps and named barriers against plain loops. The places of elements in
// fragments are written out from the PTX ISA's tables, element by element.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

constexpr uint32_t kAll = ~0u;

TEST(EmulatorThread, SpecialRegistersNumberGridAndBlock) {
  std::vector<uint32_t> values(2 * 3 * 2 * 4 * 3 * 2 * 13);
  Launch launch;
  launch.grid = {2, 3, 2};
  launch.block = {4, 3, 2};
  launch.allocations = {allocationOf(values, "values", true)};
  launch.threads = 3;
  EXPECT_TRUE(isClean(emulate(launch, [&] {
    uint32_t r[13];
    for (uint32_t i = 0; i < 13; ++i)
      r[i] = gpu.special_register(i);
    const uint32_t block = (r[8] * 3 + r[7]) * 2 + r[6], thread = (r[2] * 3 + r[1]) * 4 + r[0];
    for (uint32_t i = 0; i < 13; ++i)
      storeGlobal(values[(block * 24 + thread) * 13 + i], r[i]);
  })));
  for (uint32_t block = 0; block < 12; ++block)
    for (uint32_t thread = 0; thread < 24; ++thread) {
      const uint32_t expected[] = {thread % 4, thread / 4 % 3, thread / 12, 4, 3, 2,
                                   block % 2,  block / 2 % 3,  block / 6,   2, 3, 2,
                                   thread};
      for (uint32_t i = 0; i < 13; ++i)
        ASSERT_EQ(values[(block * 24 + thread) * 13 + i], expected[i]) << block << " " << thread;
    }
}

TEST(EmulatorThread, SharedWindowIsAlignedToItsSizeAndPoisoned) {
  Result result = emulate(oneBlock(32, 64), [&] {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gpu.shared_base()) % (256 * 1024), 0u);
    EXPECT_TRUE(std::isnan(*shared<float>(60)));
  });
  EXPECT_TRUE(isClean(result));
}

TEST(EmulatorThread, ConversionsRoundToNearestEvenAndKeepNaN) {
  const float inf = INFINITY;
  EXPECT_EQ(gpu.pack(MOHD_EMU_BF16, 1.0f, -2.0f), 0xc0003f80u);
  EXPECT_EQ(gpu.pack(MOHD_EMU_BF16, mohdrt::floatOf(0x3f808000), mohdrt::floatOf(0x3f818000)),
            0x3f823f80u); // ties go to even
  EXPECT_EQ(gpu.pack(MOHD_EMU_F16, 65520.0f, 65519.0f), 0x7bff7c00u);
  EXPECT_EQ(gpu.pack(MOHD_EMU_F16, NAN, -inf), 0xfc007fffu);
  EXPECT_EQ(gpu.pack(MOHD_EMU_BF16, -NAN, inf), 0x7f807fffu);
  EXPECT_EQ(gpu.unpack(MOHD_EMU_F16, 0x3c01), 1.0f + 0x1p-10f);
  EXPECT_EQ(gpu.unpack(MOHD_EMU_BF16, 0xffff3f80), 1.0f);
  EXPECT_EQ(gpu.exp2(3.0f), 8.0f);
  EXPECT_EQ(gpu.exp2(-inf), 0.0f);
  EXPECT_EQ(gpu.exp2(-140.0f), 0.0f); // flushed
  EXPECT_EQ(gpu.exp2(0x1p-140f), 1.0f);
  EXPECT_TRUE(std::isnan(gpu.exp2(NAN)));
}

/// What lane `lane` of a segment of `width` reads, as CUDA's __shfl_*_sync say it.
uint32_t shuffledLane(uint32_t mode, uint32_t lane, int by, uint32_t width) {
  const int first = static_cast<int>(lane / width * width), last = first + static_cast<int>(width);
  const int here = static_cast<int>(lane);
  int from = here;
  if (mode == MOHD_EMU_SHFL_UP)
    from = here - by < first ? here : here - by;
  else if (mode == MOHD_EMU_SHFL_DOWN)
    from = here + by >= last ? here : here + by;
  else if (mode == MOHD_EMU_SHFL_BFLY)
    from = (here ^ by) >= last ? here : here ^ by;
  else
    from = first + by % static_cast<int>(width);
  return static_cast<uint32_t>(from);
}

TEST(EmulatorWarp, ShufflesOfAllModesAndWidths) {
  for (uint32_t mode :
       {MOHD_EMU_SHFL_UP, MOHD_EMU_SHFL_DOWN, MOHD_EMU_SHFL_BFLY, MOHD_EMU_SHFL_IDX})
    for (uint32_t width : {2u, 8u, 16u, 32u})
      for (int by : {0, 1, 3, 7, 15}) {
        uint32_t results[32];
        const uint32_t clamp = (32 - width) << 8 | (mode == MOHD_EMU_SHFL_UP ? 0 : 31);
        EXPECT_TRUE(isClean(emulate(oneBlock(32, 0, mode + width), [&] {
          const uint32_t lane = gpu.special_register(MOHD_EMU_LANE);
          results[lane] = gpu.shuffle(mode, kAll, lane * 10, static_cast<uint32_t>(by), clamp, "s");
        })));
        for (uint32_t lane = 0; lane < 32; ++lane)
          EXPECT_EQ(results[lane], shuffledLane(mode, lane, by, width) * 10)
              << "mode " << mode << " width " << width << " by " << by << " lane " << lane;
      }
}

TEST(EmulatorWarp, BallotAndElectOfHalfAWarp) {
  for (uint64_t seed : {0, 1, 5}) {
    uint32_t ballots[32], elected[32];
    EXPECT_TRUE(isClean(emulate(oneBlock(32, 0, seed), [&] {
      const uint32_t lane = threadIndex(), mask = lane < 16 ? 0x0000ffff : 0xffff0000;
      ballots[lane] = gpu.vote_ballot(mask, lane % 3 == 0, "b");
      elected[lane] = gpu.elect(mask, "e");
    })));
    for (uint32_t lane = 0; lane < 32; ++lane)
      EXPECT_EQ(ballots[lane], 0x49249249u & (lane < 16 ? 0xffffu : 0xffff0000u));
    EXPECT_EQ(std::count(elected, elected + 16, 1u), 1);
    EXPECT_EQ(std::count(elected + 16, elected + 32, 1u), 1);
  }
}

// Row r of matrix m is at the address of lane 8 m + r; lane l gets elements (l / 4, 2 (l % 4) + i).
TEST(EmulatorWarp, LoadAndStoreMatrix) {
  for (uint32_t count : {1u, 2u, 4u})
    for (uint32_t transposed : {0u, 1u}) {
      uint16_t words[32][8];
      std::vector<uint16_t> copied(count * 64);
      EXPECT_TRUE(isClean(emulate(oneBlock(32, 2048, count), [&] {
        const uint32_t lane = threadIndex();
        for (uint32_t i = lane; i < count * 64; i += 32)
          storeShared<uint16_t>(i * 2, static_cast<uint16_t>(i));
        gpu.warp_sync(kAll, "order");
        gpu.load_matrix(shared(lane % (8 * count) * 16), count, transposed, words[lane], "ld");
        gpu.store_matrix(shared(1024 + lane % (8 * count) * 16), count, transposed, words[lane],
                         "st");
        gpu.warp_sync(kAll, "order again");
        for (uint32_t i = lane; i < count * 64; i += 32)
          copied[i] = loadShared<uint16_t>(1024 + i * 2);
      })));
      for (uint32_t m = 0; m < count; ++m)
        for (uint32_t lane = 0; lane < 32; ++lane)
          for (uint32_t i = 0; i < 2; ++i) {
            const uint32_t row = lane / 4, column = lane % 4 * 2 + i;
            const uint32_t element = transposed ? column * 8 + row : row * 8 + column;
            EXPECT_EQ(words[lane][m * 2 + i], m * 64 + element);
          }
      for (uint32_t i = 0; i < count * 64; ++i)
        EXPECT_EQ(copied[i], i);
    }
}

struct Place {
  uint32_t row, column;
};

// The PTX ISA's "Matrix Fragments for mma.m16n8k16 with floating point type", "mma.m16n8k8" (tf32) and
// "mma.m16n8k32" (s8): element i of operand a, b and c of lane l.
Place placeOfA(uint32_t kind, uint32_t l, uint32_t i) {
  const uint32_t groupID = l >> 2, threadID_in_group = l % 4;
  if (kind == MOHD_EMU_MMA_TF32)
    return {i == 0 || i == 2 ? groupID : groupID + 8,
            i == 0 || i == 1 ? threadID_in_group : threadID_in_group + 4};
  if (kind == MOHD_EMU_MMA_S8)
    return {i < 4 || (i >= 8 && i < 12) ? groupID : groupID + 8,
            i < 8 ? threadID_in_group * 4 + (i & 3) : threadID_in_group * 4 + (i & 3) + 16};
  return {i < 2 || (i >= 4 && i < 6) ? groupID : groupID + 8,
          i < 4 ? threadID_in_group * 2 + (i & 1) : threadID_in_group * 2 + (i & 1) + 8};
}
Place placeOfB(uint32_t kind, uint32_t l, uint32_t i) { // row is k
  const uint32_t groupID = l >> 2, threadID_in_group = l % 4;
  if (kind == MOHD_EMU_MMA_TF32)
    return {i == 0 ? threadID_in_group : threadID_in_group + 4, groupID};
  if (kind == MOHD_EMU_MMA_S8)
    return {i < 4 ? threadID_in_group * 4 + (i & 3) : threadID_in_group * 4 + (i & 3) + 16,
            groupID};
  return {i < 2 ? threadID_in_group * 2 + (i & 1) : threadID_in_group * 2 + (i & 1) + 8, groupID};
}
Place placeOfC(uint32_t l, uint32_t i) {
  const uint32_t groupID = l >> 2, threadID_in_group = l % 4;
  return {i < 2 ? groupID : groupID + 8, threadID_in_group * 2 + (i & 1)};
}

/// Runs one mma and compares it with a plain loop. Encode turns a small integer into an element.
template <typename Element, typename Sum>
void checkMma(uint32_t kind, uint32_t depth, Element (*encode)(int)) {
  std::mt19937 engine(kind);
  std::vector<int> a(16 * depth), b(depth * 8), c(16 * 8);
  for (std::vector<int> *values : {&a, &b, &c})
    for (int &value : *values)
      value = static_cast<int>(engine() % 25) - 12;
  constexpr uint32_t perWord = 4 / sizeof(Element);
  Sum sums[32][4];
  EXPECT_TRUE(isClean(emulate(oneBlock(32, 0, 3), [&] {
    const uint32_t lane = threadIndex();
    Element fa[16], fb[8];
    Sum fc[4];
    for (uint32_t i = 0; i < 4 * perWord; ++i) {
      const Place at = placeOfA(kind, lane, i);
      fa[i] = encode(a[at.row * depth + at.column]);
    }
    for (uint32_t i = 0; i < 2 * perWord; ++i) {
      const Place at = placeOfB(kind, lane, i);
      fb[i] = encode(b[at.row * 8 + at.column]);
    }
    for (uint32_t i = 0; i < 4; ++i)
      fc[i] = static_cast<Sum>(c[placeOfC(lane, i).row * 8 + placeOfC(lane, i).column]);
    gpu.mma(kind, fa, fb, fc, sums[lane], "mma");
  })));
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < 4; ++i) {
      const Place at = placeOfC(lane, i);
      int expected = c[at.row * 8 + at.column];
      for (uint32_t k = 0; k < depth; ++k)
        expected += a[at.row * depth + k] * b[k * 8 + at.column];
      EXPECT_EQ(sums[lane][i], static_cast<Sum>(expected)) << "lane " << lane << " sum " << i;
    }
}

TEST(EmulatorWarp, MmaOfEveryKind) {
  checkMma<uint16_t, float>(MOHD_EMU_MMA_BF16, 16, [](int value) {
    return mohdrt::narrowBf16(static_cast<float>(value));
  });
  checkMma<uint16_t, float>(MOHD_EMU_MMA_F16, 16,
                            [](int value) { return mohdrt::narrowF16(static_cast<float>(value)); });
  checkMma<uint32_t, float>(MOHD_EMU_MMA_TF32, 8, [](int value) { // low bits are not looked at
    return mohdrt::bitsOf(static_cast<float>(value)) | 0x1fff;
  });
  checkMma<int8_t, int32_t>(MOHD_EMU_MMA_S8, 32,
                            [](int value) { return static_cast<int8_t>(value); });
}

TEST(EmulatorBarrier, NeighboursExchangeThroughSharedMemory) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<uint32_t> values(128);
    Launch launch = oneBlock(128, 512, seed);
    launch.allocations = {allocationOf(values, "values", true)};
    EXPECT_TRUE(isClean(emulate(launch, [&] {
      const uint32_t t = threadIndex();
      uint32_t mine = t;
      for (int round = 0; round < 5; ++round) {
        storeShared(t * 4, mine);
        syncBlock();
        mine = loadShared<uint32_t>((t + 1) % 128 * 4) + 1;
        syncBlock();
      }
      storeGlobal(values[t], mine);
    })));
    for (uint32_t t = 0; t < 128; ++t)
      EXPECT_EQ(values[t], (t + 5) % 128 + 5);
  }
}

// The last warp has fewer lanes; all 32 warps are there.
TEST(EmulatorBarrier, BlocksThatAreNoMultipleOfAWarp) {
  for (uint32_t threads : {1u, 48u, 1000u, 1024u}) {
    uint32_t sum = 0;
    EXPECT_TRUE(isClean(emulate(oneBlock(threads, 4096, threads), [&] {
      const uint32_t t = threadIndex(), lanes = threads - t / 32 * 32;
      storeShared(t * 4, t);
      gpu.warp_sync(lanes < 32 ? (1u << lanes) - 1 : kAll, "warp sync");
      syncBlock();
      if (t == threads - 1)
        for (uint32_t i = 0; i < threads; ++i)
          sum += loadShared<uint32_t>(i * 4);
    })));
    EXPECT_EQ(sum, threads * (threads - 1) / 2);
  }
}

// Warp 0 fills two buffers in turns, warps 1 and 2 read them: arrive on one side, sync on the other.
TEST(EmulatorBarrier, ArriveAndSyncOrderProducerAndConsumers) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint32_t sums[64] = {};
    EXPECT_TRUE(isClean(emulate(oneBlock(96, 256, seed), [&] {
      const uint32_t t = threadIndex();
      for (uint32_t round = 0; round < 6; ++round) {
        const uint32_t buffer = round % 2, full = 1 + buffer, empty = 3 + buffer;
        if (t < 32) {
          if (round >= 2)
            gpu.barrier_sync(empty, 96, "wait for empty");
          storeShared(buffer * 128 + t * 4, round * 100 + t);
          gpu.barrier_arrive(full, 96, "full");
        } else {
          gpu.barrier_sync(full, 96, "wait for full");
          sums[t - 32] += loadShared<uint32_t>(buffer * 128 + (t + 5) % 32 * 4);
          if (round < 4)
            gpu.barrier_arrive(empty, 96, "empty");
        }
      }
    })));
    for (uint32_t t = 32; t < 96; ++t)
      EXPECT_EQ(sums[t - 32], 1500 + 6 * ((t + 5) % 32));
  }
}

TEST(EmulatorThread, AtomicsOfGlobalAndSharedMemory) {
  std::vector<uint32_t> counts = {0, 100, 0, 0xffffffff, 0, 0};
  Launch launch = oneBlock(64, 16, 1);
  launch.grid.x = 8;
  launch.threads = 2;
  launch.allocations = {allocationOf(counts, "counts", true)};
  EXPECT_TRUE(isClean(emulate(launch, [&] {
    const uint32_t t = threadIndex(), values[] = {1, t + 3, t, ~(1u << t % 16), 1u << t % 16, 7};
    if (t == 0)
      storeShared<uint32_t>(0, 5);
    syncBlock();
    for (uint32_t op = 0; op < 6; ++op)
      gpu.atomic(op, &counts[op], values[op], MOHD_EMU_GLOBAL, "global");
    gpu.atomic(MOHD_EMU_ADD, shared(0), 2, MOHD_EMU_SHARED, "shared");
    syncBlock();
    EXPECT_EQ(loadShared<uint32_t>(0), 5u + 128u);
  })));
  EXPECT_EQ(counts, (std::vector<uint32_t>{512, 3, 63, 0xffff0000, 0xffff, 7}));
}

// 384 threads start with 168 registers each: two warpgroups can have 232 only once one gives up.
TEST(EmulatorThread, RegistersPassFromOneWarpgroupToOthers) {
  for (uint64_t seed = 0; seed < 5; ++seed)
    EXPECT_TRUE(isClean(emulate(oneBlock(384, 0, seed), [&] {
      if (threadIndex() < 128)
        gpu.set_max_registers(40, 0, "fewer");
      else
        gpu.set_max_registers(232, 1, "more");
    })));
}

} // namespace
