// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of the emulator from a kernel.
#ifndef MOHD_LIB_CONVERSION_TILETOEMULATOR_EMULATORCALLS_H
#define MOHD_LIB_CONVERSION_TILETOEMULATOR_EMULATORCALLS_H

#include "mohd/emulator/operations.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::mohd {

/// The functions of the emulator's table, numbered as they stand there.
enum class EmulatorFunction : int32_t {
#define MOHD_EMULATOR_NUMBER(name, result, arguments, parameters) name,
  MOHD_EMULATOR_OPERATIONS(MOHD_EMULATOR_NUMBER)
#undef MOHD_EMULATOR_NUMBER
};

/// Makes calls through the table of one module.
class EmulatorCalls {
public:
  explicit EmulatorCalls(ModuleOp module) : module(module), symbols(module) {}

  /// Calls `function` in place of `op`, with `op` as the site if the function takes one. Null if it
  /// returns nothing.
  Value call(OpBuilder &builder, Operation *op, EmulatorFunction function, ValueRange arguments);

  /// Memory of `type` on the thread's stack, aligned to 16, which lives as long as the thread.
  Value createSlot(OpBuilder &builder, Operation *op, Type type);

  /// A slot with `value` in it.
  Value createSlotWith(OpBuilder &builder, Operation *op, Value value);

private:
  /// The table, loaded when the kernel starts.
  Value getTable(OpBuilder &builder, Operation *op);
  /// A pointer to the text that names `op` in the emulator's errors.
  Value getSite(OpBuilder &builder, Operation *op);

  ModuleOp module;
  SymbolTable symbols;
  DenseMap<Operation *, Value> tables; // by kernel
  llvm::StringMap<LLVM::GlobalOp> sites;
};

/// What all patterns have: the calls of the module.
template <typename Op> struct EmulatorPattern : OpRewritePattern<Op> {
  EmulatorPattern(MLIRContext *context, EmulatorCalls &calls)
      : OpRewritePattern<Op>(context), calls(calls) {}

  EmulatorCalls &calls;
};

/// The entry block of the kernel that `op` is in.
Block *getEntryBlock(Operation *op);

/// MOHD_EMU_GLOBAL or MOHD_EMU_SHARED, as a constant.
Value createSpace(OpBuilder &builder, Location loc, Value pointer);

/// Add the patterns for ops that are one call, and for those that hand over values in memory.
void populateSimpleToEmulatorPatterns(RewritePatternSet &patterns, EmulatorCalls &calls);
void populateMatrixToEmulatorPatterns(RewritePatternSet &patterns, EmulatorCalls &calls);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_TILETOEMULATOR_EMULATORCALLS_H
