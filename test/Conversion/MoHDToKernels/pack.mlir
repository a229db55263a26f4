// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// A task is a row of a group. Column c goes to panel c / 16, and behind the last column of 20 there are zeros up to 32. Bits are copied as they are.
// CHECK-LABEL: func.func @pack_weight(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : i16
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[0] : memref<4x3x20xi16>
// CHECK: %[[P:.*]] = tile.binding %{{.*}}[1] : memref<4x2x3x16xi16>
// CHECK: scf.for %[[TASK:.*]] = %{{.*}} to %{{.*}} step %c1 {
// CHECK: %[[GROUP:.*]] = arith.divui %[[TASK]], %c3
// CHECK: %[[ROW:.*]] = arith.remui %[[TASK]], %c3
// CHECK: scf.for %[[COLUMN:.*]] = %c0 to %c16 step %c8 {
// CHECK: %[[PANEL:.*]] = arith.divui %[[COLUMN]], %c16
// CHECK: %[[PLACE:.*]] = arith.remui %[[COLUMN]], %c16
// CHECK: %[[DATA:.*]] = vector.load %[[W]][%[[GROUP]], %[[ROW]], %[[COLUMN]]] {{.*}} vector<8xi16>
// CHECK: vector.store %[[DATA]], %[[P]][%[[GROUP]], %[[PANEL]], %[[ROW]], %[[PLACE]]]
// CHECK: %[[TAIL:.*]] = vector.load %[[W]][%[[GROUP]], %[[ROW]], %c16] {{.*}} vector<4xi16>
// CHECK: vector.store %[[TAIL]], %[[P]][%[[GROUP]], %c1, %[[ROW]], %c0]
// CHECK: scf.for %{{.*}} = %c20 to %c32 step %c1 {
// CHECK: memref.store %[[ZERO]], %[[P]][%[[GROUP]],
// CHECK: return
func.func @pack_weight(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] : memref<4x3x20xbf16>
  %1 = tile.binding %bindings[1] : memref<4x2x3x16xbf16>
  %w = bufferization.to_tensor %0 restrict : memref<4x3x20xbf16> to tensor<4x3x20xbf16>
  %y = mohd.pack_weight %w : tensor<4x3x20xbf16> -> tensor<4x2x3x16xbf16>
  bufferization.materialize_in_destination %y in restrict writable %1 : (tensor<4x2x3x16xbf16>, memref<4x2x3x16xbf16>) -> ()
  return
}

// Whole panels of a matrix need no zeros.
// CHECK-LABEL: func.func @pack_matrix(
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[0] : memref<3x32xf32>
// CHECK: vector.load %[[W]][%{{.*}}, %{{.*}}] : memref<3x32xf32>, vector<8xf32>
// CHECK-NOT: memref.store
// CHECK: return
func.func @pack_matrix(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] : memref<3x32xf32>
  %1 = tile.binding %bindings[1] : memref<1x2x3x16xf32>
  %w = bufferization.to_tensor %0 restrict : memref<3x32xf32> to tensor<3x32xf32>
  %y = mohd.pack_weight %w : tensor<3x32xf32> -> tensor<1x2x3x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %1 : (tensor<1x2x3x16xf32>, memref<1x2x3x16xf32>) -> ()
  return
}

// Columns that do not lie side by side in the weight, its rows here, go one by one.
// CHECK-LABEL: func.func @pack_permuted(
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[0] : memref<4x6x3xf32>
// CHECK: %[[P:.*]] = tile.binding %{{.*}}[1] : memref<3x1x4x8xf32>
// CHECK: %[[GROUP:.*]] = arith.divui %[[TASK:.*]], %c4
// CHECK: %[[ROW:.*]] = arith.remui %[[TASK]], %c4
// CHECK: scf.for %[[COLUMN:.*]] = %c0 to %c6 step %c1 {
// CHECK: %[[DATA:.*]] = {{.*}}load %[[W]][%[[ROW]], %[[COLUMN]], %[[GROUP]]]
// CHECK: store %[[DATA]], %[[P]][%[[GROUP]], %{{.*}}, %[[ROW]], %{{.*}}]
// CHECK: scf.for %{{.*}} = %c6 to %c8 step %c1 {
// CHECK: return
func.func @pack_permuted(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] : memref<4x6x3xf32>
  %1 = tile.binding %bindings[1] : memref<3x1x4x8xf32>
  %w = bufferization.to_tensor %0 restrict : memref<4x6x3xf32> to tensor<4x6x3xf32>
  %y = mohd.pack_weight %w permutation [2, 0, 1] : tensor<4x6x3xf32> -> tensor<3x1x4x8xf32>
  bufferization.materialize_in_destination %y in restrict writable %1 : (tensor<3x1x4x8xf32>, memref<3x1x4x8xf32>) -> ()
  return
}

// The chosen groups of a block (10, the two slots behind the 6 common ones) are counted, the counts added up to offsets, the eleventh being the sum, and each
// entry, token * 2 + slot, goes to the next place of its group. So it is linear in the tokens, and a group's entries ascend. Gates do not matter. A slot that holds a
// common group counts as the last group: nothing is written outside.
// CHECK-LABEL: func.func @group_tokens(
// CHECK: %[[INDICES:.*]] = tile.binding %{{.*}}[0]
// CHECK-NOT: tile.binding %{{.*}}[1]
// CHECK: %[[TABLE2D:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[NEXT:.*]] = memref.alloca() {{.*}} : memref<10xindex>
// CHECK: scf.for
// CHECK: %[[TABLE:.*]] = memref.collapse_shape %[[TABLE2D]]
// CHECK: memref.store %c0, %[[NEXT]]
// CHECK: scf.for %{{.*}} = %[[FIRST:.*]] to %[[LAST:.*]] step %c1 {
// CHECK: scf.for %[[SLOT:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[COLUMN:.*]] = arith.addi %[[SLOT]], %c6
// CHECK: memref.load %[[INDICES]][%{{.*}}, %[[COLUMN]]]
// CHECK: %[[GROUP:.*]] = arith.minui %{{.*}}, %c9
// CHECK: %[[COUNT:.*]] = memref.load %[[NEXT]][%[[GROUP]]]
// CHECK: %[[MORE:.*]] = arith.addi %[[COUNT]], %c1
// CHECK: memref.store %[[MORE]], %[[NEXT]]
// CHECK: %[[TOTAL:.*]] = scf.for %{{.*}} = %c0 to %c10 step %c1 iter_args
// CHECK: memref.store %{{.*}}, %[[TABLE]]
// CHECK: %[[TOTAL32:.*]] = arith.index_cast %[[TOTAL]]
// CHECK: memref.store %[[TOTAL32]], %[[TABLE]]
// CHECK: scf.for %[[TOKEN:.*]] = %[[FIRST]] to %[[LAST]] step %c1 {
// CHECK: scf.for %[[SLOT:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[IN_BLOCK:.*]] = arith.subi %[[TOKEN]], %[[FIRST]]
// CHECK: %[[SCALED:.*]] = arith.muli %[[IN_BLOCK]], %c2
// CHECK: %[[ENTRY:.*]] = arith.addi %[[SCALED]], %[[SLOT]]
// CHECK: %[[ENTRY32:.*]] = arith.index_cast %[[ENTRY]]
// CHECK: memref.store %[[ENTRY32]], %[[TABLE]]
// CHECK: memref.store %{{.*}}, %[[NEXT]]
// CHECK: return
func.func @group_tokens(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x8xi32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x13xi32>
  %i = bufferization.to_tensor %0 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %1 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.group_tokens %r block 252 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x13xi32>, memref<?x13xi32>) -> ()
  return
}
