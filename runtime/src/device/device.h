// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What every kind of device offers: code and weights that contexts share, and a context's own part,
// which runs programs and has memory.
#ifndef MOHD_SRC_DEVICE_DEVICE_H
#define MOHD_SRC_DEVICE_DEVICE_H

#include "mohd/runtime.h"
#include "plan.h"
#include "weights.h"

#include <memory>
#include <string>

namespace mohdrt {

/// What a module's code and weights are loaded from. The module owns it all.
struct BundleParts {
  const Manifest *manifest = nullptr;
  const ByteSource *bundle = nullptr;
  const FileSource *file = nullptr; // `bundle`, if it is a file
  WeightOptions weights;
};

struct ContextOptions {
  std::string device = "cpu";
  uint32_t threads = 0;
  int32_t pinThreads = 0;
  bool requireCubin = false;
  std::optional<mohd_allocator_t> allocator;
};

/// One run, evaluated and checked.
struct Call {
  uint32_t entry;
  const CompiledProgram &program;
  const EntryPlan &plan;
  const TensorList &inputs, &outputs;
  uint8_t *workspace;
  void *stream; // a device's, or null
};

/// Where a dispatch's numbers start in the plan: bindings, tensor maps and params.
struct PlanPlace {
  size_t dispatch = 0, binding = 0, map = 0, param = 0;
};

/// visit(dispatch, place) for each dispatch in order, until one fails.
template <typename Visit> Status forEachDispatch(const CompiledProgram &program, Visit visit) {
  PlanPlace place;
  for (const CompiledDispatch &dispatch : program.dispatches) {
    MOHDRT_TRY(visit(dispatch, place));
    ++place.dispatch;
    place.binding += dispatch.bindings.size();
    place.map += dispatch.maps.size();
    place.param += dispatch.params.size();
  }
  return Status();
}

/// Where a binding starts, `weights` being the addresses of all weights; null for an empty buffer
/// without memory.
void *addressOf(const Call &call, const CompiledBinding &binding, int64_t offset,
                const std::vector<void *> &weights);

/// What memory is for: errors tell how much each takes.
enum class MemoryUse { Weights, Workspace, Tensors };

/// A context's own part of a device; used by one thread at a time. The defaults are those of a
/// device whose memory is the host's.
class Executor {
public:
  virtual ~Executor() = default;
  virtual uint32_t threads() const { return 1; }
  /// Whether tensors lie in the host's memory, so that their values can be checked.
  virtual bool isHost() const { return true; }
  /// Runs all dispatches, or enqueues them in the call's stream.
  virtual Status run(const Call &call) = 0;

  /// Memory aligned to 64 bytes. OUT_OF_MEMORY says how much there is.
  virtual Result<void *> allocate(size_t size, MemoryUse use);
  virtual void deallocate(void *memory, size_t size, MemoryUse use);
  /// Copies between the host and the device; done when they return.
  virtual Status upload(void *to, const void *from, size_t size);
  virtual Status download(void *to, const void *from, size_t size);
  /// Waits for what `stream` has been given.
  virtual Status synchronize(void *stream);
};

/// Code and weights of one target on one device, shared by a module's contexts there.
class DeviceCode {
public:
  explicit DeviceCode(CompiledTarget target) : target_(std::move(target)) {}
  virtual ~DeviceCode() = default;
  DeviceCode(const DeviceCode &) = delete;

  const CompiledTarget &target() const { return target_; }
  /// The executor does not outlive this.
  virtual Result<std::unique_ptr<Executor>> makeExecutor(const ContextOptions &options) = 0;

private:
  CompiledTarget target_;
};

} // namespace mohdrt

#endif // MOHD_SRC_DEVICE_DEVICE_H
