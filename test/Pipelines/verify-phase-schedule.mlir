// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-verify-phase=phase=schedule | FileCheck %s
// RUN: mohd-opt %s --mohd-pipeline-lower | mohd-opt --mohd-verify-phase=phase=lower | FileCheck %s --check-prefix=LOWER

// Kernels on memrefs and programs are what phase schedule leaves; llvm functions and programs what phase lower leaves.
// CHECK: mohd.program @main
// CHECK: func.func @kernel(
// LOWER: mohd.program @main
// LOWER: llvm.func @kernel(
mohd.program @main interface {dims = ["T"], inputs = [], outputs = []} workspace "0" {
  mohd.dispatch @kernel grid "T" params ["T"] bindings []
}
func.func @kernel(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %x = tile.binding %bindings[0] : memref<8xf32>
  %zero = arith.constant 0 : index
  %value = arith.constant 0.0 : f32
  memref.store %value, %x[%zero] : memref<8xf32>
  return
}
