// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The mohd dialect: types, attributes, interface and ops.
#ifndef MOHD_DIALECT_MOHD_IR_MOHD_H
#define MOHD_DIALECT_MOHD_IR_MOHD_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "mohd/Dialect/MoHD/IR/MoHDEnums.h.inc"

namespace mlir::mohd {

/// An operand that holds indices, and what bounds it: every element must lie in [0, bound).
struct IndexOperand {
  /// Operand number of the indices.
  unsigned operand;
  /// Operand number of the tensor whose dimension `boundDim` is the bound; -1 if `bound` is.
  int boundOperand;
  unsigned boundDim;
  int64_t bound;
};

/// Dimension `lhsDim` of operand `lhs` equals dimension `rhsDim` of operand `rhs`.
struct EqualDims {
  unsigned lhs, lhsDim, rhs, rhsDim;
};

class RoutingType;
class GradientMap;

namespace detail {
/// Checks what every token op promises: its token operands and results have one token count, and tied types agree.
LogicalResult verifyTokenOp(Operation *op);

/// Checks that the width of `input` [tokens, width] is a multiple of the routing's number of groups.
LogicalResult verifyWholeGroups(Operation *op, RankedTensorType input, RoutingType routing);

/// Checks that `permutation` holds each of 0..rank-1 once.
LogicalResult verifyPermutation(Operation *op, llvm::ArrayRef<int64_t> permutation, size_t rank);

/// Checks the shapes of a weight's gradient, [tokens, width] `grouped` and `other`.
LogicalResult verifyWeightGradient(Operation *op, RankedTensorType grouped, RankedTensorType other,
                                   RankedTensorType result,
                                   std::optional<llvm::ArrayRef<int64_t>> permutation, bool local);

/// True if `a` x `b` = `width`, for extents whose product may not fit 64 bits.
bool covers(int64_t a, int64_t b, int64_t width);
} // namespace detail

/// The shape of a weight [G, R, C], or [R, C], in panels of `panel` columns: [G, ceildiv(C, panel), R, panel], with G = 1 for [R, C].
llvm::SmallVector<int64_t> getPanelShape(llvm::ArrayRef<int64_t> shape, int64_t panel);

/// The shape [G, P, C] of what a weight's gradient is before its dimensions are put in the order of `permutation`; `result` is [P, C] or of rank 3.
llvm::SmallVector<int64_t> getGradientShape(RankedTensorType result,
                                            std::optional<llvm::ArrayRef<int64_t>> permutation);

/// An activation scaling as coefficient * mass^massPower, the mass being the sum of the token's gates.
struct ScalingForm {
  double coefficient;
  int massPower; // -1, 0 or 1
};

/// The form of a scaling other than `none` (docs/semantics.md). The reference lowering has formulas of its own.
ScalingForm getScalingForm(RoutingType routing, Scaling scaling);

/// Checks the combinations of docs/semantics.md that are rejected; `error` receives the message's stream.
LogicalResult verifyGateAndScaling(Gate gate, Scaling scaling,
                                   llvm::function_ref<InFlightDiagnostic()> error);

} // namespace mlir::mohd

#include "mohd/Dialect/MoHD/IR/MoHDDialect.h.inc"
#include "mohd/Dialect/MoHD/IR/MoHDInterfaces.h.inc"

#define GET_TYPEDEF_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDAttributes.h.inc"

#define GET_OP_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDOps.h.inc"

#endif // MOHD_DIALECT_MOHD_IR_MOHD_H
