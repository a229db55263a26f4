// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx -split-input-file -verify-diagnostics

// An op of CPU kernels has no lowering in a GPU kernel.
llvm.func @gpu_kernel() attributes {tile.kernel} {
  %params = llvm.mlir.zero : !llvm.ptr
  // expected-error @below {{'tile.param' op expects a CPU kernel, got 'gpu_kernel', which has 'tile.kernel'}}
  %tokens = tile.param %params[0]
  llvm.return
}
