// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// CHECK-LABEL: llvm.func @registers(
llvm.func @registers() attributes {tile.kernel} {
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"() : () -> i32
  %0 = tile.special_register tid_x
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.y"() : () -> i32
  %1 = tile.special_register tid_y
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.z"() : () -> i32
  %2 = tile.special_register tid_z
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ntid.x"() : () -> i32
  %3 = tile.special_register ntid_x
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ntid.y"() : () -> i32
  %4 = tile.special_register ntid_y
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ntid.z"() : () -> i32
  %5 = tile.special_register ntid_z
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ctaid.x"() : () -> i32
  %6 = tile.special_register ctaid_x
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ctaid.y"() : () -> i32
  %7 = tile.special_register ctaid_y
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ctaid.z"() : () -> i32
  %8 = tile.special_register ctaid_z
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.x"() : () -> i32
  %9 = tile.special_register nctaid_x
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.y"() : () -> i32
  %10 = tile.special_register nctaid_y
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.z"() : () -> i32
  %11 = tile.special_register nctaid_z
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %12 = tile.special_register lane
  llvm.return
}
