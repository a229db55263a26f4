// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Handles that free themselves, aligned buffers and tensors, for tests of the C interface.
#ifndef MOHD_UNITTESTS_RUNTIMEHELPERS_H
#define MOHD_UNITTESTS_RUNTIMEHELPERS_H

#include "TestBundle.h"
#include "mohd/runtime.h"

#include <cstdlib>
#include <cstring>
#include <memory>

namespace mohdrt {

struct FreeHandle {
  void operator()(mohd_module_t *module) const { mohd_module_destroy(module); }
  void operator()(mohd_context_t *context) const { mohd_context_destroy(context); }
  void operator()(void *memory) const { std::free(memory); }
};
using ModuleHandle = std::unique_ptr<mohd_module_t, FreeHandle>;
using ContextHandle = std::unique_ptr<mohd_context_t, FreeHandle>;

/// A tensor that owns its elements, aligned to 64 bytes.
template <typename T> class TestTensor {
public:
  TestTensor(mohd_dtype_t dtype, std::vector<T> values) : size_(values.size()) {
    const size_t bytes = (size_ * sizeof(T) + 64) / 64 * 64;
    memory_.reset(std::aligned_alloc(64, bytes));
    if (size_ != 0)
      std::memcpy(memory_.get(), values.data(), size_ * sizeof(T));
    tensor = mohd_tensor_t();
    tensor.struct_size = sizeof(tensor);
    tensor.data = memory_.get();
    tensor.dtype = dtype;
    tensor.rank = 1;
    tensor.shape[0] = static_cast<int64_t>(size_);
    tensor.byte_size = size_ * sizeof(T);
  }
  std::vector<T> values() const {
    const T *data = static_cast<const T *>(memory_.get());
    return std::vector<T>(data, data + size_);
  }

  mohd_tensor_t tensor;

private:
  size_t size_;
  std::unique_ptr<void, FreeHandle> memory_;
};

inline TestTensor<float> floats(std::vector<float> values) {
  return TestTensor<float>(MOHD_DTYPE_F32, std::move(values));
}
inline TestTensor<int32_t> ints(std::vector<int32_t> values) {
  return TestTensor<int32_t>(MOHD_DTYPE_I32, std::move(values));
}

inline std::string kernelCode(int variant = 1) {
  return readAll(variant == 1 ? TEST_KERNELS_1 : TEST_KERNELS_2);
}

inline std::string gpuCode() { return readAll(TEST_GPU_KERNELS); }

/// A bundle of makeManifest() with real code.
inline std::string runnableBundle(int variant = 1, float factor = 2.0f) {
  return bundleBytes(makeManifest(), makeSegments(kernelCode(variant), factor));
}

inline mohd_status_t loadBytes(const std::string &bytes, ModuleHandle *module, uint32_t flags = 0,
                               const char *directory = nullptr) {
  mohd_load_options_t options = {sizeof(options), flags, directory};
  mohd_module_t *raw = nullptr;
  const mohd_status_t status = mohd_module_load_memory(bytes.data(), bytes.size(), &options, &raw);
  EXPECT_EQ(raw != nullptr, status == MOHD_OK);
  module->reset(raw);
  return status;
}

inline ModuleHandle loadOrFail(const std::string &bytes, uint32_t flags = 0) {
  ModuleHandle module;
  EXPECT_EQ(loadBytes(bytes, &module, flags), MOHD_OK) << mohd_last_error();
  return module;
}

inline ContextHandle contextOrFail(mohd_module_t *module, uint32_t threads = 2,
                                   const char *device = "cpu") {
  mohd_context_options_t options = {sizeof(options), device, threads, nullptr, 0, 0};
  mohd_context_t *context = nullptr;
  EXPECT_EQ(mohd_context_create(module, &options, &context), MOHD_OK) << mohd_last_error();
  return ContextHandle(context);
}

/// Runs "scale" (entry 0) on `x`.
inline std::vector<float> runScale(mohd_context_t *context, std::vector<float> x) {
  TestTensor<float> input = floats(x), output = floats(std::vector<float>(x.size(), -1));
  EXPECT_EQ(mohd_run(context, 0, &input.tensor, 1, &output.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
  return output.values();
}

/// Runs "pick" (entry 1): y[r] = x[rows[r]]^2.
inline std::vector<float> runPick(mohd_context_t *context, std::vector<float> x,
                                  std::vector<int32_t> rows) {
  TestTensor<float> values = floats(x), output = floats(std::vector<float>(rows.size(), -1));
  TestTensor<int32_t> indices = ints(rows);
  const mohd_tensor_t inputs[] = {values.tensor, indices.tensor};
  size_t size = 0;
  EXPECT_EQ(mohd_context_workspace_size(context, 1, inputs, 2, &size), MOHD_OK);
  EXPECT_EQ(mohd_context_reserve(context, size), MOHD_OK) << mohd_last_error();
  EXPECT_EQ(mohd_run(context, 1, inputs, 2, &output.tensor, 1, nullptr), MOHD_OK)
      << mohd_last_error();
  return output.values();
}

/// Whether the last error of this thread has `part`.
inline ::testing::AssertionResult lastErrorHas(const std::string &part) {
  const std::string message = mohd_last_error();
  if (message.find(part) != std::string::npos)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "message: " << message << "\nwithout: " << part;
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_RUNTIMEHELPERS_H
