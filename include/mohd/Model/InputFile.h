// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading files of a model folder: opened beneath the folder, never through a symbolic link, always
// by offset.

#ifndef MOHD_MODEL_INPUTFILE_H
#define MOHD_MODEL_INPUTFILE_H

#include "mohd/Model/Config.h"
#include "mohd/format/bytes.h"

namespace mlir::mohd {

/// An open regular file. Reads by offset, so that threads may share it.
class InputFile {
public:
  /// Opens `name`, a base name, in `folder`. Fails if it is missing, not a regular file, or a
  /// symbolic link.
  static Result<InputFile> openBeneath(const std::string &folder, const std::string &name);

  /// The path for messages: folder and name.
  const std::string &path() const { return displayPath; }
  uint64_t size() const { return static_cast<uint64_t>(source->size()); }

  /// Reads exactly `count` bytes from `offset` on; an error names the file.
  Status readAt(uint64_t offset, void *target, size_t count) const;

  /// The whole file as text; refuses one above `limit` bytes.
  Result<std::string> readText(uint64_t limit) const;

private:
  InputFile(std::unique_ptr<::mohdrt::FileSource> source, std::string displayPath)
      : source(std::move(source)), displayPath(std::move(displayPath)) {}

  std::unique_ptr<::mohdrt::FileSource> source;
  std::string displayPath;
};

/// True if `path` is a folder, reached through links or not.
bool isFolder(const std::string &path);

/// True if `folder` has a directory entry `name`, of whatever kind.
bool existsBeneath(const std::string &folder, const std::string &name);

} // namespace mlir::mohd

#endif // MOHD_MODEL_INPUTFILE_H
