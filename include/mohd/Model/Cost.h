// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a token costs: parameters, arithmetic and memory traffic, computed from the configuration
// alone.

#ifndef MOHD_MODEL_COST_H
#define MOHD_MODEL_COST_H

#include "mohd/Model/Config.h"

namespace mlir::mohd {

/// The cost of one part of a model.
struct PartCost {
  uint64_t parameters = 0; // stored
  uint64_t activated = 0; // read for one token; of the embedding table the one row that it looks up
  uint64_t flops =
      0; // per token: two for each multiply-add of projections, router, fusion and attention
  uint64_t cacheBytes = 0; // per token: KV cache rows read and written, f32
  uint64_t projected = 0;  // of the activated weights, those of projections, which can be quantised
  uint64_t scales = 0; // that stand beside those if they are: one for each group and output column

  PartCost &operator+=(const PartCost &other);
};

/// The cost of a sub-layer's parts. Norm weights belong to the sub-layer they feed.
struct LayerCost {
  PartCost attention, ffn, router, fusion;

  PartCost total() const;
};

/// The cost of a model for a token that attends to `contextLength` positions, itself included.
/// Norms, softmax, RoPE, gates and element-wise work are not counted in `flops`.
struct ModelCost {
  int64_t contextLength = 0;
  int64_t weightBytes = 0; // bytes of a stored weight
  bool quantized = false;  // projections are int8, with scales of f32
  int64_t numLayers = 0;
  PartCost embed;
  LayerCost layer; // of one layer; all layers are alike
  PartCost head;   // final norm and output projection

  PartCost total() const;

  /// Bytes that one token moves when it is alone in the call (T = 1): activated weights and KV
  /// cache.
  uint64_t bytesPerToken(const PartCost &part) const;
};

/// Computes the cost of a checked configuration. `contextLength` 0 means the model's
/// `max_position_embeddings`. `weightBytes` is the size of a stored weight: 4 for f32, 2 for bf16
/// and f16; with `quantized` the weights of projections are int8.
ModelCost computeCost(const ModelConfig &config, int64_t weightBytes, int64_t contextLength = 0,
                      bool quantized = false);

/// The cost as a table for people, one line for each part.
std::string formatCostTable(const ModelCost &cost);

/// The cost as one JSON object with integers only, keys as in the struct.
std::string formatCostJson(const ModelCost &cost);

} // namespace mlir::mohd

#endif // MOHD_MODEL_COST_H
