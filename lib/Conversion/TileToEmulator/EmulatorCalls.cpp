// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of the emulator from a kernel: loads from the table that the variable `mohd_emulator` points to.
#include "EmulatorCalls.h"

#include "mohd/Conversion/TileKernels/TileKernels.h"

#include "llvm/Support/Path.h"

namespace mlir::mohd {

static constexpr llvm::StringLiteral kTableName = "mohd_emulator";

namespace {
/// Types of a function as operations.h writes them: letters.
struct Signature {
  char result;
  StringRef arguments;
};
} // namespace

static Signature getSignature(EmulatorFunction function) {
  static constexpr Signature kSignatures[] = {
#define MOHD_EMULATOR_SIGNATURE(name, result, arguments, parameters) {#result[0], arguments},
      MOHD_EMULATOR_OPERATIONS(MOHD_EMULATOR_SIGNATURE)
#undef MOHD_EMULATOR_SIGNATURE
  };
  return kSignatures[size_t(function)];
}

/// The type that a letter of a signature stands for.
static Type getType(MLIRContext *context, char letter) {
  switch (letter) {
  case 'I':
    return IntegerType::get(context, 32);
  case 'L':
    return IntegerType::get(context, 64);
  case 'F':
    return Float32Type::get(context);
  case 'P':
    return LLVM::LLVMPointerType::get(context);
  default:
    return LLVM::LLVMVoidType::get(context);
  }
}

Block *getEntryBlock(Operation *op) {
  return &op->getParentOfType<LLVM::LLVMFuncOp>().getBody().front();
}

Value createSpace(OpBuilder &builder, Location loc, Value pointer) {
  bool isGlobal = cast<LLVM::LLVMPointerType>(pointer.getType()).getAddressSpace() == 1;
  return createI32(builder, loc, isGlobal ? MOHD_EMU_GLOBAL : MOHD_EMU_SHARED);
}

Value EmulatorCalls::getTable(OpBuilder &builder, Operation *op) {
  Value &table = tables[op->getParentOfType<LLVM::LLVMFuncOp>()];
  if (table)
    return table;
  OpBuilder::InsertionGuard guard(builder);
  Type pointer = LLVM::LLVMPointerType::get(builder.getContext());
  if (!symbols.lookup(kTableName)) {
    builder.setInsertionPointToStart(module.getBody());
    auto global = LLVM::GlobalOp::create(builder, module.getLoc(), pointer, /*isConstant=*/false,
                                         LLVM::Linkage::External, kTableName, Attribute());
    builder.createBlock(&global.getInitializerRegion());
    Value null = LLVM::ZeroOp::create(builder, module.getLoc(), pointer);
    LLVM::ReturnOp::create(builder, module.getLoc(), null);
    symbols.insert(global);
  }
  builder.setInsertionPointToStart(getEntryBlock(op));
  Value variable = LLVM::AddressOfOp::create(builder, op->getLoc(), pointer, kTableName);
  table = LLVM::LoadOp::create(builder, op->getLoc(), pointer, variable);
  return table;
}

Value EmulatorCalls::getSite(OpBuilder &builder, Operation *op) {
  auto kernel = op->getParentOfType<LLVM::LLVMFuncOp>();
  std::string text = (kernel.getSymName() + ": " + op->getName().getStringRef()).str();
  if (auto place = op->getLoc()->findInstanceOf<FileLineColLoc>()) {
    // Without the folder: the same model makes the same bundle anywhere.
    StringRef file = llvm::sys::path::filename(place.getFilename());
    text += (" at " + file + ":" + Twine(place.getLine()) + ":" + Twine(place.getColumn())).str();
  }
  LLVM::GlobalOp &site = sites[text];
  if (!site) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(module.getBody());
    std::string name = "mohd_site_" + std::to_string(sites.size() - 1);
    StringRef withEnd(text.c_str(), text.size() + 1); // a C string
    auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), unsigned(withEnd.size()));
    site = LLVM::GlobalOp::create(builder, module.getLoc(), type, /*isConstant=*/true,
                                  LLVM::Linkage::Private, name, builder.getStringAttr(withEnd));
    symbols.insert(site); // which makes the name unique
  }
  return LLVM::AddressOfOp::create(builder, op->getLoc(), site);
}

Value EmulatorCalls::call(OpBuilder &builder, Operation *op, EmulatorFunction function,
                          ValueRange arguments) {
  Location loc = op->getLoc();
  MLIRContext *context = builder.getContext();
  Signature signature = getSignature(function);
  SmallVector<Type> types;
  for (char letter : signature.arguments)
    types.push_back(getType(context, letter));

  Type pointer = LLVM::LLVMPointerType::get(context);
  Value place = LLVM::GEPOp::create(builder, loc, pointer, pointer, getTable(builder, op),
                                    ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(function))});
  SmallVector<Value> operands = {LLVM::LoadOp::create(builder, loc, pointer, place)};
  llvm::append_range(operands, arguments);
  if (types.size() > arguments.size())
    operands.push_back(getSite(builder, op));
  auto type = LLVM::LLVMFunctionType::get(getType(context, signature.result), types);
  auto call = LLVM::CallOp::create(builder, loc, type, operands);
  return call.getNumResults() ? call.getResult() : Value();
}

Value EmulatorCalls::createSlot(OpBuilder &builder, Operation *op, Type type) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(getEntryBlock(op));
  return LLVM::AllocaOp::create(builder, op->getLoc(),
                                LLVM::LLVMPointerType::get(builder.getContext()), type,
                                createI32(builder, op->getLoc(), 1), /*alignment=*/16);
}

Value EmulatorCalls::createSlotWith(OpBuilder &builder, Operation *op, Value value) {
  Value slot = createSlot(builder, op, value.getType());
  LLVM::StoreOp::create(builder, op->getLoc(), value, slot);
  return slot;
}

} // namespace mlir::mohd
