// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// A descriptor: 14 bits of address, then leading 16 / 16 at 16, stride 1024 / 16 at 32, swizzle 1 at 62.
// CHECK-LABEL: llvm.func @descriptor(
llvm.func @descriptor(%out: !llvm.ptr<1>) attributes {tile.kernel, tile.shared_bytes = 65536 : i64} {
  // CHECK: %[[ADDRESS:.*]] = llvm.ptrtoint %{{.*}} : !llvm.ptr<3> to i64
  // CHECK: %[[MASK:.*]] = llvm.mlir.constant(262143 : i64)
  // CHECK: %[[BITS:.*]] = llvm.mlir.constant(4611686293305360384 : i64)
  // CHECK: %[[LOW:.*]] = llvm.and %[[ADDRESS]], %[[MASK]]
  // CHECK: %[[START:.*]] = llvm.lshr %[[LOW]], %{{.*}}
  // CHECK: llvm.or %[[START]], %[[BITS]]
  %shared = tile.shared[1024]
  %0 = tile.matrix_descriptor %shared swizzle_128 leading 16 stride 1024
  tile.store %0, %out : i64, !llvm.ptr<1>
  llvm.return
}

// Sums are structures of registers that go in and come out where they are; the flag becomes a predicate.
// CHECK-LABEL: llvm.func @products(
// CHECK-SAME: %[[A:.*]]: i64, %[[B:.*]]: i64
llvm.func @products(%a: i64, %b: i64, %p: !llvm.ptr<1>) attributes {tile.kernel, tile.threads = 128 : i32} {
  // CHECK: %[[MORE:.*]] = llvm.icmp
  %more = llvm.icmp "ugt" %a, %b : i64
  %words = tile.load %p : !llvm.ptr<1> -> vector<4xi32>
  // CHECK: %[[F32:.*]] = llvm.mlir.constant(0.000000e+00 : f32)
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "", "=f,=f,=f,=f,0,1,2,3" %[[F32]], %[[F32]], %[[F32]], %[[F32]] :
  // CHECK: %[[ZERO:.*]] = llvm.insertvalue %{{.*}}[3]
  %0 = tile.wgmma_init : !tile.sums<64x8>
  // CHECK: llvm.call_intrinsic "llvm.nvvm.wgmma.fence.sync.aligned"()
  tile.wgmma_fence
  // CHECK: %[[FLAG:.*]] = llvm.zext %[[MORE]] : i1 to i32
  // CHECK: %[[S0:.*]] = llvm.extractvalue %[[ZERO]][0]
  // CHECK: %[[S3:.*]] = llvm.extractvalue %[[ZERO]][3]
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "{ .reg .pred p; setp.ne.b32 p, $6, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $4, $5, p, 1, 1, 0, 0; }"
  // CHECK-SAME: "=f,=f,=f,=f,l,l,r,0,1,2,3,~{memory}" %[[A]], %[[B]], %[[FLAG]], %[[S0]], {{.*}}, %[[S3]] :
  %1 = tile.wgmma bf16 %a, %b, %0 accumulates %more : i64, !tile.sums<64x8>
  // CHECK: m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $4, $5, p, 1, 1, 1, 0; }"
  %2 = tile.wgmma bf16 %a transposed, %b, %1 accumulates %more : i64, !tile.sums<64x8>
  // CHECK: "{ .reg .pred p; setp.ne.b32 p, $9, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {$0, $1, $2, $3}, {$4, $5, $6, $7}, $8, p, 1, 1, 1; }"
  // CHECK-SAME: "=f,=f,=f,=f,r,r,r,r,l,r,0,1,2,3,~{memory}"
  %3 = tile.wgmma f16 %words, %b transposed, %2 accumulates %more : vector<4xi32>, !tile.sums<64x8>
  // CHECK: llvm.call_intrinsic "llvm.nvvm.wgmma.commit_group.sync.aligned"()
  tile.wgmma_commit
  // CHECK: %[[DONE:.*]] = llvm.inline_asm has_side_effects asm_dialect = att "wgmma.wait_group.sync.aligned 0;", "=f,=f,=f,=f,0,1,2,3,~{memory}"
  // CHECK: %[[D3:.*]] = llvm.extractvalue %[[DONE]][3]
  // CHECK: %[[SUMS:.*]] = llvm.insertvalue %[[D3]], %{{.*}}[3]
  %4 = tile.wgmma_wait 0, %3 : !tile.sums<64x8>
  // CHECK: llvm.extractvalue %[[SUMS]][2]
  %5 = tile.wgmma_read %4[2] : !tile.sums<64x8>
  tile.store %5, %p : f32, !llvm.ptr<1>
  llvm.return
}

// A wait takes several sums, or none.
// CHECK-LABEL: llvm.func @two_sums(
llvm.func @two_sums(%a: i64, %b: i64, %p: !llvm.ptr<1>) attributes {tile.kernel, tile.threads = 128 : i32} {
  %more = llvm.icmp "ugt" %a, %b : i64
  %0 = tile.wgmma_init : !tile.sums<64x8>
  %1 = tile.wgmma_init : !tile.sums<64x16>
  tile.wgmma_fence
  %2 = tile.wgmma f16 %a, %b, %0 accumulates %more : i64, !tile.sums<64x8>
  tile.wgmma_commit
  %3 = tile.wgmma f16 %a, %b, %1 accumulates %more : i64, !tile.sums<64x16>
  tile.wgmma_commit
  // CHECK: "wgmma.wait_group.sync.aligned 1;", "~{memory}" : () -> ()
  tile.wgmma_wait 1
  // CHECK: %[[DONE:.*]] = llvm.inline_asm has_side_effects asm_dialect = att "wgmma.wait_group.sync.aligned 0;", "=f,=f,=f,=f,=f,=f,=f,=f,=f,=f,=f,=f,0,1,2,3,4,5,6,7,8,9,10,11,~{memory}"
  // CHECK: llvm.extractvalue %[[DONE]][11]
  %4:2 = tile.wgmma_wait 0, %2, %3 : !tile.sums<64x8>, !tile.sums<64x16>
  %5 = tile.wgmma_read %4#0[3] : !tile.sums<64x8>
  %6 = tile.wgmma_read %4#1[7] : !tile.sums<64x16>
  tile.store %5, %p : f32, !llvm.ptr<1>
  tile.store %6, %p : f32, !llvm.ptr<1>
  llvm.return
}

// The argument of a block becomes registers too.
// CHECK-LABEL: llvm.func @loop(
llvm.func @loop(%a: i64, %b: i64, %n: i32, %p: !llvm.ptr<1>) attributes {tile.kernel, tile.threads = 128 : i32} {
  %true = llvm.mlir.constant(true) : i1
  %zero = llvm.mlir.constant(0 : i32) : i32
  %one = llvm.mlir.constant(1 : i32) : i32
  %0 = tile.wgmma_init : !tile.sums<64x128>
  // CHECK: cf.br ^bb1(%{{.*}}, %{{.*}} : i32, !llvm.struct<(f32, {{.*}}, f32)>)
  cf.br ^loop(%zero, %0 : i32, !tile.sums<64x128>)
// CHECK: ^bb1(%{{.*}}: i32, %[[SUMS:.*]]: !llvm.struct<(f32, {{.*}}, f32)>):
^loop(%i: i32, %sums: !tile.sums<64x128>):
  tile.wgmma_fence
  // CHECK: llvm.extractvalue %[[SUMS]][63]
  %1 = tile.wgmma bf16 %a, %b, %sums accumulates %true : i64, !tile.sums<64x128>
  %2 = tile.wgmma bf16 %a, %b, %1 accumulates %true : i64, !tile.sums<64x128>
  tile.wgmma_commit
  %3 = tile.wgmma_wait 0, %2 : !tile.sums<64x128>
  %next = llvm.add %i, %one : i32
  %more = llvm.icmp "slt" %next, %n : i32
  cf.cond_br %more, ^loop(%next, %3 : i32, !tile.sums<64x128>), ^end
^end:
  %x = tile.wgmma_read %3[63] : !tile.sums<64x128>
  tile.store %x, %p : f32, !llvm.ptr<1>
  llvm.return
}
