// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Replaces products by their tiled form.
//
//   %w = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xf32>
//   %y = mohd.spmm %x, %r, %w plan <gather to 24,grouped> : ...
// becomes
//   %w = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 : tensor<16x6x4x16xf32>
//   %t = mohd.group_tokens %r block 258 : ...
//   %p = mohd.pack_tokens %x routing(%r) table(%t) block 258 rows 6 : ...
//   %y = mohd.tiled_spmm %p, %w table(%t) common 6 chosen 2 block 258 few 24 rows 6 panels 1 : ...
//
// Shown by test/Dialect/MoHD/tile-products.mlir.
#include "FoldResiduals.h"
#include "WeightView.h"

#include "mohd/Dialect/MoHD/Transforms/Passes.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_TILEPRODUCTSPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// Columns of a weight's panel, whatever the target: a bundle has its weights once for all targets.
static constexpr int64_t kPanelColumns = 16;
/// Rows of a tile at most, as many as AVX-512 has registers for.
static constexpr int64_t kMaxRows = 14;
/// Vectors in a row of a tile, where registers are wide enough.
static constexpr int64_t kTileVectors = 2;
/// Tokens in a block at most: enough to use a weight often.
static constexpr int64_t kMaxBlock = 256;
/// Columns of a block's tokens that are to fit half the cache, at most: of longer ones the next columns come in while these are used.
static constexpr int64_t kCachedColumns = 1024;
/// Tokens in a block of the lists that gradients of weights are made from: a group's list is to be long.
static constexpr int64_t kGradientBlock = 8192;
/// Steps of the contraction of sddmm for 8- and 16-bit weights, which are widened into a buffer.
static constexpr int64_t kNarrowDepth = 256;

namespace {

/// A weight in panels; `scales` is null for one that is not quantised.
struct PanelWeight {
  Value weight, scales;

  RankedTensorType getType() const { return cast<RankedTensorType>(weight.getType()); }
};

/// The sizes of a product's tiles.
struct Tiling {
  int64_t block, few, rows, panels;
};

struct TileProductsPass : mohd::impl::TileProductsPassBase<TileProductsPass> {
  using Base::Base;

  void runOnOperation() override {
    if (lanes < 1 || registers < 1 || l2Bytes < 1) {
      getOperation().emitError("expects positive lanes, registers and l2-bytes of a target, got ")
          << lanes.getValue() << ", " << registers.getValue() << " and " << l2Bytes.getValue();
      return signalPassFailure();
    }
    SmallVector<Operation *> products;
    getOperation().walk([&](Operation *op) {
      auto fusion = dyn_cast<GroupFusionOp>(op);
      bool isProduct = fusion && fusion.getKind() != Fusion::None && !fusion.getBias();
      if (isProduct || isa<LinearOp, SpmmOp, SddmmOp, WeightGradientOp, FusionMixOp>(op))
        products.push_back(op);
    });
    for (Operation *op : products) {
      OpBuilder b(op);
      Value tiled =
          llvm::TypeSwitch<Operation *, Value>(op)
              .Case([&](LinearOp linear) { return tileLinear(b, linear); })
              .Case([&](SpmmOp spmm) { return tileSpmm(b, spmm); })
              .Case([&](SddmmOp sddmm) { return tileSddmm(b, sddmm); })
              .Case([&](GroupFusionOp fusion) { return tileFusion(b, fusion); })
              .Case([&](FusionMixOp mix) {
                return mixGroups(b, mix.getLoc(), mix.getType(), mix.getInput(), mix.getLeft(),
                                 mix.getRouting());
              })
              .Case([&](WeightGradientOp gradient) { return tileWeightGradient(b, gradient); });
      if (remarks)
        explain(op, tiled.getDefiningOp());
      op->getResult(0).replaceAllUsesWith(tiled);
      op->erase();
      ++numTiled;
    }
    // Products took their parts; what reads these must go before CSE looks for dead weights.
    getOperation().walk([](DequantizeOp op) {
      if (op->use_empty())
        op.erase();
    });
    foldSwiglus();
    foldResiduals<TiledSpmmOp, TiledSddmmOp, MixGroupsOp>(getOperation());
  }

private:
  void explain(Operation *op, Operation *tiled) const;
  void foldSwiglus();
  Tiling getTiling(RankedTensorType weight, std::optional<PlanAttr> plan, int64_t cachedColumns,
                   bool wholeTiles) const;
  int64_t getDepth(SddmmOp op, Type weightElement, const Tiling &tiling) const;
  PanelWeight layOutProductWeight(OpBuilder &b, Value weight) const;
  Value layOutWeight(OpBuilder &b, Value weight, ArrayRef<int64_t> order = {}) const;
  Value tileBlocks(OpBuilder &b, GroupFusionOp op, Type element) const;
  Value mixGroups(OpBuilder &b, Location loc, Type type, Value input, Value left,
                  Value routing) const;
  Value tileFusion(OpBuilder &b, GroupFusionOp op) const;
  Value tileWeightGradient(OpBuilder &b, WeightGradientOp op) const;
  Value tileLinear(OpBuilder &b, LinearOp op) const;
  Value tileSpmm(OpBuilder &b, SpmmOp op) const;
  Value tileSddmm(OpBuilder &b, SddmmOp op) const;
};

} // namespace

/// Tiles for a weight [G, panels, R, P], in blocks whose tokens take half the cache with `cachedColumns` f32 each. With `wholeTiles` no tile has too few panels.
Tiling TileProductsPass::getTiling(RankedTensorType weight, std::optional<PlanAttr> plan,
                                   int64_t cachedColumns, bool wholeTiles) const {
  int64_t numPanels = weight.getDimSize(1), panel = weight.getDimSize(3);
  int64_t vectorsOfPanel = llvm::divideCeil(panel, lanes);
  Tiling tiling;
  tiling.panels =
      std::clamp<int64_t>(kTileVectors / vectorsOfPanel, 1, std::max<int64_t>(numPanels, 1));
  if (wholeTiles && numPanels % tiling.panels != 0)
    tiling.panels = 1;
  // The sums, a vector of weights for each column, and a factor are in registers.
  int64_t vectors = tiling.panels * vectorsOfPanel;
  tiling.rows = std::clamp<int64_t>((registers - 1 - vectors) / vectors, 1, kMaxRows);
  cachedColumns = std::clamp<int64_t>(cachedColumns, 1, kCachedColumns);
  int64_t fitting = l2Bytes / 2 / (int64_t(sizeof(float)) * cachedColumns);
  tiling.block =
      llvm::alignTo(std::clamp<int64_t>(fitting, 4 * tiling.rows, kMaxBlock), tiling.rows);
  tiling.few = plan ? plan->getGatherTokens() : 0;
  return tiling;
}

/// Columns of sddmm's input that are taken at a time, so that those of a block fit half the cache.
int64_t TileProductsPass::getDepth(SddmmOp op, Type weightElement, const Tiling &tiling) const {
  int64_t columns = std::max<int64_t>(op.getInput().getType().getDimSize(1), 1);
  // Sums wait in the result for the next columns, in f32.
  if (!op.getType().getElementType().isF32())
    return columns;
  if (!weightElement.isF32())
    return std::min(columns, kNarrowDepth);
  int64_t fitting = l2Bytes / 2 / (int64_t(sizeof(float)) * tiling.block);
  return std::min(columns, std::max<int64_t>(fitting, kNarrowDepth));
}

/// The weight, whose dimensions are first permuted if that is given, in panels.
Value TileProductsPass::layOutWeight(OpBuilder &b, Value weight, ArrayRef<int64_t> order) const {
  if (auto permute = weight.getDefiningOp<PermuteWeightOp>()) {
    SmallVector<int64_t> permutation(permute.getPermutation());
    for (auto [position, axis] : llvm::enumerate(order))
      permutation[position] = permute.getPermutation()[axis];
    return layOutWeight(b, permute.getWeight(), permutation);
  }
  auto type = cast<RankedTensorType>(weight.getType());
  SmallVector<int64_t> shape(type.getShape());
  for (auto [position, axis] : llvm::enumerate(order))
    shape[position] = type.getDimSize(axis);
  int64_t columns = std::max<int64_t>(shape.back(), 1);
  int64_t panel = std::min<int64_t>(llvm::PowerOf2Ceil(columns), kPanelColumns);
  auto packed = RankedTensorType::get(getPanelShape(shape, panel), type.getElementType());
  auto source = weight.getDefiningOp<WeightOp>();
  bool isScales = source && source.getQuantized() == QuantizedPart::Scales; // a row of the view
  if (!source || isScales)
    return PackWeightOp::create(b, weight.getLoc(), packed, weight,
                                order.empty() ? DenseI64ArrayAttr()
                                              : b.getDenseI64ArrayAttr(order));
  WeightView view = getWeightView(source, order);
  return WeightOp::create(b, source.getLoc(), packed, source.getSourceAttr(),
                          b.getDenseI64ArrayAttr(view.shape),
                          b.getDenseI64ArrayAttr(view.permutation), b.getI64IntegerAttr(panel),
                          source.getQuantizedAttr());
}

/// A projection's weight in panels. Of a dequantised one that comes from the model's files these are the values and the scales.
PanelWeight TileProductsPass::layOutProductWeight(OpBuilder &b, Value weight) const {
  std::optional<QuantizedWeight> parts = getQuantizedWeight(weight);
  if (!parts)
    return {layOutWeight(b, weight), Value()};
  auto panels = cast<WeightOp>(layOutWeight(b, parts->values).getDefiningOp());
  ArrayRef<int64_t> shape = panels.getType().getShape();
  auto type = RankedTensorType::get({shape[0], shape[1], shape[3]}, b.getF32Type());
  Value row = WeightOp::create(b, parts->scales.getLoc(), type, panels.getSourceAttr(),
                               panels.getExpandedShapeAttr(), panels.getPermutationAttr(),
                               panels.getPanelsAttr(), parts->scales.getQuantizedAttr());
  return {panels, row};
}

/// A tensor of `columns` columns with as many tokens as `like`.
static RankedTensorType getTokenType(RankedTensorType like, int64_t columns, Type element) {
  return RankedTensorType::get({like.getDimSize(0), columns}, element);
}

/// The table of `routing`'s tokens by group; null if all tokens have the same groups.
static Value listTokens(OpBuilder &b, Location loc, Value routing, RankedTensorType input,
                        int64_t block) {
  auto type = cast<RoutingType>(routing.getType());
  if (type.getNumChosen() == 0)
    return {};
  return GroupTokensOp::create(b, loc, getTokenType(input, type.getTableWidth(), b.getI32Type()),
                               routing, b.getI64IntegerAttr(block));
}

Value TileProductsPass::tileLinear(OpBuilder &b, LinearOp op) const {
  RankedTensorType input = op.getInput().getType();
  PanelWeight weight = layOutProductWeight(b, op.getWeight());
  Tiling tiling = getTiling(weight.getType(), op.getPlan(), input.getDimSize(1), false);
  Value packed =
      PackTokensOp::create(b, op.getLoc(), getTokenType(input, input.getDimSize(1), b.getF32Type()),
                           op.getInput(), Value(), Value(), tiling.block, tiling.rows);
  return TiledSpmmOp::create(b, op.getLoc(), op.getType(), packed, weight.weight, weight.scales,
                             Value(), Value(), Value(), 1, 0, tiling.block, tiling.few, tiling.rows,
                             tiling.panels);
}

Value TileProductsPass::tileSpmm(OpBuilder &b, SpmmOp op) const {
  RankedTensorType input = op.getInput().getType();
  RoutingType routing = op.getRouting().getType();
  PanelWeight weight = layOutProductWeight(b, op.getWeight());
  RankedTensorType weightType = weight.getType();
  int64_t active = routing.getNumActive() * weightType.getDimSize(2);
  Tiling tiling = getTiling(weightType, op.getPlan(), active, false);
  Value table = listTokens(b, op.getLoc(), op.getRouting(), input, tiling.block);
  Value packed =
      PackTokensOp::create(b, op.getLoc(), getTokenType(input, active, b.getF32Type()),
                           op.getInput(), op.getRouting(), table, tiling.block, tiling.rows);
  return TiledSpmmOp::create(b, op.getLoc(), op.getType(), packed, weight.weight, weight.scales,
                             table, Value(), Value(), routing.getNumCommon(),
                             routing.getNumChosen(), tiling.block, tiling.few, tiling.rows,
                             tiling.panels);
}

Value TileProductsPass::tileSddmm(OpBuilder &b, SddmmOp op) const {
  RankedTensorType input = op.getInput().getType();
  RoutingType routing = op.getRouting().getType();
  PanelWeight weight = layOutProductWeight(b, op.getWeight());
  Tiling tiling = getTiling(weight.getType(), op.getPlan(), input.getDimSize(1), true);
  Value table = listTokens(b, op.getLoc(), op.getRouting(), input, tiling.block);
  int64_t depth = getDepth(op, weight.getType().getElementType(), tiling);
  return TiledSddmmOp::create(b, op.getLoc(), op.getType(), op.getInput(), weight.weight,
                              weight.scales, table, Value(), routing.getNumCommon(),
                              routing.getNumChosen(), tiling.block, tiling.few, tiling.rows,
                              tiling.panels, depth,
                              /*local=*/false);
}

/// The blocks of a fusion's right factor.
Value TileProductsPass::tileBlocks(OpBuilder &b, GroupFusionOp op, Type element) const {
  RankedTensorType input = op.getInput().getType();
  Value right = layOutWeight(b, op.getRight(), {0, 2, 1});           // [k, p, q]
  ArrayRef<int64_t> rightShape = op.getRight().getType().getShape(); // [k, q, p]
  int64_t numBlocks = rightShape[0];
  Tiling tiling =
      getTiling(cast<RankedTensorType>(right.getType()), std::nullopt, rightShape[2], true);
  Value table;
  int64_t numCommon = numBlocks, numChosen = 0;
  if (op.getRouting()) {
    RoutingType routing = op.getRouting().getType();
    numCommon = routing.getNumCommon();
    numChosen = routing.getNumChosen();
    table = listTokens(b, op.getLoc(), op.getRouting(), input, tiling.block);
  }
  RankedTensorType type = getTokenType(input, numBlocks * rightShape[1], element);
  return TiledSddmmOp::create(b, op.getLoc(), type, op.getInput(), right, Value(), table, Value(),
                              numCommon, numChosen, tiling.block, tiling.few, tiling.rows,
                              tiling.panels, std::max<int64_t>(rightShape[2], 1), /*local=*/true);
}

/// The left factor of a fusion.
Value TileProductsPass::mixGroups(OpBuilder &b, Location loc, Type type, Value input, Value left,
                                  Value routing) const {
  return MixGroupsOp::create(b, loc, type, input, layOutWeight(b, left, {2, 1, 0}), // [r, s, l]
                             routing, Value());
}

/// A fusion: the blocks of the first factor, then the second one if there is one.
Value TileProductsPass::tileFusion(OpBuilder &b, GroupFusionOp op) const {
  if (op.getKind() == Fusion::BlockDiagonal)
    return tileBlocks(b, op, op.getType().getElementType());
  Value u = tileBlocks(b, op, b.getF32Type());
  // The middle's blocks are the token's groups if both factors cut it in the same way.
  bool sameBlocks = op.getLeft().getType().getDimSize(2) == op.getRight().getType().getDimSize(0);
  return mixGroups(b, op.getLoc(), op.getType(), u, op.getLeft(),
                   sameBlocks ? op.getRouting() : Value());
}

Value TileProductsPass::tileWeightGradient(OpBuilder &b, WeightGradientOp op) const {
  int64_t numCommon = getGradientShape(op.getType(), op.getPermutation())[0], numChosen = 0;
  Value table;
  if (op.getRouting()) {
    RoutingType routing = op.getRouting().getType();
    numCommon = routing.getNumCommon();
    numChosen = routing.getNumChosen();
    table = listTokens(b, op.getLoc(), op.getRouting(), op.getGrouped().getType(), kGradientBlock);
  }
  // The sums, a vector of columns for each of them, and a factor are in registers.
  int64_t rows = std::clamp<int64_t>((registers - 1 - kTileVectors) / kTileVectors, 1, kMaxRows);
  return TiledWeightGradientOp::create(b, op.getLoc(), op.getType(), op.getGrouped(), op.getOther(),
                                       table, op.getPermutationAttr(), op.getLocal(), numCommon,
                                       numChosen, kGradientBlock, rows);
}

/// Lets the product that makes the `up` of a SwiGLU compute that, where nothing else uses its result. In f32, as rounding in between would be left out.
void TileProductsPass::foldSwiglus() {
  getOperation().walk([](SwigluOp swiglu) {
    auto product = swiglu.getUp().getDefiningOp<TiledSpmmOp>();
    if (!product || product.getGate() || product.getResidual() || !product->hasOneUse() ||
        !product.getType().getElementType().isF32())
      return;
    product.getGateMutable().assign(swiglu.getGate());
    moveInto(product, swiglu);
  });
}

/// Tells the sizes of a product's tiles.
void TileProductsPass::explain(Operation *op, Operation *tiled) const {
  if (isa<FusionMixOp>(op))
    return; // not by tiles of tokens
  if (auto gradient = dyn_cast<TiledWeightGradientOp>(tiled)) {
    op->emitRemark() << "tiles: " << op->getName() << " by tiles of " << gradient.getRows()
                     << " rows, in blocks of " << gradient.getBlock() << " tokens";
    return;
  }
  if (auto mix = dyn_cast<MixGroupsOp>(tiled))
    tiled = mix.getInput().getDefiningOp();
  auto get = [&](StringRef name) { return tiled->getAttrOfType<IntegerAttr>(name).getInt(); };
  op->emitRemark() << "tiles: " << op->getName() << " by tiles of " << get("rows") << " tokens and "
                   << get("panels") << " panels, in blocks of " << get("block") << " tokens";
}
