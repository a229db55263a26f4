// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contexts and memory of GPUs.
#include "device/cuda/device.h"

#include <map>

namespace mohdrt {
namespace cuda {
namespace {

/// Whether nothing works in the context after this error.
bool isSticky(CUresult result) {
  switch (result) {
  case 4:   // DEINITIALIZED
  case 214: // ECC_UNCORRECTABLE
  case 220: // NVLINK_UNCORRECTABLE
  case 226: // CONTAINED
  case 700: // ILLEGAL_ADDRESS
  case 702: // LAUNCH_TIMEOUT
  case 709: // CONTEXT_IS_DESTROYED
  case 710: // ASSERT
  case 714: // HARDWARE_STACK_ERROR
  case 715: // ILLEGAL_INSTRUCTION
  case 716: // MISALIGNED_ADDRESS
  case 717: // INVALID_ADDRESS_SPACE
  case 718: // INVALID_PC
  case 719: // LAUNCH_FAILED
  case 721: // TENSOR_MEMORY_LEAK
  case 999: // UNKNOWN
    return true;
  default:
    return false;
  }
}

const char *nameOf(MemoryUse use) {
  static const char *const names[] = {"weights", "workspace", "tensors"};
  return names[static_cast<int>(use)];
}

} // namespace

Result<std::shared_ptr<Device>> Device::acquire(int ordinal) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<Device>> known;
  Result<std::shared_ptr<const Driver>> driver = Driver::acquire();
  if (!driver.ok())
    return driver.status();
  std::lock_guard<std::mutex> lock(mutex);
  if (std::shared_ptr<Device> device = known[ordinal].lock()) {
    MOHDRT_TRY(device->checkUsable());
    return device;
  }
  Result<Gpu> gpu = describeGpu(**driver, ordinal);
  if (!gpu.ok())
    return gpu.status();
  std::shared_ptr<Device> device(new Device(std::move(*driver), std::move(*gpu), ordinal));
  MOHDRT_TRY(device->retain(ordinal));
  known[ordinal] = device;
  return device;
}

Status Device::retain(int ordinal) {
  MOHDRT_TRY(check(driver_->cuDeviceGet(&device_, ordinal), [] { return "cuDeviceGet"; }));
  return check(driver_->cuDevicePrimaryCtxRetain(&context_, device_),
               [] { return "cuDevicePrimaryCtxRetain"; });
}

Device::~Device() {
  if (context_ && checkNotForked().ok())
    driver_->cuDevicePrimaryCtxRelease(device_);
}

Status Device::checkUsable() {
  if (!isBroken_)
    return Status();
  std::lock_guard<std::mutex> lock(mutex_);
  return Status(firstError_.code(),
                name_ + " cannot be used after an error: " + firstError_.message());
}

Device::Current::Current(Device &device) : device_(device), status_(checkNotForked()) {
  if (status_.ok())
    status_ = device.checkUsable();
  if (status_.ok())
    status_ = device.check(device.driver_->cuCtxPushCurrent(device.context_),
                           [] { return "cuCtxPushCurrent"; });
}

Device::Current::~Current() {
  CUcontext popped = nullptr;
  if (status_.ok())
    device_.driver_->cuCtxPopCurrent(&popped);
}

Status Device::fail(CUresult result, const std::string &call) {
  Status status(result == CUDA_ERROR_OUT_OF_MEMORY ? StatusCode::OutOfMemory : StatusCode::Device,
                name_ + ": " + call + ": " + driver_->describe(result));
  if (isSticky(result)) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!isBroken_)
      firstError_ = status;
    isBroken_ = true;
  }
  return status;
}

Status Device::outOfMemory(size_t bytes, MemoryUse use) {
  size_t available = 0, total = 0;
  std::string message =
      name_ + ": no memory for " + std::to_string(bytes) + " bytes of " + nameOf(use) + ": ";
  if (driver_->cuMemGetInfo(&available, &total) == CUDA_SUCCESS)
    message += std::to_string(available) + " of " + std::to_string(total) + " bytes are free, ";
  message += "this library has here";
  for (MemoryUse kind : {MemoryUse::Weights, MemoryUse::Workspace, MemoryUse::Tensors})
    message += std::string(kind == MemoryUse::Weights ? " " : ", ") +
               std::to_string(used_[static_cast<int>(kind)]) + " of " + nameOf(kind);
  return Status(StatusCode::OutOfMemory, message);
}

Result<CUdeviceptr> Device::allocate(size_t bytes, MemoryUse use) {
  CUdeviceptr memory = 0;
  const CUresult result = driver_->cuMemAlloc(&memory, bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return outOfMemory(bytes, use);
  MOHDRT_TRY(check(result, [&] {
    return "cuMemAlloc of " + std::to_string(bytes) + " bytes of " + nameOf(use);
  }));
  used_[static_cast<int>(use)] += bytes;
  return memory;
}

void Device::deallocate(CUdeviceptr memory, size_t bytes, MemoryUse use) {
  if (driver_->cuMemFree(memory) == CUDA_SUCCESS)
    used_[static_cast<int>(use)] -= bytes;
}

Status Device::upload(CUdeviceptr to, const void *from, size_t bytes) {
  return check(driver_->cuMemcpyHtoD(to, from, bytes),
               [&] { return "cuMemcpyHtoD of " + std::to_string(bytes) + " bytes"; });
}

Status Device::download(void *to, CUdeviceptr from, size_t bytes) {
  return check(driver_->cuMemcpyDtoH(to, from, bytes),
               [&] { return "cuMemcpyDtoH of " + std::to_string(bytes) + " bytes"; });
}

} // namespace cuda
} // namespace mohdrt
