// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes that belong to the phases themselves.
#ifndef MOHD_PIPELINES_PASSES_TD
#define MOHD_PIPELINES_PASSES_TD

include "mlir/Pass/PassBase.td"

def VerifyPhasePass : Pass<"mohd-verify-phase", "::mlir::ModuleOp"> {
  let summary = "check what must hold when a phase is over";
  let description = [{
    An op that a phase should have removed makes trouble far from its cause; this pass names it where the phase ends:

    - `import`: no constant of more than 1024 different elements, as weights stay references;
    - `plan`: that, and every sparse op carries a plan;
    - `schedule`: no tensor is left, so no `mohd` op but programs and their dispatches, and every function is a kernel with the scalar interface
      `(!llvm.ptr, !llvm.ptr, i64, i64) -> ()`;
    - `lower`: only the `llvm` dialect is left, besides programs.

    Runs: last in every phase.
    Leaves alone: everything: it changes nothing.

    Example: `mohd-opt --mohd-verify-phase=phase=plan` on
    ```mlir
    func.func @f(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 1, 1>, %w: tensor<4x16x32xf32>) -> tensor<?x32xf32> {
      %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<4, 1, 1>, tensor<4x16x32xf32>
      return %y : tensor<?x32xf32>
    }
    ```
    says `'mohd.spmm' op expects a plan at the end of phase plan`.
  }];
  let options = [
    Option<"phase", "phase", "std::string", /*default=*/"\"\"", "The phase that has ended: import, plan, schedule or lower.">,
  ];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // MOHD_PIPELINES_PASSES_TD
