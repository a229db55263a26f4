// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// A warp adds a value of each of its threads: the sum of all is in each at the end.
// CHECK: llvm.mlir.global external @mohd_shared()
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: %[[X:.*]]: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>, tile.shared_bytes = 128 : i64}
llvm.func @kernel(%x: !llvm.ptr<1>) attributes {tile.kernel, tile.threads = 32 : i32, tile.shared_bytes = 128 : i64} {
  // CHECK: llvm.mlir.addressof @mohd_shared : !llvm.ptr<3>
  %shared = tile.shared[0]
  // CHECK: "cp.async.cg.shared.global [$0], [$1], 16;"
  tile.copy_async %shared, %x bytes 16
  tile.copy_async_commit
  // CHECK: "cp.async.wait_group 0;"
  tile.copy_async_wait 0
  // CHECK: llvm.call_intrinsic "llvm.nvvm.bar.warp.sync"
  tile.warp_sync
  // CHECK: %[[VALUE:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr<3> -> f32
  %value = tile.load %shared : !llvm.ptr<3> -> f32
  // CHECK: llvm.call_intrinsic "llvm.nvvm.shfl.sync.bfly.f32"(%{{.*}}, %[[VALUE]], %{{.*}}, %{{.*}})
  %distance = llvm.mlir.constant(16 : i32) : i32
  %other = tile.shuffle bfly %value, %distance width 32 : f32
  // CHECK: llvm.store %{{.*}}, %[[X]] {alignment = 4 : i64} : f32, !llvm.ptr<1>
  tile.store %other, %x : f32, !llvm.ptr<1>
  llvm.return
}
