// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the runtime uses of the CUDA driver's interface, as of CUDA 12.0, so that it builds without
// CUDA's headers. Names and values are the driver's.
#ifndef MOHD_SRC_DEVICE_CUDA_API_H
#define MOHD_SRC_DEVICE_CUDA_API_H

#include <cstddef>
#include <cstdint>

namespace mohdrt {
namespace cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st *;
using CUmodule = struct CUmod_st *;
using CUfunction = struct CUfunc_st *;
using CUstream = struct CUstream_st *;

struct alignas(64) CUtensorMap {
  uint64_t opaque[16];
};

/// Of the functions below; drivers older than this are refused.
constexpr int kApiVersion = 12000;

// Results.
constexpr CUresult CUDA_SUCCESS = 0, CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NO_DEVICE = 100,
                   CUDA_ERROR_NO_BINARY_FOR_GPU = 209, CUDA_ERROR_INVALID_PTX = 218,
                   CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221,
                   CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222;

// Attributes of devices and functions.
constexpr int CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
              CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;
constexpr int CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;

constexpr int CU_JIT_ERROR_LOG_BUFFER = 5, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6;

// Tensor maps.
constexpr int CU_TENSOR_MAP_DATA_TYPE_UINT8 = 0, CU_TENSOR_MAP_DATA_TYPE_INT32 = 3,
              CU_TENSOR_MAP_DATA_TYPE_FLOAT16 = 6, CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7,
              CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9;
constexpr int CU_TENSOR_MAP_INTERLEAVE_NONE = 0, CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2,
              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0; // zeros
constexpr int CU_TENSOR_MAP_SWIZZLE_NONE = 0, CU_TENSOR_MAP_SWIZZLE_32B = 1,
              CU_TENSOR_MAP_SWIZZLE_64B = 2, CU_TENSOR_MAP_SWIZZLE_128B = 3;

constexpr uint64_t CU_GET_PROC_ADDRESS_LEGACY_STREAM = 1;

/// cuGetProcAddress_v2 and the function before it, which are found with dlsym.
using GetProcAddressV2 = CUresult (*)(const char *symbol, void **function, int version,
                                      uint64_t flags, int *status);
using GetProcAddressV1 = CUresult (*)(const char *symbol, void **function, int version,
                                      uint64_t flags);

/// X(name, parameters) for every function that is looked up; all return a CUresult.
#define MOHD_CUDA_FUNCTIONS(X)                                                                     \
  X(cuInit, (unsigned flags))                                                                      \
  X(cuDriverGetVersion, (int *version))                                                            \
  X(cuGetErrorName, (CUresult result, const char **text))                                          \
  X(cuGetErrorString, (CUresult result, const char **text))                                        \
  X(cuDeviceGetCount, (int *count))                                                                \
  X(cuDeviceGet, (CUdevice * device, int ordinal))                                                 \
  X(cuDeviceGetName, (char *name, int size, CUdevice device))                                      \
  X(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                            \
  X(cuDeviceTotalMem, (size_t *bytes, CUdevice device))                                            \
  X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                              \
  X(cuDevicePrimaryCtxRelease, (CUdevice device))                                                  \
  X(cuCtxPushCurrent, (CUcontext context))                                                         \
  X(cuCtxPopCurrent, (CUcontext * context))                                                        \
  X(cuStreamSynchronize, (CUstream stream))                                                        \
  X(cuModuleLoadDataEx,                                                                            \
    (CUmodule * module, const void *image, unsigned count, int *options, void **values))           \
  X(cuModuleUnload, (CUmodule module))                                                             \
  X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))               \
  X(cuFuncGetAttribute, (int *value, int attribute, CUfunction function))                          \
  X(cuFuncSetAttribute, (CUfunction function, int attribute, int value))                           \
  X(cuMemGetInfo, (size_t *available, size_t *total))                                              \
  X(cuMemAlloc, (CUdeviceptr * memory, size_t bytes))                                              \
  X(cuMemFree, (CUdeviceptr memory))                                                               \
  X(cuMemcpyHtoD, (CUdeviceptr to, const void *from, size_t bytes))                                \
  X(cuMemcpyDtoH, (void *to, CUdeviceptr from, size_t bytes))                                      \
  X(cuTensorMapEncodeTiled,                                                                        \
    (CUtensorMap * map, int type, uint32_t rank, void *address, const uint64_t *extents,           \
     const uint64_t *strides, const uint32_t *box, const uint32_t *elementStrides, int interleave, \
     int swizzle, int promotion, int fill))                                                        \
  X(cuLaunchKernel, (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,          \
                     unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,      \
                     CUstream stream, void **arguments, void **extra))                             \
  X(cuLaunchCooperativeKernel,                                                                     \
    (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,         \
     unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream stream, void **arguments))   \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor,                                                   \
    (int *blocks, CUfunction function, int threads, size_t sharedBytes))

} // namespace cuda
} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_CUDA_API_H
