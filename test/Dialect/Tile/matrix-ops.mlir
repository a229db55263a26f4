// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: llvm.func @copies(
// CHECK-SAME: %[[TO:.*]]: !llvm.ptr<3>, %[[FROM:.*]]: !llvm.ptr<1>, %[[REST:.*]]: i32
llvm.func @copies(%to: !llvm.ptr<3>, %from: !llvm.ptr<1>, %rest: i32) {
  // CHECK: tile.copy_async %[[TO]], %[[FROM]] bytes 16{{$}}
  tile.copy_async %to, %from bytes 16
  // CHECK: tile.copy_async %[[TO]], %[[FROM]] bytes 4 source_bytes %[[REST]]
  tile.copy_async %to, %from bytes 4 source_bytes %rest
  // CHECK: tile.copy_async_commit
  tile.copy_async_commit
  // CHECK: tile.copy_async_wait 2
  tile.copy_async_wait 2
  llvm.return
}

// CHECK-LABEL: llvm.func @fragments(
// CHECK-SAME: %[[ROW:.*]]: !llvm.ptr<3>
llvm.func @fragments(%row: !llvm.ptr<3>) {
  // CHECK: %[[A:.*]] = tile.load_matrix %[[ROW]] : vector<4xi32>
  %a = tile.load_matrix %row : vector<4xi32>
  // CHECK: %[[B:.*]] = tile.load_matrix %[[ROW]] transposed : vector<1xi32>
  %b = tile.load_matrix %row transposed : vector<1xi32>
  // CHECK: tile.store_matrix %[[A]], %[[ROW]] transposed : vector<4xi32>
  tile.store_matrix %a, %row transposed : vector<4xi32>
  // CHECK: tile.store_matrix %[[B]], %[[ROW]] : vector<1xi32>
  tile.store_matrix %b, %row : vector<1xi32>
  llvm.return
}

// CHECK-LABEL: llvm.func @products_of_a_warp(
// CHECK-SAME: %[[A:.*]]: vector<4xi32>, %[[B:.*]]: vector<2xi32>, %[[C:.*]]: vector<4xf32>, %[[I:.*]]: vector<4xi32>
llvm.func @products_of_a_warp(%a: vector<4xi32>, %b: vector<2xi32>, %c: vector<4xf32>, %i: vector<4xi32>) {
  // CHECK: tile.mma bf16 %[[A]], %[[B]], %[[C]] : vector<4xf32>
  %0 = tile.mma bf16 %a, %b, %c : vector<4xf32>
  // CHECK: tile.mma f16 %[[A]], %[[B]], %[[C]] : vector<4xf32>
  %1 = tile.mma f16 %a, %b, %c : vector<4xf32>
  // CHECK: tile.mma tf32 %[[A]], %[[B]], %[[C]] : vector<4xf32>
  %2 = tile.mma tf32 %a, %b, %c : vector<4xf32>
  // CHECK: tile.mma s8 %[[A]], %[[B]], %[[I]] : vector<4xi32>
  %3 = tile.mma s8 %a, %b, %i : vector<4xi32>
  llvm.return
}

// CHECK-LABEL: llvm.func @products_of_a_warpgroup(
// CHECK-SAME: %[[SHARED:.*]]: !llvm.ptr<3>, %[[WORDS:.*]]: vector<4xi32>, %[[MORE:.*]]: i1
llvm.func @products_of_a_warpgroup(%shared: !llvm.ptr<3>, %words: vector<4xi32>, %more: i1) {
  // CHECK: %[[A:.*]] = tile.matrix_descriptor %[[SHARED]] swizzle_128 leading 16 stride 1024
  %a = tile.matrix_descriptor %shared swizzle_128 leading 16 stride 1024
  // CHECK: %[[B:.*]] = tile.matrix_descriptor %[[SHARED]] none leading 0 stride 262128
  %b = tile.matrix_descriptor %shared none leading 0 stride 262128
  // CHECK: %[[S0:.*]] = tile.wgmma_init : !tile.sums<64x8>
  %s0 = tile.wgmma_init : !tile.sums<64x8>
  // CHECK: %[[T0:.*]] = tile.wgmma_init : !tile.sums<64x256>
  %t0 = tile.wgmma_init : !tile.sums<64x256>
  // CHECK: tile.wgmma_fence
  tile.wgmma_fence
  // CHECK: %[[S1:.*]] = tile.wgmma bf16 %[[A]] transposed, %[[B]], %[[S0]] accumulates %[[MORE]] : i64, !tile.sums<64x8>
  %s1 = tile.wgmma bf16 %a transposed, %b, %s0 accumulates %more : i64, !tile.sums<64x8>
  // CHECK: %[[T1:.*]] = tile.wgmma f16 %[[WORDS]], %[[B]] transposed, %[[T0]] accumulates %[[MORE]] : vector<4xi32>, !tile.sums<64x256>
  %t1 = tile.wgmma f16 %words, %b transposed, %t0 accumulates %more : vector<4xi32>, !tile.sums<64x256>
  // CHECK: tile.wgmma_commit
  tile.wgmma_commit
  // CHECK: tile.wgmma_wait 7
  tile.wgmma_wait 7
  // CHECK: %[[DONE:.*]]:2 = tile.wgmma_wait 0, %[[S1]], %[[T1]] : !tile.sums<64x8>, !tile.sums<64x256>
  %done:2 = tile.wgmma_wait 0, %s1, %t1 : !tile.sums<64x8>, !tile.sums<64x256>
  // CHECK: tile.wgmma_read %[[DONE]]#1[127] : !tile.sums<64x256>
  %x = tile.wgmma_read %done#1[127] : !tile.sums<64x256>
  llvm.return
}
