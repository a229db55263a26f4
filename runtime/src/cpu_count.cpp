// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Affinity mask, cgroup quota, MOHD_THREADS and MOHD_PIN_THREADS.
#include "cpu_count.h"

#include "mohd/format/json.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include <sched.h>
#include <unistd.h>

namespace mohdrt {
namespace {

/// Returns quota / period in CPUs rounded up; 0 when there is no limit.
uint32_t quotaInCpus(long long quota, long long period) {
  if (quota <= 0 || period <= 0)
    return 0;
  return static_cast<uint32_t>(std::min<long long>((quota + period - 1) / period, kMaxThreads));
}

/// Reads "cpu.max" ("max 100000" or "200000 100000").
uint32_t quotaOfVersion2(const std::string &folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  long long period = 0;
  if (!(file >> quota >> period) || quota == "max")
    return 0;
  return quotaInCpus(std::strtoll(quota.c_str(), nullptr, 10), period);
}

uint32_t quotaOfVersion1(const std::string &folder) {
  long long quota = 0, period = 0;
  std::ifstream quotaFile(folder + "/cpu.cfs_quota_us"), periodFile(folder + "/cpu.cfs_period_us");
  if (!(quotaFile >> quota) || !(periodFile >> period))
    return 0;
  return quotaInCpus(quota, period);
}

/// Returns the lowest limit from `path` below `root` up to `root` itself.
template <typename QuotaOf>
uint32_t lowestQuota(const std::string &root, std::string path, QuotaOf quotaOf) {
  uint32_t lowest = 0;
  while (true) {
    const uint32_t quota = quotaOf(root + path);
    if (quota != 0)
      lowest = lowest == 0 ? quota : std::min(lowest, quota);
    if (path.empty())
      return lowest;
    const size_t slash = path.rfind('/');
    path.resize(slash == std::string::npos ? 0 : slash);
  }
}

} // namespace

std::vector<int> affinityCpus(pid_t thread) {
  std::vector<int> cpus;
  bool tooSmall = true;
  for (int capacity = 1024; tooSmall && capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t *set = CPU_ALLOC(capacity);
    if (!set)
      break;
    const size_t size = CPU_ALLOC_SIZE(capacity);
    const bool ok = ::sched_getaffinity(thread, size, set) == 0;
    tooSmall = !ok && errno == EINVAL;
    for (int cpu = 0; ok && cpu < capacity; ++cpu)
      if (CPU_ISSET_S(cpu, size, set))
        cpus.push_back(cpu);
    CPU_FREE(set);
  }
  return cpus;
}

uint32_t cgroupCpuQuota(const std::string &root, const std::string &self) {
  std::ifstream file(self);
  uint32_t lowest = 0;
  // Lines are "number:controllers:path"; version 2 has the number 0 and no controllers.
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos)
      continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    uint32_t quota = 0;
    if (controllers == ",,")
      quota = lowestQuota(root, path == "/" ? "" : path, quotaOfVersion2);
    else if (controllers.find(",cpu,") != std::string::npos)
      quota = lowestQuota(root + "/cpu", path == "/" ? "" : path, quotaOfVersion1);
    if (quota != 0)
      lowest = lowest == 0 ? quota : std::min(lowest, quota);
  }
  return lowest;
}

uint32_t usableCpuCount() {
  const size_t inMask = std::max<size_t>(1, affinityCpus(0).size());
  const uint32_t cpus = static_cast<uint32_t>(std::min<size_t>(inMask, kMaxThreads));
  const uint32_t quota = cgroupCpuQuota("/sys/fs/cgroup", "/proc/self/cgroup");
  return quota == 0 ? cpus : std::max(1u, std::min(cpus, quota));
}

Result<uint32_t> resolveThreadCount(uint32_t requested) {
  if (requested > kMaxThreads)
    return Status(StatusCode::InvalidArgument, "expected at most " + std::to_string(kMaxThreads) +
                                                   " threads, got " + std::to_string(requested));
  if (requested != 0)
    return requested;
  const char *text = std::getenv("MOHD_THREADS");
  if (!text || !*text)
    return usableCpuCount();
  char *end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  if (errno != 0 || *end != 0 || value < 1 || value > long(kMaxThreads))
    return Status(StatusCode::InvalidArgument, "expected MOHD_THREADS to be a number from 1 to " +
                                                   std::to_string(kMaxThreads) + ", got '" +
                                                   escapeForMessage(text, 40) + "'");
  return static_cast<uint32_t>(value);
}

Result<bool> resolvePinning(int32_t requested) {
  if (requested < -1 || requested > 1)
    return Status(StatusCode::InvalidArgument,
                  "expected pin_threads to be -1, 0 or 1, got " + std::to_string(requested));
  if (requested != 0)
    return requested == 1;
  const char *variable = std::getenv("MOHD_PIN_THREADS");
  const std::string text = variable ? variable : "";
  if (text != "" && text != "0" && text != "1")
    return Status(StatusCode::InvalidArgument, "expected MOHD_PIN_THREADS to be 0 or 1, got '" +
                                                   escapeForMessage(text, 40) + "'");
  return text == "1";
}

Result<std::vector<int>> cpusForPinning(uint32_t threads) {
  // The main thread's mask: the caller's own may have been narrowed to where it is pinned.
  std::vector<int> cpus = affinityCpus(::getpid());
  if (cpus.size() < threads)
    return Status(StatusCode::InvalidArgument,
                  "expected at least " + std::to_string(threads) + " CPUs to pin " +
                      std::to_string(threads) + " threads to, got " + std::to_string(cpus.size()));
  const auto callers = std::find(cpus.begin(), cpus.end(), ::sched_getcpu());
  if (callers != cpus.end())
    std::rotate(callers, callers + 1, cpus.end());
  return cpus;
}

} // namespace mohdrt
