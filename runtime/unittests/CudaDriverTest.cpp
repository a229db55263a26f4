// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Finding the CUDA driver and its GPUs, and all the ways in which there is none; which code a GPU
// takes.
#include "CudaHelpers.h"

#include "device/cuda/code.h"

#include <sys/wait.h>
#include <unistd.h>

using namespace mohdrt;

namespace {

TEST(CudaDriver, CountsAndDescribesDevices) {
  useFakeCuda();
  uint32_t count = 0;
  ASSERT_EQ(mohd_device_count("cuda", &count), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(count, 2u);
  mohd_device_info_t info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(mohd_device_describe("cuda:1", &info), MOHD_OK) << mohd_last_error();
  EXPECT_STREQ(info.name, "Fake GPU 1");
  EXPECT_EQ(info.compute_major, 8);
  EXPECT_EQ(info.compute_minor, 6);
  EXPECT_EQ(info.units, 132u);
  EXPECT_EQ(info.memory_bytes, 1u << 20);
  EXPECT_EQ(info.driver_version, 12040);
  ASSERT_EQ(mohd_device_describe("cuda", &info), MOHD_OK) << mohd_last_error();
  EXPECT_STREQ(info.name, "Fake GPU 0");
  EXPECT_EQ(mohd_device_describe("cuda:2", &info), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("no device cuda:2, expected cuda:0 to cuda:1"));
  EXPECT_STREQ(info.name, "Fake GPU 0") << "nothing is written by a call that fails";
}

TEST(CudaDriver, OtherKindsOfDevices) {
  uint32_t count = 0;
  for (const char *kind : {"cpu", "emulate"}) {
    EXPECT_EQ(mohd_device_count(kind, &count), MOHD_OK);
    EXPECT_EQ(count, 1u);
  }
  EXPECT_EQ(mohd_device_count("tpu", &count), MOHD_ERROR_UNSUPPORTED);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(mohd_device_count(nullptr, &count), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_device_count("cpu", nullptr), MOHD_ERROR_INVALID_ARGUMENT);
  mohd_device_info_t info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(mohd_device_describe("cpu", &info), MOHD_OK);
  EXPECT_GE(info.units, 1u);
  EXPECT_GT(info.memory_bytes, 0u);
  EXPECT_EQ(info.compute_major, 0);
  for (const char *device : {"cuda:", "cuda:x", "cuda:-1", "cuda:12345", "cuda:1 ", "cudas"}) {
    EXPECT_EQ(mohd_device_describe(device, &info), MOHD_ERROR_UNSUPPORTED) << device;
    EXPECT_TRUE(lastErrorHas("unknown device '" + std::string(device) + "', expected cpu, cuda"));
  }
  info.struct_size = 8;
  EXPECT_EQ(mohd_device_describe("cpu", &info), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_device_describe(nullptr, &info), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_device_describe("cpu", nullptr), MOHD_ERROR_INVALID_ARGUMENT);
}

/// The driver cannot be used, and the message has `part`.
void expectNoDriver(const std::string &part) {
  uint32_t count = 9;
  EXPECT_EQ(mohd_device_count("cuda", &count), MOHD_ERROR_DEVICE) << part;
  EXPECT_TRUE(lastErrorHas(part));
  EXPECT_EQ(count, 0u);
}

TEST(CudaDriver, AbsentLibrary) {
  ::setenv("MOHD_LIBCUDA", "/no/such/libcuda.so", 1);
  expectNoDriver("no CUDA driver: /no/such/libcuda.so: cannot open");
  mohd_device_info_t info = {};
  info.struct_size = sizeof(info);
  EXPECT_EQ(mohd_device_describe("cuda:0", &info), MOHD_ERROR_DEVICE);
  ModuleHandle module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  mohd_context_options_t options = {sizeof(options), "cuda", 0, nullptr, 0, 0};
  mohd_context_t *context = nullptr;
  EXPECT_EQ(mohd_context_create(module.get(), &options, &context), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("no CUDA driver: "));
}

TEST(CudaDriver, WaysToLookFunctionsUp) {
  ::setenv("MOHD_LIBCUDA", FAKE_CUDA_0, 1);
  expectNoDriver("the CUDA driver is too old: it has no cuGetProcAddress; 12.0 or later is needed");
  useFakeCuda(FAKE_CUDA_1);
  uint32_t count = 0;
  EXPECT_EQ(mohd_device_count("cuda", &count), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(count, 2u);
}

TEST(CudaDriver, MissingFunctions) {
  for (const char *path : {FAKE_CUDA_2, FAKE_CUDA_1}) {
    fakecuda::Control &control = useFakeCuda(path);
    for (const char *name : {"cuDriverGetVersion", "cuTensorMapEncodeTiled", "cuInit"}) {
      control.missing = name;
      expectNoDriver("the CUDA driver has no " + std::string(name) +
                     "; CUDA 12.0 or later is needed");
    }
  }
}

TEST(CudaDriver, OldVersion) {
  fakecuda::Control &control = useFakeCuda();
  control.version = 11080;
  control.missing = "cuTensorMapEncodeTiled"; // as an old driver; the version is what is told
  expectNoDriver("the CUDA driver is for CUDA 11.8, 12.0 or later is needed; update the driver");
}

TEST(CudaDriver, FailedStart) {
  fakecuda::Control &control = useFakeCuda();
  control.failures["cuInit"] = {0, 719};
  expectNoDriver("does not start: cuInit: CUDA_ERROR_LAUNCH_FAILED (as told)");
  control.failures["cuInit"] = {0, 803};
  expectNoDriver("does not start: cuInit: CUDA error 803");
  control.failures["cuInit"] = {0, 2};
  expectNoDriver("cuInit: CUDA_ERROR_OUT_OF_MEMORY");
  control.failures["cuDeviceGetCount"] = {0, 1};
  expectNoDriver("cuDeviceGetCount: CUDA_ERROR_INVALID_VALUE (as told)");
  uint32_t count = 0;
  EXPECT_EQ(mohd_device_count("cuda", &count), MOHD_OK) << "and then it starts";
}

TEST(CudaDriver, NoGpu) {
  fakecuda::Control &control = useFakeCuda();
  control.failures["cuInit"] = {0, 100};
  expectNoDriver("the CUDA driver finds no GPU");
  control.devices = 0;
  expectNoDriver("the CUDA driver finds no GPU");
}

TEST(CudaDriver, FailuresWhileDescribing) {
  fakecuda::Control &control = useFakeCuda();
  mohd_device_info_t info = {};
  info.struct_size = sizeof(info);
  for (const char *name :
       {"cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetName", "cuDeviceTotalMem"}) {
    control.failures[name] = {0, 1};
    EXPECT_EQ(mohd_device_describe("cuda:0", &info), MOHD_ERROR_DEVICE) << name;
    EXPECT_TRUE(lastErrorHas("cannot describe cuda:0: CUDA_ERROR_INVALID_VALUE"));
  }
}

TEST(CudaDriver, ForkedChild) {
  useFakeCuda();
  ModuleHandle module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  ContextHandle context = contextOrFail(module.get(), 1, "cuda");
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
  const pid_t child = ::fork();
  if (child == 0) {
    uint32_t count = 0;
    mohd_context_t *another = nullptr;
    mohd_context_options_t options = {};
    options.struct_size = sizeof(options);
    options.device = "cuda";
    const auto isTold = [] {
      return bool(lastErrorHas("CUDA was started before fork() and does not work in the child"));
    };
    bool good = mohd_device_count("cuda", &count) == MOHD_ERROR_DEVICE && isTold();
    good &= mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, nullptr) == MOHD_ERROR_DEVICE &&
            isTold();
    good &= mohd_context_create(module.get(), &options, &another) == MOHD_ERROR_DEVICE && isTold();
    mohd_context_destroy(context.release()); // calls nothing
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, nullptr), MOHD_OK);
}

TEST(CudaTarget, WhatAGpuTakes) {
  struct Case {
    std::vector<const char *> targets;
    int major, minor;
    const char *taken; // null: none
    bool requireCubin = false;
  };
  const Case cases[] = {
      {{"sm_80", "sm_90a", "ptx"}, 9, 0, "sm_90a"},
      {{"sm_90", "sm_90a"}, 9, 0, "sm_90a"},
      {{"sm_90a", "sm_90"}, 9, 0, "sm_90a"},
      {{"sm_80", "sm_86", "ptx"}, 8, 6, "sm_86"},
      {{"sm_86", "sm_80", "ptx"}, 8, 9, "sm_86"},
      {{"ptx", "sm_86", "sm_80"}, 8, 0, "sm_80"},
      {{"ptx", "sm_90a"}, 9, 1, "ptx"}, // not a family's but one GPU's code
      {{"sm_80", "ptx"}, 12, 0, "ptx"},
      {{"sm_80"}, 9, 0, nullptr},
      {{"sm_90a"}, 9, 1, nullptr},
      {{"sm_89", "ptx"}, 8, 6, "ptx"},
      {{"ptx"}, 7, 5, nullptr},
      {{"ptx"}, 9, 0, nullptr, true},
      {{"ptx", "sm_80"}, 8, 0, "sm_80", true},
  };
  for (const Case &c : cases) {
    Manifest manifest;
    for (const char *arch : c.targets)
      manifest.targets.push_back(makeGpuTarget("cuda", arch));
    Result<size_t> taken = cuda::selectTarget(manifest, c.major, c.minor, c.requireCubin);
    ASSERT_EQ(taken.ok(), c.taken != nullptr) << c.targets[0] << " on " << c.major << c.minor;
    EXPECT_EQ(taken.ok() ? manifest.targets[*taken].arch : "", c.taken ? c.taken : "");
  }
}

// Weights of one segment or file stay together, as it is read and hashed as a whole.
TEST(CudaWeights, BatchesOfWholeSegments) {
  Manifest manifest;
  for (int64_t size : {60, 30, 200})
    manifest.segments.push_back({"segment", 0, size, 64, {}});
  manifest.files.push_back({"file", 10, {}});
  const auto add = [&](bool external, int64_t container) {
    manifest.weights.push_back({"w", DType::I8, {1}, external, container, 0, 1});
  };
  add(false, 0), add(false, 1), add(false, 2), add(true, 0), add(false, 0), add(false, 1);
  using Batches = std::vector<std::vector<bool>>;
  EXPECT_EQ(cuda::batchesOf(manifest, {1, 1, 1, 1, 1, 0}, 100),
            (Batches{{1, 1, 0, 0, 1, 0}, {0, 0, 1, 0, 0, 0}, {0, 0, 0, 1, 0, 0}}));
  EXPECT_EQ(cuda::batchesOf(manifest, {1, 0, 0, 1, 0, 1}, 100), (Batches{{1, 0, 0, 1, 0, 1}}));
  EXPECT_EQ(cuda::batchesOf(manifest, {0, 0, 0, 0, 0, 0}, 100), Batches{});
}

TEST(CudaTarget, WhatIsToldOfNone) {
  Manifest manifest;
  EXPECT_EQ(cuda::selectTarget(manifest, 9, 0, false).status().message(),
            "the bundle has no cuda target");
  manifest.targets = {makeGpuTarget("emulate", "sm_90a"), makeGpuTarget("cuda", "sm_80"),
                      makeGpuTarget("cuda", "ptx")};
  EXPECT_EQ(
      cuda::selectTarget(manifest, 9, 0, true).status().message(),
      "no code for a GPU of sm_90: the bundle has sm_80, ptx, and a cubin is required (compile "
      "with --target=cuda:sm_90)");
  EXPECT_EQ(cuda::selectTarget(manifest, 7, 5, false).status().code(), StatusCode::Incompatible);
}

} // namespace
