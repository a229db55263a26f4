// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The list of a chosen group comes from the table (11 offsets, then entries of 2 for each token), that of the common groups is all tokens. 16-bit weights that
// several tiles meet are widened once, for all of them. In a whole tile of 4 tokens each of the two vectors of weights is loaded once, each token once, and there
// are 8 multiplications; where weights are not widened, a tile asks for those that come next. Sums are added up for the whole block and stored at the end.
// CHECK-LABEL: func.func @spmm(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<8xf32>
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1] : memref<16x6x4x16xi16>
// CHECK: %[[TABLE2D:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[PLACES:.*]] = memref.alloca() {{.*}} : memref<252xindex>
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: %[[SUMS:.*]] = memref.alloca() {{.*}} : memref<32768xf32>
// CHECK: %[[WIDE:.*]] = memref.alloca() {{.*}} : memref<256x16xf32>
// CHECK: vector.store %[[ZERO]], %[[SUMS]]
// CHECK: scf.for %{{.*}} = %c0 to %c11 step %c1 {
// CHECK: %[[TABLE:.*]] = memref.collapse_shape %[[TABLE2D]]
// CHECK-COUNT-2: memref.load %[[TABLE]]
// CHECK: scf.for %[[I:.*]] = %c0
// CHECK-NEXT: memref.store %[[I]], %[[PLACES]][%[[I]]]
// CHECK: } else {
// CHECK: %[[ENTRY:.*]] = memref.load %[[TABLE]]
// CHECK: %[[ENTRY_INDEX:.*]] = arith.index_cast %[[ENTRY]]
// CHECK: %[[TOKEN:.*]] = arith.divui %[[ENTRY_INDEX]], %c2
// CHECK: memref.store %[[TOKEN]], %[[PLACES]]
// CHECK: arith.cmpi ugt, %{{.*}}, %c4
// CHECK-NEXT: scf.if
// CHECK: vector.load %[[W]]{{.*}} vector<8xi16>
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK: vector.load %[[W]]{{.*}} vector<8xi16>
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK: scf.index_switch
// CHECK: case 3 {
// CHECK-NOT: %[[W]][
// CHECK: default {
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
// CHECK-NOT: %[[W]][
// CHECK: } else {
// CHECK: scf.index_switch
// CHECK: default {
// CHECK: memref.prefetch %[[W]]
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
  %y = mohd.tiled_spmm %x, %w table(%t) common 6 chosen 2 block 252 rows 4 panels 1
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// One group that all tokens have: nothing is looked up. Three panels in tiles of two: the last tile reads the last panel twice, and stores the 8 columns that
// there are of the result. f32 weights are read in place.
// CHECK-LABEL: func.func @linear(
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[PLACES:.*]] = memref.alloca() {{.*}} : memref<32xindex>
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: %[[SUMS:.*]] = memref.alloca() {{.*}} : memref<32768xf32>
// CHECK-NOT: memref.alloca
// CHECK-NOT: xi32>
// CHECK: arith.minui %{{.*}}, %c2
// CHECK: default {
// CHECK: scf.for %{{.*}} = %c0 to %c64 step %c1
// CHECK: memref.prefetch %[[W]]
// CHECK: memref.prefetch %[[W]]
// CHECK-NOT: memref.prefetch
// CHECK-COUNT-4: vector.load %[[W]]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK-COUNT-4: vector.fma
// CHECK: memref.load %[[X]][
// CHECK-COUNT-4: vector.fma
// CHECK-NOT: vector.fma
// CHECK-NOT: xi32>
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
  %y = mohd.tiled_spmm %x, %w common 1 chosen 0 block 32 rows 2 panels 2 : tensor<?x64xf32>, tensor<1x3x64x16xf32> -> tensor<?x40xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x40xf32>, memref<?x40xf32>) -> ()
  return
}
