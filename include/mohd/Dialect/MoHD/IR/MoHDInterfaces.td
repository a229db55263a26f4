// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The interfaces of ops on tokens, and of ops that have a gradient.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDINTERFACES_TD
#define MOHD_DIALECT_MOHD_IR_MOHDINTERFACES_TD

include "mlir/IR/OpBase.td"

def Mohd_TokenOpInterface : OpInterface<"TokenOpInterface"> {
  let cppNamespace = "::mlir::mohd";
  let description = [{
    An op whose work is counted in tokens. It tells which operands share the token axis (dimension 0), which result is an
    operand updated in place, and which operands are indices that must be in range; scheduling needs nothing else about an op.
  }];
  let methods = [
    InterfaceMethod<"Operand numbers whose dimension 0 (a routing: whose token count) is the op's token count.",
        "::llvm::SmallVector<unsigned>", "getTokenOperands">,
    InterfaceMethod<"Operand number that result 0 overwrites, if any.",
        "::std::optional<unsigned>", "getTiedOperand", (ins), "", "return std::nullopt;">,
    InterfaceMethod<"Operand number whose dynamic dimensions are those of result 0, if any.",
        "::std::optional<unsigned>", "getShapeOperand", (ins), "", "return $_op.getTiedOperand();">,
    InterfaceMethod<"Operands that hold indices, each with the operand and dimension that bounds it.",
        "::llvm::SmallVector<::mlir::mohd::IndexOperand>", "getIndexOperands", (ins), "", "return {};">,
    InterfaceMethod<"Pairs of dimensions of operands that are equal, besides the token counts.",
        "::llvm::SmallVector<::mlir::mohd::EqualDims>", "getEqualDims", (ins), "", "return {};">,
    InterfaceMethod<"True if dimension 0 of the results is the token count.",
        "bool", "resultsHaveTokens", (ins), "", "return true;">,
    InterfaceMethod<"True if the op reads the gates of its routing, not only the indices.",
        "bool", "readsGates", (ins), "", "return false;">
  ];
  let verify = "return ::mlir::mohd::detail::verifyTokenOp($_op);";
}

def Mohd_DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::mlir::mohd";
  let description = [{
    An op whose operands have gradients if its results have. `mohd-differentiate` calls it in reverse order of the ops of a function; docs/differentiation.md has
    each op's rule.
  }];
  let methods = [
    InterfaceMethod<"Adds to `gradients` what each operand gets from those of the results, by ops that `b` makes. Called only if a result has one.",
        "::llvm::LogicalResult", "buildGradient", (ins "::mlir::OpBuilder &":$b, "::mlir::mohd::GradientMap &":$gradients)>
  ];
}

#endif // MOHD_DIALECT_MOHD_IR_MOHDINTERFACES_TD
