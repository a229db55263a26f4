// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cooperative launches: blocks that wait for each other, and what is wrong where they do not.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

/// A launch of `blocks` blocks of 64 threads with a counter and a value for each block.
struct Grid {
  explicit Grid(uint32_t blocks) : values(blocks) {
    launch = oneBlock(64, 0);
    launch.grid.x = blocks;
    launch.cooperative = true;
    launch.allocations = {allocationOf(counters, "counters", true),
                          allocationOf(values, "values", true)};
  }

  std::vector<uint32_t> counters = {0, 0}, values;
  Launch launch;
};

TEST(EmulatorGrid, BlocksSeeWhatOthersWroteBefore) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Grid grid(5);
    grid.launch.seed = seed;
    // Each block takes over its neighbour's value, five times.
    for (uint32_t i = 0; i < 5; ++i)
      grid.values[i] = i;
    EXPECT_TRUE(isClean(emulate(grid.launch, [&] {
      for (int round = 0; round < 5; ++round) {
        const uint32_t next = loadGlobal(grid.values[(blockIndex() + 1) % 5]);
        gpu.grid_sync(&grid.counters[0], "sync");
        if (threadIndex() == 63)
          storeGlobal(grid.values[blockIndex()], next);
        gpu.grid_sync(&grid.counters[0], "sync");
      }
    })));
    EXPECT_EQ(grid.values, (std::vector<uint32_t>{0, 1, 2, 3, 4}));
    EXPECT_EQ(grid.counters[0], 0u); // after an even number of times
  }
}

TEST(EmulatorGrid, OneBlock) {
  Grid grid(1);
  EXPECT_TRUE(isClean(emulate(grid.launch, [&] { gpu.grid_sync(&grid.counters[0], "sync"); })));
  EXPECT_EQ(grid.counters[0], 0x80000000u);
}

TEST(EmulatorGrid, Faults) {
  const auto with = [](uint32_t blocks, const std::function<void(Grid &)> &change,
                       const std::function<void(Grid &)> &body) {
    Grid grid(blocks);
    change(grid);
    return emulate(grid.launch, [&] { body(grid); });
  };
  const auto nothing = [](Grid &) {};
  const auto sync = [](Grid &grid) { gpu.grid_sync(&grid.counters[0], "sync"); };
  EXPECT_TRUE(finds(with(3, nothing,
                         [&](Grid &grid) {
                           if (blockIndex() != 1)
                             sync(grid);
                         }),
                    ErrorKind::Divergence, "expects all 3 blocks, got the end of"));
  EXPECT_TRUE(finds(with(
                        2, [](Grid &grid) { grid.counters[0] = 5; }, sync),
                    ErrorKind::Divergence, "expects a counter of 0 or 2147483648 before, got 5"));
  EXPECT_TRUE(finds(
      with(2, nothing, [](Grid &grid) { gpu.grid_sync(&grid.counters[blockIndex()], "sync"); }),
      ErrorKind::Divergence, "expects one counter for all blocks"));
  EXPECT_TRUE(finds(with(1, nothing, [](Grid &) { gpu.grid_sync(nullptr, "sync"); }),
                    ErrorKind::Bounds, "expects an access within an allocation"));
  EXPECT_TRUE(finds(with(
                        2, [](Grid &grid) { grid.launch.cooperative = false; }, sync),
                    ErrorKind::Argument, "expects a cooperative launch"));
  EXPECT_TRUE(finds(with(65, nothing, sync), ErrorKind::Argument,
                    "expects at most 64 blocks of a cooperative launch, got 65"));
  EXPECT_TRUE(finds(with(2, nothing,
                         [&](Grid &grid) {
                           if (threadIndex() < 32)
                             sync(grid);
                         }),
                    ErrorKind::Deadlock, "sync"));
}

} // namespace
