// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From a dispatch to a launch of the emulator, which may touch what the dispatch binds and no more.
#include "device/emulate/device.h"

#include "cpu_count.h"
#include "errors.h"
#include "float_environment.h"

#include "mohd/emulator/emulator.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace mohdrt {
namespace {

constexpr const char *kTableName = "mohd_emulator";
/// Blocks of a cooperative launch at most: enough to wait for each other, and each takes a thread.
constexpr uint32_t kCooperativeBlocks = 4;

/// MOHD_EMULATOR_SEED, or 0.
Result<uint64_t> resolveSeed() {
  const char *text = std::getenv("MOHD_EMULATOR_SEED");
  if (!text || !*text)
    return uint64_t(0);
  char *end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (errno != 0 || *end != 0 || *text == '-')
    return invalidArgument("expected MOHD_EMULATOR_SEED to be a number of 64 bits, got '" +
                           escapeForMessage(text, 40) + "'");
  return uint64_t(value);
}

mohd_emu_tensor_map encodeMap(const TensorMap &map, const MapPlan &plan, const void *base) {
  mohd_emu_tensor_map result = {};
  result.base = reinterpret_cast<uint64_t>(base);
  result.rank = static_cast<uint8_t>(map.extents.size());
  result.element_bytes = static_cast<uint8_t>(dtypeSize(map.dtype));
  for (int64_t bytes = map.swizzle; bytes > 16; bytes /= 2) // 32, 64, 128: 1, 2, 3
    ++result.swizzle;
  for (size_t i = 0; i < map.extents.size(); ++i) {
    result.extents[i] = static_cast<uint32_t>(plan.extents[i]);
    result.box[i] = static_cast<uint16_t>(map.box[i]);
  }
  for (size_t i = 0; i < map.strides.size(); ++i)
    result.strides[i] = static_cast<uint64_t>(plan.strides[i]);
  return result;
}

/// Ranges in order, with those that share bytes as one.
void mergeOverlaps(std::vector<mohdemu::Allocation> &ranges) {
  const auto begin = [](const mohdemu::Allocation &range) {
    return reinterpret_cast<uintptr_t>(range.address);
  };
  std::sort(ranges.begin(), ranges.end(),
            [&](const auto &a, const auto &b) { return begin(a) < begin(b); });
  size_t count = 0;
  for (mohdemu::Allocation &range : ranges) {
    if (count == 0 || begin(range) >= begin(ranges[count - 1]) + ranges[count - 1].bytes) {
      if (&ranges[count] != &range)
        ranges[count] = std::move(range);
      ++count;
      continue;
    }
    mohdemu::Allocation &last = ranges[count - 1];
    last.bytes = std::max(last.bytes, begin(range) - begin(last) + range.bytes);
    last.writable |= range.writable;
  }
  ranges.resize(count);
}

class EmulateExecutor final : public Executor {
public:
  EmulateExecutor(const EmulateCode &code, uint32_t threads, uint64_t seed)
      : code_(code), threads_(threads), seed_(seed) {}

  uint32_t threads() const override { return threads_; }

  Status run(const Call &call) override {
    DefaultFloatEnvironment environment; // which the emulator's threads inherit
    return forEachDispatch(call.program, [&](const CompiledDispatch &dispatch, PlanPlace at) {
      return call.plan.grids[at.dispatch] > 0 ? launch(call, dispatch, at) : Status();
    });
  }

private:
  /// Runs a dispatch whose numbers start at `at` in the plan.
  Status launch(const Call &call, const CompiledDispatch &dispatch, PlanPlace at) const {
    mohdemu::Launch launch;
    void *addresses[kMaxBindings];
    mohd_emu_tensor_map maps[kMaxMaps];
    const void *arguments[kMaxBindings + kMaxMaps + kMaxParams];
    size_t count = 0;
    for (size_t i = 0; i < dispatch.bindings.size(); ++i) {
      const CompiledBinding &bound = dispatch.bindings[i];
      addresses[i] = addressOf(call, bound, call.plan.offsets[at.binding + i], code_.weights());
      arguments[count++] = &addresses[i];
      if (call.plan.sizes[at.binding + i] > 0)
        launch.allocations.push_back(describe(
            call, bound, addresses[i], static_cast<size_t>(call.plan.sizes[at.binding + i])));
    }
    mergeOverlaps(launch.allocations);
    for (size_t i = 0; i < dispatch.maps.size(); ++i) {
      const TensorMap &spec = *dispatch.maps[i].spec;
      maps[i] = encodeMap(spec, call.plan.maps[at.map + i], addresses[spec.binding]);
      arguments[count++] = &maps[i];
    }
    for (size_t i = 0; i < dispatch.params.size(); ++i)
      arguments[count++] = &call.plan.params[at.param + i];
    launch.kernel = code_.kernel(dispatch.kernelIndex);
    launch.name = dispatch.kernel->name;
    launch.grid.x = static_cast<uint32_t>(call.plan.grids[at.dispatch]);
    launch.cooperative = dispatch.kernel->cooperative;
    if (launch.cooperative) // as a small GPU does
      launch.grid.x = std::min(launch.grid.x, kCooperativeBlocks);
    launch.block.x = static_cast<uint32_t>(dispatch.kernel->threads);
    launch.sharedBytes = static_cast<uint32_t>(dispatch.kernel->sharedBytes);
    launch.arguments = arguments;
    launch.seed = seed_;
    launch.threads = threads_;
    return statusOf(mohdemu::launch(launch), launch.maxErrors);
  }

  mohdemu::Allocation describe(const Call &call, const CompiledBinding &binding, void *address,
                               size_t bytes) const {
    const EntryPoint &entry = code_.manifest().entryPoints[call.entry];
    switch (binding.kind) {
    case Binding::Kind::Input:
      return {address, bytes, entry.inputs[binding.index].name,
              entry.inputs[binding.index].isMutable};
    case Binding::Kind::Output:
      return {address, bytes, entry.outputs[binding.index].name, true};
    case Binding::Kind::Weight:
      return {address, bytes, code_.manifest().weights[binding.index].name, false};
    case Binding::Kind::Workspace:
      break;
    }
    return {address, bytes, "workspace", true};
  }

  static Status statusOf(const mohdemu::Result &result, size_t most) {
    const size_t count = result.errors.size();
    if (count == 0)
      return Status();
    return Status(StatusCode::Device,
                  "the emulator found " + std::string(count >= most ? "at least " : "") +
                      std::to_string(count) + (count == 1 ? " error: " : " errors, the first: ") +
                      escapeForMessage(result.errors[0].message, 1500));
  }

  const EmulateCode &code_;
  uint32_t threads_;
  uint64_t seed_;
};

} // namespace

Result<std::shared_ptr<DeviceCode>> EmulateCode::load(const BundleParts &parts,
                                                      const Target &target) {
  Result<CompiledTarget> compiled = compileTarget(*parts.manifest, target);
  if (!compiled.ok())
    return compiled.status();
  std::shared_ptr<EmulateCode> result(new EmulateCode(std::move(*compiled)));
  result->manifest_ = parts.manifest;
  MOHDRT_TRY(result->weights_.load(*parts.manifest, *parts.bundle, parts.file, parts.weights,
                                   weightsOf(*parts.manifest, target)));
  Result<std::unique_ptr<HostCode>> code =
      HostCode::load(*parts.bundle, *parts.manifest, target, parts.weights.checkHashes);
  if (!code.ok())
    return code.status();
  result->code_ = std::move(*code);
  Result<void *> table = result->code_->find(kTableName, "the variable");
  if (!table.ok())
    return table.status();
  *static_cast<const mohd_emu_table **>(*table) = mohdemu::table();
  return std::shared_ptr<DeviceCode>(std::move(result));
}

Result<std::unique_ptr<Executor>> EmulateCode::makeExecutor(const ContextOptions &options) {
  Result<uint32_t> threads = resolveThreadCount(options.threads);
  if (!threads.ok())
    return threads.status();
  Result<uint64_t> seed = resolveSeed();
  if (!seed.ok())
    return seed.status();
  return std::unique_ptr<Executor>(std::make_unique<EmulateExecutor>(*this, *threads, *seed));
}

} // namespace mohdrt
