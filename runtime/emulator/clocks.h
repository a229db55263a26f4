// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Vector clocks: what is ordered before what. Agents are the threads of a block, its warpgroups (as
// readers of wgmma's operands) and its mbarriers (as writers of TMA loads). What an agent knows of
// all others is an immutable snapshot, which threads that met at a barrier share; beside it an agent
// has its own count, which a release closes.
#ifndef MOHD_EMULATOR_CLOCKS_H
#define MOHD_EMULATOR_CLOCKS_H

#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

namespace mohdemu {

class SnapshotPool;

/// An agent and its count, in one word; 0 is none.
using Epoch = uint32_t;
constexpr uint32_t kClockBits = 21, kMaxClock = (1u << kClockBits) - 1;
constexpr uint32_t kNoAgent = (1u << (32 - kClockBits)) - 1;
constexpr Epoch makeEpoch(uint32_t agent, uint32_t clock) { return agent << kClockBits | clock; }
constexpr uint32_t agentOf(Epoch epoch) { return epoch >> kClockBits; }
constexpr uint32_t clockOf(Epoch epoch) { return epoch & kMaxClock; }

/// Two counts for each agent: up to which its accesses are ordered before, and up to which its
/// ordinary writes have passed a proxy fence on the way.
struct Snapshot {
  uint32_t references;
  SnapshotPool *pool;
  uint32_t *seen, *fenced;
};

/// All snapshots of one block, used again. One thread of the operating system only.
class SnapshotPool {
public:
  explicit SnapshotPool(uint32_t agents) : agents_(agents) {}
  ~SnapshotPool();
  SnapshotPool(const SnapshotPool &) = delete;
  Snapshot *take();
  void giveBack(Snapshot *snapshot) { free_.push_back(snapshot); }
  uint32_t agents() const { return agents_; }

private:
  uint32_t agents_;
  std::vector<Snapshot *> all_, free_;
};

/// Counts its references.
class SnapshotRef {
public:
  SnapshotRef() = default;
  explicit SnapshotRef(Snapshot *snapshot) : snapshot_(snapshot) { retain(); }
  SnapshotRef(const SnapshotRef &other) : snapshot_(other.snapshot_) { retain(); }
  SnapshotRef(SnapshotRef &&other) noexcept : snapshot_(std::exchange(other.snapshot_, nullptr)) {}
  SnapshotRef &operator=(SnapshotRef other) {
    std::swap(snapshot_, other.snapshot_);
    return *this;
  }
  ~SnapshotRef() {
    if (snapshot_ && --snapshot_->references == 0)
      snapshot_->pool->giveBack(snapshot_);
  }
  Snapshot *operator->() const { return snapshot_; }
  explicit operator bool() const { return snapshot_; }
  uintptr_t number() const { return reinterpret_cast<uintptr_t>(snapshot_); }
  bool operator==(const SnapshotRef &other) const { return snapshot_ == other.snapshot_; }
  bool isShared() const { return snapshot_->references > 1; }

private:
  void retain() {
    if (snapshot_)
      ++snapshot_->references;
  }
  Snapshot *snapshot_ = nullptr;
};

/// What an agent knows at one moment.
struct Clock {
  SnapshotRef base;
  uint32_t agent = kNoAgent;
  uint32_t now = 0, fenced = 0; // of the agent itself; `base` may be behind

  /// Whether `epoch` is ordered before this moment.
  bool covers(Epoch epoch) const {
    uint32_t who = agentOf(epoch);
    return clockOf(epoch) <= (who == agent ? now : base->seen[who]);
  }
  /// Whether the write `epoch` is, with a proxy fence in between.
  bool coversFenced(Epoch epoch) const {
    uint32_t who = agentOf(epoch);
    return clockOf(epoch) <= (who == agent ? fenced : base->fenced[who]);
  }
};

/// A thread's clock, which runs.
struct RunningClock : Clock {
  bool closed = false; // the next access needs a new count

  uint32_t touch() {
    if (closed && now < kMaxClock)
      ++now;
    closed = false;
    return now;
  }
  /// This moment; later accesses of the thread come after it.
  const Clock &close() {
    closed = true;
    return *this;
  }
};

/// Joins snapshots and remembers results, as many threads do the same one after another: then they
/// share one snapshot, and what follows is cheap again.
class ClockJoiner {
public:
  explicit ClockJoiner(SnapshotPool &pool) : pool_(pool) {}

  /// All of both.
  SnapshotRef join(const SnapshotRef &a, const SnapshotRef &b);
  /// `base` and that `agent` is known up to `clock`.
  SnapshotRef withAgent(const SnapshotRef &base, uint32_t agent, uint32_t clock);
  /// `base` with everything known behind a proxy fence.
  SnapshotRef fence(const SnapshotRef &base);
  /// All of all, the clocks' own counts included.
  SnapshotRef joinAll(const std::vector<Clock> &clocks);
  /// What all of them know.
  Clock meetAll(const std::vector<Clock> &clocks);
  /// Adds a clock to `sum`, which is copied first if somebody else holds it.
  void add(SnapshotRef &sum, const Clock &clock);
  SnapshotRef copy(const SnapshotRef &base);
  SnapshotRef zero();

private:
  struct Memo {
    SnapshotRef a, b, result;
    uint32_t agent = kNoAgent, clock = 0;
  };
  template <typename Compute>
  SnapshotRef remember(const SnapshotRef &a, const SnapshotRef &b, uint32_t agent, uint32_t clock,
                       Compute compute);

  SnapshotPool &pool_;
  static constexpr size_t kMemos = 256; // a power of 2
  std::vector<Memo> memos_{kMemos};
};

} // namespace mohdemu

#endif // MOHD_EMULATOR_CLOCKS_H
