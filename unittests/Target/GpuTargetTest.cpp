// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names of GPU targets, and occupancy against known values.
#include "mohd/Target/GpuTarget.h"

#include "mohd/Target/CpuTarget.h"

#include <gtest/gtest.h>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::StatusCode;

static GpuInfo gpuOf(const std::string &name) {
  Result<std::vector<TargetInfo>> targets = parseGpuTargets("cuda:" + name);
  EXPECT_TRUE(targets.ok()) << targets.status().message();
  return *targets->front().gpu;
}

TEST(GpuTarget, ListsMakeOneTargetForEachName) {
  Result<std::vector<TargetInfo>> targets = parseGpuTargets("cuda:sm_80,sm_90a,ptx");
  ASSERT_TRUE(targets.ok()) << targets.status().message();
  ASSERT_EQ(targets->size(), 3u);
  const TargetInfo &ampere = (*targets)[0], &hopper = (*targets)[1], &ptx = (*targets)[2];
  EXPECT_EQ(ampere.kind, TargetKind::Cuda);
  EXPECT_EQ(ampere.arch, "sm_80");
  EXPECT_EQ(ampere.features, std::vector<std::string>{"ptx80"});
  EXPECT_EQ(hopper.cpu, "sm_90a");
  EXPECT_EQ(hopper.features, std::vector<std::string>{"ptx86"});
  EXPECT_EQ(hopper.triple, "nvptx64-nvidia-cuda");
  EXPECT_EQ(hopper.gpu->sharedPerBlock, 232448);
  EXPECT_FALSE(hopper.gpu->isPtx);
  EXPECT_EQ(ptx.arch, "ptx");
  EXPECT_EQ(ptx.cpu, "sm_80");
  EXPECT_EQ(ptx.features, std::vector<std::string>{"ptx70"});
  EXPECT_TRUE(ptx.gpu->isPtx);
}

TEST(GpuTarget, EmulationIsThisCpuWithTheLimitsOfAChip) {
  Result<std::vector<TargetInfo>> targets = parseGpuTargets("emulate:sm_90a");
  Result<TargetInfo> host = parseCpuTarget("cpu:native");
  ASSERT_TRUE(targets.ok()) << targets.status().message();
  ASSERT_EQ(targets->size(), 1u);
  EXPECT_EQ(targets->front().kind, TargetKind::Emulate);
  EXPECT_EQ(targets->front().arch, "sm_90a");
  EXPECT_EQ(targets->front().triple, host->triple);
  EXPECT_EQ(targets->front().features, host->features);
  EXPECT_EQ(targets->front().gpu->sharedPerSm, 233472);
  EXPECT_FALSE(host->gpu.has_value());
  EXPECT_EQ(host->kind, TargetKind::Cpu);
}

TEST(GpuTarget, WrongNamesAreErrorsThatListTheRightOnes) {
  const struct {
    const char *spec;
    StatusCode code;
    const char *message;
  } cases[] = {
      {"gpu:sm_80", StatusCode::InvalidArgument,
       "expected a target 'cuda:CHIP,...' or 'emulate:CHIP', got 'gpu:sm_80'"},
      {"cuda", StatusCode::InvalidArgument,
       "expected a target 'cuda:CHIP,...' or 'emulate:CHIP', got 'cuda'"},
      {"cuda:", StatusCode::Unsupported, "expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got ''"},
      {"cuda:sm_80,", StatusCode::Unsupported,
       "expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got ''"},
      {"cuda:sm_90", StatusCode::Unsupported,
       "expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got 'sm_90'; did you mean 'sm_90a'?"},
      {"cuda:sm80", StatusCode::Unsupported,
       "expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got 'sm80'; did you mean 'sm_80'?"},
      {"cuda:hopper", StatusCode::Unsupported,
       "expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got 'hopper'"},
      {"cuda:sm_80,sm_90a,sm_80", StatusCode::InvalidArgument,
       "expected each chip once, got 'sm_80' twice in 'cuda:sm_80,sm_90a,sm_80'"},
      {"emulate:ptx", StatusCode::Unsupported,
       "expected emulated target 'sm_80' or 'sm_90a', got 'ptx'"},
      {"emulate:sm_80,sm_90a", StatusCode::InvalidArgument,
       "expected one chip after 'emulate:', got 'sm_80,sm_90a'"},
  };
  for (const auto &[spec, code, message] : cases) {
    Result<std::vector<TargetInfo>> targets = parseGpuTargets(spec);
    ASSERT_FALSE(targets.ok()) << spec;
    EXPECT_EQ(targets.status().code(), code) << spec;
    EXPECT_EQ(targets.status().message(), message) << spec;
  }
}

// As NVIDIA's occupancy calculator has them.
TEST(Occupancy, BlocksOfAnSmAreThoseOfTheCalculator) {
  const struct {
    const char *chip;
    KernelResources kernel; // registers, shared bytes, threads
    int64_t blocks;
  } cases[] = {
      {"sm_80", {32, 0, 256}, 8},         // 64 warps
      {"sm_80", {33, 0, 256}, 6},         // 1280 registers a warp, 48 warps
      {"sm_80", {64, 0, 256}, 4},         // 32 warps
      {"sm_80", {128, 0, 128}, 4},        // 16 warps
      {"sm_80", {255, 0, 128}, 2},        // 8 warps
      {"sm_80", {168, 0, 384}, 1},        // 12 warps
      {"sm_80", {16, 0, 32}, 32},         // the most blocks
      {"sm_80", {16, 0, 1}, 32},          // a warp is whole
      {"sm_80", {32, 0, 1024}, 2},        // the most threads
      {"sm_80", {64, 0, 1024}, 1},        // all registers
      {"sm_80", {32, 48 << 10, 256}, 3},  // 49 KiB each of 164
      {"sm_90a", {32, 48 << 10, 256}, 4}, // of 228
      {"sm_80", {32, 166912, 256}, 1},    // the most shared memory
      {"sm_90a", {168, 232448, 384}, 1},
      {"sm_80", {32, 81 << 10, 128}, 2}, // 82 KiB each
      {"sm_80", {32, (81 << 10) + 1, 128}, 1},
      {"sm_80", {0, 0, 96}, 21}, // 3 warps of 64
  };
  for (const auto &[chip, kernel, blocks] : cases) {
    Result<int64_t> result = computeBlocksPerSm(gpuOf(chip), kernel);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(*result, blocks) << chip << " " << kernel.registers << " registers, "
                               << kernel.sharedBytes << " bytes, " << kernel.threads << " threads";
  }
}

TEST(Occupancy, WhatFitsNoSmIsAnErrorWithBothNumbers) {
  const struct {
    KernelResources kernel;
    const char *message;
  } cases[] = {
      {{32, 0, 1025}, "expects 1 to 1024 threads a block on sm_80, got 1025"},
      {{32, 0, 0}, "expects 1 to 1024 threads a block on sm_80, got 0"},
      {{256, 0, 32}, "expects 0 to 255 registers a thread on sm_80, got 256"},
      {{32, 166913, 32}, "expects 0 to 166912 bytes of shared memory a block on sm_80, got 166913"},
      {{65, 0, 1024},
       "expects registers for the block's 32 warps on sm_80, got 65 a thread, with which 28 warps "
       "fit"},
  };
  for (const auto &[kernel, message] : cases)
    EXPECT_EQ(computeBlocksPerSm(gpuOf("sm_80"), kernel).status().message(), message);
}
