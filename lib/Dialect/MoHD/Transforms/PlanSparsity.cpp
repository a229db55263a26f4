// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Gives every sparse op a plan, so that lowerings obey and never decide.
//
//   mohd.spmm %x, %r, %w                     =>   mohd.spmm %x, %r, %w plan <gather>
//
// Shown by test/Dialect/MoHD/plan-sparsity.mlir.
#include "mohd/Dialect/MoHD/Transforms/Passes.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_PLANSPARSITYPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

namespace {
struct PlanSparsityPass : mohd::impl::PlanSparsityPassBase<PlanSparsityPass> {
  using Base::Base;

  template <typename SparseOp> void plan(SparseOp op) {
    if (op.getPlan())
      return;
    RoutingType routing = op.getRouting().getType();
    Strategy strategy =
        routing.getNumActive() == routing.getNumGroups() ? Strategy::Dense : Strategy::Gather;
    op.setPlanAttr(PlanAttr::get(op.getContext(), strategy));
    ++numPlanned;
  }

  void runOnOperation() override {
    getOperation().walk([&](Operation *op) {
      if (auto spmm = dyn_cast<SpmmOp>(op))
        plan(spmm);
      else if (auto sddmm = dyn_cast<SddmmOp>(op))
        plan(sddmm);
    });
  }
};
} // namespace
