// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Phase lower for the CPU: kernels become the llvm dialect.
#ifndef MOHD_PIPELINES_LOWERTOLLVM_H
#define MOHD_PIPELINES_LOWERTOLLVM_H

namespace mlir {
class OpPassManager;
}

namespace mlir::mohd {

/// Adds the passes that take kernels to the llvm dialect, and the check that nothing else is left.
/// `passes` runs on a module whose functions have the scalar interface of docs/formats.md and
/// bodies of scf, vector, memref, arith, math, affine and tile ops; programs
/// (`mohd.program`) stay. The result refers to no library function, except malloc and free for
/// buffers that the kernel allocates.
/// `convertsF16` says that the target has instructions for conversions between f16 and f32.
void buildLowerToLLVM(OpPassManager &passes, bool convertsF16 = true);

} // namespace mlir::mohd

#endif // MOHD_PIPELINES_LOWERTOLLVM_H
