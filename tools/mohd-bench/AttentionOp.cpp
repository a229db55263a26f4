// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention over a cache: each sequence has `context` tokens there, and its share of the call's tokens after them.
#include "Ops.h"

#include "Failure.h"

#include <cmath>

using namespace mohdrun;

namespace mohdbench {
namespace {

class Attention final : public Op {
public:
  explicit Attention(const Point &point)
      : point_(point), perSequence_(point.tokens / point.sequences),
        oneEach_(point.sequences == point.tokens), kvWidth_(point.kvHeads * point.headDim) {
    if (point.tokens % point.sequences != 0)
      throw mohdtool::usage("expected -T to be a multiple of --sequences " +
                            std::to_string(point.sequences) + ", got " +
                            std::to_string(point.tokens));
    if (point.heads % point.kvHeads != 0)
      throw mohdtool::usage("expected --heads to be a multiple of --kv-heads " +
                            std::to_string(point.kvHeads) + ", got " + std::to_string(point.heads));
  }

  std::string text() const override {
    std::string q = tensorText({-1, queryWidth()}, "f32"), ids = tensorText({-1}, "i32");
    std::string cache = tensorText({1, -1, -1, kvWidth_}, "f32");
    std::string arguments = argumentText("q", q) + ", " + argumentText("k_cache", cache) + ", " +
                            argumentText("v_cache", cache) + ", " + argumentText("position", ids);
    if (!oneEach_)
      arguments += ", " + argumentText("sequence", ids);
    return "func.func @main(" + arguments + ") -> (" + q + " {mohd.name = \"y\"}) {\n" +
           "  %y = mohd.attention %q, %k_cache, %v_cache, %position " +
           (oneEach_ ? "" : "in %sequence ") + "layer 0 head_dim " +
           std::to_string(point_.headDim) + " : " + q + ", " + cache + ", " + cache + ", " + ids +
           (oneEach_ ? "" : ", " + ids) + "\n  return %y : " + q + "\n}\n";
  }

  std::vector<WeightSpec> weights() const override { return {}; }

  std::vector<Input> makeInputs(const TokenRouting &routing) const override {
    std::vector<Input> inputs;
    std::vector<int64_t> cache{1, point_.sequences, point_.context + perSequence_, kvWidth_};
    inputs.push_back(floatInput("q", {routing.tokens, queryWidth()}, point_.seed));
    inputs.push_back(floatInput("k_cache", cache, point_.seed + 1));
    inputs.push_back(floatInput("v_cache", cache, point_.seed + 2));
    inputs[1].rotates = inputs[2].rotates = true;
    std::vector<int32_t> positions, sequences;
    for (int64_t token = 0; token < routing.tokens; ++token) {
      positions.push_back(static_cast<int32_t>(placeOf(token)));
      sequences.push_back(static_cast<int32_t>(token / perSequence_));
    }
    inputs.push_back(intInput("position", {routing.tokens}, positions));
    if (!oneEach_)
      inputs.push_back(intInput("sequence", {routing.tokens}, sequences));
    return inputs;
  }

  std::vector<double> expectedRow(const Given &given, int64_t token) const override {
    std::vector<double> row(static_cast<size_t>(queryWidth()));
    for (int64_t head = 0; head < point_.heads; ++head)
      attend(given, token, head, row.data() + head * point_.headDim);
    return row;
  }

  Work work(const TokenRouting &routing) const override {
    double pairs = 0; // of a token and a position it sees
    for (int64_t token = 0; token < routing.tokens; ++token)
      pairs += static_cast<double>(placeOf(token) + 1);
    double rows = static_cast<double>(point_.sequences * (point_.context + perSequence_));
    double tokens = static_cast<double>(routing.tokens);
    double width = static_cast<double>(queryWidth());
    return {4 * pairs * width, rows * static_cast<double>(kvWidth_) * 8, tokens * width * 8};
  }

private:
  int64_t queryWidth() const { return point_.heads * point_.headDim; }
  int64_t placeOf(int64_t token) const { return point_.context + token % perSequence_; }

  /// softmax(query . keys) . values of one head.
  void attend(const Given &given, int64_t token, int64_t head, double *out) const {
    int64_t size = point_.headDim, rows = placeOf(token) + 1;
    int64_t column = head / (point_.heads / point_.kvHeads) * size;
    int64_t first = token / perSequence_ * (point_.context + perSequence_);
    const float *query = given.input("q").as<float>() + token * queryWidth() + head * size;
    const float *keys = given.input("k_cache").as<float>() + first * kvWidth_ + column;
    const float *values = given.input("v_cache").as<float>() + first * kvWidth_ + column;
    std::vector<double> weights;
    double largest = -INFINITY, sum = 0;
    for (int64_t row = 0; row < rows; ++row) {
      double logit = 0;
      for (int64_t i = 0; i < size; ++i)
        logit += double(query[i]) * keys[row * kvWidth_ + i];
      weights.push_back(logit / std::sqrt(static_cast<double>(size)));
      largest = std::max(largest, weights.back());
    }
    for (double &weight : weights)
      sum += weight = std::exp(weight - largest);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < size; ++i)
        out[i] += weights[static_cast<size_t>(row)] / sum * values[row * kvWidth_ + i];
  }

  Point point_;
  int64_t perSequence_; // tokens of the call
  bool oneEach_;        // the form of a decode step
  int64_t kvWidth_;
};

} // namespace

std::unique_ptr<Op> makeAttention(const Point &point) { return std::make_unique<Attention>(point); }

} // namespace mohdbench
