// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device "cuda" on the fake driver, whose kernels run on the emulator: results, what is shared,
// what is called when, and every way in which the driver fails.
#include "CudaHelpers.h"

#include <thread>

using namespace mohdrt;

namespace {

class Cuda : public ::testing::Test {
protected:
  void SetUp() override { control = &useFakeCuda(); }
  void TearDown() override {
    context.reset();
    module.reset();
    EXPECT_EQ(control->usedBytes[0] + control->usedBytes[1], 0u) << "all memory is given back";
    EXPECT_EQ(control->retained[0], 0);
    EXPECT_EQ(control->retained[1], 0);
    EXPECT_TRUE(control->contexts.empty());
  }

  void load(std::vector<Target> targets = {makeGpuTarget("cuda", "sm_90a")},
            const char *device = "cuda") {
    context.reset();
    module = loadOrFail(cudaBundle(std::move(targets)));
    context = contextOrFail(module.get(), 1, device);
  }

  /// mohd_context_create(); the context, if there is one, is destroyed.
  mohd_status_t tryContext(const char *device = "cuda", uint64_t flags = 0) {
    mohd_context_options_t options = {};
    options.struct_size = sizeof(options);
    options.device = device;
    options.flags = flags;
    mohd_context_t *another = nullptr;
    const mohd_status_t status = mohd_context_create(module.get(), &options, &another);
    EXPECT_EQ(another != nullptr, status == MOHD_OK);
    mohd_context_destroy(another);
    return status;
  }

  mohd_status_t run(const DeviceFloats &x, const DeviceFloats &y, uint32_t entry = 0,
                    void *stream = nullptr) {
    mohd_run_options_t options = {};
    options.struct_size = sizeof(options);
    options.stream = stream;
    return mohd_run(context.get(), entry, &x.tensor, 1, &y.tensor, 1, &options);
  }

  std::vector<float> scale(std::vector<float> values) {
    DeviceFloats x(context.get(), MOHD_DTYPE_F32, values), y(context.get(), MOHD_DTYPE_F32, values);
    EXPECT_EQ(run(x, y), MOHD_OK) << mohd_last_error();
    return y.values();
  }

  fakecuda::Control *control = nullptr;
  ModuleHandle module;
  ContextHandle context;
};

TEST_F(Cuda, RunsKernels) {
  load();
  EXPECT_STREQ(mohd_context_target(context.get()), "cuda:sm_90a");
  EXPECT_EQ(mohd_context_threads(context.get()), 1u);
  EXPECT_EQ(scale({1, 2, 3}), (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(scale(std::vector<float>(1000, 4)), std::vector<float>(1000, 8));
  EXPECT_EQ(scale({}), std::vector<float>{});
  EXPECT_TRUE(control->faults.empty()) << control->faults[0];
}

// The range of an integer input is the kernel's to keep.
TEST_F(Cuda, UsesWorkspaceAndReadsNoIndices) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1, 2, 3, 4});
  DeviceFloats y(context.get(), MOHD_DTYPE_F32, {-1, -1, -1});
  DeviceTensor<int32_t> rows(context.get(), MOHD_DTYPE_I32, {3, 1, 4});
  const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
  ASSERT_EQ(mohd_context_reserve(context.get(), 80), MOHD_OK);
  ASSERT_EQ(mohd_run(context.get(), 1, inputs, 2, &y.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
  EXPECT_EQ(y.values(), (std::vector<float>{16, 4, 0}));
}

std::vector<float> countUp(size_t count, float step = 1) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = step * float(i);
  return values;
}

TEST_F(Cuda, EncodesTensorMapsOnce) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, countUp(160), 16);
  std::vector<std::unique_ptr<DeviceFloats>> outputs;
  for (int i = 0; i < 5; ++i)
    outputs.push_back(
        std::make_unique<DeviceFloats>(context.get(), MOHD_DTYPE_F32, std::vector<float>(160), 16));
  const auto encodings = [&] { return control->count("cuTensorMapEncodeTiled 7 2"); };
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 4; ++i) // as many as are kept
      EXPECT_EQ(run(x, *outputs[i], 2), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(encodings(), 1u + 4u);
  EXPECT_EQ(run(x, *outputs[4], 2), MOHD_OK); // pushes out the first
  EXPECT_EQ(run(x, *outputs[0], 2), MOHD_OK);
  EXPECT_EQ(encodings(), 1u + 4u + 2u);
  for (const auto &output : outputs)
    EXPECT_EQ(output->values(), countUp(160, 3));
  // Other dims, the same memory.
  mohd_tensor_t in = x.tensor, out = outputs[0]->tensor;
  in.shape[0] = out.shape[0] = 9;
  EXPECT_EQ(mohd_run(context.get(), 2, &in, 1, &out, 1, nullptr), MOHD_OK);
  EXPECT_EQ(encodings(), 1u + 4u + 2u + 2u);
  in.shape[0] = out.shape[0] = 0; // no launch, no map
  EXPECT_EQ(mohd_run(context.get(), 2, &in, 1, &out, 1, nullptr), MOHD_OK);
  EXPECT_EQ(encodings(), 1u + 4u + 2u + 2u);
  EXPECT_TRUE(control->faults.empty()) << control->faults[0];
}

TEST_F(Cuda, TypesAndSwizzlesOfTensorMaps) {
  struct Case {
    DType dtype;
    int64_t box, swizzle;
    const char *expected;
  };
  const Case cases[] = {{DType::I8, 16, 0, "0 0"},
                        {DType::I32, 8, 32, "3 1"},
                        {DType::F16, 32, 64, "6 2"},
                        {DType::BF16, 64, 128, "9 3"},
                        {DType::F32, 4, 0, "7 0"}};
  for (const Case &c : cases) {
    Target target = makeGpuTarget("cuda", "sm_90a");
    TensorMap &map = target.programs[2].dispatches[0].maps[1];
    map.dtype = c.dtype, map.box[0] = c.box, map.swizzle = c.swizzle;
    load({target});
    control->isCapturing = false;
    DeviceFloats x(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
    DeviceFloats y(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
    control->isCapturing = true; // such a kernel is none
    EXPECT_EQ(run(x, y, 2), MOHD_OK) << mohd_last_error();
    control->isCapturing = false;
    EXPECT_EQ(control->count("cuTensorMapEncodeTiled " + std::string(c.expected)), 1u)
        << c.expected;
  }
}

TEST_F(Cuda, TensorMapsThatTheDriverRefuses) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
  DeviceFloats y(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
  for (int round = 0; round < 2; ++round) { // what failed is not kept
    control->failures["cuTensorMapEncodeTiled"] = {1 - round, 1};
    EXPECT_EQ(run(x, y, 2), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas("cuda:0: cuTensorMapEncodeTiled of binding 1 of kernel 'gpu_tiles': "
                             "CUDA_ERROR_INVALID_VALUE (as told)"));
    EXPECT_EQ(control->count("cuLaunchKernel gpu_tiles"), 0u);
  }
  EXPECT_EQ(run(x, y, 2), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(y.values(), countUp(128, 3));
}

TEST_F(Cuda, ContextsShareCodeAndWeights) {
  load();
  const size_t used = control->usedBytes[0];
  EXPECT_EQ(used, 256u) << "the weight, and no more";
  {
    ContextHandle another = contextOrFail(module.get(), 1, "cuda:0");
    EXPECT_EQ(control->usedBytes[0], used);
    EXPECT_EQ(control->modules, 1);
    ModuleHandle other =
        loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_80"), makeGpuTarget("cuda", "sm_90a")}));
    ContextHandle third = contextOrFail(other.get(), 1, "cuda");
    EXPECT_EQ(control->modules, 2);
    EXPECT_EQ(control->retained[0], 1);
    context.reset();
    context = std::move(another);
    EXPECT_EQ(scale({3}), std::vector<float>{6});
  }
  EXPECT_EQ(control->modules, 1);
  context.reset();
  EXPECT_EQ(control->modules, 0);
  EXPECT_EQ(control->retained[0], 0);
}

TEST_F(Cuda, TwoDevices) {
  module =
      loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_80"), makeGpuTarget("cuda", "sm_90a")}));
  ContextHandle first = contextOrFail(module.get(), 1, "cuda");
  context = contextOrFail(module.get(), 1, "cuda:1");
  EXPECT_STREQ(mohd_context_target(first.get()), "cuda:sm_90a");
  EXPECT_STREQ(mohd_context_target(context.get()), "cuda:sm_80");
  EXPECT_EQ(scale({3}), std::vector<float>{6});
  EXPECT_EQ(control->usedBytes[0], control->usedBytes[1]);
  EXPECT_EQ(tryContext("cuda:2"), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("no device cuda:2"));
  EXPECT_EQ(tryContext("cpu"), MOHD_ERROR_INCOMPATIBLE) << "one is not taken for another";
  EXPECT_EQ(tryContext("emulate"), MOHD_ERROR_INCOMPATIBLE);
}

TEST_F(Cuda, ContextsInThreads) {
  load();
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> results(4);
  for (size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&, i] {
      ContextHandle own = contextOrFail(module.get(), 1, i % 2 ? "cuda:0" : "cuda");
      DeviceFloats x(own.get(), MOHD_DTYPE_F32, {float(i)}), y(own.get(), MOHD_DTYPE_F32, {0});
      mohd_run(own.get(), 0, &x.tensor, 1, &y.tensor, 1, nullptr);
      results[i] = y.values();
    });
  for (std::thread &thread : threads)
    thread.join();
  for (size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(results[i], std::vector<float>{2 * float(i)});
  control->contexts.clear(); // the last thread's
}

TEST_F(Cuda, PtxWhereThereIsNoCubin) {
  load({makeGpuTarget("cuda", "ptx")});
  EXPECT_STREQ(mohd_context_target(context.get()), "cuda:ptx");
  EXPECT_EQ(control->count("cuModuleLoadDataEx ptx"), 1u);
  EXPECT_EQ(scale({3}), std::vector<float>{6});
  EXPECT_EQ(tryContext("cuda", MOHD_CONTEXT_REQUIRE_CUBIN), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("the bundle has ptx, and a cubin is required"));
  EXPECT_EQ(tryContext("cuda", 6), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("unknown context flags 6"));
  load();
  EXPECT_EQ(tryContext("cuda", MOHD_CONTEXT_REQUIRE_CUBIN), MOHD_OK) << mohd_last_error();
}

TEST_F(Cuda, CodeThatTheDriverRefuses) {
  control->log = "line 1:\nerror";
  for (int result : {218, 209, 221, 222}) {
    module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "ptx")}));
    control->failures["cuModuleLoadDataEx"] = {0, result};
    EXPECT_EQ(tryContext(), result == 218 ? MOHD_ERROR_DEVICE : MOHD_ERROR_INCOMPATIBLE);
    EXPECT_TRUE(lastErrorHas("cuda:0: loading target cuda:ptx: CUDA error " +
                             std::to_string(result) + ": line 1:\\u000aerror"));
  }
  EXPECT_EQ(control->retained[0], 0);
  module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "ptx")}, std::string("a\0b", 3)));
  EXPECT_EQ(tryContext(), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("the PTX of target cuda:ptx has a zero byte"));
}

TEST_F(Cuda, DamagedCodeAndWeights) {
  const std::string bytes = cudaBundle({makeGpuTarget("cuda", "sm_90a")});
  const Manifest manifest = validateText(bytes)->manifest;
  for (size_t segment : {0, 1}) {
    std::string damaged = bytes;
    char &byte = damaged[size_t(manifest.segments[segment].offset)];
    byte = char(byte ^ (segment ? 1 : 0x10));
    module = loadOrFail(damaged);
    EXPECT_EQ(tryContext(), MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas("segment '" + manifest.segments[segment].name + "' does not match"));
  }
  std::string damaged = bytes;
  char &byte = damaged[size_t(manifest.segments[1].offset) + 3]; // the factor's sign
  byte = char(byte ^ 0x80);
  module = loadOrFail(damaged, MOHD_LOAD_SKIP_HASHES);
  context = contextOrFail(module.get(), 1, "cuda");
  EXPECT_EQ(scale({3}), std::vector<float>{-6});
}

// Each function fails once while a context is made: the error names it, nothing stays behind, and
// the next attempt succeeds.
TEST_F(Cuda, EveryFailureWhileAContextIsMade) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.kernels[3].sharedBytes = 50000;
  module = loadOrFail(cudaBundle({target}));
  const std::pair<const char *, const char *> cases[] = {
      {"cuDevicePrimaryCtxRetain", "cuda:0: cuDevicePrimaryCtxRetain: CUDA_ERROR_INVALID_VALUE"},
      {"cuCtxPushCurrent", "cuda:0: cuCtxPushCurrent: "},
      {"cuModuleLoadDataEx", "loading target cuda:sm_90a: "},
      {"cuModuleGetFunction", "cuModuleGetFunction of kernel 'gpu_scale': "},
      {"cuFuncGetAttribute", "cuFuncGetAttribute of kernel 'gpu_scale': "},
      {"cuFuncSetAttribute", "cuFuncSetAttribute of kernel 'gpu_tiles': "},
      {"cuMemAlloc", "cuMemAlloc of 256 bytes of weights: "},
      {"cuMemcpyHtoD", "cuMemcpyHtoD of 4 bytes: "},
  };
  for (const auto &[name, expected] : cases) {
    control->failures[name] = {0, 1};
    EXPECT_EQ(tryContext(), MOHD_ERROR_DEVICE) << name;
    EXPECT_TRUE(lastErrorHas(expected));
    EXPECT_EQ(control->usedBytes[0], 0u) << name;
    EXPECT_EQ(control->modules, 0) << name;
    EXPECT_EQ(control->retained[0], 0) << name;
  }
  control->failures["cuDeviceGet"] = {1, 1}; // the first is for the description
  EXPECT_EQ(tryContext(), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("cuda:0: cuDeviceGet: "));
  EXPECT_EQ(tryContext(), MOHD_OK) << mohd_last_error();
  EXPECT_GE(control->count("cuFuncSetAttribute 50000"), 2u) << "beyond 48 KiB one has to ask";
}

TEST_F(Cuda, KernelsThatTheGpuCannotRun) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.kernels[0].name = "gpu_none";
  module = loadOrFail(cudaBundle({target}));
  EXPECT_EQ(tryContext(), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("cuModuleGetFunction of kernel 'gpu_none': CUDA_ERROR_NOT_FOUND"));
  module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  control->maxThreads = 32;
  EXPECT_EQ(tryContext(), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("cuda:0: kernel 'gpu_scale' needs 64 threads and 0 bytes of shared "
                           "memory, at most 32 and 232448 are possible"));
  control->maxThreads = 1024;
  control->sharedBytes = 1000;
  EXPECT_EQ(tryContext(), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("kernel 'gpu_tiles' needs 32 threads and 1024 bytes of shared memory"));
}

// A run launches in the stream it is given, and does nothing that a capture forbids.
TEST_F(Cuda, RunsCanBeCaptured) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {-1});
  control->calls.clear();
  control->isCapturing = true;
  int stream = 0;
  EXPECT_EQ(run(x, y, 0, &stream), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(run(x, y), MOHD_OK);
  control->isCapturing = false;
  EXPECT_EQ(control->calls,
            (std::vector<std::string>{"cuCtxPushCurrent", "cuLaunchKernel gpu_scale",
                                      "cuCtxPushCurrent", "cuLaunchKernel gpu_scale"}));
  EXPECT_EQ(control->streams, (std::vector<void *>{&stream, nullptr}));
  EXPECT_EQ(y.values(), std::vector<float>{-1});
}

// Nor do launches of all blocks at once, or the encoding of tensor maps.
TEST_F(Cuda, CooperativeLaunchesAndTensorMapsCanBeCaptured) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.kernels[0].cooperative = true;
  load({target});
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {-1});
  DeviceFloats rows(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
  DeviceFloats tripled(context.get(), MOHD_DTYPE_F32, std::vector<float>(128, -1), 16);
  control->calls.clear();
  control->isCapturing = true;
  int stream = 0;
  EXPECT_EQ(run(x, y, 0, &stream), MOHD_OK) << mohd_last_error();
  for (int round = 0; round < 2; ++round) // the second time with the maps of the first
    EXPECT_EQ(run(rows, tripled, 2, &stream), MOHD_OK) << mohd_last_error();
  control->isCapturing = false;
  EXPECT_EQ(control->calls,
            (std::vector<std::string>{"cuCtxPushCurrent", "cuLaunchCooperativeKernel gpu_scale",
                                      "cuCtxPushCurrent", "cuTensorMapEncodeTiled 7 2",
                                      "cuTensorMapEncodeTiled 7 2", "cuLaunchKernel gpu_tiles",
                                      "cuCtxPushCurrent", "cuLaunchKernel gpu_tiles"}));
  EXPECT_EQ(control->streams, (std::vector<void *>{&stream, &stream, &stream}));
  EXPECT_EQ(control->grids, std::vector<unsigned>{1});
  EXPECT_EQ(y.values(), std::vector<float>{-1});
  EXPECT_EQ(tripled.values(), std::vector<float>(128, -1));
  EXPECT_EQ(run(x, y), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(run(rows, tripled, 2), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(y.values(), std::vector<float>{2});
  EXPECT_EQ(tripled.values(), countUp(128, 3));
}

// A cooperative kernel has as many blocks as the GPU holds at a time, and no more.
TEST_F(Cuda, CooperativeLaunches) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.kernels[0].cooperative = true;
  load({target});
  EXPECT_EQ(scale({3}), std::vector<float>{6});
  const std::vector<float> many(140 * 64, 1);
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, many), y(context.get(), MOHD_DTYPE_F32, many);
  EXPECT_EQ(run(x, y), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(control->grids, (std::vector<unsigned>{1, 132}));
  EXPECT_EQ(control->count("cuLaunchKernel gpu_scale"), 0u);
  control->failures["cuLaunchCooperativeKernel"] = {0, 720};
  EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("launching kernel 'gpu_scale'"));

  module = loadOrFail(cudaBundle({target}));
  control->blocksPerSm = 0;
  EXPECT_EQ(tryContext(), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("cuda:0: no block of cooperative kernel 'gpu_scale' fits a "
                           "multiprocessor"));
  control->blocksPerSm = 1;
  control->failures["cuOccupancyMaxActiveBlocksPerMultiprocessor"] = {0, 1};
  EXPECT_EQ(tryContext(), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("cuOccupancyMaxActiveBlocksPerMultiprocessor of kernel 'gpu_scale'"));
}

TEST_F(Cuda, CallersContextIsRestored) {
  void *library = ::dlopen(FAKE_CUDA_2, RTLD_NOW | RTLD_LOCAL);
  const auto setCurrent =
      reinterpret_cast<void (*)(bool)>(::dlsym(library, "fakecuda_set_current"));
  setCurrent(true);
  load();
  EXPECT_EQ(control->contexts, std::vector<int>{-1});
  EXPECT_EQ(scale({3}), std::vector<float>{6});
  EXPECT_EQ(control->contexts, std::vector<int>{-1});
  control->failures["cuLaunchKernel"] = {0, 1};
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
  EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
  EXPECT_EQ(control->contexts, std::vector<int>{-1});
  setCurrent(false);
}

TEST_F(Cuda, ErrorsThatPass) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
  const auto failsOnce = [&](const char *name, const char *expected, auto call) {
    control->failures[name] = {0, 1};
    EXPECT_EQ(call(), MOHD_ERROR_DEVICE) << name;
    EXPECT_TRUE(lastErrorHas(expected));
    EXPECT_EQ(call(), MOHD_OK) << name << ": " << mohd_last_error();
  };
  float value = 0;
  void *memory = nullptr;
  failsOnce("cuLaunchKernel",
            "cuda:0: launching kernel 'gpu_scale': CUDA_ERROR_INVALID_VALUE (as told)",
            [&] { return run(x, y); });
  failsOnce("cuCtxPushCurrent", "cuda:0: cuCtxPushCurrent: ", [&] { return run(x, y); });
  failsOnce("cuStreamSynchronize", "cuda:0: waiting for the stream (MOHD_CUDA_SYNCHRONIZE=1",
            [&] { return mohd_context_synchronize(context.get(), nullptr); });
  failsOnce("cuMemcpyHtoD", "cuda:0: cuMemcpyHtoD of 4 bytes: ", [&] {
    return mohd_context_upload(context.get(), x.tensor.data, &value, 4);
  });
  failsOnce("cuMemcpyDtoH", "cuda:0: cuMemcpyDtoH of 4 bytes: ", [&] {
    return mohd_context_download(context.get(), &value, y.tensor.data, 4);
  });
  failsOnce("cuMemAlloc", "cuda:0: cuMemAlloc of 8 bytes of tensors: ", [&] {
    return mohd_context_allocate(context.get(), 8, &memory);
  });
  EXPECT_EQ(mohd_context_upload(context.get(), nullptr, nullptr, 0), MOHD_OK);
  EXPECT_EQ(mohd_context_download(context.get(), nullptr, nullptr, 0), MOHD_OK);
}

TEST_F(Cuda, ErrorsThatStay) {
  load();
  {
    ContextHandle another = contextOrFail(module.get(), 1, "cuda");
    DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
    control->failures["cuLaunchKernel"] = {0, 719};
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas("cuda:0: launching kernel 'gpu_scale': CUDA_ERROR_LAUNCH_FAILED"));
    const std::string told = "cuda:0 cannot be used after an error: cuda:0: launching kernel "
                             "'gpu_scale': CUDA_ERROR_LAUNCH_FAILED (as told)";
    control->calls.clear();
    void *memory = nullptr;
    float value = 0;
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas(told));
    EXPECT_EQ(mohd_context_allocate(another.get(), 8, &memory), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas(told)) << "for all contexts there";
    EXPECT_EQ(mohd_context_reserve(another.get(), 8), MOHD_ERROR_DEVICE);
    EXPECT_EQ(mohd_context_upload(context.get(), x.tensor.data, &value, 4), MOHD_ERROR_DEVICE);
    EXPECT_EQ(mohd_context_download(context.get(), &value, x.tensor.data, 4), MOHD_ERROR_DEVICE);
    EXPECT_EQ(mohd_context_synchronize(context.get(), nullptr), MOHD_ERROR_DEVICE);
    ModuleHandle other = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
    std::swap(module, other);
    EXPECT_EQ(tryContext(), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas(told)) << "and for new ones";
    std::swap(module, other);
    EXPECT_TRUE(control->calls.empty()) << control->calls[0];
  }
  context.reset(); // the last one there
  EXPECT_EQ(control->retained[0], 0) << "and memory went with the driver's context";
  context = contextOrFail(module.get(), 1, "cuda");
  EXPECT_EQ(scale({3}), std::vector<float>{6});
}

TEST_F(Cuda, ErrorsThatStayDoSoOnTheirDevice) {
  module =
      loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_80"), makeGpuTarget("cuda", "sm_90a")}));
  ContextHandle first = contextOrFail(module.get(), 1, "cuda:0");
  context = contextOrFail(module.get(), 1, "cuda:1");
  {
    DeviceFloats x(first.get(), MOHD_DTYPE_F32, {1}), y(first.get(), MOHD_DTYPE_F32, {0});
    control->failures["cuLaunchKernel"] = {0, 719};
    std::swap(first, context);
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas("cuda:0 cannot be used after an error: "));
    std::swap(first, context);
  }
  // Memory, kernels, weights and new contexts of the other one.
  EXPECT_EQ(scale({3}), std::vector<float>{6});
  EXPECT_EQ(tryContext("cuda:1"), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(tryContext("cuda:0"), MOHD_ERROR_DEVICE) << "though its kernels are loaded";
  EXPECT_TRUE(lastErrorHas("cuda:0 cannot be used after an error: "));
  EXPECT_EQ(scale({4}), std::vector<float>{8});
  first.reset();
  EXPECT_EQ(control->retained[0], 0);
  EXPECT_EQ(control->retained[1], 1);
  EXPECT_EQ(scale({5}), std::vector<float>{10}) << "and after the one at fault is gone";
  first = contextOrFail(module.get(), 1, "cuda:0");
  std::swap(first, context);
  EXPECT_EQ(scale({3}), std::vector<float>{6}) << "which can be had again";
}

TEST_F(Cuda, WhichErrorsStay) {
  for (int code : {4, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999}) {
    load();
    DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
    control->failures["cuLaunchKernel"] = {0, code};
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE) << code;
    EXPECT_TRUE(lastErrorHas("cuda:0 cannot be used after an error: "));
  }
}

// The fake runs kernels at once; that this one leaves its memory is an error that stays.
TEST_F(Cuda, KernelsAtFaultAreFound) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.kernels[0].name = "gpu_overrun";
  load({target});
  {
    DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
    EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
    EXPECT_TRUE(lastErrorHas("CUDA_ERROR_ILLEGAL_ADDRESS"));
  }
  EXPECT_EQ(control->faults.size(), 1u);
}

TEST_F(Cuda, WaitsForEachKernelIfAsked) {
  ::setenv("MOHD_CUDA_SYNCHRONIZE", "1", 1);
  load();
  ::unsetenv("MOHD_CUDA_SYNCHRONIZE");
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
  control->failures["cuStreamSynchronize"] = {0, 1};
  EXPECT_EQ(run(x, y), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("cuda:0: running kernel 'gpu_scale': CUDA_ERROR_INVALID_VALUE"));
  EXPECT_EQ(run(x, y), MOHD_OK);
}

TEST_F(Cuda, OutOfMemory) {
  load();
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1});
  ASSERT_EQ(mohd_context_reserve(context.get(), 512), MOHD_OK);
  EXPECT_EQ(mohd_context_reserve(context.get(), 2 << 20), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(
      lastErrorHas("workspace (512 bytes are reserved): cuda:0: no memory for 2097152 bytes "
                   "of workspace: 1047804 of 1048576 bytes are free, this library has here "
                   "256 of weights, 512 of workspace, 4 of tensors"));
  void *memory = nullptr;
  EXPECT_EQ(mohd_context_allocate(context.get(), 2 << 20, &memory), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(lastErrorHas("no memory for 2097152 bytes of tensors"));
  control->failures["cuMemGetInfo"] = {0, 1};
  EXPECT_EQ(mohd_context_allocate(context.get(), 2 << 20, &memory), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(lastErrorHas("bytes of tensors: this library has here 256 of weights"));
  // A smaller workspace stays, and so does what was there.
  EXPECT_EQ(mohd_context_reserve(context.get(), 1024), MOHD_OK) << mohd_last_error();
  // Weights that do not fit.
  module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  control->memoryBytes = control->usedBytes[0] + 100;
  EXPECT_EQ(tryContext(), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(lastErrorHas("no memory for 256 bytes of weights: 100 of "));
}

TEST_F(Cuda, MemoryForTheContextItself) {
  module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  control->failures["cuDevicePrimaryCtxRetain"] = {0, 2};
  EXPECT_EQ(tryContext(), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(lastErrorHas("cuda:0: cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY"));
}

TEST_F(Cuda, WorkspaceFromTheCaller) {
  load();
  void *memory = nullptr;
  ASSERT_EQ(mohd_context_allocate(context.get(), 80, &memory), MOHD_OK);
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1, 2, 3, 4});
  DeviceFloats y(context.get(), MOHD_DTYPE_F32, {0});
  DeviceTensor<int32_t> rows(context.get(), MOHD_DTYPE_I32, {2});
  const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
  mohd_run_options_t options = {sizeof(options), memory, 80, nullptr};
  ASSERT_EQ(mohd_run(context.get(), 1, inputs, 2, &y.tensor, 1, &options), MOHD_OK)
      << mohd_last_error();
  EXPECT_EQ(y.values(), std::vector<float>{9});
}

TEST_F(Cuda, WeightsWithoutElements) {
  Manifest manifest = makeGpuManifest({makeGpuTarget("cuda", "sm_90a")});
  manifest.weights.push_back({"empty", DType::F32, {0}, false, 1, 64, 0});
  manifest.targets[0].programs[0].dispatches[0].bindings[1] = {Binding::Kind::Weight, 1, "0", "0"};
  std::vector<SegmentData> segments = makeSegments(gpuCode());
  segments[1] = SegmentData::fromBytes("weights", std::string(64, 'x'), kWeightsSegmentAlign);
  module = loadOrFail(bundleBytes(manifest, segments));
  context = contextOrFail(module.get(), 1, "cuda");
  EXPECT_EQ(control->usedBytes[0], 0u);
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, {1}), y(context.get(), MOHD_DTYPE_F32, {0});
  control->isCapturing = true;
  EXPECT_EQ(run(x, y), MOHD_OK) << mohd_last_error();
  control->isCapturing = false;
}

// Nothing of a target is bound: no memory is asked for.
TEST_F(Cuda, NoWeights) {
  Target target = makeGpuTarget("cuda", "sm_90a");
  target.programs.erase(target.programs.begin());
  load({target});
  EXPECT_EQ(control->usedBytes[0], 0u);
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
  DeviceFloats y(context.get(), MOHD_DTYPE_F32, countUp(128), 16);
  EXPECT_EQ(run(x, y, 2), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(y.values(), countUp(128, 3));
  EXPECT_EQ(run(x, y, 0), MOHD_ERROR_UNSUPPORTED);
}

} // namespace
