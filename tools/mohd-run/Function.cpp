// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The command --function: any entry point with tensors from the command line.
#include "Commands.h"
#include "Compare.h"
#include "Failure.h"
#include "Npy.h"
#include "Runner.h"

using namespace mohdrt;
using namespace mohdtool;

namespace mohdrun {
namespace {

std::string listNames(const std::vector<mohd_tensor_info_t> &tensors) {
  std::string text;
  for (const mohd_tensor_info_t &tensor : tensors)
    text += (text.empty() ? "" : ", ") + std::string(tensor.name) + " " + describe(tensor);
  return text.empty() ? "none" : text;
}

/// The inputs in the entry point's order, each given exactly once.
std::vector<Tensor> readInputs(const Options &options, const Entry &entry) {
  std::vector<Tensor> tensors(entry.inputs.size());
  std::vector<bool> given(entry.inputs.size());
  for (const NamedValue &input : options.inputs) {
    int number = findTensor(entry.inputs, input.name);
    if (number < 0)
      throw usage("'" + entry.name + "' has no input '" + input.name + "'",
                  "its inputs are: " + listNames(entry.inputs));
    if (given[number])
      throw usage("input '" + input.name + "' is given twice");
    given[number] = true;
    tensors[number] =
        parseTensor(input.name, input.rest, static_cast<DType>(entry.inputs[number].dtype));
  }
  for (size_t i = 0; i < given.size(); ++i)
    if (!given[i])
      throw usage("input '" + std::string(entry.inputs[i].name) + "' of '" + entry.name +
                      "' is missing",
                  "its inputs are: " + listNames(entry.inputs));
  return tensors;
}

/// Tensors that a run leaves behind, by name: outputs, then inputs updated in place.
struct Results {
  const Entry &entry;
  std::vector<Tensor> &inputs, outputs;

  Tensor &find(const std::string &name) {
    if (int number = findTensor(entry.outputs, name); number >= 0)
      return outputs[number];
    int number = findTensor(entry.inputs, name);
    if (number >= 0 && entry.inputs[number].is_mutable)
      return inputs[number];
    throw usage("'" + entry.name + "' has no output and no mutable input '" + name + "'",
                "its outputs are: " + listNames(entry.outputs));
  }
};

void emitResults(const Options &options, Results &results) {
  auto print = [&](const std::string &name) {
    writeStdout(name + "=" + toString(results.find(name)) + "\n");
  };
  for (const NamedValue &output : options.outputs) {
    if (output.rest.empty())
      print(output.name);
    else
      writeNpy(output.rest.substr(1), results.find(output.name));
  }
  if (options.outputs.empty() && options.expectations.empty())
    for (const mohd_tensor_info_t &output : results.entry.outputs)
      print(output.name);
}

} // namespace

void runFunction(const Options &options) {
  Runner runner(options);
  Entry entry = runner.entry(options.function);
  std::vector<Tensor> inputs = readInputs(options, entry);
  std::vector<mohd_tensor_t> inputViews, outputViews;
  for (Tensor &input : inputs)
    inputViews.push_back(input.view());
  Results results{entry, inputs, {}};
  for (uint32_t i = 0; i < entry.outputs.size(); ++i)
    results.outputs.emplace_back(runner.outputType(entry, i, inputViews));
  for (Tensor &output : results.outputs)
    outputViews.push_back(output.view());
  // Mistakes in names and files come to light before the run.
  for (const NamedValue &output : options.outputs)
    results.find(output.name);
  std::vector<Tensor> expected;
  for (const NamedValue &expectation : options.expectations)
    expected.push_back(parseTensor(expectation.name, expectation.rest,
                                   results.find(expectation.name).type().dtype));

  runner.reserve(entry, inputViews);
  runner.run(entry, inputViews, outputViews);
  for (size_t i = 0; i < inputViews.size(); ++i)
    if (entry.inputs[i].is_mutable)
      runner.fetch(inputViews[i]);
  emitResults(options, results);
  for (size_t i = 0; i < expected.size(); ++i) {
    const NamedValue &expectation = options.expectations[i];
    std::optional<std::string> difference =
        findDifference(results.find(expectation.name), expected[i], options.atol, options.rtol);
    if (difference)
      throw Failure{1, "MISMATCH", *difference, "output '" + expectation.name + "'",
                    "--atol and --rtol set what may differ; --output writes the actual values"};
  }
}

} // namespace mohdrun
