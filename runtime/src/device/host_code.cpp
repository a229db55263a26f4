// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Target selection by cpuid; memfd_create and dlopen of /proc/self/fd/N.
#include "device/host_code.h"

#include "mohd/format/cpu_features.h"

#include <cerrno>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mohdrt {
namespace {

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U // Linux 6.3
#endif

/// The arch of the CPU that a target's code is for.
const std::string &hostOf(const Target &target) {
  return target.isGpu() ? target.host : target.arch;
}

/// The features a target needs: those listed and those its arch implies.
std::vector<std::string> neededFeatures(const Target &target) {
  std::vector<std::string> features = archCpuFeatures(hostOf(target));
  for (const std::string &feature : target.features) {
    bool listed = false;
    for (const std::string &other : features)
      listed |= other == feature;
    if (!listed)
      features.push_back(feature);
  }
  return features;
}

int createMemory() {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = ::memfd_create("mohd-code", flags | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) // an older kernel, where every memfd may hold code
    fd = ::memfd_create("mohd-code", flags);
  return fd;
}

std::string dlMessage() {
  const char *message = ::dlerror();
  return message ? escapeForMessage(message, 300) : "unknown error";
}

} // namespace

Result<size_t> selectHostTarget(const Manifest &manifest, const std::string &kind,
                                const std::string &gpu) {
  std::string reasons;
  size_t best = 0, bestFeatures = 0;
  bool found = false;
  for (size_t i = 0; i < manifest.targets.size(); ++i) {
    const Target &target = manifest.targets[i];
    if (target.kind != kind || (!gpu.empty() && target.arch != gpu))
      continue;
    const std::vector<std::string> features = neededFeatures(target);
    std::string missing;
    if (!hostRunsArch(hostOf(target)))
      missing = " another instruction set";
    else
      for (const std::string &feature : features)
        if (missing.size() < 200 && !hostHasCpuFeature(feature))
          missing += (missing.empty() ? " " : ", ") + feature;
    if (!missing.empty()) {
      if (reasons.size() < 800)
        reasons += "; target " + target.name() + " needs" + missing;
    } else if (!found || features.size() > bestFeatures) {
      found = true, best = i, bestFeatures = features.size();
    }
  }
  if (found)
    return best;
  return Status(StatusCode::Incompatible,
                reasons.empty() ? "the bundle has no " + kind + " target" +
                                      (gpu.empty() ? "" : " for " + escapeForMessage(gpu, 40))
                                : "no target of the bundle fits this CPU" + reasons +
                                      " (compile on this machine)");
}

Status HostCode::copyToMemory(const ByteSource &bundle, const SegmentInfo &segment,
                              bool checkHash) {
  fd_ = createMemory();
  if (fd_ < 0)
    return systemError("create memory for", "segment " + segment.name, errno);
  Sha256 hash;
  MOHDRT_TRY(forEachChunk(
      bundle, segment.offset, segment.size, [&](int64_t at, const uint8_t *data, size_t size) {
        if (checkHash)
          hash.update(data, size);
        for (size_t done = 0; done < size;) {
          const ssize_t n = ::pwrite(fd_, data + done, size - done, at + int64_t(done));
          if (n < 0 && errno != EINTR)
            return systemError("write to memory", "segment " + segment.name, errno);
          done += n > 0 ? size_t(n) : 0;
        }
        return Status();
      }));
  // What was hashed is what runs.
  ::fcntl(fd_, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return checkHash ? checkDigest("segment '" + segment.name + "'", segment.sha256, hash.finish())
                   : Status();
}

Status HostCode::open(const SegmentInfo &segment) {
  path_ = "/proc/self/fd/" + std::to_string(fd_);
  if (::access(path_.c_str(), R_OK) != 0)
    return Status(StatusCode::Io,
                  "cannot load code: " + path_ + " is not there (is /proc mounted?)");
  handle_ = ::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle_)
    return Status(StatusCode::Malformed,
                  "cannot load the code in segment '" + segment.name + "': " + dlMessage());
  return Status();
}

Result<void *> HostCode::find(const std::string &name, const char *what) const {
  link_map *map = nullptr;
  if (::dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0)
    return Status(StatusCode::Internal, "cannot inspect the loaded code: " + dlMessage());
  void *symbol = ::dlsym(handle_, name.c_str());
  // dlsym looks in the object's dependencies too: a kernel must not turn out to be system().
  Dl_info info;
  if (symbol && ::dladdr(symbol, &info) != 0 && std::strcmp(info.dli_fname, map->l_name) == 0)
    return symbol;
  return Status(StatusCode::Malformed,
                "the code of target " + target_ + " does not define " + what + " '" + name + "'");
}

Result<std::unique_ptr<HostCode>> HostCode::load(const ByteSource &bundle, const Manifest &manifest,
                                                 const Target &target, bool checkHash) {
  std::unique_ptr<HostCode> code(new HostCode());
  const SegmentInfo &segment = manifest.segments[target.segment];
  code->target_ = target.name();
  MOHDRT_TRY(code->copyToMemory(bundle, segment, checkHash));
  MOHDRT_TRY(code->open(segment));
  for (const Kernel &kernel : target.kernels) {
    Result<void *> symbol = code->find(kernel.name, "kernel");
    if (!symbol.ok())
      return symbol.status();
    code->kernels_.push_back(*symbol);
  }
  return code;
}

HostCode::~HostCode() {
  if (handle_)
    ::dlclose(handle_);
  // dlopen recognises an object it has by name. As long as one called /proc/self/fd/N may be loaded
  // (dlclose need not unload), N must not be given to other code: the descriptor stays open then.
  void *still = path_.empty() ? nullptr : ::dlopen(path_.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (still)
    ::dlclose(still);
  else if (fd_ >= 0)
    ::close(fd_);
}

} // namespace mohdrt
