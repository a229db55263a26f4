// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ordinary accesses, atomics and fences; cp.async, whose data moves at the wait.
#include "agents.h"
#include "operations_impl.h"

#include <algorithm>
#include <cstring>

namespace mohdemu {

uint32_t Block::sharedOffset(const void *address, uint32_t bytes, uint32_t alignment,
                             const char *what, const char *site) {
  const uintptr_t base = reinterpret_cast<uintptr_t>(arena.window);
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  if (at < base || at >= base + kWindowBytes)
    fail(ErrorKind::Bounds, site,
         text("expects an address in shared memory, got ", what, " at ", address));
  const uint32_t offset = static_cast<uint32_t>(at - base);
  if (offset > sharedBytes || bytes > sharedBytes - offset)
    fail(ErrorKind::Bounds, site,
         text("expects an access within ", sharedBytes, " shared bytes, got ", what, " of ", bytes,
              " bytes at shared offset ", offset));
  if (offset % alignment != 0)
    fail(ErrorKind::Misaligned, site,
         text("expects a multiple of ", alignment, ", got ", what, " at shared offset ", offset));
  return offset;
}

void Block::checkGlobal(const void *address, uint64_t bytes, uint32_t alignment, bool writes,
                        const char *what, const char *site) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  const auto contains = [&](const Allocation &allocation) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(allocation.address);
    return at >= begin && at - begin <= allocation.bytes &&
           bytes <= allocation.bytes - (at - begin);
  };
  if (lastAllocation_ >= allocations_.size() || !contains(allocations_[lastAllocation_])) {
    auto after = std::upper_bound(allocations_.begin(), allocations_.end(), at,
                                  [](uintptr_t value, const Allocation &allocation) {
                                    return value < reinterpret_cast<uintptr_t>(allocation.address);
                                  });
    if (after == allocations_.begin())
      fail(ErrorKind::Bounds, site,
           text("expects an access within an allocation, got ", what, " of ", bytes, " bytes at ",
                address));
    const Allocation &nearest = *--after;
    if (!contains(nearest))
      fail(ErrorKind::Bounds, site,
           text("expects an access within an allocation, got ", what, " of ", bytes,
                " bytes at offset ", at - reinterpret_cast<uintptr_t>(nearest.address), " of '",
                nearest.name, "', which has ", nearest.bytes, " bytes"));
    lastAllocation_ = static_cast<size_t>(after - allocations_.begin());
  }
  const Allocation &allocation = allocations_[lastAllocation_];
  if (at % alignment != 0)
    fail(ErrorKind::Misaligned, site,
         text("expects an address that is a multiple of ", alignment, ", got ", what, " at ",
              address, ", offset ", at - reinterpret_cast<uintptr_t>(allocation.address), " of '",
              allocation.name, "'"));
  if (writes && !allocation.writable)
    fail(ErrorKind::ReadOnly, site,
         text("expects a writable allocation, got ", what, " to '", allocation.name, "'"));
}

void Block::readShared(uint32_t offset, uint32_t bytes, const char *what, const char *site) {
  RunningClock &clock = current_->clock;
  const uint32_t now = clock.touch();
  const Access access{&clock, makeEpoch(clock.agent, now), siteNumber(site), false};
  reportConflict(arena.shadow.read(offset, bytes, access), access, what, site);
}

void Block::writeShared(uint32_t offset, uint32_t bytes, const char *what, const char *site,
                        bool atomic) {
  RunningClock &clock = current_->clock;
  const uint32_t now = clock.touch();
  const Access access{&clock, makeEpoch(clock.agent, now), siteNumber(site), false, atomic};
  reportConflict(arena.shadow.write(offset, bytes, access), access, what, site);
}

/// Does the oldest `count` copies of the current thread.
void Block::finishCopies(size_t count) {
  Thread &thread = *current_;
  for (size_t i = 0; i < count; ++i) {
    const AsyncCopy &copy = thread.copies.items[i];
    uint8_t *to = arena.window + copy.to;
    if (copy.sourceBytes)
      std::memcpy(to, copy.from, copy.sourceBytes);
    std::memset(to + copy.sourceBytes, 0, copy.bytes - copy.sourceBytes);
    const uint32_t now = thread.clock.touch();
    const Access access{&copy.clock, makeEpoch(thread.index, now), siteNumber(copy.site), false};
    reportConflict(arena.shadow.write(copy.to, copy.bytes, access), access, "cp.async", copy.site);
  }
}

namespace {

constexpr uint32_t kCallsInTurn = 4096; // then others run: whoever spins must not stop the block

void checkAccess(const void *address, uint32_t bytes, uint32_t space, bool writes,
                 const char *site) {
  Block &block = currentBlock();
  const bool isVector = bytes > 16 && bytes % 16 == 0;
  if (!isVector && (bytes == 0 || bytes > 16 || (bytes & (bytes - 1))))
    block.fail(ErrorKind::Argument, site,
               text("expects an access of 1, 2, 4, 8 or 16 bytes, got ", bytes));
  const uint32_t alignment = isVector ? 16 : bytes;
  const char *what = writes ? "write" : "read";
  if (space == MOHD_EMU_GLOBAL) {
    block.checkGlobal(address, bytes, alignment, writes, what, site);
  } else {
    const uint32_t offset = block.sharedOffset(address, bytes, alignment, what, site);
    if (writes)
      block.writeShared(offset, bytes, what, site);
    else
      block.readShared(offset, bytes, what, site);
  }
  if (++block.current().calls % kCallsInTurn == 0)
    block.yield(kCallsInTurn, site);
}

uint32_t combine(uint32_t operation, uint32_t old, uint32_t value) {
  switch (operation) {
  case MOHD_EMU_ADD:
    return old + value;
  case MOHD_EMU_MIN:
    return std::min(old, value);
  case MOHD_EMU_MAX:
    return std::max(old, value);
  case MOHD_EMU_AND:
    return old & value;
  case MOHD_EMU_OR:
    return old | value;
  default:
    return value;
  }
}

} // namespace

namespace ops {

void check_load(const void *address, uint32_t bytes, uint32_t space, const char *site) {
  checkAccess(address, bytes, space, false, site);
}

void check_store(void *address, uint32_t bytes, uint32_t space, const char *site) {
  checkAccess(address, bytes, space, true, site);
}

uint32_t atomic(uint32_t operation, void *address, uint32_t value, uint32_t space,
                const char *site) {
  Block &block = currentBlock();
  if (operation > MOHD_EMU_EXCHANGE)
    block.fail(ErrorKind::Argument, site, text("expects an atomic operation, got ", operation));
  if (space == MOHD_EMU_GLOBAL) {
    block.checkGlobal(address, 4, 4, true, "atomic", site);
  } else {
    const uint32_t offset = block.sharedOffset(address, 4, 4, "atomic", site);
    block.writeShared(offset, 4, "atomic", site, /*atomic=*/true);
  }
  // Other blocks may run on other threads of the operating system.
  uint32_t *word = static_cast<uint32_t *>(address);
  uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(word, &old, combine(operation, old, value), false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    ;
  block.yield(1, site);
  return old;
}

void fence(uint32_t kind, const char *site) {
  Block &block = currentBlock();
  Thread &thread = block.current();
  if (kind > MOHD_EMU_FENCE_MBARRIER_INIT)
    block.fail(ErrorKind::Argument, site, text("expects a kind of fence, got ", kind));
  if (kind == MOHD_EMU_FENCE_BLOCK || kind == MOHD_EMU_FENCE_DEVICE)
    return; // what is ordered by flags in memory is not followed
  for (const std::unique_ptr<Mbarrier> &barrier : block.mbarriers)
    if (agentOf(barrier->initialised) == thread.index)
      barrier->fenced = true;
  if (kind == MOHD_EMU_FENCE_PROXY_ASYNC) {
    thread.clock.base = block.joiner.fence(thread.clock.base);
    thread.clock.fenced = thread.clock.now;
    thread.clock.close();
  }
}

void copy_async(void *to, const void *from, uint32_t bytes, uint32_t source_bytes,
                const char *site) {
  Block &block = currentBlock();
  if ((bytes != 4 && bytes != 8 && bytes != 16) || source_bytes > bytes)
    block.fail(
        ErrorKind::Argument, site,
        text("expects 4, 8 or 16 bytes and no more to read, got ", bytes, " and ", source_bytes));
  const uint32_t offset = block.sharedOffset(to, bytes, bytes, "cp.async", site);
  if (source_bytes)
    block.checkGlobal(from, source_bytes, bytes, false, "cp.async", site);
  Thread &thread = block.current();
  thread.copies.items.push_back({offset, static_cast<const uint8_t *>(from), bytes, source_bytes,
                                 thread.clock.close(), site});
}

void copy_async_commit(const char *site) { currentBlock().current().copies.commit(); }

void copy_async_wait(uint32_t pending, const char *site) {
  Block &block = currentBlock();
  Groups<AsyncCopy> &copies = block.current().copies;
  block.finishCopies(copies.due(pending));
  copies.drop(pending);
}

void *shared_base(void) { return currentBlock().arena.window; }

} // namespace ops

} // namespace mohdemu
