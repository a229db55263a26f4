// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From scheduled modules to a bundle's manifest and segments.
#ifndef MOHD_LIB_COMPILER_BUNDLEBUILDER_H
#define MOHD_LIB_COMPILER_BUNDLEBUILDER_H

#include "mohd/Compiler/Compiler.h"
#include "mohd/Model/Import.h"
#include "mohd/Model/Weights.h"
#include "mohd/Target/CudaCode.h"
#include "mohd/Target/TargetInfo.h"
#include "mohd/format/bundle.h"

#include "mlir/IR/BuiltinOps.h"

namespace mlir::mohd {

/// A weight of scheduled modules: the tensor's name in the model's files, and how to read it.
struct ScheduledWeight {
  Attribute entry; // of the module's list, which says the same
  std::string source;
  TensorLayout layout;
  std::vector<int64_t> shape; // as stored in the bundle
};

/// Adds the weights that `module`'s bindings count to `weights`, unless they are there: targets share what they lay out alike. Returns where
/// each is.
std::vector<int64_t> addScheduledWeights(std::vector<ScheduledWeight> &weights, ModuleOp module);

/// Names by which the manifest knows the weights: the source, with `.scales` for the scales of a quantised one and a suffix for a second layout.
std::vector<std::string> getWeightNames(const std::vector<ScheduledWeight> &weights);

/// Fills in `manifest.entryPoints` from the programs of `module`; MALFORMED if there are none. With `weightsAsInputs` each weight is an
/// input of every entry point.
Status addEntryPoints(::mohdrt::Manifest &manifest, ModuleOp module,
                      const std::vector<ScheduledWeight> &weights, bool weightsAsInputs);

/// Appends a target with its kernels and programs. `segment` is the index of its code; `weightIndices` are the places of the module's
/// weights in the bundle.
void addTarget(::mohdrt::Manifest &manifest, ModuleOp module, const TargetInfo &target,
               int64_t segment, const std::vector<int64_t> &weightIndices, bool weightsAsInputs);

/// Notes what the assembler says of the kernels of `target`, whose code `image` is.
void addKernelFigures(::mohdrt::Target &target, const CudaImage &image);

/// Weights that lie in one container: those from `first` on, `size` bytes.
struct WeightContainer {
  size_t first = 0, count = 0;
  int64_t size = 0;
};

/// Describes the weights as laid out one after the other, 64-byte aligned: all in the external file 0, or in segments from `segment` on
/// (a runtime checks several segments at once, as it cannot with the bytes of one). Returns the containers.
std::vector<WeightContainer> addWeights(::mohdrt::Manifest &manifest,
                                        const std::vector<ScheduledWeight> &weights, bool external,
                                        int64_t segment);

/// What quantisation lost.
struct QuantizationReport {
  int64_t numTensors = 0;
  QuantizationError total, worst;
  std::string worstSource; // the tensor with the largest relative error

  void add(const std::string &source, const QuantizationError &error);
  /// One line for people; there must be a tensor.
  std::string describe() const;
};

/// Hands the bytes of a container to `sink`, a weight at a time, and adds to `report`.
Status produceWeights(const ::mohdrt::Manifest &manifest,
                      const std::vector<ScheduledWeight> &weights, WeightContainer container,
                      const WeightSource &source, const ::mohdrt::ByteSink &sink,
                      QuantizationReport &report);

} // namespace mlir::mohd

#endif // MOHD_LIB_COMPILER_BUNDLEBUILDER_H
