// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded bundle with a context to run it in: the C interface with ownership and exceptions.
#ifndef MOHD_TOOLS_MOHD_RUN_RUNNER_H
#define MOHD_TOOLS_MOHD_RUN_RUNNER_H

#include "DeviceTensors.h"
#include "Failure.h"
#include "Options.h"
#include "Tensor.h"

#include "mohd/format/bundle.h"
#include "mohd/runtime.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mohdrun {

/// An entry point; strings belong to the module.
struct Entry {
  uint32_t index = 0;
  std::string name;
  std::vector<mohd_tensor_info_t> inputs, outputs;
};

/// The number of the tensor called `name`, or -1.
int findTensor(const std::vector<mohd_tensor_info_t> &tensors, const std::string &name);

/// "i32 [T]", as the manifest has it.
std::string describe(const mohd_tensor_info_t &info);

/// A failure about the bundle in `path`, with advice.
mohdtool::Failure bundleFailure(mohdrt::StatusCode code, std::string message,
                                const std::string &path);

/// Every member throws a Failure when the runtime refuses.
class Runner {
public:
  explicit Runner(const Options &options);
  /// Of a bundle in memory; `name` is for messages.
  Runner(const std::string &bytes, const std::string &name, uint32_t threads,
         const std::string &device = "cpu");

  Entry entry(const std::string &name) const;
  /// The manifest, read anew.
  mohdrt::Manifest manifest() const;
  TensorType outputType(const Entry &entry, uint32_t output,
                        const std::vector<mohd_tensor_t> &inputs) const;
  /// Makes the context's workspace large enough for a run of `entry` with inputs of these shapes.
  void reserve(const Entry &entry, const std::vector<mohd_tensor_t> &inputs);
  /// What becomes of outputs on a device with memory of its own: the host's tensors get the values at once, or they are left where the next run finds them.
  enum class Outputs { Fetched, Stay };
  /// Tensors are the host's, wherever the context runs. Inputs updated in place, and outputs that stay, may be newer on the device until fetch().
  void run(const Entry &entry, const std::vector<mohd_tensor_t> &inputs,
           const std::vector<mohd_tensor_t> &outputs, Outputs become = Outputs::Fetched);
  /// Gives a tensor that is newer on the device its values.
  void fetch(const mohd_tensor_t &tensor);

  /// "cpu:x86-64-v3, 2 threads".
  std::string describeContext() const;

private:
  void check(mohd_status_t status) const;
  void createContext(const Options &options);
  void runOnDevice(const Entry &entry, const std::vector<mohd_tensor_t> &inputs,
                   const std::vector<mohd_tensor_t> &outputs, Outputs become);

  std::string path_;
  std::unique_ptr<mohd_module_t, void (*)(mohd_module_t *)> module_{nullptr, mohd_module_destroy};
  std::unique_ptr<mohd_context_t, void (*)(mohd_context_t *)> context_{nullptr,
                                                                       mohd_context_destroy};
  std::optional<DeviceTensors> tensors_; // if the device does not use the host's memory
};

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_RUNNER_H
