// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s
// RUN: mohd-opt %s --convert-tile-to-emulator --convert-tile-to-emulator | FileCheck %s

// What is no kernel stays; an integer may become a pointer to global memory.
// CHECK-LABEL: llvm.func @no_kernel(
// CHECK: tile.special_register tid_x
llvm.func @no_kernel() {
  %tid = tile.special_register tid_x
  llvm.return
}
// CHECK-LABEL: llvm.func @number_as_global_pointer(
// CHECK: llvm.inttoptr %{{.*}} : i64 to !llvm.ptr
llvm.func @number_as_global_pointer(%n: i64) attributes {tile.kernel} {
  %p = llvm.inttoptr %n : i64 to !llvm.ptr<1>
  llvm.return
}
