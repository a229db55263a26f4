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

} // namespace mlir::mohd

#endif // MOHD_LIB_CONVERSION_MOHDTOGPU_LAUNCHES_H
