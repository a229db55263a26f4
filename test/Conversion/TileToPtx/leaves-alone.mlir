// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s
// RUN: mohd-opt %s --convert-tile-to-ptx --convert-tile-to-ptx | FileCheck %s

// What is no kernel stays, and so does a declaration.
// CHECK-LABEL: llvm.func @no_kernel(
// CHECK: tile.special_register tid_x
llvm.func @no_kernel() {
  %tid = tile.special_register tid_x
  llvm.return
}
// CHECK: llvm.func @declaration() attributes {tile.kernel}
llvm.func @declaration() attributes {tile.kernel}

// Ops in blocks that nothing reaches do not survive.
// CHECK-LABEL: llvm.func @unreachable_block(
// CHECK-NEXT: llvm.return
// CHECK-NEXT: }
llvm.func @unreachable_block() attributes {tile.kernel} {
  llvm.return
^bb1:
  tile.barrier_sync
  llvm.return
}
