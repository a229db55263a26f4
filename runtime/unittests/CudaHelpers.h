// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contexts on the fake CUDA driver, and tensors in its memory.
#ifndef MOHD_UNITTESTS_CUDAHELPERS_H
#define MOHD_UNITTESTS_CUDAHELPERS_H

#include "FakeCuda.h"
#include "GpuBundle.h"
#include "RuntimeHelpers.h"

#include <dlfcn.h>

namespace mohdrt {

/// Makes the fake driver in `path` the one that the runtime opens, and gives it its first state.
inline fakecuda::Control &useFakeCuda(const char *path = FAKE_CUDA_2) {
  ::setenv("MOHD_LIBCUDA", path, 1);
  void *library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  auto get = reinterpret_cast<fakecuda::GetControl>(::dlsym(library, "fakecuda_control"));
  fakecuda::Control &control = *get();
  control = fakecuda::Control();
  control.ptxObject = TEST_GPU_KERNELS;
  return control;
}

/// A float or int tensor in a context's memory.
template <typename T> class DeviceTensor {
public:
  DeviceTensor(mohd_context_t *context, mohd_dtype_t dtype, const std::vector<T> &values,
               int64_t columns = 0)
      : context_(context), size_(values.size()) {
    tensor = mohd_tensor_t();
    tensor.struct_size = sizeof(tensor);
    tensor.dtype = dtype;
    tensor.byte_size = size_ * sizeof(T);
    tensor.rank = columns ? 2 : 1;
    tensor.shape[0] = static_cast<int64_t>(size_) / (columns ? columns : 1);
    tensor.shape[1] = columns;
    EXPECT_EQ(mohd_context_allocate(context, tensor.byte_size, &tensor.data), MOHD_OK)
        << mohd_last_error();
    EXPECT_EQ(mohd_context_upload(context, tensor.data, values.data(), tensor.byte_size), MOHD_OK)
        << mohd_last_error();
  }
  ~DeviceTensor() { mohd_context_free(context_, tensor.data); }
  DeviceTensor(const DeviceTensor &) = delete;

  std::vector<T> values() const {
    std::vector<T> copy(size_);
    EXPECT_EQ(mohd_context_synchronize(context_, nullptr), MOHD_OK) << mohd_last_error();
    EXPECT_EQ(mohd_context_download(context_, copy.data(), tensor.data, tensor.byte_size), MOHD_OK)
        << mohd_last_error();
    return copy;
  }

  mohd_tensor_t tensor;

private:
  mohd_context_t *context_;
  size_t size_;
};

using DeviceFloats = DeviceTensor<float>;

/// A bundle whose cubins are the test kernels and whose PTX is `ptx`, in segment 2.
inline std::string cudaBundle(std::vector<Target> targets, std::string ptx = ".version 7.0\n") {
  std::vector<SegmentData> segments = makeSegments(gpuCode());
  segments.push_back(SegmentData::fromBytes("ptx", std::move(ptx)));
  for (Target &target : targets)
    if (target.code == "ptx")
      target.segment = 2;
  return bundleBytes(makeGpuManifest(std::move(targets)), segments);
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_CUDAHELPERS_H
