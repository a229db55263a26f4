// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels whose threads, or warps, each do a part of the work by themselves.
#ifndef MOHD_LIB_CONVERSION_MOHDTOGPU_LAUNCHES_H
#define MOHD_LIB_CONVERSION_MOHDTOGPU_LAUNCHES_H

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"

namespace mlir::mohd {

/// Threads of a block, if nothing is said, and warps of one that does rows.
inline constexpr int64_t kElementThreads = 256, kRowWarps = 4;

/// Makes the op's kernel: a thread for each of `parts` parts of each token; body(token, part).
void addForParts(GpuKernelSet &kernels, int64_t parts, llvm::function_ref<void(Term, Term)> body,
                 int64_t threads = kElementThreads);

/// A thread for each of `size` elements; body(element).
void addForElements(GpuKernelSet &kernels, int64_t size, llvm::function_ref<void(Term)> body);

/// A warp for each token's row; body(row), which all threads of the warp do together.
void addForRows(GpuKernelSet &kernels, llvm::function_ref<void(Term)> body);

/// How the blocks of a kernel share the tokens that they add up: of `numParts` parts each has a sum of its own for every element of the op's result, in
/// scratch memory.
class TokenSplit {
public:
  /// For a kernel of `numBlocks` blocks for each part, of at most `mostParts`.
  TokenSplit(GpuKernelSet &kernels, int64_t numBlocks, int64_t mostParts);

  int64_t numParts;

  /// Writes a part's sums of elements of the result that lie side by side, from number `place` on.
  void store(ArrayRef<Term> sums, const Term &part, const Term &place);
  /// Adds up the parts, in ascending order.
  void addSums();

private:
  GpuKernelSet &kernels;
  Value result;
  int64_t numElements;
};

//===----------------------------------------------------------------------===//
// What kernels of rows share, inside of a body
//===----------------------------------------------------------------------===//

/// A token's group at a slot; indices may be an argument, and are taken to the nearest group.
Term loadGroup(GpuKernelSet &kernels, TypedValue<RoutingType> routing, const Term &token,
               const Term &slot);

/// The sum of element(i) over i in [lower, upper), which the lanes of the warp share.
Term sumOverLanes(GpuEmitter &e, const Term &lower, const Term &upper,
                  llvm::function_ref<Term(Term)> element);

/// mass^power for a power of -2..1.
Term raise(GpuEmitter &e, const Term &mass, int power);

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_LAUNCHES_H
