// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernel of products with wgmma: one warpgroup brings tiles by TMA, two multiply 64 rows each.
//
// A stage has a step of the depth of 128 rows of inputs and of the tile's columns of weights, both as rows of 128, 64 or 32 bytes with that swizzle. Weights come in boxes of
// columns that are of one group. A barrier tells that a stage is full, another that both warpgroups have read it; one whose rows lack the step's group does not multiply it.
// A block goes on to further tiles, whose first stages come while it writes the last one's results.
#include "TileList.h"

#include "mohd/Conversion/MoHDToGpu/TileChoice.h"

#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mohd;

static constexpr int64_t kRows = 128, kWarpgroup = 128, kThreads = 3 * kWarpgroup, kMaxStages = 12;
/// Steps that the first warpgroup is ahead of the second, so that each writes its results while the other still multiplies; fewer than there are stages.
static constexpr int64_t kLead = 3;
/// Named barrier with which the second one waits for that.
static constexpr int64_t kLeadBarrier = 1;
/// Registers of a thread that brings tiles, and of one that multiplies.
static constexpr int64_t kFewRegisters = 56, kManyRegisters = 224;

namespace {

/// What is chosen for an op.
struct WgmmaShape {
  int64_t columns; // of a tile
  int64_t box;     // columns that come together
  int64_t step;    // of the depth: 64, 32 or 16 values
  int64_t stages;

  int64_t getRowBytes() const { return step * 2; }
  int64_t getInputBytes() const { return kRows * getRowBytes(); }
  int64_t getStageBytes() const { return (kRows + columns) * getRowBytes(); }
  tile::Swizzle getSwizzle() const {
    return step == 64   ? tile::Swizzle::Swizzle128
           : step == 32 ? tile::Swizzle::Swizzle64
                        : tile::Swizzle::Swizzle32;
  }
};

/// A stage and the parity of its phase.
struct Turn {
  Term stage, parity;
};

class WgmmaWriter {
public:
  WgmmaWriter(Product &product, const WgmmaShape &shape)
      : product(product), e(product.e()), shape(shape),
        skipsSteps(product.hasMasks() && product.rows <= kRows / 2),
        stages(e.reserveShared(shape.stages * shape.getStageBytes(), 1024)),
        tiles(product, kRows, shape.columns, kThreads) {}

  void write();

private:
  void startBarriers();
  SmallVector<SmallVector<Term>> loadMasks(const Term &row);
  void forEachTile(ArrayRef<Term> init,
                   llvm::function_ref<SmallVector<Term>(TilePlace, ArrayRef<Term>)> body);
  void bringTiles();
  void bringStep(const TilePlace &tile, const Term &step, const Turn &turn);
  void multiplyTiles();
  Term multiplyStage(const Term &stage, Term sums);
  Term hasColumns(const TilePlace &tile);
  /// Whether this warpgroup's rows have the group of a step.
  Term hasDepth(const Term &step) {
    return Product::hasGroup(ownMask, list.at(step * shape.step / product.groupSize));
  }
  void waitForLead();
  void tellLead(const Term &condition);
  Term walk(const TilePlace &tile, Turn &turn);
  void release(const Term &stage);
  void finish(const TilePlace &tile, ArrayRef<ResultRow> rows, const Term &sums);

  Value fullAt(const Term &stage) { return e.advance(e.shared(full), stage * 8); }
  Value emptyAt(const Term &stage) { return e.advance(e.shared(empty), stage * 8); }
  /// The warpgroup's number among those that multiply.
  Term group() { return warp / 4 - 1; }

  Product &product;
  GpuEmitter &e;
  const WgmmaShape shape;
  const bool skipsSteps;                  // a warpgroup that lacks the group
  const int64_t stages;                   // place in shared memory
  int64_t full = 0, empty = 0, lists = 0; // these, too
  Term warp;                              // the same in all its threads
  TileList tiles;
  // Of the tile.
  GroupList list;
  Term numSteps;
  SmallVector<Term> ownMask; // of this warpgroup's rows
  Term isFirst;              // of the block
};

} // namespace

void WgmmaWriter::startBarriers() {
  e.when(e.thread() == 0, [&] {
    for (int64_t stage = 0; stage < shape.stages; ++stage) {
      tile::MbarrierInitOp::create(e.b, e.shared(full + 8 * stage), e.i32(1).value);
      tile::MbarrierInitOp::create(e.b, e.shared(empty + 8 * stage), e.i32(8).value); // warps
    }
    tile::FenceOp::create(e.b, tile::Fence::MbarrierInit);
  });
}

/// The masks of a tile's two halves, or, where masks are of more rows, of the tile; a half that the call does not have has none.
SmallVector<SmallVector<Term>> WgmmaWriter::loadMasks(const Term &row) {
  if (!skipsSteps)
    return {product.loadMask(row, kRows)};
  SmallVector<Term> lower = product.loadMask(row + kRows / 2, kRows / 2);
  Term isThere = row + kRows / 2 < product.kernels.numTokens();
  for (Term &word : lower)
    word = select(isThere, word, e.i32(0));
  return {product.loadMask(row, kRows / 2), lower};
}

/// body(place, carried) for each tile of this block, with its list of groups and number of steps. All threads of a warp do it together.
void WgmmaWriter::forEachTile(
    ArrayRef<Term> init, llvm::function_ref<SmallVector<Term>(TilePlace, ArrayRef<Term>)> body) {
  // A tile's masks are loaded a tile before, so that nobody waits for them.
  SmallVector<Term> carried(init);
  for (ArrayRef<Term> mask : loadMasks(tiles.at(e.block()).row))
    llvm::append_range(carried, mask);
  e.loop(e.block(), tiles.size(), e.numBlocks(), carried, [&](Term tile, ArrayRef<Term> before) {
    TilePlace place = tiles.at(tile);
    Term next = min(tile + e.numBlocks(), tiles.size() - 1);
    SmallVector<SmallVector<Term>> nextMasks = loadMasks(tiles.at(next).row);
    ArrayRef<Term> masks = before.drop_front(init.size());
    SmallVector<Term> mask(masks.take_front(nextMasks[0].size()));
    if (skipsSteps) {
      ownMask.clear();
      for (auto [upper, lower] : llvm::zip_equal(mask, masks.drop_front(mask.size()))) {
        ownMask.push_back(select(group() == 0, upper, lower));
        upper = upper | lower;
      }
    }
    list = product.listGroups(mask, lists);
    numSteps = ceilDiv(product.depthOfTile(list, place.position), shape.step);
    SmallVector<Term> after = body(place, before.take_front(init.size()));
    for (ArrayRef<Term> mask : nextMasks)
      llvm::append_range(after, mask);
    return after;
  });
}

//===----------------------------------------------------------------------===//
// The warpgroup that brings tiles: one thread of it
//===----------------------------------------------------------------------===//

/// Brings a step's inputs and weights, when its stage is empty.
void WgmmaWriter::bringStep(const TilePlace &tile, const Term &step, const Turn &turn) {
  tile::MbarrierWaitOp::create(e.b, emptyAt(turn.stage), turn.parity.value);
  Value barrier = fullAt(turn.stage);
  tile::MbarrierExpectOp::create(e.b, barrier, e.i32(shape.getStageBytes()).value);
  Value inputs = e.advance(e.shared(stages), turn.stage * shape.getStageBytes());
  Term from = product.depthAt(list, step * shape.step);
  tile::TmaLoadOp::create(e.b, inputs, product.kernels.map(0),
                          ValueRange{from.value, tile.row.value}, barrier);
  Value weights = e.advance(inputs, e.i32(shape.getInputBytes()));
  // The places of many boxes would not fit the registers: LLVM unrolls no loop whose end it does not know.
  Term numBoxes = e.i32(shape.columns / shape.box);
  if (shape.columns / shape.box > 4)
    numBoxes = min(numBoxes, product.kernels.numTokens() + numBoxes);
  e.loop(e.i32(0), numBoxes, 1, [&](Term box) {
    Term column = product.columnAt(list, tile.position + box * shape.box).column;
    Value to = e.advance(weights, box * (shape.box * shape.getRowBytes()));
    tile::TmaLoadOp::create(e.b, to, product.kernels.map(1), ValueRange{from.value, column.value},
                            barrier);
  });
}

void WgmmaWriter::bringTiles() {
  tile::SetMaxRegistersOp::create(e.b, kFewRegisters);
  e.when(warp == 0, [&] {
    forEachTile({e.i32(0)}, [&](TilePlace tile, ArrayRef<Term> before) -> SmallVector<Term> {
      Term first = before[0]; // number of the tile's first step among the block's
      e.when(e.wrap(tile::ElectOp::create(e.b, Value())), [&] {
        e.loop(e.i32(0), numSteps, 1, [&](Term step) {
          Term number = first + step;
          // The phase before the first one has parity 1: all stages are empty.
          bringStep(tile, step, {number % shape.stages, (number / shape.stages & 1) ^ 1});
        });
      });
      return {first + numSteps};
    });
  });
}

//===----------------------------------------------------------------------===//
// The warpgroups that multiply
//===----------------------------------------------------------------------===//

/// Starts the products of a stage.
Term WgmmaWriter::multiplyStage(const Term &stage, Term sums) {
  auto describe = [&](int64_t offset) {
    int64_t stride = 8 * shape.getRowBytes();
    return e.wrap(tile::MatrixDescriptorOp::create(e.b, e.shared(stages + offset),
                                                   shape.getSwizzle(), 16, uint32_t(stride)));
  };
  // Descriptors count 16 bytes.
  Term at = toI64(stage * (shape.getStageBytes() / 16));
  Term ofGroup = toI64(group() * (64 * shape.getRowBytes() / 16));
  Term inputs = describe(0) + at + ofGroup, weights = describe(shape.getInputBytes()) + at;
  tile::WgmmaFenceOp::create(e.b);
  for (int64_t k = 0; k < shape.step / 16; ++k)
    sums = e.wrap(tile::WgmmaOp::create(e.b, product.getHalf(), (inputs + 2 * k).value,
                                        (weights + 2 * k).value, sums.value, e.i1(true).value));
  tile::WgmmaCommitOp::create(e.b);
  return sums;
}

/// This warp has read a stage.
void WgmmaWriter::release(const Term &stage) {
  e.when(e.lane() == 0, [&] { tile::MbarrierArriveOp::create(e.b, emptyAt(stage)); });
}

/// Whether this warpgroup's rows have a group of the tile's columns.
Term WgmmaWriter::hasColumns(const TilePlace &tile) {
  Term has = e.i1(false);
  for (int64_t column = 0; column < shape.columns; column += shape.box)
    has = has | Product::hasGroup(ownMask, product.columnAt(list, tile.position + column).group);
  return has;
}

void WgmmaWriter::waitForLead() {
  e.when(isFirst & (group() == 1), [&] {
    tile::BarrierSyncOp::create(e.b, e.i32(kLeadBarrier).value,
                                e.b.getI32IntegerAttr(2 * kWarpgroup));
  });
}

/// Lets the second warpgroup start, if `condition` holds in the first one.
void WgmmaWriter::tellLead(const Term &condition) {
  e.when(isFirst & (group() == 0) & condition,
         [&] { tile::BarrierArriveOp::create(e.b, e.i32(kLeadBarrier).value, 2 * kWarpgroup); });
}

/// The warpgroup's sums over the tile's steps, from `turn` on, which becomes the next tile's. Products of a step are under way while the next one's start.
Term WgmmaWriter::walk(const TilePlace &tile, Turn &turn) {
  auto type = tile::SumsType::get(e.b.getContext(), shape.columns);
  auto wait = [&](int64_t pending, const Term &sums) {
    return e.wrap(tile::WgmmaWaitOp::create(e.b, uint32_t(pending), sums.value).getResult(0));
  };
  auto releaseBefore = [&](const Term &stage) {
    release(select(stage == 0, e.i32(shape.stages - 1), stage - 1));
  };
  Term hasTile = skipsSteps && product.groupsAreColumns ? hasColumns(tile) : Term();
  Term init = e.wrap(tile::WgmmaInitOp::create(e.b, type));
  // `held`: products with the stage before may be under way.
  auto body = [&](Term step, ArrayRef<Term> carried) -> SmallVector<Term> {
    const Term &stage = carried[0], &parity = carried[1], &held = carried[2], &before = carried[3];
    tile::MbarrierWaitOp::create(e.b, fullAt(stage), parity.value);
    auto multiply = [&]() -> SmallVector<Term> {
      Term sums = wait(1, multiplyStage(stage, before));
      e.when(held != 0, [&] { releaseBefore(stage); });
      return {e.i32(1), sums};
    };
    auto skip = [&]() -> SmallVector<Term> {
      Term sums = wait(0, before);
      e.when(held != 0, [&] { releaseBefore(stage); });
      release(stage);
      return {e.i32(0), sums};
    };
    SmallVector<Term> after;
    if (skipsSteps)
      after = e.choose(hasTile ? hasTile : hasDepth(step), multiply, skip);
    else
      after = multiply();
    tellLead(step == kLead - 1);
    Term isLast = stage == shape.stages - 1;
    return {select(isLast, e.i32(0), stage + 1), parity ^ toI32(isLast), after[0], after[1]};
  };
  waitForLead();
  SmallVector<Term> carried =
      e.loop(e.i32(0), numSteps, e.i32(1), {turn.stage, turn.parity, e.i32(0), init}, body);
  tellLead(numSteps < kLead);
  turn = {carried[0], carried[1]};
  Term sums = wait(0, carried[3]);
  e.when(carried[2] != 0, [&] { releaseBefore(turn.stage); });
  return sums;
}

void WgmmaWriter::finish(const TilePlace &tile, ArrayRef<ResultRow> rows, const Term &sums) {
  auto read = [&](int64_t index) {
    return e.wrap(tile::WgmmaReadOp::create(e.b, sums.value, uint32_t(index)));
  };
  // A value of its own, or what is computed of the position would be in registers from before the products on.
  Term position = e.broadcast(tile.position, e.i32(0));
  for (int64_t j = 0; j < shape.columns / 8; j += 4) {
    SmallVector<ColumnPlace> places;
    for (int64_t i = 0; i < 4; ++i)
      places.push_back(product.columnAt(list, position + 8 * (j + i)));
    for (int64_t half = 0; half < 2; ++half) {
      SmallVector<EightColumns> eights;
      for (int64_t i = 0; i < 4; ++i) {
        int64_t index = 4 * (j + i) + 2 * half;
        eights.push_back({places[i], read(index), read(index + 1)});
      }
      product.write(rows[half], eights);
    }
  }
}

void WgmmaWriter::multiplyTiles() {
  tile::SetMaxRegistersOp::create(e.b, kManyRegisters, /*increase=*/true);
  forEachTile({e.i32(0), e.i32(0), e.i1(true)},
              [&](TilePlace tile, ArrayRef<Term> before) -> SmallVector<Term> {
                isFirst = before[2];
                SmallVector<ResultRow> rows;
                Term row = tile.row + group() * 64 + warp % 4 * 16 + e.lane() / 4;
                for (int64_t half = 0; half < 2; ++half)
                  rows.push_back(product.findRow(row + 8 * half));
                Turn turn{before[0], before[1]};
                finish(tile, rows, walk(tile, turn));
                return {turn.stage, turn.parity, e.i1(false)};
              });
}

void WgmmaWriter::write() {
  full = e.reserveShared(8 * shape.stages, 8);
  empty = e.reserveShared(8 * shape.stages, 8);
  lists = product.reserveLists(kThreads / 32);
  warp = e.broadcast(e.warp(), e.i32(0));
  startBarriers();
  tiles.write();
  e.barrier();
  e.when(warp < 4, [&] { bringTiles(); }, [&] { multiplyTiles(); });
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

/// The depth whose steps may not go beyond a group, or 0 if zeros come after its end.
static int64_t getWholeDepth(const Product &product) {
  return !product.groupsAreColumns && product.hasMasks() ? product.groupSize : 0;
}

/// The depth that is walked at most.
static int64_t getExtent(const Product &product) {
  return product.groupsAreColumns ? product.depth : product.numGroups * product.groupSize;
}

bool mlir::mohd::canUseWgmma(const Product &product) {
  constexpr int64_t mostGroups =
      128; // for the registers that hold masks, and the lists beside four stages
  return product.kernels.gpu.hasWgmma && product.hasPieces() && product.hasEights() &&
         getExtent(product) > 0 && getWholeDepth(product) % 16 == 0 &&
         (!product.hasMasks() || product.numGroups <= mostGroups);
}

static WgmmaShape chooseShape(const Product &product, int64_t columns) {
  WgmmaShape shape;
  shape.columns = columns;
  bool isCut = product.groupsAreColumns && product.hasMasks();
  shape.box = isCut ? std::min<int64_t>(columns, product.groupSize & -product.groupSize) : columns;
  int64_t whole = getWholeDepth(product);
  shape.step = whole % 64 == 0 ? 64 : whole % 32 == 0 ? 32 : 16;
  // Barriers, the list of tiles, and one of groups for each warp.
  int64_t reserved =
      1024 + TileList::getBytes(product, columns) +
      (product.hasMasks() ? kThreads / 32 * 4 * llvm::alignTo(product.numGroups, 32) : 0);
  int64_t bytes = product.kernels.gpu.sharedPerBlock - reserved;
  shape.stages = std::min(kMaxStages, bytes / shape.getStageBytes());
  return shape;
}

/// A map of [lines, depth] halves, of which a box is brought at a time.
static GpuTensorMap describe(const Product &product, int64_t binding, StringRef lines, int64_t box,
                             const WgmmaShape &shape) {
  GpuTensorMap map;
  map.binding = binding;
  map.element = product.getElement();
  map.extents = {std::to_string(getExtent(product)), lines.str()};
  map.strides = {std::to_string(product.depth * 2)};
  map.box = {shape.step, box};
  map.swizzle = shape.getSwizzle();
  return map;
}

/// Adds the kernel with tiles of `columns` columns.
static void addKernel(Product &product, int64_t columns, StringRef condition) {
  WgmmaShape shape = chooseShape(product, columns);
  StringRef tokens = product.kernels.getTokens();
  std::string numTiles = gridOf(tokens, kRows, llvm::divideCeil(product.columns, columns));
  GpuLaunch launch;
  launch.grid =
      (condition + "*min(" + Twine(product.kernels.gpu.typicalSms) + "," + numTiles + ")").str();
  launch.threads = kThreads;
  std::string lines = std::to_string(product.columns);
  int64_t inputs = product.kernels.getBinding(product.input);
  launch.maps = {describe(product, inputs, tokens, kRows, shape),
                 describe(product, product.getWeightBinding(), lines, shape.box, shape)};
  product.kernels.add("wgmma" + std::to_string(columns), launch,
                      [&] { WgmmaWriter(product, shape).write(); });
}

/// Whether a product can have tiles of so many columns.
static bool fitsColumns(const Product &product, int64_t columns) {
  if (columns <= 64) // the narrowest that holds all columns, or the wider one
    return columns == (product.columns > 32 ? 64 : 32);
  if (columns == 128)
    return product.columns >= columns;
  // Of many narrow groups what a row has takes more registers than sums of such a tile leave.
  return product.columns % columns == 0 &&
         (!product.groupsAreColumns || product.groupSize % 64 == 0);
}

void mlir::mohd::addWgmmaProduct(Product &product, StringRef condition) {
  auto fits = [&](const GpuTile &tile) { return fitsColumns(product, tile.columns); };
  addTiles(product, llvm::filter_to_vector(product.kernels.gpu.wgmmaTiles, fits), condition,
           [&](const GpuTile &tile, StringRef condition) {
             addKernel(product, tile.columns, condition);
           });
}
