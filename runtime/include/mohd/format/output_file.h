// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Output files that are complete or not there at all: written under a temporary name beside the
// target, then renamed. Also removes the temporary file when the process is interrupted.
#ifndef MOHD_FORMAT_OUTPUT_FILE_H
#define MOHD_FORMAT_OUTPUT_FILE_H

#include "mohd/format/status.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace mohdrt {

/// Makes SIGINT, SIGTERM and SIGHUP remove every OutputFile's temporary file before they end the
/// process in their usual way. Call once, early in main(); libraries never do.
void installInterruptCleanup();

/// A file being written. Without commit() nothing of it survives. A target that is there and is a
/// symbolic link (/dev/stdout) or no regular file (a pipe, /dev/full) is written in place at
/// commit().
class OutputFile {
public:
  static Result<OutputFile> create(const std::string &path);
  OutputFile(OutputFile &&other) noexcept;
  OutputFile &operator=(OutputFile &&) = delete;
  ~OutputFile();

  /// Writes at the end / at a place. IO on any failure (a full disk among them).
  Status append(const void *data, size_t size);
  Status writeAt(int64_t offset, const void *data, size_t size);

  /// Flushes to the disk and gives the file its name.
  Status commit();

  int descriptor() const { return fd_; }

private:
  OutputFile(std::string path, std::string temporary, int fd, int slot)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd), slot_(slot) {}
  Status copyToSpecialFile();

  std::string path_;
  std::string temporary_; // empty when the target is a special file: the copy then has no name
  int fd_;
  int slot_; // in the table the signal handler walks, or -1
  int64_t end_ = 0;
};

/// Writes a whole file with OutputFile.
Status writeFile(const std::string &path, const void *data, size_t size);

} // namespace mohdrt

#endif // MOHD_FORMAT_OUTPUT_FILE_H
