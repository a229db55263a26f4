// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A small bundle that every test starts from, and a folder that goes away with the test.
#ifndef MOHD_UNITTESTS_TESTBUNDLE_H
#define MOHD_UNITTESTS_TESTBUNDLE_H

#include "mohd/format/bundle.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace mohdrt {

/// A fresh folder, removed with all it holds.
class TempFolder {
public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mohd-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string &name) const { return path_ + "/" + name; }
  size_t count() const { return std::distance(std::filesystem::directory_iterator(path_), {}); }

private:
  std::string path_;
};

inline std::string readAll(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// Entry point "pick" of makeManifest(): y[r] = x[rows[r]]^2, with a workspace of T rows.
inline EntryPoint makePickEntry() {
  EntryPoint entry;
  entry.name = "pick";
  entry.dims = {"T", "R"};
  entry.inputs.push_back({"x", DType::F32, {std::string("T")}, std::nullopt, false});
  entry.inputs.push_back({"rows",
                          DType::I32,
                          {std::string("R")},
                          std::pair<std::string, std::string>("0", "T"),
                          false});
  entry.outputs.push_back({"y", DType::F32, {std::string("R")}, std::nullopt, false});
  return entry;
}

inline Target makeTarget(int64_t segment, std::vector<std::string> features = {}) {
  Target target;
  target.kind = "cpu";
  target.arch = "x86-64";
  target.features = std::move(features);
  target.segment = segment;
  target.kernels = {{"test_scale", 3, 1}, {"test_square", 2, 0}, {"test_gather", 3, 0}};
  using Kind = Binding::Kind;
  Dispatch scale, square, gather;
  scale.kernel = 0, scale.grid = "ceildiv(T,16)", scale.params = {"T"};
  scale.bindings = {
      {Kind::Input, 0, "0", "T*4"}, {Kind::Weight, 0, "0", "4"}, {Kind::Output, 0, "0", "T*4"}};
  square.kernel = 1, square.grid = "T";
  square.bindings = {{Kind::Input, 0, "0", "T*4"}, {Kind::Workspace, 0, "64", "T*4"}};
  gather.kernel = 2, gather.grid = "R";
  gather.bindings = {{Kind::Workspace, 0, "64", "T*4"},
                     {Kind::Input, 1, "0", "R*4"},
                     {Kind::Output, 0, "0", "R*4"}};
  target.programs.push_back({0, "0", {scale}});
  target.programs.push_back({1, "64+T*4", {square, gather}});
  return target;
}

/// A manifest for the kernels of TestKernels.c. Entry points: "scale", y[t] = x[t] * factor[0], and
/// "pick". Segment 0 holds code, segment 1 the weight.
inline Manifest makeManifest() {
  Manifest manifest;
  manifest.producer.name = "test";
  manifest.producer.version = "1";
  manifest.producer.llvm = "none";
  manifest.producer.flags = {"-a"};
  manifest.weights.push_back({"factor", DType::F32, {1}, false, 1, 0, 4});
  EntryPoint scale;
  scale.name = "scale";
  scale.dims = {"T"};
  scale.inputs.push_back({"x", DType::F32, {std::string("T")}, std::nullopt, false});
  scale.outputs.push_back({"y", DType::F32, {std::string("T")}, std::nullopt, false});
  manifest.entryPoints = {scale, makePickEntry()};
  manifest.targets.push_back(makeTarget(0));
  return manifest;
}

/// Bytes of a float32 value.
inline std::string floatBytes(float value) {
  return std::string(reinterpret_cast<const char *>(&value), sizeof(value));
}

inline std::vector<SegmentData> makeSegments(std::string code = "not really code",
                                             float factor = 2.0f) {
  return {SegmentData::fromBytes("code", std::move(code)),
          SegmentData::fromBytes("weights", floatBytes(factor), kWeightsSegmentAlign)};
}

/// The bytes of a bundle, written and read back.
inline std::string bundleBytes(const Manifest &manifest, const std::vector<SegmentData> &segments) {
  TempFolder folder;
  const Status status = writeBundle(folder.file("b.mohdb"), manifest, segments);
  EXPECT_TRUE(status.ok()) << status.message();
  return readAll(folder.file("b.mohdb"));
}

inline Result<BundleInfo> validateText(const std::string &bytes,
                                       ValidateOptions options = ValidateOptions()) {
  return validateBundle(MemorySource(bytes.data(), bytes.size()), options);
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_TESTBUNDLE_H
