// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The worker threads that all contexts of a process share.
//
// A run publishes each dispatch in a slot of its own and works on it itself; idle workers join.
// Whoever waits spins at first, yields between looks after a while, and then sleeps on a futex.
// Tasks are taken in ranges that shrink towards the end of a dispatch, so that tasks of unlike cost
// end together. When several runs are under way, only as many workers help as there are threads
// left over by the callers, so that N contexts on N CPUs do not fight. Nothing here allocates after
// the pool has grown to its size.
#ifndef MOHD_SRC_THREAD_POOL_H
#define MOHD_SRC_THREAD_POOL_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <pthread.h>
#include <sys/types.h>

namespace mohdrt {

/// The signature of every kernel (docs/formats.md): does tasks [begin, end).
using KernelFn = void (*)(void *const *bindings, const int64_t *params, int64_t begin, int64_t end);

/// One dispatch: tasks [0, grid).
struct Job {
  KernelFn kernel = nullptr;
  void *const *bindings = nullptr;
  const int64_t *params = nullptr;
  int64_t grid = 0;
};

struct Slot;

class ThreadPool {
public:
  /// Largest grid; keeps the arithmetic on tasks far from overflow.
  static constexpr int64_t kMaxGrid = int64_t(1) << 48;

  /// Returns the process's pool with at least `threads` - 1 workers (fewer if the system refuses
  /// more). It lives as long as somebody holds it.
  static std::shared_ptr<ThreadPool> acquire(uint32_t threads);

  /// Pins each worker to a CPU of its own out of `cpus`, now and as the pool grows, for the rest of
  /// the pool's life; workers that there is no CPU for stay free, and so do all callers, whom the
  /// last CPU is left to. Only the first call counts.
  void pinWorkers(std::vector<int> cpus);

  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;

  /// A caller's place in the pool for one run. With more runs at once than slots, the rest run
  /// without help.
  class Lease {
  public:
    /// At most `threads` threads, the caller among them, work on each job.
    Lease(ThreadPool &pool, uint32_t threads);
    ~Lease();
    Lease(const Lease &) = delete;
    /// Does all tasks; returns when the last is done.
    void run(const Job &job);

  private:
    ThreadPool &pool_;
    Slot *slot_;
    uint32_t threads_;
  };

  class SpinWait; // how anybody here waits, before going to sleep

private:
  ThreadPool();
  void grow(uint32_t threads);
  void pinFrom(size_t firstWorker);
  static void *workerMain(void *pool);
  void work();
  Slot *takeSlot();
  bool helpSomebody();
  bool help(Slot &slot);
  bool hasRoomFor(int helpers) const { return helpers <= threads_.load() - runs_.load(); }
  void publish(Slot &slot, int64_t helpers);
  bool spinForJob(uint32_t seen, SpinWait &wait);
  bool sleepForJob(uint32_t seen);

  std::unique_ptr<Slot[]> slots_;
  std::mutex growing_;
  std::vector<pthread_t> workers_;
  std::vector<int> cpus_; // to pin workers to; empty: they are not
  const pid_t owner_;
  // Each line of the cache for what changes at one rate: a job's start touches the first one only.
  alignas(64) std::atomic<uint32_t> epoch_{0}; // changes with every published job; a futex
  alignas(64) std::atomic<int> threads_{1};    // workers and one caller
  std::atomic<int> runs_{0};                   // leases
  std::atomic<int> slotsUsed_{0};              // slots past these were never taken
  std::atomic<int> sleepers_{0};               // workers at or near the futex
  std::atomic<bool> stop_{false};
  alignas(64) std::atomic<int> helpers_{0}; // workers in a job
};

} // namespace mohdrt

#endif // MOHD_SRC_THREAD_POOL_H
