// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes that belong to the phases themselves.
#ifndef MOHD_PIPELINES_PASSES_H
#define MOHD_PIPELINES_PASSES_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mohd {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "mohd/Pipelines/Passes.h.inc"

} // namespace mlir::mohd

#endif // MOHD_PIPELINES_PASSES_H
