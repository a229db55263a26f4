// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Evaluation of a plan. What cannot be known before the dims are is checked here.
#include "plan.h"

#include "thread_pool.h"

#include <algorithm>

namespace mohdrt {
namespace {

constexpr int64_t kMaxBlocks = INT32_MAX;        // of a GPU's grid
constexpr int64_t kMapAlign = 16;                // bytes: of addresses and strides
constexpr int64_t kMaxStride = int64_t(1) << 40; // bytes, exclusive

std::string nameOf(const CompiledDispatch &dispatch, const std::string &what) {
  return what + " of kernel '" + dispatch.kernel->name + "'";
}

/// The bytes from a tensor's first to its last element. Extents are at least 1.
std::optional<int64_t> bytesOf(const MapPlan &plan, const TensorMap &map) {
  int64_t bytes = plan.extents[0] * dtypeSize(map.dtype);
  for (size_t i = 1; i < map.extents.size(); ++i) {
    int64_t more = 0;
    if (__builtin_mul_overflow(plan.extents[i] - 1, plan.strides[i - 1], &more) ||
        __builtin_add_overflow(bytes, more, &bytes))
      return std::nullopt;
  }
  return bytes;
}

} // namespace

void EntryPlan::resize(const Manifest &manifest, const CompiledEntry &entry,
                       const CompiledProgram &program) {
  manifest_ = &manifest, entry_ = &entry, program_ = &program;
  inputBytes.resize(entry.inputs.size());
  ranges.resize(entry.inputs.size());
  outputBytes.resize(entry.outputs.size());
  outputShapes.resize(entry.outputs.size() * kMaxRank);
  grids.resize(program.dispatches.size());
  size_t numParams = 0, numBindings = 0, numMaps = 0;
  for (const CompiledDispatch &dispatch : program.dispatches) {
    numParams += dispatch.params.size();
    numBindings += dispatch.bindings.size();
    numMaps += dispatch.maps.size();
  }
  params.resize(numParams);
  offsets.resize(numBindings);
  sizes.resize(numBindings);
  maps.resize(numMaps);
}

Status EntryPlan::update(const TensorList &inputs) {
  DimValues dims;
  MOHDRT_TRY(bindDims(*entry_, inputs, &dims));
  const size_t numDims = entry_->spec->dims.size();
  if (valid_ && std::equal(dims.values, dims.values + numDims, dims_.values))
    return Status();
  valid_ = false;
  std::copy_n(dims.values, numDims, dims_.values);
  MOHDRT_TRY(evaluateAll(inputs));
  valid_ = true;
  return Status();
}

Status EntryPlan::evaluateAll(const TensorList &inputs) {
  for (size_t i = 0; i < entry_->inputs.size(); ++i) {
    const CompiledTensor &input = entry_->inputs[i];
    inputBytes[i] = *tensorBytes(input.spec->dtype, inputs[i].shape, inputs[i].rank);
    if (input.range) {
      MOHDRT_TRY(evaluate(input.range->first, dims_, "a range", &ranges[i].first));
      MOHDRT_TRY(evaluate(input.range->second, dims_, "a range", &ranges[i].second));
    }
  }
  for (size_t i = 0; i < entry_->outputs.size(); ++i) {
    Result<int64_t> bytes = outputShape(entry_->outputs[i], dims_, &outputShapes[i * kMaxRank]);
    if (!bytes.ok())
      return bytes.status();
    outputBytes[i] = *bytes;
  }
  MOHDRT_TRY(evaluate(program_->workspace, dims_, "the workspace", &workspaceBytes));
  size_t param = 0, binding = 0, map = 0;
  for (size_t i = 0; i < program_->dispatches.size(); ++i) {
    const CompiledDispatch &dispatch = program_->dispatches[i];
    MOHDRT_TRY(evaluateDispatch(dispatch, &grids[i], params.data() + param,
                                offsets.data() + binding, sizes.data() + binding,
                                maps.data() + map));
    param += dispatch.params.size();
    binding += dispatch.bindings.size();
    map += dispatch.maps.size();
  }
  return Status();
}

Status EntryPlan::evaluateDispatch(const CompiledDispatch &dispatch, int64_t *grid, int64_t *params,
                                   int64_t *offsets, int64_t *sizes, MapPlan *maps) const {
  MOHDRT_TRY(evaluate(dispatch.grid, dims_, "a grid", grid));
  const bool isGpu = dispatch.kernel->threads > 0;
  const int64_t most = isGpu ? kMaxBlocks : ThreadPool::kMaxGrid;
  if (*grid > most)
    return Status(StatusCode::Malformed, nameOf(dispatch, "grid") + ": " + std::to_string(*grid) +
                                             (isGpu ? " blocks" : " tasks") + ", at most " +
                                             std::to_string(most) + " are possible");
  for (size_t i = 0; i < dispatch.params.size(); ++i)
    MOHDRT_TRY(evaluate(dispatch.params[i], dims_, "a param", &params[i]));
  for (size_t i = 0; i < dispatch.bindings.size(); ++i)
    MOHDRT_TRY(evaluateBinding(dispatch, i, &offsets[i], &sizes[i]));
  if (*grid == 0) // nothing is launched: a map may be of an empty tensor
    return Status();
  for (size_t i = 0; i < dispatch.maps.size(); ++i) {
    const int64_t binding = dispatch.maps[i].spec->binding;
    MOHDRT_TRY(evaluateMap(dispatch, i, offsets[binding], sizes[binding], &maps[i]));
  }
  return Status();
}

Status EntryPlan::evaluateBinding(const CompiledDispatch &dispatch, size_t index, int64_t *offset,
                                  int64_t *size) const {
  const CompiledBinding &binding = dispatch.bindings[index];
  MOHDRT_TRY(evaluate(binding.offset, dims_, "a binding's offset", offset));
  MOHDRT_TRY(evaluate(binding.size, dims_, "a binding's size", size));
  int64_t available = workspaceBytes;
  if (binding.kind == Binding::Kind::Input)
    available = inputBytes[binding.index];
  else if (binding.kind == Binding::Kind::Output)
    available = outputBytes[binding.index];
  else if (binding.kind == Binding::Kind::Weight)
    available = manifest_->weights[binding.index].size;
  if (*offset > available || *size > available - *offset || *offset % binding.offsetAlign != 0)
    return Status(StatusCode::Malformed, nameOf(dispatch, "binding " + std::to_string(index)) +
                                             ": bytes [" + std::to_string(*offset) + ", +" +
                                             std::to_string(*size) + ") do not fit its buffer of " +
                                             std::to_string(available) + " bytes at multiples of " +
                                             std::to_string(binding.offsetAlign));
  return Status();
}

Status EntryPlan::evaluateMap(const CompiledDispatch &dispatch, size_t index, int64_t offset,
                              int64_t size, MapPlan *plan) const {
  const CompiledMap &map = dispatch.maps[index];
  const auto malformed = [&](const std::string &message) {
    return Status(StatusCode::Malformed,
                  nameOf(dispatch, "map " + std::to_string(index)) + ": " + message);
  };
  for (size_t i = 0; i < map.extents.size(); ++i) {
    MOHDRT_TRY(evaluate(map.extents[i], dims_, "a map's extent", &plan->extents[i]));
    if (plan->extents[i] < 1 || plan->extents[i] > UINT32_MAX)
      return malformed("expects extents of 1 to 4294967295, got " +
                       std::to_string(plan->extents[i]) + " in dimension " + std::to_string(i));
  }
  for (size_t i = 0; i < map.strides.size(); ++i) {
    MOHDRT_TRY(evaluate(map.strides[i], dims_, "a map's stride", &plan->strides[i]));
    if (plan->strides[i] < 1 || plan->strides[i] >= kMaxStride || plan->strides[i] % kMapAlign != 0)
      return malformed("expects strides that are multiples of 16 bytes, up to 2^40, got " +
                       std::to_string(plan->strides[i]) + " in dimension " + std::to_string(i + 1));
  }
  if (offset % kMapAlign != 0)
    return malformed("expects a binding at a multiple of 16 bytes, got offset " +
                     std::to_string(offset));
  const std::optional<int64_t> bytes = bytesOf(*plan, *map.spec);
  if (!bytes || *bytes > size)
    return malformed("expects a tensor within the " + std::to_string(size) +
                     " bytes of its binding, got " + (bytes ? std::to_string(*bytes) : "2^63") +
                     " bytes");
  return Status();
}

} // namespace mohdrt
