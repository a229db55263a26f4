// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs on the CPU. Nothing here allocates after a context was made.
#include "device/cpu/device.h"

#include "cpu_count.h"
#include "float_environment.h"
#include "thread_pool.h"

namespace mohdrt {
namespace {

class CpuExecutor final : public Executor {
public:
  CpuExecutor(const CpuCode &code, uint32_t threads)
      : code_(code), threads_(threads), pool_(ThreadPool::acquire(threads)) {}

  ThreadPool &pool() { return *pool_; }
  uint32_t threads() const override { return threads_; }

  Status run(const Call &call) override {
    DefaultFloatEnvironment environment; // as workers have it
    ThreadPool::Lease lease(*pool_, threads_);
    return forEachDispatch(call.program, [&](const CompiledDispatch &dispatch, PlanPlace at) {
      void *bindings[kMaxBindings];
      for (size_t b = 0; b < dispatch.bindings.size(); ++b)
        bindings[b] = addressOf(call, dispatch.bindings[b], call.plan.offsets[at.binding + b],
                                code_.weights());
      const auto kernel = reinterpret_cast<KernelFn>(code_.kernels()[dispatch.kernelIndex]);
      lease.run(
          {kernel, bindings, call.plan.params.data() + at.param, call.plan.grids[at.dispatch]});
      return Status();
    });
  }

private:
  const CpuCode &code_;
  uint32_t threads_;
  std::shared_ptr<ThreadPool> pool_;
};

} // namespace

Result<std::shared_ptr<DeviceCode>> CpuCode::load(const BundleParts &parts, const Target &target,
                                                  const std::vector<bool> &needed) {
  Result<CompiledTarget> compiled = compileTarget(*parts.manifest, target);
  if (!compiled.ok())
    return compiled.status();
  std::shared_ptr<CpuCode> result(new CpuCode(std::move(*compiled)));
  MOHDRT_TRY(
      result->weights_.load(*parts.manifest, *parts.bundle, parts.file, parts.weights, needed));
  Result<std::unique_ptr<HostCode>> code =
      HostCode::load(*parts.bundle, *parts.manifest, target, parts.weights.checkHashes);
  if (!code.ok())
    return code.status();
  result->code_ = std::move(*code);
  return std::shared_ptr<DeviceCode>(std::move(result));
}

Result<std::unique_ptr<Executor>> CpuCode::makeExecutor(const ContextOptions &options) {
  Result<uint32_t> threads = resolveThreadCount(options.threads);
  if (!threads.ok())
    return threads.status();
  Result<bool> pins = resolvePinning(options.pinThreads);
  if (!pins.ok())
    return pins.status();
  Result<std::vector<int>> cpus = std::vector<int>();
  if (*pins)
    cpus = cpusForPinning(*threads);
  if (!cpus.ok())
    return cpus.status();
  auto executor = std::make_unique<CpuExecutor>(*this, *threads);
  if (*pins)
    executor->pool().pinWorkers(std::move(*cpus));
  return std::unique_ptr<Executor>(std::move(executor));
}

} // namespace mohdrt
