// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The symbolic side of scheduling: which dynamic dimensions are equal, sizes as expressions, and places in the workspace.
#include "ProgramLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

Product &Product::operator*=(const Extent &extent) {
  if (extent.name.empty()) {
    coefficient *= extent.value;
  } else {
    dims.push_back(extent.name);
    llvm::sort(dims);
  }
  return *this;
}

Product &Product::operator*=(int64_t factor) {
  coefficient *= factor;
  return *this;
}

std::string Product::dimsKey() const { return dims.empty() ? "1" : llvm::join(dims, "*"); }

std::string Product::str() const {
  if (dims.empty())
    return std::to_string(coefficient);
  return dimsKey() + "*" + std::to_string(coefficient);
}

Product mlir::mohd::getByteSize(RankedTensorType type, ArrayRef<Extent> extents) {
  Product size;
  size *= int64_t(type.getElementTypeBitWidth() / 8);
  for (const Extent &extent : extents)
    size *= extent;
  return size;
}

//===----------------------------------------------------------------------===//
// DimTable
//===----------------------------------------------------------------------===//

int DimTable::newClass() {
  parent.push_back(parent.size());
  bound.push_back(-1);
  className.emplace_back();
  return parent.size() - 1;
}

int DimTable::find(int node) const {
  while (parent[node] != node)
    node = parent[node] = parent[parent[node]];
  return node;
}

LogicalResult DimTable::bind(Operation *op, int node, int64_t size) {
  int root = find(node);
  if (bound[root] >= 0 && bound[root] != size)
    return op->emitError("expects equal sizes, got ") << bound[root] << " and " << size;
  bound[root] = size;
  return success();
}

LogicalResult DimTable::unify(Operation *op, int lhs, int rhs) {
  int left = find(lhs), right = find(rhs);
  if (left == right)
    return success();
  // The older class stays the representative, so that names follow the arguments.
  int root = std::min(left, right), other = std::max(left, right);
  parent[other] = root;
  if (className[root].empty())
    className[root] = className[other];
  if (bound[other] >= 0)
    return bind(op, root, bound[other]);
  return success();
}

LogicalResult DimTable::addArguments(func::FuncOp func) {
  for (BlockArgument argument : func.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type)
      return func.emitError("expects arguments of an entry point to be ranked tensors, got ")
             << argument.getType();
    auto dims = func.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kDimsAttr);
    if (dims && dims.size() != size_t(type.getNumDynamicDims()))
      return func.emitError("expects ")
             << type.getNumDynamicDims() << " names in '" << kDimsAttr << "' of argument #"
             << argument.getArgNumber() << ", got " << int64_t(dims.size());
    SmallVector<int> &all = classes[argument];
    unsigned dynamic = 0;
    for (int64_t size : type.getShape()) {
      int node = newClass();
      all.push_back(node);
      if (!ShapedType::isDynamic(size)) {
        if (failed(bind(func, node, size)))
          return failure();
        continue;
      }
      auto name = dims ? cast<StringAttr>(dims[dynamic]) : StringAttr(); // the dialect checks
      ++dynamic;
      if (!name)
        continue;
      auto [known, isNew] = given.try_emplace(name.str(), node);
      className[node] = name.str();
      if (!isNew && failed(unify(func, known->second, node)))
        return failure();
    }
  }
  return success();
}

LogicalResult DimTable::addOp(Operation *op) {
  auto addResult = [&](Value result, std::optional<int> tokens,
                       ArrayRef<int> like) -> LogicalResult {
    SmallVector<int> all;
    auto type = dyn_cast<RankedTensorType>(result.getType());
    int64_t rank = type ? type.getRank() : 1;
    for (int64_t dim = 0; dim < rank; ++dim) {
      bool isStatic = type && !type.isDynamicDim(dim);
      int node = dim == 0 && tokens && !(isStatic && type.getRank() == 0) ? *tokens
                 : !like.empty()                                          ? like[dim]
                                                                          : newClass();
      if (isStatic && failed(bind(op, node, type.getDimSize(dim))))
        return failure();
      all.push_back(node);
    }
    classes[result] = all;
    return success();
  };
  auto tokenOp = dyn_cast<TokenOpInterface>(op);
  if (!tokenOp) {
    for (Value result : op->getResults())
      if (failed(addResult(result, std::nullopt, {})))
        return failure();
    return success();
  }
  SmallVector<unsigned> operands = tokenOp.getTokenOperands();
  int tokens = classes[op->getOperand(operands.front())].front();
  for (unsigned operand : operands)
    if (failed(unify(op, tokens, classes[op->getOperand(operand)].front())))
      return failure();
  for (const EqualDims &equal : tokenOp.getEqualDims())
    if (failed(unify(op, classes[op->getOperand(equal.lhs)][equal.lhsDim],
                     classes[op->getOperand(equal.rhs)][equal.rhsDim])))
      return failure();
  for (OpResult result : op->getResults()) {
    std::optional<unsigned> like = tokenOp.getShapeOperand();
    LogicalResult added =
        like && result.getResultNumber() == 0
            ? addResult(result, std::nullopt, SmallVector<int>(classes[op->getOperand(*like)]))
        : tokenOp.resultsHaveTokens() ? addResult(result, tokens, {})
                                      : addResult(result, std::nullopt, {});
    if (failed(added))
      return failure();
  }
  return success();
}

void DimTable::nameClasses(func::FuncOp func) {
  auto isTaken = [&](StringRef name) { return llvm::is_contained(className, name); };
  for (size_t node = 0; node < parent.size(); ++node) {
    if (find(node) != int(node) || bound[node] >= 0)
      continue;
    if (className[node].empty()) {
      std::string name = "T";
      for (int number = 1; isTaken(name); ++number)
        name = "d" + std::to_string(number);
      className[node] = name;
    }
    names.push_back(className[node]);
  }
}

LogicalResult DimTable::build(func::FuncOp func) {
  if (failed(addArguments(func)))
    return failure();
  for (Operation &op : func.front())
    if (!op.hasTrait<OpTrait::IsTerminator>() && failed(addOp(&op)))
      return failure();
  nameClasses(func);
  return success();
}

SmallVector<Extent> DimTable::getExtents(Value tensor) const {
  SmallVector<Extent> extents;
  for (int node : classes.lookup(tensor)) {
    int root = find(node);
    Extent &extent = extents.emplace_back();
    if (bound[root] >= 0)
      extent.value = bound[root];
    else
      extent.name = className[root];
  }
  return extents;
}

Extent DimTable::getTokens(TokenOpInterface op) const {
  return getExtents(op->getOperand(op.getTokenOperands().front())).front();
}

//===----------------------------------------------------------------------===//
// WorkspacePlan
//===----------------------------------------------------------------------===//

int WorkspacePlan::allocate(const Product &size) {
  Product rounded = size;
  rounded.coefficient = llvm::alignTo(std::max<int64_t>(size.coefficient, 1), 64);
  int best = -1;
  for (auto [number, place] : llvm::enumerate(places)) {
    if (!place.free || place.size.dims != rounded.dims)
      continue;
    bool fits = place.size.coefficient >= rounded.coefficient;
    if (best < 0) {
      best = number;
      continue;
    }
    int64_t current = places[best].size.coefficient;
    bool currentFits = current >= rounded.coefficient;
    // The tightest place that fits; if none fits, the largest, which then grows.
    if (fits ? (!currentFits || place.size.coefficient < current)
             : (!currentFits && place.size.coefficient > current))
      best = number;
  }
  if (best < 0) {
    places.push_back({rounded, false});
    return places.size() - 1;
  }
  Place &place = places[best];
  place.size.coefficient = std::max(place.size.coefficient, rounded.coefficient);
  place.free = false;
  return best;
}

void WorkspacePlan::release(int place) { places[place].free = true; }

/// Sum of the places' sizes, gathered by their dims, as an expression.
static std::string sumOf(const std::map<std::string, int64_t> &coefficients) {
  std::string text;
  for (const auto &[dims, coefficient] : coefficients) {
    std::string term =
        dims == "1" ? std::to_string(coefficient) : dims + "*" + std::to_string(coefficient);
    text += text.empty() ? term : "+" + term;
  }
  return text.empty() ? "0" : text;
}

std::string WorkspacePlan::getOffset(int place) const {
  std::map<std::string, int64_t> coefficients;
  for (int before = 0; before < place; ++before)
    coefficients[places[before].size.dimsKey()] += places[before].size.coefficient;
  return sumOf(coefficients);
}

std::string WorkspacePlan::getSize() const { return getOffset(places.size()); }
