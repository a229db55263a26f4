// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse | FileCheck %s

// A task has every so many blocks of 16 rows. Their sums are f32 in its own memory, over all tokens in order; what is there is added once.
// CHECK-LABEL: func.func @attention_cache_gradient(
// CHECK-DAG: %[[INTO:.*]] = tile.binding %{{.*}}[0] {{.*}} : memref<1x?x?x16xi16>
// CHECK-DAG: %[[QUERY:.*]] = tile.binding %{{.*}}[1] {{.*}} : memref<?x32xf32>
// CHECK-DAG: %[[POSITIONS:.*]] = tile.binding %{{.*}}[6] {{.*}} : memref<?xi32>
// CHECK-DAG: %[[SUMS:.*]] = memref.alloca() {{.*}} memref<16x16xf32>
// CHECK: vector.store %{{.*}}, %[[SUMS]]
// CHECK: scf.for %[[TOKEN:.*]] = %c0 to %{{.*}} step %c1
// CHECK:   memref.load %[[POSITIONS]][%[[TOKEN]]]
// CHECK:   scf.if
// CHECK:     math.exp
// CHECK:     vector.load %[[QUERY]][%[[TOKEN]],
// CHECK:     vector.store %{{.*}}, %[[SUMS]]
// CHECK: vector.load %[[SUMS]]
// CHECK: vector.load %[[INTO]]
// CHECK: vector.store %{{.*}}, %[[INTO]]
func.func @attention_cache_gradient(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %B = tile.param %params[1]
  %S = tile.param %params[2]
  %b0 = tile.binding %bindings[0] (%B, %S) : memref<1x?x?x16xbf16>
  %into = bufferization.to_tensor %b0 restrict writable : memref<1x?x?x16xbf16> to tensor<1x?x?x16xbf16>
  %b1 = tile.binding %bindings[1] (%T) : memref<?x32xf32>
  %q = bufferization.to_tensor %b1 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %b2 = tile.binding %bindings[2] (%B, %S) : memref<1x?x?x16xbf16>
  %k = bufferization.to_tensor %b2 restrict : memref<1x?x?x16xbf16> to tensor<1x?x?x16xbf16>
  %b3 = tile.binding %bindings[3] (%B, %S) : memref<1x?x?x16xbf16>
  %v = bufferization.to_tensor %b3 restrict : memref<1x?x?x16xbf16> to tensor<1x?x?x16xbf16>
  %b4 = tile.binding %bindings[4] (%T) : memref<?x32xf32>
  %dy = bufferization.to_tensor %b4 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %b5 = tile.binding %bindings[5] (%T) : memref<?x6xf32>
  %s = bufferization.to_tensor %b5 restrict : memref<?x6xf32> to tensor<?x6xf32>
  %b6 = tile.binding %bindings[6] (%T) : memref<?xi32>
  %position = bufferization.to_tensor %b6 restrict : memref<?xi32> to tensor<?xi32>
  %b7 = tile.binding %bindings[7] (%T) : memref<?xi32>
  %sequence = bufferization.to_tensor %b7 restrict : memref<?xi32> to tensor<?xi32>
  %dk = mohd.attention_cache_gradient %into, %q, %k, %v, %dy, %s, %position in %sequence layer 0 head_dim 16
    : tensor<1x?x?x16xbf16>, tensor<?x32xf32>, tensor<?x6xf32>, tensor<?xi32>, tensor<?xi32>
  bufferization.materialize_in_destination %dk in restrict writable %b0 : (tensor<1x?x?x16xbf16>, memref<1x?x?x16xbf16>) -> ()
  return
}
