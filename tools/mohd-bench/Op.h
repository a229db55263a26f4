// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// An op as a benchmark: its module, its data, and what it must compute.
#ifndef MOHD_TOOLS_MOHD_BENCH_OP_H
#define MOHD_TOOLS_MOHD_BENCH_OP_H

#include "Point.h"
#include "Tensor.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mohdbench {

/// A `mohd.weight` of the module: uniform random numbers in [-scale, scale), around `centre`.
struct WeightSpec {
  std::string name;
  std::vector<int64_t> shape; // as the op has it
  double scale = 1, centre = 0;
};

/// An argument of the module's function.
struct Input {
  std::string name;
  mohdrun::Tensor tensor;
  bool rotates = false; // it is read once a call, as weights are, and so must not stay in the cache
};

/// What a call is given. Weights are f32 in the op's own layout, already rounded to the storage type.
struct Given {
  const std::vector<Input> &inputs;
  const std::map<std::string, std::vector<float>> &weights; // by name
  const TokenRouting &routing;

  const mohdrun::Tensor &input(const std::string &name) const;
  const std::vector<float> &weight(const std::string &name) const { return weights.at(name); }
};

class Op {
public:
  virtual ~Op();
  /// A module with one function, `main`. Its arguments are makeInputs(), each of its results has a row for each token.
  virtual std::string text() const = 0;
  virtual std::vector<WeightSpec> weights() const = 0;
  virtual std::vector<Input> makeInputs(const TokenRouting &routing) const = 0;
  /// The rows that the results have for `token`, one after the other, in double precision.
  virtual std::vector<double> expectedRow(const Given &given, int64_t token) const = 0;
  virtual Work work(const TokenRouting &routing) const = 0;
  /// The dense op that this one replaces; none if there is no such thing.
  virtual std::unique_ptr<Op> dense() const;
  /// Changes of the tensors' sizes and types, nothing else, change this.
  virtual std::string key() const { return text(); }
};

/// The names that makeOp() knows, "op:spmm" first.
const std::vector<std::string> &opNames();

/// The op that `point.what` names. Throws a Failure (usage) for sizes that it cannot have.
std::unique_ptr<Op> makeOp(const Point &point);

/// Fills `tensor` with uniform random numbers in [-1, 1), rounded to its type.
void fillUniform(mohdrun::Tensor &tensor, uint64_t seed);

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OP_H
