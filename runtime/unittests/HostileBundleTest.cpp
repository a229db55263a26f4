// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bundles made to do harm: each is refused with a message that says what is wrong.
#include "GpuBundle.h"
#include "RawBundle.h"

#include <functional>
#include <random>

using namespace mohdrt;

namespace {

/// `bytes` is refused with `code`, and the message has `part`.
void expectRefused(const std::string &bytes, StatusCode code, const std::string &part) {
  Result<BundleInfo> bundle = validateText(bytes);
  ASSERT_FALSE(bundle.ok()) << part;
  EXPECT_EQ(bundle.status().code(), code) << bundle.status().message();
  EXPECT_NE(bundle.status().message().find(part), std::string::npos)
      << bundle.status().message() << "\nwithout: " << part;
  for (unsigned char c : bundle.status().message())
    EXPECT_TRUE(c >= 0x20 && c != 0x7f);
}

void expectMalformed(const std::string &bytes, const std::string &part) {
  expectRefused(bytes, StatusCode::Malformed, part);
}

std::string smallBundle() { return bundleBytes(makeManifest(), makeSegments()); }

TEST(HostileBundle, EveryTruncation) {
  const std::string bytes = smallBundle();
  ASSERT_TRUE(validateText(bytes).ok());
  int accepted = 0;
  for (size_t length = 0; length < bytes.size(); ++length) {
    accepted += validateText(bytes.substr(0, length)).ok();
    // The same with the file length in the header made to fit.
    std::string fitted = bytes.substr(0, length);
    if (length < kHeaderBytes)
      continue;
    const uint64_t total = length;
    std::memcpy(&fitted[16], &total, 8);
    repairManifestHash(fitted);
    accepted += validateText(fitted).ok();
  }
  EXPECT_EQ(accepted, 0);
}

TEST(HostileBundle, TenThousandBitFlips) {
  const std::string bytes = smallBundle();
  std::mt19937 random(20240607);
  for (int i = 0; i < 10000; ++i) {
    std::string damaged = bytes;
    const size_t bit = random() % (bytes.size() * 8);
    damaged[bit / 8] = char(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(validateText(damaged).ok()) << "bit " << bit;
  }
}

// The same with hashes that fit, so that what lies behind them is reached. Some flips give another
// valid bundle (a letter in a name); none may crash.
TEST(HostileBundle, BitFlipsUnderRightHashes) {
  const std::string bytes = smallBundle();
  uint32_t manifestBytes = 0;
  std::memcpy(&manifestBytes, &bytes[12], 4);
  std::mt19937 random(7);
  ValidateOptions options;
  options.hashSegments = false;
  int refused = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string damaged = bytes;
    for (int flips = 1 + int(random() % 3); flips > 0; --flips) {
      const size_t bit = random() % ((kHeaderBytes + manifestBytes) * 8);
      damaged[bit / 8] = char(damaged[bit / 8] ^ (1 << bit % 8));
    }
    repairManifestHash(damaged);
    refused += !validateText(damaged, options).ok();
  }
  EXPECT_GT(refused, 5000);
}

TEST(HostileBundle, Header) {
  const std::string good = rawBundle(changedManifest("", ""));
  ASSERT_TRUE(validateText(good).ok()) << validateText(good).status().message();
  auto changed = [&](size_t at, uint64_t value, size_t size) {
    std::string bytes = good;
    std::memcpy(&bytes[at], &value, size);
    repairManifestHash(bytes);
    return bytes;
  };
  expectMalformed("", "0 bytes, the header alone has 64");
  expectMalformed(changed(0, 'X', 1), "does not start with MOHDBNDL");
  expectMalformed(changed(24, 1, 4), "flags and reserved bytes must be 0");
  expectMalformed(changed(28, 1, 4), "flags and reserved bytes must be 0");
  expectMalformed(changed(16, UINT64_MAX, 8), "the header says 18446744073709551615 bytes");
  expectMalformed(changed(12, UINT32_MAX, 4), "manifest length 4294967295 is more than");
  expectMalformed(changed(12, good.size() - 63, 4), "is more than");
  expectMalformed(changed(12, 0, 4), "invalid JSON");
  std::string unhashed = good;
  unhashed[40] = char(unhashed[40] ^ 1);
  expectMalformed(unhashed, "the header with the manifest does not match its sha256");
}

TEST(HostileBundle, Versions) {
  expectRefused(rawBundle(changedManifest("", ""), "", 2, 7), StatusCode::Incompatible,
                "bundle of format 2.7, this reader knows format 1.0; update the runtime");
  expectRefused(rawBundle(changedManifest("", ""), "", 0, 9), StatusCode::Incompatible,
                "compile the model again");
  expectMalformed(rawBundle(changedManifest("", ""), "", 1, 3),
                  "the header says format 1.3, the manifest 1.0");
  // A newer minor version with keys of its own is read,
  const std::string newer =
      changedManifest("\"format\":{\"major\":1,\"minor\":0}",
                      "\"format\":{\"major\":1,\"minor\":3},\"future\":{\"x\":1}");
  Result<BundleInfo> bundle = validateText(rawBundle(newer, "", 1, 3));
  EXPECT_TRUE(bundle.ok()) << bundle.status().message();
  // unless it needs something that this reader lacks.
  std::string needy = newer;
  needy.replace(needy.find("\"required_features\":[]"), 22, "\"required_features\":[\"warp\"]");
  expectRefused(rawBundle(needy, "", 1, 3), StatusCode::Incompatible,
                "bundle of format 1.3 needs the feature 'warp'");
  expectRefused(
      rawBundle(changedManifest("\"abi\":{\"max\":1,\"min\":1}", "\"abi\":{\"max\":5,\"min\":2}")),
      StatusCode::Incompatible, "bundle for runtime ABI 2 to 5, this runtime has ABI 1");
}

TEST(HostileBundle, Json) {
  expectMalformed(rawBundle(std::string(1000000, '[')), "nested deeper than 32");
  expectMalformed(rawBundle(changedManifest("\"files\":[]", "\"files\":[],\"files\":[]")),
                  "at '/files': duplicate key");
  expectMalformed(rawBundle(changedManifest("\"files\":[]", "\"files\": []")),
                  "not in canonical form");
  expectMalformed(rawBundle(changedManifest("\"files\":[]", "\"filez\":[]")), "unknown key");
  expectMalformed(rawBundle(changedManifest("\"files\":[]", "\"files\":{}")),
                  "expected array, got object");
  expectMalformed(rawBundle(changedManifest(",\"files\":[]", "")), "missing key 'files'");
  expectMalformed(rawBundle(changedManifest("", "") + "x"), "invalid JSON");
  for (const char *number : {"18446744073709551616", "-1", "1.5", "\"1\"", "1e0"})
    expectMalformed(rawBundle(changedManifest(
                        "\"files\":[]", "\"files\":[{\"name\":\"a\",\"sha256\":\"" +
                                            std::string(64, '0') + "\",\"size\":" + number + "}]")),
                    "/files/0/size'");
  expectMalformed(
      rawBundle(changedManifest("\"flags\":[]", "\"flags\":[\"" + std::string(70000, 'a') + "\"]")),
      "longer than 65536 bytes");
}

/// A change to a valid manifest, and what is wrong with it then.
struct Change {
  std::string expected;
  std::function<void(Manifest &)> apply;
};

void expectRefusedChanges(const Manifest &good, const std::vector<Change> &changes) {
  for (const Change &change : changes) {
    Manifest manifest = good;
    change.apply(manifest);
    TempFolder folder;
    const Status status = writeBundle(folder.file("a"), manifest, makeSegments());
    EXPECT_EQ(status.code(), StatusCode::Malformed) << change.expected;
    EXPECT_NE(status.message().find(change.expected), std::string::npos)
        << status.message() << "\nwithout: " << change.expected;
    EXPECT_EQ(folder.count(), 0u) << "nothing is left of a refused bundle";
  }
}

TEST(HostileBundle, Meaning) {
  using Kind = Binding::Kind;
  auto dispatch = [](Manifest &m) -> Dispatch & { return m.targets[0].programs[0].dispatches[0]; };
  const std::vector<Change> changes = {
      {"weights[0] 'factor': segment 7 of 2", [](Manifest &m) { m.weights[0].container = 7; }},
      {"size 8, but its shape needs 4", [](Manifest &m) { m.weights[0].size = 8; }},
      {"its shape needs more than 2^63", [](Manifest &m) { m.weights[0].shape = {INT64_MAX, 2}; }},
      {"its shape needs more than 2^63",
       [](Manifest &m) { m.weights[0].shape = {0, INT64_MAX, INT64_MAX}; }},
      {"size 4, but its shape needs 0", [](Manifest &m) { m.weights[0].shape = {0}; }},
      {"rank 9", [](Manifest &m) { m.weights[0].shape.assign(9, 1); }},
      {"bytes [64, +4) are outside its segment", [](Manifest &m) { m.weights[0].offset = 64; }},
      {"are outside its segment", [](Manifest &m) { m.weights[0].offset = INT64_MAX - 1; }},
      {"offset 4 in a segment must be a multiple of 64",
       [](Manifest &m) {
         m.weights[0].offset = 4, m.weights[0].size = 0, m.weights[0].shape = {0};
       }},
      {"the name 'factor' occurs twice", [](Manifest &m) { m.weights.push_back(m.weights[0]); }},
      {"weights 'factor' and 'twin' overlap",
       [](Manifest &m) {
         m.weights.push_back(m.weights[0]);
         m.weights[1].name = "twin";
       }},
      {"a name must have 1 to 255 bytes", [](Manifest &m) { m.weights[0].name = "a\nb"; }},
      {"a name must have 1 to 255 bytes", [](Manifest &m) { m.weights[0].name = ""; }},
      {"a name must have 1 to 255 bytes", [](Manifest &m) { m.weights[0].name.assign(256, 'a'); }},
      {"expected a base name", [](Manifest &m) { m.files.push_back({"../w", 1, {}}); }},
      {"expected a base name", [](Manifest &m) { m.files.push_back({"..", 1, {}}); }},
      {"expected a base name", [](Manifest &m) { m.files.push_back({"/etc/passwd", 1, {}}); }},
      {"extent 'U' is no dim",
       [](Manifest &m) {
         m.entryPoints[0].inputs.push_back({"z", DType::F32, {std::string("U")}, {}, false});
       }},
      {"no input's shape names the dim 'U'",
       [](Manifest &m) { m.entryPoints[0].dims.push_back("U"); }},
      {"must be an identifier and occur once",
       [](Manifest &m) { m.entryPoints[0].dims.push_back("T"); }},
      {"dims, at most 64", [](Manifest &m) { m.entryPoints[0].dims.assign(65, "T"); }},
      {"extent: expression 'T+'",
       [](Manifest &m) { m.entryPoints[0].outputs[0].shape[0].text = "T+"; }},
      {"only integer inputs have a range",
       [](Manifest &m) { m.entryPoints[0].inputs[0].range = {"0", "1"}; }},
      {"range: expression 'Q'",
       [](Manifest &m) { m.entryPoints[1].inputs[1].range->second = "Q"; }},
      {"kernel 5 of 3", [&](Manifest &m) { dispatch(m).kernel = 5; }},
      {"2 bindings and 1 params, kernel 'test_scale' has 3 and 1",
       [&](Manifest &m) { dispatch(m).bindings.pop_back(); }},
      {"grid: expression '%'", [&](Manifest &m) { dispatch(m).grid = "%"; }},
      {"param: expression", [&](Manifest &m) { dispatch(m).params[0] = std::string(5000, '1'); }},
      {"input 1 of 1", [&](Manifest &m) { dispatch(m).bindings[0].index = 1; }},
      {"weight 1 of 1", [&](Manifest &m) { dispatch(m).bindings[1].index = 1; }},
      {"output 9 of 1", [&](Manifest &m) { dispatch(m).bindings[2].index = 9; }},
      {"offset: expression",
       [&](Manifest &m) { dispatch(m).bindings[0] = {Kind::Input, 0, "", "4"}; }},
      {"size: expression", [&](Manifest &m) { dispatch(m).bindings[0].size = "S"; }},
      {"workspace: expression", [](Manifest &m) { m.targets[0].programs[0].workspace = "-1"; }},
      {"entry 2 of 2", [](Manifest &m) { m.targets[0].programs[0].entry = 2; }},
      {"a second program for entry 1", [](Manifest &m) { m.targets[0].programs[0].entry = 1; }},
      {"segment 2 of 2", [](Manifest &m) { m.targets[0].segment = 2; }},
      {"is no C identifier", [](Manifest &m) { m.targets[0].kernels[0].name = "a b"; }},
      {"the name 'test_scale' occurs twice",
       [](Manifest &m) { m.targets[0].kernels[1].name = "test_scale"; }},
  };
  expectRefusedChanges(makeManifest(), changes);
}

TEST(HostileBundle, MeaningOfGpuTargets) {
  // The first is a cubin, the second PTX, the third emulated.
  const Manifest good =
      makeGpuManifest({makeGpuTarget("cuda", "sm_90a"), makeGpuTarget("cuda", "ptx"),
                       makeGpuTarget("emulate", "sm_90a")});
  auto kernel = [](Manifest &m, int target = 0) -> Kernel & {
    return m.targets[target].kernels.back();
  };
  auto tiles = [](Manifest &m) -> Dispatch & { return m.targets[0].programs[2].dispatches[0]; };
  const std::vector<Change> changes = {
      {"expects kind cpu, cuda or emulate, got 'rocm'",
       [](Manifest &m) { m.targets[0].kind = "rocm"; }},
      {"expects an arch such as sm_80 or sm_90a, or ptx",
       [](Manifest &m) { m.targets[0].arch = "sm_75"; }},
      {"expects an arch such as sm_80 or sm_90a", [](Manifest &m) { m.targets[2].arch = "ptx"; }},
      {"expects code 'cubin', got 'ptx'", [](Manifest &m) { m.targets[1].arch = "sm_80"; }},
      {"expects code 'ptx', got 'elf'", [](Manifest &m) { m.targets[1].code = "elf"; }},
      {"expects no features of a CPU, got 1", [](Manifest &m) { m.targets[1].features = {"avx"}; }},
      {"a name must have 1 to 255 bytes", [](Manifest &m) { m.targets[2].host = ""; }},
      {"kernel 'gpu_tiles' has tensor maps, which expect sm_90",
       [](Manifest &m) { m.targets[0].arch = "sm_89"; }},
      {"kernel 'gpu_gather' has tensor maps", [&](Manifest &m) { kernel(m, 1).maps = 1; }},
      {"/maps'",
       [&](Manifest &m) { kernel(m).maps = 17, tiles(m).maps.assign(17, makeRowsMap(0)); }},
      {"/threads'", [&](Manifest &m) { kernel(m).threads = 0; }},
      {"/threads'", [&](Manifest &m) { kernel(m, 2).threads = 1025; }},
      {"/shared_bytes'", [&](Manifest &m) { kernel(m).sharedBytes = (227 << 10) + 1; }},
      {"/registers'", [&](Manifest &m) { kernel(m).registers = 0; }},
      {"/static_shared_bytes'", [&](Manifest &m) { kernel(m).staticSharedBytes = -1; }},
      {"/blocks_per_sm'", [&](Manifest &m) { kernel(m).blocksPerSm = 33; }},
      {"1 maps, kernel 'gpu_tiles' has 2", [&](Manifest &m) { tiles(m).maps.pop_back(); }},
      {".maps[0]: binding 2 of 2", [&](Manifest &m) { tiles(m).maps[0].binding = 2; }},
      {"expects elements of 1, 2 or 4 bytes, got i64",
       [&](Manifest &m) { tiles(m).maps[0].dtype = DType::I64; }},
      {"one stride less, got 0, 2 and 1", [&](Manifest &m) { tiles(m).maps[0].extents = {}; }},
      {"one stride less, got 6, 6 and 5",
       [&](Manifest &m) {
         tiles(m).maps[0].extents.assign(6, "1");
         tiles(m).maps[0].strides.assign(5, "16");
         tiles(m).maps[0].box.assign(6, 16);
       }},
      {"one stride less, got 2, 2 and 2",
       [&](Manifest &m) { tiles(m).maps[0].strides.push_back("1"); }},
      {"one stride less, got 2, 1 and 1", [&](Manifest &m) { tiles(m).maps[0].box.pop_back(); }},
      {"/box/1'", [&](Manifest &m) { tiles(m).maps[0].box[1] = 257; }},
      {"/box/0'", [&](Manifest &m) { tiles(m).maps[0].box[0] = 0; }},
      {"multiple of 16 bytes up to the swizzle's 64, got 56",
       [&](Manifest &m) { tiles(m).maps[0].box[0] = 14; }},
      {"multiple of 16 bytes up to the swizzle's 32, got 64",
       [&](Manifest &m) { tiles(m).maps[0].swizzle = 32; }},
      {"multiple of 16 bytes, got 4",
       [&](Manifest &m) { tiles(m).maps[0].box[0] = 1, tiles(m).maps[0].swizzle = 0; }},
      {"/swizzle': expected \"none\"", [&](Manifest &m) { tiles(m).maps[0].swizzle = 256; }},
      {"extent: expression 'U'", [&](Manifest &m) { tiles(m).maps[0].extents[1] = "U"; }},
      {"stride: expression ''", [&](Manifest &m) { tiles(m).maps[0].strides[0] = ""; }},
  };
  expectRefusedChanges(good, changes);
}

// What belongs to GPUs is an unknown key elsewhere, and the other way round.
TEST(HostileBundle, KeysOfOtherKinds) {
  const std::string cpu = *writeCanonicalJson(toJson(makeManifest()));
  Manifest gpu = makeGpuManifest({makeGpuTarget("emulate", "sm_90a")});
  gpu.segments = {{"code", 0, 0, 64, {}}};
  const std::string emulate = *writeCanonicalJson(toJson(gpu));
  auto replaced = [](std::string text, const std::string &from, const std::string &to) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from << " in " << text;
    return text.replace(at, from.size(), to);
  };
  expectMalformed(rawBundle(replaced(cpu, "\"kind\":\"cpu\"", "\"host\":\"a\",\"kind\":\"cpu\"")),
                  "unknown key");
  expectMalformed(rawBundle(replaced(cpu, "\"kernel\":0,", "\"kernel\":0,\"maps\":[],")),
                  "unknown key");
  expectMalformed(rawBundle(replaced(cpu, "\"params\":1}", "\"params\":1,\"threads\":32}")),
                  "unknown key");
  expectMalformed(rawBundle(replaced(emulate, "\"host\":\"x86-64\",", "")), "missing key 'host'");
  expectMalformed(rawBundle(replaced(emulate, "\"host\"", "\"code\":\"cubin\",\"host\"")),
                  "unknown key");
  expectMalformed(
      rawBundle(replaced(emulate, "\"shared_bytes\"", "\"registers\":1,\"shared_bytes\"")),
      "unknown key");
  expectMalformed(rawBundle(replaced(emulate, "\"maps\":[],", "")), "missing key 'maps'");
}

/// A bundle with two empty-hash segments laid out as given, and zeros behind the manifest.
std::string layout(const std::vector<SegmentInfo> &segments, size_t tailBytes) {
  Manifest manifest;
  manifest.segments = segments;
  const std::string text = *writeCanonicalJson(toJson(manifest));
  return rawBundle(text, std::string(tailBytes, '\0'));
}

TEST(HostileBundle, Layout) {
  auto segment = [](const char *name, int64_t offset, int64_t size, int64_t align = 64) {
    return SegmentInfo{name, offset, size, align, Sha256Digest{}};
  };
  expectMalformed(layout({segment("a", 1024, 64), segment("b", 1024, 64)}, 2000),
                  "segment 'b': offset 1024 is before byte 1088");
  expectMalformed(layout({segment("a", 2048, 64), segment("b", 1024, 64)}, 3000),
                  "segment 'b': offset 1024 is before");
  expectMalformed(layout({segment("a", 0, 64)}, 1000), "segment 'a': offset 0 is before");
  expectMalformed(layout({segment("a", 1025, 64)}, 2000), "is no multiple of its align 64");
  expectMalformed(layout({segment("a", 1024, 64, 3)}, 2000), "expected a power of two");
  expectMalformed(layout({segment("a", 1024, 64, 8192)}, 2000), "expected a power of two");
  expectMalformed(layout({segment("a", INT64_MAX / 64 * 64, 64)}, 2000), "are outside the file");
  expectMalformed(layout({segment("a", 1024, INT64_MAX)}, 2000), "are outside the file");
  expectMalformed(layout({segment("a", 1024, 64)}, 2000), "bytes after its last segment");
  expectMalformed(layout({}, 1), "bytes after its last segment");

  std::string bytes = smallBundle();
  uint32_t manifestBytes = 0;
  std::memcpy(&manifestBytes, &bytes[12], 4);
  const Manifest manifest = validateText(bytes)->manifest;
  bytes[manifest.segments[1].offset - 1] = 1;
  expectMalformed(bytes, "lies between segments and is not zero");
  bytes[manifest.segments[1].offset - 1] = 0;
  bytes[manifest.segments[1].offset] ^= 1;
  expectMalformed(bytes, "segment 'weights' does not match its sha256");
}

} // namespace
