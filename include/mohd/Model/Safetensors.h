// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A strict reader of the safetensors format: little-endian u64 header length, JSON header, data.
// Everything the header says is checked against the file before any of it is used.

#ifndef MOHD_MODEL_SAFETENSORS_H
#define MOHD_MODEL_SAFETENSORS_H

#include "mohd/Model/InputFile.h"
#include "mohd/Model/TensorCopy.h"

namespace mlir::mohd {

/// A tensor's entry in a safetensors header.
struct StoredTensor {
  std::string name;
  DType type = DType::F32;
  std::vector<int64_t> shape;
  uint64_t offset = 0; // from the start of the file
  uint64_t size = 0;   // bytes
};

constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;
constexpr int64_t kMaxSafetensorsRank = 8;

/// Checks the first (at most eight) bytes of a file of `fileSize` bytes and returns the header's
/// length.
Result<uint64_t> readHeaderLength(std::string_view prefix, uint64_t fileSize,
                                  const std::string &fileName);

/// Parses the JSON header of a file of `fileSize` bytes; the tensors come ordered by offset.
///
/// Refuses: a first byte other than `{`, duplicate names or keys, unknown keys, element types other
/// than F32, BF16 and F16, a rank above 8, negative extents, products that overflow, begin > end,
/// an end outside the file, a size that is not shape times type (also when it is zero), tensors
/// that overlap or leave gaps, and data that does not reach the end of the file. Errors name the
/// file, the JSON pointer and what was expected.
Result<std::vector<StoredTensor>> parseSafetensorsHeader(std::string_view header, uint64_t fileSize,
                                                         const std::string &fileName);

/// Parses a whole file that is in memory (for tests and fuzzing).
Result<std::vector<StoredTensor>> parseSafetensors(std::string_view file,
                                                   const std::string &fileName);

/// An open safetensors file.
class SafetensorsFile {
public:
  /// Opens `name` in `folder` and reads its header.
  static Result<SafetensorsFile> open(const std::string &folder, const std::string &name);

  const std::string &path() const { return file.path(); }
  const std::vector<StoredTensor> &tensors() const { return entries; }

  /// Reads elements [first, first + count) of one of tensors(), widened to f32. Safe to call from
  /// several threads.
  Status readElements(const StoredTensor &tensor, int64_t first, int64_t count,
                      float *target) const;

private:
  SafetensorsFile(InputFile file, std::vector<StoredTensor> entries)
      : file(std::move(file)), entries(std::move(entries)) {}

  InputFile file;
  std::vector<StoredTensor> entries;
};

} // namespace mlir::mohd

#endif // MOHD_MODEL_SAFETENSORS_H
