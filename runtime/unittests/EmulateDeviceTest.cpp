// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device "emulate": bundles run on the emulator, and what it finds is an error of the run.
#include "GpuBundle.h"
#include "RuntimeHelpers.h"

using namespace mohdrt;

namespace {

std::string emulateBundle(void (*change)(Manifest &manifest) = nullptr) {
  Manifest manifest = makeGpuManifest({makeGpuTarget("emulate", "sm_90a")});
  if (change)
    change(manifest);
  return bundleBytes(manifest, makeSegments(gpuCode()));
}

/// mohd_context_create() for `device`; the context, if there is one, is destroyed.
mohd_status_t tryContext(mohd_module_t *module, const char *device) {
  mohd_context_options_t options = {sizeof(options), device, 1, nullptr, 0, 0};
  mohd_context_t *context = nullptr;
  const mohd_status_t status = mohd_context_create(module, &options, &context);
  EXPECT_EQ(context != nullptr, status == MOHD_OK);
  mohd_context_destroy(context);
  return status;
}

class Emulate : public ::testing::Test {
protected:
  void load(void (*change)(Manifest &manifest) = nullptr, const char *device = "emulate") {
    context.reset();
    module = loadOrFail(emulateBundle(change));
    context = contextOrFail(module.get(), 2, device);
  }

  mohd_status_t scale(std::vector<float> x) {
    TestTensor<float> input = floats(x), output = floats(x);
    return mohd_run(context.get(), 0, &input.tensor, 1, &output.tensor, 1, nullptr);
  }

  ModuleHandle module;
  ContextHandle context;
};

TEST_F(Emulate, RunsKernels) {
  load();
  EXPECT_STREQ(mohd_context_target(context.get()), "emulate:sm_90a");
  EXPECT_EQ(mohd_context_threads(context.get()), 2u);
  EXPECT_EQ(runScale(context.get(), {1, 2, 3}), (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(runPick(context.get(), {1, 2, 3, 4}, {3, 1}), (std::vector<float>{16, 4}));
  std::vector<float> x(1000), expected(1000);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = float(i), expected[i] = float(2 * i);
  EXPECT_EQ(runScale(context.get(), x), expected);
}

TEST_F(Emulate, EmptyGridsLaunchNothing) {
  load();
  EXPECT_EQ(runScale(context.get(), {}), std::vector<float>{});
  TestTensor<float> x = floats({}), y = floats({});
  x.tensor.rank = y.tensor.rank = 2;
  x.tensor.shape[1] = y.tensor.shape[1] = 16;
  EXPECT_EQ(mohd_run(context.get(), 2, &x.tensor, 1, &y.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
}

/// "tiles" on [rows, 16].
std::vector<float> runTiles(mohd_context_t *context, int64_t rows) {
  std::vector<float> values(size_t(rows) * 16);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float(i);
  TestTensor<float> x = floats(values), y = floats(values);
  for (mohd_tensor_t *tensor : {&x.tensor, &y.tensor})
    tensor->rank = 2, tensor->shape[0] = rows, tensor->shape[1] = 16;
  EXPECT_EQ(mohd_run(context, 2, &x.tensor, 1, &y.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = y.values()[i] - 3 * values[i];
  return values;
}

TEST_F(Emulate, TensorMapsOfEverySize) {
  load();
  for (int64_t rows : {8, 1, 9, 30})
    EXPECT_EQ(runTiles(context.get(), rows), std::vector<float>(size_t(rows) * 16)) << rows;
}

// What a map covers is known with the call's dims only.
TEST_F(Emulate, TensorMapsThatDoNotFit) {
  struct Case {
    const char *expected;
    void (*change)(Manifest &manifest);
  };
#define MAP manifest.targets[0].programs[2].dispatches[0].maps[0]
  const Case cases[] = {
      {"map 0 of kernel 'gpu_tiles': expects extents of 1 to 4294967295, got 0 in dimension 1",
       [](Manifest &manifest) { MAP.extents[1] = "T-8"; }},
      {"expects extents of 1 to 4294967295, got 4294967296 in dimension 0",
       [](Manifest &manifest) { MAP.extents[0] = "4294967296"; }},
      {"a map's extent has no value", [](Manifest &manifest) { MAP.extents[1] = "T-9"; }},
      {"multiples of 16 bytes, up to 2^40, got 0 in dimension 1",
       [](Manifest &manifest) { MAP.strides[0] = "0"; }},
      {"got 60 in dimension 1", [](Manifest &manifest) { MAP.strides[0] = "60"; }},
      {"got 1099511627776 in dimension 1",
       [](Manifest &manifest) { MAP.strides[0] = "1099511627776"; }},
      {"a map's stride has no value", [](Manifest &manifest) { MAP.strides[0] = "0-T"; }},
      {"expects a tensor within the 512 bytes of its binding, got 576 bytes",
       [](Manifest &manifest) { MAP.extents[1] = "T+1"; }},
      {"of its binding, got 2^63 bytes",
       [](Manifest &manifest) {
         MAP.extents = {"16", "4294967295", "4294967295"};
         MAP.strides = {"1099511627760", "1099511627760"};
         MAP.box = {16, 8, 1};
       }},
      {"expects a binding at a multiple of 16 bytes, got offset 4",
       [](Manifest &manifest) {
         manifest.targets[0].programs[2].dispatches[0].bindings[0] = {Binding::Kind::Input, 0, "4",
                                                                      "T*64-4"};
         MAP.extents[1] = "1";
       }},
  };
#undef MAP
  for (const Case &c : cases) {
    load(c.change);
    TestTensor<float> x = floats(std::vector<float>(128)), y = floats(std::vector<float>(128));
    for (mohd_tensor_t *tensor : {&x.tensor, &y.tensor})
      tensor->rank = 2, tensor->shape[0] = 8, tensor->shape[1] = 16;
    EXPECT_EQ(mohd_run(context.get(), 2, &x.tensor, 1, &y.tensor, 1, nullptr),
              MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas(c.expected));
  }
}

TEST_F(Emulate, GridsOfGpusAreSmaller) {
  load([](Manifest &manifest) {
    manifest.targets[0].programs[0].dispatches[0].grid = "T*2147483648";
  });
  EXPECT_EQ(scale({1}), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("2147483648 blocks, at most 2147483647 are possible"));
}

TEST_F(Emulate, FindsAccessesOutsideOfBindings) {
  load([](Manifest &manifest) { manifest.targets[0].kernels[0].name = "gpu_overrun"; });
  EXPECT_EQ(scale(std::vector<float>(64)), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(scale(std::vector<float>(63)), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("the emulator found 1 error: kernel 'gpu_overrun', block (0, 0, 0)"));
  EXPECT_TRUE(lastErrorHas("load x: bounds: "));
  EXPECT_TRUE(lastErrorHas("offset 252 of 'x', which has 252 bytes"));
}

TEST_F(Emulate, FindsWritesToInputsAndWeights) {
  const auto overwrite = [](Manifest &manifest) {
    manifest.targets[0].kernels[0].name = "gpu_overwrite";
  };
  load(overwrite);
  EXPECT_EQ(scale({1, 2}), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("read-only: expects a writable allocation, got write to 'factor'"));
  ::setenv("MOHD_EMULATOR_SEED", "0", 1);
  // A weight that is written would be the next error.
  load([](Manifest &manifest) {
    manifest.targets[0].kernels[0].name = "gpu_overwrite";
    manifest.targets[0].programs[0].dispatches[0].bindings[1] = {Binding::Kind::Output, 0, "0",
                                                                 "4"};
  });
  EXPECT_EQ(scale({1, 2}), MOHD_ERROR_DEVICE);
  EXPECT_TRUE(lastErrorHas("got write to 'x'"));
  // An input that is mutable may be written.
  load([](Manifest &manifest) {
    manifest.targets[0].kernels[0].name = "gpu_overwrite";
    manifest.entryPoints[0].inputs[0].isMutable = true;
    manifest.targets[0].programs[0].dispatches[0].bindings[1] = {Binding::Kind::Output, 0, "0",
                                                                 "4"};
  });
  EXPECT_EQ(scale({1, 2}), MOHD_OK) << mohd_last_error();
  ::unsetenv("MOHD_EMULATOR_SEED");
}

// Bindings that share bytes are one allocation, writable if one of them is.
TEST_F(Emulate, BindingsMayShareBytes) {
  load([](Manifest &manifest) {
    Dispatch &scale = manifest.targets[0].programs[0].dispatches[0];
    manifest.targets[0].programs[0].workspace = "128";
    Dispatch square;
    square.kernel = 1, square.grid = "1", square.params = {"2"};
    square.bindings = {{Binding::Kind::Workspace, 0, "0", "128"},
                       {Binding::Kind::Workspace, 0, "64", "64"}};
    manifest.targets[0].programs[0].dispatches = {scale, square};
  });
  ASSERT_EQ(mohd_context_reserve(context.get(), 128), MOHD_OK);
  EXPECT_EQ(scale({1, 2}), MOHD_OK) << mohd_last_error();
}

TEST_F(Emulate, SeedsOfTheSchedule) {
  for (const char *seed : {"1", "18446744073709551615", ""}) {
    ::setenv("MOHD_EMULATOR_SEED", seed, 1);
    load();
    EXPECT_EQ(runTiles(context.get(), 20), std::vector<float>(320));
  }
  for (const char *seed : {"x", "-1", "18446744073709551616", "1 "}) {
    ::setenv("MOHD_EMULATOR_SEED", seed, 1);
    EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_INVALID_ARGUMENT);
    EXPECT_TRUE(lastErrorHas("expected MOHD_EMULATOR_SEED to be a number of 64 bits, got '"));
  }
  ::unsetenv("MOHD_EMULATOR_SEED");
}

TEST_F(Emulate, NumberOfThreads) {
  load();
  mohd_context_options_t options = {sizeof(options), "emulate", 1025, nullptr, 0, 0};
  mohd_context_t *another = nullptr;
  EXPECT_EQ(mohd_context_create(module.get(), &options, &another), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("at most 1024 threads"));
}

TEST_F(Emulate, ChecksTensorsAsTheCpuDoes) {
  load();
  ASSERT_EQ(mohd_context_reserve(context.get(), 4096), MOHD_OK);
  TestTensor<float> x = floats({1, 2, 3, 4}), y = floats({-7});
  TestTensor<int32_t> rows = ints({4});
  const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
  EXPECT_EQ(mohd_run(context.get(), 1, inputs, 2, &y.tensor, 1, nullptr), MOHD_ERROR_OUT_OF_RANGE);
  EXPECT_EQ(y.values(), std::vector<float>{-7});
}

TEST_F(Emulate, ChoosesAmongTargets) {
  Manifest manifest = makeGpuManifest(
      {makeGpuTarget("emulate", "sm_80"), makeTarget(0), makeGpuTarget("emulate", "sm_90a")});
  manifest.targets[1].segment = 2;
  std::vector<SegmentData> segments = makeSegments(gpuCode());
  segments.push_back(SegmentData::fromBytes("cpu-code", kernelCode()));
  module = loadOrFail(bundleBytes(manifest, segments));
  for (const char *device : {"emulate:sm_80", "emulate:sm_90a", "emulate", "cpu"}) {
    context = contextOrFail(module.get(), 1, device);
    EXPECT_EQ(mohd_context_target(context.get()),
              std::string(device) + (device == std::string("cpu") ? ":x86-64"
                                     : device[7]                  ? ""
                                                                  : ":sm_80"));
    EXPECT_EQ(runScale(context.get(), {3}), std::vector<float>{6}) << device;
  }
  EXPECT_EQ(tryContext(module.get(), "emulate:sm_100a"), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("the bundle has no emulate target for sm_100a"));
}

TEST_F(Emulate, NeedsCodeForThisCpu) {
  module = loadOrFail(emulateBundle(
      [](Manifest &manifest) { manifest.targets[0].features = {"no-such-feature"}; }));
  EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("target emulate:sm_90a needs no-such-feature"));
  EXPECT_EQ(tryContext(module.get(), "cpu"), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("the bundle has no cpu target"));
}

TEST_F(Emulate, CodeMustHaveKernelsAndTheTable) {
  module = loadOrFail(
      emulateBundle([](Manifest &manifest) { manifest.targets[0].kernels[0].name = "gpu_none"; }));
  EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("target emulate:sm_90a does not define kernel 'gpu_none'"));
  Manifest manifest = makeGpuManifest({makeGpuTarget("emulate", "sm_80")});
  manifest.targets[0].kernels[0].name = "test_scale";
  manifest.targets[0].kernels[1].name = "test_square";
  manifest.targets[0].kernels[2].name = "test_gather";
  module = loadOrFail(bundleBytes(manifest, makeSegments(kernelCode())));
  EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("does not define the variable 'mohd_emulator'"));
}

TEST_F(Emulate, IsHostCode) {
  EXPECT_EQ(loadBytes(emulateBundle(), &module, MOHD_LOAD_NO_HOST_CODE), MOHD_ERROR_UNSUPPORTED);
}

// Damage of what only the emulator uses comes to light when it is used.
TEST_F(Emulate, LoadsWeightsAndCodeWithTheFirstContext) {
  std::string bytes = emulateBundle();
  const Manifest manifest = validateText(bytes)->manifest;
  for (int segment : {0, 1}) {
    std::string damaged = bytes;
    char &byte = damaged[size_t(manifest.segments[size_t(segment)].offset)];
    byte = char(byte ^ 1);
    module = loadOrFail(damaged);
    EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas("segment '" + manifest.segments[size_t(segment)].name +
                             "' does not match its sha256"));
  }
  TempFolder folder;
  std::ofstream(folder.file("a.mohdb"), std::ios::binary) << bytes;
  mohd_module_t *raw = nullptr;
  ASSERT_EQ(mohd_module_load_file(folder.file("a.mohdb").c_str(), nullptr, &raw), MOHD_OK);
  module.reset(raw);
  bytes.assign(bytes.size(), 'x');
  std::filesystem::remove(folder.file("a.mohdb")); // it stays open
  context = contextOrFail(module.get(), 1, "emulate");
  module.reset();
  EXPECT_EQ(runScale(context.get(), {3}), std::vector<float>{6});
}

// A weight that only the CPU's program binds is not loaded for the emulator, and the other way round.
TEST_F(Emulate, LoadsOnlyItsOwnWeights) {
  Manifest manifest = makeGpuManifest({makeTarget(0), makeGpuTarget("emulate", "sm_90a", 2)});
  manifest.weights.push_back({"other", DType::F32, {1}, false, 3, 0, 4});
  manifest.targets[1].programs[0].dispatches[0].bindings[1].index = 1;
  std::vector<SegmentData> segments = makeSegments(kernelCode());
  segments.push_back(SegmentData::fromBytes("gpu-code", gpuCode()));
  segments.push_back(SegmentData::fromBytes("others", floatBytes(5), kWeightsSegmentAlign));
  std::string bytes = bundleBytes(manifest, segments);
  module = loadOrFail(bytes);
  EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{6});
  EXPECT_EQ(runScale(contextOrFail(module.get(), 1, "emulate").get(), {3}), std::vector<float>{15});
  bytes.back() = char(bytes.back() ^ 1); // in "others"
  module = loadOrFail(bytes);
  EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{6});
  EXPECT_EQ(tryContext(module.get(), "emulate"), MOHD_ERROR_MALFORMED);
}

} // namespace
