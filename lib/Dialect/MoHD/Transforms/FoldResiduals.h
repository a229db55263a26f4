// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Takes the residual stream into the products that are added to it.
#ifndef MOHD_LIB_DIALECT_MOHD_TRANSFORMS_FOLDRESIDUALS_H
#define MOHD_LIB_DIALECT_MOHD_TRANSFORMS_FOLDRESIDUALS_H

#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mohd {

/// Moves `product` to where `op` is, whose result it gives from now on.
inline void moveInto(Operation *product, Operation *op) {
  product->moveBefore(op);
  op->getResult(0).replaceAllUsesWith(product->getResult(0));
  op->erase();
}

/// Lets `Spmm` and `Others` below `root`, ops with an operand `residual`, add the residual stream, where all is f32 and nothing else uses their result. An
/// `Spmm` that has a gate does not.
template <typename Spmm, typename... Others> void foldResiduals(Operation *root) {
  auto getResidual = [](Value value) -> std::optional<MutableOperandRange> {
    return llvm::TypeSwitch<Operation *, std::optional<MutableOperandRange>>(value.getDefiningOp())
        .template Case<Spmm, Others...>([](auto op) { return op.getResidualMutable(); })
        .Default(std::nullopt);
  };
  auto isFoldable = [&](Value value) {
    std::optional<MutableOperandRange> residual;
    if (value.hasOneUse() && getElementTypeOrSelf(value).isF32() && value.getDefiningOp())
      residual = getResidual(value);
    auto spmm = value.getDefiningOp<Spmm>();
    return residual && residual->empty() && !(spmm && spmm.getGate());
  };
  root->walk([&](AddOp sum) {
    bool foldsLhs = isFoldable(sum.getLhs());
    if (!foldsLhs && !isFoldable(sum.getRhs()))
      return;
    Value product = foldsLhs ? sum.getLhs() : sum.getRhs();
    getResidual(product)->assign(foldsLhs ? sum.getRhs() : sum.getLhs());
    moveInto(product.getDefiningOp(), sum);
  });
}

} // namespace mlir::mohd

#endif // MOHD_LIB_DIALECT_MOHD_TRANSFORMS_FOLDRESIDUALS_H
