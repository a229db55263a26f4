// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The arrays of a token are made once, outside of the loop over tasks. A new best group needs a strictly larger logit.
// CHECK-LABEL: func.func @route(
// CHECK-COUNT-2: memref.alloca() {alignment = 64 : i64} : memref<16xf32>
// CHECK: memref.alloca() {alignment = 64 : i64} : memref<16xi1>
// CHECK: scf.for
// CHECK-NOT: memref.alloca
// CHECK: math.exp %{{.*}} : vector<8xf32>
// CHECK: arith.cmpf uno
// CHECK: arith.cmpf ogt
// CHECK-NOT: memref.alloca
// CHECK: return
func.func @route(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] : memref<16x64xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x8xf32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x16xf32>
  %n = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %phi = bufferization.to_tensor %1 restrict : memref<16x64xf32> to tensor<16x64xf32>
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  bufferization.materialize_in_destination %i in restrict writable %2 : (tensor<?x8xi32>, memref<?x8xi32>) -> ()
  bufferization.materialize_in_destination %g in restrict writable %3 : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
  bufferization.materialize_in_destination %s in restrict writable %4 : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// Without centroids there is nothing to compare, and scores that nobody wants are not stored.
// CHECK-LABEL: func.func @route_without_centroids(
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[GATES:.*]] = tile.binding %{{.*}}[2]
// CHECK: scf.for
// CHECK-NOT: math.exp
// CHECK-NOT: arith.cmpf
// CHECK: memref.store %{{.*}}, %[[INDICES]]
// CHECK: memref.store %{{.*}}, %[[GATES]]
// CHECK-NOT: vector.store
// CHECK: return
func.func @route_without_centroids(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x6xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x6xf32>
  %n = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %r, %s = mohd.route %n gate binary score softmax_all
    : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 0> -> tensor<?x6xi32>, tensor<?x6xf32>
  bufferization.materialize_in_destination %i in restrict writable %1 : (tensor<?x6xi32>, memref<?x6xi32>) -> ()
  bufferization.materialize_in_destination %g in restrict writable %2 : (tensor<?x6xf32>, memref<?x6xf32>) -> ()
  return
}

// The loss is stored by the one task, also when there are no tokens.
// CHECK-LABEL: func.func @balance_loss(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[LOSS:.*]] = tile.binding %{{.*}}[3] : memref<f32>
// CHECK: scf.for
// CHECK: memref.store %[[ZERO]], %[[LOSS]][]
// CHECK: scf.if
// CHECK: memref.store %{{.*}}, %[[LOSS]][]
// CHECK: return
func.func @balance_loss(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x16xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] : memref<f32>
  %s = bufferization.to_tensor %0 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %loss = mohd.balance_loss %s, %r kind deepseek coefficient 1.000000e-02
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
  bufferization.materialize_in_destination %loss in restrict writable %3 : (tensor<f32>, memref<f32>) -> ()
  return
}
