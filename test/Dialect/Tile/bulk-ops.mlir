// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: llvm.func @barriers_in_shared_memory(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr<3>, %[[N:.*]]: i32
llvm.func @barriers_in_shared_memory(%barrier: !llvm.ptr<3>, %n: i32) {
  // CHECK: tile.mbarrier_init %[[BARRIER]], %[[N]]
  tile.mbarrier_init %barrier, %n
  // CHECK: tile.mbarrier_arrive %[[BARRIER]]
  tile.mbarrier_arrive %barrier
  // CHECK: tile.mbarrier_expect %[[BARRIER]], %[[N]]
  tile.mbarrier_expect %barrier, %n
  // CHECK: tile.mbarrier_wait %[[BARRIER]], %[[N]]
  tile.mbarrier_wait %barrier, %n
  llvm.return
}

// CHECK-LABEL: llvm.func @tiles_of_tensors(
// CHECK-SAME: %[[MAP:.*]]: !llvm.ptr {tile.tensor_map}, %[[I:.*]]: i32
llvm.func @tiles_of_tensors(%map: !llvm.ptr {tile.tensor_map}, %i: i32) attributes {tile.kernel, tile.shared_bytes = 1024 : i64} {
  // CHECK: %[[SHARED:.*]] = tile.shared[0]
  %shared = tile.shared[0]
  // CHECK: tile.tma_load %[[SHARED]], %[[MAP]][%[[I]]], %[[SHARED]]
  tile.tma_load %shared, %map[%i], %shared
  // CHECK: tile.tma_load %[[SHARED]], %[[MAP]][%[[I]], %[[I]], %[[I]], %[[I]], %[[I]]], %[[SHARED]]
  tile.tma_load %shared, %map[%i, %i, %i, %i, %i], %shared
  // CHECK: tile.tma_store %[[MAP]][%[[I]], %[[I]]], %[[SHARED]]
  tile.tma_store %map[%i, %i], %shared
  // CHECK: tile.tma_store_commit
  tile.tma_store_commit
  // CHECK: tile.tma_store_wait 1 read
  tile.tma_store_wait 1 read
  // CHECK: tile.tma_store_wait 0{{$}}
  tile.tma_store_wait 0
  llvm.return
}

// CHECK-LABEL: llvm.func @registers(
// CHECK: tile.set_max_registers 24{{$}}
// CHECK: tile.set_max_registers 256 increase
llvm.func @registers() {
  tile.set_max_registers 24
  tile.set_max_registers 256 increase
  llvm.return
}
