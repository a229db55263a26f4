// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Memory: a hostile bundle costs at most its own size plus 48 MiB, and a run allocates nothing. This
// program replaces malloc to count, so it is not built with sanitizers, which replace it too.
#include "CudaHelpers.h"
#include "RawBundle.h"

#include <atomic>
#include <cerrno>
#include <malloc.h>

extern "C" {
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);
}

namespace {

std::atomic<int64_t> liveBytes{0}, peakBytes{0}, allocations{0};

void *counted(void *memory) {
  if (!memory)
    return nullptr;
  allocations.fetch_add(1);
  const int64_t live = liveBytes.fetch_add(int64_t(malloc_usable_size(memory)));
  const int64_t now = live + int64_t(malloc_usable_size(memory));
  int64_t peak = peakBytes.load();
  while (now > peak && !peakBytes.compare_exchange_weak(peak, now)) {
  }
  return memory;
}

void uncounted(void *memory) {
  if (memory)
    liveBytes.fetch_sub(int64_t(malloc_usable_size(memory)));
}

} // namespace

extern "C" {
void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void *realloc(void *memory, size_t size) {
  uncounted(memory);
  return counted(__libc_realloc(memory, size));
}
void free(void *memory) {
  uncounted(memory);
  __libc_free(memory);
}
void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
}

using namespace mohdrt;

namespace {

/// Returns the most memory in use at once while `bytes` is loaded, beyond what was in use before.
int64_t peakOfLoading(const std::string &bytes) {
  const int64_t before = liveBytes.load();
  peakBytes.store(before);
  mohd_module_t *module = nullptr;
  (void)mohd_module_load_memory(bytes.data(), bytes.size(), nullptr, &module);
  const int64_t peak = peakBytes.load() - before;
  mohd_module_destroy(module);
  return peak;
}

void expectWithinBound(const char *what, const std::string &bytes) {
  const int64_t peak = peakOfLoading(bytes);
  EXPECT_LE(peak, int64_t(bytes.size()) + (48 << 20)) << what;
  EXPECT_GT(peak, 0) << what;
}

std::string repeated(const std::string &item, size_t bytes) {
  std::string text = item;
  while (text.size() + item.size() + 1 < bytes)
    text += "," + item;
  return text;
}

TEST(Allocation, HostileManifests) {
  // Each makes the most of some part of the manifest, in several sizes, as the largest that is just
  // accepted costs more than one that is refused.
  const std::string hash(64, '0');
  struct Case {
    const char *what;
    std::string from, before, item, after;
  };
  const Case cases[] = {
      {"numbers", "\"flags\":[]", "\"flags\":[", "0", "]"},
      {"empty arrays", "\"flags\":[]", "\"flags\":[", "[]", "]"},
      {"empty strings", "\"flags\":[]", "\"flags\":[", "\"\"", "]"},
      {"strings", "\"flags\":[]", "\"flags\":[", "\"" + std::string(1000, 'a') + "\"", "]"},
      {"long strings", "\"flags\":[]", "\"flags\":[", "\"" + std::string(60000, 'a') + "\"", "]"},
      {"config", "\"model\":null", "\"model\":{\"config\":{\"a\":[", "{\"a\":0}",
       "]},\"kv_width\":1,\"max_positions\":1,\"num_layers\":1,\"tokenizer\":null,\"type\":\"t\","
       "\"vocab_size\":1}"},
      {"entry points", "\"entry_points\":[]", "\"entry_points\":[",
       "{\"dims\":[],\"inputs\":[],\"name\":\"a\",\"outputs\":[]}", "]"},
      {"tensors", "\"entry_points\":[]", "\"entry_points\":[{\"dims\":[],\"inputs\":[",
       "{\"dtype\":\"f32\",\"name\":\"a\",\"shape\":[1,1,1,1,1,1,1,1]}",
       "],\"name\":\"a\",\"outputs\":[]}]"},
      {"inputs of the producer", "\"inputs\":[]", "\"inputs\":[",
       "{\"name\":\"a\",\"sha256\":\"" + hash + "\"}", "]"},
      {"files", "\"files\":[]", "\"files\":[",
       "{\"name\":\"a\",\"sha256\":\"" + hash + "\",\"size\":1}", "]"},
      {"dispatches", "\"targets\":[]",
       "\"targets\":[{\"arch\":\"a\",\"features\":[],\"kernels\":[],\"kind\":\"cpu\",\"programs\":["
       "{"
       "\"dispatches\":[",
       "{\"bindings\":[{\"input\":0,\"offset\":\"0\",\"size\":\"0\"}],\"grid\":\"0\",\"kernel\":0,"
       "\"params\":[\"0\"]}",
       "],\"entry\":0,\"workspace\":\"0\"}],\"segment\":0}]"},
  };
  for (const Case &c : cases)
    for (size_t bytes : {100000, 1000000, 2000000, 4000000, 8000000, 16000000})
      expectWithinBound(
          c.what, rawBundle(changedManifest(c.from, c.before + repeated(c.item, bytes) + c.after)));
}

TEST(Allocation, LargestAcceptedPrograms) {
  // A bundle of many dispatches that is valid: what is parsed, checked and compiled lives together.
  Manifest manifest = makeManifest();
  manifest.targets[0].arch = "x86-64";
  auto &dispatches = manifest.targets[0].programs[0].dispatches;
  const Dispatch one = dispatches[0];
  int64_t largest = 0;
  for (size_t count = 1000;; count += 1000) {
    dispatches.assign(count, one);
    TempFolder folder;
    if (!writeBundle(folder.file("a"), manifest, makeSegments(kernelCode())).ok())
      break;
    const std::string bytes = readAll(folder.file("a"));
    expectWithinBound("dispatches", bytes);
    largest = int64_t(count);
  }
  RecordProperty("dispatches", std::to_string(largest));
  EXPECT_GE(largest, 4000) << "a model of 80 layers has some 3000 dispatches";
}

TEST(Allocation, SizesThatLie) {
  std::string bytes = rawBundle(changedManifest("", ""));
  const uint32_t huge = UINT32_MAX;
  std::memcpy(&bytes[12], &huge, 4);
  expectWithinBound("manifest length", bytes);
  expectWithinBound("brackets", rawBundle(std::string(16000000, '[')));
  expectWithinBound("one string", rawBundle("[\"" + std::string(16000000, 'a') + "\"]"));
  expectWithinBound("one number", rawBundle(std::string(16000000, '1')));
  expectWithinBound("a string that does not end", rawBundle("\"" + std::string(16000000, 'a')));
  expectWithinBound("many keys", rawBundle("{" + repeated("\"a\":0", 16000000) + "}"));
}

TEST(Allocation, RunAllocatesNothing) {
  ModuleHandle module = loadOrFail(runnableBundle());
  ContextHandle context = contextOrFail(module.get(), 4);
  ASSERT_EQ(mohd_context_reserve(context.get(), 8192), MOHD_OK);
  TestTensor<float> x = floats(std::vector<float>(1000, 1)), y = floats(std::vector<float>(5));
  TestTensor<int32_t> rows = ints({1, 2, 3, 4, 5});
  const int64_t before = allocations.load();
  int failures = 0;
  uint32_t rank = 0;
  int64_t shape[MOHD_MAX_RANK];
  size_t size = 0;
  for (int i = 0; i < 100; ++i) {
    x.tensor.shape[0] = 900 + i; // new dims every time: the plan is evaluated anew
    const mohd_tensor_t changed[] = {x.tensor, rows.tensor};
    failures += mohd_entry_output_shape(module.get(), 1, changed, 2, 0, &rank, shape) != MOHD_OK;
    failures += mohd_context_workspace_size(context.get(), 1, changed, 2, &size) != MOHD_OK;
    failures += mohd_run(context.get(), 1, changed, 2, &y.tensor, 1, nullptr) != MOHD_OK;
  }
  EXPECT_EQ(allocations.load(), before);
  EXPECT_EQ(failures, 0) << mohd_last_error();
}

TEST(Allocation, RunOnCudaAllocatesNothing) {
  fakecuda::Control &control = useFakeCuda();
  ModuleHandle module = loadOrFail(cudaBundle({makeGpuTarget("cuda", "sm_90a")}));
  ContextHandle context = contextOrFail(module.get(), 1, "cuda");
  DeviceFloats x(context.get(), MOHD_DTYPE_F32, std::vector<float>(1600), 16);
  DeviceFloats y(context.get(), MOHD_DTYPE_F32, std::vector<float>(1600), 16);
  control.isRecording = false;
  control.isCapturing = true;
  mohd_tensor_t in = x.tensor, out = y.tensor;
  EXPECT_EQ(mohd_run(context.get(), 2, &in, 1, &out, 1, nullptr), MOHD_OK) << mohd_last_error();
  const int64_t before = allocations.load();
  int failures = 0;
  for (int i = 0; i < 100; ++i) {
    in.shape[0] = out.shape[0] = 1 + i; // tensor maps are encoded anew
    failures += mohd_run(context.get(), 2, &in, 1, &out, 1, nullptr) != MOHD_OK;
  }
  EXPECT_EQ(allocations.load(), before);
  EXPECT_EQ(failures, 0) << mohd_last_error();
  control.isRecording = true;
  control.isCapturing = false;
}

// Sanitizers end the process for such a size.
TEST(Allocation, TensorsLargerThanMemory) {
  ModuleHandle module = loadOrFail(runnableBundle());
  ContextHandle context = contextOrFail(module.get());
  void *memory = &context;
  EXPECT_EQ(mohd_context_allocate(context.get(), SIZE_MAX / 2, &memory), MOHD_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(memory, nullptr);
  EXPECT_TRUE(lastErrorHas("cannot allocate 9223372036854775807 bytes"));
}

} // namespace
