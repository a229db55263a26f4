// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A temporary model folder for tests, and a model small enough to count by hand.

#ifndef MOHD_UNITTESTS_MODEL_MODELFOLDER_H
#define MOHD_UNITTESTS_MODEL_MODELFOLDER_H

#include "mohd/Model/TensorCopy.h"
#include "mohd/Model/Tensors.h"

/// D = 8, N = 4, K_s = K_r = 1, d_e = 2, E = 4, d_ff = 6, V = 10, one layer.
mlir::mohd::ModelConfig tinyModelConfig();

/// A folder that is removed with all its files when the object goes.
class ModelFolder {
public:
  ModelFolder();
  ~ModelFolder();
  ModelFolder(const ModelFolder &) = delete;
  ModelFolder &operator=(const ModelFolder &) = delete;

  const std::string &path() const { return folder; }
  void writeText(const std::string &name, const std::string &text);
  std::string readText(const std::string &name);

  /// Writes a safetensors file with valuesOf() each tensor, in `storageType`.
  void writeWeights(const std::string &name, const std::vector<mlir::mohd::TensorSpec> &specs);

  /// Values that differ by tensor and element and that every storage type holds exactly.
  static std::vector<float> valuesOf(const mlir::mohd::TensorSpec &spec);

  mlir::mohd::DType storageType = mlir::mohd::DType::F32;

private:
  std::string folder;
};

#endif // MOHD_UNITTESTS_MODEL_MODELFOLDER_H
