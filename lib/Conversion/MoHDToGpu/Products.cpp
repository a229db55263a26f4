// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of mohd.bucket_spmm and mohd.bucket_sddmm: which of them an op gets, and what they share.
#include "Products.h"

#include "mohd/Conversion/MoHDToGpu/TileChoice.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mohd;

//===----------------------------------------------------------------------===//
// What an op says
//===----------------------------------------------------------------------===//

static int64_t getWidth(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape().back();
}

Product::Product(GpuKernelSet &kernels, Value input, Value weight, Value result, int64_t rows)
    : kernels(kernels), input(input), weight(weight), result(result), columns(getWidth(result)),
      depth(getWidth(input)), rows(rows) {}

Product::Product(GpuKernelSet &kernels, BucketSpmmOp op)
    : Product(kernels, op.getInput(), op.getWeight(), op.getResult(), op.getRows()) {
  scales = op.getScales();
  order = op.getOrder();
  masks = op.getMasks();
  gate = op.getGate();
  residual = op.getResidual();
  groupsAreColumns = false;
  scatters = bool(order);
  numGroups = op.getWeight().getType().getDimSize(1);
  groupSize = op.getWeight().getType().getDimSize(2);
  numCommon = op.getNumCommon();
  if (!masks && !scales)
    mergeGroups();
  else if (!masks)
    numGroups = numCommon;
}

/// Without masks the first groups follow each other.
void Product::mergeGroups() {
  groupSize *= numCommon;
  numGroups = numCommon = 1;
}

Product::Product(GpuKernelSet &kernels, BucketSddmmOp op)
    : Product(kernels, op.getInput(), op.getWeight(), op.getResult(), op.getRows()) {
  scales = op.getScales();
  order = op.getOrder();
  masks = op.getMasks();
  residual = op.getResidual();
  routing = op.getRouting();
  groupsAreColumns = true;
  scatters = op.getScatters();
  numGroups = op.getWeight().getType().getDimSize(0);
  groupSize = op.getWeight().getType().getDimSize(1);
  numCommon = op.getRouting().getType().getNumCommon();
}

bool Product::hasPieces() const {
  Type element = getElement();
  return element == cast<RankedTensorType>(input.getType()).getElementType() &&
         (element.isBF16() || element.isF16()) && depth % 8 == 0 &&
         (groupsAreColumns || groupSize % 8 == 0);
}

bool Product::hasBytes() const {
  Type element = getElementTypeOrSelf(input);
  return scales && (element.isBF16() || element.isF16()) && depth % 8 == 0 &&
         (groupsAreColumns || groupSize % 8 == 0);
}

Product Product::expand() const {
  Product product = *this;
  product.scales = Value();
  product.isExpanded = true;
  if (!groupsAreColumns && !masks)
    product.mergeGroups();
  return product;
}

int64_t Product::getWeightBinding() const {
  return isExpanded ? kernels.getScratchBinding() : kernels.getBinding(weight);
}

bool Product::hasQuarters() const {
  return depth % 4 == 0 && (groupsAreColumns || groupSize % 4 == 0);
}

bool Product::hasEights() const {
  return columns % 8 == 0 && (!groupsAreColumns || groupSize % 8 == 0);
}

tile::Half Product::getHalf() const { return mohd::getHalf(getElement()); }

int64_t Product::getWorkingColumns() const {
  return groupsAreColumns ? cast<RoutingType>(routing.getType()).getNumActive() * groupSize
                          : columns;
}

int64_t Product::getNumWords() const { return llvm::divideCeil(numGroups, 32); }

/// Bits of the common groups in a word of a mask.
int64_t Product::commonBits(int64_t word) const {
  int64_t bits = std::clamp<int64_t>(numCommon - 32 * word, 0, 32);
  return llvm::maskTrailingOnes<uint32_t>(unsigned(bits));
}

//===----------------------------------------------------------------------===//
// Groups of a tile
//===----------------------------------------------------------------------===//

SmallVector<Term> Product::loadMask(const Term &row, int64_t height) const {
  SmallVector<Term> words;
  Term lastTile = (kernels.numTokens() - 1) / rows;
  for (int64_t word = 0; word < getNumWords(); ++word) {
    Term bits = e().i32(commonBits(word));
    // Tiles after the last one have no mask.
    for (int64_t i = 0; hasMasks() && i < std::max<int64_t>(1, height / rows); ++i)
      bits =
          bits | e().loadI32(kernels.buffer(masks), {min(row / rows + i, lastTile), e().i32(word)});
    words.push_back(bits);
  }
  return words;
}

Term Product::hasGroup(ArrayRef<Term> mask, const Term &group) {
  Term word = mask.front();
  for (size_t i = 1; i < mask.size(); ++i)
    word = select(group / 32 == int64_t(i), mask[i], word);
  return ((word >> (group % 32)) & 1) != 0;
}

int64_t Product::reserveLists(int64_t numWarps) const {
  return hasMasks() ? e().reserveShared(4 * 32 * getNumWords() * numWarps) : 0;
}

GroupList Product::listGroups(ArrayRef<Term> mask, int64_t place) const {
  if (!hasMasks())
    return {e().i32(numCommon), [](Term i) { return i; }};
  Value list = e().advance(e().shared(place), e().warp() * (4 * 32 * getNumWords()));
  Term count = e().i32(0);
  for (const Term &word : mask)
    count = count + e().popCount(word);
  Term lane = e().lane();
  Term next = e().i32(0), nextOther = count;
  e().warpSync(); // all have left what was there
  for (int64_t i = 0; i < getNumWords(); ++i) {
    const Term &word = mask[i];
    Term isActive = ((word >> lane) & 1) != 0;
    Term before = e().countBelow(word);
    Term to = select(isActive, next + before, nextOther + lane - before);
    Term isListed = groupsAreColumns ? lane < numGroups - 32 * i : isActive;
    e().when(isListed, [&] { e().store(lane + 32 * i, e().advance(list, to * 4)); });
    Term active = e().popCount(word);
    next = next + active;
    nextOther = nextOther - active + 32;
  }
  e().warpSync();
  return {count, [this, list](Term i) { return e().load(e().advance(list, i * 4), i.getType()); }};
}

Term Product::walkedDepth(const GroupList &list) const {
  return groupsAreColumns ? e().i32(depth) : list.count * groupSize;
}

Term Product::depthAt(const GroupList &list, const Term &index) const {
  if (groupsAreColumns || !hasMasks())
    return index;
  return list.at(index / groupSize) * groupSize + index % groupSize;
}

Term Product::groupAt(const GroupList &list, const Term &index) const {
  return list.at(index / groupSize);
}

Term Product::loadScale(const Term &group, const Term &column) const {
  Term place = scalesSums() ? column : group * columns + column;
  return e().load(e().advance(kernels.buffer(scales).pointer, place * 4), e().b.getF32Type());
}

ColumnPlace Product::columnAt(const GroupList &list, const Term &position) const {
  if (!groupsAreColumns)
    return {position, Term()};
  if (!hasMasks())
    return {position, position / groupSize};
  // The list ends at `columns`, too.
  Term isThere = position < columns;
  Term group = list.at(select(isThere, position / groupSize, e().i32(0)));
  return {select(isThere, group * groupSize + position % groupSize, position), group};
}

Term Product::depthOfTile(const GroupList &list, const Term &position) const {
  Term all = walkedDepth(list);
  if (!groupsAreColumns)
    return all;
  return select(position < list.count * groupSize, all, e().i32(0));
}

//===----------------------------------------------------------------------===//
// Operands and results
//===----------------------------------------------------------------------===//

Value Product::inputAt(const Term &row, const Term &index) const {
  return e().at(kernels.buffer(input), {row, index});
}

Value Product::weightAt(const Term &column, const Term &index) const {
  int64_t bytes = getElement().getIntOrFloatBitWidth() / 8;
  const GpuBuffer &buffer = isExpanded ? kernels.scratch() : kernels.buffer(weight);
  return e().advance(buffer.pointer, (toI64(column) * depth + toI64(index)) * bytes);
}

ResultRow Product::findRow(const Term &row) const {
  ResultRow found;
  Term numTokens = kernels.numTokens();
  found.isThere = row < numTokens;
  found.row = min(row, numTokens - 1);
  Term token = order ? e().loadI32(kernels.buffer(order), {found.row}) : found.row;
  found.target = scatters ? token : found.row;
  if (!groupsAreColumns)
    return found;
  for (int64_t word = 0; word < getNumWords(); ++word)
    found.has.push_back(e().i32(commonBits(word)));
  auto type = cast<RoutingType>(routing.getType());
  for (int64_t slot = type.getNumActive() - type.getNumChosen(); slot < type.getNumActive();
       ++slot) {
    Term group = e().loadI32(kernels.buffer(routing, 0), {token, e().i32(slot)});
    for (auto [i, word] : llvm::enumerate(found.has))
      word = word | select(group / 32 == int64_t(i), e().i32(1) << (group % 32), e().i32(0));
  }
  return found;
}

SmallVector<Term> Product::finish(const ResultRow &row, const Term &group, ArrayRef<Term> sums,
                                  ArrayRef<Term> gates, ArrayRef<Term> residuals) const {
  SmallVector<Term> values(sums);
  if (groupsAreColumns) {
    Term isKept = hasGroup(row.has, group);
    for (Term &value : values)
      value = select(isKept, value, e().f32(0.0));
  }
  for (auto [value, gate] : llvm::zip(values, gates))
    value = e().silu(gate) * value;
  for (auto [value, residual] : llvm::zip(values, residuals))
    value = residual + value;
  return values;
}

void Product::write(const ResultRow &row, const ColumnPlace &place, const Term &sum) const {
  auto loadLike = [&](Value tensor, const Term &at) -> SmallVector<Term> {
    if (!tensor)
      return {};
    return {e().loadF32(kernels.buffer(tensor), {at, place.column})};
  };
  e().when(row.isThere & (place.column < columns), [&] {
    SmallVector<Term> gates = loadLike(gate, row.row), residuals = loadLike(residual, row.target);
    Term scaled = scalesSums() ? sum * loadScale(place.group, place.column) : sum;
    SmallVector<Term> values = finish(row, place.group, scaled, gates, residuals);
    e().storeF32(values.front(), kernels.buffer(result), {row.target, place.column});
  });
}

/// Thread r mod 4 gets word r of the four threads beside each other, first to last.
static SmallVector<Term> transposeWords(GpuEmitter &e, ArrayRef<Term> words) {
  Term lane = e.lane();
  Term isUpper = (lane & 2) != 0, isOdd = (lane & 1) != 0;
  // Words of the lower and the upper two threads, of which this thread's two come last to one.
  Term lower[2], upper[2];
  for (int i = 0; i < 2; ++i) {
    Term kept = select(isUpper, words[2 + i], words[i]);
    Term got = e.shuffleXor(select(isUpper, words[i], words[2 + i]), 2);
    lower[i] = select(isUpper, got, kept);
    upper[i] = select(isUpper, kept, got);
  }
  SmallVector<Term> column;
  for (Term *half : {lower, upper}) {
    Term kept = select(isOdd, half[1], half[0]);
    Term got = e.shuffleXor(select(isOdd, half[0], half[1]), 1);
    column.push_back(select(isOdd, got, kept));
    column.push_back(select(isOdd, kept, got));
  }
  return column;
}

// In 16 bits a thread moves eight columns, 16 bytes, and the four threads exchange them; in f32 a pair, as the four threads' pairs are a whole sector of 32 bytes.

/// Two values of a row of `tensor` for each of the thread's eights; those of columns that are not there are any.
SmallVector<Term> Product::loadEights(Value tensor, const Term &row, ArrayRef<Term> starts,
                                      const Term &own) const {
  SmallVector<Term> values;
  if (!tensor)
    return values;
  const GpuBuffer &buffer = kernels.buffer(tensor);
  Type element = buffer.getElementType();
  auto clamp = [&](const Term &column) { return select(column < columns, column, e().i32(0)); };
  if (element.isF32()) {
    for (const Term &start : starts)
      llvm::append_range(
          values,
          e().loadF32s(e().at(buffer, {row, clamp(start) + (e().lane() & 3) * 2}), element, 2));
    return values;
  }
  Term vector =
      e().load(e().at(buffer, {row, clamp(own)}), VectorType::get({4}, e().b.getI32Type()));
  for (const Term &word : transposeWords(e(), e().split(vector))) {
    auto pair = tile::UnpackOp::create(e().b, mohd::getHalf(element), word.value);
    values.append({e().wrap(pair.getLow()), e().wrap(pair.getHigh())});
  }
  return values;
}

void Product::write(const ResultRow &row, ArrayRef<EightColumns> eights) const {
  const GpuBuffer &buffer = kernels.buffer(result);
  Type element = buffer.getElementType();
  Term quarter = e().lane() & 3;
  SmallVector<Term> starts;
  for (const EightColumns &eight : eights)
    starts.push_back(eight.first.column);
  Term own = starts.front();
  for (int64_t i = 1; i < 4; ++i)
    own = select(quarter == i, starts[i], own);
  SmallVector<Term> gates = loadEights(gate, row.row, starts, own);
  SmallVector<Term> residuals = loadEights(residual, row.target, starts, own);
  SmallVector<Term> words;
  for (int64_t i = 0; i < 4; ++i) {
    auto pairOf = [&](ArrayRef<Term> values) {
      return values.empty() ? values : values.slice(2 * i, 2);
    };
    SmallVector<Term> pair = finish(row, eights[i].first.group, {eights[i].low, eights[i].high},
                                    pairOf(gates), pairOf(residuals));
    if (!element.isF32()) {
      words.push_back(
          e().wrap(tile::PackOp::create(e().b, mohd::getHalf(element), pair[0], pair[1])));
      continue;
    }
    e().when(row.isThere & (starts[i] < columns), [&] {
      e().storeF32s(pair, e().at(buffer, {row.target, starts[i] + quarter * 2}), element);
    });
  }
  if (words.empty())
    return;
  Term vector = e().join(transposeWords(e(), words));
  e().when(row.isThere & (own < columns),
           [&] { e().store(vector, e().at(buffer, {row.target, own})); });
}

//===----------------------------------------------------------------------===//
// Which kernels
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOf(StringRef tokens, int64_t height, int64_t blocks) {
  return ("ceildiv(" + tokens + "," + Twine(height) + ")*" + Twine(blocks)).str();
}

void mlir::mohd::addTiles(const Product &product, ArrayRef<GpuTile> candidates, StringRef condition,
                          llvm::function_ref<void(const GpuTile &, StringRef)> add) {
  StringRef tokens = product.kernels.getTokens();
  // The depth that all tokens have.
  int64_t depth = product.groupsAreColumns
                      ? product.depth
                      : std::max<int64_t>(product.numCommon, 1) * product.groupSize;
  SmallVector<TileRange> ranges = chooseTiles(product.kernels.gpu, candidates,
                                              {product.getWorkingColumns(), depth}, kFewTokens);
  for (auto [number, tile] : llvm::enumerate(candidates)) {
    SmallVector<std::string> chosen; // each is 1 for some numbers of tokens
    int64_t before = 0;
    for (const TileRange &range : ranges) {
      if (range.tile == number) {
        SmallVector<std::string> factors = {condition.str()};
        if (before > 0)
          factors.push_back(isMany(tokens, before));
        if (range.lastTokens != TileRange::kNoEnd)
          factors.push_back(isFew(tokens, range.lastTokens));
        chosen.push_back(llvm::join(factors, "*"));
      }
      before = range.lastTokens;
    }
    if (chosen.size() == 1)
      add(tile, chosen.front());
    else if (!chosen.empty())
      add(tile, "(" + llvm::join(chosen, "+") + ")");
  }
}

/// With more groups the masks of a thread's rows would not fit the registers beside the sums.
static bool hasFewGroups(const Product &product) {
  constexpr int64_t mostGroups = 256;
  return !product.hasMasks() || product.numGroups <= mostGroups;
}

/// The kernel of many tokens for the tensor units.
static void addTensorProduct(Product &product, StringRef many) {
  if (canUseWgmma(product))
    addWgmmaProduct(product, many);
  else
    addMmaProduct(product, many);
}

/// Few tokens read the int8 values; many are worth a copy of the weight that the tensor units can read.
static LogicalResult addQuantizedKernels(Product &product) {
  Product expanded = product.expand();
  std::string many = isMany(product.kernels.getTokens(), kFewTokens);
  bool expands = product.hasBytes() && expanded.hasEights() && hasFewGroups(expanded);
  if (expands)
    product.kernels.addScratch(getExpansionSize(product));
  if (product.hasBytes())
    addBytesProduct(product);
  else if (product.hasQuarters())
    addDotProduct(product);
  else
    many = "1";
  if (!expands) {
    addScalarProduct(product, many);
    return success();
  }
  addExpansion(product, many);
  addTensorProduct(expanded, many);
  return success();
}

static LogicalResult addKernels(Product &product) {
  if (product.scales)
    return addQuantizedKernels(product);
  std::string many = isMany(product.kernels.getTokens(), kFewTokens);
  if (product.hasPieces())
    addFewProduct(product);
  else if (product.hasQuarters())
    addDotProduct(product);
  else
    many = "1";
  if (!product.hasPieces() || !product.hasEights() || !hasFewGroups(product))
    addScalarProduct(product, many);
  else
    addTensorProduct(product, many);
  return success();
}

LogicalResult mlir::mohd::emitGpuBucketSpmm(GpuKernelSet &kernels, BucketSpmmOp op) {
  Product product(kernels, op);
  return addKernels(product);
}

LogicalResult mlir::mohd::emitGpuBucketSddmm(GpuKernelSet &kernels, BucketSddmmOp op) {
  Product product(kernels, op);
  return addKernels(product);
}
