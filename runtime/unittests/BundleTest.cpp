// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bundles: what is written is read back, twice the same bytes, and is described.
#include "TestBundle.h"

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

} // namespace
