// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels -split-input-file -verify-diagnostics
// RUN: not mohd-opt %S/../../Docs/emit-kernels.mlir --mohd-emit-kernels="lanes=6" 2>&1 | FileCheck %s

// Halves of vectors are added up, so the lanes are a power of two.
// CHECK: 'mohd.scale' op expects a number of lanes that is a power of two, got 6

func.func @no_emitter(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %0 = tile.binding %bindings[0] : memref<64xf32>
  // expected-error @+1 {{expects an op with a CPU kernel}}
  %w = mohd.weight "norm" : tensor<64xf32>
  bufferization.materialize_in_destination %w in restrict writable %0 : (tensor<64xf32>, memref<64xf32>) -> ()
  return
}

// -----

func.func @two_ops(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %y = mohd.group_fusion %x kind none : tensor<?x64xf32>
  // expected-error @+1 {{expects to be the only op of its kernel}}
  %z = mohd.group_fusion %x kind none : tensor<?x64xf32>
  return
}

// -----

func.func @not_a_kernel(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expects to be in a kernel: a function of bindings, params, begin and end}}
  %y = mohd.group_fusion %x kind none : tensor<?x64xf32>
  return
}

// -----

func.func @operand_not_a_buffer(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %x = arith.constant dense<0.0> : tensor<3x64xf32>
  // expected-error @+1 {{expects operands that are views of the kernel's buffers}}
  %y = mohd.group_fusion %x kind none : tensor<3x64xf32>
  return
}

// -----

func.func @result_not_stored(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  // expected-error @+1 {{expects its results to be stored in the kernel's buffers}}
  %y = mohd.group_fusion %x kind none : tensor<?x64xf32>
  return
}

// -----

func.func @too_much_stack(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x1xf32>
  %1 = tile.binding %bindings[1] : memref<1000000x1xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x2xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x2xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x1xf32> to tensor<?x1xf32>
  %phi = bufferization.to_tensor %1 restrict : memref<1000000x1xf32> to tensor<1000000x1xf32>
  // expected-error @+1 {{expects a kernel to need at most 1048576 bytes of stack, got}}
  %r, %s = mohd.route %x, %phi gate softmax score softmax_all
    : tensor<?x1xf32>, tensor<1000000x1xf32> -> !mohd.routing<1000000, 1, 1>, tensor<?x1000000xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<1000000, 1, 1> -> tensor<?x2xi32>, tensor<?x2xf32>
  bufferization.materialize_in_destination %i in restrict writable %2 : (tensor<?x2xi32>, memref<?x2xi32>) -> ()
  bufferization.materialize_in_destination %g in restrict writable %3 : (tensor<?x2xf32>, memref<?x2xf32>) -> ()
  return
}
