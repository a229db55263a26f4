// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// A block's lists of tokens are made once: all tokens for the common groups, then those of the table (11 offsets, then entries of 2 for each token) for each of
// the 10 others, and where each tile's columns of a group start. While a block has few tokens, 24 of them, as many panels as there is room for sums go together, a group at a
// time; else one column tile goes with all groups. 16-bit weights that several tiles meet are widened once, for all of them. In a whole tile of 4 tokens each of the two vectors of weights is loaded
// once, each token once, there are 8 multiplications, and the tile asks for some of the panels that come next, unless it is a single one of few tokens, which reads as fast as it can without. Sums are added up for the whole block and stored at
// the end.
// CHECK-LABEL: func.func @spmm(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<8xf32>
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1] : memref<16x6x4x16xi16>
// CHECK: %[[TABLE2D:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: %[[SUMS:.*]] = memref.alloca() {{.*}} : memref<32768xf32>
// CHECK: memref.alloca() {{.*}} : memref<12xi32>
// CHECK: %[[FIRST_PLACES:.*]] = memref.alloca() {{.*}} : memref<12xi32>
// CHECK: %[[PLACES:.*]] = memref.alloca() {{.*}} : memref<756xi32>
// CHECK: %[[STARTS:.*]] = memref.alloca() {{.*}} : memref<514xindex>
// CHECK: %[[WIDE:.*]] = memref.alloca() {{.*}} : memref<256x16xf32>
// CHECK: scf.for %[[I:.*]] = %c0 to %[[BLOCK:.*]] step %c1 {
// CHECK-NEXT: %[[TOKEN:.*]] = arith.index_cast %[[I]]
// CHECK-NEXT: memref.store %[[TOKEN]], %[[PLACES]][%[[I]]]
// CHECK: %[[TABLE:.*]] = memref.collapse_shape %[[TABLE2D]]
// CHECK: scf.for %{{.*}} = %c0 to %c11 step %c1 {
// CHECK: memref.load %[[TABLE]]
// CHECK: memref.store %{{.*}}, %[[FIRST_PLACES]]
// CHECK: %[[ENTRIES:.*]] = arith.muli %[[BLOCK]], %c2 :
// CHECK: scf.for %[[I:.*]] = %c0 to %[[ENTRIES]] step %c1 {
// CHECK: %[[ENTRY:.*]] = memref.load %[[TABLE]]
// CHECK: %[[ENTRY_INDEX:.*]] = arith.index_cast %[[ENTRY]]
// CHECK: %[[TOKEN:.*]] = arith.divui %[[ENTRY_INDEX]], %c2
// CHECK: %[[PLACE:.*]] = arith.addi %[[BLOCK]], %[[I]]
// CHECK: %[[TOKEN32:.*]] = arith.index_cast %[[TOKEN]]
// CHECK: memref.store %[[TOKEN32]], %[[PLACES]][%[[PLACE]]]
// CHECK: memref.store %{{.*}}, %[[STARTS]]
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %[[BLOCK]], %c24
// CHECK: scf.if %[[FEW]] {
// CHECK: %[[ROOM:.*]] = arith.divui %c32768, %{{.*}}
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %[[ROOM]] {
// CHECK-NOT: %[[TABLE]][
// CHECK: vector.store %[[ZERO]], %[[SUMS]]
// CHECK: scf.for %{{.*}} = %c0 to %c11 step %c1 {
// CHECK: %[[SEVERAL:.*]] = arith.cmpi ugt, %{{.*}}, %c1
// CHECK: scf.if %[[SEVERAL]] {
// CHECK: vector.load %[[W]]{{.*}} vector<8xi16>
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK: vector.load %[[W]]{{.*}} vector<8xi16>
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK: scf.index_switch
// CHECK-NOT: vector.load %[[W]]
// CHECK: case 3 {
// CHECK-NOT: vector.load %[[W]]
// CHECK: default {
// CHECK: memref.prefetch %[[W]]
// CHECK-NOT: memref.prefetch
// CHECK-COUNT-2: vector.load %[[WIDE]]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK-NOT: vector.fma
// CHECK: memref.load %[[PLACES]]
// CHECK: vector.load %[[SUMS]]
// CHECK: vector.store %{{.*}}, %[[SUMS]]
// CHECK-NOT: vector.load %[[W]]
// CHECK: } else {
// CHECK: scf.index_switch
// CHECK: default {
// CHECK: memref.load %[[STARTS]]
// CHECK-NOT: memref.prefetch
// CHECK-COUNT-2: vector.load %[[W]]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-2: vector.fma
// CHECK-NOT: vector.fma
// CHECK-COUNT-8: vector.store %{{.*}}, %[[SUMS]]
// CHECK: %[[SUM:.*]] = vector.load %[[SUMS]]
// CHECK: vector.store %[[SUM]], %[[Y]]
// CHECK: } else {
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c1 {
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK: default {
// CHECK: memref.prefetch %[[W]]
// CHECK: vector.load %[[WIDE]]
// CHECK: } else {
// CHECK: default {
// CHECK: memref.prefetch %[[W]]
// CHECK: vector.load %[[W]]
// CHECK: vector.store %{{.*}}, %[[Y]]
// CHECK: return
func.func @spmm(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x32xf32>
  %1 = tile.binding %bindings[1] : memref<16x6x4x16xbf16>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x13xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x96xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %w = bufferization.to_tensor %1 restrict : memref<16x6x4x16xbf16> to tensor<16x6x4x16xbf16>
  %t = bufferization.to_tensor %2 restrict : memref<?x13xi32> to tensor<?x13xi32>
  %y = mohd.tiled_spmm %x, %w table(%t) common 6 chosen 2 block 252 few 24 rows 4 panels 1
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// One group that all tokens have: there is no table. Three panels in tiles of two: the last tile reads the last panel twice, and stores the 8 columns that
// there are of the result. f32 weights are read in place. Few tokens take one panel at a time, so that weights are read in the order in which they lie, and
// a tile asks for nothing unless it is one of several with more than 8 rows.
// CHECK-LABEL: func.func @linear(
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: %[[SUMS:.*]] = memref.alloca() {{.*}} : memref<32768xf32>
// CHECK: memref.alloca() {{.*}} : memref<32xi32>
// CHECK-NOT: x{{16|32}}xf32>
// CHECK: scf.if %{{.*}} {
// CHECK: arith.divui %c32768
// CHECK: %[[ONE:.*]] = arith.cmpi eq, %[[TILES:.*]], %c1
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c8
// CHECK: %[[ASKS_NOT:.*]] = arith.ori %[[ONE]], %[[FEW]]
// CHECK: default {
// CHECK: scf.if %[[ASKS_NOT]] {
// CHECK: scf.for %[[STEP:.*]] = %c0 to %c64 step %c2
// CHECK-NOT: memref.prefetch
// CHECK: vector.load %[[W]][%c0, %[[PANEL:.*]], %[[STEP]], %c0]
// CHECK-NEXT: vector.load %[[W]][%c0, %[[PANEL]], %[[STEP]], %c8]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK: } else {
// CHECK: memref.prefetch %[[W]]
// CHECK: vector.load %[[W]]
// CHECK: vector.store %{{.*}}, %[[Y]]
// CHECK: } else {
// CHECK: default {
// CHECK: scf.for %[[STEP:.*]] = %c0 to %c64 step %c1
// CHECK: memref.prefetch %[[W]]
// CHECK: memref.prefetch %[[W]]
// CHECK-NOT: memref.prefetch
// CHECK: %[[PANEL:.*]] = arith.minui %{{.*}}, %c2
// CHECK: vector.load %[[W]][%c0, %[[PANEL]], %[[STEP]], %c0]
// CHECK: vector.load %[[W]][%c0, %[[PANEL]], %[[STEP]], %c8]
// CHECK: %[[NEXT:.*]] = arith.minui %{{.*}}, %c2
// CHECK: vector.load %[[W]][%c0, %[[NEXT]], %[[STEP]], %c0]
// CHECK: vector.load %[[W]][%c0, %[[NEXT]], %[[STEP]], %c8]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK-COUNT-4: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-4: vector.fma
// CHECK-NOT: vector.fma
// CHECK: scf.if
// CHECK-COUNT-4: vector.store %{{.*}}, %[[Y]]{{.*}} vector<8xf32>
// CHECK: } else {
// CHECK: vector.store %{{.*}}, %[[Y]]{{.*}} vector<8xf32>
// CHECK-NOT: vector.store
// CHECK: return
func.func @linear(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] : memref<1x3x64x16xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x40xf32>
  %x = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %w = bufferization.to_tensor %1 restrict : memref<1x3x64x16xf32> to tensor<1x3x64x16xf32>
  %y = mohd.tiled_spmm %x, %w common 1 chosen 0 block 32 few 24 rows 2 panels 2 : tensor<?x64xf32>, tensor<1x3x64x16xf32> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  return
}
