// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// CHECK-LABEL: llvm.func @barriers_in_shared_memory(
// CHECK-SAME: %[[N:.*]]: i32
llvm.func @barriers_in_shared_memory(%n: i32) attributes {tile.kernel, tile.shared_bytes = 8 : i64} {
  %barrier = tile.shared[0]
  // CHECK: %[[BARRIER:.*]] = llvm.ptrtoint %{{.*}} : !llvm.ptr<3> to i32
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "mbarrier.init.shared::cta.b64 [$0], $1;", "r,r,~{memory}" %[[BARRIER]], %[[N]] : (i32, i32) -> ()
  tile.mbarrier_init %barrier, %n
  // CHECK: llvm.call_intrinsic "llvm.nvvm.fence.mbarrier_init.release.cluster"()
  tile.fence mbarrier_init
  // CHECK: "mbarrier.arrive.shared::cta.b64 _, [$0];", "r,~{memory}"
  tile.mbarrier_arrive %barrier
  // CHECK: "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", "r,r,~{memory}" %{{.*}}, %[[N]]
  tile.mbarrier_expect %barrier, %n
  // CHECK: "{ .reg .pred done; try: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; @!done bra try; }", "r,r,~{memory}" %{{.*}}, %[[N]]
  tile.mbarrier_wait %barrier, %n
  tile.mbarrier_wait %barrier, %n
  llvm.return
}

// A tensor map is passed by value and stays where the launch put it.
// CHECK-LABEL: llvm.func @tiles_of_tensors(
// CHECK-SAME: %[[MAP:.*]]: !llvm.ptr {llvm.align = 64 : i64, llvm.byval = !llvm.array<128 x i8>, nvvm.grid_constant}, %[[I:.*]]: i32, %[[J:.*]]: i32
llvm.func @tiles_of_tensors(%map: !llvm.ptr {tile.tensor_map}, %i: i32, %j: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  %shared = tile.shared[0]
  %barrier = tile.shared[2048]
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3}], [$4];", "r,l,r,r,r,~{memory}" %{{.*}}, %[[MAP]], %[[I]], %[[J]], %{{.*}} : (i32, !llvm.ptr, i32, i32, i32) -> ()
  tile.tma_load %shared, %map[%i, %j], %barrier
  // CHECK: "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2}], [$3];", "r,l,r,r,~{memory}"
  tile.tma_load %shared, %map[%i], %barrier
  // CHECK: "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3, $4}], [$5];"
  tile.tma_load %shared, %map[%i, %j, %i], %barrier
  // CHECK: "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3, $4, $5}], [$6];"
  tile.tma_load %shared, %map[%i, %j, %i, %i], %barrier
  // CHECK: "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3, $4, $5, $6}], [$7];"
  tile.tma_load %shared, %map[%i, %j, %i, %i, %i], %barrier
  // CHECK: "fence.proxy.async.shared::cta;", "~{memory}"
  tile.fence proxy_async
  // CHECK: "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [$0, {$1, $2}], [$3];", "l,r,r,r,~{memory}" %[[MAP]], %[[I]], %[[J]], %{{.*}} : (!llvm.ptr, i32, i32, i32) -> ()
  tile.tma_store %map[%i, %j], %shared
  // CHECK: "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [$0, {$1, $2, $3, $4, $5}], [$6];"
  tile.tma_store %map[%i, %j, %i, %i, %i], %shared
  // CHECK: "cp.async.bulk.commit_group;", "~{memory}"
  tile.tma_store_commit
  // CHECK: "cp.async.bulk.wait_group.read 1;", "~{memory}"
  tile.tma_store_wait 1 read
  // CHECK: "cp.async.bulk.wait_group 0;", "~{memory}"
  tile.tma_store_wait 0
  llvm.return
}

// CHECK-LABEL: llvm.func @registers(
llvm.func @registers() attributes {tile.kernel, tile.threads = 384 : i32, tile.min_blocks = 1 : i32} {
  // CHECK: %[[FEW:.*]] = llvm.mlir.constant(40 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.setmaxnreg.dec.sync.aligned.u32"(%[[FEW]])
  tile.set_max_registers 40
  // CHECK: %[[MANY:.*]] = llvm.mlir.constant(232 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.setmaxnreg.inc.sync.aligned.u32"(%[[MANY]])
  tile.set_max_registers 232 increase
  llvm.return
}

// CHECK-LABEL: llvm.func @one_thread(
// CHECK-SAME: %[[MASK:.*]]: i32
llvm.func @one_thread(%mask: i32, %p: !llvm.ptr<1>) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[BOTH:.*]] = llvm.call_intrinsic "llvm.nvvm.elect.sync"(%[[MASK]]) : (i32) -> !llvm.struct<(i32, i1)>
  // CHECK: llvm.extractvalue %[[BOTH]][1]
  %leads = tile.elect mask %mask
  cf.cond_br %leads, ^leader, ^end
^leader:
  tile.store %mask, %p : i32, !llvm.ptr<1>
  cf.br ^end
^end:
  %row = tile.shared[0]
  %4 = tile.load %row : !llvm.ptr<3> -> vector<4xi32>
  %1 = tile.load %row : !llvm.ptr<3> -> vector<1xi32>
  // CHECK: "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [$0], {$1, $2, $3, $4};", "r,r,r,r,r,~{memory}"
  tile.store_matrix %4, %row transposed : vector<4xi32>
  // CHECK: "stmatrix.sync.aligned.m8n8.x1.shared.b16 [$0], {$1};", "r,r,~{memory}"
  tile.store_matrix %1, %row : vector<1xi32>
  llvm.return
}
