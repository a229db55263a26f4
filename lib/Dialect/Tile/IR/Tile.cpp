// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tile dialect itself: registration, types, the attributes of kernels, and the ops of CPU kernels.
#include "mohd/Dialect/Tile/IR/Tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mohd::tile;

/// Reads "64xN", the shape of sums.
static ParseResult parseSumsShape(AsmParser &parser, int64_t &columns) {
  SMLoc start = parser.getCurrentLocation();
  SmallVector<int64_t> shape;
  if (parser.parseDimensionList(shape, /*allowDynamic=*/false, /*withTrailingX=*/false))
    return failure();
  if (shape.size() != 2 || shape[0] != 64)
    return parser.emitError(start, "expects a shape of 64xN for sums, got ")
           << shape.size() << " dimensions, the first " << (shape.empty() ? 0 : shape[0]);
  columns = shape[1];
  return success();
}

static void printSumsShape(AsmPrinter &printer, int64_t columns) { printer << "64x" << columns; }

#include "mohd/Dialect/Tile/IR/TileDialect.cpp.inc"
#include "mohd/Dialect/Tile/IR/TileEnums.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "mohd/Dialect/Tile/IR/TileTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "mohd/Dialect/Tile/IR/TileAttributes.cpp.inc"

#define GET_OP_CLASSES
#include "mohd/Dialect/Tile/IR/TileOps.cpp.inc"

void TileDialect::initialize() {
  registerTypes();
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "mohd/Dialect/Tile/IR/TileOps.cpp.inc"
      >();
}

void TileDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "mohd/Dialect/Tile/IR/TileTypes.cpp.inc"
      >();
}

void TileDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "mohd/Dialect/Tile/IR/TileAttributes.cpp.inc"
      >();
}

LogicalResult SumsType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t columns) {
  if (columns < 8 || columns > 256 || columns % 8 != 0)
    return emitError() << "expects the columns of sums to be a multiple of 8 from 8 to 256, got "
                       << columns;
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes of kernels
//===----------------------------------------------------------------------===//

/// Checks an attribute of a kernel that is a number: a multiple of `step` from `least` to `most`.
static LogicalResult verifyNumber(Operation *op, NamedAttribute attribute, int64_t least,
                                  int64_t most, int64_t step) {
  auto number = dyn_cast<IntegerAttr>(attribute.getValue());
  if (!number || number.getValue().getSignificantBits() > 64 || number.getInt() < least ||
      number.getInt() > most || number.getInt() % step != 0)
    return op->emitError("expects '")
           << attribute.getName().getValue() << "' to be a multiple of " << step << " from "
           << least << " to " << most << ", got " << attribute.getValue();
  return success();
}

/// Checks that a launch can hand over the parameters of a kernel.
static LogicalResult verifyParameters(LLVM::LLVMFuncOp kernel) {
  auto global = LLVM::LLVMPointerType::get(kernel.getContext(), 1);
  for (auto [i, type] : llvm::enumerate(kernel.getFunctionType().getParams()))
    if (type != global && !type.isInteger(32) && !type.isInteger(64) && !type.isF32() &&
        !kernel.getArgAttr(unsigned(i), kTensorMapAttr))
      return kernel.emitError("expects parameters of a kernel to be i32, i64, f32, '!llvm.ptr<1>' "
                              "or tensor maps, got ")
             << type;
  return success();
}

LogicalResult TileDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  StringRef name = attribute.getName();
  auto function = dyn_cast<LLVM::LLVMFuncOp>(op);
  if (!function)
    return op->emitError("expects '") << name << "' on an 'llvm.func'";
  if (name == kSharedBytesAttr)
    return verifyNumber(op, attribute, 0, kMaxSharedBytes, 1);
  if (name == kThreadsAttr)
    return verifyNumber(op, attribute, 32, 1024, 32);
  if (name == kMinBlocksAttr)
    return verifyNumber(op, attribute, 1, 32, 1);
  if (name == kCooperativeAttr)
    return success();
  if (name != kKernelAttr)
    return op->emitError("expects an attribute of kernels, got '") << name << "'";
  if (!isa<LLVM::LLVMVoidType>(function.getFunctionType().getReturnType()))
    return op->emitError("expects a kernel to return nothing, got ")
           << function.getFunctionType().getReturnType();
  return verifyParameters(function);
}

LogicalResult TileDialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned argument,
                                                    NamedAttribute attribute) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  Type type = function ? function.getArgumentTypes()[argument] : Type();
  if (attribute.getName() != kTensorMapAttr || type != LLVM::LLVMPointerType::get(op->getContext()))
    return op->emitError("expects '") << kTensorMapAttr << "' on a parameter '!llvm.ptr', got '"
                                      << attribute.getName().getValue() << "' on " << type;
  return success();
}

//===----------------------------------------------------------------------===//
// CPU kernels
//===----------------------------------------------------------------------===//

LogicalResult BindingOp::verify() {
  MemRefType type = getResult().getType();
  if (!type.getLayout().isIdentity()) // binding_c2
    return emitOpError("expects a memref with the identity layout, got ") << type;
  if (getSizes().size() != size_t(type.getNumDynamicDims())) // binding_c1
    return emitOpError("expects ")
           << type.getNumDynamicDims() << " sizes for " << type << ", got " << getSizes().size();
  return success();
}
