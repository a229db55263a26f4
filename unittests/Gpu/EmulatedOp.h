// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernels of one op, compiled for the emulator and run on tensors of the host.
//
//   EmulatedOp op("sm_90a", "func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> { ... }", emit);
//   HostTensor x(DType::F32, {5, 64}), y(DType::F32, {5, 64});
//   EXPECT_EQ(op.run({{"T", 5}}, {&x, &y}), "");
#ifndef MOHD_UNITTESTS_GPU_EMULATEDOP_H
#define MOHD_UNITTESTS_GPU_EMULATEDOP_H

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"
#include "mohd/format/dtype.h"

#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mohdgpu {

using mohdrt::DType;

/// A tensor in the host's memory, row-major. New ones are all ones, which are NaNs: what a kernel leaves out shows.
class HostTensor {
public:
  HostTensor() = default;
  HostTensor(DType dtype, std::vector<int64_t> shape);

  DType dtype = DType::F32;
  std::vector<int64_t> shape;

  int64_t size() const;
  int64_t bytes() const { return size() * mohdrt::dtypeSize(dtype); }
  void *data() { return lines.data(); }
  const void *data() const { return lines.data(); }
  double get(int64_t index) const;
  /// Rounds to the nearest element.
  void set(int64_t index, double value);
  double at(int64_t row, int64_t column) const { return get(row * shape.back() + column); }
  void setAt(int64_t row, int64_t column, double value) { set(row * shape.back() + column, value); }

private:
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  std::vector<Line> lines;
};

/// How far a sum in f32 that was rounded to an element may be from the exact `value`: 1e-6 of the sum of its terms' magnitudes, and a unit in the last place.
double toleranceOf(DType dtype, double value, double magnitude);

using Emit = std::function<mlir::LogicalResult(mlir::mohd::GpuKernelSet &, mlir::Operation *)>;

class EmulatedOp {
public:
  /// `text` is a function whose first op is the one to make kernels of, by `emit`. Its dynamic dimensions are named by `mohd.dims` of
  /// the function's arguments, an array for each; without it dimension 0 is "T". Results have "T" tokens. Failures are gtest's.
  /// `adjust` changes what kernels are told of the chip.
  EmulatedOp(const std::string &chip, const std::string &text, const Emit &emit,
             const std::function<void(mlir::mohd::GpuInfo &)> &adjust = {});
  ~EmulatedOp();
  EmulatedOp(const EmulatedOp &) = delete;

  /// Runs the launches on tensors in the order of GpuKernelSet's bindings (a routing is two), results at the end; returns what the
  /// emulator says is wrong, a line for each error. `seed` chooses the schedule.
  std::string run(const std::map<std::string, int64_t> &dims,
                  const std::vector<HostTensor *> &tensors, uint64_t seed = 0);

  /// Names of kernels, after the op's and "_", that the last run launched.
  const std::vector<std::string> &launched() const { return launchedNames; }

  /// Assembles the kernels for the chip; returns what is wrong with them. `figures` gets a line for each kernel: registers of a thread,
  /// bytes of shared memory, blocks that an SM holds. Without ptxas it does nothing. MOHD_GPU_DUMP names a folder for PTX and machine code.
  std::string assemble(std::string &figures);

private:
  struct State;
  std::unique_ptr<State> state;
  std::vector<std::string> launchedNames;
};

} // namespace mohdgpu

#endif // MOHD_UNITTESTS_GPU_EMULATEDOP_H
