// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Who appears in vector clocks beside threads: mbarriers and warpgroups.
#ifndef MOHD_EMULATOR_AGENTS_H
#define MOHD_EMULATOR_AGENTS_H

#include "block.h"

namespace mohdemu {

/// The numbers of agents in a block of `threads`.
inline uint32_t warpgroupAgent(uint32_t threads, uint32_t warpgroup) { return threads + warpgroup; }
inline uint32_t mbarrierAgent(uint32_t threads, size_t mbarrier) {
  return threads + threads / kWarpgroup + static_cast<uint32_t>(mbarrier);
}
inline uint32_t agentCount(uint32_t threads) { return mbarrierAgent(threads, kMaxMbarriers); }

/// An mbarrier; its counts are in shared memory, this is what else is known of it.
struct Mbarrier {
  uint32_t offset = 0, agent = 0;
  uint32_t phases = 0; // completed
  uint64_t word = 0;   // what must be in memory
  Epoch initialised = 0;
  bool fenced = false;   // its initialisation, for the async proxy
  SnapshotRef arrivals;  // of the phase under way and all before
  SnapshotRef completed; // of phases completed
  struct Waiter {
    Thread *thread;
    uint32_t parity;
  };
  std::vector<Waiter> waiters;
};

/// The arguments of a wgmma that are equal in all threads.
struct WgmmaCall {
  uint32_t kind, n;
  uint64_t a, b;
  bool aInRegisters, aTransposed, bTransposed, accumulates;
  const char *site;
};

/// One wgmma, issued by the threads of a warpgroup one after another.
struct WgmmaOp : WgmmaCall {
  float *sums[kWarpgroup];
  const uint32_t *words[kWarpgroup];
  uint32_t copies[kWarpgroup][4]; // of words, at the issue
  std::vector<Clock> clocks;
};

/// Counts `bytes` of a transaction of `barrier` as having come.
void completeBytes(Block &block, Mbarrier &barrier, uint32_t bytes, const char *site);

/// Where tiles of 16-byte pieces lie: `mode` is MOHD_EMU_SWIZZLE_*, an offset a shared address.
inline uint32_t swizzle(uint32_t offset, uint32_t mode) {
  return offset ^ (offset >> 3 & ((1u << mode) - 1) << 4);
}

struct Warpgroup {
  uint32_t index = 0;
  std::deque<std::unique_ptr<WgmmaOp>> ops;
  std::vector<std::unique_ptr<WgmmaOp>> spare;
  uint64_t firstOp = 0;      // number of ops.front()
  std::deque<uint64_t> ends; // numbers of the operations at which groups end
  uint64_t firstGroup = 0;   // number of ends.front()
  uint32_t clock = 0;
  uint32_t waiting = 0, pending = 0;
  const char *waitSite = nullptr;
};

} // namespace mohdemu

#endif // MOHD_EMULATOR_AGENTS_H
