// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Joins and meets of vector clocks.
#include "clocks.h"

#include <algorithm>

namespace mohdemu {

namespace {

void maximize(Snapshot &to, const Snapshot &from, uint32_t agents) {
  for (uint32_t i = 0; i < agents; ++i)
    to.seen[i] = std::max(to.seen[i], from.seen[i]);
  for (uint32_t i = 0; i < agents; ++i)
    to.fenced[i] = std::max(to.fenced[i], from.fenced[i]);
}

void minimize(Snapshot &to, const Snapshot &from, uint32_t agents) {
  for (uint32_t i = 0; i < agents; ++i)
    to.seen[i] = std::min(to.seen[i], from.seen[i]);
  for (uint32_t i = 0; i < agents; ++i)
    to.fenced[i] = std::min(to.fenced[i], from.fenced[i]);
}

void addOwn(Snapshot &to, const Clock &clock) {
  if (clock.agent == kNoAgent)
    return;
  to.seen[clock.agent] = std::max(to.seen[clock.agent], clock.now);
  to.fenced[clock.agent] = std::max(to.fenced[clock.agent], clock.fenced);
}

} // namespace

SnapshotPool::~SnapshotPool() {
  for (Snapshot *snapshot : all_)
    std::free(snapshot);
}

Snapshot *SnapshotPool::take() {
  if (free_.empty()) {
    void *memory = std::malloc(sizeof(Snapshot) + size_t(2) * agents_ * sizeof(uint32_t));
    Snapshot *snapshot = static_cast<Snapshot *>(memory);
    snapshot->references = 0;
    snapshot->pool = this;
    snapshot->seen = reinterpret_cast<uint32_t *>(snapshot + 1);
    snapshot->fenced = snapshot->seen + agents_;
    all_.push_back(snapshot);
    free_.push_back(snapshot);
  }
  Snapshot *snapshot = free_.back();
  free_.pop_back();
  return snapshot;
}

SnapshotRef ClockJoiner::zero() {
  SnapshotRef result(pool_.take());
  std::fill_n(result->seen, size_t(2) * pool_.agents(), 0u);
  return result;
}

SnapshotRef ClockJoiner::copy(const SnapshotRef &base) {
  SnapshotRef result(pool_.take());
  std::copy_n(base->seen, size_t(2) * pool_.agents(), result->seen);
  return result;
}

template <typename Compute>
SnapshotRef ClockJoiner::remember(const SnapshotRef &a, const SnapshotRef &b, uint32_t agent,
                                  uint32_t clock, Compute compute) {
  const uint64_t key = a.number() * 0x9e3779b97f4a7c15 ^ b.number() * 0xc2b2ae3d27d4eb4f ^
                       (uint64_t(agent) << 32 | clock) * 0xff51afd7ed558ccd;
  Memo &memo = memos_[(key >> 40) & (kMemos - 1)];
  if (memo.a == a && memo.b == b && memo.agent == agent && memo.clock == clock && memo.result)
    return memo.result;
  memo = Memo();
  memo = {a, b, compute(), agent, clock};
  return memo.result;
}

SnapshotRef ClockJoiner::join(const SnapshotRef &a, const SnapshotRef &b) {
  if (a == b)
    return a;
  return remember(a, b, kNoAgent, 0, [&] {
    SnapshotRef result = copy(a);
    maximize(*result.operator->(), *b.operator->(), pool_.agents());
    return result;
  });
}

SnapshotRef ClockJoiner::withAgent(const SnapshotRef &base, uint32_t agent, uint32_t clock) {
  return remember(base, SnapshotRef(), agent, clock, [&] {
    SnapshotRef result = copy(base);
    result->seen[agent] = std::max(result->seen[agent], clock);
    return result;
  });
}

SnapshotRef ClockJoiner::fence(const SnapshotRef &base) {
  return remember(base, SnapshotRef(), kNoAgent, 1, [&] {
    SnapshotRef result = copy(base);
    std::copy_n(result->seen, pool_.agents(), result->fenced);
    return result;
  });
}

void ClockJoiner::add(SnapshotRef &sum, const Clock &clock) {
  if (sum.isShared())
    sum = copy(sum);
  maximize(*sum.operator->(), *clock.base.operator->(), pool_.agents());
  addOwn(*sum.operator->(), clock);
}

SnapshotRef ClockJoiner::joinAll(const std::vector<Clock> &clocks) {
  SnapshotRef result = copy(clocks.front().base);
  const SnapshotRef *last = &clocks.front().base;
  for (const Clock &clock : clocks) {
    if (!(clock.base == *last))
      maximize(*result.operator->(), *clock.base.operator->(), pool_.agents());
    last = &clock.base;
    addOwn(*result.operator->(), clock);
  }
  return result;
}

Clock ClockJoiner::meetAll(const std::vector<Clock> &clocks) {
  const SnapshotRef &first = clocks.front().base;
  if (std::all_of(clocks.begin(), clocks.end(),
                  [&](const Clock &clock) { return clock.base == first; }))
    return {first, kNoAgent, 0, 0};
  SnapshotRef result(pool_.take());
  std::fill_n(result->seen, size_t(2) * pool_.agents(), UINT32_MAX);
  for (size_t i = 0; i < clocks.size(); ++i) {
    const Clock &clock = clocks[i];
    const bool repeats = i + 1 < clocks.size() && clocks[i + 1].base == clock.base;
    if (repeats && i > 0 && clocks[i - 1].base == clock.base)
      continue;                         // neighbours speak for it
    SnapshotRef own = copy(clock.base); // what it knows of itself is in its own counts
    addOwn(*own.operator->(), clock);
    minimize(*result.operator->(), *own.operator->(), pool_.agents());
  }
  return {result, kNoAgent, 0, 0};
}

} // namespace mohdemu
