// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The fake driver's functions. FAKE_PROC says which way to look functions up it offers: 2, 1 or 0.
#include "FakeCuda.h"

#include "device/cuda/api.h"

#include "mohd/emulator/emulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mohdrt::cuda;

// What the driver's handles stand for.
struct mohdrt::cuda::CUctx_st {
  int device;
};
struct mohdrt::cuda::CUmod_st {
  void *library;
  int device;
};
struct mohdrt::cuda::CUfunc_st {
  mohd_emu_kernel kernel;
  std::string name;
  int dynamicShared = 48 << 10;
};

namespace {

fakecuda::Control control;
std::recursive_mutex mutex;
CUctx_st primary[2] = {{0}, {1}};
struct Memory {
  size_t bytes;
  int device;
};
std::map<CUdeviceptr, Memory> memories;
std::set<CUmodule> modules;
thread_local std::vector<CUcontext> stack;

constexpr CUresult kInvalidValue = 1, kInvalidContext = 201, kInvalidImage = 200, kNotFound = 500,
                   kIllegalAddress = 700, kCaptureUnsupported = 900;

/// One call at a time.
#define FAKE_LOCK std::lock_guard<std::recursive_mutex> lock(mutex)

/// Records a call; returns what it is to fail with.
CUresult record(const char *name, const std::string &detail = std::string()) {
  if (!control.isRecording)
    return CUDA_SUCCESS;
  FAKE_LOCK;
  control.calls.push_back(name + (detail.empty() ? "" : " " + detail));
  const auto failure = control.failures.find(name);
  if (failure == control.failures.end() || failure->second.after-- > 0)
    return CUDA_SUCCESS;
  const CUresult result = failure->second.result;
  control.failures.erase(failure);
  return result;
}

#define FAKE_TRY(expression)                                                                       \
  if (const CUresult fakeResult = (expression); fakeResult != CUDA_SUCCESS)                        \
  return fakeResult

/// Records a call that needs a context and may not be captured.
CUresult recordInContext(const char *name, const std::string &detail = std::string()) {
  FAKE_TRY(record(name, detail));
  if (stack.empty() || !stack.back())
    return kInvalidContext;
  return control.isCapturing ? kCaptureUnsupported : CUDA_SUCCESS;
}

/// The memory that holds [address, address + bytes), or null.
const Memory *findMemory(CUdeviceptr address, size_t bytes) {
  auto after = memories.upper_bound(address);
  if (after == memories.begin())
    return nullptr;
  --after;
  return address - after->first + bytes <= after->second.bytes ? &after->second : nullptr;
}

void unload(CUmodule module) {
  modules.erase(module);
  delete module;
  control.modules = static_cast<int>(modules.size());
}

void release(CUdeviceptr address) {
  const Memory memory = memories[address];
  control.usedBytes[memory.device] -= memory.bytes;
  std::free(reinterpret_cast<void *>(address));
  memories.erase(address);
}

/// What a primary context holds goes with its last reference.
void destroyContext(int device) {
  std::vector<CUdeviceptr> addresses;
  for (const auto &[address, memory] : memories)
    if (memory.device == device)
      addresses.push_back(address);
  for (CUdeviceptr address : addresses)
    release(address);
  for (CUmodule module : std::set<CUmodule>(modules))
    if (module->device == device)
      unload(module);
}

void setContexts() {
  control.contexts.clear();
  for (CUcontext context : stack)
    control.contexts.push_back(context ? context->device : -1);
}

/// Opens a shared object in memory, which has no size of its own.
void *openObject(const void *image) {
  const auto *header = static_cast<const Elf64_Ehdr *>(image);
  const size_t size = header->e_shoff + size_t(header->e_shnum) * header->e_shentsize;
  const int fd = ::memfd_create("fake-cubin", 0); // stays open: dlopen knows objects by name
  if (fd < 0 || ::write(fd, image, size) != ssize_t(size))
    return nullptr;
  return ::dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW | RTLD_LOCAL);
}

namespace fake {

CUresult cuInit(unsigned) { return record("cuInit"); }

CUresult cuDriverGetVersion(int *version) {
  *version = control.version;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult result, const char **text) {
  static const std::map<CUresult, const char *> names = {
      {1, "CUDA_ERROR_INVALID_VALUE"},     {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {201, "CUDA_ERROR_INVALID_CONTEXT"}, {500, "CUDA_ERROR_NOT_FOUND"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"}};
  const auto name = names.find(result);
  *text = name == names.end() ? nullptr : name->second;
  return *text ? CUDA_SUCCESS : kInvalidValue;
}

CUresult cuGetErrorString(CUresult result, const char **text) {
  *text = result == 2 ? nullptr : "as told";
  return *text ? CUDA_SUCCESS : kInvalidValue;
}

CUresult cuDeviceGetCount(int *count) {
  *count = control.devices;
  return record("cuDeviceGetCount");
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return ordinal < control.devices ? record("cuDeviceGet") : kInvalidValue;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  std::snprintf(name, size_t(size), "Fake GPU %d", device);
  return record("cuDeviceGetName");
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
    *value = 132;
    break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
    *value = control.capability[device].first;
    break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
    *value = control.capability[device].second;
    break;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    *value = control.sharedBytes;
    break;
  default:
    return kInvalidValue;
  }
  return record("cuDeviceGetAttribute");
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice) {
  *bytes = control.memoryBytes;
  return record("cuDeviceTotalMem");
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  FAKE_LOCK;
  FAKE_TRY(record("cuDevicePrimaryCtxRetain"));
  ++control.retained[device];
  *context = &primary[device];
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  FAKE_LOCK;
  if (--control.retained[device] == 0)
    destroyContext(device);
  return record("cuDevicePrimaryCtxRelease");
}

CUresult cuCtxPushCurrent(CUcontext context) {
  FAKE_LOCK;
  FAKE_TRY(record("cuCtxPushCurrent"));
  stack.push_back(context);
  setContexts();
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *context) {
  FAKE_LOCK;
  if (stack.empty())
    return kInvalidContext;
  *context = stack.back();
  stack.pop_back();
  setContexts();
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream) { return recordInContext("cuStreamSynchronize"); }

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options,
                            void **values) {
  FAKE_LOCK;
  const bool hasElf = std::memcmp(image, ELFMAG, SELFMAG) == 0;
  const CUresult result = recordInContext("cuModuleLoadDataEx", hasElf ? "cubin" : "ptx");
  if (result != CUDA_SUCCESS && count == 2 && options[0] == CU_JIT_ERROR_LOG_BUFFER)
    std::snprintf(static_cast<char *>(values[0]), reinterpret_cast<size_t>(values[1]), "%s",
                  control.log.c_str());
  FAKE_TRY(result);
  void *library =
      hasElf ? openObject(image) : ::dlopen(control.ptxObject.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return kInvalidImage;
  void *table = ::dlsym(library, "mohd_emulator");
  *static_cast<const mohd_emu_table **>(table) = mohdemu::table();
  *module = new CUmod_st{library, stack.back()->device};
  modules.insert(*module);
  control.modules = static_cast<int>(modules.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuModuleUnload"));
  unload(module);
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuModuleGetFunction", name));
  static std::map<std::pair<void *, std::string>, CUfunc_st> functions; // for good
  void *symbol = ::dlsym(module->library, name);
  if (!symbol)
    return kNotFound;
  CUfunc_st &known = functions[{module->library, name}];
  known = {reinterpret_cast<mohd_emu_kernel>(symbol), name};
  *function = &known;
  return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction) {
  *value = control.maxThreads;
  return attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
             ? recordInContext("cuFuncGetAttribute")
             : kInvalidValue;
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  FAKE_TRY(recordInContext("cuFuncSetAttribute", std::to_string(value)));
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > control.sharedBytes)
    return kInvalidValue;
  function->dynamicShared = value;
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(size_t *available, size_t *total) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuMemGetInfo"));
  *total = control.memoryBytes;
  *available = control.memoryBytes - control.usedBytes[stack.back()->device];
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *memory, size_t bytes) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuMemAlloc", std::to_string(bytes)));
  const int device = stack.back()->device;
  if (bytes > control.memoryBytes - control.usedBytes[device])
    return CUDA_ERROR_OUT_OF_MEMORY;
  void *block = nullptr;
  if (::posix_memalign(&block, 256, bytes) != 0)
    return CUDA_ERROR_OUT_OF_MEMORY;
  *memory = reinterpret_cast<CUdeviceptr>(block);
  memories[*memory] = {bytes, device};
  control.usedBytes[device] += bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr memory) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuMemFree"));
  if (memories.count(memory) == 0)
    return kInvalidValue;
  release(memory);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuMemcpyHtoD", std::to_string(bytes)));
  if (!findMemory(to, bytes))
    return kInvalidValue;
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
  FAKE_LOCK;
  FAKE_TRY(recordInContext("cuMemcpyDtoH", std::to_string(bytes)));
  if (!findMemory(from, bytes))
    return kInvalidValue;
  std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
  return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, int type, uint32_t rank, void *address,
                                const uint64_t *extents, const uint64_t *strides,
                                const uint32_t *box, const uint32_t *elementStrides, int interleave,
                                int swizzle, int promotion, int fill) {
  FAKE_TRY(record("cuTensorMapEncodeTiled", std::to_string(type) + " " + std::to_string(swizzle)));
  mohd_emu_tensor_map encoded = {};
  encoded.base = reinterpret_cast<uint64_t>(address);
  encoded.rank = static_cast<uint8_t>(rank);
  encoded.element_bytes =
      type == CU_TENSOR_MAP_DATA_TYPE_UINT8                                                 ? 1
      : type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 || type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2
                                                                                            : 4;
  encoded.swizzle = static_cast<uint8_t>(swizzle);
  for (uint32_t i = 0; i < rank; ++i) {
    encoded.extents[i] = static_cast<uint32_t>(extents[i]);
    encoded.box[i] = static_cast<uint16_t>(box[i]);
    if (i > 0)
      encoded.strides[i - 1] = strides[i - 1];
    if (elementStrides[i] != 1)
      return kInvalidValue;
  }
  static_assert(sizeof(encoded) == sizeof(*map), "both are passed by value");
  std::memcpy(map, &encoded, sizeof(encoded));
  const bool isPlain = interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
                       promotion == CU_TENSOR_MAP_L2_PROMOTION_L2_128B &&
                       fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  return isPlain && encoded.base % 16 == 0 ? CUDA_SUCCESS : kInvalidValue;
}

CUresult launch(CUfunction function, mohdemu::Extent grid, mohdemu::Extent block,
                unsigned sharedBytes, CUstream stream, void **arguments, bool cooperative) {
  if (stack.empty() || !stack.back())
    return kInvalidContext;
  if (grid.x == 0 || sharedBytes > unsigned(function->dynamicShared))
    return kInvalidValue;
  if (control.isRecording)
    control.streams.push_back(stream);
  if (control.isCapturing)
    return CUDA_SUCCESS;
  mohdemu::Launch launch;
  launch.kernel = function->kernel;
  launch.name = function->name;
  launch.grid = grid;
  launch.block = block;
  launch.cooperative = cooperative && grid.x <= mohdemu::kMaxCooperativeBlocks;
  launch.sharedBytes = sharedBytes;
  launch.arguments = arguments;
  for (const auto &[address, memory] : memories)
    if (memory.device == stack.back()->device)
      launch.allocations.push_back(
          {reinterpret_cast<void *>(address), memory.bytes, "memory", /*writable=*/true});
  const mohdemu::Result result = mohdemu::launch(launch);
  for (const mohdemu::Error &error : result.errors)
    control.faults.push_back(error.message);
  return result.errors.empty() ? CUDA_SUCCESS : kIllegalAddress;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                        unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                        CUstream stream, void **arguments, void **) {
  FAKE_LOCK;
  FAKE_TRY(record("cuLaunchKernel", function->name));
  return launch(function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes, stream,
                arguments, /*cooperative=*/false);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned gridX, unsigned gridY,
                                   unsigned gridZ, unsigned blockX, unsigned blockY,
                                   unsigned blockZ, unsigned sharedBytes, CUstream stream,
                                   void **arguments) {
  FAKE_LOCK;
  FAKE_TRY(record("cuLaunchCooperativeKernel", function->name));
  control.grids.push_back(gridX);
  return launch(function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes, stream,
                arguments, /*cooperative=*/true);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int,
                                                     size_t) {
  FAKE_LOCK;
  FAKE_TRY(record("cuOccupancyMaxActiveBlocksPerMultiprocessor", function->name));
  *blocks = control.blocksPerSm;
  return CUDA_SUCCESS;
}

} // namespace fake

[[maybe_unused]] CUresult findFunction(const char *symbol, void **function) {
  static const std::map<std::string, void *> functions = {
#define FAKE_ENTRY(name, parameters) {#name, reinterpret_cast<void *>(fake::name)},
      MOHD_CUDA_FUNCTIONS(FAKE_ENTRY)
#undef FAKE_ENTRY
  };
  const auto found = functions.find(symbol);
  *function = found == functions.end() || control.missing == symbol ? nullptr : found->second;
  return *function ? CUDA_SUCCESS : kNotFound;
}

} // namespace

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

FAKE_EXPORT fakecuda::Control *fakecuda_control() { return &control; }

/// Makes a context of the caller's own (-1) or none current on this thread.
FAKE_EXPORT void fakecuda_set_current(bool has) {
  stack.assign(has ? 1 : 0, nullptr);
  setContexts();
}

#if FAKE_PROC == 2
FAKE_EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **function, int, uint64_t,
                                         int *status) {
  // As the driver: a function that is not there is no error, but null.
  *status = findFunction(symbol, function) != CUDA_SUCCESS;
  return CUDA_SUCCESS;
}
#endif
#if FAKE_PROC >= 1
FAKE_EXPORT CUresult cuGetProcAddress(const char *symbol, void **function, int, uint64_t) {
  return findFunction(symbol, function);
}
#endif
