// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Folds activation scaling into the gates of the routing, where only SpMMs consume the scaled value.
//
//   %r, %s = mohd.route %n, %phi gate softmax score softmax_all
//   %h = mohd.scale %n, %r scaling k_over_mass            %r, %s = mohd.route ... scaling k_over_mass
//   %q = mohd.spmm %h, %r, %w                       =>    %q = mohd.spmm %n, %r, %w
//
// Shown by test/Dialect/MoHD/fold-scale.mlir.
#include "mohd/Dialect/MoHD/Transforms/Passes.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_FOLDSCALEPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// The scalings of `route`'s routing, if they all are one kind and nothing would see that its gates change; else none.
static SmallVector<ScaleOp> getFoldableScales(RouteOp route) {
  SmallVector<ScaleOp> scales;
  for (Operation *user : route.getRouting().getUsers())
    if (auto scale = dyn_cast<ScaleOp>(user))
      scales.push_back(scale);
  auto isFolded = [&](Operation *op) {
    auto scale = dyn_cast_or_null<ScaleOp>(op);
    return scale && llvm::is_contained(scales, scale) &&
           scale.getScaling() == scales.front().getScaling();
  };
  for (Operation *user : route.getRouting().getUsers()) {
    auto tokenOp = dyn_cast<TokenOpInterface>(user);
    if (tokenOp && !tokenOp.readsGates())
      continue;
    auto spmm = dyn_cast<SpmmOp>(user);
    if (!isFolded(user) && !(spmm && isFolded(spmm.getInput().getDefiningOp())))
      return {};
  }
  for (ScaleOp scale : scales)
    for (Operation *user : scale.getResult().getUsers()) {
      auto spmm = dyn_cast<SpmmOp>(user);
      if (!spmm || spmm.getRouting() != route.getRouting())
        return {};
    }
  return scales;
}

namespace {
struct FoldScalePass : mohd::impl::FoldScalePassBase<FoldScalePass> {
  using Base::Base;

  void runOnOperation() override {
    // Collected first, as the scale that goes may be the op that a walk would visit next.
    SmallVector<RouteOp> routes;
    getOperation().walk([&](RouteOp route) { routes.push_back(route); });
    for (RouteOp route : routes) {
      SmallVector<ScaleOp> scales = getFoldableScales(route);
      if (route.getScaling() != Scaling::None || scales.empty())
        continue;
      route.setScaling(scales.front().getScaling());
      for (ScaleOp scale : scales) {
        scale.getResult().replaceAllUsesWith(scale.getInput());
        scale.erase();
        ++numFolded;
      }
    }
  }
};
} // namespace
