// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A context: a device, workspace and tensors there, and the evaluated plan of each entry point.
#ifndef MOHD_SRC_CONTEXT_H
#define MOHD_SRC_CONTEXT_H

#include "module.h"

#include <atomic>
#include <unordered_map>

namespace mohdrt {

struct RunOptions {
  void *workspace = nullptr; // null: the context's own
  size_t workspaceSize = 0;  // bytes
  void *stream = nullptr;
};

/// Used by one thread at a time.
class Context {
public:
  static Result<Context *> create(Module &module, const ContextOptions &options);
  ~Context();
  Context(const Context &) = delete;

  const std::string &target() const { return code_->target().name; }
  uint32_t threads() const { return executor_->threads(); }

  Result<int64_t> workspaceBytes(uint32_t entry, const TensorList &inputs);
  Status reserve(size_t size);
  Status run(uint32_t entry, const TensorList &inputs, const TensorList &outputs,
             const RunOptions &options);

  /// Memory on the device, given back at the latest with the context. Null for size 0.
  Result<void *> allocateTensor(size_t size);
  /// INVALID_ARGUMENT for memory that allocateTensor() did not give.
  Status freeTensor(void *memory);
  Executor &executor() { return *executor_; }

  /// A call's claim to the context; `isGranted` is false while another call has one.
  class Claim {
  public:
    explicit Claim(Context &context)
        : isGranted(!context.inUse_.exchange(true, std::memory_order_acquire)), context_(context) {}
    ~Claim() {
      if (isGranted)
        context_.inUse_.store(false, std::memory_order_release);
    }
    Claim(const Claim &) = delete;
    const bool isGranted;

  private:
    Context &context_;
  };

private:
  Context(Module &module, std::shared_ptr<DeviceCode> code, std::unique_ptr<Executor> executor,
          const ContextOptions &options);
  /// Returns the plan for the inputs' dims.
  Result<EntryPlan *> planFor(uint32_t entry, const TensorList &inputs);
  Status checkTensors(const CompiledEntry &entry, const EntryPlan &plan, const TensorList &inputs,
                      const TensorList &outputs) const;
  Result<void *> allocate(size_t size) const;
  void deallocate(void *memory, size_t size) const;

  Module &module_;
  std::shared_ptr<DeviceCode> code_;
  std::unique_ptr<Executor> executor_;
  std::optional<mohd_allocator_t> allocator_;
  std::vector<EntryPlan> plans_; // one for each entry point
  void *workspace_ = nullptr;
  size_t workspaceSize_ = 0;
  std::unordered_map<void *, size_t> tensors_; // bytes of each
  std::atomic<bool> inUse_{false};
};

} // namespace mohdrt

#endif // MOHD_SRC_CONTEXT_H
