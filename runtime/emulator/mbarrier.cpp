// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Barriers in shared memory. The object is 64 bits: arrivals pending, arrivals expected in a phase,
// bytes of transactions still to come, parity of the phase under way.
#include "agents.h"
#include "operations_impl.h"

#include <algorithm>
#include <cstring>

namespace mohdemu {

namespace {

constexpr int32_t kMaxCount = (1 << 20) - 1; // of arrivals and of bytes

struct Counts {
  uint32_t pending, expected;
  int32_t bytes;
  uint32_t parity;

  explicit Counts(uint64_t word)
      : pending(word & kMaxCount), expected(word >> 20 & kMaxCount),
        bytes(static_cast<int32_t>(static_cast<int64_t>(word << 2) >> 42)),
        parity(static_cast<uint32_t>(word >> 63)) {}
  uint64_t word() const {
    return uint64_t(pending) | uint64_t(expected) << 20 |
           (uint64_t(static_cast<uint32_t>(bytes)) & 0x3fffff) << 40 | uint64_t(parity) << 63;
  }
};

void store(Block &block, Mbarrier &barrier, const Counts &counts) {
  barrier.word = counts.word();
  std::memcpy(block.arena.window + barrier.offset, &barrier.word, 8);
}

/// Ends the phase if nothing is missing any more.
void update(Block &block, Mbarrier &barrier, Counts counts) {
  const bool isDone = counts.pending == 0 && counts.bytes == 0;
  if (isDone) {
    counts.pending = counts.expected;
    counts.parity ^= 1;
  }
  store(block, barrier, counts);
  if (isDone)
    block.completePhase(barrier);
}

void arrive(Block &block, Mbarrier &barrier, uint32_t bytes, const char *site) {
  Counts counts(barrier.word);
  if (counts.pending == 0)
    block.fail(ErrorKind::Mbarrier, site,
               text("expects ", counts.expected,
                    " arrivals in a phase of the mbarrier at shared "
                    "offset ",
                    barrier.offset, ", got one more"));
  if (counts.bytes + static_cast<int64_t>(bytes) > kMaxCount)
    block.fail(ErrorKind::Transaction, site,
               text("expects at most ", kMaxCount, " bytes to come, got ",
                    counts.bytes + static_cast<int64_t>(bytes)));
  block.joiner.add(barrier.arrivals, block.current().clock.close());
  counts.bytes += static_cast<int32_t>(bytes);
  --counts.pending;
  update(block, barrier, counts);
  if (block.isRandom() && block.random() % 4 == 0)
    block.yield();
}

void acquire(Block &block, Thread &thread, const Mbarrier &barrier) {
  thread.clock.base = block.joiner.join(thread.clock.base, barrier.completed);
}

} // namespace

Mbarrier &Block::findMbarrier(const void *address, const char *site) {
  const uint32_t offset = sharedOffset(address, 8, 8, "mbarrier", site);
  for (const std::unique_ptr<Mbarrier> &barrier : mbarriers) {
    if (barrier->offset != offset)
      continue;
    uint64_t word;
    std::memcpy(&word, arena.window + offset, 8);
    if (word != barrier->word)
      fail(ErrorKind::Mbarrier, site,
           text("expects the mbarrier at shared offset ", offset, " to be left alone, got bits 0x",
                std::hex, word, " instead of 0x", barrier->word));
    if (!current_->clock.covers(barrier->initialised))
      report(ErrorKind::Race, site,
             text("expects an order after the initialisation of the mbarrier at shared offset ",
                  offset, " by thread ", threadName(agentOf(barrier->initialised)), ", got none"));
    return *barrier;
  }
  fail(ErrorKind::Mbarrier, site,
       text("expects an mbarrier that was initialised, got shared offset ", offset));
}

void Block::completePhase(Mbarrier &barrier) {
  ++barrier.phases;
  if (barrier.arrivals.isShared())
    barrier.arrivals = joiner.copy(barrier.arrivals);
  barrier.arrivals->seen[barrier.agent] = barrier.phases;
  barrier.completed = barrier.arrivals;
  const uint32_t parity = barrier.phases & 1;
  std::vector<Mbarrier::Waiter> rest;
  for (const Mbarrier::Waiter &waiter : barrier.waiters) {
    if (waiter.parity == parity) {
      rest.push_back(waiter);
      continue;
    }
    acquire(*this, *waiter.thread, barrier);
    wake(*waiter.thread);
  }
  barrier.waiters.swap(rest);
}

/// Counts `bytes` as having come.
void completeBytes(Block &block, Mbarrier &barrier, uint32_t bytes, const char *site) {
  Counts counts(barrier.word);
  if (counts.bytes - static_cast<int64_t>(bytes) < -kMaxCount)
    block.fail(ErrorKind::Transaction, site,
               text("expects at least ", -kMaxCount, " bytes to come, got ",
                    counts.bytes - static_cast<int64_t>(bytes)));
  counts.bytes -= static_cast<int32_t>(bytes);
  update(block, barrier, counts);
}

namespace ops {

void mbarrier_init(void *address, uint32_t count, const char *site) {
  Block &block = currentBlock();
  const uint32_t offset = block.sharedOffset(address, 8, 8, "mbarrier_init", site);
  if (count == 0 || count > static_cast<uint32_t>(kMaxCount))
    block.fail(ErrorKind::Mbarrier, site,
               text("expects a count of 1 to ", kMaxCount, ", got ", count));
  for (const std::unique_ptr<Mbarrier> &other : block.mbarriers)
    if (other->offset == offset)
      block.fail(
          ErrorKind::Mbarrier, site,
          text("expects an mbarrier to be initialised once, got shared offset ", offset, " again"));
  if (block.mbarriers.size() == kMaxMbarriers)
    block.fail(ErrorKind::Mbarrier, site, text("expects at most ", kMaxMbarriers, " mbarriers"));
  Thread &thread = block.current();
  block.writeShared(offset, 8, "mbarrier_init", site);
  auto barrier = std::make_unique<Mbarrier>();
  barrier->offset = offset;
  barrier->agent = mbarrierAgent(block.threadCount, block.mbarriers.size());
  barrier->initialised = makeEpoch(thread.index, thread.clock.touch());
  barrier->arrivals = block.joiner.zero();
  barrier->completed = barrier->arrivals;
  Counts counts(0);
  counts.pending = counts.expected = count;
  store(block, *barrier, counts);
  const Access access{&thread.clock, barrier->initialised, block.siteNumber(site), false};
  block.arena.shadow.markMbarrier(offset, access);
  block.mbarriers.push_back(std::move(barrier));
}

void mbarrier_arrive(void *barrier, const char *site) {
  Block &block = currentBlock();
  arrive(block, block.findMbarrier(barrier, site), 0, site);
}

void mbarrier_expect(void *barrier, uint32_t bytes, const char *site) {
  Block &block = currentBlock();
  if (bytes > static_cast<uint32_t>(kMaxCount))
    block.fail(ErrorKind::Transaction, site,
               text("expects at most ", kMaxCount, " bytes to come, got ", bytes));
  arrive(block, block.findMbarrier(barrier, site), bytes, site);
}

void mbarrier_wait(void *address, uint32_t parity, const char *site) {
  Block &block = currentBlock();
  if (parity > 1)
    block.fail(ErrorKind::Argument, site, text("expects parity 0 or 1, got ", parity));
  Mbarrier &barrier = block.findMbarrier(address, site);
  Thread &thread = block.current();
  if (Counts(barrier.word).parity != parity) { // the phase of that parity is over
    acquire(block, thread, barrier);
    if (block.isRandom() && block.random() % 4 == 0)
      block.yield();
    return;
  }
  barrier.waiters.push_back({&thread, parity});
  block.suspend({Op::MbarrierWait, barrier.offset, parity, site});
}

} // namespace ops

} // namespace mohdemu
