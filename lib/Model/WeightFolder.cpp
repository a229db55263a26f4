// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights from a folder: one safetensors file, or shards with an index that must agree with them.

#include "JsonHelpers.h"
#include "mohd/Model/Safetensors.h"
#include "mohd/Model/Weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

namespace mlir::mohd {
namespace {

using ::mohdrt::JsonDocument;
using ::mohdrt::JsonMember;
using ::mohdrt::JsonNode;
using ::mohdrt::JsonValue;

constexpr const char *kSingleFile = "model.safetensors";
constexpr const char *kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 16 << 20;

/// True if `name` matches [A-Za-z0-9._-]+\.safetensors.
bool isShardName(std::string_view name) {
  constexpr std::string_view suffix = ".safetensors";
  if (name.size() <= suffix.size() || name.substr(name.size() - suffix.size()) != suffix)
    return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

class FolderSource final : public WeightSource {
public:
  explicit FolderSource(const ModelConfig &config) : specs(expectedTensors(config)) {
    for (const TensorSpec &spec : specs)
      shapes.emplace(spec.name, &spec.shape);
  }

  /// Opens one file and takes in its tensors.
  Status addFile(const std::string &folder, const std::string &name) {
    Result<SafetensorsFile> file = SafetensorsFile::open(folder, name);
    if (!file.ok())
      return file.status();
    for (size_t entry = 0; entry < file->tensors().size(); ++entry)
      MOHDRT_TRY(addTensor(file->path(), file->tensors()[entry], entry));
    names.push_back(name);
    files.push_back(std::move(*file));
    return Status();
  }

  Status checkComplete(const std::string &folder) const {
    for (const TensorSpec &spec : specs)
      if (!places.count(spec.name))
        return Status(StatusCode::Malformed, folder + ": tensor '" + spec.name +
                                                 "' is missing, expected shape " +
                                                 shapeText(spec.shape));
    return Status();
  }

  /// Checks that the index puts each tensor into the file that has it. `index` maps tensors to
  /// files.
  Status checkIndex(const std::string &indexPath,
                    const std::map<std::string, std::string> &index) const {
    for (const auto &[tensor, file] : index) {
      auto place = places.find(tensor);
      if (place == places.end() || names[place->second.file] != file)
        return Status(StatusCode::Malformed, indexPath + ": at '/weight_map': tensor '" +
                                                 ::mohdrt::escapeForMessage(tensor) +
                                                 "' is not in " + file);
    }
    for (const auto &[tensor, place] : places)
      if (!index.count(tensor))
        return Status(StatusCode::Malformed, indexPath +
                                                 ": at '/weight_map': expected an entry for '" +
                                                 tensor + "' of " + names[place.file]);
    return Status();
  }

  Status readTensor(const std::string &name, const TensorLayout &layout, void *target,
                    size_t targetBytes, QuantizationError *error) const override {
    auto place = places.find(name);
    if (place == places.end())
      return Status(StatusCode::Internal, "the model has no tensor '" + name + "'");
    const SafetensorsFile &file = files[place->second.file];
    const StoredTensor &tensor = file.tensors()[place->second.entry];
    return copyTensor(
        tensor.shape, layout,
        [&](int64_t first, int64_t count, float *out) {
          return file.readElements(tensor, first, count, out);
        },
        target, targetBytes, error);
  }

  DType storedType(const std::string &name) const override {
    auto place = places.find(name);
    if (place == places.end())
      return DType::F32;
    return files[place->second.file].tensors()[place->second.entry].type;
  }

  std::vector<std::string> fileNames() const override { return names; }

private:
  struct Place {
    size_t file, entry;
  };

  Status addTensor(const std::string &path, const StoredTensor &tensor, size_t entry) {
    auto shape = shapes.find(tensor.name);
    if (shape == shapes.end())
      return Status(StatusCode::Malformed,
                    path + ": tensor '" + ::mohdrt::escapeForMessage(tensor.name) +
                        "' is not part of the model that config.json describes");
    if (*shape->second != tensor.shape)
      return Status(StatusCode::Malformed, path + ": tensor '" + tensor.name + "' has shape " +
                                               shapeText(tensor.shape) + ", expected " +
                                               shapeText(*shape->second));
    if (!places.emplace(tensor.name, Place{files.size(), entry}).second)
      return Status(StatusCode::Malformed,
                    path + ": tensor '" + tensor.name + "' is in another shard as well");
    return Status();
  }

  std::vector<TensorSpec> specs;
  std::unordered_map<std::string, const std::vector<int64_t> *> shapes;
  std::vector<std::string> names;
  std::vector<SafetensorsFile> files;
  std::unordered_map<std::string, Place> places;
};

/// Reads the index: tensor name to shard name. Every shard name is checked before any shard is
/// opened.
Result<std::map<std::string, std::string>> readIndex(const InputFile &file) {
  Result<std::string> text = file.readText(kMaxIndexBytes);
  if (!text.ok())
    return text.status();
  Result<JsonValue> value = parseBounded(*text, file.path());
  if (!value.ok())
    return value.status();
  JsonDocument document(*value, file.path());
  document.root().refuseUnknownKeys({"metadata", "weight_map"});
  JsonNode map = document.root().member("weight_map");
  std::map<std::string, std::string> index;
  for (const JsonMember &member : membersOf(map)) {
    JsonNode shard = map.member(member.key);
    std::string &name = index[member.key] = readString(shard);
    if (!isShardName(name))
      failValue(shard, "a file name that matches [A-Za-z0-9._-]+\\.safetensors");
    MOHDRT_TRY(document.status());
  }
  MOHDRT_TRY(document.status());
  return index;
}

/// Opens the shards of an index, each once, in the order of their names.
Status addShards(FolderSource &source, const std::string &folder) {
  Result<InputFile> file = InputFile::openBeneath(folder, kIndexFile);
  if (!file.ok())
    return file.status();
  Result<std::map<std::string, std::string>> index = readIndex(*file);
  if (!index.ok())
    return index.status();
  std::set<std::string> shards;
  for (const auto &[tensor, shard] : *index)
    shards.insert(shard);
  for (const std::string &shard : shards)
    MOHDRT_TRY(source.addFile(folder, shard));
  return source.checkIndex(file->path(), *index);
}

} // namespace

Result<std::unique_ptr<WeightSource>> openWeights(const std::string &folder,
                                                  const ModelConfig &config) {
  bool single = existsBeneath(folder, kSingleFile), sharded = existsBeneath(folder, kIndexFile);
  if (!isFolder(folder))
    return Status(StatusCode::NotFound, folder + ": expected a model folder");
  if (single == sharded)
    return Status(StatusCode::Malformed, folder + ": expects " + kSingleFile + " or " + kIndexFile +
                                             ", got " + (single ? "both" : "neither"));
  auto source = std::make_unique<FolderSource>(config);
  Status status = single ? source->addFile(folder, kSingleFile) : addShards(*source, folder);
  if (status.ok())
    status = source->checkComplete(folder);
  if (!status.ok())
    return status;
  return std::unique_ptr<WeightSource>(std::move(source));
}

} // namespace mlir::mohd
