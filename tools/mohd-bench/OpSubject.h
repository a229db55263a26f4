// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// An op, compiled, with its weights laid out as its kernels read them.
#ifndef MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H
#define MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H

#include "Memory.h"
#include "Op.h"
#include "Runner.h"
#include "Subject.h"

#include "mohd/Compiler/Compiler.h"

namespace mohdbench {

/// A compiled op and its weights; serves any number of tokens, routings and threads.
class Kernel {
public:
  Kernel(const Op &op, mohdrt::DType weightType, const std::string &target);

  const std::string &key() const { return key_; }
  const std::string &bundle() const { return compiled_.bytes; }
  double compileSeconds() const { return compileSeconds_; }
  /// As expectedRow() wants them.
  const std::map<std::string, std::vector<float>> &logicalWeights() const { return logical_; }
  /// What the kernels read, in the order of weights(); there are at least `count` copies afterwards.
  void makeCopies(size_t count);
  size_t numCopies() const { return copies_.size(); }
  const std::vector<mlir::mohd::BundleWeight> &weights() const { return compiled_.weights; }
  void *weight(size_t copy, size_t index) const { return copies_[copy][index].get(); }
  size_t totalBytes() const;

private:
  std::string key_;
  mlir::mohd::CompiledBundle compiled_;
  double compileSeconds_ = 0;
  std::map<std::string, std::vector<float>> logical_;
  std::vector<std::vector<Buffer>> copies_; // by copy, by weight
};

/// One call of an op.
class OpSubject final : public Subject {
public:
  /// Calls read as many copies of weights (and of inputs that rotate) in turn as make `coldBytes` bytes, as far as what the
  /// calls read counts, within `memoryBytes` in all.
  OpSubject(const Op &op, Kernel &kernel, const TokenRouting &routing, uint32_t threads,
            size_t coldBytes, size_t memoryBytes);

  Verified verify() override;
  void run() override;
  Work work() const override { return op_.work(given_.routing); }
  size_t numCopies() const { return views_.size(); }

private:
  mohd_tensor_t inputView(const mohd_tensor_info_t &info, size_t copy);
  void poisonOutputs();
  std::vector<double> actualRow(int64_t token) const;

  const Op &op_;
  Kernel &kernel_;
  Given given_;
  std::vector<std::vector<mohdrun::Tensor>> inputCopies_; // of inputs that rotate, beyond the first
  mohdrun::Runner runner_;
  mohdrun::Entry entry_;
  std::vector<std::vector<mohd_tensor_t>> views_; // of the inputs, by copy
  std::vector<mohdrun::Tensor> outputs_;
  std::vector<mohd_tensor_t> outputViews_;
  size_t next_ = 0; // copy
  double tolerance_;
};

/// What a result may differ from its exact value, relative: 1e-5 with f32 weights, else 5e-3.
double toleranceOf(mohdrt::DType weightType);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H
