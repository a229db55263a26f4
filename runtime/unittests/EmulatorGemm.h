// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Two matrix products as kernels, d = a [m, k] * b [n, k]^T in bf16, and ways to break them: one for
// Ampere (cp.async, ldmatrix, mma), one for Hopper (TMA, mbarriers, wgmma, warps with roles).
#ifndef MOHD_UNITTESTS_EMULATORGEMM_H
#define MOHD_UNITTESTS_EMULATORGEMM_H

#include "EmulatorHelpers.h"

namespace mohdemu {

/// What is left out or done wrong.
enum class Fault {
  None,
  CopyWait,     // of cp.async
  BlockBarrier, // at the end of a step
  FullWait,     // of consumers for tiles
  EmptyWait,    // of the producer for room
  EarlyRelease, // of a stage, before wgmma has read it
  WgmmaWait,    // at the end
  WgmmaFence,
  ProxyFence,  // before the TMA store
  InitFence,   // of the mbarriers
  Swizzle,     // descriptors say another one than tensor maps
  Stride,      // descriptors say another one than there is
  Bytes,       // one tile's are expected, two come
  MissingWarp, // one warp does not commit
  Leader,      // lane 0 is taken for the elected one
};

struct Gemm {
  uint32_t m, n, k;
  std::vector<uint16_t> a, b, d;
  Fault fault = Fault::None;

  Gemm(uint32_t m, uint32_t n, uint32_t k) : m(m), n(n), k(k), a(m * k), b(n * k), d(m * n) {
    for (size_t i = 0; i < a.size(); ++i)
      a[i] = mohdrt::narrowBf16(std::sin(static_cast<float>(i) * 0.37f));
    for (size_t i = 0; i < b.size(); ++i)
      b[i] = mohdrt::narrowBf16(std::cos(static_cast<float>(i) * 0.11f));
  }
  std::vector<Allocation> allocations() const {
    return {allocationOf(a, "a"), allocationOf(b, "b"), allocationOf(d, "d", true)};
  }
  /// The largest error of d over what rounding explains: below 1 is right.
  double error() const {
    double worst = 0;
    for (uint32_t i = 0; i < m; i += 3)
      for (uint32_t j = 0; j < n; ++j) {
        double sum = 0, magnitude = 0;
        for (uint32_t p = 0; p < k; ++p) {
          const double product =
              double(mohdrt::widenBf16(a[i * k + p])) * mohdrt::widenBf16(b[j * k + p]);
          sum += product;
          magnitude += std::abs(product);
        }
        const double bound = std::abs(sum) * 0x1p-8 + magnitude * k * 0x1p-24 + 1e-30;
        const double difference = std::abs(sum - mohdrt::widenBf16(d[i * n + j]));
        worst = std::max(worst, std::isnan(difference) ? INFINITY : difference / bound);
      }
    return worst;
  }
};

/// Blocks of 64 x 64 in steps of 32, three stages, four warps of 32 x 32. One block a tile.
class AmpereGemm {
public:
  explicit AmpereGemm(Gemm &gemm) : gemm_(gemm) {}

  Result run(uint64_t seed, unsigned threads = 1) {
    Launch launch = oneBlock(128, kStages * kStage, seed);
    launch.grid = {gemm_.n / 64, gemm_.m / 64, 1};
    launch.threads = threads;
    launch.name = "ampere";
    launch.allocations = gemm_.allocations();
    return emulate(launch, [this] { kernel(); });
  }

private:
  static constexpr uint32_t kStages = 3, kTile = 64 * 64, kStage = 2 * kTile; // bytes

  void copyStage(uint32_t step, uint32_t row, uint32_t column) const {
    if (step < gemm_.k / 32)
      for (uint32_t i = threadIndex(); i < 256; i += 128) { // pieces of 8 elements
        const uint32_t r = i / 4, c = i % 4 * 8, to = step % kStages * kStage + i * 16;
        const size_t from = step * 32 + c;
        gpu.copy_async(shared(to), &gemm_.a[(row + r) * gemm_.k + from], 16, 16, "copy a");
        gpu.copy_async(shared(to + kTile), &gemm_.b[(column + r) * gemm_.k + from], 16, 16,
                       "copy b");
      }
    gpu.copy_async_commit("commit");
  }

  void multiplyStage(uint32_t step, float (*sums)[4][4]) const {
    const uint32_t lane = threadIndex() % 32, warp = threadIndex() / 32;
    const uint32_t stage = step % kStages * kStage;
    for (uint32_t k = 0; k < 32; k += 16) {
      uint32_t a[2][4], b[2][4];
      for (uint32_t i = 0; i < 2; ++i) {
        const uint32_t m = warp / 2 * 32 + i * 16 + lane % 16, ka = k + lane / 16 * 8;
        gpu.load_matrix(shared(stage + m * 64 + ka * 2), 4, 0, a[i], "load a");
        const uint32_t n = warp % 2 * 32 + i * 16 + lane / 16 * 8 + lane % 8;
        const uint32_t kb = k + lane / 8 % 2 * 8;
        gpu.load_matrix(shared(stage + kTile + n * 64 + kb * 2), 4, 0, b[i], "load b");
      }
      for (uint32_t i = 0; i < 2; ++i)
        for (uint32_t j = 0; j < 4; ++j)
          gpu.mma(MOHD_EMU_MMA_BF16, a[i], &b[j / 2][j % 2 * 2], sums[i][j], sums[i][j], "mma");
    }
  }

  void kernel() const {
    const uint32_t column = blockIndex() * 64, row = gpu.special_register(MOHD_EMU_CTAID_Y) * 64;
    float sums[2][4][4] = {};
    copyStage(0, row, column);
    copyStage(1, row, column);
    for (uint32_t step = 0; step < gemm_.k / 32; ++step) {
      if (gemm_.fault != Fault::CopyWait)
        gpu.copy_async_wait(1, "wait");
      if (gemm_.fault != Fault::BlockBarrier)
        syncBlock();
      copyStage(step + 2, row, column); // into the stage that all have left
      multiplyStage(step, sums);
    }
    const uint32_t lane = threadIndex() % 32, warp = threadIndex() / 32;
    for (uint32_t i = 0; i < 2; ++i)
      for (uint32_t j = 0; j < 4; ++j)
        for (uint32_t half = 0; half < 2; ++half) {
          const uint32_t m = row + warp / 2 * 32 + i * 16 + lane / 4 + half * 8;
          const uint32_t n = column + warp % 2 * 32 + j * 8 + lane % 4 * 2;
          uint32_t *to = reinterpret_cast<uint32_t *>(&gemm_.d[m * gemm_.n + n]);
          const float *pair = &sums[i][j][half * 2];
          store(to, gpu.pack(MOHD_EMU_BF16, pair[0], pair[1]), MOHD_EMU_GLOBAL, "store d");
        }
  }

  Gemm &gemm_;
};

/// Blocks of 128 x kN in steps of 64, three stages: a warpgroup whose elected thread loads, two that
/// multiply 64 rows each.
template <uint32_t kN> class HopperGemm {
public:
  explicit HopperGemm(Gemm &gemm)
      : gemm_(gemm), a_(mapOf(gemm.a.data(), 2, {gemm.k, gemm.m}, {64, 128}, 3)),
        b_(mapOf(gemm.b.data(), 2, {gemm.k, gemm.n}, {64, kN}, 3)),
        d_(mapOf(gemm.d.data(), 2, {gemm.n, gemm.m}, {kN, 64}, 0)) {}

  Result run(uint64_t seed, unsigned threads = 1) {
    Launch launch = oneBlock(384, kBarriers + 64, seed);
    launch.grid = {gemm_.n / kN, gemm_.m / 128, 1};
    launch.threads = threads;
    launch.name = "hopper";
    launch.allocations = gemm_.allocations();
    return emulate(launch, [this] { kernel(); });
  }

private:
  static constexpr uint32_t kStages = 3, kTileA = 128 * 128, kTileB = kN * 128;
  static constexpr uint32_t kStage = kTileA + kTileB, kOut = kStages * kStage;
  static constexpr uint32_t kBarriers = kOut + 128 * kN * 2;

  bool has(Fault fault) const { return gemm_.fault == fault; }
  static void *full(uint32_t stage) { return shared(kBarriers + stage * 8); }
  static void *empty(uint32_t stage) { return shared(kBarriers + 32 + stage * 8); }
  uint32_t steps() const { return gemm_.k / 64; }

  void produce() const {
    gpu.set_max_registers(40, 0, "fewer registers");
    if (threadIndex() / 32 != 0)
      return;
    const bool elected = gpu.elect(~0u, "elect");
    if (has(Fault::Leader) ? threadIndex() != 0 : !elected)
      return;
    const int32_t column = static_cast<int32_t>(blockIndex() * kN);
    const int32_t row = static_cast<int32_t>(gpu.special_register(MOHD_EMU_CTAID_Y) * 128);
    for (uint32_t step = 0; step < steps(); ++step) {
      const uint32_t stage = step % kStages;
      const int32_t k = static_cast<int32_t>(step * 64);
      if (!has(Fault::EmptyWait))
        gpu.mbarrier_wait(empty(stage), (step / kStages + 1) % 2, "wait for room");
      gpu.mbarrier_expect(full(stage), has(Fault::Bytes) ? kTileA : kStage, "expect");
      gpu.tma_load(shared(stage * kStage), &a_, full(stage), 2, k, row, 0, 0, 0, "load a");
      gpu.tma_load(shared(stage * kStage + kTileA), &b_, full(stage), 2, k, column, 0, 0, 0,
                   "load b");
    }
  }

  void multiplyStage(uint32_t stage, uint32_t group, float *sums, bool first) const {
    const uint32_t mode = has(Fault::Swizzle) ? 2 : 3, stride = has(Fault::Stride) ? 512 : 1024;
    const uint32_t a = stage * kStage + group * 64 * 128, b = stage * kStage + kTileA;
    for (uint32_t k = 0; k < 4; ++k)
      gpu.wgmma(MOHD_EMU_MMA_BF16, kN, descriptorOf(a + k * 32, 16, stride, mode), nullptr,
                descriptorOf(b + k * 32, 16, stride, mode), 0, 0, !first || k > 0, sums, "wgmma");
    if (!has(Fault::MissingWarp) || threadIndex() / 32 != 5)
      gpu.wgmma_commit("commit");
  }

  void release(uint32_t step) const {
    if (threadIndex() % 32 == 0)
      gpu.mbarrier_arrive(empty(step % kStages), "release");
  }

  void consume(uint32_t group) const {
    gpu.set_max_registers(232, 1, "more registers");
    float sums[kN / 2];
    if (!has(Fault::WgmmaFence))
      gpu.wgmma_fence("wgmma fence");
    for (uint32_t step = 0; step < steps(); ++step) {
      if (!has(Fault::FullWait))
        gpu.mbarrier_wait(full(step % kStages), step / kStages % 2, "wait for tiles");
      multiplyStage(step % kStages, group, sums, step == 0);
      if (has(Fault::EarlyRelease))
        release(step);
      gpu.wgmma_wait(1, "wait for the step before");
      if (step > 0 && !has(Fault::EarlyRelease))
        release(step - 1);
    }
    if (!has(Fault::WgmmaWait))
      gpu.wgmma_wait(0, "wait for all");
    gpu.wgmma_check(sums, sizeof(sums), "use sums");
    storeTile(group, sums);
  }

  void storeTile(uint32_t group, const float *sums) const {
    const uint32_t lane = threadIndex() % 32, warp = threadIndex() / 32 % 4;
    const uint32_t out = kOut + group * 64 * kN * 2;
    for (uint32_t j = 0; j < kN / 16; ++j) {
      uint32_t words[4];
      for (uint32_t i = 0; i < 4; ++i)
        words[i] = gpu.pack(MOHD_EMU_BF16, sums[j * 8 + i * 2], sums[j * 8 + i * 2 + 1]);
      const uint32_t row = warp * 16 + lane % 16, column = j * 16 + lane / 16 * 8;
      gpu.store_matrix(shared(out + (row * kN + column) * 2), 4, 0, words, "store sums");
    }
    if (!has(Fault::ProxyFence))
      gpu.fence(MOHD_EMU_FENCE_PROXY_ASYNC, "proxy fence");
    gpu.barrier_sync(1 + group, 128, "tile is written");
    if (threadIndex() % 128 != 0)
      return;
    const int32_t column = static_cast<int32_t>(blockIndex() * kN);
    const int32_t row =
        static_cast<int32_t>(gpu.special_register(MOHD_EMU_CTAID_Y) * 128 + group * 64);
    gpu.tma_store(&d_, shared(out), 2, column, row, 0, 0, 0, "store d");
    gpu.tma_store_commit("commit store");
    gpu.tma_store_wait(0, 0, "wait for store");
  }

  void kernel() const {
    if (threadIndex() == 0) {
      for (uint32_t stage = 0; stage < kStages; ++stage) {
        gpu.mbarrier_init(full(stage), 1, "init full");
        gpu.mbarrier_init(empty(stage), 8, "init empty");
      }
      if (!has(Fault::InitFence))
        gpu.fence(MOHD_EMU_FENCE_MBARRIER_INIT, "init fence");
    }
    syncBlock();
    if (threadIndex() < 128)
      produce();
    else
      consume(threadIndex() / 128 - 1);
  }

  Gemm &gemm_;
  const mohd_emu_tensor_map a_, b_, d_;
};

} // namespace mohdemu

#endif // MOHD_UNITTESTS_EMULATORGEMM_H
