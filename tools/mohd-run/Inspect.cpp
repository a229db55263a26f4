// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The commands that run nothing: --inspect, --list-devices, --collect-env, --version.
#include "Commands.h"
#include "Failure.h"
#include "Runner.h"

#include "mohd/format/bundle.h"
#include "mohd/format/cpu_features.h"
#include "mohd/runtime.h"

#include <cstdlib>
#include <fstream>
#include <sys/utsname.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

/// The CPU's name as the kernel gives it, or its architecture.
std::string cpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  struct utsname system = {};
  return ::uname(&system) == 0 ? system.machine : "unknown";
}

/// The highest x86-64 level whose features this machine has.
std::string cpuLevel() {
  for (const char *level : {"x86-64-v4", "x86-64-v3", "x86-64-v2"}) {
    bool all = hostRunsArch(level);
    for (const std::string &feature : archCpuFeatures(level))
      all = all && hostHasCpuFeature(feature);
    if (all)
      return level;
  }
  struct utsname system = {};
  return ::uname(&system) == 0 ? system.machine : "unknown";
}

/// A line for each GPU, "cuda:0  NAME (sm_90, 132 multiprocessors, 81559 MiB, CUDA 12.4)", or why there is none.
std::vector<std::string> describeGpus() {
  uint32_t count = 0;
  if (mohd_device_count("cuda", &count) != MOHD_OK)
    return {std::string("cuda  none: ") + mohd_last_error()};
  std::vector<std::string> lines;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string device = "cuda:" + std::to_string(i);
    mohd_device_info_t info = {};
    info.struct_size = sizeof(info);
    if (mohd_device_describe(device.c_str(), &info) != MOHD_OK) {
      lines.push_back(device + "  " + mohd_last_error());
      continue;
    }
    lines.push_back(device + "  " + info.name + " (sm_" + std::to_string(info.compute_major) +
                    std::to_string(info.compute_minor) + ", " + std::to_string(info.units) +
                    " multiprocessors, " + std::to_string(info.memory_bytes >> 20) + " MiB, CUDA " +
                    std::to_string(info.driver_version / 1000) + "." +
                    std::to_string(info.driver_version % 1000 / 10) + ")");
  }
  return lines;
}

} // namespace

void inspect(const Options &options) {
  auto checkBundle = [&](const Status &status) {
    if (!status.ok())
      throw bundleFailure(status.code(), status.message(), options.bundle);
  };
  Result<std::unique_ptr<FileSource>> file = FileSource::open(options.bundle);
  checkBundle(file.status());
  ValidateOptions validate;
  validate.hashSegments = validate.checkManifestHash = options.checkHashes;
  Result<BundleInfo> bundle = validateBundle(**file, validate);
  checkBundle(bundle.status());
  writeStdout(options.inspectAsJson ? bundle->manifestText + "\n" : describeBundle(*bundle));
}

void listDevices() {
  std::string text = "cpu  " + cpuName() + " (" + cpuLevel() + ")\n";
  text += "emulate  kernels for GPUs, run and checked on the CPU\n";
  for (const std::string &gpu : describeGpus())
    text += gpu + "\n";
  writeStdout(text);
}

void collectEnvironment() {
  struct utsname system = {};
  ::uname(&system);
  std::string features;
  for (const std::string &feature : hostCpuFeatures())
    features += (features.empty() ? "" : " ") + feature;
  int64_t memory = int64_t(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  std::string text = "version: " + std::string(mohd_version_string()) + "\n";
  text +=
      std::string("system: ") + system.sysname + " " + system.release + " " + system.machine + "\n";
  text += "cpu: " + cpuName() + ", " + std::to_string(std::thread::hardware_concurrency()) +
          " threads\n";
  text += "cpu level: " + cpuLevel() + "\n";
  text += "cpu features: " + features + "\n";
  text += "memory: " + std::to_string(memory >> 20) + " MiB\n";
  for (const std::string &gpu : describeGpus())
    text += "gpu: " + gpu + "\n";
  for (char **variable = environ; *variable; ++variable)
    if (std::string_view(*variable).substr(0, 5) == "MOHD_")
      text += std::string("variable: ") + *variable + "\n";
  writeStdout(text);
}

void printVersion() { writeStdout(std::string(mohd_version_string()) + "\n"); }

} // namespace mohdrun
