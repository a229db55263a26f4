// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Costs from shapes. A dense sub-layer is the case N = K = 1 without router and fusion.

#include "mohd/Model/Cost.h"

#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <utility>

namespace mlir::mohd {

PartCost &PartCost::operator+=(const PartCost &other) {
  parameters += other.parameters;
  activated += other.activated;
  flops += other.flops;
  cacheBytes += other.cacheBytes;
  projected += other.projected;
  scales += other.scales;
  return *this;
}

PartCost LayerCost::total() const {
  PartCost sum = attention;
  sum += ffn;
  sum += router;
  sum += fusion;
  return sum;
}

PartCost ModelCost::total() const {
  PartCost sum = embed;
  PartCost one = layer.total();
  for (int64_t i = 0; i < numLayers; ++i)
    sum += one;
  sum += head;
  return sum;
}

uint64_t ModelCost::bytesPerToken(const PartCost &part) const {
  uint64_t plain = quantized ? part.activated - part.projected : part.activated;
  uint64_t bytes = plain * static_cast<uint64_t>(weightBytes) + part.cacheBytes;
  return quantized ? bytes + part.projected + part.scales * sizeof(float) : bytes;
}

namespace {

/// The share of a routed axis that one token touches: K groups of N, each `width` wide.
struct ActiveShare {
  uint64_t groups = 1, active = 1, width = 0;

  uint64_t full() const { return groups * width; }
  uint64_t touched() const { return active * width; }
};

/// A vector of weights that is read whole and whose arithmetic is not counted: a norm or a bias.
PartCost vectorCost(uint64_t size) { return {size, size}; }

/// A matrix of which a token uses `active` rows (or columns) out of `full`, each `other` long.
PartCost matrixCost(uint64_t full, uint64_t active, uint64_t other) {
  return {full * other, active * other, 2 * active * other};
}

/// A projection from the routed axis `share` to `columns`: each active group has its scales.
PartCost projectionIn(const ActiveShare &share, uint64_t columns) {
  PartCost cost = matrixCost(share.full(), share.touched(), columns);
  cost.projected = cost.activated;
  cost.scales = share.active * columns;
  return cost;
}

/// A projection of `rows` to the routed axis `share`.
PartCost projectionOut(const ActiveShare &share, uint64_t rows) {
  PartCost cost = matrixCost(share.full(), share.touched(), rows);
  cost.projected = cost.activated;
  cost.scales = share.touched();
  return cost;
}

/// Scores and values over `context` cached positions, and the cache rows they read and write.
PartCost attendCost(const ModelConfig &config, uint64_t context) {
  uint64_t width = config.queryWidth(), cacheRow = 2 * config.kvWidth() * sizeof(float);
  PartCost cost;
  cost.flops = 2 * 2 * width * context;
  cost.cacheBytes = cacheRow * (context + 1);
  return cost;
}

/// Group fusion of docs/semantics.md: only active groups contribute, every group receives.
PartCost fusionCost(const ModelConfig &config, const ActiveShare &share) {
  PartCost cost;
  if (config.routing->fusion == FusionKind::None)
    return cost;
  cost += matrixCost(share.full(), share.touched(), share.width);
  if (config.routing->fusion == FusionKind::Monarch)
    cost += matrixCost(share.full(), share.touched(), share.groups);
  else if (config.hasInnerFfn())
    cost += vectorCost(share.full());
  return cost;
}

PartCost routerCost(const ModelConfig &config) {
  if (!config.routing->needsRouter())
    return {};
  return matrixCost(config.hiddenSize, config.hiddenSize, config.routing->numGroups);
}

PartCost attentionCost(const ModelConfig &config, const ActiveShare &residual, uint64_t context) {
  PartCost cost = vectorCost(config.hiddenSize);
  cost += projectionIn(residual, config.queryWidth() + 2 * config.kvWidth()); // q, k, v
  cost += projectionOut(residual, config.queryWidth());
  cost += attendCost(config, context);
  return cost;
}

/// `residual` is the routed residual, `inner` the routed d_ff; one of them is whole.
PartCost ffnCost(const ModelConfig &config, const ActiveShare &residual, const ActiveShare &inner) {
  PartCost cost = vectorCost(config.hiddenSize);
  if (!config.hasInnerFfn()) {
    cost += projectionIn(residual, 2 * config.intermediateSize); // gate, up
    cost += projectionOut(residual, config.intermediateSize);
    return cost;
  }
  cost += projectionOut(inner, config.hiddenSize); // up
  // Fusion fills every group again, so that the down projection is dense after one.
  bool refilled = config.routing->fusion != FusionKind::None;
  PartCost down =
      matrixCost(inner.full(), refilled ? inner.full() : inner.touched(), config.hiddenSize);
  down.projected = down.activated;
  down.scales = config.hiddenSize;
  cost += down;
  return cost;
}

LayerCost layerCost(const ModelConfig &config, uint64_t context) {
  ActiveShare residual, inner;
  residual.width = config.hiddenSize;
  inner.width = config.intermediateSize;
  LayerCost cost;
  if (config.routing) {
    int subLayers = config.routesResidual() ? 2 : config.routesFfnInner() ? 1 : 0;
    if (subLayers > 0) {
      ActiveShare &routed = config.hasInnerFfn() ? inner : residual;
      routed = {uint64_t(config.routing->numGroups), uint64_t(config.routing->numActive()),
                uint64_t(config.groupWidth())};
    }
    const ActiveShare &routed = config.hasInnerFfn() ? inner : residual;
    for (int i = 0; i < subLayers; ++i) {
      cost.router += routerCost(config);
      cost.fusion += fusionCost(config, routed);
    }
  }
  cost.attention = attentionCost(config, residual, context);
  cost.ffn = ffnCost(config, residual, inner);
  return cost;
}

using NamedPart = std::pair<const char *, PartCost>;

std::vector<NamedPart> layerParts(const LayerCost &layer) {
  return {{"attention", layer.attention},
          {"ffn", layer.ffn},
          {"router", layer.router},
          {"fusion", layer.fusion},
          {"layer", layer.total()}};
}

std::vector<NamedPart> modelParts(const ModelCost &cost) {
  return {{"embed", cost.embed}, {"head", cost.head}, {"model", cost.total()}};
}

std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
std::string format(const char *pattern, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(line, sizeof(line), pattern, arguments);
  va_end(arguments);
  return line;
}

/// `123456789` as `123,456,789`.
std::string withCommas(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > 3; i -= 3)
    digits.insert(i - 3, ",");
  return digits;
}

std::string tableLine(const ModelCost &cost, const NamedPart &part) {
  return format("  %-12s %16s %16s %18s %16s\n", part.first,
                withCommas(part.second.parameters).c_str(),
                withCommas(part.second.activated).c_str(), withCommas(part.second.flops).c_str(),
                withCommas(cost.bytesPerToken(part.second)).c_str());
}

std::string jsonPart(const ModelCost &cost, const NamedPart &part) {
  return format("\"%s\":{\"activated\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"cache_bytes\":%" PRIu64
                ",\"flops\":%" PRIu64 ",\"parameters\":%" PRIu64 "}",
                part.first, part.second.activated, cost.bytesPerToken(part.second),
                part.second.cacheBytes, part.second.flops, part.second.parameters);
}

} // namespace

ModelCost computeCost(const ModelConfig &config, int64_t weightBytes, int64_t contextLength,
                      bool quantized) {
  ModelCost cost;
  cost.contextLength = contextLength ? contextLength : config.maxPositions;
  cost.weightBytes = weightBytes;
  cost.quantized = quantized;
  cost.numLayers = config.numLayers;
  uint64_t hidden = config.hiddenSize, vocab = config.vocabSize;
  cost.embed = {vocab * hidden, hidden};
  cost.layer = layerCost(config, cost.contextLength);
  cost.head = vectorCost(hidden);
  ActiveShare whole;
  whole.width = hidden;
  PartCost projection = projectionIn(whole, vocab);
  if (config.tieWordEmbeddings)
    projection.parameters = 0; // stored once, as the embedding table
  cost.head += projection;
  return cost;
}

std::string formatCostTable(const ModelCost &cost) {
  PartCost total = cost.total();
  std::string text = format("parameters: %.2fM total, %.2fM activated per token\n",
                            total.parameters / 1e6, total.activated / 1e6);
  text += format("per token at T = 1, context %" PRId64 ", %" PRId64
                 "-byte weights%s: %.3f GFLOP, %.2f MB read or written\n\n",
                 cost.contextLength, cost.weightBytes, cost.quantized ? " (projections: int8)" : "",
                 total.flops / 1e9, cost.bytesPerToken(total) / 1e6);
  text += format("  %-12s %16s %16s %18s %16s\n", "part", "parameters", "activated", "FLOP/token",
                 "bytes/token");
  text += format("each of %" PRId64 " layers\n", cost.numLayers);
  for (const NamedPart &part : layerParts(cost.layer))
    text += tableLine(cost, part);
  text += "whole model\n";
  for (const NamedPart &part : modelParts(cost))
    text += tableLine(cost, part);
  return text;
}

std::string formatCostJson(const ModelCost &cost) {
  std::string text = format("{\"context_length\":%" PRId64 ",", cost.contextLength);
  for (const NamedPart &part : modelParts(cost))
    text += jsonPart(cost, part) + ",";
  text += "\"per_layer\":{";
  const char *separator = "";
  for (const NamedPart &part : layerParts(cost.layer)) {
    text += separator + jsonPart(cost, part);
    separator = ",";
  }
  text += format("},\"num_layers\":%" PRId64 ",\"projection_bytes\":%" PRId64
                 ",\"weight_bytes\":%" PRId64 "}\n",
                 cost.numLayers, cost.quantized ? 1 : cost.weightBytes, cost.weightBytes);
  return text;
}

} // namespace mlir::mohd
