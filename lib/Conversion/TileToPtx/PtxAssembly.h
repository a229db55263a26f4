// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX instructions as inline assembly and as calls of LLVM's intrinsics.
#ifndef MOHD_LIB_CONVERSION_TILETOPTX_PTXASSEMBLY_H
#define MOHD_LIB_CONVERSION_TILETOPTX_PTXASSEMBLY_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir {
class RewritePatternSet;
}

namespace mlir::mohd {

/// The constraint of an instruction that reads or writes memory: LLVM moves no access past it.
inline constexpr llvm::StringLiteral kClobbersMemory = "~{memory}";

/// Collects the operands of an instruction in the order in which its text has them.
///
/// Instructions have side effects as far as LLVM is concerned: those that a warp does together must not
/// move into a branch, and `llvm.inline_asm` cannot say `convergent`.
class PtxAssembly {
public:
  PtxAssembly(OpBuilder &builder, Location loc) : builder(builder), loc(loc) {}

  /// Adds results of register class `constraint` ("r", "f", "l"); returns their names, "$0, $1, ...".
  /// All come before the first operand.
  std::string addResults(StringRef constraint, Type type, int64_t count);
  /// Adds an operand and returns its name.
  std::string addOperand(StringRef constraint, Value value);
  /// Adds an operand for each value and returns their names.
  std::string addOperands(StringRef constraint, ValueRange values);
  /// Adds the address of shared memory and returns its name.
  std::string addShared(Value pointer);
  /// Adds operands that are in the registers of the first results.
  void addTied(ValueRange values);

  /// Makes the instruction; returns its results, first to last.
  SmallVector<Value> emit(const Twine &text, bool clobbersMemory);

private:
  OpBuilder &builder;
  Location loc;
  SmallVector<Type> results;
  SmallVector<Value> operands;
  SmallVector<std::string> constraints;
};

/// A call of the intrinsic `llvm.nvvm.<name>`; null if it has no result.
Value callNvvm(OpBuilder &builder, Location loc, const Twine &name, Type result,
               ValueRange operands = {});

/// Add the patterns for the ops of GpuOps.td, MatrixOps.td and BulkOps.td.
void populateGpuToPtxPatterns(RewritePatternSet &patterns);
void populateMatrixToPtxPatterns(RewritePatternSet &patterns);
void populateBulkToPtxPatterns(RewritePatternSet &patterns);

/// The registers of 64xN sums in one thread: N / 2 f32.
LLVM::LLVMStructType getRegistersOfSums(MLIRContext *context, int64_t columns);

/// Name of the global that is the start of dynamic shared memory.
inline constexpr llvm::StringLiteral kSharedMemoryName = "mohd_shared";

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_TILETOPTX_PTXASSEMBLY_H
