// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The projections: both sides of a routed one, and the dense one.
#include "Ops.h"

using namespace mohdrun;

namespace mohdbench {
namespace {

double elementBytes(const Point &point) {
  return static_cast<double>(mohdrt::dtypeSize(point.weightType));
}

/// mohd.spmm from D to E, or mohd.sddmm from E to D, with the routing as an argument.
class Projection final : public Op {
public:
  explicit Projection(const Point &point)
      : point_(point), groups_(point.groups), groupWidth_(point.width / point.groups.total),
        isSpmm_(point.what == "op:spmm") {}

  std::string text() const override {
    std::string x = tensorText({-1, inputWidth()}, "f32"),
                y = tensorText({-1, outputWidth()}, "f32");
    std::string indices = tensorText({-1, groups_.active()}, "i32");
    std::string gates = tensorText({-1, groups_.active()}, "f32"), routing = routingText(groups_);
    std::string weight = tensorText(weights()[0].shape, mohdrt::dtypeName(point_.weightType));
    return "func.func @main(" + argumentText("x", x) + ", " + argumentText("indices", indices) +
           ", " + argumentText("gates", gates) + ") -> (" + y + " {mohd.name = \"y\"}) {\n" +
           "  %r = mohd.make_routing %indices, %gates : " + indices + ", " + gates + " -> " +
           routing + "\n  %w = mohd.weight \"w\" : " + weight + "\n  %y = mohd." +
           (isSpmm_ ? "spmm" : "sddmm") + " %x, %r, %w : " + x + ", " + routing + ", " + weight +
           "\n  return %y : " + y + "\n}\n";
  }

  std::vector<WeightSpec> weights() const override {
    if (isSpmm_)
      return {{"w", {groups_.total, groupWidth_, point_.inner}}};
    return {{"w", {groups_.total, point_.inner, groupWidth_}}};
  }

  std::vector<Input> makeInputs(const TokenRouting &routing) const override {
    std::vector<Input> inputs = routingInputs(routing, point_.seed + 1);
    inputs.insert(inputs.begin(), floatInput("x", {routing.tokens, inputWidth()}, point_.seed));
    return inputs;
  }

  std::vector<double> expectedRow(const Given &given, int64_t token) const override {
    const float *x = given.input("x").as<float>() + token * inputWidth();
    const float *gates = given.input("gates").as<float>() + token * groups_.active();
    const int32_t *indices = given.routing.indices.data() + token * groups_.active();
    const float *weight = given.weight("w").data();
    std::vector<double> row(static_cast<size_t>(outputWidth()));
    for (int64_t k = 0; k < groups_.active(); ++k) {
      int64_t group = indices[k];
      const float *block = weight + group * groupWidth_ * point_.inner;
      // A group's weights are [d_e, E] or [E, d_e]; its part of the wide side begins at `begin`.
      int64_t begin = group * groupWidth_, rows = isSpmm_ ? groupWidth_ : point_.inner;
      int64_t columns = isSpmm_ ? point_.inner : groupWidth_;
      double *out = row.data() + (isSpmm_ ? 0 : begin);
      for (int64_t i = 0; i < rows; ++i) {
        double factor = isSpmm_ ? double(gates[k]) * x[begin + i] : x[i];
        for (int64_t j = 0; j < columns; ++j)
          out[j] += factor * block[i * columns + j];
      }
    }
    return row;
  }

  Work work(const TokenRouting &routing) const override {
    double tokens = static_cast<double>(routing.tokens);
    double block = static_cast<double>(groupWidth_ * point_.inner);
    double active = static_cast<double>(groups_.active());
    double used = static_cast<double>(routing.unionGroups().size());
    // SpMM reads the active part of its input; SDDMM writes all of its output, zeros included.
    double wide = static_cast<double>(isSpmm_ ? groupWidth_ * groups_.active() : point_.width);
    return {2 * tokens * active * block, used * block * elementBytes(point_),
            tokens * 4 * (wide + static_cast<double>(point_.inner))};
  }

  std::unique_ptr<Op> dense() const override {
    return makeLinear(point_, inputWidth(), outputWidth());
  }

private:
  int64_t inputWidth() const { return isSpmm_ ? point_.width : point_.inner; }
  int64_t outputWidth() const { return isSpmm_ ? point_.inner : point_.width; }

  Point point_;
  Groups groups_;
  int64_t groupWidth_; // d_e
  bool isSpmm_;
};

class Linear final : public Op {
public:
  Linear(const Point &point, int64_t rows, int64_t columns)
      : point_(point), rows_(rows), columns_(columns) {}

  std::string text() const override {
    std::string x = tensorText({-1, rows_}, "f32"), y = tensorText({-1, columns_}, "f32");
    std::string weight = tensorText({rows_, columns_}, mohdrt::dtypeName(point_.weightType));
    return "func.func @main(" + argumentText("x", x) + ") -> (" + y + " {mohd.name = \"y\"}) {\n" +
           "  %w = mohd.weight \"w\" : " + weight + "\n  %y = mohd.linear %x, %w : " + x + ", " +
           weight + " -> " + y + "\n  return %y : " + y + "\n}\n";
  }

  std::vector<WeightSpec> weights() const override { return {{"w", {rows_, columns_}}}; }

  std::vector<Input> makeInputs(const TokenRouting &routing) const override {
    std::vector<Input> inputs;
    inputs.push_back(floatInput("x", {routing.tokens, rows_}, point_.seed));
    return inputs;
  }

  std::vector<double> expectedRow(const Given &given, int64_t token) const override {
    const float *x = given.input("x").as<float>() + token * rows_;
    const float *weight = given.weight("w").data();
    std::vector<double> row(static_cast<size_t>(columns_));
    for (int64_t i = 0; i < rows_; ++i)
      for (int64_t j = 0; j < columns_; ++j)
        row[static_cast<size_t>(j)] += double(x[i]) * weight[i * columns_ + j];
    return row;
  }

  Work work(const TokenRouting &routing) const override {
    double tokens = static_cast<double>(routing.tokens);
    double size = static_cast<double>(rows_) * static_cast<double>(columns_);
    return {2 * tokens * size, size * elementBytes(point_),
            tokens * 4 * static_cast<double>(rows_ + columns_)};
  }

private:
  Point point_;
  int64_t rows_, columns_;
};

} // namespace

std::unique_ptr<Op> makeProjection(const Point &point) {
  return std::make_unique<Projection>(point);
}

std::unique_ptr<Op> makeLinear(const Point &point, int64_t rows, int64_t columns) {
  return std::make_unique<Linear>(point, rows, columns);
}

} // namespace mohdbench
