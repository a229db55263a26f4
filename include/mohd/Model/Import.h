// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a configuration to `mohd` ops: the import phase.

#ifndef MOHD_MODEL_IMPORT_H
#define MOHD_MODEL_IMPORT_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Model/TensorCopy.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace mlir::mohd {

struct ImportOptions {
  /// The element type of every weight in the bundle: F32, BF16 or F16. Activations are f32.
  DType weightType = DType::F32;
  /// Which entry points to build.
  bool prefill = true;
  bool decode = true;
  bool sample = true;
};

/// Builds a module with functions `prefill`, `decode` and `sample` (docs/formats.md, "Entry points") for a
/// checked configuration.
///
/// Weights are `mohd.weight` ops that name a tensor of expectedTensors(); no data enters the
/// module. Each argument and result of a function carries `mohd.name`, and `mohd.dims` with the
/// names of its dynamic dimensions in order. A result with the name of an argument is that
/// argument, updated in place. Loads the dialects it needs. Null if the module does not verify,
/// which is reported through the context's diagnostics.
OwningOpRef<ModuleOp> importModel(MLIRContext &context, const ModelConfig &config,
                                  const ImportOptions &options = {});

/// How a WeightSource must deliver the tensor of a `mohd.weight` with this result type and these attributes; null for one
/// that is not given.
TensorLayout weightLayout(RankedTensorType type, DenseI64ArrayAttr expandedShape,
                          DenseI64ArrayAttr permutation, IntegerAttr panels = {},
                          QuantizedPartAttr quantized = {});

} // namespace mlir::mohd

#endif // MOHD_MODEL_IMPORT_H
