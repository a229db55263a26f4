// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Gives every product a plan, so that lowerings obey and never decide.
//
//   mohd.spmm %x, %r, %w                     =>   mohd.spmm %x, %r, %w plan <gather to 24, grouped>
//
// Shown by test/Dialect/MoHD/plan-sparsity.mlir.
#include "mohd/Dialect/MoHD/Transforms/CostModel.h"
#include "mohd/Dialect/MoHD/Transforms/Passes.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_PLANSPARSITYPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// Tokens up to which plans are compared: more than a block has.
static constexpr int64_t kMaxGatherTokens = 512;

/// Tokens up to which a GPU gathers: the rows of one tile of its tensor units.
static constexpr int64_t kGpuGatherTokens = 16;

/// The shape of a product with a weight [.., rows, columns].
static ProductShape getShape(RankedTensorType weight, int64_t numGroups, int64_t numCommon,
                             int64_t numChosen) {
  return {numGroups,
          numCommon,
          numChosen,
          weight.getNumElements() / numGroups,
          weight.getDimSize(weight.getRank() - 2),
          weight.getElementTypeBitWidth(),
          /*sharesTokens=*/false};
}

static ProductShape getFloatShape(Operation *op) {
  auto ofRouting = [](RankedTensorType weight, RoutingType routing) {
    return getShape(weight, routing.getNumGroups(), routing.getNumCommon(), routing.getNumChosen());
  };
  return llvm::TypeSwitch<Operation *, ProductShape>(op)
      .Case<SpmmOp, SddmmOp>([&](auto product) {
        return ofRouting(product.getWeight().getType(), product.getRouting().getType());
      })
      .Case([&](LinearOp linear) { return getShape(linear.getWeight().getType(), 1, 1, 0); });
}

/// The shape of a product. A quantised weight is read as bytes.
static ProductShape getShape(Operation *op) {
  ProductShape shape = getFloatShape(op);
  shape.sharesTokens = isa<SddmmOp>(op);
  Value weight = isa<LinearOp>(op) ? cast<LinearOp>(op).getWeight() : op->getOperand(2);
  if (weight.getDefiningOp<DequantizeOp>())
    shape.elementBits = 8;
  return shape;
}

namespace {
struct PlanSparsityPass : mohd::impl::PlanSparsityPassBase<PlanSparsityPass> {
  using Base::Base;

  void runOnOperation() override {
    if (lanes < 1) {
      getOperation().emitError("expects positive lanes of a target, got ") << lanes.getValue();
      return signalPassFailure();
    }
    getOperation().walk([&](Operation *op) {
      if (isa<LinearOp, SpmmOp, SddmmOp>(op) && !op->hasAttr("plan"))
        plan(op);
    });
  }

private:
  void planForGpu(Operation *op, const ProductShape &shape) {
    Strategy strategy = shape.numCommon == shape.numGroups ? Strategy::Dense : Strategy::Bucket;
    int64_t tokens =
        gatherTokens < 0 ? kGpuGatherTokens : std::min<int64_t>(gatherTokens, kGpuGatherTokens);
    op->setAttr("plan", PlanAttr::get(op->getContext(), tokens, strategy));
    ++numPlanned;
    if (remarks)
      op->emitRemark() << "plan: " << op->getName() << " of " << shape.numCommon + shape.numChosen
                       << " of " << shape.numGroups << " groups: gather to " << tokens
                       << " tokens, then " << stringifyStrategy(strategy);
  }

  void plan(Operation *op) {
    ProductShape shape = getShape(op);
    if (gpu)
      return planForGpu(op, shape);
    CostModel costs(lanes);
    Strategy strategy = shape.numCommon == shape.numGroups ? Strategy::Dense : Strategy::Grouped;
    int64_t tokens = gatherTokens < 0 ? costs.gatherTokens(shape, kMaxGatherTokens)
                                      : std::min<int64_t>(gatherTokens, kMaxGatherTokens);
    op->setAttr("plan", PlanAttr::get(op->getContext(), tokens, strategy));
    ++numPlanned;
    if (!remarks)
      return;
    int64_t depth = isa<SpmmOp>(op) ? shape.depth * shape.numGroups : shape.depth;
    ProductShape dense = {
        1, 1, 0, shape.groupElements * shape.numGroups, depth, shape.elementBits, false};
    auto ratio = [&](int64_t numTokens) {
      auto cycles = [&](const ProductShape &of) {
        return std::min(costs.gatherCycles(of, numTokens), costs.groupedCycles(of, numTokens));
      };
      return llvm::formatv("{0:f2}", cycles(dense) / cycles(shape)).str();
    };
    op->emitRemark() << "plan: " << op->getName() << " of " << shape.numCommon + shape.numChosen
                     << " of " << shape.numGroups << " groups, " << shape.groupElements
                     << " weights of " << shape.elementBits << " bits each: gather to " << tokens
                     << " tokens, then " << stringifyStrategy(strategy)
                     << "; expected speed over dense " << ratio(1) << " for 1 token, " << ratio(32)
                     << " for 32, " << ratio(256) << " for 256";
  }
};
} // namespace
