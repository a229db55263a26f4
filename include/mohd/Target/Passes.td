// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes that show what serialisation does.
#ifndef MOHD_TARGET_PASSES_TD
#define MOHD_TARGET_PASSES_TD

include "mlir/Pass/PassBase.td"

def SerializeCudaPass : Pass<"mohd-serialize-cuda", "::mlir::ModuleOp"> {
  let summary = "compile kernels to PTX and machine code and note their figures";
  let description = [{
    Compiles the kernels of a module (functions of the `llvm` dialect with `mohd.kernel` or `nvvm.kernel`) as `mohd-compile` would for `--target=cuda:…`, so that
    a kernel can be tried out, tested and measured alone. The module gets an attribute `mohd.cuda`: ptxas's version, and for each chip the kind and
    size of its code and each kernel's registers, shared memory, threads, and the blocks and warps of it that a multiprocessor holds.

    A kernel says by `nvvm.reqntid` or `nvvm.maxntid` how many threads a block has, by `tile.shared_bytes` how much shared memory a launch adds, and by
    `mohd.instructions` which PTX instructions it must contain. Spills, stack frames, local memory, undefined functions and ptxas's messages about lost
    performance are errors, which end with a command that shows the same.

    Runs: on its own, on IR at the end of phase lower. The phases do not use it: a bundle is written by the driver.
    Leaves alone: everything but that attribute.

    Example: `mohd-opt --mohd-serialize-cuda=targets=sm_90a` on
    ```mlir
    llvm.func @fill(%p: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>} {
      %c = llvm.mlir.constant(7 : i32) : i32
      llvm.store %c, %p : i32, !llvm.ptr<1>
      llvm.return
    }
    ```
    notes that `@fill` needs 8 registers and that 16 blocks of it fit into an SM.
  }];
  let options = [
    ListOption<"targets", "targets", "std::string", "What may follow `cuda:` in --target: sm_80, sm_90a, ptx.">,
    Option<"dumpDir", "dump-dir", "std::string", /*default=*/"\"\"",
           "Folder for the kernels as .ll, .ptx and .cubin, and for inputs of steps that fail.">,
  ];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MOHD_TARGET_PASSES_TD
