// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running an entry point: bind dims, evaluate and check (only when the dims changed), check the
// call's tensors, then dispatch.
#include "context.h"

#include "cpu_count.h"
#include "errors.h"
#include "float_environment.h"

#include <algorithm>
#include <cstdlib>

namespace mohdrt {
namespace {

std::string dispatchName(const CompiledDispatch &dispatch, const char *what) {
  return std::string(what) + " of kernel '" + dispatch.kernel->name + "'";
}

} // namespace

Result<Context *> Context::create(Module &module, const ContextOptions &options) {
  MOHDRT_TRY(module.cpuStatus());
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
  auto *context = new Context(module, options, *threads);
  if (*pins)
    context->pool_->pinWorkers(std::move(*cpus));
  return context;
}

Context::Context(Module &module, const ContextOptions &options, uint32_t threads)
    : module_(module), allocator_(options.allocator), threads_(threads),
      pool_(ThreadPool::acquire(threads)), plans_(module.entries().size()) {
  for (size_t entry = 0; entry < plans_.size(); ++entry)
    sizePlan(entry);
  module_.retain(); // last: nothing after it throws
}

Context::~Context() {
  if (workspace_)
    deallocate(workspace_, workspaceSize_);
  module_.release();
}

void Context::sizePlan(size_t index) {
  const CompiledProgram *program = module_.program(index);
  if (!program)
    return;
  const CompiledEntry &entry = module_.entries()[index];
  EntryPlan &plan = plans_[index];
  plan.inputBytes.resize(entry.inputs.size());
  plan.ranges.resize(entry.inputs.size());
  plan.outputBytes.resize(entry.outputs.size());
  plan.outputShapes.resize(entry.outputs.size() * kMaxRank);
  plan.grids.resize(program->dispatches.size());
  size_t params = 0, bindings = 0;
  for (const CompiledDispatch &dispatch : program->dispatches) {
    params += dispatch.params.size();
    bindings += dispatch.bindings.size();
  }
  plan.params.resize(params);
  plan.offsets.resize(bindings);
}

void *Context::allocate(size_t size) const {
  if (allocator_)
    return allocator_->allocate(allocator_->user, size, kBufferAlign);
  void *memory = nullptr;
  return ::posix_memalign(&memory, kBufferAlign, size) == 0 ? memory : nullptr;
}

void Context::deallocate(void *memory, size_t size) const {
  if (allocator_)
    allocator_->deallocate(allocator_->user, memory, size, kBufferAlign);
  else
    std::free(memory);
}

Status Context::reserve(size_t size) {
  if (size <= workspaceSize_)
    return Status();
  void *memory = allocate(size);
  if (!memory)
    return Status(StatusCode::OutOfMemory, "cannot allocate " + std::to_string(size) +
                                               " bytes of workspace (" +
                                               std::to_string(workspaceSize_) + " are reserved)");
  if (reinterpret_cast<uintptr_t>(memory) % kBufferAlign != 0) {
    deallocate(memory, size);
    return invalidArgument("the allocator returned memory that is not aligned to 64 bytes");
  }
  if (workspace_)
    deallocate(workspace_, workspaceSize_);
  workspace_ = memory;
  workspaceSize_ = size;
  return Status();
}

Status Context::evaluateBinding(const CompiledDispatch &dispatch, size_t index,
                                const EntryPlan &plan, int64_t *offset) const {
  const CompiledBinding &binding = dispatch.bindings[index];
  int64_t size = 0;
  MOHDRT_TRY(evaluate(binding.offset, plan.dims, "a binding's offset", offset));
  MOHDRT_TRY(evaluate(binding.size, plan.dims, "a binding's size", &size));
  int64_t available = plan.workspaceBytes;
  if (binding.kind == Binding::Kind::Input)
    available = plan.inputBytes[binding.index];
  else if (binding.kind == Binding::Kind::Output)
    available = plan.outputBytes[binding.index];
  else if (binding.kind == Binding::Kind::Weight)
    available = module_.manifest().weights[binding.index].size;
  if (*offset > available || size > available - *offset || *offset % binding.offsetAlign != 0)
    return Status(StatusCode::Malformed,
                  dispatchName(dispatch, "binding ") + " " + std::to_string(index) + ": bytes [" +
                      std::to_string(*offset) + ", +" + std::to_string(size) +
                      ") do not fit its buffer of " + std::to_string(available) +
                      " bytes at multiples of " + std::to_string(binding.offsetAlign));
  return Status();
}

Status Context::evaluateDispatch(const CompiledDispatch &dispatch, const EntryPlan &plan,
                                 int64_t *grid, int64_t *params, int64_t *offsets) const {
  MOHDRT_TRY(evaluate(dispatch.grid, plan.dims, "a grid", grid));
  if (*grid > ThreadPool::kMaxGrid)
    return Status(StatusCode::Malformed,
                  dispatchName(dispatch, "grid") + ": " + std::to_string(*grid) +
                      " tasks, at most " + std::to_string(ThreadPool::kMaxGrid) + " are possible");
  for (size_t i = 0; i < dispatch.params.size(); ++i)
    MOHDRT_TRY(evaluate(dispatch.params[i], plan.dims, "a param", &params[i]));
  for (size_t i = 0; i < dispatch.bindings.size(); ++i)
    MOHDRT_TRY(evaluateBinding(dispatch, i, plan, &offsets[i]));
  return Status();
}

Status Context::evaluatePlan(const CompiledEntry &entry, const CompiledProgram &program,
                             EntryPlan &plan, const TensorList &inputs) {
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    const CompiledTensor &input = entry.inputs[i];
    plan.inputBytes[i] = *tensorBytes(input.spec->dtype, inputs[i].shape, inputs[i].rank);
    if (input.range) {
      MOHDRT_TRY(evaluate(input.range->first, plan.dims, "a range", &plan.ranges[i].first));
      MOHDRT_TRY(evaluate(input.range->second, plan.dims, "a range", &plan.ranges[i].second));
    }
  }
  for (size_t i = 0; i < entry.outputs.size(); ++i) {
    Result<int64_t> bytes =
        outputShape(entry.outputs[i], plan.dims, &plan.outputShapes[i * kMaxRank]);
    if (!bytes.ok())
      return bytes.status();
    plan.outputBytes[i] = *bytes;
  }
  MOHDRT_TRY(evaluate(program.workspace, plan.dims, "the workspace", &plan.workspaceBytes));
  int64_t *params = plan.params.data(), *offsets = plan.offsets.data();
  for (size_t i = 0; i < program.dispatches.size(); ++i) {
    const CompiledDispatch &dispatch = program.dispatches[i];
    MOHDRT_TRY(evaluateDispatch(dispatch, plan, &plan.grids[i], params, offsets));
    params += dispatch.params.size();
    offsets += dispatch.bindings.size();
  }
  return Status();
}

Result<EntryPlan *> Context::planFor(uint32_t index, const TensorList &inputs) {
  if (index >= module_.entries().size())
    return invalidArgument("entry point " + std::to_string(index) + " of " +
                           std::to_string(module_.entries().size()));
  const CompiledEntry &entry = module_.entries()[index];
  const CompiledProgram *program = module_.program(index);
  if (!program)
    return Status(StatusCode::Unsupported, "target " + module_.cpuTarget() +
                                               " has no program for the entry point '" +
                                               entry.spec->name + "'");
  EntryPlan &plan = plans_[index];
  DimValues dims;
  MOHDRT_TRY(bindDims(entry, inputs, &dims));
  const size_t numDims = entry.spec->dims.size();
  if (plan.valid && std::equal(dims.values, dims.values + numDims, plan.dims.values))
    return &plan;
  plan.valid = false;
  std::copy_n(dims.values, numDims, plan.dims.values);
  MOHDRT_TRY(evaluatePlan(entry, *program, plan, inputs));
  plan.valid = true;
  return &plan;
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
    if (entry.inputs[i].range)
      MOHDRT_TRY(checkRange(*entry.inputs[i].spec, inputs[i], plan.ranges[i].first,
                            plan.ranges[i].second));
  return Status();
}

Status Context::run(uint32_t index, const TensorList &inputs, const TensorList &outputs,
                    void *workspace, size_t workspaceSize) {
  Result<EntryPlan *> plan = planFor(index, inputs);
  if (!plan.ok())
    return plan.status();
  MOHDRT_TRY(checkTensors(module_.entries()[index], **plan, inputs, outputs));
  if (!workspace) {
    workspace = workspace_;
    workspaceSize = workspaceSize_;
  }
  if (workspaceSize < static_cast<uint64_t>((*plan)->workspaceBytes))
    return invalidArgument("this call needs " + std::to_string((*plan)->workspaceBytes) +
                           " bytes of workspace, " + std::to_string(workspaceSize) +
                           " are there (see mohd_context_reserve)");
  if (reinterpret_cast<uintptr_t>(workspace) % kBufferAlign != 0)
    return invalidArgument("the workspace must be aligned to 64 bytes");
  dispatchAll(*module_.program(index), **plan, inputs, outputs, static_cast<uint8_t *>(workspace));
  return Status();
}

void Context::dispatchAll(const CompiledProgram &program, const EntryPlan &plan,
                          const TensorList &inputs, const TensorList &outputs, uint8_t *workspace) {
  DefaultFloatEnvironment environment; // as workers have it
  ThreadPool::Lease lease(*pool_, threads_);
  const int64_t *params = plan.params.data(), *offsets = plan.offsets.data();
  for (size_t i = 0; i < program.dispatches.size(); ++i) {
    const CompiledDispatch &dispatch = program.dispatches[i];
    void *bindings[kMaxBindings];
    for (size_t b = 0; b < dispatch.bindings.size(); ++b) {
      const CompiledBinding &binding = dispatch.bindings[b];
      void *base = workspace;
      if (binding.kind == Binding::Kind::Input)
        base = inputs[binding.index].data;
      else if (binding.kind == Binding::Kind::Output)
        base = outputs[binding.index].data;
      else if (binding.kind == Binding::Kind::Weight)
        base = module_.weight(binding.index);
      bindings[b] = base ? static_cast<uint8_t *>(base) + offsets[b] : nullptr;
    }
    lease.run({dispatch.function, bindings, params, plan.grids[i]});
    params += dispatch.params.size();
    offsets += dispatch.bindings.size();
  }
}

} // namespace mohdrt
