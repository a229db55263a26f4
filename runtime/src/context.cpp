// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running an entry point: bind dims, evaluate and check (only when the dims changed), check the
// call's tensors, then hand it to the device.
#include "context.h"

#include "errors.h"

namespace mohdrt {

Result<Context *> Context::create(Module &module, const ContextOptions &options) {
  Result<std::shared_ptr<DeviceCode>> code = module.deviceCode(options);
  if (!code.ok())
    return code.status();
  Result<std::unique_ptr<Executor>> executor = (*code)->makeExecutor(options);
  if (!executor.ok())
    return executor.status();
  return new Context(module, std::move(*code), std::move(*executor), options);
}

Context::Context(Module &module, std::shared_ptr<DeviceCode> code,
                 std::unique_ptr<Executor> executor, const ContextOptions &options)
    : module_(module), code_(std::move(code)), executor_(std::move(executor)),
      allocator_(options.allocator), plans_(module.entries().size()) {
  for (size_t entry = 0; entry < plans_.size(); ++entry)
    if (const CompiledProgram *program = code_->target().program(entry))
      plans_[entry].resize(module.manifest(), module.entries()[entry], *program);
  module_.retain(); // last: nothing after it throws
}

Context::~Context() {
  if (workspace_)
    deallocate(workspace_, workspaceSize_);
  for (auto [memory, size] : tensors_)
    executor_->deallocate(memory, size, MemoryUse::Tensors);
  executor_.reset();
  code_.reset(); // before the module, whose manifest it uses
  module_.release();
}

Result<void *> Context::allocate(size_t size) const {
  if (!allocator_)
    return executor_->allocate(size, MemoryUse::Workspace);
  if (void *memory = allocator_->allocate(allocator_->user, size, kBufferAlign))
    return memory;
  return Status(StatusCode::OutOfMemory,
                "cannot allocate " + std::to_string(size) + " bytes with the caller's allocator");
}

void Context::deallocate(void *memory, size_t size) const {
  if (allocator_)
    allocator_->deallocate(allocator_->user, memory, size, kBufferAlign);
  else
    executor_->deallocate(memory, size, MemoryUse::Workspace);
}

Status Context::reserve(size_t size) {
  if (size <= workspaceSize_)
    return Status();
  Result<void *> memory = allocate(size);
  if (!memory.ok())
    return Status(memory.status().code(), "workspace (" + std::to_string(workspaceSize_) +
                                              " bytes are reserved): " + memory.status().message());
  if (reinterpret_cast<uintptr_t>(*memory) % kBufferAlign != 0) {
    deallocate(*memory, size);
    return invalidArgument("the allocator returned memory that is not aligned to 64 bytes");
  }
  if (workspace_)
    deallocate(workspace_, workspaceSize_);
  workspace_ = *memory;
  workspaceSize_ = size;
  return Status();
}

Result<EntryPlan *> Context::planFor(uint32_t index, const TensorList &inputs) {
  if (index >= plans_.size())
    return invalidArgument("entry point " + std::to_string(index) + " of " +
                           std::to_string(plans_.size()));
  if (!code_->target().program(index))
    return Status(StatusCode::Unsupported, "target " + target() +
                                               " has no program for the entry point '" +
                                               module_.entries()[index].spec->name + "'");
  MOHDRT_TRY(plans_[index].update(inputs));
  return &plans_[index];
}

Result<int64_t> Context::workspaceBytes(uint32_t entry, const TensorList &inputs) {
  Result<EntryPlan *> plan = planFor(entry, inputs);
  if (!plan.ok())
    return plan.status();
  return (*plan)->workspaceBytes;
}

Status Context::checkTensors(const CompiledEntry &entry, const EntryPlan &plan,
                             const TensorList &inputs, const TensorList &outputs) const {
  MOHDRT_TRY(outputs.check("outputs", entry.outputs.size()));
  for (size_t i = 0; i < entry.inputs.size(); ++i)
    MOHDRT_TRY(checkBuffer("input", *entry.inputs[i].spec, inputs[i]));
  for (size_t i = 0; i < entry.outputs.size(); ++i)
    MOHDRT_TRY(checkOutput(entry.outputs[i], outputs[i], &plan.outputShapes[i * kMaxRank]));
  MOHDRT_TRY(checkOverlap(entry, inputs, outputs));
  for (size_t i = 0; i < entry.inputs.size(); ++i)
    if (entry.inputs[i].range && executor_->isHost())
      MOHDRT_TRY(checkRange(*entry.inputs[i].spec, inputs[i], plan.ranges[i].first,
                            plan.ranges[i].second));
  return Status();
}

Status Context::run(uint32_t index, const TensorList &inputs, const TensorList &outputs,
                    const RunOptions &options) {
  Result<EntryPlan *> plan = planFor(index, inputs);
  if (!plan.ok())
    return plan.status();
  MOHDRT_TRY(checkTensors(module_.entries()[index], **plan, inputs, outputs));
  void *workspace = options.workspace ? options.workspace : workspace_;
  const size_t workspaceSize = options.workspace ? options.workspaceSize : workspaceSize_;
  if (workspaceSize < static_cast<uint64_t>((*plan)->workspaceBytes))
    return invalidArgument("this call needs " + std::to_string((*plan)->workspaceBytes) +
                           " bytes of workspace, " + std::to_string(workspaceSize) +
                           " are there (see mohd_context_reserve)");
  if (reinterpret_cast<uintptr_t>(workspace) % kBufferAlign != 0)
    return invalidArgument("the workspace must be aligned to 64 bytes");
  if (options.stream && executor_->isHost())
    return invalidArgument("target " + target() + " has no streams");
  return executor_->run({index, *code_->target().program(index), **plan, inputs, outputs,
                         static_cast<uint8_t *>(workspace), options.stream});
}

Result<void *> Context::allocateTensor(size_t size) {
  if (size == 0)
    return static_cast<void *>(nullptr);
  Result<void *> memory = executor_->allocate(size, MemoryUse::Tensors);
  if (memory.ok())
    tensors_[*memory] = size;
  return memory;
}

Status Context::freeTensor(void *memory) {
  const auto known = tensors_.find(memory);
  if (known == tensors_.end())
    return invalidArgument("expected memory from mohd_context_allocate of this context");
  executor_->deallocate(memory, known->second, MemoryUse::Tensors);
  tensors_.erase(known);
  return Status();
}

} // namespace mohdrt
