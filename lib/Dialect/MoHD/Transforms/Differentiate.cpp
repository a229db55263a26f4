// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes backward functions.
//
//   func.func @f(%x, %w) -> %y attributes {mohd.backward = "f_backward"} {
//     %y = mohd.linear %x, %w
//   }
// gets beside it
//   func.func @f_backward(%x, %w, %grad_y) -> (%grad_x, %grad_w) {
//     %t = mohd.permute_weight %w [1, 0]
//     %grad_x = mohd.linear %grad_y, %t
//     %grad_w = mohd.weight_gradient %x, %grad_y
//   }
//
// Shown by test/Dialect/MoHD/differentiate.mlir.
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/GradientMap.h"
#include "mohd/Dialect/MoHD/Transforms/Passes.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Transforms/CSE.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_DIFFERENTIATEPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// Whether a value has a gradient: it holds floats, or the gates of a routing.
static bool isDifferentiable(Type type) {
  if (isa<RoutingType>(type))
    return true;
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa<FloatType>(tensor.getElementType());
}

namespace {

/// Makes the backward function of one function.
class Differentiator {
public:
  Differentiator(func::FuncOp function, StringRef name)
      : function(function), name(name), b(function.getContext()) {}

  LogicalResult run();

private:
  Value addArgument(Type type, const Twine &argumentName, Attribute dims);
  void copyForward();
  LogicalResult addGradients();
  LogicalResult buildReturn();
  void takeSaved();
  LogicalResult copyShared();
  void eraseUnused();
  std::string nameArgument(unsigned number);
  std::string nameResult(unsigned number);

  func::FuncOp function;
  const StringRef name;
  OpBuilder b;
  func::FuncOp backward;
  Block *body = nullptr;
  SmallVector<Operation *> forward; // copies of the function's ops
  SmallVector<Value> copies,
      saved; // of each result of the function, and the argument that brings it
  SmallVector<DictionaryAttr> argumentAttrs, resultAttrs;
  GradientMap gradients;
};

} // namespace

std::string Differentiator::nameArgument(unsigned number) {
  auto given = function.getArgAttrOfType<StringAttr>(number, kNameAttr);
  return given ? given.str() : "arg" + std::to_string(number);
}

std::string Differentiator::nameResult(unsigned number) {
  auto given = function.getResultAttrOfType<StringAttr>(number, kNameAttr);
  return given ? given.str() : "result" + std::to_string(number);
}

Value Differentiator::addArgument(Type type, const Twine &argumentName, Attribute dims) {
  NamedAttrList attributes;
  attributes.append(kNameAttr, b.getStringAttr(argumentName));
  if (dims)
    attributes.append(kDimsAttr, dims);
  argumentAttrs.push_back(attributes.getDictionary(b.getContext()));
  return body->addArgument(type, function.getLoc());
}

/// Makes the arguments and copies the function's ops.
void Differentiator::copyForward() {
  IRMapping mapping;
  for (BlockArgument argument : function.getArguments()) {
    unsigned number = argument.getArgNumber();
    mapping.map(argument, addArgument(argument.getType(), nameArgument(number),
                                      function.getArgAttr(number, kDimsAttr)));
  }
  for (Operation &op : function.front().without_terminator())
    forward.push_back(b.clone(op, mapping));
  OperandRange results = function.front().getTerminator()->getOperands();
  for (auto [number, value] : llvm::enumerate(results)) {
    copies.push_back(mapping.lookup(value));
    saved.push_back(addArgument(value.getType(), nameResult(number), {}));
  }
}

/// Adds the gradients of all values, from the last op to the first. Frozen results give none.
LogicalResult Differentiator::addGradients() {
  for (BlockArgument argument : body->getArguments().take_front(function.getNumArguments()))
    if (isDifferentiable(argument.getType()) &&
        !function.getArgAttr(argument.getArgNumber(), kFrozenAttr))
      gradients.want(argument);
  auto isWanted = [&](Value value) { return gradients.isWanted(value); };
  for (Operation *op : forward)
    if (llvm::any_of(op->getOperands(), isWanted))
      for (Value result : op->getResults())
        if (isDifferentiable(result.getType()))
          gradients.want(result);

  for (auto [number, copy] : llvm::enumerate(copies)) {
    if (!isDifferentiable(copy.getType()) || function.getResultAttr(number, kFrozenAttr))
      continue;
    Value grad = addArgument(copy.getType(), "grad_" + nameResult(number), {});
    if (failed(gradients.add(b, copy, grad)))
      return failure();
  }
  for (Operation *op : llvm::reverse(forward)) {
    bool hasGradient =
        llvm::any_of(op->getResults(), [&](Value result) { return bool(gradients.get(result)); });
    if (!hasGradient || llvm::none_of(op->getOperands(), isWanted))
      continue;
    auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
    if (!differentiable)
      return op->emitOpError("expects an op that has a gradient, as '")
             << function.getSymName()
             << "' has a backward function; constants, such as quantized weights, are marked '"
             << kFrozenAttr << "'";
    if (failed(differentiable.buildGradient(b, gradients)))
      return failure();
  }
  return success();
}

/// Returns the gradient of each argument that has one.
LogicalResult Differentiator::buildReturn() {
  SmallVector<Value> results;
  for (BlockArgument argument : body->getArguments().take_front(function.getNumArguments())) {
    Value grad = gradients.get(argument);
    if (!grad || !gradients.isWanted(argument))
      continue;
    results.push_back(grad);
    NamedAttribute attribute = {b.getStringAttr(kNameAttr),
                                b.getStringAttr("grad_" + nameArgument(argument.getArgNumber()))};
    resultAttrs.push_back(b.getDictionaryAttr(attribute));
  }
  if (results.empty())
    return function.emitError("expects an argument that has a gradient, as '")
           << function.getSymName() << "' has a backward function";
  func::ReturnOp::create(b, function.getLoc(), results);
  return success();
}

/// Uses what the function returned in place of what would be computed again.
void Differentiator::takeSaved() {
  b.setInsertionPointToStart(body);
  for (Operation *op : forward) {
    // A routing is returned as its two parts.
    auto unpack = dyn_cast<UnpackRoutingOp>(op);
    auto *indices = unpack ? llvm::find(copies, unpack.getIndices()) : copies.end();
    auto *gates = unpack ? llvm::find(copies, unpack.getGates()) : copies.end();
    if (indices == copies.end() || gates == copies.end())
      continue;
    auto routing =
        MakeRoutingOp::create(b, op->getLoc(), unpack.getRouting().getType(),
                              saved[indices - copies.begin()], saved[gates - copies.begin()]);
    unpack.getRouting().replaceAllUsesExcept(routing, unpack);
  }
  for (auto [copy, argument] : llvm::zip_equal(copies, saved)) {
    if (isa<BlockArgument>(copy))
      continue;
    // What a product gave in active groups is all that it gave.
    auto gather = copy.getDefiningOp<GatherGroupsOp>();
    auto product = gather ? gather.getInput().getDefiningOp<SddmmOp>() : SddmmOp();
    if (product && product.getRouting() == gather.getRouting()) {
      b.setInsertionPointAfter(product);
      auto whole = ScatterGroupsOp::create(b, gather.getLoc(), product.getType(), argument,
                                           product.getRouting());
      product.getResult().replaceAllUsesExcept(whole, gather);
    }
    copy.replaceAllUsesWith(argument);
  }
}

/// Erases the ops that nothing uses, then the arguments.
void Differentiator::eraseUnused() {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(*body)))
    if (isOpTriviallyDead(&op))
      op.erase();
  for (unsigned number = body->getNumArguments(); number-- > 0;)
    if (body->getArgument(number).use_empty()) {
      body->eraseArgument(number);
      argumentAttrs.erase(argumentAttrs.begin() + number);
    }
}

/// Makes each result a value of its own: not an argument's, and no other one's, also after the same op has been found twice.
LogicalResult Differentiator::copyShared() {
  IRRewriter rewriter(b);
  DominanceInfo dominance(backward);
  eliminateCommonSubExpressions(rewriter, dominance, backward);
  Operation *end = body->getTerminator();
  b.setInsertionPoint(end);
  DenseMap<Value, Value> last; // copy of a value; a copy of that one is another op
  for (OpOperand &result : end->getOpOperands()) {
    Value value = result.get();
    auto [place, isNew] = last.try_emplace(value, value);
    if (isNew && !isa<BlockArgument>(value))
      continue;
    auto type = cast<RankedTensorType>(value.getType());
    if (type.getRank() != 2)
      return function.emitError("expects '")
             << cast<StringAttr>(resultAttrs[result.getOperandNumber()].get(kNameAttr)).getValue()
             << "' to be computed by an op of its own, or to be a tensor of rank 2, got " << type;
    place->second = CopyOp::create(b, function.getLoc(), type, place->second);
    result.set(place->second);
  }
  return success();
}

LogicalResult Differentiator::run() {
  b.setInsertionPointAfter(function);
  backward = func::FuncOp::create(b, function.getLoc(), name, b.getFunctionType({}, {}));
  body = backward.addEntryBlock();
  b.setInsertionPointToStart(body);
  copyForward();
  if (failed(addGradients()) || failed(buildReturn()))
    return failure();
  takeSaved();
  if (failed(copyShared()))
    return failure();
  eraseUnused();
  backward.setFunctionType(
      b.getFunctionType(body->getArgumentTypes(), body->getTerminator()->getOperandTypes()));
  backward.setAllArgAttrs(argumentAttrs);
  backward.setAllResultAttrs(resultAttrs);
  return success();
}

namespace {
struct DifferentiatePass : mohd::impl::DifferentiatePassBase<DifferentiatePass> {
  using Base::Base;

  void runOnOperation() override {
    for (auto function : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      Attribute attribute = function->removeAttr(kBackwardAttr);
      if (!attribute)
        continue;
      auto name = dyn_cast<StringAttr>(attribute);
      if (failed(check(function, attribute)) || failed(Differentiator(function, name).run()))
        return signalPassFailure();
      ++numDifferentiated;
    }
  }

private:
  /// Checks that the backward function can be made under the name that `attribute` holds.
  LogicalResult check(func::FuncOp function, Attribute attribute) {
    auto name = dyn_cast<StringAttr>(attribute);
    if (!name || name.empty())
      return function.emitError("expects '")
             << kBackwardAttr << "' to be the name of a function, got " << attribute;
    if (function.isDeclaration() || !function.getBody().hasOneBlock())
      return function.emitError("expects a function of one block to have a backward function");
    if (SymbolTable::lookupSymbolIn(getOperation(), name))
      return function.emitError("expects the name of a function that there is not yet as '")
             << kBackwardAttr << "', got \"" << name.getValue() << "\"";
    return success();
  }
};
} // namespace
