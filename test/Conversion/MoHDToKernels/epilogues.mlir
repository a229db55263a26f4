// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels="lanes=8" --canonicalize --cse | FileCheck %s

// Sums are multiplied by silu(gate) where they are stored.
// CHECK-LABEL: func.func @swiglu(
// CHECK: %[[GATE:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[3]
// CHECK: vector.fma
// CHECK: %[[G:.*]] = vector.load %[[GATE]][%[[TOKEN:.*]], %[[COLUMN:.*]]]
// CHECK: math.exp
// CHECK: %[[SILU:.*]] = arith.select
// CHECK: %[[PRODUCT:.*]] = arith.mulf %[[SILU]], %{{.*}} : vector<8xf32>
// CHECK: vector.store %[[PRODUCT]], %[[Y]][%[[TOKEN]], %[[COLUMN]]]
// CHECK: return
func.func @swiglu(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] : memref<1x6x64x16xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x96xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x96xf32>
  %p = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %w = bufferization.to_tensor %1 restrict : memref<1x6x64x16xf32> to tensor<1x6x64x16xf32>
  %g = bufferization.to_tensor %2 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %y = mohd.tiled_spmm %p, %w gate(%g) common 1 chosen 0 block 252 few 0 rows 2 panels 1
    : tensor<?x64xf32>, tensor<1x6x64x16xf32> gate tensor<?x96xf32> -> tensor<?x96xf32>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// CHECK-LABEL: func.func @residual(
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[3]
// CHECK: vector.fma
// CHECK: %[[OLD:.*]] = vector.load %[[X]][%[[TOKEN:.*]], %[[COLUMN:.*]]]
// CHECK-NEXT: %[[NEW:.*]] = arith.addf %[[OLD]], %{{.*}} : vector<8xf32>
// CHECK-NEXT: vector.store %[[NEW]], %[[Y]][%[[TOKEN]], %[[COLUMN]]]
// CHECK: return
func.func @residual(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x64xf32>
  %1 = tile.binding %bindings[1] : memref<1x6x64x16xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x96xf32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x96xf32>
  %p = bufferization.to_tensor %0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %w = bufferization.to_tensor %1 restrict : memref<1x6x64x16xf32> to tensor<1x6x64x16xf32>
  %x = bufferization.to_tensor %2 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %y = mohd.tiled_spmm %p, %w residual(%x) common 1 chosen 0 block 252 few 0 rows 2 panels 1
    : tensor<?x64xf32>, tensor<1x6x64x16xf32> residual tensor<?x96xf32> -> tensor<?x96xf32>
  bufferization.materialize_in_destination %y in restrict writable %3 : (tensor<?x96xf32>, memref<?x96xf32>) -> ()
  return
}

// Where a token does not have a group, the residual is copied; of the first columns of the contraction it is what sums are added to.
// CHECK-LABEL: func.func @residual_of_sddmm(
// CHECK: %[[X:.*]] = tile.binding %{{.*}}[3]
// CHECK: %[[Y:.*]] = tile.binding %{{.*}}[4]
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %{{.*}}, %c0
// CHECK: %[[OLD:.*]] = vector.load %[[X]][%[[TOKEN:.*]], %[[COLUMN:.*]]]
// CHECK-NEXT: vector.store %[[OLD]], %[[Y]][%[[TOKEN]], %[[COLUMN]]]
// CHECK: vector.fma
// CHECK: %[[SUM:.*]] = vector.load %[[Y]][%[[ROW:.*]], %[[AT:.*]]]
// CHECK-NEXT: %[[RESIDUAL:.*]] = vector.load %[[X]][%[[ROW]], %[[AT]]]
// CHECK-NEXT: %[[BASE:.*]] = arith.select %[[FIRST]], %[[RESIDUAL]], %[[SUM]]
// CHECK-NEXT: %[[NEW:.*]] = arith.addf %[[BASE]], %{{.*}}
// CHECK-NEXT: vector.store %[[NEW]], %[[Y]][%[[ROW]], %[[AT]]]
// CHECK: return
func.func @residual_of_sddmm(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %tokens = tile.param %params[0]
  %0 = tile.binding %bindings[0] (%tokens) : memref<?x96xf32>
  %1 = tile.binding %bindings[1] : memref<16x1x96x8xf32>
  %2 = tile.binding %bindings[2] (%tokens) : memref<?x13xi32>
  %3 = tile.binding %bindings[3] (%tokens) : memref<?x128xf32>
  %4 = tile.binding %bindings[4] (%tokens) : memref<?x128xf32>
  %z = bufferization.to_tensor %0 restrict : memref<?x96xf32> to tensor<?x96xf32>
  %w = bufferization.to_tensor %1 restrict : memref<16x1x96x8xf32> to tensor<16x1x96x8xf32>
  %t = bufferization.to_tensor %2 restrict : memref<?x13xi32> to tensor<?x13xi32>
  %x = bufferization.to_tensor %3 restrict : memref<?x128xf32> to tensor<?x128xf32>
  %y = mohd.tiled_sddmm %z, %w table(%t) residual(%x) common 6 chosen 2 block 252 few 0 rows 2 panels 1 depth 64
    : tensor<?x96xf32>, tensor<16x1x96x8xf32> table tensor<?x13xi32> residual tensor<?x128xf32> -> tensor<?x128xf32>
  bufferization.materialize_in_destination %y in restrict writable %4 : (tensor<?x128xf32>, memref<?x128xf32>) -> ()
  return
}
