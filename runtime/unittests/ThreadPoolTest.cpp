// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The thread pool: every task once, from many callers at once, after growth and after a fork; that
// ranges shrink, that nobody burns a CPU while waiting, that CPUs are shared, and pinning.
#include "thread_pool.h"

#include "cpu_count.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace mohdrt;

namespace {

/// Adds 1 to each task's counter.
void countTasks(void *const *bindings, const int64_t *, int64_t begin, int64_t end) {
  int *counts = static_cast<int *>(bindings[0]);
  for (int64_t i = begin; i < end; ++i)
    ++counts[i];
}

bool runsEachTaskOnce(ThreadPool::Lease &lease, int64_t grid) {
  std::vector<int> counts(static_cast<size_t>(grid) + 1);
  void *bindings[] = {counts.data()};
  lease.run({countTasks, bindings, nullptr, grid});
  std::vector<int> expected(static_cast<size_t>(grid), 1);
  expected.push_back(0);
  return counts == expected;
}

TEST(ThreadPool, EachTaskOnce) {
  auto pool = ThreadPool::acquire(4);
  ThreadPool::Lease lease(*pool, 4);
  for (int64_t grid : {0, 1, 2, 3, 15, 16, 17, 1000, 100001})
    EXPECT_TRUE(runsEachTaskOnce(lease, grid)) << grid;
}

TEST(ThreadPool, ManyJobsInARow) {
  auto pool = ThreadPool::acquire(3);
  ThreadPool::Lease lease(*pool, 3);
  int wrong = 0;
  for (int i = 0; i < 20000; ++i)
    wrong += !runsEachTaskOnce(lease, i % 40);
  EXPECT_EQ(wrong, 0);
}

// More callers than slots, than threads, and pools that grow meanwhile.
TEST(ThreadPool, ManyCallers) {
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 80; ++caller)
    callers.emplace_back([&, caller] {
      auto pool = ThreadPool::acquire(1 + caller % 5);
      for (int i = 0; i < 50; ++i) {
        ThreadPool::Lease lease(*pool, 1 + caller % 5);
        wrong += !runsEachTaskOnce(lease, 100 + i);
      }
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, WorkersSleepAndWake) {
  auto pool = ThreadPool::acquire(4);
  ThreadPool::Lease lease(*pool, 4);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2)); // longer than they spin
    EXPECT_TRUE(runsEachTaskOnce(lease, 64));
  }
}

// The end of a pool must reach workers that are just about to fall asleep.
TEST(ThreadPool, ManyShortLives) {
  int counts[4] = {};
  void *bindings[] = {counts};
  for (int i = 0; i < 4000; ++i) {
    auto pool = ThreadPool::acquire(4);
    ThreadPool::Lease(*pool, 4).run({countTasks, bindings, nullptr, 4});
  }
  for (int count : counts)
    EXPECT_EQ(count, 4000);
}

/// Waits until two threads are inside at once, or ten seconds have passed.
void meetAnother(std::atomic<int> &inside) {
  inside.fetch_add(1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (inside.load() < 2 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
}

void meet(void *const *bindings, const int64_t *, int64_t, int64_t) {
  meetAnother(*static_cast<std::atomic<int> *>(bindings[0]));
}

TEST(ThreadPool, ReallyWorksInParallel) {
  auto pool = ThreadPool::acquire(2);
  ThreadPool::Lease lease(*pool, 2);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> inside{0};
    void *bindings[] = {&inside};
    const auto start = std::chrono::steady_clock::now();
    lease.run({meet, bindings, nullptr, 2});
    EXPECT_EQ(inside.load(), 2);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  }
}

void noteRange(void *const *bindings, const int64_t *, int64_t begin, int64_t end) {
  static_cast<std::vector<std::pair<int64_t, int64_t>> *>(bindings[0])->emplace_back(begin, end);
}

// A caller without workers takes every range itself, in order.
TEST(ThreadPool, RangesShrink) {
  auto pool = ThreadPool::acquire(1);
  for (int64_t grid : {2, 7, 64, 1000, 100000}) {
    std::vector<std::pair<int64_t, int64_t>> ranges;
    void *bindings[] = {&ranges};
    ThreadPool::Lease(*pool, 4).run({noteRange, bindings, nullptr, grid});
    int64_t next = 0, length = grid;
    for (auto [begin, end] : ranges) {
      EXPECT_EQ(begin, next);
      EXPECT_GT(end, begin);
      EXPECT_LE(end - begin, length) << "of grid " << grid;
      next = end, length = end - begin;
    }
    EXPECT_EQ(next, grid);
    EXPECT_EQ(ranges[0].second, std::max<int64_t>(1, grid / 16));
    EXPECT_LE(length, std::max<int64_t>(1, grid / 256)) << "the last range of grid " << grid;
    EXPECT_LE(ranges.size(), 40u) << "of grid " << grid;
  }
}

/// The CPU time of all threads of the process, in milliseconds.
double cpuMilliseconds() {
  timespec time;
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return double(time.tv_sec) * 1e3 + double(time.tv_nsec) * 1e-6;
}

TEST(ThreadPool, IdleWorkersSleep) {
  auto pool = ThreadPool::acquire(4);
  EXPECT_TRUE(runsEachTaskOnce(*std::make_unique<ThreadPool::Lease>(*pool, 4), 100));
  const double before = cpuMilliseconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpuMilliseconds() - before, 100);
}

/// Of two threads one is done at once, the other sleeps: whoever waits for it must not spin.
void meetThenSleep(void *const *bindings, const int64_t *, int64_t begin, int64_t) {
  meetAnother(*static_cast<std::atomic<int> *>(bindings[0]));
  const auto *caller = static_cast<const std::thread::id *>(bindings[1]);
  if (std::this_thread::get_id() != *caller)
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

TEST(ThreadPool, CallerSleepsWhileAWorkerIsSlow) {
  auto pool = ThreadPool::acquire(2);
  ThreadPool::Lease lease(*pool, 2);
  std::atomic<int> inside{0};
  std::thread::id caller = std::this_thread::get_id();
  void *bindings[] = {&inside, &caller};
  const auto start = std::chrono::steady_clock::now();
  const double before = cpuMilliseconds();
  lease.run({meetThenSleep, bindings, nullptr, 2});
  const double used = cpuMilliseconds() - before;
  const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(inside.load(), 2);
  EXPECT_LT(used, wall.count() - 200) << "the caller spun";
  EXPECT_TRUE(runsEachTaskOnce(lease, 1000)) << "and the slot is as before";
}

struct Crowd {
  std::atomic<int> inside{0}, most{0}, late{0};
  std::atomic<bool> full{false};
};

/// Counts the threads that are in a task at once, once all callers have begun to run.
void crowd(void *const *bindings, const int64_t *, int64_t begin, int64_t end) {
  auto *shared = static_cast<Crowd *>(bindings[0]);
  for (int64_t i = begin; i < end; ++i) {
    const int now = shared->inside.fetch_add(1) + 1;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (shared->full.load()) {
      int most = shared->most.load();
      while (most < now && !shared->most.compare_exchange_weak(most, now)) {
      }
    }
    shared->inside.fetch_sub(1);
  }
}

// As many callers as threads: helpers leave, and each caller works alone.
TEST(ThreadPool, CallersDoNotOversubscribe) {
  constexpr int kThreads = 4;
  auto pool = ThreadPool::acquire(kThreads);
  Crowd shared;
  std::atomic<int> started{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kThreads; ++caller)
    callers.emplace_back([&] {
      void *bindings[] = {&shared};
      ThreadPool::Lease lease(*pool, kThreads);
      started.fetch_add(1);
      while (started.load() < kThreads)
        lease.run({crowd, bindings, nullptr, 64});
      lease.run({crowd, bindings, nullptr, 256}); // longer than what helpers have in hand
      shared.full.store(true);
      for (int i = 0; i < 4; ++i)
        lease.run({crowd, bindings, nullptr, 256});
      shared.full.store(false);
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_GE(shared.most.load(), 1);
  EXPECT_LE(shared.most.load(), kThreads);
}

/// The CPUs that each thread but the caller may use.
struct Masks {
  std::atomic<int> inside{0};
  std::thread::id caller = std::this_thread::get_id();
  std::mutex mutex;
  std::set<std::vector<int>> workers;
};

void noteMask(void *const *bindings, const int64_t *, int64_t, int64_t) {
  auto *masks = static_cast<Masks *>(bindings[0]);
  meetAnother(masks->inside);
  std::lock_guard<std::mutex> lock(masks->mutex);
  if (std::this_thread::get_id() != masks->caller)
    masks->workers.insert(affinityCpus(0));
}

std::set<std::vector<int>> masksOfWorkers(ThreadPool &pool) {
  Masks masks;
  void *bindings[] = {&masks};
  ThreadPool::Lease(pool, 2).run({noteMask, bindings, nullptr, 2});
  return masks.workers;
}

TEST(ThreadPool, PinsWorkersAndNotTheCaller) {
  const std::vector<int> all = affinityCpus(0);
  if (all.size() < 2)
    GTEST_SKIP() << "on one CPU there is nothing to pin";
  auto pool = ThreadPool::acquire(2);
  EXPECT_EQ(masksOfWorkers(*pool), std::set<std::vector<int>>{all});
  pool->pinWorkers({all[1], all[0]});
  EXPECT_EQ(masksOfWorkers(*pool), std::set<std::vector<int>>{{all[1]}});
  EXPECT_EQ(affinityCpus(0), all);
  pool->pinWorkers({all[0], all[1]});
  EXPECT_EQ(masksOfWorkers(*pool), std::set<std::vector<int>>{{all[1]}}) << "the first call counts";
  // More workers than CPUs to pin them to: those stay free.
  ThreadPool::acquire(8);
  for (int i = 0; i < 20; ++i)
    for (const std::vector<int> &mask : masksOfWorkers(*pool))
      EXPECT_TRUE(mask == all || mask == std::vector<int>{all[1]});
}

#if defined(__x86_64__)
void doubleDenormals(void *const *bindings, const int64_t *, int64_t begin, int64_t end) {
  meetAnother(*static_cast<std::atomic<int> *>(bindings[0]));
  volatile float *values = static_cast<volatile float *>(bindings[1]);
  for (int64_t i = begin; i < end; ++i)
    values[i] = values[i] * 2;
}

// A thread inherits the modes of the one that makes it.
TEST(ThreadPool, WorkersHaveTheDefaultFloatModes) {
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040); // flush to zero, denormals are zero
  auto pool = ThreadPool::acquire(2);
  _mm_setcsr(saved);
  std::atomic<int> inside{0};
  float values[2] = {1e-40f, 1e-40f};
  void *bindings[] = {&inside, values};
  ThreadPool::Lease(*pool, 2).run({doubleDenormals, bindings, nullptr, 2});
  EXPECT_EQ(inside.load(), 2);
  EXPECT_EQ(values[0], 1e-40f * 2);
  EXPECT_EQ(values[1], 1e-40f * 2);
}
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_HAS_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define TEST_HAS_THREAD_SANITIZER
#endif

#if !defined(TEST_HAS_THREAD_SANITIZER) // which does not support threads in a forked child
/// Forks and returns the exit status of what `child` does there; -1 if a signal ended it.
template <typename Function> int statusOfChild(Function child) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    child();
    ::_exit(99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A context that is never destroyed must not keep its process from ending, nor crash it.
TEST(ThreadPool, ExitWhileWorkersSpinOrSleep) {
  for (int milliseconds : {0, 20})
    EXPECT_EQ(statusOfChild([&] {
                static std::shared_ptr<ThreadPool> *leaked; // still reachable at the end
                leaked = new std::shared_ptr<ThreadPool>(ThreadPool::acquire(4));
                ThreadPool::Lease lease(**leaked, 4);
                runsEachTaskOnce(lease, 1000);
                std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
                std::exit(7);
              }),
              7);
}

// The child of a process whose other threads were in the middle of their runs.
TEST(ThreadPool, ForkFromABusyProcess) {
  auto pool = ThreadPool::acquire(3);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    ThreadPool::Lease lease(*pool, 3);
    for (std::vector<int> counts(64); !stop.load();) {
      void *bindings[] = {counts.data()};
      lease.run({countTasks, bindings, nullptr, 64});
    }
  });
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(statusOfChild([&] {
                ThreadPool::Lease lease(*pool, 3);
                int counts[100] = {};
                void *bindings[] = {counts};
                lease.run({countTasks, bindings, nullptr, 100});
                ::_exit(std::count(counts, counts + 100, 1) == 100 ? 0 : 1);
              }),
              0);
  stop.store(true);
  busy.join();
}

TEST(ThreadPool, ForkedChildWorks) {
  auto pool = ThreadPool::acquire(4);
  EXPECT_EQ(statusOfChild([&] {
              bool ok = true;
              {
                ThreadPool::Lease inherited(*pool, 4); // its workers did not come along
                ok = ok && runsEachTaskOnce(inherited, 1000);
              }
              auto own = ThreadPool::acquire(4);
              ok = ok && own != pool;
              ThreadPool::Lease lease(*own, 4);
              ok = ok && runsEachTaskOnce(lease, 1000);
              ::_exit(ok ? 0 : 1);
            }),
            0);
}
#endif

} // namespace
