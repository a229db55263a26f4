// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA kernels as PTX and machine code, from a lowered module.
#ifndef MOHD_TARGET_CUDACODE_H
#define MOHD_TARGET_CUDACODE_H

#include "mohd/Target/Ptxas.h"
#include "mohd/Target/TargetInfo.h"
#include "mohd/format/status.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir {
class ModuleOp;
}

namespace mlir::mohd {

/// What a kernel's function says about itself.
struct GpuKernel {
  std::string name;
  int64_t threads = 0;            // of a block: the product of nvvm.reqntid, else of nvvm.maxntid
  int64_t dynamicSharedBytes = 0; // tile.shared_bytes
  std::vector<std::string>
      instructions; // mohd.instructions: what its PTX must contain, such as "wgmma.mma_async"
};

/// The kernels of `module`: functions of the llvm dialect with a body and `mohd.kernel` or `nvvm.kernel`. A kernel without a number of
/// threads, or with an attribute of another type, is an error.
::mohdrt::Result<std::vector<GpuKernel>> getGpuKernels(ModuleOp module);

/// What became of a kernel. Where ptxas has not run (PTX on a machine without it), `resources` and `blocksPerSm` are absent.
struct CudaKernel {
  GpuKernel source;
  std::optional<PtxasFunction> resources;
  std::optional<int64_t> blocksPerSm; // that an SM holds at a time
};

/// The kernels of a module for one chip.
struct CudaImage {
  std::string chip;     // as in TargetInfo::arch: "sm_90a", or "ptx"
  std::string llvmIR;   // text, after optimisation
  std::string ptx;      // text
  std::string cubin;    // ELF; empty if the chip is "ptx"
  std::string assembly; // ptxas's command line; empty where it has not run
  std::vector<CudaKernel> kernels;

  /// What a bundle holds: the cubin or, for "ptx", the text.
  const std::string &code() const { return cubin.empty() ? ptx : cubin; }
};

/// The kernels of a program, for each chip, and what assembled them.
struct CudaCode {
  std::string ptxasVersion; // empty where it has not run
  std::vector<CudaImage> images;
};

/// Compiles the kernels of `module` (llvm dialect only) to PTX for `target` (kind Cuda), and with `ptxas` on to machine code.
///
/// Errors, each with the kernel's name: what LLVM's code generator cannot select (it runs in a child process, whose death is an
/// error), calls that nothing defines, local memory, a missing instruction of GpuKernel::instructions, spills and stack frames, any
/// message C75xx of ptxas but C7519, and a kernel that fits no SM. They end with a command that shows the same; its input is kept in
/// `dumpDir` or, if that is empty, in the folder for temporary files. `ptxas` is what
/// findPtxas() returned: its error is that of every target but "ptx", which does without an assembler that is not there.
::mohdrt::Result<CudaImage> compileCudaImage(ModuleOp module, const TargetInfo &target,
                                             const ::mohdrt::Result<Ptxas> &ptxas,
                                             const std::string &dumpDir);

/// The two halves of it: up to PTX, and what ptxas does, which needs no IR and may run beside other work.
::mohdrt::Result<CudaImage> compileToPtx(ModuleOp module, const TargetInfo &target,
                                         const std::string &dumpDir);
::mohdrt::Status assembleImage(CudaImage &image, const TargetInfo &target,
                               const ::mohdrt::Result<Ptxas> &ptxas, const std::string &dumpDir);

} // namespace mlir::mohd

#endif // MOHD_TARGET_CUDACODE_H
