// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The shadow of shared memory and the vector clocks against a model that keeps everything: for each
// byte all accesses since the last write, for each thread what it knows of all others.
#include "../emulator/shadow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

using namespace mohdemu;

namespace {

constexpr uint32_t kThreads = 7, kBytes = 64;

/// What is known without any economy.
struct Model {
  struct Access {
    uint32_t thread, count;
  };
  struct Byte {
    bool isWritten = false;
    Access write;
    std::vector<Access> reads;
  };
  uint32_t known[kThreads][kThreads] = {};
  uint32_t counts[kThreads];
  Byte bytes[kBytes];

  Model() { std::fill_n(counts, kThreads, 1u); }

  bool isBefore(const Access &access, uint32_t thread) const {
    return access.thread == thread || access.count <= known[thread][access.thread];
  }
  void synchronise(const std::vector<uint32_t> &threads) {
    uint32_t all[kThreads] = {};
    for (uint32_t thread : threads) {
      known[thread][thread] = counts[thread]++;
      for (uint32_t i = 0; i < kThreads; ++i)
        all[i] = std::max(all[i], known[thread][i]);
    }
    for (uint32_t thread : threads)
      std::copy_n(all, kThreads, known[thread]);
  }
  Conflict access(uint32_t thread, uint32_t offset, uint32_t size, bool writes) {
    Conflict first;
    for (uint32_t at = offset; at < offset + size; ++at) {
      Byte &byte = bytes[at];
      Conflict::Kind kind = Conflict::None;
      if (!byte.isWritten && !writes)
        kind = Conflict::Uninitialised;
      else if (byte.isWritten && !isBefore(byte.write, thread))
        kind = Conflict::Race;
      else if (writes && !std::all_of(byte.reads.begin(), byte.reads.end(),
                                      [&](const Access &read) { return isBefore(read, thread); }))
        kind = Conflict::Race;
      if (first.kind == Conflict::None && kind != Conflict::None) {
        first.kind = kind;
        first.offset = at;
      }
      if (writes)
        byte = {true, {thread, counts[thread]}, {}};
      else
        byte.reads.push_back({thread, counts[thread]});
    }
    return first;
  }
};

TEST(EmulatorShadow, AgreesWithAModelThatForgetsNothing) {
  int races = 0, silent = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 engine(seed);
    Model model;
    Shadow shadow(kThreads, kThreads);
    shadow.reset(kBytes);
    SnapshotPool pool(kThreads);
    ClockJoiner joiner(pool);
    std::vector<RunningClock> clocks(kThreads);
    const SnapshotRef start = joiner.zero();
    for (uint32_t thread = 0; thread < kThreads; ++thread) {
      clocks[thread].base = start;
      clocks[thread].agent = thread;
      clocks[thread].now = 1;
    }
    const uint32_t writesOf8 = 1 + seed % 4, meetingsOf8 = 1 + seed % 5;
    for (int step = 0; step < 300; ++step) {
      if (engine() % 8 < meetingsOf8) {
        std::vector<uint32_t> meeting;
        std::vector<Clock> joined;
        for (uint32_t thread = 0; thread < kThreads; ++thread)
          if (engine() % 4 != 0)
            meeting.push_back(thread);
        if (meeting.empty())
          continue;
        for (uint32_t thread : meeting)
          joined.push_back(clocks[thread].close());
        const SnapshotRef all = joiner.joinAll(joined);
        for (uint32_t thread : meeting)
          clocks[thread].base = all;
        model.synchronise(meeting);
        continue;
      }
      const uint32_t thread = engine() % kThreads, size = 1u << engine() % 5;
      const uint32_t offset = engine() % (kBytes / size) * size;
      const bool writes = engine() % 8 < writesOf8;
      const uint32_t now = clocks[thread].touch();
      const Access access{&clocks[thread], makeEpoch(thread, now), 1, false};
      const Conflict found =
          writes ? shadow.write(offset, size, access) : shadow.read(offset, size, access);
      const Conflict expected = model.access(thread, offset, size, writes);
      ASSERT_EQ(found.kind, expected.kind) << "seed " << seed << " step " << step;
      ASSERT_EQ(found.offset, expected.offset) << "seed " << seed << " step " << step;
      races += found.kind == Conflict::Race;
      silent += found.kind == Conflict::None;
    }
  }
  EXPECT_GT(races, 1000);
  EXPECT_GT(silent, 1000);
}

} // namespace
