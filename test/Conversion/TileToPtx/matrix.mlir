// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// Shared memory is addressed by 32 bits, global memory by 64.
// CHECK-LABEL: llvm.func @copies(
// CHECK-SAME: %[[FROM:.*]]: !llvm.ptr<1>, %[[REST:.*]]: i32
llvm.func @copies(%from: !llvm.ptr<1>, %rest: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[SHARED:.*]] = llvm.getelementptr
  // CHECK: %[[TO:.*]] = llvm.ptrtoint %[[SHARED]] : !llvm.ptr<3> to i32
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "cp.async.cg.shared.global [$0], [$1], 16;", "r,l,~{memory}" %[[TO]], %[[FROM]] : (i32, !llvm.ptr<1>) -> ()
  %to = tile.shared[0]
  tile.copy_async %to, %from bytes 16
  // CHECK: "cp.async.cg.shared.global [$0], [$1], 16, $2;", "r,l,r,~{memory}" %{{.*}}, %[[FROM]], %[[REST]]
  tile.copy_async %to, %from bytes 16 source_bytes %rest
  // CHECK: "cp.async.ca.shared.global [$0], [$1], 8;", "r,l,~{memory}"
  tile.copy_async %to, %from bytes 8
  // CHECK: "cp.async.ca.shared.global [$0], [$1], 4, $2;", "r,l,r,~{memory}"
  tile.copy_async %to, %from bytes 4 source_bytes %rest
  // CHECK: has_side_effects asm_dialect = att "cp.async.commit_group;", "~{memory}" : () -> ()
  tile.copy_async_commit
  // CHECK: has_side_effects asm_dialect = att "cp.async.wait_group 3;", "~{memory}" : () -> ()
  tile.copy_async_wait 3
  llvm.return
}

// CHECK-LABEL: llvm.func @fragments(
llvm.func @fragments(%out: !llvm.ptr<1>) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  %row = tile.shared[0]
  // CHECK: %[[WORDS:.*]] = llvm.inline_asm has_side_effects asm_dialect = att "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0, $1, $2, $3}, [$4];", "=r,=r,=r,=r,r,~{memory}" %{{.*}} : (i32) -> !llvm.struct<(i32, i32, i32, i32)>
  // CHECK: llvm.extractvalue %[[WORDS]][3]
  // CHECK: llvm.insertelement %{{.*}} : vector<4xi32>
  %4 = tile.load_matrix %row : vector<4xi32>
  // CHECK: "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {$0, $1}, [$2];", "=r,=r,r,~{memory}"
  %2 = tile.load_matrix %row transposed : vector<2xi32>
  // CHECK: "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {$0}, [$1];", "=r,r,~{memory}" %{{.*}} : (i32) -> i32
  %1 = tile.load_matrix %row : vector<1xi32>
  tile.store %4, %out : vector<4xi32>, !llvm.ptr<1>
  tile.store %2, %out : vector<2xi32>, !llvm.ptr<1>
  tile.store %1, %out : vector<1xi32>, !llvm.ptr<1>
  llvm.return
}

// Threads of a warp multiply together: no instruction may move into a branch, so all have side effects.
// CHECK-LABEL: llvm.func @products_of_a_warp(
llvm.func @products_of_a_warp(%p: !llvm.ptr<1>) attributes {tile.kernel} {
  %a = tile.load %p : !llvm.ptr<1> -> vector<4xi32>
  %b = tile.load %p : !llvm.ptr<1> -> vector<2xi32>
  %c = tile.load %p : !llvm.ptr<1> -> vector<4xf32>
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};", "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
  // CHECK-SAME: (i32, i32, i32, i32, i32, i32, f32, f32, f32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
  %0 = tile.mma bf16 %a, %b, %c : vector<4xf32>
  // CHECK: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {
  %1 = tile.mma f16 %a, %b, %0 : vector<4xf32>
  // CHECK: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {
  %2 = tile.mma tf32 %a, %b, %1 : vector<4xf32>
  // CHECK: "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};", "=r,=r,=r,=r,r,r,r,r,r,r,r,r,r,r"
  %3 = tile.mma s8 %a, %b, %a : vector<4xi32>
  tile.store %2, %p : vector<4xf32>, !llvm.ptr<1>
  tile.store %3, %p : vector<4xi32>, !llvm.ptr<1>
  llvm.return
}
