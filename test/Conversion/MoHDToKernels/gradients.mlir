// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse --split-input-file | FileCheck %s

// silu' at -Inf is 0, not the NaN of the formula.
// CHECK-LABEL: func.func @silu_gradient(
// CHECK-DAG: %[[MINUS_INF:.*]] = arith.constant dense<0xFF800000> : vector<8xf32>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<8xf32>
// CHECK: %[[X:.*]] = vector.load
// CHECK: %[[GRAD:.*]] = vector.load
// CHECK: %[[IS:.*]] = arith.cmpf oeq, %[[X]], %[[MINUS_INF]]
// CHECK: %[[SLOPE:.*]] = arith.select %[[IS]], %[[ZERO]], %{{.*}}
// CHECK: arith.mulf %[[GRAD]], %[[SLOPE]]
func.func @silu_gradient(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x16xf32>
  %x = bufferization.to_tensor %b0 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x16xf32>
  %dy = bufferization.to_tensor %b1 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x16xf32>
  %y = mohd.silu_gradient %x, %dy : tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %b2 : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// -----

// Sums of a table's rows are f32 in the task's own memory, and rounded once.
// CHECK-LABEL: func.func @embed_gradient(
// CHECK: %[[IDS:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[TABLE:.*]] = tile.binding %{{.*}}[2] : memref<100x32xf16>
// CHECK: %[[SUMS:.*]] = memref.alloca() {{.*}} memref<100x32xf32>
// CHECK: %[[ID:.*]] = memref.load %[[IDS]]
// CHECK: scf.if
// CHECK: vector.load %[[SUMS]]
// CHECK: arith.addf %{{.*}} : vector<8xf32>
// CHECK: vector.store %{{.*}}, %[[SUMS]]
// CHECK: arith.truncf
// CHECK: vector.store %{{.*}}, %[[TABLE]]
func.func @embed_gradient(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?xi32>
  %ids = bufferization.to_tensor %b0 restrict : memref<?xi32> to tensor<?xi32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x32xf32>
  %dy = bufferization.to_tensor %b1 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %b2 = tile.binding %bindings[2] : memref<100x32xf16>
  %t = mohd.embed_gradient %ids, %dy : tensor<?xi32>, tensor<?x32xf32> -> tensor<100x32xf16>
  bufferization.materialize_in_destination %t in restrict writable %b2 : (tensor<100x32xf16>, memref<100x32xf16>) -> ()
  return
}

// -----

// With no routed groups, the groups behind the shared ones have no tokens: the list ends where it begins.
// CHECK-LABEL: func.func @gradient_of_shared_groups(
// CHECK: %[[IS_SHARED:.*]] = arith.cmpi ult, %{{.*}}, %c2
// CHECK: %[[END:.*]] = arith.select %[[IS_SHARED]], %{{.*}}, %c0
// CHECK: scf.for %{{.*}} = %c0 to %[[END]] step %c64
func.func @gradient_of_shared_groups(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x16xf32>
  %x = bufferization.to_tensor %b0 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x8xf32>
  %dy = bufferization.to_tensor %b1 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %b2 = tile.binding %bindings[2] : memref<4x4x8xf32>
  %w = mohd.tiled_weight_gradient %x, %dy common 2 chosen 0 block 8192 rows 4 : tensor<?x16xf32>, tensor<?x8xf32> -> tensor<4x4x8xf32>
  bufferization.materialize_in_destination %w in restrict writable %b2 : (tensor<4x4x8xf32>, memref<4x4x8xf32>) -> ()
  return
}

// -----

// A constant scaling has no slope: nothing is read.
// CHECK-LABEL: func.func @constant_scaling(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-NOT: vector.load
// CHECK: memref.store %[[ZERO]]
// CHECK: return
func.func @constant_scaling(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x16xf32>
  %x = bufferization.to_tensor %b0 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x2xi32>
  %i = bufferization.to_tensor %b1 restrict : memref<?x2xi32> to tensor<?x2xi32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x2xf32>
  %g = bufferization.to_tensor %b2 restrict : memref<?x2xf32> to tensor<?x2xf32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?x2xf32>
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %dg = mohd.scale_gradient %x, %x, %r scaling n_over_k : tensor<?x16xf32>, tensor<?x16xf32>, !mohd.routing<4, 1, 1> -> tensor<?x2xf32>
  bufferization.materialize_in_destination %dg in restrict writable %b3 : (tensor<?x2xf32>, memref<?x2xf32>) -> ()
  return
}
