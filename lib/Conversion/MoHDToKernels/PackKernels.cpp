// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels that lay things out for products: mohd.pack_weight, mohd.dequantize, mohd.group_tokens and mohd.pack_tokens.
//
// A task of pack_weight is a row of all groups' panels, or a panel where that is transposed, one of dequantize a row of the weight, one of group_tokens a block of tokens. A task of pack_tokens is some of the groups of a block,
// all of them while there are few tokens.
#include "ProductTile.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

//===----------------------------------------------------------------------===//
// mohd.pack_weight
//===----------------------------------------------------------------------===//

namespace {

/// How a weight is laid out in panels.
struct WeightLayout {
  WeightLayout(PackWeightOp op, int64_t lanes);

  SmallVector<int64_t> permutation; // from dimensions of the panels' view to the operand's
  int64_t rank, groups, panels, rows, panel, columns;
  /// Rows of the panels lie side by side in the operand: squares of vectors are transposed.
  bool isTransposed;
};

WeightLayout::WeightLayout(PackWeightOp op, int64_t lanes) {
  ArrayRef<int64_t> plain = op.getWeight().getType().getShape();
  ArrayRef<int64_t> shape = op.getResult().getType().getShape(); // [G, panels, R, P]
  rank = plain.size();
  groups = shape[0], panels = shape[1], rows = shape[2], panel = shape[3];
  permutation = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (op.getPermutation())
    permutation = llvm::to_vector(*op.getPermutation());
  columns = plain[permutation.back()];
  isTransposed = permutation[rank - 2] == rank - 1 && panel % lanes == 0 && rows >= lanes;
}

/// Writes the kernel of mohd.pack_weight.
class PackWeightEmitter {
public:
  PackWeightEmitter(KernelEmitter &e, const WeightLayout &layout, Value weight, Value result)
      : e(e), layout(layout), weight(weight), result(result) {}

  void emitRow(Value group, Value row);
  void emitPanel(Value group, Value number);

private:
  /// Where the operand has the element at `row` and `column` of a group.
  SmallVector<Value> from(Value group, Value row, Value column) {
    Value place[] = {group, row, column};
    SmallVector<Value> at(layout.rank);
    for (auto [axis, index] :
         llvm::zip_equal(layout.permutation, ArrayRef(place).take_back(layout.rank)))
      at[axis] = index;
    return at;
  }
  SmallVector<Value> to(Value group, Value row, Value column) {
    return {group, e.div(column, layout.panel), row, e.rem(column, layout.panel)};
  }
  void transposeRows(Value group, Value firstColumn, Value row);

  KernelEmitter &e;
  const WeightLayout &layout;
  const Value weight, result;
};

} // namespace

/// Copies a row of all of a group's panels.
void PackWeightEmitter::emitRow(Value group, Value row) {
  // Columns that do not lie side by side are copied one by one.
  bool isContiguous = layout.permutation.back() == layout.rank - 1;
  e.columns(layout.columns, isContiguous ? std::min(e.lanes, layout.panel) : 1,
            [&](Value column, int64_t width) {
              e.copy(weight, from(group, row, column), result, to(group, row, column), width);
            });
  e.loop(e.index(layout.columns), e.index(layout.panels * layout.panel), 1,
         [&](Value column) { e.store(e.f32(0), result, to(group, row, column)); });
}

/// Copies `lanes` rows of a panel, all of whose columns there are.
void PackWeightEmitter::transposeRows(Value group, Value firstColumn, Value row) {
  for (int64_t first = 0; first < layout.panel; first += e.lanes) {
    SmallVector<Value> vectors;
    for (int64_t lane = 0; lane < e.lanes; ++lane) {
      Value column = e.add(firstColumn, e.index(first + lane));
      vectors.push_back(e.load(weight, from(group, row, column), e.lanes));
    }
    for (auto [lane, data] : llvm::enumerate(e.transpose(vectors)))
      e.store(data, result,
              to(group, e.add(row, e.index(lane)), e.add(firstColumn, e.index(first))));
  }
}

/// Copies a panel whose rows lie side by side in the operand.
void PackWeightEmitter::emitPanel(Value group, Value number) {
  Value firstColumn = e.mul(number, e.index(layout.panel));
  auto copyRows = [&](int64_t first) {
    e.loop(e.index(0), e.index(layout.panel), 1, [&](Value offset) {
      Value column = e.add(firstColumn, offset);
      e.loop(e.index(first), e.index(layout.rows), 1, [&](Value row) {
        auto copy = [&] {
          e.copy(weight, from(group, row, column), result, to(group, row, column), 1);
        };
        if (layout.columns % layout.panel == 0)
          return copy();
        Value exists =
            arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, column, e.index(layout.columns));
        e.branch(exists, copy, [&] { e.store(e.f32(0), result, to(group, row, column)); });
      });
    });
  };
  auto transposePanel = [&] {
    int64_t whole = layout.rows / e.lanes * e.lanes;
    e.loop(e.index(0), e.index(whole), e.lanes,
           [&](Value row) { transposeRows(group, firstColumn, row); });
    if (whole < layout.rows)
      copyRows(whole);
  };
  if (layout.columns % layout.panel == 0)
    return transposePanel();
  Value isWhole = arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, number,
                                        e.index(layout.columns / layout.panel));
  e.branch(isWhole, transposePanel, [&] { copyRows(0); });
}

std::string mlir::mohd::gridOfPackWeight(PackWeightOp op, int64_t lanes) {
  WeightLayout layout(op, lanes);
  return std::to_string(layout.groups * (layout.isTransposed ? layout.panels : layout.rows));
}

void mlir::mohd::emitPackWeight(KernelEmitter &e, PackWeightOp op, ValueRange operands,
                                ValueRange results) {
  WeightLayout layout(op, e.lanes);
  PackWeightEmitter emitter(e, layout, operands[0], results[0]);
  e.loop(e.begin, e.end, 1, [&](Value task) {
    if (layout.isTransposed)
      emitter.emitPanel(e.div(task, layout.panels), e.rem(task, layout.panels));
    else
      emitter.emitRow(e.div(task, layout.rows), e.rem(task, layout.rows));
  });
}

//===----------------------------------------------------------------------===//
// mohd.dequantize
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfDequantize(DequantizeOp op, StringRef tokens) {
  RankedTensorType type = op.getResult().getType();
  return std::to_string(ShapedType::getNumElements(type.getShape().drop_back()));
}

void mlir::mohd::emitDequantize(KernelEmitter &e, DequantizeOp op, ValueRange operands,
                                ValueRange results) {
  ArrayRef<int64_t> shape = op.getResult().getType().getShape(); // [G, R, C] or [R, C]
  int64_t rows = shape.drop_back().back();
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value group = e.div(task, rows), row = e.rem(task, rows);
    e.columns(shape.back(), e.lanes, [&](Value column, int64_t width) {
      Value place[] = {group, row, column}, scalePlace[] = {group, column};
      Value value = e.load(operands[0], ArrayRef(place).take_back(shape.size()), width);
      Value scale = e.load(operands[1], ArrayRef(scalePlace).take_back(shape.size() - 1), width);
      e.store(arith::MulFOp::create(e.b, value, scale), results[0],
              ArrayRef(place).take_back(shape.size()));
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.group_tokens
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfGroupTokens(GroupTokensOp op, StringRef tokens) {
  return KernelEmitter::gridOf(1, op.getBlock(), tokens);
}

void mlir::mohd::emitGroupTokens(KernelEmitter &e, GroupTokensOp op, ValueRange operands,
                                 ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t numCommon = routing.getNumCommon(), numChosen = routing.getNumChosen();
  int64_t numGroups = routing.getNumGroups() - numCommon; // that may be chosen
  Value indices = operands[0], zero = e.index(0), one = e.index(1);
  Value next = e.array({numGroups}, e.b.getIndexType()); // a group's count, then its next place
  auto load = [&](Value group) -> Value { return memref::LoadOp::create(e.b, next, group); };
  auto store = [&](Value value, Value group) { memref::StoreOp::create(e.b, value, next, group); };
  EvenCut blocks = cutBlocks(e, op.getBlock());
  e.loop(e.begin, e.end, 1, [&](Value block) {
    Value first = blocks.start(e, block), last = blocks.start(e, e.add(block, one));
    TableView table(e, results[0], numGroups + 1, numChosen, first);
    // Calls body(token, slot, group) for each entry of the block.
    auto forEntries = [&](llvm::function_ref<void(Value, Value, Value)> body) {
      e.loop(first, last, 1, [&](Value token) {
        e.loop(zero, e.index(numChosen), 1, [&](Value slot) {
          Value group = e.loadIndex(indices, {token, e.add(slot, e.index(numCommon))});
          group = e.sub(group, e.index(numCommon));
          // Indices of a caller are groups, but need not have the common ones in front: no write may leave the table.
          body(token, slot, e.min(group, e.index(numGroups - 1)));
        });
      });
    };
    e.loop(zero, e.index(numGroups), 1, [&](Value group) { store(zero, group); });
    forEntries([&](Value, Value, Value group) { store(e.add(load(group), one), group); });
    Value total = e.loop(zero, e.index(numGroups), 1, zero, [&](Value group, ValueRange sum) {
      e.storeIndex(sum[0], table.flat, table.offsetPlace(group));
      Value after = e.add(sum[0], load(group));
      store(sum[0], group);
      return SmallVector<Value>{after};
    })[0];
    e.storeIndex(total, table.flat, table.offsetPlace(e.index(numGroups)));
    forEntries([&](Value token, Value slot, Value group) {
      Value place = load(group);
      Value entry = e.add(e.mul(e.sub(token, first), e.index(numChosen)), slot);
      e.storeIndex(entry, table.flat, table.entryPlace(place));
      store(e.add(place, one), group);
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.pack_tokens
//===----------------------------------------------------------------------===//

/// Tokens for which one task packs all groups.
static constexpr int64_t kTokensOfPart = 8;
/// Columns of a dense input that count as a group.
static constexpr int64_t kDenseColumns = 128;

/// Groups among which the work of a block can be split, without routing pieces of kDenseColumns.
static int64_t getNumPieces(PackTokensOp op) {
  if (op.getRouting())
    return op.getRouting().getType().getNumGroups();
  return llvm::divideCeil(op.getInput().getType().getDimSize(1), kDenseColumns);
}

std::string mlir::mohd::gridOfPackTokens(PackTokensOp op, StringRef tokens) {
  return ("ceildiv(" + tokens + "," + Twine(op.getBlock()) + ")*min(" + Twine(getNumPieces(op)) +
          ",ceildiv(" + tokens + "," + Twine(kTokensOfPart) + "))")
      .str();
}

namespace {

/// Writes the kernel of mohd.pack_tokens.
class PackTokensEmitter {
public:
  PackTokensEmitter(KernelEmitter &e, PackTokensOp op, ValueRange operands, Value result);
  void emit();

private:
  /// Tokens (of the block, by number in the list) that have some columns, and where these go.
  struct List {
    Value numTokens;
    std::function<Value(Value)> token; // counted from the call's start
    std::function<Value(Value)> gate;  // f32; none: no gates
    Value place;                       // in the result, of the list's first tile
    int64_t columns;                   // of a tile
  };

  void packCommon(Value first, Value numTokens, Value piece);
  void packChosen(Value first, Value numTokens, Value group);
  void packColumns(const List &list, Value source, Value target, int64_t numColumns);

  KernelEmitter &e;
  const int64_t block, rows;
  RoutingType routing;                    // null without
  int64_t width, groupWidth, commonWidth; // columns of the input, of a group, of the common groups
  int64_t numPieces, numCommon, numChosen;
  const Value input;
  Value gates, table, flat; // the result in one dimension
};

PackTokensEmitter::PackTokensEmitter(KernelEmitter &e, PackTokensOp op, ValueRange operands,
                                     Value result)
    : e(e), block(op.getBlock()), rows(op.getRows()), width(op.getInput().getType().getDimSize(1)),
      groupWidth(width), commonWidth(width), numPieces(getNumPieces(op)), numCommon(1),
      numChosen(0), input(operands[0]), flat(e.flatten(result)) {
  if (!op.getRouting())
    return;
  routing = op.getRouting().getType();
  gates = operands[2];
  if (op.getTable())
    table = operands[3];
  groupWidth = width / routing.getNumGroups();
  numCommon = routing.getNumCommon();
  numChosen = routing.getNumChosen();
  commonWidth = numCommon * groupWidth;
}

/// Copies `numColumns` columns from column `source` of the input to column `target` of the list's tiles.
void PackTokensEmitter::packColumns(const List &list, Value source, Value target,
                                    int64_t numColumns) {
  EvenCut tiles = cutTiles(e, list.numTokens, rows);
  e.loop(e.index(0), tiles.count, 1, [&](Value tile) {
    Value first = tiles.start(e, tile), last = tiles.start(e, e.add(tile, e.index(1)));
    Value numRows = e.sub(last, first);
    Value place =
        e.add(e.add(list.place, e.mul(first, e.index(list.columns))), e.mul(target, numRows));
    e.loop(first, last, 1, [&](Value i) {
      Value token = list.token(i), start = e.add(place, e.sub(i, first));
      Value gate = list.gate ? list.gate(i) : Value();
      e.columns(numColumns, e.lanes, [&](Value column, int64_t vectorWidth) {
        Value data = e.load(input, {token, e.add(source, column)}, vectorWidth);
        if (gate)
          data = arith::MulFOp::create(e.b, data, e.splat(gate, vectorWidth));
        for (int64_t lane = 0; lane < vectorWidth; ++lane) {
          Value at = e.add(start, e.mul(e.add(column, e.index(lane)), numRows));
          e.store(vector::ExtractOp::create(e.b, data, ArrayRef<int64_t>{lane}), flat, at);
        }
      });
    });
  });
}

/// Packs one common group, or a piece of a dense input.
void PackTokensEmitter::packCommon(Value first, Value numTokens, Value piece) {
  List list;
  list.numTokens = numTokens;
  list.token = [this, first](Value i) { return e.add(first, i); };
  if (routing)
    list.gate = [this, first, piece](Value i) {
      return e.loadScalar(gates, {e.add(first, i), piece});
    };
  list.columns = commonWidth;
  list.place = e.mul(first, e.index((numCommon + numChosen) * groupWidth));
  if (routing) {
    Value column = e.mul(piece, e.index(groupWidth));
    return packColumns(list, column, column, groupWidth);
  }
  Value column = e.mul(piece, e.index(kDenseColumns));
  int64_t whole = width / kDenseColumns, rest = width % kDenseColumns;
  auto packWhole = [&] { packColumns(list, column, column, kDenseColumns); };
  auto packRest = [&] { packColumns(list, column, column, rest); };
  if (rest == 0)
    return packWhole();
  if (whole == 0)
    return packRest();
  e.branch(arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, piece, e.index(whole)), packWhole,
           packRest);
}

/// Packs one group that may be chosen, counted from the first of them.
void PackTokensEmitter::packChosen(Value first, Value numTokens, Value group) {
  int64_t numGroups = routing.getNumGroups() - numCommon;
  TableView view(e, table, numGroups + 1, numChosen, first);
  Value start = view.offset(group), end = view.offset(e.add(group, e.index(1)));
  List list;
  list.numTokens = e.sub(end, start);
  list.token = [&](Value i) { return e.add(first, view.token(e.add(start, i))); };
  list.gate = [&](Value i) {
    Value entry = e.add(start, i);
    return e.loadScalar(
        gates, {e.add(first, view.token(entry)), e.add(view.slot(entry), e.index(numCommon))});
  };
  list.columns = groupWidth;
  Value blockPlace = e.mul(first, e.index((numCommon + numChosen) * groupWidth));
  list.place = e.add(e.add(blockPlace, e.mul(numTokens, e.index(commonWidth))),
                     e.mul(start, e.index(groupWidth)));
  Value source = e.mul(e.add(group, e.index(numCommon)), e.index(groupWidth));
  packColumns(list, source, e.index(0), groupWidth);
}

void PackTokensEmitter::emit() {
  EvenCut blocks = cutBlocks(e, block);
  Value numParts = e.min(e.index(numPieces), e.ceilDiv(e.numTokens, kTokensOfPart));
  EvenCut parts(e, e.index(numPieces), numParts);
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value number = e.b.createOrFold<arith::DivUIOp>(task, numParts),
          part = e.b.createOrFold<arith::RemUIOp>(task, numParts);
    Value first = blocks.start(e, number),
          numTokens = e.sub(blocks.start(e, e.add(number, e.index(1))), first);
    Value lower = parts.start(e, part), upper = parts.start(e, e.add(part, e.index(1)));
    int64_t numCommonPieces = routing ? numCommon : numPieces;
    if (numCommonPieces > 0)
      e.loop(lower, e.min(upper, e.index(numCommonPieces)), 1,
             [&](Value piece) { packCommon(first, numTokens, piece); });
    if (numChosen > 0)
      e.loop(e.max(lower, e.index(numCommonPieces)), upper, 1, [&](Value piece) {
        packChosen(first, numTokens, e.sub(piece, e.index(numCommonPieces)));
      });
  });
}

} // namespace

void mlir::mohd::emitPackTokens(KernelEmitter &e, PackTokensOp op, ValueRange operands,
                                ValueRange results) {
  PackTokensEmitter(e, op, operands, results[0]).emit();
}
