// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse --split-input-file | FileCheck %s

// Frequencies are a constant in f64; sines and cosines are computed once for a token and serve every head.
// CHECK-LABEL: func.func @rope(
// CHECK: %[[FREQUENCIES:.*]] = arith.constant dense<[1.000000e+00, 1.000000e-02]> : vector<2xf64>
// CHECK: %[[POSITIONS:.*]] = tile.binding %{{.*}}[1]
// CHECK: vector.store %[[FREQUENCIES]]
// CHECK: %[[POSITION:.*]] = memref.load %[[POSITIONS]]
// CHECK: arith.sitofp %[[POSITION]] : i32 to f64
// CHECK: %[[ANGLE:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<1xf64>
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

// -----

// A task is a token and a key head (two of them, so tasks are numbered head by head). Its query heads share each block of 32 rows; the last
// block ends at the row of the position.
// CHECK-LABEL: func.func @attention(
// CHECK: %[[TOKENS:.*]] = tile.param %{{.*}}[0]
// CHECK: %[[KEYS:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[VALUES:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[SEQUENCES:.*]] = tile.binding %{{.*}}[4]
// CHECK: scf.for %[[TASK:.*]] = {{.*}} step %c1 {
// CHECK: %[[KV_HEAD:.*]] = arith.divui %[[TASK]], %[[TOKENS]]
// CHECK: %[[TOKEN:.*]] = arith.remui %[[TASK]], %[[TOKENS]]
// CHECK: %[[ID:.*]] = memref.load %[[SEQUENCES]]
// CHECK: %[[SEQUENCE:.*]] = arith.index_cast %[[ID]]
// CHECK: %[[COLUMN:.*]] = arith.muli %[[KV_HEAD]], %c16
// CHECK: %[[ROWS:.*]] = arith.addi %{{.*}}, %c1
// CHECK: scf.for %[[ROW:.*]] = %c0 to %[[ROWS]] step %c32 {
// CHECK: %[[LEFT:.*]] = arith.subi %[[ROWS]], %[[ROW]]
// CHECK: %[[COUNT:.*]] = arith.minui %[[LEFT]], %c32
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]] step %c1 {
// CHECK: vector.load %[[KEYS]][%c0, %[[SEQUENCE]],
// CHECK: arith.maximumf
// CHECK: math.exp
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]] step %c1 iter_args({{.*}}) -> (vector<8xf32>, vector<8xf32>) {
// CHECK-COUNT-2: vector.load %[[VALUES]][%c0, %[[SEQUENCE]],
// CHECK: scf.yield
// CHECK: arith.divf %{{.*}} : vector<8xf32>
// CHECK: return
func.func @attention(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %B = tile.param %params[1]
  %S = tile.param %params[2]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x64xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %b1 = tile.binding %bindings[1] (%B, %S) : memref<1x?x?x32xf32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b2 = tile.binding %bindings[2] (%B, %S) : memref<1x?x?x32xf32>
  %t2 = bufferization.to_tensor %b2 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?xi32>
  %t3 = bufferization.to_tensor %b3 restrict : memref<?xi32> to tensor<?xi32>
  %b4 = tile.binding %bindings[4] (%T) : memref<?xi32>
  %t4 = bufferization.to_tensor %b4 restrict : memref<?xi32> to tensor<?xi32>
  %b5 = tile.binding %bindings[5] (%T) : memref<?x64xf32>
  %res = mohd.attention %t0, %t1, %t2, %t3 in %t4 layer 0 head_dim 16
    : tensor<?x64xf32>, tensor<1x?x?x32xf32>, tensor<1x?x?x32xf32>, tensor<?xi32>, tensor<?xi32>
  bufferization.materialize_in_destination %res in restrict writable %b5 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
