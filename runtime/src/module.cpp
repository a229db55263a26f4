// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading: validate, compile expressions, take weights and code for the CPU; those for other devices
// when a context wants them.
#include "module.h"

#include "device/cpu/device.h"
#include "device/cuda/code.h"
#include "device/emulate/device.h"

#include <algorithm>

namespace mohdrt {
namespace {

bool hasHostCode(const Manifest &manifest) {
  return std::any_of(manifest.targets.begin(), manifest.targets.end(),
                     [](const Target &target) { return target.kind != "cuda"; });
}

bool hasGpuTarget(const Manifest &manifest) {
  return std::any_of(manifest.targets.begin(), manifest.targets.end(),
                     [](const Target &target) { return target.isGpu(); });
}

} // namespace

Result<DeviceName> parseDeviceName(const std::string &text) {
  const size_t colon = text.find(':');
  const bool hasDetail = colon != std::string::npos;
  const std::string detail = hasDetail ? text.substr(colon + 1) : "";
  DeviceName name;
  name.kind = text.substr(0, colon);
  if (name.kind == "cpu" && !hasDetail)
    return name;
  if (name.kind == "emulate" && (!hasDetail || parseGpuArch(detail))) {
    name.arch = detail;
    return name;
  }
  const bool isNumber = !detail.empty() && detail.size() <= 4 &&
                        detail.find_first_not_of("0123456789") == std::string::npos;
  if (name.kind == "cuda" && (!hasDetail || isNumber)) {
    name.ordinal = isNumber ? std::stoi(detail) : 0;
    return name;
  }
  return Status(
      StatusCode::Unsupported,
      "unknown device '" + escapeForMessage(text, 60) +
          "', expected cpu, cuda, cuda:N, emulate, or emulate:ARCH such as emulate:sm_90a");
}

Result<Module *> Module::load(std::unique_ptr<FileSource> file, const LoadOptions &options) {
  std::unique_ptr<Module, Release> module(new Module());
  module->parts_.file = file.get();
  module->source_ = std::move(file);
  MOHDRT_TRY(module->initialize(options));
  return module.release();
}

Result<Module *> Module::load(const void *data, size_t size, const LoadOptions &options) {
  std::unique_ptr<Module, Release> module(new Module());
  module->source_ = std::make_unique<MemorySource>(data, size);
  MOHDRT_TRY(module->initialize(options));
  if (module->source_) { // the caller's memory is not ours to keep
    module->copy_.assign(static_cast<const char *>(data), size);
    module->source_ = std::make_unique<MemorySource>(module->copy_.data(), size);
    module->parts_.bundle = module->source_.get();
  }
  return module.release();
}

Status Module::initialize(const LoadOptions &options) {
  const bool checkHashes = !(options.flags & MOHD_LOAD_SKIP_HASHES);
  ValidateOptions validate;
  validate.hashSegments = false; // done while each is loaded
  validate.checkManifestHash = checkHashes;
  Result<BundleInfo> info = validateBundle(*source_, validate);
  if (!info.ok())
    return info.status();
  manifest_ = std::move(info->manifest);
  manifestText_ = std::move(info->manifestText);
  if ((options.flags & MOHD_LOAD_NO_HOST_CODE) && hasHostCode(manifest_))
    return Status(StatusCode::Unsupported,
                  "the bundle holds CPU code, which MOHD_LOAD_NO_HOST_CODE forbids");
  Result<std::vector<CompiledEntry>> entries = compileEntries(manifest_);
  if (!entries.ok())
    return entries.status();
  entries_ = std::move(*entries);
  parts_.manifest = &manifest_;
  parts_.bundle = source_.get();
  parts_.weights.directory = options.weightsDirectory;
  parts_.weights.checkHashes = checkHashes;
  parts_.weights.map = (options.flags & MOHD_LOAD_MMAP) != 0;
  if (options.flags & MOHD_LOAD_DEFER_CPU)
    return Status();
  MOHDRT_TRY(loadCpu());
  if (!hasGpuTarget(manifest_))
    source_.reset();
  return Status();
}

std::vector<bool> Module::weightsOfTheHost() const {
  // All but those that only GPUs use.
  std::vector<bool> ofCpus(manifest_.weights.size()), ofGpus(manifest_.weights.size());
  for (const Target &target : manifest_.targets) {
    std::vector<bool> &those = target.isGpu() ? ofGpus : ofCpus;
    const std::vector<bool> bound = weightsOf(manifest_, target);
    for (size_t i = 0; i < bound.size(); ++i)
      those[i] = those[i] || bound[i];
  }
  for (size_t i = 0; i < ofCpus.size(); ++i)
    ofCpus[i] = ofCpus[i] || !ofGpus[i];
  return ofCpus;
}

Status Module::loadCpu() {
  Result<size_t> selected = selectHostTarget(manifest_, "cpu");
  if (!selected.ok()) {
    cpuStatus_ = selected.status(); // reported when a context is wanted
    return Status();
  }
  Result<std::shared_ptr<DeviceCode>> code =
      CpuCode::load(parts_, manifest_.targets[*selected], weightsOfTheHost());
  if (code.ok())
    cpu_ = std::move(*code);
  return code.status();
}

Result<std::shared_ptr<DeviceCode>> Module::cpuCode() {
  if (!cpu_ && cpuStatus_.ok()) // put off
    MOHDRT_TRY(loadCpu());
  MOHDRT_TRY(cpuStatus_);
  return cpu_;
}

Result<std::shared_ptr<DeviceCode>> Module::emulateCode(const std::string &arch) {
  std::weak_ptr<DeviceCode> &known = others_["emulate:" + arch];
  if (std::shared_ptr<DeviceCode> code = known.lock())
    return code;
  Result<size_t> selected = selectHostTarget(manifest_, "emulate", arch);
  if (!selected.ok())
    return selected.status();
  Result<std::shared_ptr<DeviceCode>> code =
      EmulateCode::load(parts_, manifest_.targets[*selected]);
  if (code.ok())
    known = *code;
  return code;
}

Result<std::shared_ptr<DeviceCode>> Module::cudaCode(int ordinal, bool requireCubin) {
  Result<std::shared_ptr<cuda::Device>> device = cuda::Device::acquire(ordinal);
  if (!device.ok())
    return device.status();
  const cuda::Gpu &gpu = (*device)->gpu();
  Result<size_t> selected = cuda::selectTarget(manifest_, gpu.major, gpu.minor, requireCubin);
  if (!selected.ok())
    return selected.status();
  std::weak_ptr<DeviceCode> &known = others_[(*device)->name()];
  if (std::shared_ptr<DeviceCode> code = known.lock())
    return code;
  Result<std::shared_ptr<DeviceCode>> code =
      cuda::Code::load(parts_, manifest_.targets[*selected], std::move(*device));
  if (code.ok())
    known = *code;
  return code;
}

Result<std::shared_ptr<DeviceCode>> Module::deviceCode(const ContextOptions &options) {
  Result<DeviceName> name = parseDeviceName(options.device);
  if (!name.ok())
    return name.status();
  std::lock_guard<std::mutex> lock(mutex_); // others who want the same wait for it
  if (name->kind == "cpu")
    return cpuCode();
  return name->kind == "cuda" ? cudaCode(name->ordinal, options.requireCubin)
                              : emulateCode(name->arch);
}

} // namespace mohdrt
