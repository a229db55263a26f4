// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// cp.async, mbarriers and TMA against plain loops.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

TEST(EmulatorCopyAsync, DataComesAtTheWaitOfItsGroup) {
  std::vector<uint32_t> source(64);
  for (uint32_t i = 0; i < 64; ++i)
    source[i] = i + 1;
  Launch launch = oneBlock(1, 256);
  launch.allocations = {allocationOf(source, "source")};
  EXPECT_TRUE(isClean(emulate(launch, [&] {
    for (uint32_t group = 0; group < 3; ++group) {
      gpu.copy_async(shared(group * 64), &source[group * 4], 16, 16, "a");
      gpu.copy_async(shared(group * 64 + 16), &source[group * 4 + 32], 8, 4, "b");
      gpu.copy_async(shared(group * 64 + 24), &source[0], 4, 0, "c");
      gpu.copy_async_commit("commit");
    }
    gpu.copy_async_wait(3, "nothing is due");
    EXPECT_EQ(*shared<uint32_t>(0), 0xffffffffu);
    gpu.copy_async_wait(1, "two are due");
    EXPECT_EQ(*shared<uint32_t>(128), 0xffffffffu);
    source[8] = 77; // read at the wait too
    gpu.copy_async_wait(0, "all");
    for (uint32_t group = 0; group < 3; ++group) {
      const uint32_t first = group == 2 ? 77 : group * 4 + 1;
      EXPECT_EQ(loadShared<uint32_t>(group * 64), first);
      EXPECT_EQ(loadShared<uint32_t>(group * 64 + 12), group * 4 + 4);
      EXPECT_EQ(loadShared<uint32_t>(group * 64 + 16), group * 4 + 33);
      EXPECT_EQ(loadShared<uint32_t>(group * 64 + 20), 0u); // past source_bytes
      EXPECT_EQ(loadShared<uint32_t>(group * 64 + 24), 0u);
    }
  })));
}

TEST(EmulatorMbarrier, PhasesOrderProducersAndConsumer) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint32_t sum = 0;
    EXPECT_TRUE(isClean(emulate(oneBlock(64, 256, seed), [&] {
      const uint32_t t = threadIndex();
      void *full = shared(0), *empty = shared(8);
      if (t == 0) {
        gpu.mbarrier_init(full, 32, "full");
        gpu.mbarrier_init(empty, 1, "empty");
      }
      syncBlock();
      for (uint32_t round = 0; round < 7; ++round) {
        if (t < 32) {
          gpu.mbarrier_wait(empty, (round + 1) % 2, "wait for empty"); // passes at once in round 0
          storeShared(64 + t * 4, round + t);
          gpu.mbarrier_arrive(full, "arrive");
        } else if (t == 32) {
          gpu.mbarrier_wait(full, round % 2, "wait for full");
          for (uint32_t i = 0; i < 32; ++i)
            sum += loadShared<uint32_t>(64 + i * 4);
          gpu.mbarrier_arrive(empty, "release");
        }
      }
    })));
    EXPECT_EQ(sum, 7u * 31 * 16 + 21 * 32);
  }
}

TEST(EmulatorMbarrier, TheObjectCountsArrivalsBytesAndPhase) {
  std::vector<uint8_t> source(128, 9);
  const mohd_emu_tensor_map map = mapOf(source.data(), 1, {128}, {128});
  Launch launch = oneBlock(1, 256);
  launch.allocations = {allocationOf(source, "source")};
  EXPECT_TRUE(isClean(emulate(launch, [&] {
    const auto word = [] { return *shared<uint64_t>(128); };
    gpu.mbarrier_init(shared(128), 2, "init");
    gpu.fence(MOHD_EMU_FENCE_MBARRIER_INIT, "fence");
    EXPECT_EQ(word(), 2u | 2u << 20);
    gpu.mbarrier_expect(shared(128), 128, "expect");
    EXPECT_EQ(word(), 1u | 2u << 20 | uint64_t(128) << 40);
    gpu.mbarrier_arrive(shared(128), "arrive");
    EXPECT_EQ(word(), 0u | 2u << 20 | uint64_t(128) << 40);
    gpu.tma_load(shared(0), &map, shared(128), 1, 0, 0, 0, 0, 0, "load");
    gpu.mbarrier_wait(shared(128), 0, "wait");
    EXPECT_EQ(word(), 2u | 2u << 20 | uint64_t(1) << 63);
    EXPECT_EQ(loadShared<uint8_t>(127), 9);
  })));
}

/// The shared offset of a byte of a tile: rows of `rowBytes`; what the swizzles move are pieces of 16
/// bytes within lines of 128, by the number of the line, written as a table of each.
uint32_t placeOf(uint32_t row, uint32_t byte, uint32_t rowBytes, uint32_t swizzle) {
  const uint32_t at = row * rowBytes + byte, line = at / 128, piece = at % 128 / 16;
  static const uint32_t flips[4][8] = {{0, 0, 0, 0, 0, 0, 0, 0},
                                       {0, 1, 0, 1, 0, 1, 0, 1},
                                       {0, 1, 2, 3, 0, 1, 2, 3},
                                       {0, 1, 2, 3, 4, 5, 6, 7}};
  return line * 128 + (piece ^ flips[swizzle][line % 8]) * 16 + at % 16;
}

TEST(EmulatorTma, SwizzledTilesAreFilledWithZerosOutsideTheTensor) {
  const uint32_t width = 80, height = 20;
  std::vector<uint16_t> source(width * height);
  for (size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<uint16_t>(i + 1);
  for (uint8_t swizzle : {0, 1, 2, 3})
    for (int32_t x : {-3, 0, 30, 75})
      for (int32_t y : {-5, 0, 12}) {
        const uint16_t columns = static_cast<uint16_t>(swizzle ? 8 << swizzle : 40);
        const mohd_emu_tensor_map map =
            mapOf(source.data(), 2, {width, height}, {columns, 16}, swizzle);
        Launch launch = oneBlock(32, 8192, swizzle);
        launch.allocations = {allocationOf(source, "source")};
        EXPECT_TRUE(isClean(emulate(launch, [&] {
          if (threadIndex() == 0) {
            gpu.mbarrier_init(shared(4096), 1, "init");
            gpu.fence(MOHD_EMU_FENCE_MBARRIER_INIT, "fence");
            gpu.mbarrier_expect(shared(4096), columns * 32u, "expect");
            gpu.tma_load(shared(1024), &map, shared(4096), 2, x, y, 0, 0, 0, "load");
          }
          syncBlock();
          gpu.mbarrier_wait(shared(4096), 0, "wait");
          if (threadIndex() != 7)
            return;
          for (int32_t r = 0; r < 16; ++r)
            for (int32_t c = 0; c < columns; ++c) {
              const bool inside =
                  y + r >= 0 && y + r < int32_t(height) && x + c >= 0 && x + c < int32_t(width);
              const uint32_t place = placeOf(static_cast<uint32_t>(r), static_cast<uint32_t>(c) * 2,
                                             columns * 2u, swizzle);
              ASSERT_EQ(loadShared<uint16_t>(1024 + place),
                        inside ? source[static_cast<size_t>((y + r) * int32_t(width) + x + c)] : 0);
            }
        })));
      }
}

// Rank 1 to 5: a store brings back what a load brought, clipped at the tensor's ends.
TEST(EmulatorTma, LoadsAndStoresOfEveryRankClip) {
  const std::vector<uint32_t> extents = {20, 3, 4, 3, 2};
  const std::vector<uint16_t> box = {16, 2, 3, 2, 2};
  for (uint32_t rank = 1; rank <= 5; ++rank) {
    const std::vector<uint32_t> e(extents.begin(), extents.begin() + rank);
    uint32_t count = 1, tile = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      count *= e[i];
      tile *= box[i];
    }
    std::vector<float> from(count), to(count, -1);
    for (uint32_t i = 0; i < count; ++i)
      from[i] = static_cast<float>(i);
    const mohd_emu_tensor_map in = mapOf(from.data(), 4, e, box), out = mapOf(to.data(), 4, e, box);
    const int32_t at[5] = {8, 2, 2, -1, 1};
    Launch launch = oneBlock(1, 32768);
    launch.allocations = {allocationOf(from, "from"), allocationOf(to, "to", true)};
    EXPECT_TRUE(isClean(emulate(launch, [&] {
      gpu.mbarrier_init(shared(0), 1, "init");
      gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence");
      gpu.mbarrier_expect(shared(0), tile * 4, "expect");
      gpu.tma_load(shared(128), &in, shared(0), rank, at[0], at[1], at[2], at[3], at[4], "load");
      gpu.mbarrier_wait(shared(0), 0, "wait");
      gpu.tma_store(&out, shared(128), rank, at[0], at[1], at[2], at[3], at[4], "store");
      gpu.tma_store_commit("commit");
      gpu.tma_store_wait(0, 1, "read");
      EXPECT_EQ(std::count(to.begin(), to.end(), -1.0f), count); // only read yet
      gpu.tma_store_wait(0, 0, "written");
    })));
    for (uint32_t i = 0; i < count; ++i) {
      bool inside = true;
      uint32_t rest = i;
      for (uint32_t d = 0; d < rank; ++d) {
        const int32_t c = static_cast<int32_t>(rest % e[d]);
        rest /= e[d];
        inside &= c >= at[d] && c < at[d] + box[d];
      }
      ASSERT_EQ(to[i], inside ? from[i] : -1.0f) << "rank " << rank << " element " << i;
    }
  }
}

} // namespace
