// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whole kernels: right, silent, the same for every schedule; and broken ones, found in every one.
#include "EmulatorGemm.h"

using namespace mohdemu;

namespace {

TEST(EmulatorGemm, AmpereIsTheSameForEverySchedule) {
  Gemm gemm(128, 64, 160);
  std::vector<uint16_t> first;
  for (uint64_t seed = 0; seed < EMULATOR_SEEDS; ++seed) {
    std::fill(gemm.d.begin(), gemm.d.end(), uint16_t(0x7fff));
    EXPECT_TRUE(isClean(AmpereGemm(gemm).run(seed, 1 + seed % 2)));
    if (seed == 0)
      first = gemm.d;
    EXPECT_EQ(gemm.d, first) << seed;
  }
  EXPECT_LT(gemm.error(), 1);
}

TEST(EmulatorGemm, HopperIsTheSameForEverySchedule) {
  Gemm gemm(256, 128, 512);
  std::vector<uint16_t> first;
  for (uint64_t seed = 0; seed < EMULATOR_SEEDS; ++seed) {
    std::fill(gemm.d.begin(), gemm.d.end(), uint16_t(0x7fff));
    EXPECT_TRUE(isClean(HopperGemm<64>(gemm).run(seed, 1 + seed % 2)));
    if (seed == 0)
      first = gemm.d;
    EXPECT_EQ(gemm.d, first) << seed;
  }
  EXPECT_LT(gemm.error(), 1);
}

/// In how many schedules a fault is found, as one of `kinds`.
template <typename Run> int countFound(Run run, std::vector<ErrorKind> kinds) {
  int found = 0;
  for (uint64_t seed = 0; seed < EMULATOR_SEEDS; ++seed) {
    const Result result = run(seed);
    for (const Error &error : result.errors)
      if (std::count(kinds.begin(), kinds.end(), error.kind)) {
        ++found;
        break;
      }
  }
  return found;
}

int countAmpere(Fault fault, ErrorKind kind) {
  Gemm gemm(64, 64, 256);
  gemm.fault = fault;
  return countFound([&](uint64_t seed) { return AmpereGemm(gemm).run(seed); }, {kind});
}

int countHopper(Fault fault, std::vector<ErrorKind> kinds) {
  Gemm gemm(128, 64, 512);
  gemm.fault = fault;
  return countFound([&](uint64_t seed) { return HopperGemm<64>(gemm).run(seed); }, kinds);
}

TEST(EmulatorBrokenGemm, AmpereWithoutWaitOrBarrier) {
  EXPECT_EQ(countAmpere(Fault::CopyWait, ErrorKind::Uninitialised), EMULATOR_SEEDS);
  EXPECT_EQ(countAmpere(Fault::CopyWait, ErrorKind::Race), EMULATOR_SEEDS);
  EXPECT_EQ(countAmpere(Fault::BlockBarrier, ErrorKind::Race), EMULATOR_SEEDS);
}

TEST(EmulatorBrokenGemm, HopperWithoutWaits) {
  EXPECT_EQ(countHopper(Fault::FullWait, {ErrorKind::Uninitialised, ErrorKind::Race}),
            EMULATOR_SEEDS);
  // Without room the producer overtakes itself; with too much the phases overtake the consumers.
  EXPECT_EQ(countHopper(Fault::EmptyWait, {ErrorKind::Race, ErrorKind::Mbarrier}), EMULATOR_SEEDS);
  EXPECT_EQ(countHopper(Fault::EarlyRelease, {ErrorKind::Race, ErrorKind::Deadlock}),
            EMULATOR_SEEDS);
  EXPECT_EQ(countHopper(Fault::WgmmaWait, {ErrorKind::WgmmaOperand}), EMULATOR_SEEDS);
}

TEST(EmulatorBrokenGemm, HopperWithoutFences) {
  EXPECT_EQ(countHopper(Fault::WgmmaFence, {ErrorKind::WgmmaFence}), EMULATOR_SEEDS);
  EXPECT_EQ(countHopper(Fault::ProxyFence, {ErrorKind::ProxyFence}), EMULATOR_SEEDS);
  EXPECT_EQ(countHopper(Fault::InitFence, {ErrorKind::ProxyFence}), EMULATOR_SEEDS);
}

TEST(EmulatorBrokenGemm, HopperWithWrongLayoutsGivesWrongNumbers) {
  for (Fault fault : {Fault::Swizzle, Fault::Stride}) {
    Gemm gemm(128, 64, 256);
    gemm.fault = fault;
    EXPECT_TRUE(isClean(HopperGemm<64>(gemm).run(1)));
    EXPECT_GT(gemm.error(), 10);
  }
}

TEST(EmulatorBrokenGemm, HopperExpectsTooFewBytes) {
  Gemm gemm(128, 64, 512);
  gemm.fault = Fault::Bytes;
  int found = 0; // the phase ends early, or never
  for (uint64_t seed = 0; seed < EMULATOR_SEEDS; ++seed)
    found += !HopperGemm<64>(gemm).run(seed).errors.empty();
  EXPECT_EQ(found, EMULATOR_SEEDS);
}

TEST(EmulatorBrokenGemm, HopperWarpThatDoesNotCommit) {
  EXPECT_EQ(countHopper(Fault::MissingWarp, {ErrorKind::Divergence}), EMULATOR_SEEDS);
}

// Nothing is wrong with lane 0 as long as one lane does all of it.
TEST(EmulatorBrokenGemm, HopperWithLaneZeroAsProducer) {
  Gemm gemm(128, 64, 256);
  gemm.fault = Fault::Leader;
  EXPECT_TRUE(isClean(HopperGemm<64>(gemm).run(3)));
  EXPECT_LT(gemm.error(), 1);
}

} // namespace
