// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU targets by name, and occupancy.
#include "mohd/Target/GpuTarget.h"

#include "mohd/Model/Config.h"
#include "mohd/Target/CpuTarget.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;

namespace {
/// A name that may follow `cuda:`.
struct ChipEntry {
  const char *name, *chip;
  int64_t ptxVersion, sharedPerBlock, sharedPerSm;
  bool hasWgmma;
  int64_t typicalSms, multipliesPerCycle, cacheBytesPerCycle;
};
} // namespace

// The PTX versions are the newest that both LLVM 22 and ptxas 13.0 take for the chip; that of `ptx` is the first that knows sm_80, so
// that no driver is too old for it.
static constexpr ChipEntry chips[] = {
    {"sm_80", "sm_80", 80, 163 << 10, 164 << 10, false, 108, 1024, 47},
    {"sm_90a", "sm_90a", 86, 227 << 10, 228 << 10, true, 132, 2048, 40},
    {"ptx", "sm_80", 70, 163 << 10, 164 << 10, false, 108, 1024, 47},
};

static GpuInfo describe(const ChipEntry &entry) {
  GpuInfo gpu;
  gpu.chip = entry.chip;
  gpu.isPtx = llvm::StringRef(entry.name) == "ptx";
  gpu.ptxVersion = entry.ptxVersion;
  gpu.sharedPerBlock = entry.sharedPerBlock;
  gpu.sharedPerSm = entry.sharedPerSm;
  gpu.hasWgmma = entry.hasWgmma;
  gpu.typicalSms = entry.typicalSms;
  gpu.multipliesPerCycle = entry.multipliesPerCycle;
  gpu.cacheBytesPerCycle = entry.cacheBytesPerCycle;
  gpu.mmaTiles = {{128, 128}, {64, 64}};
  if (gpu.hasWgmma)
    gpu.wgmmaTiles = {{128, 256}, {128, 128}, {128, 64}, {128, 32}};
  return gpu;
}

/// The entry called `name`, or an error that lists the names of `kind` and the nearest of them.
static Result<GpuInfo> findChip(llvm::StringRef kind, llvm::StringRef name, bool withPtx) {
  std::vector<std::string> names;
  for (const ChipEntry &entry : chips) {
    if (!withPtx && llvm::StringRef(entry.name) == "ptx")
      continue;
    if (name == entry.name)
      return describe(entry);
    names.push_back(entry.name);
  }
  // sm_90 is nearer to sm_90a than to sm_80, whatever the number of letters that differ.
  auto longer = llvm::find_if(
      names, [&](llvm::StringRef known) { return !name.empty() && known.starts_with(name); });
  std::string nearest = longer != names.end() ? *longer : closestMatch(name.str(), names);
  std::string last = names.back();
  names.pop_back();
  return Status(StatusCode::Unsupported,
                "expected " + kind.str() + " target '" + llvm::join(names, "', '") + "' or '" +
                    last + "', got '" + name.str() + "'" +
                    (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
}

static TargetInfo describeCuda(GpuInfo gpu) {
  TargetInfo target;
  target.kind = TargetKind::Cuda;
  target.triple = "nvptx64-nvidia-cuda";
  target.arch = gpu.isPtx ? "ptx" : gpu.chip;
  target.cpu = gpu.chip;
  target.features = {"ptx" + std::to_string(gpu.ptxVersion)};
  target.gpu = std::move(gpu);
  return target;
}

/// This machine's CPU as a stand-in for `gpu`.
static Result<TargetInfo> describeEmulated(GpuInfo gpu) {
  Result<TargetInfo> target = parseCpuTarget("cpu:native");
  if (!target.ok())
    return target;
  target->kind = TargetKind::Emulate;
  target->host = target->arch;
  target->arch = gpu.chip;
  target->gpu = std::move(gpu);
  return target;
}

bool mlir::mohd::isGpuTarget(llvm::StringRef spec) {
  return spec.starts_with("cuda:") || spec.starts_with("emulate:");
}

Result<std::vector<TargetInfo>> mlir::mohd::parseGpuTargets(llvm::StringRef spec) {
  auto [kind, list] = spec.split(':');
  const bool emulate = kind == "emulate";
  if (!isGpuTarget(spec))
    return Status(StatusCode::InvalidArgument,
                  "expected a target 'cuda:CHIP,...' or 'emulate:CHIP', got '" + spec.str() + "'");
  llvm::SmallVector<llvm::StringRef> names;
  list.split(names, ',');
  if (emulate && names.size() > 1)
    return Status(StatusCode::InvalidArgument,
                  "expected one chip after 'emulate:', got '" + list.str() + "'");
  std::vector<TargetInfo> targets;
  for (llvm::StringRef name : names) {
    Result<GpuInfo> gpu = findChip(emulate ? "emulated" : "CUDA", name, /*withPtx=*/!emulate);
    if (!gpu.ok())
      return gpu.status();
    Result<TargetInfo> target =
        emulate ? describeEmulated(std::move(*gpu)) : describeCuda(std::move(*gpu));
    if (!target.ok())
      return target.status();
    if (llvm::is_contained(llvm::map_range(targets, [](auto &other) { return other.arch; }),
                           target->arch))
      return Status(StatusCode::InvalidArgument, "expected each chip once, got '" + target->arch +
                                                     "' twice in '" + spec.str() + "'");
    targets.push_back(std::move(*target));
  }
  return targets;
}

static Status checkLimit(const char *what, int64_t least, int64_t most, int64_t value,
                         const GpuInfo &gpu) {
  if (value >= least && value <= most)
    return Status();
  return Status(StatusCode::Unsupported, "expects " + std::to_string(least) + " to " +
                                             std::to_string(most) + " " + what + " on " + gpu.chip +
                                             ", got " + std::to_string(value));
}

Result<int64_t> mlir::mohd::computeBlocksPerSm(const GpuInfo &gpu, const KernelResources &kernel) {
  MOHDRT_TRY(checkLimit("threads a block", 1, gpu.threadsPerBlock, kernel.threads, gpu));
  MOHDRT_TRY(checkLimit("registers a thread", 0, gpu.registersPerThread, kernel.registers, gpu));
  MOHDRT_TRY(
      checkLimit("bytes of shared memory a block", 0, gpu.sharedPerBlock, kernel.sharedBytes, gpu));
  const int64_t warps = llvm::divideCeil(kernel.threads, gpu.warpSize);
  int64_t blocks = std::min(gpu.blocksPerSm, gpu.threadsPerSm / gpu.warpSize / warps);
  // A warp's registers come in units, all from one part of the SM.
  if (kernel.registers > 0) {
    const int64_t ofWarp = llvm::alignTo(kernel.registers * gpu.warpSize, gpu.registerUnit);
    const int64_t warpsPerSm =
        gpu.registersPerSm / gpu.partitionsPerSm / ofWarp * gpu.partitionsPerSm;
    if (warpsPerSm < warps)
      return Status(StatusCode::Unsupported,
                    "expects registers for the block's " + std::to_string(warps) + " warps on " +
                        gpu.chip + ", got " + std::to_string(kernel.registers) +
                        " a thread, with which " + std::to_string(warpsPerSm) + " warps fit");
    blocks = std::min(blocks, warpsPerSm / warps);
  }
  const int64_t shared = llvm::alignTo(kernel.sharedBytes + gpu.sharedReserved, gpu.sharedUnit);
  return std::min(blocks, gpu.sharedPerSm / shared);
}
