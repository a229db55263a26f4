// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse | FileCheck %s

// Nothing is sorted. The threshold of top_k is built bit by bit, each of them a count over vectors; so is that of top_p, with the sum of what is kept. The draw adds up
// blocks of a vector, then looks into one of them.
// CHECK-LABEL: func.func @sample(
// CHECK: %[[LOGITS:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[TOP_K:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[TOP_P:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[DRAW:.*]] = tile.binding %{{.*}}[4]
// CHECK: vector.load %[[LOGITS]][%{{.*}}, %{{.*}}] : memref<?x20xf32>, vector<8xf32>
// CHECK: vector.load %[[LOGITS]][%{{.*}}, %c16] : memref<?x20xf32>, vector<4xf32>
// CHECK: arith.cmpf uno
// CHECK: memref.load %[[TOP_K]]
// CHECK: %[[BITS:.*]] = arith.select %{{.*}}, %c32, %c0
// CHECK: scf.for %{{.*}} = %c0 to %[[BITS]] step %c1 iter_args(%[[KEY:.*]] = %c-2147483648_i32) -> (i32)
// CHECK: %[[CANDIDATE:.*]] = arith.xori %[[KEY]], %{{.*}}
// CHECK: arith.bitcast
// CHECK: arith.cmpf oge, %{{.*}} : vector<8xf32>
// CHECK-NOT: math.exp
// CHECK: arith.cmpf oge, %{{.*}} : f32
// CHECK: memref.load %[[TOP_P]]
// CHECK: arith.cmpf ult
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c1 iter_args(%{{.*}} = %c-2147483648_i32) -> (i32)
// CHECK: math.exp %{{.*}} : vector<8xf32>
// CHECK: memref.load %[[DRAW]]
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c8 iter_args(
// CHECK: memref.store %{{.*}} : memref<?xi32>
func.func @sample(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x20xf32>
  %l = bufferization.to_tensor %b0 restrict : memref<?x20xf32> to tensor<?x20xf32>
  %b1 = tile.binding %bindings[1] (%T) : memref<?xf32>
  %t = bufferization.to_tensor %b1 restrict : memref<?xf32> to tensor<?xf32>
  %b2 = tile.binding %bindings[2] (%T) : memref<?xi32>
  %k = bufferization.to_tensor %b2 restrict : memref<?xi32> to tensor<?xi32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?xf32>
  %p = bufferization.to_tensor %b3 restrict : memref<?xf32> to tensor<?xf32>
  %b4 = tile.binding %bindings[4] (%T) : memref<?xf32>
  %d = bufferization.to_tensor %b4 restrict : memref<?xf32> to tensor<?xf32>
  %b5 = tile.binding %bindings[5] (%T) : memref<?xi32>
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<?x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
  bufferization.materialize_in_destination %y in restrict writable %b5 : (tensor<?xi32>, memref<?xi32>) -> ()
  return
}
