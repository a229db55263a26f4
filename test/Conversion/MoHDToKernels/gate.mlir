// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// Active groups are multiplied by their gates; what lies between them is cleared, the rest of the row at the end.
// CHECK-LABEL: func.func @gate(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[RESULT:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[DONE:.*]] = scf.for {{.*}} iter_args(%[[BEFORE:.*]] = %{{.*}})
// CHECK: scf.for %{{.*}} = %[[BEFORE]] to
// CHECK: memref.store %[[ZERO]], %[[RESULT]]
// CHECK: arith.mulf
// CHECK: vector.store %{{.*}}, %[[RESULT]]
// CHECK: scf.for %{{.*}} = %[[DONE]] to
// CHECK: memref.store %[[ZERO]], %[[RESULT]]
// CHECK: return
func.func @gate(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x3xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x3xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x3xi32> to tensor<?x3xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x3xf32> to tensor<?x3xf32>
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.gate %x, %r : tensor<?x64xf32>, !mohd.routing<4, 1, 2>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
