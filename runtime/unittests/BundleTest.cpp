// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bundles: what is written is read back, twice the same bytes, and is described.
#include "GpuBundle.h"

using namespace mohdrt;

namespace {

TEST(Bundle, RoundTrip) {
  TempFolder folder;
  Manifest manifest = makeManifest();
  ModelInfo model;
  model.type = "mohd", model.vocabSize = 256, model.maxPositions = 64, model.numLayers = 2;
  model.kvWidth = 128, model.tokenizer = "bytes";
  model.config.set("hidden_size", 512);
  manifest.model = model;
  manifest.files.push_back({"model.safetensors", 1000, sha256("x", 1)});
  manifest.weights.push_back({"table", DType::BF16, {5, 10}, true, 0, 13, 100});
  manifest.entryPoints[0].inputs.push_back(
      {"rows", DType::I32, {3}, std::pair<std::string, std::string>("0", "T"), true});
  const Status status = writeBundle(folder.file("a.mohdb"), manifest, makeSegments());
  ASSERT_TRUE(status.ok()) << status.message();

  const std::string bytes = readAll(folder.file("a.mohdb"));
  Result<BundleInfo> bundle = validateText(bytes);
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  EXPECT_EQ(bundle->fileBytes, int64_t(bytes.size()));
  // Only the segments were filled in by the writer.
  manifest.segments = bundle->manifest.segments;
  EXPECT_EQ(*writeCanonicalJson(toJson(bundle->manifest)), *writeCanonicalJson(toJson(manifest)));
  ASSERT_EQ(manifest.segments.size(), 2u);
  EXPECT_EQ(manifest.segments[0].offset % 64, 0);
  EXPECT_EQ(manifest.segments[1].offset % 4096, 0);
  EXPECT_EQ(bytes.substr(manifest.segments[1].offset), floatBytes(2.0f));
  EXPECT_EQ(folder.count(), 1u) << "no temporary file is left";
}

TEST(Bundle, SameInputGivesSameBytes) {
  TempFolder folder;
  ASSERT_TRUE(writeBundle(folder.file("a"), makeManifest(), makeSegments()).ok());
  ASSERT_TRUE(writeBundle(folder.file("b"), makeManifest(), makeSegments()).ok());
  EXPECT_EQ(readAll(folder.file("a")), readAll(folder.file("b")));
}

TEST(Bundle, NoSegmentsEndsWithTheManifest) {
  TempFolder folder;
  Manifest manifest;
  ASSERT_TRUE(writeBundle(folder.file("a"), manifest, {}).ok());
  Result<BundleInfo> bundle = validateText(readAll(folder.file("a")));
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  EXPECT_EQ(bundle->fileBytes, int64_t(64 + bundle->manifestText.size()));
}

TEST(Bundle, EmptySegmentAtTheEnd) {
  TempFolder folder;
  std::vector<SegmentData> segments = makeSegments();
  segments.push_back(SegmentData::fromBytes("empty", "", 4096));
  ASSERT_TRUE(writeBundle(folder.file("a"), makeManifest(), segments).ok());
  EXPECT_TRUE(validateText(readAll(folder.file("a"))).ok());
}

TEST(Bundle, DescriptionNamesWhatIsInside) {
  TempFolder folder;
  ASSERT_TRUE(writeBundle(folder.file("a"), makeManifest(), makeSegments()).ok());
  Result<BundleInfo> bundle = validateText(readAll(folder.file("a")));
  ASSERT_TRUE(bundle.ok());
  const std::string text = describeBundle(*bundle);
  for (const char *part :
       {"format 1.0", "entry     scale", "x f32 [T]", "cpu:x86-64",
        "test_scale grid ceildiv(T,16) (x, factor, y) params (T)", "1 tensors, 4 B"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

std::vector<Target> allGpuTargets() {
  return {makeGpuTarget("cuda", "sm_80"), makeGpuTarget("cuda", "sm_90a"),
          makeGpuTarget("cuda", "ptx"), makeGpuTarget("emulate", "sm_90a")};
}

TEST(Bundle, GpuTargetsRoundTrip) {
  Manifest manifest = makeGpuManifest(allGpuTargets());
  manifest.producer.ptxas = "13.0.88";
  manifest.targets.insert(manifest.targets.begin(), makeTarget(0));
  Result<BundleInfo> bundle = validateText(bundleBytes(manifest, makeSegments()));
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  manifest.segments = bundle->manifest.segments;
  EXPECT_EQ(*writeCanonicalJson(toJson(bundle->manifest)), *writeCanonicalJson(toJson(manifest)));
  EXPECT_EQ(bundle->manifest.producer.ptxas, "13.0.88");
  const std::vector<Target> &targets = bundle->manifest.targets;
  ASSERT_EQ(targets.size(), 5u);
  EXPECT_EQ(targets[2].name(), "cuda:sm_90a");
  EXPECT_EQ(targets[2].kernels[3].registers, 32);
  EXPECT_EQ(targets[3].kernels[0].registers, 0);
  EXPECT_EQ(targets[4].host, "x86-64");
  const TensorMap &map = targets[4].programs[2].dispatches[0].maps[1];
  EXPECT_EQ(map.binding, 1);
  EXPECT_EQ(map.dtype, DType::F32);
  EXPECT_EQ(map.extents, (std::vector<std::string>{"16", "T"}));
  EXPECT_EQ(map.strides, std::vector<std::string>{"64"});
  EXPECT_EQ(map.box, (std::vector<int64_t>{16, 8}));
  EXPECT_EQ(map.swizzle, 64);
}

TEST(Bundle, DescriptionOfGpuTargets) {
  Manifest manifest = makeGpuManifest(allGpuTargets());
  manifest.targets[1].kernels[3].staticSharedBytes = 512;
  manifest.targets[1].kernels[3].blocksPerSm = 1;
  manifest.targets[1].kernels[1].cooperative = true;
  Result<BundleInfo> bundle = validateText(bundleBytes(manifest, makeSegments()));
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  const std::string text = describeBundle(*bundle);
  for (const char *part :
       {"cuda:sm_80 (segment code, 3 kernels)", "emulate:sm_90a on x86-64 (segment",
        "kernel gpu_tiles: 32 threads, 32 registers, shared memory 1.5 KiB (1536 B), 1 block an SM",
        "kernel gpu_tiles: 32 threads, shared memory 1.0 KiB (1024 B)\n",
        "kernel gpu_scale: 64 threads, 32 registers, shared memory 0 B, 16 blocks an SM\n",
        "kernel gpu_square: 64 threads, 32 registers, shared memory 0 B, 16 blocks an SM, "
        "cooperative\n",
        "params (3) map (x f32 [16, T] box [16, 8] swizzle 64) map (y f32"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(GpuArch, NamesOfChips) {
  const std::optional<GpuArch> a100 = parseGpuArch("sm_80"), h100 = parseGpuArch("sm_90a");
  ASSERT_TRUE(a100 && h100);
  EXPECT_TRUE(a100->major == 8 && a100->minor == 0 && !a100->isExact);
  EXPECT_TRUE(h100->major == 9 && h100->minor == 0 && h100->isExact);
  ASSERT_TRUE(parseGpuArch("sm_103a"));
  EXPECT_EQ(parseGpuArch("sm_103a")->major, 10);
  EXPECT_EQ(parseGpuArch("sm_103a")->minor, 3);
  for (const char *text : {"", "sm_", "sm_a", "ptx", "sm_9", "sm_75", "sm_090", "sm_9000", "sm_90b",
                           "sm_9 0", "compute_90", "sm_90aa"})
    EXPECT_FALSE(parseGpuArch(text)) << text;
}

} // namespace
