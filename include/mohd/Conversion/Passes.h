// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversions between dialects: their passes.
#ifndef MOHD_CONVERSION_PASSES_H
#define MOHD_CONVERSION_PASSES_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mohd {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "mohd/Conversion/Passes.h.inc"

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_PASSES_H
