// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A small bundle that every test starts from, and a folder that goes away with the test.
#ifndef MOHD_UNITTESTS_TESTBUNDLE_H
#define MOHD_UNITTESTS_TESTBUNDLE_H

#include "mohd/format/bundle.h"

#include <gtest/gtest.h>

#include <cstdlib>
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

/// A manifest for the kernels of TestKernels.c: one entry point "scale", out[t] = in[t] *
/// factor[0], for T rows. Segment 0 holds code, segment 1 the weight.
inline Manifest makeManifest() {
  Manifest manifest;
  manifest.producer.name = "test";
  manifest.producer.version = "1";
  manifest.producer.llvm = "none";
  manifest.producer.flags = {"-a"};
  manifest.weights.push_back({"factor", DType::F32, {1}, false, 1, 0, 4});
  EntryPoint entry;
  entry.name = "scale";
  entry.dims = {"T"};
  entry.inputs.push_back({"x", DType::F32, {std::string("T")}, std::nullopt, false});
  entry.outputs.push_back({"y", DType::F32, {std::string("T")}, std::nullopt, false});
  manifest.entryPoints.push_back(entry);
  Target target;
  target.kind = "cpu";
  target.arch = "x86-64";
  target.kernels.push_back({"test_scale", 3, 1});
  Dispatch dispatch;
  dispatch.grid = "ceildiv(T,16)";
  dispatch.params = {"T"};
  dispatch.bindings = {{Binding::Kind::Input, 0, "0", "T*4"},
                       {Binding::Kind::Weight, 0, "0", "4"},
                       {Binding::Kind::Output, 0, "0", "T*4"}};
  target.programs.push_back({0, "0", {dispatch}});
  manifest.targets.push_back(target);
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

inline Result<BundleInfo> validateText(const std::string &bytes,
                                       ValidateOptions options = ValidateOptions()) {
  return validateBundle(MemorySource(bytes.data(), bytes.size()), options);
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_TESTBUNDLE_H
