// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse --split-input-file | FileCheck %s

// Frequencies are a constant in f64; sines and cosines are computed once for a token and serve every head.
// CHECK-LABEL: func.func @rope(
// CHECK: %[[FREQUENCIES:.*]] = arith.constant dense<[1.000000e+00, 1.000000e-02]> : vector<2xf64>
// CHECK: %[[POSITIONS:.*]] = tile.binding %{{.*}}[1]
// CHECK: vector.store %[[FREQUENCIES]]
// CHECK: %[[POSITION:.*]] = memref.load %[[POSITIONS]]
// CHECK: arith.sitofp %[[POSITION]] : i32 to f64
// CHECK: %[[ANGLE:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<2xf64>
// CHECK: math.cos %[[ANGLE]]
// CHECK: math.sin %[[ANGLE]]
// CHECK: scf.for %{{.*}} = %c0 to %c12 step %c4 {
// CHECK-NOT: math.{{cos|sin}}
// CHECK: return
func.func @rope(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x12xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x12xf32> to tensor<?x12xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?xi32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<?xi32> to tensor<?xi32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?x12xf32>
  %res = mohd.rope %t0, %t1 head_dim 4 theta 1.0e+04 : tensor<?x12xf32>, tensor<?xi32>
  bufferization.materialize_in_destination %res in restrict writable %b2 : (tensor<?x12xf32>, memref<?x12xf32>) -> ()
  return
}

// -----

// Without sequences token t writes to sequence t.
// CHECK-LABEL: func.func @kv_cache_append(
// CHECK: %[[CACHE:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[PLACE:.*]] = memref.load %{{.*}}[%[[TOKEN:.*]]] : memref<?xi32>
// CHECK: %[[POSITION:.*]] = arith.index_cast %[[PLACE]]
// CHECK: vector.store %{{.*}}, %[[CACHE]][%c0, %[[TOKEN]], %[[POSITION]], %{{.*}}]
func.func @kv_cache_append(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %B = tile.param %params[1]
  %S = tile.param %params[2]
  %b0 = tile.binding %bindings[0] (%B, %S) : memref<1x?x?x16xf32>
  %t0 = bufferization.to_tensor %b0 restrict writable : memref<1x?x?x16xf32> to tensor<1x?x?x16xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x16xf32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<?x16xf32> to tensor<?x16xf32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?xi32>
  %t2 = bufferization.to_tensor %b2 restrict : memref<?xi32> to tensor<?xi32>
  %res = mohd.kv_cache_append %t0, %t1, %t2 layer 0 : tensor<1x?x?x16xf32>, tensor<?x16xf32>, tensor<?xi32>
  bufferization.materialize_in_destination %res in restrict writable %b0 : (tensor<1x?x?x16xf32>, memref<1x?x?x16xf32>) -> ()
  return
}
