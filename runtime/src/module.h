// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded bundle: manifest, entry points, and its code and weights on each device in use.
#ifndef MOHD_SRC_MODULE_H
#define MOHD_SRC_MODULE_H

#include "device/device.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

namespace mohdrt {

struct LoadOptions {
  uint32_t flags = 0; // MOHD_LOAD_...
  std::string weightsDirectory;
};

/// A device by its name: "cpu", "emulate:sm_90a", "cuda:1".
struct DeviceName {
  std::string kind;
  std::string arch; // emulate: the target's, or "" for any
  int ordinal = 0;  // cuda
};

/// UNSUPPORTED for a name that is none.
Result<DeviceName> parseDeviceName(const std::string &text);

/// Immutable after load() but for the devices in use; shared by contexts through counted references.
class Module {
public:
  /// Loads a bundle from a file, or from memory, which may be freed afterwards. The caller owns the
  /// first reference.
  static Result<Module *> load(std::unique_ptr<FileSource> file, const LoadOptions &options);
  static Result<Module *> load(const void *data, size_t size, const LoadOptions &options);
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete this;
  }

  const Manifest &manifest() const { return manifest_; }
  const std::string &manifestText() const { return manifestText_; }
  const std::vector<CompiledEntry> &entries() const { return entries_; }

  /// Code and weights on the device that the options name. Made for the first context there, shared
  /// by the others, gone with the last; those of the CPU stay. Must not outlive the module.
  Result<std::shared_ptr<DeviceCode>> deviceCode(const ContextOptions &options);

private:
  struct Release {
    void operator()(Module *module) const { module->release(); }
  };
  Module() = default;
  ~Module() = default;
  Status initialize(const LoadOptions &options);
  Status loadCpu();
  std::vector<bool> weightsOfTheHost() const;
  Result<std::shared_ptr<DeviceCode>> cpuCode();
  Result<std::shared_ptr<DeviceCode>> emulateCode(const std::string &arch);
  Result<std::shared_ptr<DeviceCode>> cudaCode(int ordinal, bool requireCubin);

  std::atomic<int64_t> references_{1};
  std::unique_ptr<const ByteSource> source_; // null once nothing more is read from it
  std::string copy_;                         // of a bundle in memory that is read later
  BundleParts parts_;
  std::string manifestText_;
  Manifest manifest_;
  std::vector<CompiledEntry> entries_;
  // Under the mutex once the module is loaded.
  std::mutex mutex_;
  Status cpuStatus_; // why there is no code for this CPU
  std::shared_ptr<DeviceCode> cpu_;
  std::map<std::string, std::weak_ptr<DeviceCode>> others_; // by name of the device
};

} // namespace mohdrt

#endif // MOHD_SRC_MODULE_H
