// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One small broken kernel for each check: it fires, and says what and where. Beside most of them the
// correct twin, which is silent.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

constexpr uint32_t kAll = ~0u;

Result run(uint32_t threads, uint32_t sharedBytes, const std::function<void()> &body,
           uint64_t seed = 0) {
  return emulate(oneBlock(threads, sharedBytes, seed), body);
}

TEST(EmulatorMemoryFaults, GlobalAccessesOutsideAllocations) {
  std::vector<float> values(8), constants(8);
  const auto with = [&](const std::function<void()> &body) {
    Launch launch = oneBlock(1, 0);
    launch.allocations = {allocationOf(values, "values", true),
                          allocationOf(constants, "constants")};
    return emulate(launch, body);
  };
  EXPECT_TRUE(isClean(with([&] { storeGlobal(values[7], loadGlobal(constants[7])); })));
  EXPECT_TRUE(finds(with([&] { gpu.check_load(&values[8], 4, MOHD_EMU_GLOBAL, "k: load"); }),
                    ErrorKind::Bounds, "of 'values', which has 32 bytes"));
  EXPECT_TRUE(finds(with([&] { gpu.check_load(&values[6], 16, MOHD_EMU_GLOBAL, "k: load"); }),
                    ErrorKind::Bounds, "offset 24 of 'values'"));
  EXPECT_TRUE(finds(with([&] { gpu.check_load(nullptr, 4, MOHD_EMU_GLOBAL, "k: load"); }),
                    ErrorKind::Bounds, "expects an access within an allocation"));
  EXPECT_TRUE(finds(with([&] { gpu.check_load(&values[1], 8, MOHD_EMU_GLOBAL, "k: load"); }),
                    ErrorKind::Misaligned, "expects an address that is a multiple of 8"));
  EXPECT_TRUE(finds(with([&] { gpu.check_store(&constants[0], 4, MOHD_EMU_GLOBAL, "k: store"); }),
                    ErrorKind::ReadOnly,
                    "expects a writable allocation, got write to 'constants'"));
  EXPECT_TRUE(finds(with([&] { gpu.check_load(&values[0], 3, MOHD_EMU_GLOBAL, "k: load"); }),
                    ErrorKind::Argument, "expects an access of 1, 2, 4, 8 or 16 bytes, got 3"));
  EXPECT_TRUE(finds(with([&] { gpu.atomic(9, &values[0], 1, MOHD_EMU_GLOBAL, "k: atomic"); }),
                    ErrorKind::Argument, "expects an atomic operation, got 9"));
}

TEST(EmulatorMemoryFaults, SharedAccessesOutsideTheBlocksMemory) {
  EXPECT_TRUE(finds(run(1, 64, [&] { gpu.check_store(shared(64), 4, MOHD_EMU_SHARED, "s"); }),
                    ErrorKind::Bounds, "expects an access within 64 shared bytes"));
  EXPECT_TRUE(finds(run(1, 64, [&] { gpu.check_store(shared(2), 4, MOHD_EMU_SHARED, "s"); }),
                    ErrorKind::Misaligned,
                    "expects a multiple of 4, got write at shared offset 2"));
  int local = 0;
  EXPECT_TRUE(finds(run(1, 64, [&] { gpu.check_load(&local, 4, MOHD_EMU_SHARED, "s"); }),
                    ErrorKind::Bounds, "expects an address in shared memory"));
}

TEST(EmulatorMemoryFaults, MessagesNameKernelBlockThreadAndSite) {
  Launch launch;
  launch.grid = {2, 2, 1};
  launch.block = {8, 2, 1};
  launch.name = "swiglu";
  const Result result = emulate(launch, [] {
    if (gpu.special_register(MOHD_EMU_CTAID_Y) == 1 && gpu.special_register(MOHD_EMU_TID_Y) == 1)
      gpu.trap("swiglu: trap (file.mlir:7)");
  });
  ASSERT_EQ(result.errors.size(), 1u); // one for each kind and site
  const Error &error = result.errors[0];
  EXPECT_EQ(error.message, "kernel 'swiglu', block (0, 1, 0), thread (0, 1, 0), swiglu: trap "
                           "(file.mlir:7): trap: expects not to get here, got a trap");
  EXPECT_EQ(error.kind, ErrorKind::Trap);
  EXPECT_EQ(error.block.y, 1u);
  EXPECT_EQ(error.thread, 8u);
  EXPECT_EQ(error.site, "swiglu: trap (file.mlir:7)");
}

TEST(EmulatorMemoryFaults, UninitialisedRead) {
  const auto body = [](uint32_t at) {
    return [at] {
      storeShared<uint16_t>(6, 1);
      loadShared<uint16_t>(at);
    };
  };
  EXPECT_TRUE(isClean(run(1, 64, body(6))));
  EXPECT_TRUE(finds(run(1, 64, body(4)), ErrorKind::Uninitialised,
                    "got read at shared offset 4 that nobody wrote"));
  EXPECT_TRUE(finds(run(1, 64, body(8)), ErrorKind::Uninitialised, "shared offset 8"));
  // Of a wider read the byte is named.
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          storeShared<uint32_t>(0, 1);
                          storeShared<uint16_t>(4, 1);
                          loadShared<uint64_t>(0);
                        }),
                    ErrorKind::Uninitialised, "shared offset 6"));
}

// Two threads, of one warp or of two, one of them writes; what should order them is left out.
TEST(EmulatorRaces, MissingBarrier) {
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (uint32_t reader : {1u, 40u})
      for (bool ordered : {false, true}) {
        const Result result = run(
            64, 64,
            [=] {
              if (threadIndex() == 0)
                storeShared<uint32_t>(0, 1, "the write");
              if (ordered)
                syncBlock();
              if (threadIndex() == reader)
                loadShared<uint32_t>(0, "the read");
            },
            seed);
        if (ordered)
          EXPECT_TRUE(isClean(result));
        else if (!result.errors.empty() && result.errors[0].kind == ErrorKind::Uninitialised)
          EXPECT_EQ(result.errors.back().kind, ErrorKind::Race); // the reader came first
        else
          EXPECT_TRUE(finds(result, ErrorKind::Race, "write of thread (0, 0, 0) (the write)"));
      }
}

// Two threads write, and nobody reads: which of them wins is not said, even if both write the same.
TEST(EmulatorRaces, TwoWritesOfAByte) {
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (uint32_t other : {1u, 40u})
      for (bool ordered : {false, true}) {
        const Result result = run(
            64, 64,
            [=] {
              if (threadIndex() == 0)
                storeShared<uint32_t>(0, 1, "a write");
              if (ordered)
                syncBlock();
              if (threadIndex() == other)
                storeShared<uint8_t>(3, 0, "a write");
            },
            seed);
        if (ordered)
          EXPECT_TRUE(isClean(result));
        else
          EXPECT_TRUE(finds(result, ErrorKind::Race,
                            "expects an order, by a barrier or a wait, "
                            "after the write of thread ("))
              << "seed " << seed;
      }
  // Beside each other they may.
  EXPECT_TRUE(isClean(run(64, 64, [] { storeShared<uint8_t>(threadIndex(), 1, "own byte"); })));
}

TEST(EmulatorRaces, ReadBeforeOverwriteNeedsABarrierToo) {
  for (bool ordered : {false, true}) {
    const Result result = run(64, 256, [=] {
      const uint32_t t = threadIndex();
      storeShared<uint32_t>(t * 4, t);
      syncBlock();
      loadShared<uint32_t>((t + 1) % 64 * 4, "read");
      if (ordered)
        syncBlock();
      storeShared<uint32_t>(t * 4, t, "overwrite");
    });
    if (ordered)
      EXPECT_TRUE(isClean(result));
    else
      EXPECT_TRUE(finds(result, ErrorKind::Race, "after the read of thread"));
  }
}

TEST(EmulatorRaces, OneOfManyReadersIsNotOrdered) {
  for (uint32_t late : {0u, 17u, 95u})
    EXPECT_TRUE(finds(run(128, 64,
                          [=] {
                            const uint32_t t = threadIndex();
                            if (t == 0)
                              storeShared<uint32_t>(0, 1);
                            syncBlock();
                            if (t < 96 && t != late)
                              loadShared<uint32_t>(0);
                            gpu.barrier_sync(1, 128, "all but one read before");
                            if (t == late)
                              loadShared<uint32_t>(0);
                            if (t == 127)
                              storeShared<uint32_t>(0, 2, "overwrite");
                          }),
                      ErrorKind::Race, "thread (" + std::to_string(late) + ", 0, 0)"));
}

TEST(EmulatorRaces, WarpSyncOrdersItsLanesOnly) {
  const auto body = [](uint32_t reader, bool shuffles) {
    return [=] {
      const uint32_t t = threadIndex();
      if (t == 0)
        storeShared<uint32_t>(0, 1);
      if (shuffles)
        gpu.shuffle(MOHD_EMU_SHFL_IDX, kAll, 0, 0, 31, "shuffle");
      else
        gpu.warp_sync(kAll, "warp sync");
      if (t == reader)
        loadShared<uint32_t>(0, "read");
    };
  };
  EXPECT_TRUE(isClean(run(64, 64, body(5, false))));
  EXPECT_TRUE(finds(run(64, 64, body(5, true)), ErrorKind::Race, "read at shared offset 0"));
  EXPECT_TRUE(finds(run(64, 64, body(40, false)), ErrorKind::Race, "read at shared offset 0"));
}

TEST(EmulatorRaces, PlainAccessBesideAtomics) {
  const auto body = [](bool plain) {
    return [=] {
      if (threadIndex() == 0)
        storeShared<uint32_t>(0, 0);
      syncBlock();
      if (plain && threadIndex() == 9)
        storeShared<uint32_t>(0, 1, "plain");
      else
        gpu.atomic(MOHD_EMU_ADD, shared(0), 1, MOHD_EMU_SHARED, "atomic");
    };
  };
  EXPECT_TRUE(isClean(run(64, 64, body(false))));
  EXPECT_FALSE(isClean(run(64, 64, body(true))));
}

TEST(EmulatorRaces, CopyAsyncBeforeItsWait) {
  std::vector<uint32_t> source(4, 7);
  const auto with = [&](bool waits, bool fresh) {
    Launch launch = oneBlock(1, 64);
    launch.allocations = {allocationOf(source, "source")};
    return emulate(launch, [=, &source] {
      if (!fresh)
        storeShared<uint32_t>(0, 1);
      gpu.copy_async(shared(0), source.data(), 16, 16, "copy");
      gpu.copy_async_commit("commit");
      if (waits)
        gpu.copy_async_wait(0, "wait");
      loadShared<uint32_t>(0, "read");
    });
  };
  EXPECT_TRUE(isClean(with(true, true)));
  EXPECT_TRUE(isClean(with(true, false)));
  EXPECT_TRUE(finds(with(false, true), ErrorKind::Uninitialised, "read at shared offset 0"));
  EXPECT_TRUE(
      finds(with(false, false), ErrorKind::Race, "after the read of thread (0, 0, 0) (read)"));
}

TEST(EmulatorRaces, SourceOfATmaStoreIsOverwrittenBeforeTheWait) {
  std::vector<uint32_t> out(32);
  const mohd_emu_tensor_map map = mapOf(out.data(), 4, {32}, {32});
  for (bool waits : {false, true}) {
    Launch launch = oneBlock(1, 128);
    launch.allocations = {allocationOf(out, "out", true)};
    const Result result = emulate(launch, [&] {
      for (uint32_t i = 0; i < 32; ++i)
        storeShared<uint32_t>(i * 4, i);
      gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "fence");
      gpu.tma_store(&map, shared(0), 1, 0, 0, 0, 0, 0, "store");
      gpu.tma_store_commit("commit");
      if (waits)
        gpu.tma_store_wait(0, 1, "wait");
      storeShared<uint32_t>(0, 99, "overwrite");
    });
    if (waits)
      EXPECT_TRUE(isClean(result));
    else
      EXPECT_TRUE(
          finds(result, ErrorKind::Race, "after the write of thread (0, 0, 0) (overwrite)"));
    EXPECT_EQ(out[31], 31u); // ends with the thread
  }
}

TEST(EmulatorMeetingFaults, BarrierThatSomeThreadsSkip) {
  EXPECT_TRUE(finds(run(64, 0,
                        [] {
                          if (threadIndex() < 32)
                            gpu.barrier_sync(0, 0, "k: barrier");
                        }),
                    ErrorKind::Deadlock,
                    "threads 0-31 waiting for barrier 0 of 64 threads at k: barrier; threads 32-63 "
                    "have exited"));
  EXPECT_TRUE(finds(run(64, 0,
                        [] {
                          if (threadIndex() != 5)
                            gpu.barrier_sync(0, 0, "k: barrier");
                        }),
                    ErrorKind::Divergence, "threads 5 have exited"));
  EXPECT_TRUE(finds(run(32, 0, [] { gpu.barrier_sync(threadIndex() % 2, 0, "k: barrier"); }),
                    ErrorKind::Divergence, "waiting for barrier 1"));
}

TEST(EmulatorMeetingFaults, BarrierReachedByTwoInstructions) {
  EXPECT_TRUE(
      finds(run(32, 0, [] { gpu.barrier_sync(0, 0, threadIndex() < 16 ? "then" : "else"); }),
            ErrorKind::Divergence,
            "by one instruction, got lane 0 of warp 0 at then and lane "
            "16 at else"));
}

TEST(EmulatorMeetingFaults, BarrierCounts) {
  EXPECT_TRUE(finds(run(64, 0, [] { gpu.barrier_sync(0, 33, "b"); }), ErrorKind::Argument,
                    "expects a multiple of 32 threads"));
  EXPECT_TRUE(finds(run(64, 0, [] { gpu.barrier_sync(16, 0, "b"); }), ErrorKind::Argument,
                    "expects a barrier of 0 to 15, got 16"));
  EXPECT_TRUE(finds(run(96, 0, [] { gpu.barrier_sync(1, threadIndex() < 32 ? 64 : 96, "b"); }),
                    ErrorKind::Divergence, "as others say"));
  EXPECT_TRUE(finds(run(64, 0,
                        [] {
                          gpu.barrier_arrive(1, 64, "first");
                          gpu.barrier_arrive(1, 64, "second");
                        }),
                    ErrorKind::Divergence, "expects a thread once in each phase of barrier 1"));
  EXPECT_TRUE(finds(run(64, 0,
                        [] { // 16 lanes of each warp
                          if (threadIndex() % 32 < 16)
                            gpu.barrier_sync(1, 32, "b");
                        }),
                    ErrorKind::Divergence, "expects all lanes of warp 0 at barrier 1"));
}

TEST(EmulatorMeetingFaults, Masks) {
  EXPECT_TRUE(finds(run(32, 0, [] { gpu.warp_sync(0xffff, "w"); }), ErrorKind::Mask,
                    "expects a mask with lane 16"));
  EXPECT_TRUE(finds(run(16, 0, [] { gpu.warp_sync(kAll, "w"); }), ErrorKind::Mask,
                    "expects a mask of lanes that exist, 0xffff, got 0xffffffff"));
  EXPECT_TRUE(finds(run(32, 0,
                        [] {
                          if (threadIndex() != 3)
                            gpu.warp_sync(kAll, "w");
                        }),
                    ErrorKind::Mask, "got lane 3, which exits"));
  EXPECT_TRUE(finds(run(32, 0,
                        [] {
                          if (threadIndex() == 31)
                            gpu.warp_sync(kAll, "w");
                        }),
                    ErrorKind::Mask, "with lane 0, which has exited"));
  EXPECT_TRUE(finds(run(32, 0, [] { gpu.warp_sync(threadIndex() < 16 ? kAll : 0xffff0000, "w"); }),
                    ErrorKind::Mask, "to give one mask"));
  EXPECT_TRUE(finds(run(32, 0,
                        [] {
                          gpu.shuffle(MOHD_EMU_SHFL_DOWN, threadIndex() < 16 ? 0xffff : 0xffff0000,
                                      0, 1, 31, "s");
                        }),
                    ErrorKind::Mask, "expects lane 15 to read a lane of mask 0xffff, got lane 16"));
}

TEST(EmulatorMeetingFaults, OperationsThatDiffer) {
  EXPECT_TRUE(finds(run(32, 0,
                        [] {
                          if (threadIndex() < 16)
                            gpu.vote_ballot(kAll, 1, "ballot");
                          else
                            gpu.warp_sync(kAll, "sync");
                        }),
                    ErrorKind::Divergence, "got warp_sync while lanes 0xffff are at vote_ballot"));
  EXPECT_TRUE(finds(run(32, 512,
                        [] {
                          uint32_t word = 0;
                          gpu.store_matrix(shared(threadIndex() * 16), 1, 0, &word,
                                           threadIndex() < 16 ? "one" : "other");
                        }),
                    ErrorKind::Divergence, "expects all lanes of the mask at one operation"));
  EXPECT_TRUE(finds(run(32, 512,
                        [] {
                          uint32_t words[3];
                          gpu.load_matrix(shared(0), 3, 0, words, "ld");
                        }),
                    ErrorKind::Argument, "expects 1, 2 or 4 matrices, got 3"));
}

TEST(EmulatorMeetingFaults, RegistersBeyondThoseThereAre) {
  EXPECT_TRUE(finds(run(384, 0, [] { gpu.set_max_registers(232, 1, "more"); }),
                    ErrorKind::Registers, "waiting for 232 registers a thread at more"));
  EXPECT_TRUE(finds(run(32, 0, [] { gpu.set_max_registers(33, 0, "r"); }), ErrorKind::Registers,
                    "expects 24 to 256 registers in steps of 8, got 33"));
  EXPECT_TRUE(finds(run(384, 0, [] { gpu.set_max_registers(200, 0, "r"); }), ErrorKind::Registers,
                    "expects at most 168 registers, as the warp has, got 200"));
}

// A flag that nobody sets, looked at with atomics or with loads.
TEST(EmulatorMeetingFaults, SpinningForEver) {
  for (bool atomics : {false, true})
    for (uint64_t seed : {0, 1}) {
      std::vector<uint32_t> flag(1);
      Launch launch = oneBlock(64, 0, seed);
      launch.allocations = {allocationOf(flag, "flag", true)};
      launch.maxSpins = 3000000;
      const auto spin = [&](uint32_t wanted) {
        while ((atomics ? gpu.atomic(MOHD_EMU_OR, &flag[0], 0, MOHD_EMU_GLOBAL, "k: spin")
                        : loadGlobal(flag[0])) != wanted)
          ;
      };
      EXPECT_TRUE(finds(emulate(launch, [&] { spin(1); }), ErrorKind::Deadlock,
                        "expects progress, got 300"));
      EXPECT_TRUE(isClean(emulate(launch, [&] {
        if (threadIndex() == 63)
          storeGlobal(flag[0], 1u);
        else
          spin(1);
      })));
    }
}

TEST(EmulatorLaunchFaults, ImpossibleLaunches) {
  const auto nothing = [] {};
  EXPECT_TRUE(
      finds(run(1025, 0, nothing), ErrorKind::Argument, "expects 1 to 1024 threads a block"));
  EXPECT_TRUE(finds(run(0, 0, nothing), ErrorKind::Argument, "expects 1 to 1024 threads a block"));
  EXPECT_TRUE(
      finds(run(32, 300000, nothing), ErrorKind::Argument, "expects at most 232448 shared"));
  Launch launch = oneBlock(512, 0);
  launch.registers = 255;
  EXPECT_TRUE(
      finds(emulate(launch, nothing), ErrorKind::Argument, "expects at most 65536 registers"));
  launch = oneBlock(32, 0);
  launch.grid.x = 0; // no block, nothing to do
  EXPECT_TRUE(isClean(emulate(launch, [] { gpu.trap("never"); })));
}

TEST(EmulatorLaunchFaults, ErrorsAreTheSameForAnyNumberOfThreads) {
  Launch launch = oneBlock(64, 64, 5);
  launch.grid.x = 40;
  const auto body = [] {
    if (threadIndex() == 0 && blockIndex() % 3 == 2)
      gpu.trap(blockIndex() == 20 ? "another" : "one");
  };
  const std::string one = toString(emulate(launch, body));
  launch.threads = 4;
  EXPECT_EQ(toString(emulate(launch, body)), one);
  EXPECT_NE(one.find("block (2, 0, 0)"), std::string::npos);
  EXPECT_NE(one.find("block (20, 0, 0)"), std::string::npos);
}

} // namespace
