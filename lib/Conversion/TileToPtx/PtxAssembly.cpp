// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX instructions as inline assembly and as calls of LLVM's intrinsics.
#include "PtxAssembly.h"

#include "llvm/ADT/StringExtras.h"

namespace mlir::mohd {

std::string PtxAssembly::addResults(StringRef constraint, Type type, int64_t count) {
  SmallVector<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    names.push_back("$" + std::to_string(results.size()));
    constraints.push_back("=" + constraint.str());
    results.push_back(type);
  }
  return llvm::join(names, ", ");
}

std::string PtxAssembly::addOperand(StringRef constraint, Value value) {
  constraints.push_back(constraint.str());
  operands.push_back(value);
  return "$" + std::to_string(constraints.size() - 1);
}

std::string PtxAssembly::addOperands(StringRef constraint, ValueRange values) {
  SmallVector<std::string> names;
  for (Value value : values)
    names.push_back(addOperand(constraint, value));
  return llvm::join(names, ", ");
}

std::string PtxAssembly::addShared(Value pointer) {
  return addOperand("r", LLVM::PtrToIntOp::create(builder, loc, builder.getI32Type(), pointer));
}

void PtxAssembly::addTied(ValueRange values) {
  for (auto [i, value] : llvm::enumerate(values))
    addOperand(std::to_string(i), value);
}

SmallVector<Value> PtxAssembly::emit(const Twine &text, bool clobbersMemory) {
  if (clobbersMemory)
    constraints.push_back(kClobbersMemory.str());
  Type type; // LLVM's convention: none, the result, or a structure of them
  if (results.size() == 1)
    type = results.front();
  else if (!results.empty())
    type = LLVM::LLVMStructType::getLiteral(builder.getContext(), results);
  auto op = LLVM::InlineAsmOp::create(
      builder, loc, type ? TypeRange(type) : TypeRange(), operands, text.str(),
      llvm::join(constraints, ","), /*has_side_effects=*/true, /*is_align_stack=*/false,
      LLVM::TailCallKind::None,
      LLVM::AsmDialectAttr::get(builder.getContext(), LLVM::AsmDialect::AD_ATT),
      /*operand_attrs=*/ArrayAttr());
  if (results.size() == 1)
    return {op.getRes()};
  SmallVector<Value> values;
  for (size_t i = 0; i < results.size(); ++i)
    values.push_back(LLVM::ExtractValueOp::create(builder, loc, op.getRes(), int64_t(i)));
  return values;
}

Value callNvvm(OpBuilder &builder, Location loc, const Twine &name, Type result,
               ValueRange operands) {
  StringAttr intrinsic = builder.getStringAttr("llvm.nvvm." + name);
  if (result)
    return LLVM::CallIntrinsicOp::create(builder, loc, result, intrinsic, operands).getResult(0);
  LLVM::CallIntrinsicOp::create(builder, loc, intrinsic, operands);
  return nullptr;
}

LLVM::LLVMStructType getRegistersOfSums(MLIRContext *context, int64_t columns) {
  SmallVector<Type> registers(columns / 2, Float32Type::get(context));
  return LLVM::LLVMStructType::getLiteral(context, registers);
}

} // namespace mlir::mohd
