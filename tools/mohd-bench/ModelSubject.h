// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A language model, or one layer of it, as a benchmark: prefill and decode.
#ifndef MOHD_TOOLS_MOHD_BENCH_MODELSUBJECT_H
#define MOHD_TOOLS_MOHD_BENCH_MODELSUBJECT_H

#include "Call.h"
#include "Subject.h"

#include "mohd/Model/Config.h"

namespace mohdbench {

/// A model of a preset with random weights, compiled, its weights in memory once or more.
class Model {
public:
  /// `key` says which model it is. Throws a Failure if its weights need more than `memoryBytes`.
  Model(std::string key, const mlir::mohd::ModelConfig &config, mohdrt::DType weightType,
        const std::string &target, size_t memoryBytes);

  const std::string &key() const { return key_; }
  const mlir::mohd::ModelConfig &config() const { return config_; }
  Program &program() { return *program_; }
  /// The same model by the reference lowering, compiled when it is first asked for.
  Program &reference();
  /// Frees it if it is large.
  void trimReference();

private:
  std::string key_;
  mlir::mohd::ModelConfig config_;
  mohdrt::DType weightType_;
  std::string target_;
  std::unique_ptr<Program> program_, reference_;
};

/// The configuration that a point names: the preset with `point.layers` layers, for case `layer` with one layer and a vocabulary of
/// 256; `dense`: the same widths without routing.
mlir::mohd::ModelConfig configOf(const Point &point, bool dense);

/// One call of a model's entry point. `layer` and `prefill` take T tokens of one sequence and make the logits of the last; `decode`
/// takes one token of each of T sequences with `context` tokens before it.
class ModelSubject final : public Subject {
public:
  ModelSubject(Model &model, const Point &point, const Cold &cold);

  /// Compares with the reference lowering, on as many tokens as it computes in some seconds.
  Verified verify() override;
  void run() override { call_.run(); }
  Work work() const override;
  size_t numCopies() const override { return call_.numCopies(); }
  double compileSeconds() const override { return model_.program().compileSeconds(); }

private:
  Model &model_;
  Point point_;
  Call call_;
};

/// The same calls of a bundle's model, which has weights of its own.
class BundleSubject final : public Subject {
public:
  explicit BundleSubject(const Point &point);

  /// Compares prefill of a few tokens with decode of the last of them.
  Verified verify() override;
  void run() override { call_->run(); }
  Work work() const override;
  size_t numCopies() const override { return 1; }
  double compileSeconds() const override { return 0; }
  mohdrt::DType weightType() const { return weightType_; }

private:
  Point point_;
  mlir::mohd::ModelConfig config_;
  mohdrt::DType weightType_ = mohdrt::DType::F32;
  bool isQuantized_ = false; // projections have int8 weights
  std::unique_ptr<Call> call_;
};

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_MODELSUBJECT_H
