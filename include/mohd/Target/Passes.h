// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes that show what serialisation does.
#ifndef MOHD_TARGET_PASSES_H
#define MOHD_TARGET_PASSES_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::NVVM {
class NVVMDialect;
}

namespace mlir::mohd {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "mohd/Target/Passes.h.inc"

} // namespace mlir::mohd

#endif // MOHD_TARGET_PASSES_H
