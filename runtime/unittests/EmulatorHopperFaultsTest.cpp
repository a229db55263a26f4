// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One small broken kernel for each check of mbarriers, TMA and wgmma.
#include "EmulatorHelpers.h"

using namespace mohdemu;

namespace {

Result run(uint32_t threads, uint32_t sharedBytes, const std::function<void()> &body) {
  return emulate(oneBlock(threads, sharedBytes), body);
}

TEST(EmulatorMbarrierFaults, NotInitialisedOrTwice) {
  EXPECT_TRUE(finds(run(1, 64, [] { gpu.mbarrier_arrive(shared(8), "a"); }), ErrorKind::Mbarrier,
                    "expects an mbarrier that was initialised, got shared offset 8"));
  EXPECT_TRUE(finds(run(1, 64, [] { gpu.mbarrier_wait(shared(4), 0, "a"); }), ErrorKind::Misaligned,
                    "expects a multiple of 8"));
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          gpu.mbarrier_init(shared(0), 1, "one");
                          gpu.mbarrier_init(shared(0), 1, "two");
                        }),
                    ErrorKind::Mbarrier, "to be initialised once"));
  EXPECT_TRUE(finds(run(1, 64, [] { gpu.mbarrier_init(shared(0), 0, "i"); }), ErrorKind::Mbarrier,
                    "expects a count of 1 to 1048575, got 0"));
  EXPECT_TRUE(finds(run(1, 2048,
                        [] {
                          for (uint32_t i = 0; i < 129; ++i)
                            gpu.mbarrier_init(shared(i * 8), 1, "i");
                        }),
                    ErrorKind::Mbarrier, "expects at most 128 mbarriers"));
}

TEST(EmulatorMbarrierFaults, InitialisationIsNotOrdered) {
  EXPECT_TRUE(finds(run(2, 64,
                        [] {
                          if (threadIndex() == 0)
                            gpu.mbarrier_init(shared(0), 2, "init");
                          gpu.mbarrier_arrive(shared(0), "arrive");
                        }),
                    ErrorKind::Race, "after the initialisation of the mbarrier"));
}

TEST(EmulatorMbarrierFaults, OverwrittenOrRead) {
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          gpu.mbarrier_init(shared(8), 1, "init");
                          storeShared<uint32_t>(12, 0, "store");
                        }),
                    ErrorKind::Mbarrier, "expects an mbarrier to be left alone, got write"));
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          gpu.mbarrier_init(shared(8), 1, "init");
                          *shared<uint32_t>(12) = 77; // a write that nobody told of
                          gpu.mbarrier_arrive(shared(8), "arrive");
                        }),
                    ErrorKind::Mbarrier, "to be left alone, got bits 0x4d"));
}

TEST(EmulatorMbarrierFaults, ArrivalsAndBytesOutOfRange) {
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          gpu.mbarrier_init(shared(0), 1, "init");
                          gpu.mbarrier_expect(shared(0), 16, "expect");
                          gpu.mbarrier_arrive(shared(0), "arrive");
                        }),
                    ErrorKind::Mbarrier, "expects 1 arrivals in a phase"));
  EXPECT_TRUE(finds(run(1, 64,
                        [] {
                          gpu.mbarrier_init(shared(0), 3, "init");
                          gpu.mbarrier_expect(shared(0), 1 << 19, "expect");
                          gpu.mbarrier_expect(shared(0), 1 << 19, "expect");
                        }),
                    ErrorKind::Transaction, "expects at most 1048575 bytes to come, got 1048576"));
  EXPECT_TRUE(finds(run(1, 64, [] { gpu.mbarrier_wait(shared(0), 2, "wait"); }),
                    ErrorKind::Argument, "expects parity 0 or 1, got 2"));
}

TEST(EmulatorMbarrierFaults, WaitForAPhaseThatNeverEnds) {
  EXPECT_TRUE(
      finds(run(2, 64,
                [] {
                  if (threadIndex() == 0)
                    gpu.mbarrier_init(shared(16), 2, "init");
                  syncBlock();
                  if (threadIndex() == 0)
                    gpu.mbarrier_arrive(shared(16), "arrive");
                  gpu.mbarrier_wait(shared(16), 0, "k: wait");
                }),
            ErrorKind::Deadlock,
            "threads 0-1 waiting for the mbarrier at shared offset 16, parity 0 at k: wait"));
}

/// Issues one TMA load of `map` to `to`.
Result loadOne(const mohd_emu_tensor_map &map, const std::vector<float> &source, uint32_t to = 0,
               uint32_t rank = 1, bool fences = true) {
  Launch launch = oneBlock(1, 8192);
  launch.allocations = {allocationOf(source, "source")};
  return emulate(launch, [&] {
    gpu.mbarrier_init(shared(8184), 1, "init");
    if (fences)
      gpu.fence(MOHD_EMU_FENCE_MBARRIER_INIT, "fence");
    gpu.mbarrier_expect(shared(8184), 128, "expect");
    gpu.tma_load(shared(to), &map, shared(8184), rank, 0, 0, 0, 0, 0, "load");
    gpu.mbarrier_wait(shared(8184), 0, "wait");
  });
}

TEST(EmulatorTmaFaults, MapsThatTheHardwareRefuses) {
  const std::vector<float> source(1024);
  const auto with = [&](auto change) {
    mohd_emu_tensor_map map = mapOf(source.data(), 4, {32, 32}, {32, 1});
    change(map);
    return loadOne(map, source, 0, 2);
  };
  using Map = mohd_emu_tensor_map;
  EXPECT_TRUE(isClean(with([](Map &) {})));
  const std::pair<Result, const char *> cases[] = {
      {with([](Map &map) { map.rank = 6; }), "expects a rank of 1 to 5, got 6"},
      {with([](Map &map) { map.element_bytes = 3; }), "expects elements of 1, 2 or 4 bytes, got 3"},
      {with([](Map &map) { map.swizzle = 4; }), "expects a swizzle of 0 to 3, got 4"},
      {with([](Map &map) { map.base += 8; }), "expects a tensor at a multiple of 16"},
      {with([](Map &map) { map.extents[1] = 0; }), "expects extents of 1 or more"},
      {with([](Map &map) { map.box[1] = 257; }), "expects a box of 1 to 256 elements, got 257"},
      {with([](Map &map) { map.strides[0] = 72; }), "multiples of 16 bytes, got 72"},
      {with([](Map &map) { map.box[0] = 3; }), "expects rows of a multiple of 16 bytes, got 12"},
      {with([](Map &map) { map.swizzle = 2; }), "expects rows of at most 64 bytes for the swizzle"},
      {with([](Map &map) { map.rank = 1; }), "expects 1 coordinates, as the map has, got 2"},
  };
  for (const auto &[result, message] : cases)
    EXPECT_TRUE(finds(result, ErrorKind::TensorMap, message));
  EXPECT_TRUE(finds(with([](Map &map) { map.extents[1] = 33; }), ErrorKind::Bounds,
                    "got tensor map of 4224 bytes at offset 0 of 'source'"));
}

TEST(EmulatorTmaFaults, TilesAndFences) {
  const std::vector<float> source(32);
  const mohd_emu_tensor_map map = mapOf(source.data(), 4, {32}, {32});
  EXPECT_TRUE(isClean(loadOne(map, source)));
  EXPECT_TRUE(finds(loadOne(map, source, 16), ErrorKind::Misaligned, "expects a multiple of 128"));
  EXPECT_TRUE(finds(loadOne(map, source, 8192), ErrorKind::Bounds, "got TMA load of 128 bytes"));
  EXPECT_TRUE(finds(loadOne(map, source, 0, 1, false), ErrorKind::ProxyFence,
                    "expects fence mbarrier_init or proxy_async after the initialisation"));
  // The tile covers its own mbarrier.
  EXPECT_TRUE(finds(loadOne(map, source, 8064), ErrorKind::Mbarrier, "to be left alone"));
}

TEST(EmulatorTmaFaults, BytesThatNobodyExpects) {
  const std::vector<uint8_t> source(1 << 16);
  const mohd_emu_tensor_map map = mapOf(source.data(), 1, {256, 256}, {256, 256});
  Launch launch = oneBlock(1, 70000);
  launch.allocations = {allocationOf(source, "source")};
  const Result result = emulate(launch, [&] {
    gpu.mbarrier_init(shared(65536), 1, "init");
    gpu.fence(MOHD_EMU_FENCE_MBARRIER_INIT, "fence");
    for (int i = 0; i < 16; ++i)
      gpu.tma_load(shared(0), &map, shared(65536), 2, 0, 0, 0, 0, 0, "load");
  });
  EXPECT_TRUE(finds(result, ErrorKind::Race, "after the write of a TMA load")); // the same tile
  ASSERT_EQ(result.errors.size(), 2u);
  EXPECT_EQ(result.errors[1].kind, ErrorKind::Transaction);
  EXPECT_NE(result.errors[1].message.find("expects at least -1048575 bytes to come, got -1048576"),
            std::string::npos);
}

TEST(EmulatorTmaFaults, StoreWithoutProxyFenceOrToConstants) {
  const std::vector<float> constants(32);
  std::vector<float> out(32);
  for (bool writable : {false, true}) {
    const mohd_emu_tensor_map map = mapOf(writable ? out.data() : constants.data(), 4, {32}, {32});
    Launch launch = oneBlock(1, 128);
    launch.allocations = {allocationOf(constants, "constants"), allocationOf(out, "out", true)};
    const Result result = emulate(launch, [&] {
      for (uint32_t i = 0; i < 32; ++i)
        storeShared<float>(i * 4, 1);
      gpu.tma_store(&map, shared(0), 1, 0, 0, 0, 0, 0, "store");
    });
    if (writable)
      EXPECT_TRUE(
          finds(result, ErrorKind::ProxyFence, "expects fence proxy_async after the write"));
    else
      EXPECT_TRUE(finds(result, ErrorKind::ReadOnly, "to 'constants'"));
  }
}

/// What a kernel around one wgmma m64n8k16 does wrong.
struct Wrong {
  bool noBarrier = false, noProxyFence = false, fenceByOneThread = false, noWgmmaFence = false;
  bool fenceAfterBarrier = false;
  bool noWait = false, changesA = false, changesSums = false, unlikeN = false, oneMoreWait = false;
  uint64_t b = 0; // bits of the descriptor to change
};

Result multiplyOnce(const Wrong &wrong, uint32_t threads = 128) {
  return run(threads, 4096, [=] {
    const uint32_t t = threadIndex();
    if (t < 128) // 8 x 16 halves of b
      storeShared<uint16_t>(t * 2, 0x3f80);
    if (!wrong.noProxyFence && (!wrong.fenceByOneThread || t == 3))
      gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "proxy fence");
    if (!wrong.noBarrier)
      syncBlock();
    if (wrong.fenceAfterBarrier)
      gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "late proxy fence");
    uint32_t a[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    float sums[4] = {};
    if (!wrong.noWgmmaFence)
      gpu.wgmma_fence("wgmma fence");
    if (wrong.changesSums)
      gpu.wgmma_check(sums, sizeof(sums), "late use");
    gpu.wgmma(MOHD_EMU_MMA_BF16, wrong.unlikeN && t == 9 ? 16 : 8, 0, a,
              descriptorOf(0, 128, 128, 0) ^ wrong.b, 0, 0, 1, sums, "k: wgmma");
    gpu.wgmma_commit("commit");
    if (wrong.changesA)
      a[1] = 0;
    if (!wrong.noWait)
      gpu.wgmma_wait(wrong.oneMoreWait && t == 70, "k: wait");
    gpu.wgmma_check(sums, sizeof(sums), "k: use");
    EXPECT_TRUE(wrong.noWait || wrong.b || wrong.changesA || sums[3] == 16);
  });
}

TEST(EmulatorWgmmaFaults, OrdersAndFences) {
  EXPECT_TRUE(isClean(multiplyOnce({})));
  Wrong wrong;
  wrong.noBarrier = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Race, "k: wgmma: race: expects an order"));
  wrong = Wrong();
  wrong.noProxyFence = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::ProxyFence, "expects fence proxy_async"));
  wrong.fenceAfterBarrier = true; // anywhere on the way will do
  EXPECT_TRUE(isClean(multiplyOnce(wrong)));
  wrong = Wrong();
  wrong.fenceByOneThread = true; // before the barrier it covers only what that thread wrote
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::ProxyFence, "expects fence proxy_async"));
  wrong = Wrong();
  wrong.noWgmmaFence = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::WgmmaFence, "expects wgmma fence between"));
  wrong = Wrong();
  wrong.changesSums = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::WgmmaFence, "expects wgmma fence between"));
}

TEST(EmulatorWgmmaFaults, RegistersAreUsedBeforeTheWait) {
  Wrong wrong;
  wrong.noWait = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::WgmmaOperand,
                    "k: use: wgmma operand: expects sums to be left alone until the wait"));
  wrong = Wrong();
  wrong.changesA = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::WgmmaOperand, "registers of operand a"));
}

TEST(EmulatorWgmmaFaults, ThreadsThatDiffer) {
  Wrong wrong;
  wrong.unlikeN = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Divergence, "to issue one wgmma, got n 16"));
  wrong = Wrong();
  wrong.oneMoreWait = true;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Divergence, "to wait for the same groups"));
  EXPECT_TRUE(finds(multiplyOnce({}, 160), ErrorKind::Divergence,
                    "expects a warpgroup of 128 threads, got one of 32"));
}

TEST(EmulatorWgmmaFaults, Descriptors) {
  Wrong wrong;
  wrong.b = uint64_t(1) << 49;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Descriptor, "expects base offset 0"));
  wrong.b = uint64_t(1) << 55;
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Descriptor, "bits that are not used to be 0"));
  wrong.b = 4096 >> 4; // starts past the end
  EXPECT_TRUE(
      finds(multiplyOnce(wrong), ErrorKind::Bounds, "expects an operand within 4096 shared"));
  wrong.b = 1024 >> 4; // nobody wrote there
  EXPECT_TRUE(finds(multiplyOnce(wrong), ErrorKind::Uninitialised, "wgmma at shared offset 1024"));
  EXPECT_TRUE(finds(
      run(128, 0, [] { gpu.wgmma(MOHD_EMU_MMA_S8, 8, 0, nullptr, 0, 0, 0, 0, nullptr, "w"); }),
      ErrorKind::Argument, "expects bf16 or f16 and n a multiple of 8 up to 256"));
}

} // namespace
