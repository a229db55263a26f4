// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes small model folders.

#include "ModelFolder.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

using namespace mlir::mohd;

ModelConfig tinyModelConfig() {
  ModelConfig config;
  config.hiddenSize = 8;
  config.intermediateSize = 6;
  config.numLayers = 1;
  config.numHeads = 2;
  config.numKvHeads = 1;
  config.headDim = 2;
  config.vocabSize = 10;
  config.maxPositions = 16;
  RoutingConfig routing;
  routing.numGroups = 4;
  routing.numShared = routing.numRouted = 1;
  config.routing = routing;
  return config;
}

ModelFolder::ModelFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "mohd-model-XXXXXX").string();
  if (!::mkdtemp(pattern.data()))
    throw std::runtime_error("cannot make a temporary folder");
  folder = pattern;
}

ModelFolder::~ModelFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void ModelFolder::writeText(const std::string &name, const std::string &text) {
  std::ofstream(folder + "/" + name, std::ios::binary) << text;
}

std::string ModelFolder::readText(const std::string &name) {
  std::ifstream stream(folder + "/" + name, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

void ModelFolder::writeWeights(const std::string &name, const std::vector<TensorSpec> &specs) {
  const char *typeName = storageType == DType::F32    ? "F32"
                         : storageType == DType::BF16 ? "BF16"
                                                      : "F16";
  std::string header = "{", data;
  for (const TensorSpec &spec : specs) {
    std::vector<float> values = valuesOf(spec);
    std::string bytes(values.size() * static_cast<size_t>(::mohdrt::dtypeSize(storageType)), '\0');
    narrow(storageType, values.data(), bytes.data(), static_cast<int64_t>(values.size()));
    header += (header.size() > 1 ? ",\"" : "\"") + spec.name + "\":{\"dtype\":\"" + typeName +
              "\",\"shape\":[";
    for (size_t i = 0; i < spec.shape.size(); ++i)
      header += (i ? "," : "") + std::to_string(spec.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + bytes.size()) + "]}";
    data += bytes;
  }
  header += "}";
  std::string prefix(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    prefix[i] = static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  writeText(name, prefix + header + data);
}

std::vector<float> ModelFolder::valuesOf(const TensorSpec &spec) {
  uint32_t salt = 0;
  for (char c : spec.name)
    salt = salt * 31 + static_cast<unsigned char>(c);
  std::vector<float> values(static_cast<size_t>(spec.numElements()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>((salt + i * 7) % 255) - 127.0f;
  return values;
}
