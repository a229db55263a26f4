// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Derives figures from samples and puts them into columns.
#include "Row.h"

#include <algorithm>
#include <cstdio>
#include <functional>

using mohdrt::JsonValue;

namespace mohdbench {
namespace {

double median(const std::vector<double> &samples) { return summarize(samples).median; }

double ratio(double above, double below) { return below > 0 ? above / below : 0; }

std::string number(const char *format, double value) {
  char text[48];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

/// A column of the table: its name for programs, its title for people, a cell.
struct Column {
  const char *name, *title;
  std::function<std::string(const Row &, bool exact)> cell;
};

Column textColumn(const char *name, const char *title, std::string (*get)(const Row &)) {
  return {name, title, [get](const Row &row, bool) { return get(row); }};
}

/// A number, printed with `format` for people; empty if it is 0 and so unknown.
Column numberColumn(const char *name, const char *title, const char *format,
                    std::function<double(const Row &)> get) {
  return {name, title, [=](const Row &row, bool exact) {
            double value = get(row);
            if (value == 0)
              return std::string();
            return number(exact ? "%.9g" : format, value);
          }};
}

std::string caseName(const Row &row) { return row.point.what + (row.isDense ? " dense" : ""); }

std::string routingName(const Row &row) {
  return row.unionGroups ? row.point.routing + ":" + std::to_string(row.point.seed) : "";
}

const std::vector<Column> &columns() {
  auto summary = [](double Summary::*part) {
    return [part](const Row &row) { return 1e3 * (summarize(row.seconds).*part); };
  };
  static const std::vector<Column> all{
      textColumn("case", "case", caseName),
      textColumn("shape", "shape", [](const Row &row) { return row.shape(); }),
      textColumn("weights", "weights",
                 [](const Row &row) { return std::string(dtypeName(row.point.weightType)); }),
      textColumn("tokens", "T", [](const Row &row) { return std::to_string(row.point.tokens); }),
      textColumn("threads", "threads",
                 [](const Row &row) { return std::to_string(row.point.threads); }),
      textColumn("routing", "routing", routingName),
      numberColumn("union", "union", "%.0f",
                   [](const Row &row) { return static_cast<double>(row.unionGroups); }),
      numberColumn("coverage", "coverage", "%.2f",
                   [](const Row &row) { return row.unionGroups ? row.coverage : 0; }),
      numberColumn("median_ms", "median ms", "%.4g", summary(&Summary::median)),
      numberColumn("mean_ms", "mean ms", "%.4g", summary(&Summary::mean)),
      numberColumn("sd_ms", "sd ms", "%.2g", summary(&Summary::deviation)),
      numberColumn("p5_ms", "p5 ms", "%.4g", summary(&Summary::p5)),
      numberColumn("p95_ms", "p95 ms", "%.4g", summary(&Summary::p95)),
      numberColumn("tokens_per_s", "tokens/s", "%.4g",
                   [](const Row &row) { return row.tokensPerSecond(); }),
      numberColumn("gflops", "GFLOP/s", "%.4g",
                   [](const Row &row) { return row.flopsPerSecond() / 1e9; }),
      numberColumn("share_of_peak", "of peak", "%.2f",
                   [](const Row &row) { return row.shareOfPeak(); }),
      numberColumn("weights_gbs", "GB/s", "%.4g",
                   [](const Row &row) { return row.weightBandwidth() / 1e9; }),
      numberColumn("share_of_bandwidth", "of bandwidth", "%.2f",
                   [](const Row &row) { return row.shareOfBandwidth(); }),
      numberColumn("share_of_floor", "of floor", "%.2f",
                   [](const Row &row) { return row.shareOfFloor(); }),
      numberColumn("over_dense", "over dense", "%.2f",
                   [](const Row &row) { return row.speedup(); }),
      {"error", "error",
       [](const Row &row, bool exact) {
         return number(exact ? "%.9g" : "%.1e", row.verified.error);
       }},
      textColumn("repetitions", "n",
                 [](const Row &row) { return std::to_string(row.seconds.size()); }),
  };
  return all;
}

JsonValue toJson(const std::vector<double> &values) {
  JsonValue list = JsonValue::array();
  for (double value : values)
    list.push(value);
  return list;
}

JsonValue pointJson(const Row &row) {
  const Point &point = row.point;
  JsonValue json = JsonValue::object();
  json.set("case", point.what);
  json.set("baseline", row.isDense);
  auto setUnlessZero = [&](const char *key, int64_t value) {
    if (value != 0)
      json.set(key, value);
  };
  if (!point.model.empty())
    json.set("model", point.model);
  setUnlessZero("D", point.width);
  setUnlessZero("E", point.inner);
  if (point.groups.total)
    json.set("groups", toString(point.groups));
  if (row.unionGroups) {
    json.set("routing", point.routing);
    json.set("union", row.unionGroups);
    json.set("coverage", row.coverage);
  }
  if (point.gatherTokens >= 0)
    json.set("gather_tokens", point.gatherTokens);
  setUnlessZero("heads", point.heads);
  setUnlessZero("kv_heads", point.kvHeads);
  setUnlessZero("head_dim", point.headDim);
  setUnlessZero("layers", point.layers);
  json.set("context", point.context);
  json.set("sequences", point.sequences);
  json.set("tokens", point.tokens);
  json.set("weights_dtype", dtypeName(point.weightType));
  json.set("seed", point.seed);
  json.set("threads", point.threads);
  return json;
}

} // namespace

double Row::flopsPerSecond() const { return ratio(work.flops, median()); }
double Row::shareOfPeak() const { return ratio(flopsPerSecond(), mohdbench::median(peak)); }
double Row::weightBandwidth() const { return ratio(work.weightBytes, median()); }
double Row::shareOfBandwidth() const {
  return ratio(weightBandwidth(), mohdbench::median(bandwidth));
}
double Row::floorSeconds() const {
  return std::max(ratio(work.flops, mohdbench::median(peak)),
                  ratio(work.weightBytes + work.otherBytes, mohdbench::median(bandwidth)));
}
double Row::shareOfFloor() const { return ratio(floorSeconds(), median()); }
double Row::speedup() const { return ratio(denseSeconds, median()); }
double Row::tokensPerSecond() const { return ratio(static_cast<double>(point.tokens), median()); }

std::string Row::shape() const {
  std::string text = point.model;
  if (point.layers)
    text += " layers=" + std::to_string(point.layers);
  if (point.width) {
    text = std::to_string(point.width);
    if (point.inner)
      text += "x" + std::to_string(point.inner);
    if (point.groups.total && !isDense)
      text += " " + toString(point.groups);
  }
  if (point.headDim)
    text = std::to_string(point.heads) + "/" + std::to_string(point.kvHeads) + "x" +
           std::to_string(point.headDim) +
           (point.sequences > 1 ? " x" + std::to_string(point.sequences) : "");
  if (point.context)
    text += " +" + std::to_string(point.context);
  return text;
}

JsonValue toJson(const Row &row) {
  JsonValue json = pointJson(row);
  Summary summary = summarize(row.seconds);
  json.set("median_s", summary.median);
  json.set("mean_s", summary.mean);
  json.set("sd_s", summary.deviation);
  json.set("p5_s", summary.p5);
  json.set("p95_s", summary.p95);
  json.set("samples_s", toJson(row.seconds));
  json.set("warmup", row.warmup);
  json.set("weight_copies", static_cast<int64_t>(row.copies));
  json.set("compile_s", row.compileSeconds);
  json.set("flops", row.work.flops);
  json.set("weight_bytes", row.work.weightBytes);
  json.set("other_bytes", row.work.otherBytes);
  json.set("peak_flops", median(row.peak));
  json.set("peak_samples", toJson(row.peak));
  json.set("bandwidth_bytes", median(row.bandwidth));
  json.set("bandwidth_samples", toJson(row.bandwidth));
  json.set("share_of_peak", row.shareOfPeak());
  json.set("share_of_bandwidth", row.shareOfBandwidth());
  json.set("floor_s", row.floorSeconds());
  json.set("share_of_floor", row.shareOfFloor());
  json.set("tokens_per_s", row.tokensPerSecond());
  if (row.denseSeconds > 0)
    json.set("over_dense", row.speedup());
  JsonValue verified = JsonValue::object();
  verified.set("against", row.verified.against);
  verified.set("relative_error", row.verified.error);
  verified.set("tolerance", row.verified.tolerance);
  json.set("verified", verified);
  return json;
}

std::vector<std::string> columnTitles(bool exact) {
  std::vector<std::string> titles;
  for (const Column &column : columns())
    titles.push_back(exact ? column.name : column.title);
  return titles;
}

std::vector<std::string> cells(const Row &row, bool exact) {
  std::vector<std::string> all;
  for (const Column &column : columns())
    all.push_back(column.cell(row, exact));
  return all;
}

} // namespace mohdbench
