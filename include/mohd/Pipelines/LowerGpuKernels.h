// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Phase lower for GPUs: kernels become the llvm dialect, for NVPTX or for a CPU that emulates the GPU.
#ifndef MOHD_PIPELINES_LOWERGPUKERNELS_H
#define MOHD_PIPELINES_LOWERGPUKERNELS_H

namespace mlir {
class OpPassManager;
}

namespace mlir::mohd {

/// Adds the passes that take a GPU's kernels (`tile.kernel`, bodies of scf, arith, math, tile and llvm ops) to the llvm dialect, and the check that
/// nothing else is left. With `emulate` they are for the host and call the emulator. Programs (`mohd.program`) stay.
void buildLowerGpuKernels(OpPassManager &passes, bool emulate);

} // namespace mlir::mohd

#endif // MOHD_PIPELINES_LOWERGPUKERNELS_H
