// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-pipeline-reference | FileCheck %s --implicit-check-not=mohd. --implicit-check-not=tensor --implicit-check-not=memref.copy
// RUN: mohd-opt %s --mohd-pipeline-reference --mohd-pipeline-lower | FileCheck %s --check-prefix=LLVM --implicit-check-not='llvm.func @mem'

// A result is written where it is wanted; what is allocated on the way is freed.
// CHECK-LABEL: func.func @spmm_0(
// CHECK: %[[OUTPUT:.*]] = tile.binding %{{.*}}[4]
// CHECK: %[[ACTIVE:.*]] = memref.alloc{{.*}} : memref<?x16xi1>
// CHECK: %[[GATES:.*]] = memref.alloc{{.*}} : memref<?x16xf32>
// CHECK-NOT: memref.alloc
// CHECK: memref.store %{{.*}}, %[[OUTPUT]]
// CHECK-DAG: memref.dealloc %[[ACTIVE]]
// CHECK-DAG: memref.dealloc %[[GATES]]
// CHECK: return
// LLVM: llvm.func @spmm_0(
func.func @spmm_0(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] : memref<16x4x96xbf16>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x96xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %w = bufferization.to_tensor %3 restrict : memref<16x4x96xbf16> to tensor<16x4x96xbf16>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// A routing leaves a kernel as its two tensors.
// CHECK-LABEL: func.func @route_0(
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[GATES:.*]] = tile.binding %{{.*}}[3]
// CHECK: memref.store %{{.*}}, %[[INDICES]]
// CHECK: memref.store %{{.*}}, %[[GATES]]
// CHECK: return
func.func @route_0(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] : memref<16x64xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x8xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %phi = bufferization.to_tensor %1 restrict : memref<16x64xf32> to tensor<16x64xf32>
  %r, %s = mohd.route %x, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  bufferization.materialize_in_destination %i in restrict writable %2 : (tensor<?x8xi32>, memref<?x8xi32>) -> ()
  bufferization.materialize_in_destination %g in restrict writable %3 : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
  return
}

// A cache is updated in place: nothing is allocated or copied.
// CHECK-LABEL: func.func @kv_cache_append_0(
// CHECK: %[[CACHE:.*]] = tile.binding %{{.*}}[0]
// CHECK-NOT: memref.alloc
// CHECK: memref.store %{{.*}}, %[[CACHE]]
// CHECK-NOT: memref.alloc
// CHECK: return
func.func @kv_cache_append_0(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %batch = tile.param %params[1]
  %length = tile.param %params[2]
  %0 = tile.binding %bindings[0] (%batch, %length) : memref<2x?x?x64xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x64xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?xi32>
  %cache = bufferization.to_tensor %0 restrict writable : memref<2x?x?x64xf32> to tensor<2x?x?x64xf32>
  %x = bufferization.to_tensor %1 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %position = bufferization.to_tensor %2 restrict : memref<?xi32> to tensor<?xi32>
  %y = mohd.kv_cache_append %cache, %x, %position layer 1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  bufferization.materialize_in_destination %y in restrict writable %0 : (tensor<2x?x?x64xf32>, memref<2x?x?x64xf32>) -> ()
  return
}
