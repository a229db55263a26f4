// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The ops around the projections: the router with its norm, and group fusion.
#include "Ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace mohdrun;

namespace mohdbench {
namespace {

constexpr double kEpsilon = 1e-5;

/// rms_norm, then mohd.route with gate `softmax` and its scaling folded in, as a model has them.
class Route final : public Op {
public:
  explicit Route(const Point &point) : point_(point), groups_(point.groups) {}

  std::string text() const override {
    std::string x = tensorText({-1, point_.width}, "f32");
    std::string element = mohdrt::dtypeName(point_.weightType);
    std::string norm = tensorText({point_.width}, element);
    std::string phi = tensorText({groups_.total, point_.width}, element);
    std::string scores = tensorText({-1, groups_.total}, "f32"), routing = routingText(groups_);
    std::string indices = tensorText({-1, groups_.active()}, "i32");
    std::string gates = tensorText({-1, groups_.active()}, "f32");
    return "func.func @main(" + argumentText("x", x) + ") -> (" + x + " {mohd.name = \"n\"}, " +
           indices + " {mohd.name = \"indices\"}, " + gates + " {mohd.name = \"gates\"}) {\n" +
           "  %norm = mohd.weight \"norm\" : " + norm + "\n  %phi = mohd.weight \"phi\" : " + phi +
           "\n  %n = mohd.rms_norm %x, %norm epsilon 1.0e-5 : " + x + ", " + norm +
           "\n  %r, %s = mohd.route %n, %phi gate softmax score softmax_all scaling "
           "sqrt_nk_over_mass : " +
           x + ", " + phi + " -> " + routing + ", " + scores +
           "\n  %i, %g = mohd.unpack_routing %r : " + routing + " -> " + indices + ", " + gates +
           "\n  return %n, %i, %g : " + x + ", " + indices + ", " + gates + "\n}\n";
  }

  std::vector<WeightSpec> weights() const override {
    double scale = std::sqrt(3.0 / static_cast<double>(point_.width)); // logits of deviation 1
    return {{"norm", {point_.width}, 0.125, 1}, {"phi", {groups_.total, point_.width}, scale}};
  }

  std::vector<Input> makeInputs(const TokenRouting &routing) const override {
    std::vector<Input> inputs;
    inputs.push_back(floatInput("x", {routing.tokens, point_.width}, point_.seed));
    return inputs;
  }

  std::vector<double> expectedRow(const Given &given, int64_t token) const override {
    std::vector<double> row = normalised(given, token), scores = softmax(logits(given, row));
    std::vector<size_t> order(scores.size() - static_cast<size_t>(groups_.shared));
    std::iota(order.begin(), order.end(), static_cast<size_t>(groups_.shared));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    });
    std::vector<size_t> active(static_cast<size_t>(groups_.shared));
    std::iota(active.begin(), active.end(), size_t(0));
    active.insert(active.end(), order.begin(), order.begin() + groups_.routed);
    std::sort(active.begin(), active.end());
    double mass = 0;
    for (size_t group : active)
      mass += scores[group];
    double scale = std::sqrt(static_cast<double>(groups_.total * groups_.active())) / mass;
    row.insert(row.end(), active.begin(), active.end());
    for (size_t group : active)
      row.push_back(scale * scores[group]);
    return row;
  }

  Work work(const TokenRouting &routing) const override {
    double tokens = static_cast<double>(routing.tokens), width = static_cast<double>(point_.width);
    double total = static_cast<double>(groups_.total);
    double size = static_cast<double>(mohdrt::dtypeSize(point_.weightType));
    return {2 * tokens * width * total, width * (total + 1) * size, tokens * 8 * width};
  }

private:
  std::vector<double> normalised(const Given &given, int64_t token) const {
    const float *x = given.input("x").as<float>() + token * point_.width;
    const std::vector<float> &norm = given.weight("norm");
    double squares = 0;
    for (int64_t i = 0; i < point_.width; ++i)
      squares += double(x[i]) * x[i];
    double factor = 1 / std::sqrt(squares / static_cast<double>(point_.width) + kEpsilon);
    std::vector<double> row;
    for (int64_t i = 0; i < point_.width; ++i)
      row.push_back(x[i] * factor * norm[static_cast<size_t>(i)]);
    return row;
  }

  std::vector<double> logits(const Given &given, const std::vector<double> &row) const {
    const float *phi = given.weight("phi").data();
    std::vector<double> values;
    for (int64_t group = 0; group < groups_.total; ++group)
      values.push_back(std::inner_product(row.begin(), row.end(), phi + group * point_.width, 0.0));
    return values;
  }

  static std::vector<double> softmax(std::vector<double> values) {
    double largest = *std::max_element(values.begin(), values.end()), sum = 0;
    for (double &value : values)
      sum += value = std::exp(value - largest);
    for (double &value : values)
      value /= sum;
    return values;
  }

  Point point_;
  Groups groups_;
};

/// mohd.group_fusion of kind `monarch` in the models' form, its input known to be zero outside the routing.
class Fusion final : public Op {
public:
  explicit Fusion(const Point &point)
      : point_(point), groups_(point.groups), groupWidth_(point.width / point.groups.total) {}

  std::string text() const override {
    std::string x = tensorText({-1, point_.width}, "f32"), routing = routingText(groups_);
    std::string element = mohdrt::dtypeName(point_.weightType);
    std::string right = tensorText(weights()[0].shape, element);
    std::string left = tensorText(weights()[1].shape, element);
    std::string indices = tensorText({-1, groups_.active()}, "i32");
    std::string gates = tensorText({-1, groups_.active()}, "f32");
    return "func.func @main(" + argumentText("x", x) + ", " + argumentText("indices", indices) +
           ", " + argumentText("gates", gates) + ") -> (" + x + " {mohd.name = \"y\"}) {\n" +
           "  %r = mohd.make_routing %indices, %gates : " + indices + ", " + gates + " -> " +
           routing + "\n  %right = mohd.weight \"right\" : " + right +
           "\n  %left = mohd.weight \"left\" : " + left +
           "\n  %y = mohd.group_fusion %x kind monarch right(%right) left(%left) routing(%r) : " +
           x + " right " + right + " left " + left + " routing " + routing +
           "\n  return %y : " + x + "\n}\n";
  }

  std::vector<WeightSpec> weights() const override {
    return {{"right", {groups_.total, groupWidth_, groupWidth_}},
            {"left", {groupWidth_, groups_.total, groups_.total}}};
  }

  std::vector<Input> makeInputs(const TokenRouting &routing) const override {
    std::vector<Input> inputs = routingInputs(routing, point_.seed + 1);
    Input x = floatInput("x", {routing.tokens, point_.width}, point_.seed);
    std::vector<bool> active(static_cast<size_t>(groups_.total));
    for (int64_t token = 0; token < routing.tokens; ++token) {
      std::fill(active.begin(), active.end(), false);
      for (int64_t k = 0; k < groups_.active(); ++k)
        active[static_cast<size_t>(
            routing.indices[static_cast<size_t>(token * groups_.active() + k)])] = true;
      float *row = x.tensor.as<float>() + token * point_.width;
      for (int64_t group = 0; group < groups_.total; ++group)
        if (!active[static_cast<size_t>(group)])
          std::memset(row + group * groupWidth_, 0,
                      static_cast<size_t>(groupWidth_) * sizeof(float));
    }
    inputs.insert(inputs.begin(), std::move(x));
    return inputs;
  }

  std::vector<double> expectedRow(const Given &given, int64_t token) const override {
    const float *x = given.input("x").as<float>() + token * point_.width;
    const float *right = given.weight("right").data(), *left = given.weight("left").data();
    int64_t n = groups_.total, width = groupWidth_;
    std::vector<double> mixed(static_cast<size_t>(point_.width)), row(mixed.size());
    for (int64_t k = 0; k < n; ++k)
      for (int64_t q = 0; q < width; ++q)
        for (int64_t p = 0; p < width; ++p)
          mixed[static_cast<size_t>(k * width + q)] +=
              double(right[(k * width + q) * width + p]) * x[k * width + p];
    for (int64_t s = 0; s < n; ++s)
      for (int64_t l = 0; l < width; ++l)
        for (int64_t k = 0; k < n; ++k)
          row[static_cast<size_t>(s * width + l)] +=
              double(left[(l * n + s) * n + k]) * mixed[static_cast<size_t>(k * width + l)];
    return row;
  }

  Work work(const TokenRouting &routing) const override {
    double tokens = static_cast<double>(routing.tokens), width = static_cast<double>(groupWidth_);
    double n = static_cast<double>(groups_.total), active = static_cast<double>(groups_.active());
    double used = static_cast<double>(routing.unionGroups().size());
    double size = static_cast<double>(mohdrt::dtypeSize(point_.weightType));
    return {2 * tokens * active * width * (width + n),
            (used * width * width + width * n * n) * size, tokens * 4 * width * (active + n)};
  }

private:
  Point point_;
  Groups groups_;
  int64_t groupWidth_; // d_e
};

} // namespace

std::unique_ptr<Op> makeRoute(const Point &point) { return std::make_unique<Route>(point); }
std::unique_ptr<Op> makeFusion(const Point &point) { return std::make_unique<Fusion>(point); }

} // namespace mohdbench
