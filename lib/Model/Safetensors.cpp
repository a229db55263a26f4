// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The header's checks, in the order of docs: length, JSON, each entry, then all entries together.

#include "mohd/Model/Safetensors.h"
#include "JsonHelpers.h"
#include "mohd/Model/Tensors.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace mlir::mohd {
namespace {

using ::mohdrt::JsonDocument;
using ::mohdrt::JsonMember;
using ::mohdrt::JsonNode;
using ::mohdrt::JsonValue;

constexpr size_t kPrefixBytes = 8;
constexpr size_t kReadBytes = 256 << 10; // piece of 16-bit elements read at once

Status malformed(const std::string &fileName, const std::string &what) {
  return Status(StatusCode::Malformed, fileName + ": " + what);
}

DType readType(const JsonNode &node) {
  std::string text = readString(node);
  if (text == "BF16")
    return DType::BF16;
  if (text == "F16")
    return DType::F16;
  if (text != "F32")
    failValue(node, "'F32', 'BF16' or 'F16'");
  return DType::F32;
}

/// Reads an array of `low` to `high` non-negative integers; `expected` describes it.
std::vector<int64_t> readIntegers(const JsonNode &node, size_t low, size_t high,
                                  const char *expected) {
  std::vector<int64_t> values;
  const JsonValue::Array *items = node.value() ? node.value()->asArray() : nullptr;
  if (!items || items->size() < low || items->size() > high) {
    failValue(node, expected);
    return values;
  }
  for (size_t i = 0; i < items->size(); ++i)
    values.push_back(readInteger(node.at(i), 0));
  return values;
}

/// Reads one tensor's entry; `dataSize` is the size of the data section and offsets stay relative
/// to it.
void readEntry(const JsonNode &node, int64_t dataSize, StoredTensor &tensor) {
  node.refuseUnknownKeys({"dtype", "shape", "data_offsets"});
  JsonNode shape = node.member("shape"), offsets = node.member("data_offsets");
  tensor.type = readType(node.member("dtype"));
  tensor.shape = readIntegers(shape, 0, kMaxSafetensorsRank, "an array of rank at most 8");
  std::vector<int64_t> range = readIntegers(offsets, 2, 2, "two integers, begin and end");
  if (range.size() != 2)
    return;
  std::optional<int64_t> bytes =
      ::mohdrt::tensorBytes(tensor.type, tensor.shape.data(), tensor.shape.size());
  if (!bytes)
    return shape.fail("expected a size in bytes that fits in 63 bits, got " +
                      shapeText(tensor.shape));
  if (range[0] > range[1] || range[1] > dataSize)
    return offsets.fail("expected begin <= end <= " + std::to_string(dataSize) +
                        ", the bytes of data in the file, got " + shapeText(range));
  if (range[1] - range[0] != *bytes)
    return offsets.fail("expected " + std::to_string(*bytes) +
                        " bytes for this shape and dtype, got " +
                        std::to_string(range[1] - range[0]));
  tensor.offset = static_cast<uint64_t>(range[0]);
  tensor.size = static_cast<uint64_t>(*bytes);
}

void checkMetadata(const JsonNode &node) {
  for (const JsonMember &member : membersOf(node))
    readString(node.member(member.key));
}

/// Sorts by offset and checks that the tensors follow each other from 0 to `dataSize`.
Status checkCoverage(std::vector<StoredTensor> &tensors, uint64_t dataSize,
                     const std::string &fileName) {
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor &a, const StoredTensor &b) {
    return std::tie(a.offset, a.size, a.name) < std::tie(b.offset, b.size, b.name);
  });
  uint64_t end = 0;
  for (const StoredTensor &tensor : tensors) {
    std::string where = "tensor '" + ::mohdrt::escapeForMessage(tensor.name) + "' begins at byte " +
                        std::to_string(tensor.offset) + " of the data, expected " +
                        std::to_string(end);
    if (tensor.offset < end)
      return malformed(fileName, where + ": overlaps the tensor before it");
    if (tensor.offset > end)
      return malformed(fileName, where + ": leaves a gap");
    end += tensor.size;
  }
  if (end != dataSize)
    return malformed(fileName, "has " + std::to_string(dataSize - end) +
                                   " bytes after the last tensor, expected none");
  return Status();
}

} // namespace

Result<uint64_t> readHeaderLength(std::string_view prefix, uint64_t fileSize,
                                  const std::string &fileName) {
  if (prefix.size() < kPrefixBytes)
    return malformed(fileName, "has " + std::to_string(fileSize) + " bytes, expected at least 8");
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i)
    length |= static_cast<uint64_t>(static_cast<unsigned char>(prefix[i])) << (8 * i);
  uint64_t left = fileSize - kPrefixBytes;
  if (length > kMaxSafetensorsHeader)
    return malformed(fileName, "has a header of " + std::to_string(length) +
                                   " bytes, expected at most " +
                                   std::to_string(kMaxSafetensorsHeader));
  if (length > left)
    return malformed(fileName, "has a header of " + std::to_string(length) +
                                   " bytes, expected at most the " + std::to_string(left) +
                                   " bytes that follow");
  return length;
}

Result<std::vector<StoredTensor>> parseSafetensorsHeader(std::string_view header, uint64_t fileSize,
                                                         const std::string &fileName) {
  if (header.empty() || header.front() != '{')
    return malformed(fileName, "expected '{' as the header's first byte");
  Result<JsonValue> value = parseBounded(header, fileName);
  if (!value.ok())
    return value.status();
  JsonDocument document(*value, fileName);
  JsonNode root = document.root();
  uint64_t dataStart = kPrefixBytes + header.size(), dataSize = fileSize - dataStart;
  std::vector<StoredTensor> tensors;
  for (const JsonMember &member : membersOf(root)) {
    JsonNode node = root.member(member.key);
    if (member.key == "__metadata__") {
      checkMetadata(node);
    } else {
      tensors.emplace_back().name = member.key;
      readEntry(node, static_cast<int64_t>(dataSize), tensors.back());
    }
    MOHDRT_TRY(document.status());
  }
  MOHDRT_TRY(checkCoverage(tensors, dataSize, fileName));
  for (StoredTensor &tensor : tensors)
    tensor.offset += dataStart;
  return tensors;
}

Result<std::vector<StoredTensor>> parseSafetensors(std::string_view file,
                                                   const std::string &fileName) {
  Result<uint64_t> length = readHeaderLength(file.substr(0, kPrefixBytes), file.size(), fileName);
  if (!length.ok())
    return length.status();
  return parseSafetensorsHeader(file.substr(kPrefixBytes, *length), file.size(), fileName);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string &folder, const std::string &name) {
  Result<InputFile> file = InputFile::openBeneath(folder, name);
  if (!file.ok())
    return file.status();
  std::string prefix(std::min<uint64_t>(kPrefixBytes, file->size()), '\0');
  MOHDRT_TRY(file->readAt(0, prefix.data(), prefix.size()));
  Result<uint64_t> length = readHeaderLength(prefix, file->size(), file->path());
  if (!length.ok())
    return length.status();
  std::string header(*length, '\0');
  MOHDRT_TRY(file->readAt(kPrefixBytes, header.data(), header.size()));
  Result<std::vector<StoredTensor>> tensors =
      parseSafetensorsHeader(header, file->size(), file->path());
  if (!tensors.ok())
    return tensors.status();
  return SafetensorsFile(std::move(*file), std::move(*tensors));
}

Status SafetensorsFile::readElements(const StoredTensor &tensor, int64_t first, int64_t count,
                                     float *target) const {
  uint64_t elementBytes = static_cast<uint64_t>(::mohdrt::dtypeSize(tensor.type));
  uint64_t offset = tensor.offset + static_cast<uint64_t>(first) * elementBytes;
  if (tensor.type == DType::F32)
    return file.readAt(offset, target, static_cast<size_t>(count) * sizeof(float));
  std::vector<char> bytes(std::min<size_t>(kReadBytes, static_cast<size_t>(count) * elementBytes));
  while (count > 0) {
    int64_t part = std::min<int64_t>(count, static_cast<int64_t>(kReadBytes / elementBytes));
    MOHDRT_TRY(file.readAt(offset, bytes.data(), static_cast<size_t>(part) * elementBytes));
    widen(tensor.type, bytes.data(), target, part);
    target += part;
    offset += static_cast<uint64_t>(part) * elementBytes;
    count -= part;
  }
  return Status();
}

} // namespace mlir::mohd
