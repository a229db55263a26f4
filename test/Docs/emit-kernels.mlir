// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=4" --canonicalize | FileCheck %s

// The op becomes a loop over the tasks of [begin, end), which works on the buffers; no tensor is left.
// CHECK-LABEL: func.func @scale_0(
// CHECK-SAME: %[[BINDINGS:.*]]: !llvm.ptr, %[[PARAMS:.*]]: !llvm.ptr, %[[BEGIN:.*]]: i64, %[[END:.*]]: i64)
// CHECK-NOT: tensor
// CHECK-DAG: %[[INPUT:.*]] = tile.binding %[[BINDINGS]][0]
// CHECK-DAG: %[[RESULT:.*]] = tile.binding %[[BINDINGS]][3]
// CHECK-DAG: %[[FIRST:.*]] = arith.index_cast %[[BEGIN]]
// CHECK-DAG: %[[LAST:.*]] = arith.index_cast %[[END]]
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[LAST]]
// CHECK: vector.load %[[INPUT]]{{.*}} vector<4xf32>
// CHECK: vector.store %{{.*}}, %[[RESULT]]{{.*}} vector<4xf32>
// CHECK-NOT: tensor
// CHECK: return
func.func @scale_0(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.scale %x, %r scaling k_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
