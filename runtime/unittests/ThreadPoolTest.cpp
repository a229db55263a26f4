// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The thread pool: every task once, from many callers at once, after growth and after a fork.
#include "thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

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

/// Waits until two threads are inside at once, or two seconds have passed.
void meet(void *const *bindings, const int64_t *, int64_t, int64_t) {
  auto *inside = static_cast<std::atomic<int> *>(bindings[0]);
  inside->fetch_add(1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (inside->load() < 2 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
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
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  }
}

#if !defined(__SANITIZE_THREAD__) // which does not support threads in a forked child
TEST(ThreadPool, ForkedChildWorks) {
  auto pool = ThreadPool::acquire(4);
  const pid_t child = ::fork();
  if (child == 0) {
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
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

} // namespace
