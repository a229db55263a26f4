// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// The 6 tasks of common groups, which all tokens have, are spread among the 16. The columns of a chosen group are cleared for all tokens of the block before those that
// have it are multiplied. Groups of 6 columns are a vector of 4 and one of 2 of a panel of 8. The weights of several tiles are widened once; a step takes one
// element of each token's row. A single tile of few tokens asks for nothing new: of what comes next, at rate 0.
// CHECK-LABEL: func.func @sddmm(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf16>
// CHECK-DAG: %[[ZERO_PAIR:.*]] = arith.constant dense<0.000000e+00> : vector<2xf16>
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[TABLE2D:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: %[[PLACES:.*]] = memref.alloca() {{.*}} : memref<252xindex>
// CHECK: %[[STARTS:.*]] = memref.alloca() {{.*}} : memref<252xindex>
// CHECK: %[[WIDE:.*]] = memref.alloca() {{.*}} : memref<256x8xf32>
// CHECK: scf.for
// CHECK: scf.for %[[TASK:.*]] = %{{.*}} to %{{.*}} step %c1 {
// CHECK: %[[SCALED:.*]] = arith.muli %[[TASK]], %c6
// CHECK: %[[BEFORE:.*]] = arith.divui %[[SCALED]], %c16
// CHECK: %[[AFTER:.*]] = arith.divui %{{.*}}, %c16
// CHECK: %[[COMMON:.*]] = arith.cmpi ne, %[[BEFORE]], %[[AFTER]]
// CHECK: %[[OTHERS:.*]] = arith.subi %[[TASK]], %[[BEFORE]]
// CHECK: %[[OTHER:.*]] = arith.addi %[[OTHERS]], %c6
// CHECK: %[[GROUP:.*]] = arith.select %[[COMMON]], %[[BEFORE]], %[[OTHER]]
// CHECK: %[[CHOSEN:.*]] = arith.cmpi uge, %[[GROUP]], %c6
// CHECK: scf.if %[[CHOSEN]] {
// CHECK: vector.store %[[ZERO]], %[[Y]]
// CHECK: vector.store %[[ZERO_PAIR]], %[[Y]]
// CHECK: %[[TABLE:.*]] = memref.collapse_shape %[[TABLE2D]]
// CHECK: memref.load %[[TABLE]]
// CHECK: scf.if %[[COMMON]] {
// CHECK-NOT: memref.load
// CHECK: memref.store %{{.*}}, %[[PLACES]]
// CHECK: memref.store %{{.*}}, %[[STARTS]]
// CHECK: } else {
// CHECK: memref.load %[[TABLE]]
// CHECK: memref.store %{{.*}}, %[[PLACES]]
// CHECK: memref.store %{{.*}}, %[[STARTS]]
// CHECK: %[[SEVERAL:.*]] = arith.cmpi ugt, %{{.*}}, %c8
// CHECK-NEXT: scf.if %[[SEVERAL]] {
// CHECK: vector.load %[[W]][%[[GROUP]],{{.*}} vector<8xf16>
// CHECK: vector.store %{{.*}}, %[[WIDE]]
// CHECK-NOT: %[[W]][
// CHECK: case 7 {
// CHECK-NOT: %[[W]][
// CHECK: default {
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK: memref.load %[[PLACES]]
// CHECK: memref.load %[[STARTS]]
// CHECK-NOT: memref.load
// CHECK: vector.load %[[WIDE]]
// CHECK-NOT: vector.load
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK: memref.load %[[X]][
// CHECK: vector.fma
// CHECK-NOT: vector.fma
// CHECK: vector.store %{{.*}}, %[[Y]]{{.*}} vector<4xf16>
// CHECK: vector.store %{{.*}}, %[[Y]]{{.*}} vector<2xf16>
// CHECK-NOT: %[[W]][
// CHECK: } else {
// CHECK: %[[IS_ONLY:.*]] = arith.cmpi eq, %{{.*}}, %c1
// CHECK: %[[NEXT:.*]]:3 = scf.if %[[IS_ONLY]]
// CHECK: case 4 {
// CHECK: %[[RATE:.*]] = arith.select %[[IS_ONLY]], %c0, %[[NEXT]]#2
// CHECK: arith.muli %{{.*}}, %[[RATE]]
// CHECK: memref.prefetch %[[W]]
// CHECK: default {
// CHECK-NOT: arith.select
// CHECK: arith.muli %{{.*}}, %[[NEXT]]#2
// CHECK: memref.prefetch %[[W]]
// CHECK: vector.load %[[W]]
// CHECK: return
func.func @sddmm(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf16>
  %1 = tile.binding %bindings[1] : memref<16x1x96x8xf16>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x13xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x96xf16>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf16> to tensor<?x96xf16>
  %w = bufferization.to_tensor %1 restrict : memref<16x1x96x8xf16> to tensor<16x1x96x8xf16>
  %t = bufferization.to_tensor %2 restrict : memref<?x13xi32> to tensor<?x13xi32>
  %y = mohd.tiled_sddmm %z, %w table(%t) common 6 chosen 2 block 252 few 24 rows 8 panels 1 depth 96
    : tensor<?x96xf16>, tensor<16x1x96x8xf16> table tensor<?x13xi32> -> tensor<?x96xf16>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x96xf16>, memref<?x96xf16>) -> ()
  return
}

// Without chosen groups there is no table; the columns of groups that no token has are cleared, and nothing is multiplied for them.
// CHECK-LABEL: func.func @sddmm_none_chosen(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK: %[[W:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[2]
// CHECK-NOT: xi32>
// CHECK: %[[COMMON:.*]] = arith.cmpi ne,
// CHECK: %[[OTHER:.*]] = arith.cmpi uge, %{{.*}}, %c2
// CHECK: scf.if %[[OTHER]] {
// CHECK: vector.store %[[ZERO]], %[[Y]]
// CHECK-NOT: vector.load
// CHECK: scf.if %[[COMMON]] {
// CHECK: vector.load %[[W]]
// CHECK-NOT: xi32>
// CHECK: return
func.func @sddmm_none_chosen(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf32>
  %1 = tile.binding %bindings[1] : memref<4x1x96x4xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x16xf32>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %w = bufferization.to_tensor %1 restrict : memref<4x1x96x4xf32> to tensor<4x1x96x4xf32>
  %y = mohd.tiled_sddmm %z, %w common 2 chosen 0 block 252 few 24 rows 2 panels 1 depth 96 : tensor<?x96xf32>, tensor<4x1x96x4xf32> -> tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// With all groups active nothing is cleared. The contraction is taken 64 columns at a time, all at once for few tokens; later parts add to the result.
// CHECK-LABEL: func.func @sddmm_all_active(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4xf32>
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c2
// CHECK: %[[STEP:.*]] = arith.select %[[FEW]], %c96, %c64
// CHECK: scf.for %[[FIRST:.*]] = %c0 to %c96 step %[[STEP]] {
// CHECK: %[[IS_FIRST:.*]] = arith.cmpi eq, %[[FIRST]], %c0
// CHECK-NOT: vector.store %[[ZERO]],
// CHECK: default {
// CHECK: %[[OLD:.*]] = vector.load %[[Y]]
// CHECK: %[[BASE:.*]] = arith.select %[[IS_FIRST]], %[[ZERO]], %[[OLD]]
// CHECK: %[[NEW:.*]] = arith.addf %[[BASE]], %{{.*}}
// CHECK: vector.store %[[NEW]], %[[Y]]
// CHECK: return
func.func @sddmm_all_active(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf32>
  %1 = tile.binding %bindings[1] : memref<4x1x96x4xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x16xf32>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %w = bufferization.to_tensor %1 restrict : memref<4x1x96x4xf32> to tensor<4x1x96x4xf32>
  %y = mohd.tiled_sddmm %z, %w common 4 chosen 0 block 252 few 24 rows 2 panels 1 depth 64 : tensor<?x96xf32>, tensor<4x1x96x4xf32> -> tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}

// A group of a local product contracts its own 8 columns of a token's 32.
// CHECK-LABEL: func.func @sddmm_local(
// CHECK: %[[X2D:.*]] = tile.binding %{{.*}}[0]
// CHECK: %[[X:.*]] = memref.collapse_shape %[[X2D]]
// CHECK: memref.alloca() {{.*}} : memref<252xindex>
// CHECK: %[[STARTS:.*]] = memref.alloca() {{.*}} : memref<252xindex>
// CHECK: %[[COLUMN:.*]] = arith.muli %[[GROUP:.*]], %c8
// CHECK: %[[ROW:.*]] = arith.muli %{{.*}}, %c32
// CHECK: %[[START:.*]] = arith.addi %[[ROW]], %[[COLUMN]]
// CHECK: memref.store %[[START]], %[[STARTS]]
// CHECK: default {
// CHECK: %[[FIRST:.*]] = memref.load %[[STARTS]]
// CHECK: scf.for %[[STEP:.*]] = %c0 to %c8 step
// CHECK: vector.load %{{.*}}[%[[GROUP]], %c0, %[[STEP]], %c0]
// CHECK: %[[AT:.*]] = arith.addi %[[FIRST]], %[[STEP]]
// CHECK: memref.load %[[X]][%[[AT]]]
// CHECK: return
func.func @sddmm_local(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x32xf32>
  %1 = tile.binding %bindings[1] : memref<4x1x8x4xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x16xf32>
  %z = bufferization.to_tensor %0 restrict : memref<?x32xf32> to tensor<?x32xf32>
  %w = bufferization.to_tensor %1 restrict : memref<4x1x8x4xf32> to tensor<4x1x8x4xf32>
  %y = mohd.tiled_sddmm %z, %w common 4 chosen 0 block 252 few 24 rows 2 panels 1 depth 8 local : tensor<?x32xf32>, tensor<4x1x8x4xf32> -> tensor<?x16xf32>
  bufferization.materialize_in_destination %y in restrict writable %2 : (tensor<?x16xf32>, memref<?x16xf32>) -> ()
  return
}
