// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Thread counts: cgroup quotas of both versions, MOHD_THREADS; and MOHD_PIN_THREADS.
#include "cpu_count.h"

#include "TestBundle.h"

using namespace mohdrt;

namespace {

class CpuCount : public ::testing::Test {
protected:
  void write(const std::string &path, const std::string &text) {
    std::filesystem::create_directories(std::filesystem::path(folder.file(path)).parent_path());
    std::ofstream(folder.file(path)) << text;
  }
  uint32_t quota(const std::string &self) {
    write("self", self);
    return cgroupCpuQuota(folder.file("cgroup"), folder.file("self"));
  }
  void TearDown() override {
    ::unsetenv("MOHD_THREADS");
    ::unsetenv("MOHD_PIN_THREADS");
  }

  TempFolder folder;
};

TEST_F(CpuCount, Version2TakesTheLowestLimitOnTheWayUp) {
  EXPECT_EQ(quota("0::/\n"), 0u);
  write("cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(quota("0::/\n"), 0u);
  write("cgroup/a/cpu.max", "350000 100000\n");
  write("cgroup/a/b/cpu.max", "800000 100000\n");
  EXPECT_EQ(quota("0::/a/b\n"), 4u);
  write("cgroup/cpu.max", "10000 100000\n");
  EXPECT_EQ(quota("0::/a/b\n"), 1u);
}

TEST_F(CpuCount, Version1) {
  write("cgroup/cpu/x/cpu.cfs_quota_us", "-1");
  write("cgroup/cpu/x/cpu.cfs_period_us", "100000");
  EXPECT_EQ(quota("4:memory:/x\n3:cpu,cpuacct:/x\n"), 0u);
  write("cgroup/cpu/x/cpu.cfs_quota_us", "200000");
  EXPECT_EQ(quota("4:memory:/x\n3:cpu,cpuacct:/x\n"), 2u);
}

TEST_F(CpuCount, StrangeFiles) {
  EXPECT_EQ(cgroupCpuQuota(folder.file("cgroup"), folder.file("none")), 0u);
  write("cgroup/cpu.max", "9999999999999 1");
  EXPECT_EQ(quota("nonsense\n0::/\n:"), kMaxThreads);
  write("cgroup/cpu.max", "-5 0");
  EXPECT_EQ(quota("0::/\n"), 0u);
}

TEST_F(CpuCount, Variable) {
  EXPECT_GE(usableCpuCount(), 1u);
  ::setenv("MOHD_THREADS", "3", 1);
  EXPECT_EQ(*resolveThreadCount(0), 3u);
  EXPECT_EQ(*resolveThreadCount(5), 5u) << "the caller's wish beats the variable";
  for (const char *bad : {"0", "-1", "x", "3x", "1025", "99999999999999999999"}) {
    ::setenv("MOHD_THREADS", bad, 1);
    EXPECT_EQ(resolveThreadCount(0).status().code(), StatusCode::InvalidArgument) << bad;
  }
  ::setenv("MOHD_THREADS", "", 1);
  EXPECT_EQ(*resolveThreadCount(0), usableCpuCount());
}

TEST_F(CpuCount, PinningIsOnlyOnRequest) {
  EXPECT_FALSE(*resolvePinning(0));
  EXPECT_TRUE(*resolvePinning(1));
  ::setenv("MOHD_PIN_THREADS", "1", 1);
  EXPECT_TRUE(*resolvePinning(0));
  EXPECT_FALSE(*resolvePinning(-1)) << "the caller's wish beats the variable";
  for (const char *off : {"", "0"}) {
    ::setenv("MOHD_PIN_THREADS", off, 1);
    EXPECT_FALSE(*resolvePinning(0)) << off;
  }
  for (const char *bad : {"2", "yes", "1 "}) {
    ::setenv("MOHD_PIN_THREADS", bad, 1);
    EXPECT_EQ(resolvePinning(0).status().code(), StatusCode::InvalidArgument) << bad;
  }
  for (int32_t bad : {2, -2, INT32_MAX})
    EXPECT_EQ(resolvePinning(bad).status().code(), StatusCode::InvalidArgument) << bad;
}

TEST_F(CpuCount, CpusToPinTo) {
  const std::vector<int> all = affinityCpus(0);
  ASSERT_FALSE(all.empty());
  std::vector<int> cpus = *cpusForPinning(static_cast<uint32_t>(all.size()));
  std::sort(cpus.begin(), cpus.end());
  EXPECT_EQ(cpus, all);
  const Status tooFew = cpusForPinning(static_cast<uint32_t>(all.size()) + 1).status();
  EXPECT_EQ(tooFew.code(), StatusCode::InvalidArgument);
  EXPECT_NE(tooFew.message().find("CPUs to pin"), std::string::npos);
}

} // namespace
