// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The second factor of a Monarch fusion. Of the 16 blocks of weights only those of a token's 8 active groups are read, and only these columns of the input; a token's
// 4 sums start from the residual and stay in registers.
// CHECK-LABEL: func.func @mix_groups(
// CHECK: %[[U:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[LEFT:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[2]
// CHECK-NOT: tile.binding %{{.*}}[3]
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[4]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[5]
// CHECK: scf.for
// CHECK: scf.for %[[TOKEN:.*]] = %{{.*}} to %{{.*}} step %c1 {
// CHECK-COUNT-4: vector.load %[[X]][%[[TOKEN]], {{.*}} vector<8xf32>
// CHECK-NOT: vector.load
// CHECK: %[[SUMS:.*]]:4 = scf.for %[[SLOT:.*]] = %c0 to %c8 step %c1
// CHECK: %[[GROUP32:.*]] = memref.load %[[INDICES]][%[[TOKEN]], %[[SLOT]]]
// CHECK: %[[GROUP:.*]] = arith.index_cast %[[GROUP32]]
// CHECK: %[[PLACE:.*]] = arith.muli %[[GROUP]], %c8
// CHECK: %[[COLUMN:.*]] = arith.addi %[[PLACE]],
// CHECK: %[[FACTOR:.*]] = vector.load %[[U]][%[[TOKEN]], %[[COLUMN]]]
// CHECK: %[[WEIGHT:.*]] = vector.load %[[LEFT]][%[[GROUP]], %{{.*}}, %c0, %c0]
// CHECK: vector.fma %[[WEIGHT]], %[[FACTOR]], %{{.*}}
// CHECK: vector.load %[[LEFT]][%[[GROUP]], %{{.*}}, %c1, %c0]
// CHECK: vector.load %[[LEFT]][%[[GROUP]], %{{.*}}, %c2, %c0]
// CHECK: vector.load %[[LEFT]][%[[GROUP]], %{{.*}}, %c3, %c0]
// CHECK: scf.yield
// CHECK-NOT: load
// CHECK: vector.store %[[SUMS]]#0, %[[Y]][%[[TOKEN]], %{{.*}}]
// CHECK: return
func.func @mix_groups(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x128xf32>
  %1 = tile.binding %bindings[1] : memref<16x1x4x8xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x8xf32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x32xf32>
  %5 = tile.binding %bindings[5] (%tokens) : memref<?x32xf32>
  %u = bufferization.to_tensor %0 restrict : memref<?x128xf32> to tensor<?x128xf32>
  %left = bufferization.to_tensor %1 restrict : memref<16x1x4x8xf32> to tensor<16x1x4x8xf32>
  %i = bufferization.to_tensor %2 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %3 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %x = bufferization.to_tensor %4 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.mix_groups %u, %left routing(%r) residual(%x)
    : tensor<?x128xf32>, tensor<16x1x4x8xf32> routing !mohd.routing<16, 6, 2> residual tensor<?x32xf32> -> tensor<?x32xf32>
  bufferization.materialize_in_destination %y in restrict writable %5 : (tensor<?x32xf32>, memref<?x32xf32>) -> ()
  return
}

// Without a routing all blocks count, and without a residual sums start from 0. The last panel of 22 columns has 6: a vector of 4 and one of 2, never 8 (what lies behind them
// is the next block). No more than 8 sums are in registers at once: 17 results take three rounds. From 16 tokens on a task reads a copy of its panel.
// CHECK-LABEL: func.func @mix_all_groups(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<8xf32>
// CHECK-DAG: %[[ZERO_FOUR:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK-DAG: %[[ZERO_TWO:.*]] = arith.constant dense<0.000000e+00> : vector<2xf32>
// CHECK: %[[U:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[LEFT:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[COPY:.*]] = memref.alloca() {{.*}}: memref<3x1x17x16xf32>
// CHECK: arith.cmpi uge, %{{.*}}, %c16
// CHECK: scf.if
// CHECK: %[[DATA:.*]] = vector.load %[[LEFT]]
// CHECK: vector.store %[[DATA]], %[[COPY]]
// CHECK: scf.for %[[NUMBER:.*]] = %c0 to %c16 step %c8 {
// CHECK: scf.for %[[BLOCK:.*]] = %c0 to %c3 step %c1 iter_args(%{{.*}} = %[[ZERO]], {{.*}}) -> ({{((vector<8xf32>, ){7})}}vector<8xf32>)
// CHECK: vector.load %[[COPY]][%[[BLOCK]], %c0, %[[NUMBER]], %c0] {{.*}} vector<8xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 iter_args(%{{.*}} = %[[ZERO]]) -> (vector<8xf32>)
// CHECK: vector.load %[[COPY]][%{{.*}}, %c0, %c16, %c0] {{.*}} vector<8xf32>
// CHECK: scf.for %[[NUMBER:.*]] = %c0 to %c16 step %c8 {
// CHECK: scf.for %[[BLOCK:.*]] = %c0 to %c3 step %c1 iter_args(%{{.*}} = %[[ZERO]], {{.*}}) -> ({{((vector<8xf32>, ){7})}}vector<8xf32>)
// CHECK: vector.load %[[LEFT]][%[[BLOCK]], %{{.*}}, %[[NUMBER]], %c0] {{.*}} vector<8xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 iter_args(%{{.*}} = %[[ZERO]]) -> (vector<8xf32>)
// CHECK: vector.load %[[LEFT]][%{{.*}}, %{{.*}}, %c16, %c0] {{.*}} vector<8xf32>
// CHECK: } else {
// CHECK-NOT: vector<8xf32>
// CHECK: iter_args(%{{.*}} = %[[ZERO_FOUR]],
// CHECK-NOT: vector<8xf32>
// CHECK: iter_args(%{{.*}} = %[[ZERO_TWO]],
// CHECK: vector.load %[[LEFT]][%{{.*}}, %{{.*}}, %{{.*}}, %c4] {{.*}} vector<2xf32>
// CHECK-NOT: vector<8xf32>
// CHECK: return
func.func @mix_all_groups(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x66xf32>
  %1 = tile.binding %bindings[1] : memref<3x2x17x16xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x374xf32>
  %u = bufferization.to_tensor %0 restrict : memref<?x66xf32> to tensor<?x66xf32>
  %left = bufferization.to_tensor %1 restrict : memref<3x2x17x16xf32> to tensor<3x2x17x16xf32>
  %y = mohd.mix_groups %u, %left : tensor<?x66xf32>, tensor<3x2x17x16xf32> -> tensor<?x374xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x374xf32>, memref<?x374xf32>) -> ()
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
