// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs on a GPU: launches in the caller's stream and nothing else, so that a run can be captured in
// a CUDA graph.
#include "device/cuda/code.h"
#include "errors.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace mohdrt {
namespace cuda {
namespace {

static_assert(sizeof(void *) == sizeof(CUdeviceptr), "tensors are given by their device's address");

/// MOHD_CUDA_SYNCHRONIZE: whether to wait for every kernel, so that an error names the one at fault.
bool waitsForKernels() {
  const char *variable = std::getenv("MOHD_CUDA_SYNCHRONIZE");
  return variable && std::strcmp(variable, "1") == 0;
}

int typeOf(DType dtype) {
  switch (dtype) {
  case DType::I8:
    return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  case DType::I32:
    return CU_TENSOR_MAP_DATA_TYPE_INT32;
  case DType::F16:
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  case DType::BF16:
    return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  default:
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
}

int swizzleOf(int64_t bytes) {
  switch (bytes) {
  case 32:
    return CU_TENSOR_MAP_SWIZZLE_32B;
  case 64:
    return CU_TENSOR_MAP_SWIZZLE_64B;
  case 128:
    return CU_TENSOR_MAP_SWIZZLE_128B;
  default:
    return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

CUresult encode(const Driver &driver, const TensorMap &map, const MapPlan &plan, void *address,
                CUtensorMap *result) {
  const size_t rank = map.extents.size();
  uint64_t extents[kMaxMapRank] = {}, strides[kMaxMapRank] = {};
  uint32_t box[kMaxMapRank] = {}, steps[kMaxMapRank] = {};
  for (size_t i = 0; i < rank; ++i) {
    extents[i] = static_cast<uint64_t>(plan.extents[i]);
    box[i] = static_cast<uint32_t>(map.box[i]);
    steps[i] = 1;
    if (i > 0)
      strides[i - 1] = static_cast<uint64_t>(plan.strides[i - 1]);
  }
  return driver.cuTensorMapEncodeTiled(
      result, typeOf(map.dtype), static_cast<uint32_t>(rank), address, extents, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, swizzleOf(map.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/// The last few encodings of one tensor map of a program. A call usually has the tensors of the one
/// before, or of the one before that.
struct MapCache {
  static constexpr size_t kWays = 4;
  struct Way {
    void *address = nullptr; // null: empty
    MapPlan plan;
    CUtensorMap map;
  };
  Way ways[kWays];
  size_t oldest = 0;
  CUtensorMap *current = nullptr; // for the call under way

  bool find(const void *address, const MapPlan &plan) {
    for (Way &way : ways)
      if (way.address == address && way.plan == plan) {
        current = &way.map;
        return true;
      }
    return false;
  }
};

class CudaExecutor final : public Executor {
public:
  explicit CudaExecutor(Code &code)
      : code_(code), waits_(waitsForKernels()), maps_(code.target().programs.size()) {
    for (size_t entry = 0; entry < maps_.size(); ++entry)
      if (const CompiledProgram *program = code.target().program(entry))
        for (const CompiledDispatch &dispatch : program->dispatches)
          maps_[entry].resize(maps_[entry].size() + dispatch.maps.size());
  }

  bool isHost() const override { return false; }

  Status run(const Call &call) override {
    const Device::Current current(code_.device());
    MOHDRT_TRY(current.status());
    // All maps before the first launch: what can be refused is refused before anything is done.
    MOHDRT_TRY(encodeMaps(call));
    return forEachDispatch(call.program, [&](const CompiledDispatch &dispatch, PlanPlace at) {
      return call.plan.grids[at.dispatch] > 0 ? launch(call, dispatch, at) : Status();
    });
  }

  Result<void *> allocate(size_t size, MemoryUse use) override {
    const Device::Current current(code_.device());
    MOHDRT_TRY(current.status());
    Result<CUdeviceptr> memory = code_.device().allocate(size, use);
    if (!memory.ok())
      return memory.status();
    return reinterpret_cast<void *>(*memory);
  }

  void deallocate(void *memory, size_t size, MemoryUse use) override {
    const Device::Current current(code_.device());
    if (current.status().ok()) // else it goes with the process
      code_.device().deallocate(reinterpret_cast<CUdeviceptr>(memory), size, use);
  }

  Status upload(void *to, const void *from, size_t size) override {
    const Device::Current current(code_.device());
    MOHDRT_TRY(current.status());
    return size ? code_.device().upload(reinterpret_cast<CUdeviceptr>(to), from, size) : Status();
  }

  Status download(void *to, const void *from, size_t size) override {
    const Device::Current current(code_.device());
    MOHDRT_TRY(current.status());
    return size ? code_.device().download(to, reinterpret_cast<CUdeviceptr>(from), size) : Status();
  }

  Status synchronize(void *stream) override {
    const Device::Current current(code_.device());
    MOHDRT_TRY(current.status());
    return wait(stream, [] {
      return "waiting for the stream (MOHD_CUDA_SYNCHRONIZE=1 finds the kernel at fault)";
    });
  }

private:
  Status encodeMaps(const Call &call) {
    return forEachDispatch(call.program, [&](const CompiledDispatch &dispatch, PlanPlace at) {
      for (size_t m = 0; m < dispatch.maps.size() && call.plan.grids[at.dispatch] > 0; ++m) {
        const TensorMap &spec = *dispatch.maps[m].spec;
        void *address = addressOf(call, dispatch.bindings[spec.binding],
                                  call.plan.offsets[at.binding + spec.binding], code_.weights());
        MOHDRT_TRY(encodeMap(maps_[call.entry][at.map + m], spec, call.plan.maps[at.map + m],
                             address, dispatch));
      }
      return Status();
    });
  }

  Status encodeMap(MapCache &cache, const TensorMap &spec, const MapPlan &plan, void *address,
                   const CompiledDispatch &dispatch) {
    if (cache.find(address, plan))
      return Status();
    MapCache::Way &way = cache.ways[cache.oldest];
    way.address = nullptr; // empty if this fails
    MOHDRT_TRY(
        code_.device().check(encode(code_.device().driver(), spec, plan, address, &way.map), [&] {
          return "cuTensorMapEncodeTiled of binding " + std::to_string(spec.binding) +
                 " of kernel '" + dispatch.kernel->name + "'";
        }));
    way.address = address;
    way.plan = plan;
    cache.current = &way.map;
    cache.oldest = (cache.oldest + 1) % MapCache::kWays;
    return Status();
  }

  /// Launches a dispatch whose numbers start at `at` in the plan.
  Status launch(const Call &call, const CompiledDispatch &dispatch, PlanPlace at) {
    void *addresses[kMaxBindings];
    void *arguments[kMaxBindings + kMaxMaps + kMaxParams];
    size_t count = 0;
    for (size_t i = 0; i < dispatch.bindings.size(); ++i) {
      addresses[i] =
          addressOf(call, dispatch.bindings[i], call.plan.offsets[at.binding + i], code_.weights());
      arguments[count++] = &addresses[i];
    }
    for (size_t i = 0; i < dispatch.maps.size(); ++i)
      arguments[count++] = maps_[call.entry][at.map + i].current;
    for (size_t i = 0; i < dispatch.params.size(); ++i)
      arguments[count++] = const_cast<int64_t *>(&call.plan.params[at.param + i]);
    const Kernel &kernel = *dispatch.kernel;
    const auto what = [&] { return "launching kernel '" + kernel.name + "'"; };
    const Driver &driver = code_.device().driver();
    const CUfunction function = code_.functions()[dispatch.kernelIndex];
    const unsigned most = code_.mostBlocks()[dispatch.kernelIndex],
                   blocks = static_cast<unsigned>(call.plan.grids[at.dispatch]),
                   threads = static_cast<unsigned>(kernel.threads),
                   sharedBytes = static_cast<unsigned>(kernel.sharedBytes);
    const CUstream stream = static_cast<CUstream>(call.stream);
    MOHDRT_TRY(code_.device().check(
        kernel.cooperative
            ? driver.cuLaunchCooperativeKernel(function, std::min(blocks, most), 1, 1, threads, 1,
                                               1, sharedBytes, stream, arguments)
            : driver.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, sharedBytes, stream,
                                    arguments, nullptr),
        what));
    return waits_ ? wait(call.stream, [&] { return "running kernel '" + kernel.name + "'"; })
                  : Status();
  }

  template <typename Text> Status wait(void *stream, Text what) {
    Device &device = code_.device();
    return device.check(device.driver().cuStreamSynchronize(static_cast<CUstream>(stream)), what);
  }

  Code &code_;
  bool waits_;
  std::vector<std::vector<MapCache>> maps_; // of each entry point's program
};

} // namespace

Result<std::unique_ptr<Executor>> Code::makeExecutor(const ContextOptions &) {
  return std::unique_ptr<Executor>(std::make_unique<CudaExecutor>(*this));
}

} // namespace cuda
} // namespace mohdrt
