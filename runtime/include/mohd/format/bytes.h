// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where a bundle's bytes come from: memory, or a file read with pread.
#ifndef MOHD_FORMAT_BYTES_H
#define MOHD_FORMAT_BYTES_H

#include "mohd/format/sha256.h"
#include "mohd/format/status.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace mohdrt {

/// Random access to a fixed number of bytes. Safe to read from several threads at once.
class ByteSource {
public:
  virtual ~ByteSource() = default;
  virtual int64_t size() const = 0;
  /// Reads exactly `size` bytes at `offset`; IO when they are not there or cannot be read.
  virtual Status read(int64_t offset, void *out, size_t size) const = 0;
};

/// Bytes owned by the caller, who keeps them alive and unchanged.
class MemorySource final : public ByteSource {
public:
  MemorySource(const void *data, size_t size) : data_(data), size_(size) {}
  int64_t size() const override { return static_cast<int64_t>(size_); }
  Status read(int64_t offset, void *out, size_t size) const override;

private:
  const void *data_;
  size_t size_;
};

/// A regular file; the descriptor closes with the object.
class FileSource final : public ByteSource {
public:
  /// Opens `path` for reading. NOT_FOUND when there is none, IO when it cannot be opened or is no
  /// regular file. With `followLinks` false a symbolic link in the last place is refused.
  static Result<std::unique_ptr<FileSource>> open(const std::string &path, bool followLinks = true);
  /// Takes over `fd`; `path` is for messages.
  static Result<std::unique_ptr<FileSource>> adopt(int fd, const std::string &path);
  ~FileSource() override;
  FileSource(const FileSource &) = delete;

  int64_t size() const override { return size_; }
  Status read(int64_t offset, void *out, size_t size) const override;
  int descriptor() const { return fd_; }

private:
  FileSource(int fd, int64_t size, std::string path) : fd_(fd), size_(size), path_(path) {}
  int fd_;
  int64_t size_;
  std::string path_;
};

/// Reads [offset, offset + size) in pieces of at most 1 MiB and hands each to `take` with its
/// offset within the range. The first failure ends it.
Status
forEachChunk(const ByteSource &source, int64_t offset, int64_t size,
             const std::function<Status(int64_t at, const uint8_t *data, size_t size)> &take);

/// Returns the digest of [offset, offset + size).
Result<Sha256Digest> hashRange(const ByteSource &source, int64_t offset, int64_t size);

/// Returns "cannot <verb> '<path>': <reason of errno>" with the code that fits errno `error`.
Status systemError(const char *verb, const std::string &path, int error);

} // namespace mohdrt

#endif // MOHD_FORMAT_BYTES_H
