// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The exit invariants of the phases.
#include "mohd/Pipelines/Passes.h"

#include "mohd/Dialect/MoHD/IR/MoHD.h"
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_VERIFYPHASEPASS
#include "mohd/Pipelines/Passes.h.inc"

namespace {

/// Elements that a constant in the IR may have: tables and small tests, but no weights.
constexpr int64_t maxConstantElements = 1024;

/// Programs are data for the bundle, not code to lower.
bool isProgram(Operation *op) { return isa<ProgramOp, DispatchOp>(op); }

LogicalResult checkImported(Operation *op) {
  for (NamedAttribute attribute : op->getAttrs()) {
    auto elements = dyn_cast<ElementsAttr>(attribute.getValue());
    if (elements && !elements.isSplat() && elements.getNumElements() > maxConstantElements)
      return op->emitOpError("expects constants of at most ")
             << maxConstantElements << " elements at the end of phase import, got "
             << elements.getNumElements() << ": weights are references (mohd.weight)";
  }
  return success();
}

LogicalResult checkPlanned(Operation *op) {
  if (isa<LinearOp, SpmmOp, SddmmOp>(op) && !op->hasAttr("plan"))
    return op->emitOpError("expects a plan at the end of phase plan: run mohd-plan-sparsity");
  return checkImported(op);
}

/// The type of a kernel (docs/formats.md).
FunctionType getKernelType(MLIRContext *context) {
  Type pointer = LLVM::LLVMPointerType::get(context), i64 = IntegerType::get(context, 64);
  return FunctionType::get(context, {pointer, pointer, i64, i64}, {});
}

LogicalResult checkScheduled(Operation *op) {
  auto isTensor = [](Type type) { return isa<TensorType, RoutingType>(type); };
  if (llvm::any_of(op->getOperandTypes(), isTensor) || llvm::any_of(op->getResultTypes(), isTensor))
    return op->emitOpError("expects no tensor at the end of phase schedule");
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (function && function->hasAttr(tile::kKernelAttr))
    return success(); // a GPU's kernel, whose parameters the tile dialect checks
  if (function && function.getFunctionType() != getKernelType(op->getContext()))
    return op->emitOpError("expects the type of a kernel at the end of phase schedule, ")
           << getKernelType(op->getContext()) << ", got " << function.getFunctionType();
  return success();
}

LogicalResult checkLowered(Operation *op) {
  if (isa<ModuleOp>(op) || isProgram(op))
    return success();
  if (isa_and_nonnull<LLVM::LLVMDialect>(op->getDialect()))
    return success();
  return op->emitOpError("expects only the llvm dialect at the end of phase lower");
}

struct VerifyPhasePass : impl::VerifyPhasePassBase<VerifyPhasePass> {
  using Base::Base;

  void runOnOperation() override {
    using Check = LogicalResult (*)(Operation *);
    Check check = llvm::StringSwitch<Check>(phase)
                      .Case("import", checkImported)
                      .Case("plan", checkPlanned)
                      .Case("schedule", checkScheduled)
                      .Case("lower", checkLowered)
                      .Default(nullptr);
    if (!check) {
      getOperation().emitError("expects option 'phase' of mohd-verify-phase to be import, plan, "
                               "schedule or lower, got '")
          << phase << "'";
      return signalPassFailure();
    }
    // Outer ops first; one error is enough.
    auto result = getOperation()->walk<WalkOrder::PreOrder>([&](Operation *op) {
      return failed(check(op)) ? WalkResult::interrupt() : WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};

} // namespace
} // namespace mlir::mohd
