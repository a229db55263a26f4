// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pool. All flags that two threads test against each other (open and active, epoch and
// sleepers) use sequentially consistent operations: each side writes its own, then reads the
// other's.
#include "thread_pool.h"

#include <algorithm>
#include <climits>
#include <csignal>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mohdrt {

/// Where a run publishes its current job. `job`, `chunk` and `maxHelpers` change only while the
/// slot is closed and nobody is inside.
struct alignas(64) Slot {
  std::atomic<bool> taken{false};
  std::atomic<bool> open{false};
  std::atomic<int> inside{0}; // workers that may look at the job
  Job job;
  int64_t chunk = 1;
  int maxHelpers = 0;
  alignas(64) std::atomic<int64_t> next{0}; // first task nobody has taken
};

namespace {

constexpr int kNumSlots = 64;
constexpr int kChunksPerThread = 4;
constexpr int kSpinsBeforeSleep = 4000; // some 50 microseconds
constexpr int kSpinsBeforeYield = 1000;

void pauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

long futex(std::atomic<uint32_t> *word, int operation, uint32_t value) {
  return ::syscall(SYS_futex, reinterpret_cast<uint32_t *>(word), operation | FUTEX_PRIVATE_FLAG,
                   value, nullptr, nullptr, 0);
}

void doTasks(Slot &slot) {
  const Job &job = slot.job;
  while (true) {
    const int64_t begin = slot.next.fetch_add(slot.chunk, std::memory_order_relaxed);
    if (begin >= job.grid)
      return;
    job.kernel(job.bindings, job.params, begin, std::min(begin + slot.chunk, job.grid));
  }
}

void waitUntilEmpty(Slot &slot) {
  for (int spins = 0; slot.inside.load() != 0; ++spins) {
    if (spins < kSpinsBeforeYield)
      pauseCpu();
    else
      ::sched_yield();
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
  threads_.store(static_cast<int>(workers_.size()) + 1);
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
  static_cast<ThreadPool *>(pool)->work();
  return nullptr;
}

void ThreadPool::work() {
  while (true) {
    // Before anything is looked at, so that whatever is published later keeps us awake.
    const uint32_t seen = epoch_.load();
    if (stop_.load())
      return;
    if (!helpSomebody() && !spinForJob(seen))
      sleepForJob(seen);
  }
}

/// Returns whether a job was published after `seen`.
bool ThreadPool::spinForJob(uint32_t seen) {
  for (int spins = 0; spins < kSpinsBeforeSleep; ++spins) {
    if (epoch_.load(std::memory_order_relaxed) != seen)
      return true;
    pauseCpu();
  }
  return false;
}

void ThreadPool::sleepForJob(uint32_t seen) {
  sleepers_.fetch_add(1);
  if (epoch_.load() == seen)
    futex(&epoch_, FUTEX_WAIT, seen);
  sleepers_.fetch_sub(1);
}

bool ThreadPool::helpSomebody() {
  bool helped = false;
  for (int i = 0; i < kNumSlots; ++i)
    if (slots_[i].open.load(std::memory_order_relaxed) && help(slots_[i]))
      helped = true;
  return helped;
}

bool ThreadPool::help(Slot &slot) {
  // First come: as many helpers as there are threads besides the callers'.
  bool helped = false;
  if (helpers_.fetch_add(1) < threads_.load() - runs_.load()) {
    const int before = slot.inside.fetch_add(1);
    // Looking at the job is allowed only if the slot is open now: its owner closes it, then waits
    // until nobody is inside, then changes it.
    if (slot.open.load() && before < slot.maxHelpers) {
      doTasks(slot);
      helped = true;
    }
    slot.inside.fetch_sub(1);
  }
  helpers_.fetch_sub(1);
  return helped;
}

/// Opens the slot and wakes as many sleeping workers as may help.
void ThreadPool::publish(Slot &slot) {
  slot.open.store(true);
  epoch_.fetch_add(1);
  const int wanted = std::min(slot.maxHelpers, threads_.load() - runs_.load());
  if (wanted > 0 && sleepers_.load() > 0)
    futex(&epoch_, FUTEX_WAKE, static_cast<uint32_t>(wanted));
}

ThreadPool::Lease::Lease(ThreadPool &pool, uint32_t threads)
    : pool_(pool), slot_(nullptr), threads_(threads) {
  pool_.runs_.fetch_add(1);
  for (int i = 0; i < kNumSlots && threads > 1 && !slot_; ++i)
    if (!pool_.slots_[i].taken.exchange(true))
      slot_ = &pool_.slots_[i];
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
  slot.chunk = std::max<int64_t>(1, job.grid / (int64_t(threads_) * kChunksPerThread));
  slot.maxHelpers = static_cast<int>(std::min<int64_t>(threads_, job.grid)) - 1;
  slot.next.store(0, std::memory_order_relaxed);
  pool_.publish(slot);
  doTasks(slot);
  slot.open.store(false);
  waitUntilEmpty(slot);
}

} // namespace mohdrt
