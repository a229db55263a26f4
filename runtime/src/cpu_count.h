// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How many CPUs this process may use.
#ifndef MOHD_SRC_CPU_COUNT_H
#define MOHD_SRC_CPU_COUNT_H

#include "mohd/format/status.h"

#include <cstdint>
#include <string>

namespace mohdrt {

inline constexpr uint32_t kMaxThreads = 1024;

/// Returns the CPUs of the affinity mask, or fewer if a cgroup's quota is lower; at least 1.
uint32_t usableCpuCount();

/// Returns the quota of the process's cgroups (version 2, else 1) in CPUs, rounded up; 0 if there
/// is none. `root` and `self` are /sys/fs/cgroup and /proc/self/cgroup outside of tests.
uint32_t cgroupCpuQuota(const std::string &root, const std::string &self);

/// Returns `requested` or, if that is 0, MOHD_THREADS or usableCpuCount().
Result<uint32_t> resolveThreadCount(uint32_t requested);

} // namespace mohdrt

#endif // MOHD_SRC_CPU_COUNT_H
