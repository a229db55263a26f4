// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names of discardable attributes on modules and functions.
#ifndef MOHD_DIALECT_MOHD_IR_ATTRIBUTENAMES_H
#define MOHD_DIALECT_MOHD_IR_ATTRIBUTENAMES_H

#include "llvm/ADT/StringRef.h"

namespace mlir::mohd {

/// Argument or result attribute of an entry point: the name of an input or output.
inline constexpr llvm::StringLiteral kNameAttr = "mohd.name";
/// Argument attribute of an entry point: an array with a name for each dynamic dimension. Equal names are equal dims.
inline constexpr llvm::StringLiteral kDimsAttr = "mohd.dims";
/// Argument attribute of a function that has a backward function: no gradient of the argument is asked for.
inline constexpr llvm::StringLiteral kFrozenAttr = "mohd.frozen";
/// Function attribute: the name of the backward function that `mohd-differentiate` makes.
inline constexpr llvm::StringLiteral kBackwardAttr = "mohd.backward";
/// Lists the weights of a scheduled module, in the order that bindings count them: an array of dictionaries
/// {source, type, expanded_shape?, permutation?}.
inline constexpr llvm::StringLiteral kWeightsAttr = "mohd.weights";
/// Marks a function as a kernel.
inline constexpr llvm::StringLiteral kKernelAttr = "mohd.kernel";
/// On a GPU kernel: an array of PTX instructions, or beginnings of them ("wgmma.mma_async"), without which it is not what it should be.
inline constexpr llvm::StringLiteral kInstructionsAttr = "mohd.instructions";

} // namespace mlir::mohd

#endif // MOHD_DIALECT_MOHD_IR_ATTRIBUTENAMES_H
