// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte sources and reading in pieces.
#include "mohd/format/bytes.h"

#include "mohd/format/json.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mohdrt {
namespace {

constexpr int64_t kChunkBytes = 1 << 20;

bool isInside(int64_t offset, size_t size, int64_t total) {
  return offset >= 0 && offset <= total && size <= static_cast<uint64_t>(total - offset);
}

Status outside(int64_t offset, size_t size, int64_t total) {
  return Status(StatusCode::Io, "bytes [" + std::to_string(offset) + ", +" + std::to_string(size) +
                                    ") are outside the " + std::to_string(total) + " bytes there");
}

} // namespace

Status systemError(const char *verb, const std::string &path, int error) {
  StatusCode code = error == ENOENT   ? StatusCode::NotFound
                    : error == ENOMEM ? StatusCode::OutOfMemory
                                      : StatusCode::Io;
  return Status(code, std::string("cannot ") + verb + " '" + escapeForMessage(path, 1000) +
                          "': " + std::strerror(error));
}

Status MemorySource::read(int64_t offset, void *out, size_t size) const {
  if (!isInside(offset, size, this->size()))
    return outside(offset, size, this->size());
  if (size != 0)
    std::memcpy(out, static_cast<const uint8_t *>(data_) + offset, size);
  return Status();
}

Result<std::unique_ptr<FileSource>> FileSource::open(const std::string &path, bool followLinks) {
  // O_NONBLOCK: a named pipe in the file's place must not hang the open.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (followLinks ? 0 : O_NOFOLLOW));
  if (fd < 0 && errno == ELOOP && !followLinks)
    return Status(StatusCode::Io,
                  "cannot open '" + escapeForMessage(path, 1000) + "': it is a symbolic link");
  if (fd < 0)
    return systemError("open", path, errno);
  return adopt(fd, path);
}

Result<std::unique_ptr<FileSource>> FileSource::adopt(int fd, const std::string &path) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return Status(StatusCode::Io,
                  "cannot read '" + escapeForMessage(path, 1000) + "': not a regular file");
  }
  return std::unique_ptr<FileSource>(new FileSource(fd, info.st_size, path));
}

FileSource::~FileSource() { ::close(fd_); }

Status FileSource::read(int64_t offset, void *out, size_t size) const {
  if (!isInside(offset, size, size_))
    return outside(offset, size, size_);
  uint8_t *bytes = static_cast<uint8_t *>(out);
  while (size > 0) {
    ssize_t got = ::pread(fd_, bytes, size, offset);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return systemError("read", path_, errno);
    if (got == 0)
      return Status(StatusCode::Io, "cannot read '" + escapeForMessage(path_, 1000) +
                                        "': it became shorter while it was read");
    bytes += got, offset += got, size -= static_cast<size_t>(got);
  }
  return Status();
}

Status
forEachChunk(const ByteSource &source, int64_t offset, int64_t size,
             const std::function<Status(int64_t at, const uint8_t *data, size_t size)> &take) {
  std::vector<uint8_t> buffer(static_cast<size_t>(std::min(size, kChunkBytes)));
  for (int64_t at = 0; at < size; at += kChunkBytes) {
    size_t piece = static_cast<size_t>(std::min(kChunkBytes, size - at));
    MOHDRT_TRY(source.read(offset + at, buffer.data(), piece));
    MOHDRT_TRY(take(at, buffer.data(), piece));
  }
  return Status();
}

Result<Sha256Digest> hashRange(const ByteSource &source, int64_t offset, int64_t size) {
  Sha256 hash;
  MOHDRT_TRY(forEachChunk(source, offset, size, [&](int64_t, const uint8_t *data, size_t bytes) {
    hash.update(data, bytes);
    return Status();
  }));
  return hash.finish();
}

} // namespace mohdrt
