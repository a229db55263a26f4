// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The middle is one array, cleared for each token; with a routing only the blocks of active groups of `right` are read.
// CHECK-LABEL: func.func @monarch(
// CHECK: %[[RIGHT:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[LEFT:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[MIDDLE:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16xf32>
// CHECK: scf.for
// CHECK: %[[BLOCK32:.*]] = memref.load %[[INDICES]]
// CHECK: %[[BLOCK:.*]] = arith.index_cast %[[BLOCK32]]
// CHECK: vector.load %[[RIGHT]][%[[BLOCK]],
// CHECK: memref.store %{{.*}}, %[[MIDDLE]][%[[BLOCK]]]
// CHECK: vector.load %[[LEFT]]
// CHECK-NOT: vector.load %[[RIGHT]]
// CHECK: return
func.func @monarch(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x128xf32>
  %1 = tile.binding %bindings[1] : memref<16x8x8xf32>
  %2 = tile.binding %bindings[2] : memref<8x16x16xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x8xi32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x8xf32>
  %5 = tile.binding %bindings[5] (%tokens) : memref<?x128xf32>
  %o = bufferization.to_tensor %0 restrict : memref<?x128xf32> to tensor<?x128xf32>
  %right = bufferization.to_tensor %1 restrict : memref<16x8x8xf32> to tensor<16x8x8xf32>
  %left = bufferization.to_tensor %2 restrict : memref<8x16x16xf32> to tensor<8x16x16xf32>
  %i = bufferization.to_tensor %3 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %4 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x128xf32> right tensor<16x8x8xf32> left tensor<8x16x16xf32> routing !mohd.routing<16, 6, 2>
  bufferization.materialize_in_destination %y in restrict writable %5 : (tensor<?x128xf32>, memref<?x128xf32>) -> ()
  return
}

// The bias is added to the rows of active groups and is all there is in the others.
// CHECK-LABEL: func.func @block_diagonal(
// CHECK: %[[RIGHT:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[BIAS:.*]] = tile.binding %{{.*}}[2]
// CHECK: scf.if
// CHECK: vector.load %[[RIGHT]]
// CHECK: memref.load %[[BIAS]]
// CHECK: } else {
// CHECK-NOT: load %[[RIGHT]][
// CHECK: memref.load %[[BIAS]]
// CHECK-NOT: load %[[RIGHT]][
// CHECK: return
func.func @block_diagonal(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x128xf32>
  %1 = tile.binding %bindings[1] : memref<16x8x8xf32>
  %2 = tile.binding %bindings[2] : memref<128xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x8xi32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x8xf32>
  %5 = tile.binding %bindings[5] (%tokens) : memref<?x128xf32>
  %o = bufferization.to_tensor %0 restrict : memref<?x128xf32> to tensor<?x128xf32>
  %right = bufferization.to_tensor %1 restrict : memref<16x8x8xf32> to tensor<16x8x8xf32>
  %bias = bufferization.to_tensor %2 restrict : memref<128xf32> to tensor<128xf32>
  %i = bufferization.to_tensor %3 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %4 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.group_fusion %o kind block_diagonal right(%right) bias(%bias) routing(%r)
    : tensor<?x128xf32> right tensor<16x8x8xf32> bias tensor<128xf32> routing !mohd.routing<16, 6, 2>
  bufferization.materialize_in_destination %y in restrict writable %5 : (tensor<?x128xf32>, memref<?x128xf32>) -> ()
  return
}
