// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A compiled program with weights of its own, and one call of it that is made again and again.
#ifndef MOHD_TOOLS_MOHD_BENCH_CALL_H
#define MOHD_TOOLS_MOHD_BENCH_CALL_H

#include "Failure.h"
#include "Memory.h"
#include "Op.h"
#include "Runner.h"
#include "Subject.h"

#include "mohd/Compiler/Compiler.h"

#include <functional>

namespace mohdbench {

/// A bundle compiled in memory whose weights are inputs, and copies of these weights as the kernels read them. Serves any
/// number of calls.
class Program {
public:
  /// Fills the first copy of a weight.
  using Fill =
      std::function<void(const mlir::mohd::BundleWeight &weight, void *target, size_t bytes)>;
  Program(mlir::mohd::CompileOptions options, const Fill &fill);

  const std::string &bytes() const { return compiled_.bytes; }
  double compileSeconds() const { return compileSeconds_; }
  const std::vector<mlir::mohd::BundleWeight> &weights() const { return compiled_.weights; }
  /// Bytes of one copy of all weights.
  size_t weightBytes() const;
  /// There are at least `count` copies afterwards.
  void makeCopies(size_t count);
  /// The weight called `name`, as an input; throws a Failure if there is none.
  mohd_tensor_t view(const std::string &name, size_t copy) const;

private:
  mlir::mohd::CompiledBundle compiled_;
  double compileSeconds_ = 0;
  std::vector<std::vector<Buffer>> copies_; // by copy, by weight
};

/// How many copies of what a call reads it must take in turn.
struct Cold {
  size_t bytes = 0;  // that calls read before they read a byte again
  size_t memory = 0; // that all copies may take
};

/// An entry point with its tensors.
class Call {
public:
  /// `program` has the weights; null if the bundle has them. `readBytes` is what one call reads of them, and of inputs that rotate.
  Call(mohdrun::Runner runner, const std::string &entry, std::vector<Input> inputs,
       Program *program, double readBytes, const Cold &cold);

  void run();
  /// Runs twice, on the last copy and on the first, with outputs poisoned before. Throws a Failure (MISMATCH) if the
  /// results differ or hold what is not finite.
  void checkRepeats();
  size_t numCopies() const { return views_.size(); }
  std::vector<Input> &inputs() { return inputs_; }
  const std::vector<mohdrun::Tensor> &outputs() const { return outputs_; }

private:
  mohd_tensor_t inputView(const std::string &name, const Program *program, size_t copy);
  void poisonOutputs();

  mohdrun::Runner runner_;
  mohdrun::Entry entry_;
  std::vector<Input> inputs_;
  std::vector<std::vector<mohdrun::Tensor>> inputCopies_; // of inputs that rotate
  std::vector<std::vector<mohd_tensor_t>> views_;         // of all inputs, by copy
  std::vector<mohdrun::Tensor> outputs_;
  std::vector<mohd_tensor_t> outputViews_;
  size_t next_ = 0; // copy
};

/// What a result may differ from its exact value, relative: 1e-5 with f32 weights, else 5e-3.
double toleranceOf(mohdrt::DType weightType);

mohdtool::Failure mismatch(const std::string &message);

/// Sums of squares, for a relative error in the Frobenius norm.
class Difference {
public:
  void add(double actual, double expected);
  double relative() const;
  /// The error as a Verified; throws a Failure (MISMATCH) if it is more than `tolerance`.
  Verified judge(double tolerance, const char *against) const;

private:
  double wrong_ = 0, right_ = 0;
};

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_CALL_H
