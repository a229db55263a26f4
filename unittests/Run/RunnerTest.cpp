// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs on devices with memory of their own: tensors are the host's, wherever kernels run.
#include "Runner.h"

#include "CudaHelpers.h"

#include <numeric>

using namespace mohdrt;
using namespace mohdrun;

namespace {

/// "scale" doubles x in place of an output of its own: y is the mutable input.
std::string bundleInPlace() {
  Manifest manifest = makeGpuManifest({makeGpuTarget("cuda", "sm_90a")});
  TensorSpec y = manifest.entryPoints[0].outputs[0];
  y.isMutable = true;
  manifest.entryPoints[0].inputs.push_back(y);
  manifest.entryPoints[0].outputs.clear();
  Dispatch &scale = manifest.targets[0].programs[0].dispatches[0];
  scale.bindings[2] = {Binding::Kind::Input, 1, "0", "T*4"};
  // y = factor * y, once more
  Dispatch again = scale;
  again.bindings[0] = scale.bindings[2];
  manifest.targets[0].programs[0].dispatches = {again};
  return bundleBytes(manifest, makeSegments(gpuCode()));
}

Tensor tensorOf(std::vector<float> values, std::vector<int64_t> shape) {
  Tensor tensor({DType::F32, std::move(shape)});
  std::copy(values.begin(), values.end(), tensor.as<float>());
  return tensor;
}

class RunnerOnCuda : public ::testing::Test {
protected:
  void SetUp() override { control = &useFakeCuda(); }
  fakecuda::Control *control = nullptr;
};

TEST_F(RunnerOnCuda, InputsAndOutputs) {
  Runner runner(cudaBundle({makeGpuTarget("cuda", "sm_90a")}), "bundle in memory", 1, "cuda");
  EXPECT_EQ(runner.describeContext(), "cuda:sm_90a, 1 thread");
  Entry entry = runner.entry("tiles");
  std::vector<float> values(160);
  std::iota(values.begin(), values.end(), 0);
  Tensor x = tensorOf(values, {10, 16}), y = tensorOf(std::vector<float>(160), {10, 16});
  for (float factor : {1.0f, 2.0f}) { // an input that changed is uploaded anew
    for (int i = 0; i < 160; ++i)
      x.as<float>()[i] = factor * values[size_t(i)];
    runner.run(entry, {x.view()}, {y.view()});
    for (int i = 0; i < 160; ++i)
      ASSERT_EQ(y.as<float>()[i], 3 * factor * values[size_t(i)]);
  }
}

TEST_F(RunnerOnCuda, InputsUpdatedInPlaceStayOnTheDevice) {
  Runner runner(bundleInPlace(), "bundle in memory", 1, "cuda:0");
  Entry entry = runner.entry("scale");
  Tensor x = tensorOf({1, 2}, {2}), y = tensorOf({3, 4}, {2});
  const std::vector<mohd_tensor_t> inputs = {x.view(), y.view()};
  runner.run(entry, inputs, {});
  EXPECT_EQ(y.as<float>()[0], 3) << "not yet";
  runner.run(entry, inputs, {});
  runner.fetch(inputs[1]);
  EXPECT_EQ(y.as<float>()[0], 12);
  EXPECT_EQ(y.as<float>()[1], 16);
  runner.fetch(inputs[1]);
  EXPECT_EQ(control->count("cuMemcpyDtoH 8"), 1u);
  Runner moved = std::move(runner); // as benchmarks do
  y.as<float>()[0] = 5;
  moved.run(entry, inputs, {});
  moved.fetch(inputs[1]);
  EXPECT_EQ(y.as<float>()[0], 10) << "what the host has changed since is uploaded";
}

TEST_F(RunnerOnCuda, FailuresAreExceptions) {
  Runner runner(cudaBundle({makeGpuTarget("cuda", "sm_90a")}), "bundle in memory", 1, "cuda");
  Entry entry = runner.entry("scale");
  Tensor x = tensorOf({1}, {1}), y = tensorOf({0}, {1});
  for (const char *name :
       {"cuMemAlloc", "cuMemcpyHtoD", "cuLaunchKernel", "cuStreamSynchronize", "cuMemcpyDtoH"}) {
    control->failures[name] = {0, 1};
    try {
      runner.run(entry, {x.view()}, {y.view()});
      ADD_FAILURE() << name;
    } catch (const mohdtool::Failure &failure) {
      EXPECT_EQ(failure.exitCode, 5) << name;
      EXPECT_EQ(failure.hint, "mohd-run --list-devices shows the devices of this machine");
    }
  }
  runner.run(entry, {x.view()}, {y.view()});
  EXPECT_EQ(y.as<float>()[0], 2);
}

TEST(RunnerOnEmulator, ErrorsOfKernels) {
  Manifest manifest = makeGpuManifest({makeGpuTarget("emulate", "sm_80")});
  manifest.targets[0].kernels[0].name = "gpu_overrun";
  Runner runner(bundleBytes(manifest, makeSegments(gpuCode())), "bundle in memory", 1, "emulate");
  Entry entry = runner.entry("scale");
  Tensor x = tensorOf({1}, {1}), y = tensorOf({0}, {1});
  try {
    runner.run(entry, {x.view()}, {y.view()});
    ADD_FAILURE();
  } catch (const mohdtool::Failure &failure) {
    EXPECT_EQ(failure.exitCode, 5);
    EXPECT_EQ(failure.hint.rfind("docs/emulator.md says how to read it", 0), 0u) << failure.hint;
  }
}

TEST_F(RunnerOnCuda, FetchOnTheHostIsNothing) {
  Runner runner(bundleBytes(makeManifest(), makeSegments(kernelCode())), "bundle in memory", 1);
  Entry entry = runner.entry("scale");
  Tensor x = tensorOf({1}, {1}), y = tensorOf({0}, {1});
  runner.run(entry, {x.view()}, {y.view()});
  runner.fetch(x.view());
  EXPECT_EQ(y.as<float>()[0], 2);
}

} // namespace
