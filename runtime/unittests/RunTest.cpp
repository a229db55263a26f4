// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contexts and runs: results, checks of the caller's tensors, workspace, many contexts at once.
#include "RuntimeHelpers.h"

#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace mohdrt;

namespace {

/// A module and a context of the runnable bundle.
class Run : public ::testing::Test {
protected:
  void SetUp() override {
    module = loadOrFail(runnableBundle());
    ASSERT_TRUE(module);
    context = contextOrFail(module.get());
    ASSERT_TRUE(context);
  }

  /// Runs "pick" (entry 1).
  mohd_status_t pick(TestTensor<float> &x, TestTensor<int32_t> &rows, TestTensor<float> &y,
                     const mohd_run_options_t *options = nullptr) {
    const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
    return mohd_run(context.get(), 1, inputs, 2, &y.tensor, 1, options);
  }

  ModuleHandle module;
  ContextHandle context;
};

TEST_F(Run, ScalesByTheWeight) {
  EXPECT_EQ(runScale(context.get(), {1, 2, 3}), (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(mohd_context_threads(context.get()), 2u);
  EXPECT_STREQ(mohd_context_target(context.get()), "cpu:x86-64");
}

TEST_F(Run, EverySizeFromNothingUp) {
  for (size_t size : {0, 1, 15, 16, 17, 1000, 3}) {
    std::vector<float> x(size), expected(size);
    for (size_t i = 0; i < size; ++i)
      x[i] = float(i), expected[i] = float(2 * i);
    EXPECT_EQ(runScale(context.get(), x), expected) << size;
  }
}

TEST_F(Run, EmptyTensorsNeedNoData) {
  TestTensor<float> x = floats({}), y = floats({});
  x.tensor.data = y.tensor.data = nullptr;
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, nullptr), MOHD_OK);
}

TEST_F(Run, WorkspaceOfTheContextAndOfTheCaller) {
  TestTensor<float> x = floats({1, 2, 3, 4}), y = floats({0, 0});
  TestTensor<int32_t> rows = ints({3, 1});
  const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
  size_t size = 0;
  ASSERT_EQ(mohd_context_workspace_size(context.get(), 1, inputs, 2, &size), MOHD_OK);
  EXPECT_EQ(size, 64u + 16u);
  EXPECT_EQ(pick(x, rows, y), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("needs 80 bytes of workspace, 0 are there"));

  TestTensor<float> memory = floats(std::vector<float>(20));
  mohd_run_options_t options = {sizeof(options), memory.tensor.data, 80, nullptr};
  EXPECT_EQ(pick(x, rows, y, &options), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(y.values(), (std::vector<float>{16, 4}));
  options.workspace_size = 79;
  EXPECT_EQ(pick(x, rows, y, &options), MOHD_ERROR_INVALID_ARGUMENT);
  options.workspace_size = 80;
  options.workspace = static_cast<char *>(options.workspace) + 4;
  EXPECT_EQ(pick(x, rows, y, &options), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("workspace must be aligned to 64 bytes"));

  ASSERT_EQ(mohd_context_reserve(context.get(), 80), MOHD_OK);
  rows = ints({0, 2});
  EXPECT_EQ(pick(x, rows, y), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(y.values(), (std::vector<float>{1, 9}));
}

TEST_F(Run, IndicesOutsideTheirRange) {
  ASSERT_EQ(mohd_context_reserve(context.get(), 4096), MOHD_OK);
  TestTensor<float> x = floats({1, 2, 3, 4}), y = floats({-7, -7});
  for (int32_t bad : {4, -1, INT32_MAX, INT32_MIN}) {
    TestTensor<int32_t> rows = ints({3, bad});
    EXPECT_EQ(pick(x, rows, y), MOHD_ERROR_OUT_OF_RANGE);
    EXPECT_TRUE(
        lastErrorHas("input 'rows': element 1 is " + std::to_string(bad) + ", expected [0, 4)"));
    EXPECT_EQ(y.values(), (std::vector<float>{-7, -7})) << "nothing ran";
  }
}

TEST_F(Run, TensorsThatDoNotFit) {
  TestTensor<float> x = floats({1, 2}), y = floats({0, 0}), three = floats({1, 2, 3});
  auto run = [&](mohd_tensor_t in, mohd_tensor_t out) {
    return mohd_run(context.get(), 0, &in, 1, &out, 1, nullptr);
  };
  EXPECT_EQ(run(x.tensor, three.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("output 'y': expected shape [2], got [3]"));
  mohd_tensor_t bad = x.tensor;
  bad.dtype = MOHD_DTYPE_BF16;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("input 'x': expected type f32, got bf16"));
  bad.dtype = static_cast<mohd_dtype_t>(99);
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  bad = x.tensor;
  bad.rank = 2;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("expected rank 1, got 2"));
  bad = x.tensor;
  bad.data = static_cast<char *>(bad.data) + 4;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("aligned to 64 bytes"));
  bad = y.tensor;
  bad.data = x.tensor.data;
  EXPECT_EQ(run(x.tensor, bad), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("'y' is written and shares memory with 'x'"));
  bad = x.tensor;
  bad.byte_size = 7;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("needs 8 bytes, the buffer has 7"));
  bad = x.tensor;
  bad.data = nullptr;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  for (int64_t extent : {int64_t(-1), INT64_MIN, INT64_MAX}) {
    bad = x.tensor;
    bad.shape[0] = extent;
    EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT) << extent;
  }
  bad = x.tensor;
  bad.struct_size = 8;
  EXPECT_EQ(run(bad, y.tensor), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("struct_size 8"));
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 2, &y.tensor, 1, nullptr),
            MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_run(context.get(), 9, &x.tensor, 1, &y.tensor, 1, nullptr),
            MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_run(nullptr, 0, &x.tensor, 1, &y.tensor, 1, nullptr), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(runScale(context.get(), {5}), (std::vector<float>{10})) << "and it still works";
}

// A caller compiled against a later header has larger structs.
TEST_F(Run, TensorsOfANewerCaller) {
  struct NewerTensor {
    mohd_tensor_t tensor;
    int64_t future[3];
  };
  ASSERT_EQ(mohd_context_reserve(context.get(), 4096), MOHD_OK);
  TestTensor<float> x = floats({1, 2, 3}), y = floats({0});
  TestTensor<int32_t> rows = ints({2});
  NewerTensor inputs[] = {{x.tensor, {9, 9, 9}}, {rows.tensor, {9, 9, 9}}};
  for (NewerTensor &input : inputs)
    input.tensor.struct_size = sizeof(NewerTensor);
  EXPECT_EQ(mohd_run(context.get(), 1, &inputs[0].tensor, 2, &y.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
  EXPECT_EQ(y.values(), std::vector<float>{9});
  inputs[1].tensor.struct_size = sizeof(mohd_tensor_t);
  EXPECT_EQ(mohd_run(context.get(), 1, &inputs[0].tensor, 2, &y.tensor, 1, nullptr),
            MOHD_ERROR_INVALID_ARGUMENT);
}

TEST_F(Run, OutputShapes) {
  TestTensor<float> x = floats({1, 2, 3});
  TestTensor<int32_t> rows = ints({2, 0});
  const mohd_tensor_t inputs[] = {x.tensor, rows.tensor};
  uint32_t rank = 0;
  int64_t shape[MOHD_MAX_RANK];
  ASSERT_EQ(mohd_entry_output_shape(module.get(), 1, inputs, 2, 0, &rank, shape), MOHD_OK);
  EXPECT_EQ(rank, 1u);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(mohd_entry_output_shape(module.get(), 1, inputs, 2, 1, &rank, shape),
            MOHD_ERROR_INVALID_ARGUMENT);
}

// A caller that flushes denormals (as PyTorch can be told to) sees the values workers compute.
TEST_F(Run, CallersFloatModesDoNotMatter) {
#if defined(__x86_64__)
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040); // flush to zero, denormals are zero
  const std::vector<float> y = runScale(context.get(), std::vector<float>(100, 1e-40f));
  const unsigned after = _mm_getcsr();
  _mm_setcsr(saved);
  EXPECT_EQ(after & 0x8040, 0x8040u) << "the caller's modes are put back";
  EXPECT_EQ(y, std::vector<float>(100, 1e-40f * 2));
#endif
}

TEST_F(Run, EightContextsAtOnceEqualSerial) {
  constexpr int kContexts = 8, kRounds = 200;
  std::vector<float> x(3000);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = float(i) * 0.37f - 400;
  auto inputOf = [&](int seed) {
    std::vector<float> input(x.begin(), x.end() - seed * 17);
    for (float &value : input)
      value += float(seed);
    return input;
  };
  std::vector<std::vector<float>> serial;
  for (int i = 0; i < kContexts; ++i)
    serial.push_back(runScale(contextOrFail(module.get(), 1).get(), inputOf(i)));
  std::vector<std::thread> threads;
  std::vector<int> wrong(kContexts, 0);
  for (int i = 0; i < kContexts; ++i)
    threads.emplace_back([&, i] {
      ContextHandle own = contextOrFail(module.get(), 1 + i % 4);
      const std::vector<float> input = inputOf(i);
      for (int round = 0; round < kRounds; ++round)
        wrong[i] += runScale(own.get(), input) != serial[i];
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kContexts, 0));
}

TEST_F(Run, ContextKeepsItsModule) {
  module.reset();
  EXPECT_EQ(runScale(context.get(), {4}), std::vector<float>{8});
}

struct CountingAllocator {
  size_t live = 0;
  bool fail = false;
  static void *allocate(void *user, size_t size, size_t alignment) {
    auto *self = static_cast<CountingAllocator *>(user);
    if (self->fail)
      return nullptr;
    self->live += size;
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  static void deallocate(void *user, void *memory, size_t size, size_t) {
    static_cast<CountingAllocator *>(user)->live -= size;
    std::free(memory);
  }
};

/// A context of one thread whose workspace comes from `user`.
template <typename Allocator> ContextHandle contextWith(mohd_module_t *module, Allocator &user) {
  const mohd_allocator_t allocator = {sizeof(allocator), &user, Allocator::allocate,
                                      Allocator::deallocate};
  mohd_context_options_t options = {sizeof(options), nullptr, 1, &allocator, 0, 0};
  mohd_context_t *context = nullptr;
  EXPECT_EQ(mohd_context_create(module, &options, &context), MOHD_OK) << mohd_last_error();
  return ContextHandle(context);
}

/// Calls the context that asks it for memory, as another thread would while that call is under way.
struct CallingAllocator {
  mohd_context_t *context = nullptr;
  std::vector<mohd_status_t> found;
  static void *allocate(void *user, size_t size, size_t alignment) {
    auto *self = static_cast<CallingAllocator *>(user);
    if (self->context)
      self->call();
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  static void deallocate(void *, void *memory, size_t, size_t) { std::free(memory); }

  void call() {
    TestTensor<float> x = floats({1}), y = floats({0});
    size_t size = 0;
    void *memory = nullptr;
    auto tried = [&](mohd_status_t status) {
      found.push_back(status);
      EXPECT_TRUE(lastErrorHas("the context is in use by another call"));
    };
    tried(mohd_run(context, 0, &x.tensor, 1, &y.tensor, 1, nullptr));
    tried(mohd_context_reserve(context, 5000));
    tried(mohd_context_workspace_size(context, 0, &x.tensor, 1, &size));
    tried(mohd_context_allocate(context, 64, &memory));
    tried(mohd_context_free(context, y.tensor.data));
    tried(mohd_context_upload(context, y.tensor.data, x.tensor.data, 4));
    tried(mohd_context_download(context, y.tensor.data, x.tensor.data, 4));
    tried(mohd_context_synchronize(context, nullptr));
  }
};

TEST_F(Run, TwoCallsOfAContextAtOnceAreRefused) {
  CallingAllocator caller;
  ContextHandle handle = contextWith(module.get(), caller);
  mohd_context_t *own = handle.get();
  caller.context = own;
  EXPECT_EQ(mohd_context_reserve(own, 1000), MOHD_OK);
  EXPECT_EQ(caller.found, std::vector<mohd_status_t>(8, MOHD_ERROR_INVALID_ARGUMENT));
  EXPECT_EQ(runScale(own, {1, 2}), (std::vector<float>{2, 4})); // free again
}

TEST_F(Run, WorkspaceFromTheCallersAllocator) {
  CountingAllocator counter;
  ContextHandle handle = contextWith(module.get(), counter);
  mohd_context_t *own = handle.get();
  ASSERT_EQ(mohd_context_reserve(own, 1000), MOHD_OK);
  EXPECT_EQ(counter.live, 1000u);
  ASSERT_EQ(mohd_context_reserve(own, 500), MOHD_OK);
  EXPECT_EQ(counter.live, 1000u);
  counter.fail = true;
  EXPECT_EQ(mohd_context_reserve(own, 2000), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_TRUE(lastErrorHas("workspace (1000 bytes are reserved): cannot allocate 2000 bytes"));
  EXPECT_EQ(counter.live, 1000u);
  handle.reset();
  EXPECT_EQ(counter.live, 0u);
}

TEST_F(Run, ContextOptions) {
  mohd_context_t *own = nullptr;
  mohd_context_options_t options = {sizeof(options), nullptr, 1, nullptr, 0, 0};
  for (const char *device : {"tpu", "cpu:0", "", "emulate:", "emulate:sm_9"}) {
    options.device = device;
    EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_UNSUPPORTED);
    EXPECT_TRUE(lastErrorHas("unknown device '" + std::string(device) + "'"));
  }
  options = {4, nullptr, 1, nullptr, 0, 0};
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_INVALID_ARGUMENT);
  options = {sizeof(options), nullptr, 1025, nullptr, 0, 0};
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("at most 1024 threads"));
  EXPECT_EQ(own, nullptr);
}

TEST_F(Run, MemoryOfTheDevice) {
  void *memory = nullptr, *empty = &memory;
  ASSERT_EQ(mohd_context_allocate(context.get(), 100, &memory), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
  ASSERT_EQ(mohd_context_allocate(context.get(), 0, &empty), MOHD_OK);
  EXPECT_EQ(empty, nullptr);
  const float value = 5;
  float copy = 0;
  EXPECT_EQ(mohd_context_upload(context.get(), memory, &value, 4), MOHD_OK);
  EXPECT_EQ(mohd_context_synchronize(context.get(), nullptr), MOHD_OK);
  EXPECT_EQ(mohd_context_download(context.get(), &copy, memory, 4), MOHD_OK);
  EXPECT_EQ(copy, 5);
  EXPECT_EQ(mohd_context_upload(context.get(), nullptr, nullptr, 0), MOHD_OK);
  EXPECT_EQ(mohd_context_upload(context.get(), nullptr, &value, 4), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_context_download(context.get(), &copy, nullptr, 4), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_context_free(context.get(), &copy), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("expected memory from mohd_context_allocate"));
  EXPECT_EQ(mohd_context_free(context.get(), memory), MOHD_OK);
  EXPECT_EQ(mohd_context_free(context.get(), nullptr), MOHD_OK);
  EXPECT_EQ(mohd_context_allocate(context.get(), 64, &memory), MOHD_OK) << "goes with the context";
  EXPECT_EQ(mohd_context_allocate(nullptr, 64, &memory), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_context_free(nullptr, nullptr), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_context_synchronize(nullptr, nullptr), MOHD_ERROR_INVALID_ARGUMENT);
}

TEST_F(Run, RunOptions) {
  TestTensor<float> x = floats({1}), y = floats({0});
  mohd_run_options_t options = {};
  options.struct_size = sizeof(options);
  options.stream = &options;
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, &options),
            MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("target cpu:x86-64 has no streams"));
  // A caller compiled before the field was there.
  options.struct_size = offsetof(mohd_run_options_t, stream);
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, &options), MOHD_OK);
  options.struct_size -= 1;
  EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, &options),
            MOHD_ERROR_INVALID_ARGUMENT);
}

TEST_F(Run, PinnedThreads) {
  mohd_context_t *own = nullptr;
  mohd_context_options_t options = {sizeof(options), nullptr, 1024, nullptr, 1, 0};
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("expected at least 1024 CPUs to pin 1024 threads to"));
  options.threads = 1;
  options.pin_threads = 5;
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("expected pin_threads to be -1, 0 or 1, got 5"));
  // A caller compiled before the field was there: what lies behind its struct is not read.
  options.struct_size = offsetof(mohd_context_options_t, pin_threads);
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_OK) << mohd_last_error();
  mohd_context_destroy(own);
  options.struct_size -= 1;
  EXPECT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_ERROR_INVALID_ARGUMENT);
  options = {sizeof(options), nullptr, 1, nullptr, 1, 0};
  ASSERT_EQ(mohd_context_create(module.get(), &options, &own), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(runScale(own, {1, 2}), (std::vector<float>{2, 4}));
  mohd_context_destroy(own);
}

// Sizes that only a call's dims reveal to be wrong.
TEST(RunHostile, ExpressionsWithoutAValue) {
  struct Case {
    std::string expected;
    void (*change)(Dispatch &dispatch);
  };
  const Case cases[] = {
      {"overflow", [](Dispatch &d) { d.grid = "T*9223372036854775807"; }},
      {"negative result", [](Dispatch &d) { d.params[0] = "1-T"; }},
      {"division by zero", [](Dispatch &d) { d.params[0] = "1/(T-2)"; }},
      {"at most 281474976710656 are possible", [](Dispatch &d) { d.grid = "T*999999999999999"; }},
      {"bytes [0, +9) do not fit its buffer of 8", [](Dispatch &d) { d.bindings[0].size = "9"; }},
      {"bytes [12, +0) do not fit",
       [](Dispatch &d) { d.bindings[2] = {Binding::Kind::Output, 0, "12", "0"}; }},
      {"do not fit", [](Dispatch &d) { d.bindings[0].offset = "9223372036854775804"; }},
      {"multiples of 4", [](Dispatch &d) { d.bindings[0] = {Binding::Kind::Input, 0, "2", "4"}; }},
      {"do not fit its buffer of 4", [](Dispatch &d) { d.bindings[1].size = "8"; }},
      {"do not fit its buffer of 0",
       [](Dispatch &d) { d.bindings[1] = {Binding::Kind::Workspace, 0, "0", "1"}; }},
  };
  for (const Case &c : cases) {
    Manifest manifest = makeManifest();
    c.change(manifest.targets[0].programs[0].dispatches[0]);
    ModuleHandle module = loadOrFail(bundleBytes(manifest, makeSegments(kernelCode())));
    ContextHandle context = contextOrFail(module.get());
    TestTensor<float> x = floats({1, 2}), y = floats({0, 0});
    EXPECT_EQ(mohd_run(context.get(), 0, &x.tensor, 1, &y.tensor, 1, nullptr),
              MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas(c.expected));
    EXPECT_EQ(y.values(), (std::vector<float>{0, 0}));
  }
}

TEST(RunHostile, EntryPointWithoutAProgram) {
  Manifest manifest = makeManifest();
  manifest.targets[0].programs.pop_back();
  ModuleHandle module = loadOrFail(bundleBytes(manifest, makeSegments(kernelCode())));
  ContextHandle context = contextOrFail(module.get());
  EXPECT_EQ(mohd_run(context.get(), 1, nullptr, 0, nullptr, 0, nullptr), MOHD_ERROR_UNSUPPORTED);
  EXPECT_TRUE(lastErrorHas("no program for the entry point 'pick'"));
}

} // namespace
