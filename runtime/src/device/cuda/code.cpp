// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading onto a GPU: everything that a run needs, so that a run loads nothing.
#include "device/cuda/code.h"

#include <map>

namespace mohdrt {
namespace cuda {
namespace {

constexpr size_t kLogBytes = 4096;                // of the driver's compiler
constexpr size_t kWeightAlign = 256;              // bytes, as cuMemAlloc has it
constexpr int64_t kBatchBytes = int64_t(1) << 31; // of weights in the host's memory at a time
constexpr int64_t kSharedLimit = 48 << 10;        // that a kernel has without asking

/// How well a cubin fits a GPU: 0 not at all, the capability's minor number + 1 for one of its
/// family, more than any of these for exactly it.
int fitOf(const GpuArch &arch, int major, int minor) {
  if (arch.major != major || arch.minor > minor || (arch.isExact && arch.minor != minor))
    return 0;
  return arch.isExact ? 1000 : arch.minor + 1;
}

/// Reads a segment and compares it with its hash.
Result<std::string> readSegment(const BundleParts &parts, const SegmentInfo &segment) {
  std::string bytes(static_cast<size_t>(segment.size), '\0');
  MOHDRT_TRY(parts.bundle->read(segment.offset, bytes.data(), bytes.size()));
  if (parts.weights.checkHashes)
    MOHDRT_TRY(checkDigest("segment '" + segment.name + "'", segment.sha256,
                           sha256(bytes.data(), bytes.size())));
  return bytes;
}

} // namespace

Result<size_t> selectTarget(const Manifest &manifest, int major, int minor, bool requireCubin) {
  std::string names;
  size_t best = 0;
  int bestFit = 0;
  for (size_t i = 0; i < manifest.targets.size(); ++i) {
    const Target &target = manifest.targets[i];
    if (target.kind != "cuda")
      continue;
    if (names.size() < 200)
      names += (names.empty() ? "" : ", ") + target.arch;
    int fit = 0;
    if (const std::optional<GpuArch> arch = parseGpuArch(target.arch))
      fit = 1 + fitOf(*arch, major, minor);
    const bool takesPtx = target.arch == "ptx" && !requireCubin && major >= 8;
    fit = takesPtx ? 1 : fit > 1 ? fit : 0;
    if (fit > bestFit)
      best = i, bestFit = fit;
  }
  if (bestFit > 0)
    return best;
  const std::string wanted = "sm_" + std::to_string(major) + std::to_string(minor);
  return Status(StatusCode::Incompatible,
                names.empty() ? "the bundle has no cuda target"
                              : "no code for a GPU of " + wanted + ": the bundle has " + names +
                                    (requireCubin ? ", and a cubin is required" : "") +
                                    " (compile with --target=cuda:" + wanted + ")");
}

Result<std::shared_ptr<DeviceCode>> Code::load(const BundleParts &parts, const Target &target,
                                               std::shared_ptr<Device> device) {
  Result<CompiledTarget> compiled = compileTarget(*parts.manifest, target);
  if (!compiled.ok())
    return compiled.status();
  Result<std::string> image = readSegment(parts, parts.manifest->segments[target.segment]);
  if (!image.ok())
    return image.status();
  if (!target.isCubin() && image->find('\0') != std::string::npos)
    return Status(StatusCode::Malformed, "the PTX of target " + target.name() + " has a zero byte");
  std::shared_ptr<Code> code(new Code(std::move(*compiled), std::move(device)));
  const Device::Current current(*code->device_);
  MOHDRT_TRY(current.status());
  MOHDRT_TRY(code->loadModule(*image));
  for (const Kernel &kernel : target.kernels)
    MOHDRT_TRY(code->findKernel(kernel));
  MOHDRT_TRY(code->uploadWeights(parts));
  return std::shared_ptr<DeviceCode>(std::move(code));
}

Code::~Code() {
  const Device::Current current(*device_);
  if (!current.status().ok())
    return;
  if (memory_)
    device_->deallocate(memory_, memoryBytes_, MemoryUse::Weights);
  if (module_)
    device_->driver().cuModuleUnload(module_);
}

Status Code::loadModule(const std::string &image) {
  char log[kLogBytes] = {};
  int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(kLogBytes - 1)};
  // A std::string ends with a zero byte, as PTX has to.
  const CUresult result =
      device_->driver().cuModuleLoadDataEx(&module_, image.data(), 2, options, values);
  Status status = device_->check(result, [&] { return "loading target " + target().name; });
  if (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION ||
      result == CUDA_ERROR_JIT_COMPILER_NOT_FOUND)
    status = Status(StatusCode::Incompatible, status.message());
  if (!status.ok() && log[0])
    status = Status(status.code(), status.message() + ": " + escapeForMessage(log, 1000));
  return status;
}

Status Code::findKernel(const Kernel &kernel) {
  const Driver &driver = device_->driver();
  const auto what = [&](const char *call) {
    return [&kernel, call] { return std::string(call) + " of kernel '" + kernel.name + "'"; };
  };
  CUfunction function = nullptr;
  MOHDRT_TRY(device_->check(driver.cuModuleGetFunction(&function, module_, kernel.name.c_str()),
                            what("cuModuleGetFunction")));
  int mostThreads = 0; // also loads the function, which may be put off until it is looked at
  MOHDRT_TRY(device_->check(
      driver.cuFuncGetAttribute(&mostThreads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function),
      what("cuFuncGetAttribute")));
  if (kernel.threads > mostThreads || kernel.sharedBytes > device_->gpu().sharedBytes)
    return Status(StatusCode::Incompatible,
                  device_->name() + ": kernel '" + kernel.name + "' needs " +
                      std::to_string(kernel.threads) + " threads and " +
                      std::to_string(kernel.sharedBytes) + " bytes of shared memory, at most " +
                      std::to_string(mostThreads) + " and " +
                      std::to_string(device_->gpu().sharedBytes) + " are possible");
  if (kernel.sharedBytes + kernel.staticSharedBytes > kSharedLimit)
    MOHDRT_TRY(device_->check(
        driver.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                  static_cast<int>(kernel.sharedBytes)),
        what("cuFuncSetAttribute")));
  functions_.push_back(function);
  int blocks = 0; // of a multiprocessor
  if (kernel.cooperative) {
    MOHDRT_TRY(device_->check(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                                  &blocks, function, static_cast<int>(kernel.threads),
                                  static_cast<size_t>(kernel.sharedBytes)),
                              what("cuOccupancyMaxActiveBlocksPerMultiprocessor")));
    if (blocks < 1)
      return Status(StatusCode::Incompatible, device_->name() +
                                                  ": no block of cooperative kernel '" +
                                                  kernel.name + "' fits a multiprocessor");
  }
  mostBlocks_.push_back(static_cast<unsigned>(blocks * device_->gpu().multiprocessors));
  return Status();
}

std::vector<std::vector<bool>> batchesOf(const Manifest &manifest, const std::vector<bool> &needed,
                                         int64_t bytes) {
  std::vector<std::vector<bool>> batches;
  std::map<std::pair<bool, int64_t>, size_t> batchOf; // of segments and files
  int64_t total = 0;
  for (size_t i = 0; i < needed.size(); ++i) {
    if (!needed[i])
      continue;
    const WeightInfo &weight = manifest.weights[i];
    const auto [known, isNew] = batchOf.try_emplace({weight.external, weight.container});
    if (isNew) {
      const int64_t size = weight.external ? manifest.files[weight.container].size
                                           : manifest.segments[weight.container].size;
      if (batches.empty() || size > bytes - total) {
        batches.emplace_back(needed.size());
        total = 0;
      }
      total += size;
      known->second = batches.size() - 1;
    }
    batches[known->second][i] = true;
  }
  return batches;
}

Status Code::uploadWeights(const BundleParts &parts) {
  const std::vector<WeightInfo> &infos = parts.manifest->weights;
  const std::vector<bool> needed = weightsOf(*parts.manifest, *target().spec);
  std::vector<size_t> places(infos.size()); // bytes from the start
  for (size_t i = 0; i < infos.size(); ++i) {
    places[i] = memoryBytes_;
    if (needed[i])
      memoryBytes_ +=
          (static_cast<size_t>(infos[i].size) + kWeightAlign - 1) / kWeightAlign * kWeightAlign;
  }
  weights_.resize(infos.size());
  if (memoryBytes_ == 0)
    return Status();
  // All memory first: that there is none should not take a read of all weights to find out.
  Result<CUdeviceptr> memory = device_->allocate(memoryBytes_, MemoryUse::Weights);
  if (!memory.ok())
    return memory.status();
  memory_ = *memory;
  for (size_t i = 0; i < infos.size(); ++i)
    if (needed[i] && infos[i].size > 0)
      weights_[i] = reinterpret_cast<void *>(memory_ + places[i]);
  for (const std::vector<bool> &batch : batchesOf(*parts.manifest, needed, kBatchBytes))
    MOHDRT_TRY(uploadBatch(parts, batch));
  return Status();
}

Status Code::uploadBatch(const BundleParts &parts, const std::vector<bool> &batch) {
  WeightStore store; // in the host's memory until they are uploaded
  MOHDRT_TRY(store.load(*parts.manifest, *parts.bundle, parts.file, parts.weights, batch));
  for (size_t i = 0; i < batch.size(); ++i)
    if (batch[i] && weights_[i])
      MOHDRT_TRY(device_->upload(reinterpret_cast<CUdeviceptr>(weights_[i]), store.addresses()[i],
                                 static_cast<size_t>(parts.manifest->weights[i].size)));
  return Status();
}

} // namespace cuda
} // namespace mohdrt
