// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The mohd dialect: Mixture of Hidden Dimensions on tensors.
#ifndef MOHD_DIALECT_MOHD_IR_MOHDDIALECT_TD
#define MOHD_DIALECT_MOHD_IR_MOHDDIALECT_TD

include "mlir/IR/OpBase.td"

def Mohd_Dialect : Dialect {
  let name = "mohd";
  let cppNamespace = "::mlir::mohd";
  let summary = "transformers with routed hidden dimensions (Mixture of Hidden Dimensions)";
  let description = [{
    The vocabulary of MoHD (arXiv 2412.05644) on tensors: routing, activation scaling, the two sparse
    projections (SpMM on the contraction side, SDDMM on the output side), group fusion, and the rest of a
    LLaMA block. `docs/semantics.md` defines what every op computes; the reference lowering
    (`convert-mohd-to-linalg`) is its executable form.

    The token count T is dynamic everywhere; all other dimensions of an op are static, except the batch and
    the length of a KV cache.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"];
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
    void registerOps();
  }];
}

#endif // MOHD_DIALECT_MOHD_IR_MOHDDIALECT_TD
