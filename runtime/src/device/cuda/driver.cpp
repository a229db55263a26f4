// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Finding the driver and its functions.
#include "device/cuda/driver.h"

#include "mohd/format/json.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <dlfcn.h>
#include <unistd.h>

namespace mohdrt {
namespace cuda {
namespace {

/// The process in which the driver was started, or 0.
std::atomic<pid_t> startedIn{0};

Status deviceError(std::string message) { return Status(StatusCode::Device, std::move(message)); }

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Looks functions up the way that the library offers.
class Symbols {
public:
  /// The library stays open for good: it has threads and handlers of its own.
  Status open() {
    const char *variable = ::secure_getenv("MOHD_LIBCUDA");
    const std::string path = variable && *variable ? variable : "libcuda.so.1";
    void *library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char *reason = ::dlerror();
      return deviceError("no CUDA driver: " + escapeForMessage(reason ? reason : path, 300) +
                         "; NVIDIA's driver has this library");
    }
    second_ = reinterpret_cast<GetProcAddressV2>(::dlsym(library, "cuGetProcAddress_v2"));
    first_ = reinterpret_cast<GetProcAddressV1>(::dlsym(library, "cuGetProcAddress"));
    if (!second_ && !first_)
      return deviceError("the CUDA driver is too old: it has no cuGetProcAddress; " +
                         versionText(kApiVersion) + " or later is needed");
    return Status();
  }

  /// Puts the address of a function in the pointer to it at `function`.
  Status find(const char *name, void *function) const {
    void *address = nullptr;
    int status = 0;
    const CUresult result =
        second_ ? second_(name, &address, kApiVersion, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &status)
                : first_(name, &address, kApiVersion, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
    if (result != CUDA_SUCCESS || !address)
      return deviceError(std::string("the CUDA driver has no ") + name + "; CUDA " +
                         versionText(kApiVersion) + " or later is needed");
    std::memcpy(function, &address, sizeof(address));
    return Status();
  }

private:
  GetProcAddressV2 second_ = nullptr;
  GetProcAddressV1 first_ = nullptr;
};

Status findAll(const Symbols &symbols, Driver &driver) {
  const struct {
    const char *name;
    void *function;
  } all[] = {
#define MOHD_CUDA_ENTRY(name, parameters) {#name, &driver.name},
      MOHD_CUDA_FUNCTIONS(MOHD_CUDA_ENTRY)
#undef MOHD_CUDA_ENTRY
  };
  for (const auto &entry : all)
    MOHDRT_TRY(symbols.find(entry.name, entry.function));
  return Status();
}

Status start(Driver &driver) {
  Symbols symbols;
  MOHDRT_TRY(symbols.open());
  // The version first: an old driver lacks more than it says.
  MOHDRT_TRY(symbols.find("cuDriverGetVersion", &driver.cuDriverGetVersion));
  const CUresult known = driver.cuDriverGetVersion(&driver.version);
  if (known != CUDA_SUCCESS || driver.version < kApiVersion)
    return deviceError("the CUDA driver is for CUDA " + versionText(driver.version) + ", " +
                       versionText(kApiVersion) + " or later is needed; update the driver");
  MOHDRT_TRY(findAll(symbols, driver));
  const CUresult result = driver.cuInit(0);
  if (result == CUDA_ERROR_NO_DEVICE)
    return deviceError("the CUDA driver finds no GPU (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  if (result != CUDA_SUCCESS)
    return deviceError("the CUDA driver does not start: cuInit: " + driver.describe(result));
  startedIn = ::getpid();
  const CUresult counted = driver.cuDeviceGetCount(&driver.devices);
  if (counted != CUDA_SUCCESS)
    return deviceError("cuDeviceGetCount: " + driver.describe(counted));
  if (driver.devices == 0)
    return deviceError("the CUDA driver finds no GPU (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  return Status();
}

} // namespace

Status checkNotForked() {
  const pid_t owner = startedIn;
  if (owner == 0 || owner == ::getpid())
    return Status();
  return deviceError(
      "CUDA was started before fork() and does not work in the child: fork first, or "
      "start another program");
}

Result<std::shared_ptr<const Driver>> Driver::acquire() {
  static std::mutex mutex;
  static std::weak_ptr<const Driver> known;
  MOHDRT_TRY(checkNotForked());
  std::lock_guard<std::mutex> lock(mutex);
  if (std::shared_ptr<const Driver> driver = known.lock())
    return driver;
  auto driver = std::make_shared<Driver>();
  MOHDRT_TRY(start(*driver));
  known = driver;
  return std::shared_ptr<const Driver>(std::move(driver));
}

std::string Driver::describe(CUresult result) const {
  const char *name = nullptr, *text = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
    return "CUDA error " + std::to_string(result);
  if (cuGetErrorString(result, &text) != CUDA_SUCCESS || !text)
    return name;
  return std::string(name) + " (" + text + ")";
}

Result<Gpu> describeGpu(const Driver &driver, int ordinal) {
  if (ordinal < 0 || ordinal >= driver.devices)
    return deviceError("no device cuda:" + std::to_string(ordinal) +
                       ", expected cuda:0 to cuda:" + std::to_string(driver.devices - 1));
  Gpu gpu;
  CUdevice device = 0;
  char name[256] = {};
  size_t bytes = 0;
  CUresult result = driver.cuDeviceGet(&device, ordinal);
  const auto read = [&](int attribute, int *value) {
    if (result == CUDA_SUCCESS)
      result = driver.cuDeviceGetAttribute(value, attribute, device);
  };
  read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &gpu.major);
  read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &gpu.minor);
  read(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &gpu.multiprocessors);
  read(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &gpu.sharedBytes);
  if (result == CUDA_SUCCESS)
    result = driver.cuDeviceGetName(name, sizeof(name) - 1, device);
  if (result == CUDA_SUCCESS)
    result = driver.cuDeviceTotalMem(&bytes, device);
  if (result != CUDA_SUCCESS)
    return deviceError("cannot describe cuda:" + std::to_string(ordinal) + ": " +
                       driver.describe(result));
  gpu.name = name;
  gpu.totalBytes = bytes;
  return gpu;
}

} // namespace cuda
} // namespace mohdrt
