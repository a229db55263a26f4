// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pool. A hot fork and join costs three moves of a cache line between CPUs: the epoch that
// wakes a worker, the slot that holds the whole job, and the slot on its way back.
//
// Two flags that two threads test against each other (epoch and sleepers, a gate and its waiter)
// use sequentially consistent operations: each side writes its own, then reads the other's.
#include "thread_pool.h"

#include "float_environment.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <csignal>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mohdrt {

/// Where a run publishes its current job: one line of the cache.
struct alignas(64) Slot {
  // How many workers are inside, how many more may enter (0: the slot is closed), and whether the
  // owner sleeps until it is empty; a futex then. All else but `next` changes only while the slot
  // is closed and empty.
  static constexpr uint32_t kInside = 0xffff, kPlace = 0x10000, kOwnerSleeps = 0x80000000;
  std::atomic<uint32_t> gate{0};
  std::atomic<bool> taken{false};
  uint32_t threads = 1;
  std::atomic<int64_t> next{0}; // first task nobody has taken
  Job job;
};

namespace {

constexpr int kNumSlots = 64;
constexpr int kLongestPart = 4;   // a range is at most 1/4 of what a thread does
constexpr int kShortestPart = 64; // and at least 1/64, for the sake of tiny tasks

// Between dispatches a worker waits for a microsecond or two, between the runs of a decoding loop
// for as long as the caller needs to choose a token.
constexpr std::chrono::microseconds kPauseTime{20}; // then others may have the CPU
constexpr std::chrono::microseconds kSpinTime{200}; // then it is time to sleep
constexpr uint32_t kPausesPerLook = 32;             // at the clock

void pauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

/// Bounds a wait by the clock: the length of a pause differs tenfold between CPUs. A worker or a
/// caller whose CPU somebody else needs (more threads than CPUs, a virtual CPU taken away) yields.
class ThreadPool::SpinWait {
public:
  /// Waits a little; returns whether to go on spinning.
  bool pause() {
    pauseCpu();
    if (++pauses_ % kPausesPerLook != 0)
      return true;
    const auto now = std::chrono::steady_clock::now();
    if (pauses_ == kPausesPerLook)
      start_ = now;
    if (now - start_ >= kPauseTime)
      ::sched_yield();
    return now - start_ < kSpinTime;
  }

private:
  uint64_t pauses_ = 0;
  std::chrono::steady_clock::time_point start_;
};

namespace {

long futex(std::atomic<uint32_t> *word, int operation, uint32_t value) {
  return ::syscall(SYS_futex, reinterpret_cast<uint32_t *>(word), operation | FUTEX_PRIVATE_FLAG,
                   value, nullptr, nullptr, 0);
}

/// Returns the length of the range that begins at `begin`: long ranges first, because neighbouring
/// tasks share what they read, but none so long that heavy tasks in it could hold up the rest; then
/// what is left, over the threads, so that all end together.
int64_t rangeLength(const Slot &slot, int64_t begin) {
  const int64_t share = slot.job.grid / slot.threads;
  const int64_t left = (slot.job.grid - begin) / slot.threads;
  const int64_t shortest = std::max<int64_t>(1, share / kShortestPart);
  return std::max(shortest, std::min(share / kLongestPart, left));
}

/// Takes the next range; false when there is none.
bool takeRange(Slot &slot, int64_t *begin, int64_t *end) {
  *begin = slot.next.load(std::memory_order_relaxed);
  do {
    if (*begin >= slot.job.grid)
      return false;
    *end = std::min(*begin + rangeLength(slot, *begin), slot.job.grid);
  } while (!slot.next.compare_exchange_weak(*begin, *end, std::memory_order_relaxed));
  return true;
}

/// Lets a worker in if the slot has a place for it. With a compare-and-swap nobody is ever counted
/// who may not look at the job.
bool enter(Slot &slot) {
  uint32_t gate = slot.gate.load(std::memory_order_relaxed);
  do {
    if ((gate & ~Slot::kOwnerSleeps) < Slot::kPlace)
      return false;
  } while (!slot.gate.compare_exchange_weak(gate, gate - Slot::kPlace + 1));
  return true;
}

void leave(Slot &slot) {
  if (slot.gate.fetch_sub(1) == (Slot::kOwnerSleeps | 1))
    futex(&slot.gate, FUTEX_WAKE, 1);
}

/// Lets nobody in any more and waits for those inside.
void closeAndWait(Slot &slot) {
  uint32_t gate = slot.gate.fetch_and(Slot::kInside) & Slot::kInside;
  for (ThreadPool::SpinWait wait; gate != 0 && wait.pause();)
    gate = slot.gate.load();
  while (gate != 0) {
    // A worker is in a long task, or has lost its CPU.
    gate = slot.gate.fetch_or(Slot::kOwnerSleeps) & Slot::kInside;
    if (gate != 0)
      futex(&slot.gate, FUTEX_WAIT, gate | Slot::kOwnerSleeps);
    gate = slot.gate.load() & Slot::kInside;
  }
}

} // namespace

ThreadPool::ThreadPool() : slots_(new Slot[kNumSlots]), owner_(::getpid()) {}

std::shared_ptr<ThreadPool> ThreadPool::acquire(uint32_t threads) {
  static std::mutex mutex;
  static std::weak_ptr<ThreadPool> shared;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<ThreadPool> pool = shared.lock();
  // A forked child inherits the object but none of the threads.
  if (!pool || pool->owner_ != ::getpid()) {
    pool.reset(new ThreadPool());
    shared = pool;
  }
  pool->grow(threads);
  return pool;
}

void ThreadPool::grow(uint32_t threads) {
  std::lock_guard<std::mutex> lock(growing_);
  const size_t before = workers_.size();
  workers_.reserve(threads);
  // Signals belong to the application's threads.
  sigset_t all, previous;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &previous);
  while (workers_.size() + 1 < threads) {
    pthread_t worker;
    if (::pthread_create(&worker, nullptr, workerMain, this) != 0)
      break;
    workers_.push_back(worker);
  }
  ::pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  pinFrom(before);
  threads_.store(static_cast<int>(workers_.size()) + 1);
}

void ThreadPool::pinWorkers(std::vector<int> cpus) {
  std::lock_guard<std::mutex> lock(growing_);
  if (!cpus_.empty())
    return;
  cpus_ = std::move(cpus);
  pinFrom(0);
}

void ThreadPool::pinFrom(size_t firstWorker) {
  for (size_t i = firstWorker; i < workers_.size() && i + 1 < cpus_.size(); ++i) {
    const size_t size = CPU_ALLOC_SIZE(cpus_[i] + 1);
    cpu_set_t *set = CPU_ALLOC(cpus_[i] + 1);
    if (!set)
      return;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpus_[i], size, set);
    // May fail if the CPU has just gone: then the worker stays free.
    ::pthread_setaffinity_np(workers_[i], size, set);
    CPU_FREE(set);
  }
}

ThreadPool::~ThreadPool() {
  if (owner_ != ::getpid())
    return; // after a fork there is nobody to join
  stop_.store(true);
  epoch_.fetch_add(1);
  futex(&epoch_, FUTEX_WAKE, INT_MAX);
  for (pthread_t worker : workers_)
    ::pthread_join(worker, nullptr);
}

void *ThreadPool::workerMain(void *pool) {
  DefaultFloatEnvironment environment;
  static_cast<ThreadPool *>(pool)->work();
  return nullptr;
}

void ThreadPool::work() {
  SpinWait wait;
  while (true) {
    // Before anything is looked at, so that whatever is published later keeps us awake.
    const uint32_t seen = epoch_.load();
    if (stop_.load())
      return;
    // Jobs that leave no room for help do not keep a worker spinning.
    if (helpSomebody() || (!spinForJob(seen, wait) && sleepForJob(seen)))
      wait = SpinWait();
  }
}

/// Returns whether a job was published after `seen`; false when it is time to sleep.
bool ThreadPool::spinForJob(uint32_t seen, SpinWait &wait) {
  do {
    if (epoch_.load(std::memory_order_relaxed) != seen)
      return true;
  } while (wait.pause());
  return false;
}

/// Returns whether a caller woke the thread; false when a job had been published by then.
bool ThreadPool::sleepForJob(uint32_t seen) {
  sleepers_.fetch_add(1);
  const bool woken = epoch_.load() == seen && futex(&epoch_, FUTEX_WAIT, seen) == 0;
  sleepers_.fetch_sub(1);
  return woken;
}

bool ThreadPool::helpSomebody() {
  bool helped = false;
  const int used = slotsUsed_.load();
  for (int i = 0; i < used; ++i)
    if (slots_[i].gate.load(std::memory_order_relaxed) >= Slot::kPlace && help(slots_[i]))
      helped = true;
  return helped;
}

bool ThreadPool::help(Slot &slot) {
  // First come: as many helpers as there are threads besides the callers'.
  bool helped = false;
  if (hasRoomFor(helpers_.fetch_add(1) + 1) && enter(slot)) {
    helped = true;
    const Job job = slot.job;
    int64_t begin, end;
    // More runs may begin meanwhile: their callers need the CPUs.
    while (hasRoomFor(helpers_.load(std::memory_order_relaxed)) && takeRange(slot, &begin, &end))
      job.kernel(job.bindings, job.params, begin, end);
    leave(slot);
  }
  helpers_.fetch_sub(1);
  return helped;
}

/// Opens the slot to `helpers` workers and wakes as many sleeping ones as may help.
void ThreadPool::publish(Slot &slot, int64_t helpers) {
  slot.gate.store(static_cast<uint32_t>(helpers) * Slot::kPlace, std::memory_order_release);
  epoch_.fetch_add(1);
  if (sleepers_.load() == 0)
    return;
  const int64_t wanted = std::min<int64_t>(helpers, threads_.load() - runs_.load());
  if (wanted > 0)
    futex(&epoch_, FUTEX_WAKE, static_cast<uint32_t>(wanted));
}

Slot *ThreadPool::takeSlot() {
  for (int i = 0; i < kNumSlots; ++i) {
    if (slots_[i].taken.load(std::memory_order_relaxed) || slots_[i].taken.exchange(true))
      continue;
    int used = slotsUsed_.load();
    while (used < i + 1 && !slotsUsed_.compare_exchange_weak(used, i + 1)) {
    }
    return &slots_[i];
  }
  return nullptr;
}

ThreadPool::Lease::Lease(ThreadPool &pool, uint32_t threads)
    : pool_(pool), slot_(nullptr), threads_(threads) {
  pool_.runs_.fetch_add(1);
  // A forked child has no workers, and a slot may look as one left it that did not come along.
  if (threads > 1 && pool.owner_ == ::getpid())
    slot_ = pool_.takeSlot();
}

ThreadPool::Lease::~Lease() {
  if (slot_)
    slot_->taken.store(false);
  pool_.runs_.fetch_sub(1);
}

void ThreadPool::Lease::run(const Job &job) {
  if (job.grid <= 0)
    return;
  if (!slot_ || job.grid == 1) {
    job.kernel(job.bindings, job.params, 0, job.grid);
    return;
  }
  Slot &slot = *slot_;
  slot.job = job;
  slot.threads = threads_;
  int64_t begin = 0, end = rangeLength(slot, 0); // the caller's first range
  slot.next.store(end, std::memory_order_relaxed);
  pool_.publish(slot, std::min<int64_t>(threads_, job.grid) - 1);
  do
    job.kernel(job.bindings, job.params, begin, end);
  while (takeRange(slot, &begin, &end));
  closeAndWait(slot);
}

} // namespace mohdrt
