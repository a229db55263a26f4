// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors a model must have: names, shapes and roles, as the table of docs/formats.md lists
// them.

#ifndef MOHD_MODEL_TENSORS_H
#define MOHD_MODEL_TENSORS_H

#include "mohd/Model/Config.h"

namespace mlir::mohd {

/// What a tensor is for; decides how random weights are drawn.
enum class TensorRole { Projection, Norm, Fusion, FusionBias };

/// One tensor that a model must have, with exactly this shape.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::Projection;

  int64_t numElements() const;
};

/// `model.layers.{layer}.{suffix}`: the name of a layer's tensor.
std::string layerTensorName(int64_t layer, std::string_view suffix);

/// A shape for messages: `[2, 3]`.
std::string shapeText(const std::vector<int64_t> &shape);

/// All tensors of a checked configuration, embedding first, then layer by layer, then the final
/// norm and the head.
std::vector<TensorSpec> expectedTensors(const ModelConfig &config);

} // namespace mlir::mohd

#endif // MOHD_MODEL_TENSORS_H
