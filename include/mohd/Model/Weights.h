// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where a model's weights come from: a folder of safetensors files, or a seed.

#ifndef MOHD_MODEL_WEIGHTS_H
#define MOHD_MODEL_WEIGHTS_H

#include "mohd/Model/TensorCopy.h"
#include "mohd/Model/Tensors.h"

#include <memory>

namespace mlir::mohd {

/// The weights of one model. Holds all tensors of expectedTensors() with their exact shapes;
/// reading is thread-safe.
class WeightSource {
public:
  virtual ~WeightSource();

  /// Fills `target` with tensor `name` in `layout`; see copyTensor() for sizes, errors and what is
  /// added to `error`. An unknown name is an error.
  virtual Status readTensor(const std::string &name, const TensorLayout &layout, void *target,
                            size_t targetBytes, QuantizationError *error = nullptr) const = 0;

  /// The type that tensor `name` is stored in; f32 for random weights and unknown names.
  virtual DType storedType(const std::string &name) const = 0;

  /// The base names of the files read, in order; empty for random weights.
  virtual std::vector<std::string> fileNames() const = 0;
};

/// Opens the weights of a model folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
///
/// Every expected tensor must be there with exactly its shape, and no other. Shard names must match
/// [A-Za-z0-9._-]+\.safetensors; no symbolic link is followed; the index must name for each tensor
/// the shard it is in.
Result<std::unique_ptr<WeightSource>> openWeights(const std::string &folder,
                                                  const ModelConfig &config);

/// Weights drawn from `seed`: the same on every machine and in every order of reading. Projections
/// and routers are normal-like with standard deviation 0.02, norms 1, fusion matrices identity plus
/// a little noise, fusion biases noise.
std::unique_ptr<WeightSource> randomWeights(const ModelConfig &config, uint64_t seed);

} // namespace mlir::mohd

#endif // MOHD_MODEL_WEIGHTS_H
