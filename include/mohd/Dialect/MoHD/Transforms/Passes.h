// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes on the mohd dialect: planning and scheduling.
#ifndef MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H
#define MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H

#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mohd {

#define GEN_PASS_DECL
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"

} // namespace mlir::mohd

#endif // MOHD_DIALECT_MOHD_TRANSFORMS_PASSES_H
