// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Temporary file, rename, and the table of names that a signal handler may unlink.
#include "mohd/format/output_file.h"

#include "mohd/format/bytes.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mohdrt {
namespace {

constexpr int kNumSlots = 16;
constexpr size_t kMaxPath = 4096;

// A signal handler may only touch memory that is always in a defined state: the path of a slot is
// written before `active` is set and not changed until it is cleared.
struct Slot {
  std::atomic<bool> claimed{false};
  std::atomic<bool> active{false};
  char path[kMaxPath];
};
Slot slots[kNumSlots];

extern "C" void removeTemporariesAndDie(int signal) {
  for (Slot &slot : slots)
    if (slot.active.load())
      ::unlink(slot.path);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// Returns the slot that now names `path`, or -1 when all are taken.
int claimSlot(const std::string &path) {
  if (path.size() >= kMaxPath)
    return -1;
  for (int i = 0; i < kNumSlots; ++i) {
    if (slots[i].claimed.exchange(true))
      continue;
    std::memcpy(slots[i].path, path.c_str(), path.size() + 1);
    slots[i].active.store(true);
    return i;
  }
  return -1;
}

void releaseSlot(int slot) {
  if (slot < 0)
    return;
  slots[slot].active.store(false);
  slots[slot].claimed.store(false);
}

Status writeAll(int fd, const uint8_t *data, size_t size, const std::string &path) {
  while (size > 0) {
    ssize_t done = ::write(fd, data, size);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return systemError("write", path, errno);
    data += done, size -= static_cast<size_t>(done);
  }
  return Status();
}

/// Returns a descriptor of a file without a name.
int openNameless() {
  const char *folder = std::getenv("TMPDIR");
  std::string pattern = std::string(folder && *folder ? folder : "/tmp") + "/mohd-XXXXXX";
  int fd = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (fd >= 0)
    ::unlink(pattern.c_str());
  return fd;
}

} // namespace

void installInterruptCleanup() {
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_handler = removeTemporariesAndDie;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction previous;
    // Under nohup SIGHUP is ignored, and stays so.
    if (::sigaction(signal, nullptr, &previous) == 0 && previous.sa_handler != SIG_IGN)
      ::sigaction(signal, &action, nullptr);
  }
}

Result<OutputFile> OutputFile::create(const std::string &path) {
  struct stat info;
  bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return systemError("write", path, EISDIR);
  struct stat link;
  bool isLink = ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
  // A link keeps its place: /dev/stdout is one, also when it leads to a regular file.
  if (isLink || (exists && !S_ISREG(info.st_mode))) {
    int fd = openNameless();
    if (fd < 0)
      return systemError("create a temporary file for", path, errno);
    return OutputFile(path, "", fd, -1);
  }
  static std::atomic<unsigned> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string temporary =
        path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    int slot = claimSlot(temporary); // before the file exists, so that no moment is uncovered
    int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0)
      return OutputFile(path, temporary, fd, slot);
    int error = errno;
    releaseSlot(slot);
    if (error != EEXIST) {
      Status status = systemError("create", temporary, error);
      return Status(StatusCode::Io, status.message());
    }
  }
  return systemError("create a temporary file beside", path, EEXIST);
}

OutputFile::OutputFile(OutputFile &&other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), fd_(other.fd_),
      slot_(other.slot_), end_(other.end_) {
  other.fd_ = -1;
  other.slot_ = -1;
  other.temporary_.clear();
}

OutputFile::~OutputFile() {
  if (fd_ >= 0)
    ::close(fd_);
  if (!temporary_.empty())
    ::unlink(temporary_.c_str());
  releaseSlot(slot_);
}

Status OutputFile::append(const void *data, size_t size) { return writeAt(end_, data, size); }

Status OutputFile::writeAt(int64_t offset, const void *data, size_t size) {
  const uint8_t *bytes = static_cast<const uint8_t *>(data);
  while (size > 0) {
    ssize_t done = ::pwrite(fd_, bytes, size, offset);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return systemError("write", path_, errno);
    bytes += done, offset += done, size -= static_cast<size_t>(done);
  }
  if (offset > end_)
    end_ = offset;
  return Status();
}

Status OutputFile::commit() {
  if (temporary_.empty())
    return copyToSpecialFile();
  if (::fsync(fd_) != 0)
    return systemError("flush", path_, errno);
  if (::close(std::exchange(fd_, -1)) != 0)
    return systemError("close", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    return systemError("rename the finished file to", path_, errno);
  temporary_.clear();
  releaseSlot(std::exchange(slot_, -1));
  return Status();
}

Status OutputFile::copyToSpecialFile() {
  int target = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (target < 0)
    return systemError("open", path_, errno);
  uint8_t buffer[1 << 16];
  Status status;
  for (int64_t at = 0; status.ok();) {
    ssize_t got = ::pread(fd_, buffer, sizeof(buffer), at);
    if (got < 0)
      status = systemError("read the temporary file for", path_, errno);
    if (got <= 0)
      break;
    status = writeAll(target, buffer, static_cast<size_t>(got), path_);
    at += got;
  }
  // Terminals and pipes cannot be flushed to a disk; that is no failure.
  if (status.ok() && ::fsync(target) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP)
    status = systemError("flush", path_, errno);
  if (::close(target) != 0 && status.ok())
    status = systemError("close", path_, errno);
  return status;
}

Status writeFile(const std::string &path, const void *data, size_t size) {
  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok())
    return file.status();
  MOHDRT_TRY(file->append(data, size));
  return file->commit();
}

} // namespace mohdrt
