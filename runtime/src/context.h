// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A context: threads, workspace, and the evaluated plan of each entry point.
#ifndef MOHD_SRC_CONTEXT_H
#define MOHD_SRC_CONTEXT_H

#include "call.h"
#include "thread_pool.h"

namespace mohdrt {

/// An entry point's expressions evaluated for one set of dims, with every binding checked against
/// its buffer. Kept between runs: a decoding loop evaluates nothing. All arrays have their final
/// size from the start.
struct EntryPlan {
  bool valid = false;
  DimValues dims{};
  int64_t workspaceBytes = 0;
  std::vector<int64_t> inputBytes, outputBytes;
  std::vector<int64_t> outputShapes;               // [outputs, kMaxRank]
  std::vector<std::pair<int64_t, int64_t>> ranges; // [inputs], where they have one
  std::vector<int64_t> grids;                      // [dispatches]
  std::vector<int64_t> params, offsets;            // of all dispatches, one after the other
};

struct ContextOptions {
  uint32_t threads = 0;
  int32_t pinThreads = 0;
  std::optional<mohd_allocator_t> allocator;
};

/// Used by one thread at a time.
class Context {
public:
  static Result<Context *> create(Module &module, const ContextOptions &options);
  ~Context();

  const Module &module() const { return module_; }
  uint32_t threads() const { return threads_; }

  Result<int64_t> workspaceBytes(uint32_t entry, const TensorList &inputs);
  Status reserve(size_t size);
  Status run(uint32_t entry, const TensorList &inputs, const TensorList &outputs, void *workspace,
             size_t workspaceSize);

private:
  Context(Module &module, const ContextOptions &options, uint32_t threads);
  void sizePlan(size_t entry);
  /// Returns the plan for the inputs' dims.
  Result<EntryPlan *> planFor(uint32_t entry, const TensorList &inputs);
  Status evaluatePlan(const CompiledEntry &entry, const CompiledProgram &program, EntryPlan &plan,
                      const TensorList &inputs);
  Status evaluateDispatch(const CompiledDispatch &dispatch, const EntryPlan &plan, int64_t *grid,
                          int64_t *params, int64_t *offsets) const;
  Status evaluateBinding(const CompiledDispatch &dispatch, size_t index, const EntryPlan &plan,
                         int64_t *offset) const;
  Status checkTensors(const CompiledEntry &entry, const EntryPlan &plan, const TensorList &inputs,
                      const TensorList &outputs) const;
  void dispatchAll(const CompiledProgram &program, const EntryPlan &plan, const TensorList &inputs,
                   const TensorList &outputs, uint8_t *workspace);
  void *allocate(size_t size) const;
  void deallocate(void *memory, size_t size) const;

  Module &module_;
  std::optional<mohd_allocator_t> allocator_;
  uint32_t threads_;
  std::shared_ptr<ThreadPool> pool_;
  std::vector<EntryPlan> plans_; // one for each entry point
  void *workspace_ = nullptr;
  size_t workspaceSize_ = 0;
};

} // namespace mohdrt

#endif // MOHD_SRC_CONTEXT_H
