// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of the C interface, with its failures as exceptions.
#include "Runner.h"

#include "Failure.h"

#include "mohd/format/json.h"

#include <filesystem>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {

Failure bundleFailure(StatusCode code, std::string message, const std::string &path) {
  std::string hint;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    hint = "a model folder is compiled first: mohd-compile " + path + " -o model.mohdb";
  else if (code == StatusCode::NotFound && std::filesystem::exists(path, ignored))
    hint = "the bundle's weights are in a file of their own, which lies beside it: move both";
  else if (code == StatusCode::NotFound)
    hint = "mohd-compile MODEL -o FILE.mohdb makes a bundle";
  else if (code == StatusCode::Malformed)
    hint = "compile the model again, or get a fresh copy of the file";
  else if (code == StatusCode::Incompatible)
    hint = "compile the model again with this version for this machine: mohd-compile "
           "--target=cpu:native";
  else if (code == StatusCode::Device && message.rfind("the emulator", 0) == 0)
    hint = "docs/emulator.md says how to read it; MOHD_EMULATOR_SEED=N draws another schedule";
  else if (code == StatusCode::Device)
    hint = "mohd-run --list-devices shows the devices of this machine";
  return failure(code, std::move(message), path, std::move(hint));
}

int findTensor(const std::vector<mohd_tensor_info_t> &tensors, const std::string &name) {
  for (size_t i = 0; i < tensors.size(); ++i)
    if (name == tensors[i].name)
      return static_cast<int>(i);
  return -1;
}

std::string describe(const mohd_tensor_info_t &info) {
  std::string text = std::string(mohd_dtype_name(info.dtype)) + " [";
  for (uint32_t i = 0; i < info.rank; ++i)
    text += (i ? ", " : "") +
            (info.shape_text[i] ? std::string(info.shape_text[i]) : std::to_string(info.shape[i]));
  return text + "]";
}

void Runner::check(mohd_status_t status) const {
  if (status != MOHD_OK)
    throw bundleFailure(static_cast<StatusCode>(status), mohd_last_error(), path_);
}

Runner::Runner(const Options &options) : path_(options.bundle) {
  mohd_load_options_t load = {};
  load.struct_size = sizeof(load);
  load.flags = (options.mapWeights ? MOHD_LOAD_MMAP : 0) |
               (options.checkHashes ? 0 : MOHD_LOAD_SKIP_HASHES) |
               (options.device == "cpu" ? 0 : MOHD_LOAD_DEFER_CPU);
  mohd_module_t *module = nullptr;
  check(mohd_module_load_file(path_.c_str(), &load, &module));
  module_.reset(module);
  createContext(options);
}

Runner::Runner(const std::string &bytes, const std::string &name, uint32_t threads,
               const std::string &device)
    : path_(name) {
  mohd_module_t *module = nullptr;
  check(mohd_module_load_memory(bytes.data(), bytes.size(), nullptr, &module));
  module_.reset(module);
  Options options;
  options.device = device;
  options.threads = threads;
  createContext(options);
}

void Runner::createContext(const Options &options) {
  mohd_context_options_t create = {};
  create.struct_size = sizeof(create);
  create.device = options.device.c_str();
  create.threads = options.threads;
  create.pin_threads = options.pinThreads ? 1 : 0;
  create.flags = options.requireCubin ? MOHD_CONTEXT_REQUIRE_CUBIN : 0;
  mohd_context_t *context = nullptr;
  check(mohd_context_create(module_.get(), &create, &context));
  context_.reset(context);
  if (std::string_view(mohd_context_target(context)).substr(0, 5) == "cuda:")
    tensors_.emplace(context);
}

Entry Runner::entry(const std::string &name) const {
  Entry entry;
  entry.name = name;
  mohd_status_t found = mohd_module_find_entry(module_.get(), name.c_str(), &entry.index);
  if (found == MOHD_ERROR_NOT_FOUND) // a wrong --function, not a missing file
    throw failure(StatusCode::InvalidArgument, mohd_last_error(), path_,
                  "mohd-run --inspect FILE lists the entry points");
  check(found);
  mohd_entry_info_t info = {};
  info.struct_size = sizeof(info);
  check(mohd_entry_info(module_.get(), entry.index, &info));
  mohd_tensor_info_t tensor = {};
  tensor.struct_size = sizeof(tensor);
  for (uint32_t i = 0; i < info.input_count; ++i) {
    check(mohd_entry_input_info(module_.get(), entry.index, i, &tensor));
    entry.inputs.push_back(tensor);
  }
  for (uint32_t i = 0; i < info.output_count; ++i) {
    check(mohd_entry_output_info(module_.get(), entry.index, i, &tensor));
    entry.outputs.push_back(tensor);
  }
  return entry;
}

Manifest Runner::manifest() const {
  size_t length = 0;
  const char *text = mohd_module_manifest(module_.get(), &length);
  Result<JsonValue> json = parseJson(std::string_view(text, length));
  mohdtool::check(json.status(), path_);
  Result<Manifest> manifest = manifestFromJson(*json);
  mohdtool::check(manifest.status(), path_);
  return std::move(*manifest);
}

TensorType Runner::outputType(const Entry &entry, uint32_t output,
                              const std::vector<mohd_tensor_t> &inputs) const {
  uint32_t rank = 0;
  int64_t shape[MOHD_MAX_RANK] = {};
  check(mohd_entry_output_shape(module_.get(), entry.index, inputs.data(),
                                static_cast<uint32_t>(inputs.size()), output, &rank, shape));
  return {static_cast<DType>(entry.outputs[output].dtype), {shape, shape + rank}};
}

void Runner::reserve(const Entry &entry, const std::vector<mohd_tensor_t> &inputs) {
  size_t size = 0;
  check(mohd_context_workspace_size(context_.get(), entry.index, inputs.data(),
                                    static_cast<uint32_t>(inputs.size()), &size));
  check(mohd_context_reserve(context_.get(), size));
}

void Runner::run(const Entry &entry, const std::vector<mohd_tensor_t> &inputs,
                 const std::vector<mohd_tensor_t> &outputs, Outputs become) {
  if (tensors_)
    return runOnDevice(entry, inputs, outputs, become);
  check(mohd_run(context_.get(), entry.index, inputs.data(), static_cast<uint32_t>(inputs.size()),
                 outputs.data(), static_cast<uint32_t>(outputs.size()), nullptr));
}

void Runner::runOnDevice(const Entry &entry, const std::vector<mohd_tensor_t> &inputs,
                         const std::vector<mohd_tensor_t> &outputs, Outputs become) {
  std::vector<mohd_tensor_t> in(inputs.size()), out(outputs.size());
  for (size_t i = 0; i < in.size(); ++i)
    check(tensors_->place(inputs[i], /*uploads=*/true, in[i]));
  for (size_t i = 0; i < out.size(); ++i)
    check(tensors_->place(outputs[i], /*uploads=*/false, out[i]));
  check(mohd_run(context_.get(), entry.index, in.data(), static_cast<uint32_t>(in.size()),
                 out.data(), static_cast<uint32_t>(out.size()), nullptr));
  check(mohd_context_synchronize(context_.get(), nullptr));
  for (size_t i = 0; i < inputs.size(); ++i)
    if (entry.inputs[i].is_mutable)
      tensors_->markNewer(inputs[i]);
  for (const mohd_tensor_t &output : outputs) {
    tensors_->markNewer(output);
    if (become == Outputs::Fetched)
      check(tensors_->fetch(output));
  }
}

void Runner::fetch(const mohd_tensor_t &tensor) {
  if (tensors_)
    check(tensors_->fetch(tensor));
}

std::string Runner::describeContext() const {
  uint32_t threads = mohd_context_threads(context_.get());
  return std::string(mohd_context_target(context_.get())) + ", " + std::to_string(threads) +
         (threads == 1 ? " thread" : " threads");
}

} // namespace mohdrun
