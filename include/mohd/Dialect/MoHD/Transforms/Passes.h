// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes on the mohd dialect: planning and scheduling.
#ifndef MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H
#define MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mohd {

/// Name of the module attribute that lists the weights of a scheduled module, in the order that bindings count them: an
/// array of dictionaries {source, type, expanded_shape?, permutation?}.
inline constexpr llvm::StringLiteral kWeightsAttr = "mohd.weights";
/// Marks a function as a kernel.
inline constexpr llvm::StringLiteral kKernelAttr = "mohd.kernel";
/// Argument or result attribute of an entry point: the name of an input or output.
inline constexpr llvm::StringLiteral kNameAttr = "mohd.name";
/// Argument attribute of an entry point: an array with a name for each dynamic dimension. Equal names are equal dims.
inline constexpr llvm::StringLiteral kDimsAttr = "mohd.dims";

#define GEN_PASS_DECL
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"

} // namespace mlir::mohd

#endif // MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H
