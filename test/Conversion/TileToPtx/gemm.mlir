// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// A tile of a product as kernels write it: one thread starts the copies of each step, all wait for them, and the sums go round the loop.
// CHECK-LABEL: llvm.func @gemm(
llvm.func @gemm(%ma: !llvm.ptr {tile.tensor_map}, %mb: !llvm.ptr {tile.tensor_map}, %out: !llvm.ptr<1>, %steps: i32)
    attributes {tile.kernel, tile.threads = 128 : i32, tile.min_blocks = 1 : i32, tile.shared_bytes = 16392 : i64} {
  %a = tile.shared[0]
  %b = tile.shared[8192]
  %barrier = tile.shared[16384]
  %0 = llvm.mlir.constant(0 : i32) : i32
  %1 = llvm.mlir.constant(1 : i32) : i32
  %64 = llvm.mlir.constant(64 : i32) : i32
  %bytes = llvm.mlir.constant(16384 : i32) : i32
  %true = llvm.mlir.constant(true) : i1
  %thread = tile.special_register tid_x
  %leads = llvm.icmp "eq" %thread, %0 : i32
  scf.if %leads {
    tile.mbarrier_init %barrier, %1
    tile.fence mbarrier_init
  }
  tile.barrier_sync
  %da = tile.matrix_descriptor %a swizzle_128 leading 16 stride 1024
  %db = tile.matrix_descriptor %b swizzle_128 leading 16 stride 1024
  %k16 = llvm.mlir.constant(2 : i64) : i64
  %da16 = llvm.add %da, %k16 : i64
  %db16 = llvm.add %db, %k16 : i64
  // CHECK: %[[ZERO:.*]] = llvm.insertvalue %{{.*}}[31]
  %init = tile.wgmma_init : !tile.sums<64x64>
  // CHECK: %[[SUMS:.*]] = scf.for {{.*}} iter_args(%[[S0:.*]] = %[[ZERO]]) -> (!llvm.struct<(f32, {{.*}}, f32)>) : i32 {
  %sums = scf.for %k = %0 to %steps step %1 iter_args(%s0 = %init) -> (!tile.sums<64x64>) : i32 {
    scf.if %leads {
      %column = llvm.mul %k, %64 : i32
      tile.mbarrier_expect %barrier, %bytes
      tile.tma_load %a, %ma[%column, %0], %barrier
      tile.tma_load %b, %mb[%column, %0], %barrier
    }
    %parity = llvm.and %k, %1 : i32
    tile.mbarrier_wait %barrier, %parity
    tile.wgmma_fence
    // CHECK: llvm.extractvalue %[[S0]][31]
    %s1 = tile.wgmma bf16 %da, %db, %s0 accumulates %true : i64, !tile.sums<64x64>
    %s2 = tile.wgmma bf16 %da16, %db16, %s1 accumulates %true : i64, !tile.sums<64x64>
    tile.wgmma_commit
    // CHECK: "wgmma.wait_group.sync.aligned 0;"
    // CHECK: %[[DONE:.*]] = llvm.insertvalue %{{.*}}[31]
    %s3 = tile.wgmma_wait 0, %s2 : !tile.sums<64x64>
    tile.barrier_sync
    // CHECK: scf.yield %[[DONE]]
    scf.yield %s3 : !tile.sums<64x64>
  }
  // CHECK: llvm.extractvalue %[[SUMS]][31]
  %x = tile.wgmma_read %sums[31] : !tile.sums<64x64>
  tile.store %x, %out : f32, !llvm.ptr<1>
  llvm.return
}
