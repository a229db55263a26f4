// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversion of the tile dialect to the llvm dialect.
#ifndef MOHD_CONVERSION_TILETOLLVM_TILETOLLVM_H
#define MOHD_CONVERSION_TILETOLLVM_TILETOLLVM_H

namespace mlir {
class LLVMTypeConverter;
class RewritePatternSet;
} // namespace mlir

namespace mlir::mohd {

/// Adds the patterns for every op of the tile dialect.
void populateTileToLLVMPatterns(const LLVMTypeConverter &converter, RewritePatternSet &patterns);

} // namespace mlir::mohd

#endif // MOHD_CONVERSION_TILETOLLVM_TILETOLLVM_H
