// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator -split-input-file -verify-diagnostics

// The host's address of shared memory cannot be made from the address there.
llvm.func @number_as_shared_pointer(%n: i32) attributes {tile.kernel} {
  // expected-error @below {{'llvm.inttoptr' op expects a pointer to global memory in an emulated kernel, got '!llvm.ptr<3>'}}
  %p = llvm.inttoptr %n : i32 to !llvm.ptr<3>
  llvm.return
}

// -----

// An op of CPU kernels has no lowering in a GPU kernel.
llvm.func @gpu_kernel() attributes {tile.kernel} {
  %params = llvm.mlir.zero : !llvm.ptr
  // expected-error @below {{'tile.param' op expects a CPU kernel, got 'gpu_kernel', which has 'tile.kernel'}}
  %tokens = tile.param %params[0]
  llvm.return
}
