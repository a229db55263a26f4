// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The mohd dialect itself: registration, types, attributes, and what all token ops share.
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/IR/MoHD.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace mlir::mohd;

#include "mohd/Dialect/MoHD/IR/MoHDDialect.cpp.inc"
#include "mohd/Dialect/MoHD/IR/MoHDEnums.cpp.inc"
#include "mohd/Dialect/MoHD/IR/MoHDInterfaces.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "mohd/Dialect/MoHD/IR/MoHDAttributes.cpp.inc"

void MohdDialect::initialize() {
  registerTypes();
  registerAttributes();
  registerOps();
}

void MohdDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "mohd/Dialect/MoHD/IR/MoHDTypes.cpp.inc"
      >();
}

void MohdDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "mohd/Dialect/MoHD/IR/MoHDAttributes.cpp.inc"
      >();
}

/// Checks the attributes that describe an argument or a result of an entry point.
static LogicalResult verifyPortAttribute(Operation *op, NamedAttribute attribute) {
  if (attribute.getName() == kNameAttr && !isa<StringAttr>(attribute.getValue()))
    return op->emitError("expects '")
           << kNameAttr << "' to be a string, got " << attribute.getValue();
  auto names = dyn_cast<ArrayAttr>(attribute.getValue());
  if (attribute.getName() == kDimsAttr &&
      !(names && llvm::all_of(names, llvm::IsaPred<StringAttr>)))
    return op->emitError("expects '")
           << kDimsAttr << "' to be an array of names, got " << attribute.getValue();
  return success();
}

LogicalResult MohdDialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned,
                                                    NamedAttribute attribute) {
  return verifyPortAttribute(op, attribute);
}

LogicalResult MohdDialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned,
                                                       NamedAttribute attribute) {
  return verifyPortAttribute(op, attribute);
}

//===----------------------------------------------------------------------===//
// !mohd.routing
//===----------------------------------------------------------------------===//

LogicalResult PlanAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t gatherTokens,
                               Strategy) {
  if (gatherTokens < 0)
    return emitError() << "expects a plan to gather to 0 tokens or more, got " << gatherTokens;
  return success();
}

LogicalResult RoutingType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t numGroups,
                                  int64_t numShared, int64_t numRouted) {
  if (numGroups < 1)
    return emitError() << "expects at least one group in a routing, got " << numGroups;
  if (numShared < 0 || numRouted < 0)
    return emitError() << "expects numbers of shared and routed groups that are not negative, got "
                       << numShared << " and " << numRouted;
  if (numShared > numGroups || numRouted > numGroups - numShared)
    return emitError() << "expects at most " << numGroups << " active groups in a routing, got "
                       << numShared << " shared and " << numRouted << " routed";
  if (numShared + numRouted == 0)
    return emitError() << "expects at least one active group in a routing, got none";
  return success();
}

RankedTensorType RoutingType::getIndicesType(int64_t numTokens) const {
  return RankedTensorType::get({numTokens, getNumActive()}, IntegerType::get(getContext(), 32));
}

RankedTensorType RoutingType::getGatesType(int64_t numTokens) const {
  return RankedTensorType::get({numTokens, getNumActive()}, Float32Type::get(getContext()));
}

//===----------------------------------------------------------------------===//
// TokenOpInterface
//===----------------------------------------------------------------------===//

LogicalResult mlir::mohd::detail::verifyTokenOp(Operation *op) {
  auto tokenOp = cast<TokenOpInterface>(op);
  int64_t numTokens = ShapedType::kDynamic;
  auto check = [&](Type type, const Twine &what) -> LogicalResult {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor || tensor.getRank() == 0 || tensor.isDynamicDim(0))
      return success();
    if (numTokens != ShapedType::kDynamic && numTokens != tensor.getDimSize(0))
      return op->emitOpError("expects ")
             << what << " to have " << numTokens << " tokens, got " << tensor.getDimSize(0);
    numTokens = tensor.getDimSize(0);
    return success();
  };
  for (unsigned index : tokenOp.getTokenOperands())
    if (failed(check(op->getOperand(index).getType(), "operand #" + Twine(index))))
      return failure();
  if (tokenOp.getTiedOperand() || !tokenOp.resultsHaveTokens())
    return success();
  for (OpResult result : op->getResults())
    if (failed(check(result.getType(), "result #" + Twine(result.getResultNumber()))))
      return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// Checks that ops of several files share
//===----------------------------------------------------------------------===//

ScalingForm mlir::mohd::getScalingForm(RoutingType routing, Scaling scaling) {
  double n = routing.getNumGroups(), k = routing.getNumActive();
  switch (scaling) {
  case Scaling::None:
    return {1.0, 0};
  case Scaling::SqrtNOverK:
    return {std::sqrt(n / k), 0};
  case Scaling::NOverK:
    return {n / k, 0};
  case Scaling::NTimesMass:
    return {n, 1};
  case Scaling::KOverMass:
    return {k, -1};
  case Scaling::SqrtNkOverMass:
    return {std::sqrt(n * k), -1};
  }
  llvm_unreachable("all scalings are known");
}

LogicalResult mlir::mohd::detail::verifyWholeGroups(Operation *op, RankedTensorType input,
                                                    RoutingType routing) {
  if (input.getDimSize(1) % routing.getNumGroups() == 0)
    return success();
  return op->emitOpError("expects the width of 'input' to be a multiple of ")
         << routing.getNumGroups() << " groups, got " << input.getDimSize(1);
}

LogicalResult mlir::mohd::detail::verifyPermutation(Operation *op, ArrayRef<int64_t> permutation,
                                                    size_t rank) {
  SmallVector<int64_t> sorted(permutation);
  llvm::sort(sorted);
  if (sorted.size() == rank && llvm::equal(sorted, llvm::seq<int64_t>(0, rank)))
    return success();
  return op->emitOpError("expects 'permutation' to hold each of 0..")
         << int64_t(rank) - 1 << " once, got [" << permutation << "]";
}
