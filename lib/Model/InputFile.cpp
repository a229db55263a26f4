// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// openat, fstat and pread with their errors put into words.

#include "mohd/Model/InputFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace mlir::mohd {
namespace {

std::string joinPath(const std::string &folder, const std::string &name) {
  return folder.empty() || folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::string systemMessage(int error) { return std::strerror(error); }

Status openError(int error, const std::string &path) {
  return Status(error == ENOENT ? StatusCode::NotFound : StatusCode::Io,
                path + ": cannot open: " + systemMessage(error));
}

} // namespace

InputFile::InputFile(int descriptor, uint64_t byteSize, std::string displayPath)
    : descriptor(descriptor), byteSize(byteSize), displayPath(std::move(displayPath)) {}

InputFile::InputFile(InputFile &&other) noexcept
    : descriptor(std::exchange(other.descriptor, -1)), byteSize(other.byteSize),
      displayPath(std::move(other.displayPath)) {}

InputFile &InputFile::operator=(InputFile &&other) noexcept {
  std::swap(descriptor, other.descriptor);
  std::swap(byteSize, other.byteSize);
  std::swap(displayPath, other.displayPath);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor >= 0)
    ::close(descriptor);
}

Result<InputFile> InputFile::openBeneath(const std::string &folder, const std::string &name) {
  std::string path = joinPath(folder, name);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
    return Status(StatusCode::Malformed, path + ": expected a file name without folders");
  int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0)
    return openError(errno, folder);
  // O_NONBLOCK: a FIFO in place of the file must not hang the open.
  int descriptor =
      ::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int error = errno;
  ::close(directory);
  if (descriptor < 0 && error == ELOOP)
    return Status(StatusCode::Malformed,
                  path + ": is a symbolic link, expected a regular file in the folder");
  if (descriptor < 0)
    return openError(error, path);
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return Status(StatusCode::Malformed, path + ": expected a regular file");
  }
  return InputFile(descriptor, static_cast<uint64_t>(info.st_size), std::move(path));
}

Status InputFile::readAt(uint64_t offset, void *target, size_t count) const {
  char *cursor = static_cast<char *>(target);
  while (count > 0) {
    ssize_t got = ::pread(descriptor, cursor, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return Status(StatusCode::Io, displayPath + ": cannot read at byte " +
                                        std::to_string(offset) + ": " + systemMessage(errno));
    if (got == 0)
      return Status(StatusCode::Io, displayPath + ": ends at byte " + std::to_string(offset) +
                                        ", expected " + std::to_string(count) + " more bytes");
    cursor += got;
    offset += static_cast<uint64_t>(got);
    count -= static_cast<size_t>(got);
  }
  return Status();
}

Result<std::string> InputFile::readText(uint64_t limit) const {
  if (byteSize > limit)
    return Status(StatusCode::Malformed, displayPath + ": has " + std::to_string(byteSize) +
                                             " bytes, expected at most " + std::to_string(limit));
  std::string text(byteSize, '\0');
  MOHDRT_TRY(readAt(0, text.data(), text.size()));
  return text;
}

bool isFolder(const std::string &path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool existsBeneath(const std::string &folder, const std::string &name) {
  struct stat info;
  return ::lstat(joinPath(folder, name).c_str(), &info) == 0;
}

} // namespace mlir::mohd
