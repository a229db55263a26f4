// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Modules: loading, description, choice of target, weights inside and beside the bundle.
#include "RuntimeHelpers.h"

#include "mohd/format/cpu_features.h"

#include <thread>

using namespace mohdrt;

namespace {

void writeText(const std::string &path, const std::string &text) {
  std::ofstream(path, std::ios::binary) << text;
}

mohd_status_t loadFile(const std::string &path, ModuleHandle *module, uint32_t flags = 0) {
  mohd_load_options_t options = {sizeof(options), flags, nullptr};
  mohd_module_t *raw = nullptr;
  const mohd_status_t status = mohd_module_load_file(path.c_str(), &options, &raw);
  EXPECT_EQ(raw != nullptr, status == MOHD_OK);
  module->reset(raw);
  return status;
}

TEST(Module, FromFileAndFromMemory) {
  TempFolder folder;
  const std::string bytes = runnableBundle();
  writeText(folder.file("a.mohdb"), bytes);
  for (uint32_t flags : {0, int(MOHD_LOAD_MMAP), int(MOHD_LOAD_SKIP_HASHES)}) {
    ModuleHandle module;
    ASSERT_EQ(loadFile(folder.file("a.mohdb"), &module, flags), MOHD_OK) << mohd_last_error();
    EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{6});
  }
  ModuleHandle module = loadOrFail(bytes);
  EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{6});
}

TEST(Module, DescribesItself) {
  ModuleHandle module = loadOrFail(runnableBundle());
  size_t length = 0;
  const std::string manifest = mohd_module_manifest(module.get(), &length);
  EXPECT_EQ(manifest.size(), length);
  EXPECT_EQ(manifest.rfind("{\"abi\":{\"max\":1,\"min\":1}", 0), 0u);
  EXPECT_EQ(mohd_module_entry_count(module.get()), 2u);
  uint32_t entry = 99;
  ASSERT_EQ(mohd_module_find_entry(module.get(), "pick", &entry), MOHD_OK);
  EXPECT_EQ(entry, 1u);
  EXPECT_EQ(mohd_module_find_entry(module.get(), "pi\x1b", &entry), MOHD_ERROR_NOT_FOUND);
  EXPECT_TRUE(lastErrorHas("no entry point 'pi\\u001b'; the bundle has: scale, pick"));

  mohd_entry_info_t info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(mohd_entry_info(module.get(), 1, &info), MOHD_OK);
  EXPECT_STREQ(info.name, "pick");
  EXPECT_EQ(info.input_count, 2u);
  EXPECT_EQ(info.output_count, 1u);
  EXPECT_EQ(mohd_entry_info(module.get(), 2, &info), MOHD_ERROR_INVALID_ARGUMENT);

  mohd_tensor_info_t tensor = {};
  tensor.struct_size = sizeof(tensor);
  ASSERT_EQ(mohd_entry_input_info(module.get(), 1, 1, &tensor), MOHD_OK);
  EXPECT_STREQ(tensor.name, "rows");
  EXPECT_EQ(tensor.dtype, MOHD_DTYPE_I32);
  EXPECT_EQ(tensor.rank, 1u);
  EXPECT_EQ(tensor.shape[0], -1);
  EXPECT_STREQ(tensor.shape_text[0], "R");
  EXPECT_STREQ(tensor.range_low, "0");
  EXPECT_STREQ(tensor.range_high, "T");
  ASSERT_EQ(mohd_entry_output_info(module.get(), 1, 0, &tensor), MOHD_OK);
  EXPECT_STREQ(tensor.name, "y");
  EXPECT_EQ(tensor.range_low, nullptr);
  EXPECT_EQ(mohd_entry_output_info(module.get(), 1, 1, &tensor), MOHD_ERROR_INVALID_ARGUMENT);
  tensor.struct_size = 3;
  EXPECT_EQ(mohd_entry_input_info(module.get(), 1, 0, &tensor), MOHD_ERROR_INVALID_ARGUMENT);
}

TEST(Module, FilesThatAreNoBundles) {
  TempFolder folder;
  ModuleHandle module;
  EXPECT_EQ(loadFile(folder.file("none"), &module), MOHD_ERROR_NOT_FOUND);
  EXPECT_TRUE(lastErrorHas("cannot open '" + folder.file("none") + "'"));
  EXPECT_EQ(loadFile(folder.file(""), &module), MOHD_ERROR_IO);
  EXPECT_EQ(loadFile("/dev/null", &module), MOHD_ERROR_IO);
  EXPECT_TRUE(lastErrorHas("not a regular file"));
  writeText(folder.file("text"), std::string(100, 'x'));
  EXPECT_EQ(loadFile(folder.file("text"), &module), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("text': not a bundle"));
}

TEST(Module, BadArguments) {
  mohd_module_t *module = nullptr;
  EXPECT_EQ(mohd_module_load_file("x", nullptr, nullptr), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("out_module must not be NULL"));
  EXPECT_EQ(mohd_module_load_file(nullptr, nullptr, &module), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(mohd_module_load_memory(nullptr, 10, nullptr, &module), MOHD_ERROR_INVALID_ARGUMENT);
  mohd_load_options_t options = {sizeof(options), 1u << 20, nullptr};
  EXPECT_EQ(mohd_module_load_file("x", &options, &module), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("unknown load flags 1048576"));
  options = {1, 0, nullptr};
  EXPECT_EQ(mohd_module_load_file("x", &options, &module), MOHD_ERROR_INVALID_ARGUMENT);
  mohd_module_destroy(nullptr);
  mohd_module_retain(nullptr);
  EXPECT_EQ(mohd_module_entry_count(nullptr), 0u);
}

TEST(Module, HostCodeCanBeForbidden) {
  ModuleHandle module;
  EXPECT_EQ(loadBytes(runnableBundle(), &module, MOHD_LOAD_NO_HOST_CODE), MOHD_ERROR_UNSUPPORTED);
  EXPECT_TRUE(lastErrorHas("MOHD_LOAD_NO_HOST_CODE"));
  Manifest manifest = makeManifest();
  manifest.targets.clear();
  EXPECT_EQ(loadBytes(bundleBytes(manifest, makeSegments()), &module, MOHD_LOAD_NO_HOST_CODE),
            MOHD_OK)
      << mohd_last_error();
}

TEST(Module, CodeOfOneBundleIsNotMistakenForAnothers) {
  for (int round = 0; round < 3; ++round)
    for (int variant : {1, 2}) {
      ModuleHandle module = loadOrFail(runnableBundle(variant));
      EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}),
                std::vector<float>{variant == 1 ? 6.0f : -6.0f});
    }
}

TEST(Module, TakesTheTargetWithTheMostFeatures) {
  Manifest manifest = makeManifest();
  manifest.targets = {makeTarget(0), makeTarget(2, {"sse3"}), makeTarget(0, {"no-such-feature"})};
  std::vector<SegmentData> segments = makeSegments(kernelCode(1));
  segments.push_back(SegmentData::fromBytes("better-code", kernelCode(2)));
  ModuleHandle module = loadOrFail(bundleBytes(manifest, segments));
  EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{-6});
}

TEST(Module, NoTargetForThisMachine) {
  Manifest manifest = makeManifest();
  manifest.targets = {makeTarget(0, {"sse2", "no-such-feature", "nor-this"}), makeTarget(0)};
  manifest.targets[1].arch = "aarch64";
  ModuleHandle module = loadOrFail(bundleBytes(manifest, makeSegments(kernelCode())));
  mohd_context_t *context = nullptr;
  EXPECT_EQ(mohd_context_create(module.get(), nullptr, &context), MOHD_ERROR_INCOMPATIBLE);
  EXPECT_TRUE(lastErrorHas("target cpu:x86-64 needs no-such-feature, nor-this"));
  EXPECT_TRUE(lastErrorHas("target cpu:aarch64 needs another instruction set"));
  EXPECT_EQ(context, nullptr);
}

TEST(Module, LevelsImplyFeatures) {
  for (const char *arch : {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"})
    for (const std::string &feature : archCpuFeatures(arch))
      EXPECT_TRUE(isKnownCpuFeature(feature)) << feature;
  EXPECT_EQ(archCpuFeatures("x86-64-v3").back(), "xsave");
  EXPECT_EQ(archCpuFeatures("aarch64"), (std::vector<std::string>{"fp-armv8", "neon"}));
  EXPECT_TRUE(archCpuFeatures("znver4").empty());
}

TEST(Module, KernelsMustBeInTheCode) {
  for (const char *name : {"no_such_kernel", "malloc"}) { // the second is in libc
    Manifest manifest = makeManifest();
    manifest.targets[0].kernels[1].name = name;
    ModuleHandle module;
    EXPECT_EQ(loadBytes(bundleBytes(manifest, makeSegments(kernelCode())), &module),
              MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas("does not define kernel '" + std::string(name) + "'"));
  }
  ModuleHandle module;
  EXPECT_EQ(loadBytes(bundleBytes(makeManifest(), makeSegments("no ELF file")), &module),
            MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("cannot load the code in segment 'code'"));
}

TEST(Module, CpuMayBePutOff) {
  std::string bytes = runnableBundle();
  ModuleHandle module = loadOrFail(bytes, MOHD_LOAD_DEFER_CPU);
  std::fill(bytes.begin(), bytes.end(), 'x'); // was copied
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{6});
  bytes = runnableBundle();
  bytes.back() = char(bytes.back() ^ 1);
  module = loadOrFail(bytes, MOHD_LOAD_DEFER_CPU);
  mohd_context_t *context = nullptr;
  EXPECT_EQ(mohd_context_create(module.get(), nullptr, &context), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("segment 'weights' does not match its sha256"));
  Manifest manifest = makeManifest();
  manifest.targets.clear();
  module = loadOrFail(bundleBytes(manifest, makeSegments()), MOHD_LOAD_DEFER_CPU);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(mohd_context_create(module.get(), nullptr, &context), MOHD_ERROR_INCOMPATIBLE);
}

/// A bundle whose factor is in the file "w.bin" at `offset`.
class ExternalWeights : public ::testing::Test {
protected:
  void write(int64_t offset, const Sha256Digest *sha256 = nullptr) {
    const std::string weights = std::string(offset, 'x') + floatBytes(5.0f) + "after";
    Manifest manifest = makeManifest();
    manifest.weights[0].external = true;
    manifest.weights[0].container = 0;
    manifest.weights[0].offset = offset;
    manifest.files.push_back({"w.bin", int64_t(weights.size()),
                              sha256 ? *sha256 : mohdrt::sha256(weights.data(), weights.size())});
    std::vector<SegmentData> segments = makeSegments(kernelCode());
    segments.pop_back();
    writeText(folder.file("w.bin"), weights);
    writeText(folder.file("a.mohdb"), bundleBytes(manifest, segments));
  }

  TempFolder folder;
  ModuleHandle module;
};

TEST_F(ExternalWeights, AlignedOrNotReadOrMapped) {
  for (int64_t offset : {0, 64, 13, 3000000})
    for (uint32_t flags : {0, int(MOHD_LOAD_MMAP)}) {
      write(offset);
      ASSERT_EQ(loadFile(folder.file("a.mohdb"), &module, flags), MOHD_OK) << mohd_last_error();
      EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{15});
    }
}

TEST_F(ExternalWeights, DamagedFiles) {
  const Sha256Digest wrong{};
  write(64, &wrong);
  for (uint32_t flags : {0, int(MOHD_LOAD_MMAP)}) {
    EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module, flags), MOHD_ERROR_MALFORMED);
    EXPECT_TRUE(lastErrorHas("file 'w.bin' does not match its sha256"));
    EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module, flags | MOHD_LOAD_SKIP_HASHES), MOHD_OK);
  }
  write(64);
  std::filesystem::resize_file(folder.file("w.bin"), 70);
  EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module, MOHD_LOAD_SKIP_HASHES), MOHD_ERROR_MALFORMED);
  EXPECT_TRUE(lastErrorHas("has 70 bytes, the bundle expects 73"));
}

TEST_F(ExternalWeights, MissingOrLinkedFiles) {
  write(64);
  std::filesystem::rename(folder.file("w.bin"), folder.file("elsewhere"));
  EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module), MOHD_ERROR_NOT_FOUND);
  std::filesystem::create_symlink(folder.file("elsewhere"), folder.file("w.bin"));
  EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module), MOHD_ERROR_IO);
  EXPECT_TRUE(lastErrorHas("it is a symbolic link"));
}

TEST_F(ExternalWeights, BundleInMemoryNeedsTheFolder) {
  write(64);
  const std::string bytes = readAll(folder.file("a.mohdb"));
  EXPECT_EQ(loadBytes(bytes, &module), MOHD_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(lastErrorHas("no weights directory"));
  EXPECT_EQ(loadBytes(bytes, &module, 0, folder.file("").c_str()), MOHD_OK) << mohd_last_error();
}

/// A bundle with the weight of "scale" in the last of six segments of three megabytes.
std::string manySegments() {
  Manifest manifest = makeManifest();
  std::vector<SegmentData> segments = makeSegments(kernelCode());
  const int64_t floats = 3 << 18;
  for (int i = 0; i < 5; ++i) {
    std::string bytes;
    for (int64_t j = 0; j < floats; ++j)
      bytes += floatBytes(float(i * 7 + j % 1000));
    manifest.weights.push_back({"filler" + std::to_string(i),
                                DType::F32,
                                {floats},
                                false,
                                int64_t(segments.size()),
                                0,
                                floats * 4});
    segments.push_back(SegmentData::fromBytes("weights" + std::to_string(i), std::move(bytes),
                                              kWeightsSegmentAlign));
  }
  manifest.weights[0].container = int64_t(segments.size());
  manifest.weights[0].offset = 192;
  segments.push_back(SegmentData::fromBytes(
      "last", std::string(192, 'x') + floatBytes(5) + std::string(3 << 20, 'y'),
      kWeightsSegmentAlign));
  segments.erase(segments.begin() + 1); // the one that held the weight
  for (WeightInfo &weight : manifest.weights)
    --weight.container;
  return bundleBytes(manifest, segments);
}

// Several threads load several segments; of several failures the first segment's is told.
TEST(Weights, InManySegments) {
  TempFolder folder;
  const std::string bytes = manySegments();
  std::string damaged = bytes;
  damaged[damaged.size() - 9] ^= 1;          // in "last"
  damaged[damaged.size() - (10 << 20)] ^= 1; // in "weights2"
  writeText(folder.file("a.mohdb"), bytes);
  writeText(folder.file("damaged.mohdb"), damaged);
  for (const char *threads : {"1", "2", "16", "nonsense"})
    for (uint32_t flags : {0, int(MOHD_LOAD_MMAP)}) {
      ::setenv("MOHD_THREADS", threads, 1);
      ModuleHandle module;
      EXPECT_EQ(loadFile(folder.file("damaged.mohdb"), &module, flags), MOHD_ERROR_MALFORMED);
      EXPECT_TRUE(lastErrorHas("segment 'weights2' does not match its sha256"));
      EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module, flags), MOHD_OK) << mohd_last_error();
      ::unsetenv("MOHD_THREADS");
      EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{15});
    }
  ModuleHandle module = loadOrFail(bytes);
  EXPECT_EQ(runScale(contextOrFail(module.get()).get(), {3}), std::vector<float>{15});
}

// A file that is cut short is refused before its weights are looked at, hashes or none.
TEST(Weights, FileCutShort) {
  TempFolder folder;
  const std::string bytes = manySegments();
  for (uint32_t flags : {0, int(MOHD_LOAD_MMAP), int(MOHD_LOAD_MMAP | MOHD_LOAD_SKIP_HASHES)})
    for (size_t size : {bytes.size() - 1, bytes.size() / 2, size_t(100), size_t(0)}) {
      writeText(folder.file("a.mohdb"), bytes.substr(0, size));
      ModuleHandle module;
      EXPECT_EQ(loadFile(folder.file("a.mohdb"), &module, flags), MOHD_ERROR_MALFORMED) << size;
    }
}

TEST(LastError, BelongsToTheThread) {
  ModuleHandle module;
  EXPECT_EQ(loadBytes("short", &module), MOHD_ERROR_MALFORMED);
  const std::string mine = mohd_last_error();
  std::thread([] {
    EXPECT_STREQ(mohd_last_error(), "");
    mohd_module_t *none = nullptr;
    EXPECT_EQ(mohd_module_load_file("/no/such", nullptr, &none), MOHD_ERROR_NOT_FOUND);
  }).join();
  EXPECT_EQ(mohd_last_error(), mine);
}

TEST(LastError, IsCutAtACharacter) {
  const std::string path = "/no/" + std::string(4000, 'a');
  mohd_module_t *none = nullptr;
  EXPECT_NE(mohd_module_load_file(path.c_str(), nullptr, &none), MOHD_OK);
  EXPECT_LT(std::strlen(mohd_last_error()), 2048u);
}

TEST(Status, NamesAndExitCodes) {
  EXPECT_STREQ(mohd_status_name(MOHD_ERROR_OUT_OF_MEMORY), "OUT_OF_MEMORY");
  EXPECT_STREQ(mohd_status_name(static_cast<mohd_status_t>(99)), "UNKNOWN");
  const int codes[] = {0, 2, 3, 4, 7, 7, 6, 5, 3, 4, 70};
  for (int status = 0; status <= 10; ++status)
    EXPECT_EQ(mohd_status_exit_code(static_cast<mohd_status_t>(status)), codes[status]);
  EXPECT_EQ(mohd_abi_version(), uint32_t(MOHD_ABI_VERSION));
  EXPECT_EQ(std::string(mohd_version_string()).rfind("mohd ", 0), 0u);
  EXPECT_EQ(mohd_dtype_size(MOHD_DTYPE_BF16), 2u);
  EXPECT_EQ(mohd_dtype_size(static_cast<mohd_dtype_t>(7)), 0u);
  EXPECT_EQ(mohd_dtype_name(static_cast<mohd_dtype_t>(-1)), nullptr);
}

} // namespace
