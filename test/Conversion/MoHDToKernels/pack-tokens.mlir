// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// A block is packed by as many tasks as there are pieces of 8 tokens, 16 groups at most. First the common groups of all tokens, then each chosen group of those
// that the table lists for it; the gate of an entry is that of its slot. A tile lies column by column: the element of the next column is as many places on as the
// tile has tokens.
// CHECK-LABEL: func.func @pack_tokens(
// CHECK: %[[TOKENS:.*]] = tile.param
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[0]
// CHECK-NOT: tile.binding %{{.*}}[1]
// CHECK: %[[GATES:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[TABLE2D:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[Y2D:.*]] = tile.binding %{{.*}}[4]
// CHECK: %[[Y:.*]] = memref.collapse_shape %[[Y2D]]
// CHECK: %[[ROUNDED:.*]] = arith.addi %[[TOKENS]], %c7
// CHECK: %[[PIECES:.*]] = arith.divui %[[ROUNDED]], %c8
// CHECK: arith.minui %[[PIECES]], %c16
// CHECK: %[[COMMON_END:.*]] = arith.minui %[[END:.*]], %c6
// CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %[[COMMON_END]] step %c1 {
// CHECK: %[[ROWS:.*]] = arith.subi
// CHECK: scf.for
// CHECK: %[[GATE:.*]] = memref.load %[[GATES]][%[[TOKEN:.*]], %[[GROUP]]]
// CHECK: %[[DATA:.*]] = vector.load %[[X]][%[[TOKEN]], %{{.*}}]
// CHECK: %[[FACTOR:.*]] = vector.broadcast %[[GATE]]
// CHECK: %[[GATED:.*]] = arith.mulf %[[DATA]], %[[FACTOR]]
// CHECK: %[[FIRST:.*]] = vector.extract %[[GATED]][0]
// CHECK: memref.store %[[FIRST]], %[[Y]][%[[AT:.*]]]
// CHECK: %[[NEXT:.*]] = arith.addi %[[AT]], %[[ROWS]]
// CHECK: %[[SECOND:.*]] = vector.extract %[[GATED]][1]
// CHECK: memref.store %[[SECOND]], %[[Y]][%[[NEXT]]]
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[END]] step %c1 {
// CHECK: %[[TABLE:.*]] = memref.collapse_shape %[[TABLE2D]]
// CHECK-COUNT-2: memref.load %[[TABLE]]
// CHECK: %[[ENTRY32:.*]] = memref.load %[[TABLE]]
// CHECK: %[[ENTRY:.*]] = arith.index_cast %[[ENTRY32]]
// CHECK: arith.divui %[[ENTRY]], %c2
// CHECK: %[[SLOT:.*]] = arith.remui %[[ENTRY]], %c2
// CHECK: %[[COLUMN:.*]] = arith.addi %[[SLOT]], %c6
// CHECK: memref.load %[[GATES]][%[[CHOSEN:.*]], %[[COLUMN]]]
// CHECK: vector.load %[[X]][%[[CHOSEN]],
// CHECK: return
func.func @pack_tokens(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x128xf32>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x8xi32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x8xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x13xi32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x64xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x128xf32> to tensor<?x128xf32>
  %i = bufferization.to_tensor %1 restrict : memref<?x8xi32> to tensor<?x8xi32>
  %g = bufferization.to_tensor %2 restrict : memref<?x8xf32> to tensor<?x8xf32>
  %t = bufferization.to_tensor %3 restrict : memref<?x13xi32> to tensor<?x13xi32>
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.pack_tokens %x routing(%r) table(%t) block 252 rows 6
    : tensor<?x128xf32> routing !mohd.routing<16, 6, 2> table tensor<?x13xi32> -> tensor<?x64xf32>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// Without a routing the columns are packed in pieces of 128, the last of them 72, and nothing is multiplied. f16 is widened.
// CHECK-LABEL: func.func @pack_all_tokens(
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[0]
// CHECK-NOT: arith.mulf
// CHECK: scf.if
// CHECK: scf.for %{{.*}} = %c0 to %c128 step %c8 {
// CHECK: %[[DATA:.*]] = vector.load %[[X]]{{.*}} vector<8xf16>
// CHECK: arith.extf %[[DATA]]
// CHECK: } else {
// CHECK: scf.for %{{.*}} = %c0 to %c72 step %c8 {
// CHECK-NOT: arith.mulf
// CHECK: return
func.func @pack_all_tokens(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x200xf16>
  %1 = tile.binding %bindings[1] (%tokens) : memref<?x200xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x200xf16> to tensor<?x200xf16>
  %y = mohd.pack_tokens %x block 64 rows 6 : tensor<?x200xf16> -> tensor<?x200xf32>
  bufferization.materialize_in_destination %y in restrict writable %1 : (tensor<?x200xf32>, memref<?x200xf32>) -> ()
  return
}
