// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files in memory, for child processes that read or write by path.
#ifndef MOHD_LIB_TARGET_MEMORYFILE_H
#define MOHD_LIB_TARGET_MEMORYFILE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace mlir::mohd {

/// A file in memory that has a path as long as it lives: an interrupted process leaves nothing behind.
class MemoryFile {
public:
  explicit MemoryFile(const char *name) : descriptor(::memfd_create(name, MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (descriptor >= 0)
      ::close(descriptor);
  }
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;

  int fd() const { return descriptor; }
  std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor);
  }
  bool write(llvm::StringRef text) {
    llvm::raw_fd_ostream os(descriptor, /*shouldClose=*/false);
    os << text;
    os.flush();
    bool written = descriptor >= 0 && !os.has_error();
    os.clear_error();
    return written;
  }
  std::string read() const {
    auto buffer = llvm::MemoryBuffer::getFile(path());
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }

private:
  int descriptor;
};

} // namespace mlir::mohd

#endif // MOHD_LIB_TARGET_MEMORYFILE_H
