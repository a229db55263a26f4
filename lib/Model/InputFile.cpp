// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// openat with its errors put into words; FileSource does the reading.

#include "mohd/Model/InputFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mlir::mohd {
namespace {

std::string joinPath(const std::string &folder, const std::string &name) {
  return folder.empty() || folder.back() == '/' ? folder + name : folder + "/" + name;
}

Status openError(int error, const std::string &path) {
  return Status(error == ENOENT ? StatusCode::NotFound : StatusCode::Io,
                path + ": cannot open: " + std::strerror(error));
}

} // namespace

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
  Result<std::unique_ptr<::mohdrt::FileSource>> source =
      ::mohdrt::FileSource::adopt(descriptor, path);
  if (!source.ok())
    return Status(StatusCode::Malformed, path + ": expected a regular file");
  return InputFile(std::move(*source), std::move(path));
}

Status InputFile::readAt(uint64_t offset, void *target, size_t count) const {
  return source->read(static_cast<int64_t>(offset), target, count).withPrefix(displayPath);
}

Result<std::string> InputFile::readText(uint64_t limit) const {
  if (size() > limit)
    return Status(StatusCode::Malformed, displayPath + ": has " + std::to_string(size()) +
                                             " bytes, expected at most " + std::to_string(limit));
  std::string text(size(), '\0');
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
