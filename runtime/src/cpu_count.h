// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which CPUs this process may use, how many of them, and whether to pin threads.
#ifndef MOHD_SRC_CPU_COUNT_H
#define MOHD_SRC_CPU_COUNT_H

#include "mohd/format/status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mohdrt {

inline constexpr uint32_t kMaxThreads = 1024;

/// Returns the numbers of the CPUs in the affinity mask of a thread (0: the caller's); empty if the
/// system does not tell.
std::vector<int> affinityCpus(pid_t thread);

/// Returns how many CPUs the affinity mask has, or fewer if a cgroup's quota is lower; at least 1.
uint32_t usableCpuCount();

/// Returns the quota of the process's cgroups (version 2, else 1) in CPUs, rounded up; 0 if there
/// is none. `root` and `self` are /sys/fs/cgroup and /proc/self/cgroup outside of tests.
uint32_t cgroupCpuQuota(const std::string &root, const std::string &self);

/// Returns `requested` or, if that is 0, MOHD_THREADS or usableCpuCount().
Result<uint32_t> resolveThreadCount(uint32_t requested);

/// Returns whether to pin threads: 1 and -1 ask for yes and no, 0 leaves it to MOHD_PIN_THREADS.
Result<bool> resolvePinning(int32_t requested);

/// Returns the CPUs to pin the workers of a context of `threads` threads to: the process's, the one
/// that the caller is on last. With fewer CPUs than threads that is an error.
Result<std::vector<int>> cpusForPinning(uint32_t threads);

} // namespace mohdrt

#endif // MOHD_SRC_CPU_COUNT_H
