// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-ptx | FileCheck %s

// The global is where dynamic shared memory starts.
// CHECK: llvm.mlir.global external @mohd_shared() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>

// Attributes that NVPTX reads take the place of ours; the size of shared memory stays.
// CHECK-LABEL: llvm.func @attributes(
// CHECK-SAME: attributes {nvvm.kernel, nvvm.minctasm = 2 : i32, nvvm.reqntid = array<i32: 128, 1, 1>, tile.shared_bytes = 4096 : i64}
llvm.func @attributes() attributes {tile.kernel, tile.threads = 128 : i32, tile.min_blocks = 2 : i32, tile.shared_bytes = 4096 : i64} {
  llvm.return
}

// CHECK-LABEL: llvm.func @special_registers(
llvm.func @special_registers(%out: !llvm.ptr<1>) attributes {tile.kernel} {
  // CHECK: %[[TID:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"() : () -> i32
  %tid = tile.special_register tid_x
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.z"() : () -> i32
  %blocks = tile.special_register nctaid_z
  // CHECK: llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
  %lane = tile.special_register lane
  %0 = llvm.add %tid, %blocks : i32
  %1 = llvm.add %0, %lane : i32
  tile.store %1, %out : i32, !llvm.ptr<1>
  llvm.return
}

// An access is aligned to its size, past the cache it is words.
// CHECK-LABEL: llvm.func @memory(
// CHECK-SAME: %[[GLOBAL:.*]]: !llvm.ptr<1>
llvm.func @memory(%global: !llvm.ptr<1>) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[START:.*]] = llvm.mlir.addressof @mohd_shared : !llvm.ptr<3>
  // CHECK: %[[SHARED:.*]] = llvm.getelementptr %[[START]][1024] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
  %shared = tile.shared[1024]
  // CHECK: llvm.load %[[GLOBAL]] {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xbf16>
  %0 = tile.load %global : !llvm.ptr<1> -> vector<8xbf16>
  // CHECK: llvm.store %{{.*}}, %[[SHARED]] {alignment = 16 : i64} : vector<8xbf16>, !llvm.ptr<3>
  tile.store %0, %shared : vector<8xbf16>, !llvm.ptr<3>
  // CHECK: llvm.load %[[SHARED]] {alignment = 1 : i64} : !llvm.ptr<3> -> i8
  %1 = tile.load %shared : !llvm.ptr<3> -> i8
  tile.store %1, %global : i8, !llvm.ptr<1>
  // CHECK: llvm.inline_asm has_side_effects asm_dialect = att "ld.global.L1::no_allocate.b32 $0, [$1];", "=r,l,~{memory}" %[[GLOBAL]] : (!llvm.ptr<1>) -> i32
  // CHECK: llvm.bitcast %{{.*}} : i32 to f32
  %2 = tile.load %global streaming : !llvm.ptr<1> -> f32
  tile.store %2, %shared : f32, !llvm.ptr<3>
  // CHECK: "ld.global.L1::no_allocate.v2.b32 {$0, $1}, [$2];", "=r,=r,l,~{memory}" %[[GLOBAL]]
  %3 = tile.load %global streaming : !llvm.ptr<1> -> i64
  tile.store %3, %shared : i64, !llvm.ptr<3>
  // CHECK: "ld.global.L1::no_allocate.v4.b32 {$0, $1, $2, $3}, [$4];", "=r,=r,=r,=r,l,~{memory}" %[[GLOBAL]]
  // CHECK: llvm.bitcast %{{.*}} : vector<4xi32> to vector<8xf16>
  %4 = tile.load %global streaming : !llvm.ptr<1> -> vector<8xf16>
  tile.store %4, %shared : vector<8xf16>, !llvm.ptr<3>
  llvm.return
}

// CHECK-LABEL: llvm.func @atomics(
// CHECK-SAME: %[[GLOBAL:.*]]: !llvm.ptr<1>, %[[X:.*]]: i32
llvm.func @atomics(%global: !llvm.ptr<1>, %x: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: llvm.atomicrmw add %[[GLOBAL]], %[[X]] syncscope("device") monotonic : !llvm.ptr<1>, i32
  %0 = tile.atomic add %x, %global : !llvm.ptr<1>
  // CHECK: llvm.atomicrmw umin %{{.*}}, %[[X]] syncscope("block") monotonic : !llvm.ptr<3>, i32
  %shared = tile.shared[0]
  %1 = tile.atomic min %x, %shared : !llvm.ptr<3>
  // CHECK: llvm.atomicrmw umax
  %2 = tile.atomic max %x, %global : !llvm.ptr<1>
  // CHECK: llvm.atomicrmw _and
  %3 = tile.atomic and %x, %global : !llvm.ptr<1>
  // CHECK: llvm.atomicrmw _or
  %4 = tile.atomic or %x, %global : !llvm.ptr<1>
  // CHECK: llvm.atomicrmw xchg
  %5 = tile.atomic exchange %x, %global : !llvm.ptr<1>
  llvm.return
}

// CHECK-LABEL: llvm.func @synchronisation(
// CHECK-SAME: %[[ID:.*]]: i32
llvm.func @synchronisation(%id: i32) attributes {tile.kernel} {
  // CHECK: %[[ZERO:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"(%[[ZERO]])
  tile.barrier_sync
  // CHECK: %[[THREADS:.*]] = llvm.mlir.constant(64 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.count"(%[[ID]], %[[THREADS]])
  tile.barrier_sync barrier %id threads 64
  // CHECK: llvm.call_intrinsic "llvm.nvvm.barrier.cta.arrive.aligned.count"(%[[ID]], %{{.*}})
  tile.barrier_arrive %id threads 64
  // CHECK: llvm.call_intrinsic "llvm.nvvm.membar.cta"()
  tile.fence block
  // CHECK: llvm.call_intrinsic "llvm.nvvm.membar.gl"()
  tile.fence device
  llvm.return
}

// One thread of a block counts it in, block 0 as what makes the highest bit flip, and waits for that; the other threads wait for this one.
// CHECK-LABEL: llvm.func @grid(
// CHECK-SAME: %[[COUNTER:.*]]: !llvm.ptr<1>) attributes {nvvm.kernel}
llvm.func @grid(%counter: !llvm.ptr<1>) attributes {tile.cooperative, tile.kernel} {
  // CHECK: llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"
  // CHECK: %[[THREAD:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"()
  // CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[THREAD]]
  // CHECK: scf.if %[[FIRST]] {
  // CHECK: %[[BLOCKS:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.x"()
  // CHECK: %[[BIT:.*]] = llvm.mlir.constant(-2147483647 : i32)
  // CHECK: %[[REST:.*]] = arith.subi %[[BIT]], %[[BLOCKS]]
  // CHECK: %[[BLOCK:.*]] = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.ctaid.x"()
  // CHECK: %[[IS_ZERO:.*]] = arith.cmpi eq, %[[BLOCK]]
  // CHECK: %[[ADDED:.*]] = arith.select %[[IS_ZERO]], %[[REST]]
  // CHECK: llvm.inline_asm has_side_effects {{.*}}fence.acq_rel.gpu; atom.relaxed.gpu.global.add.u32 before, [$0], $1; AGAIN: ld.acquire.gpu.global.u32 now, [$0]; xor.b32 now, now, before; setp.ge.s32 wait, now, 0; @wait bra AGAIN; fence.acq_rel.gpu; }"{{.*}} %[[COUNTER]], %[[ADDED]]
  // CHECK: }
  // CHECK: llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"
  tile.grid_sync %counter
  llvm.return
}

// The operand c of a shuffle is 31, or 0 upwards, and (32 - width) * 256.
// CHECK-LABEL: llvm.func @within_a_warp(
// CHECK-SAME: %[[X:.*]]: f32, %[[WORD:.*]]: i32, %[[MASK:.*]]: i32
llvm.func @within_a_warp(%x: f32, %word: i32, %mask: i32, %out: !llvm.ptr<1>) attributes {tile.kernel} {
  // CHECK: %[[BIT:.*]] = llvm.icmp
  %bit = llvm.icmp "eq" %word, %mask : i32
  // CHECK: %[[ALL:.*]] = llvm.mlir.constant(-1 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.bar.warp.sync"(%[[ALL]])
  tile.warp_sync
  // CHECK: llvm.call_intrinsic "llvm.nvvm.bar.warp.sync"(%[[MASK]])
  tile.warp_sync mask %mask
  // CHECK: %[[CLAMP:.*]] = llvm.mlir.constant(31 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.shfl.sync.bfly.f32"(%{{.*}}, %[[X]], %[[WORD]], %[[CLAMP]]) : (i32, f32, i32, i32) -> f32
  %0 = tile.shuffle bfly %x, %word width 32 : f32
  // CHECK: %[[CLAMP_OF_UP:.*]] = llvm.mlir.constant(6144 : i32)
  // CHECK: llvm.call_intrinsic "llvm.nvvm.shfl.sync.up.i32"(%[[MASK]], %[[WORD]], %[[WORD]], %[[CLAMP_OF_UP]]) : (i32, i32, i32, i32) -> i32
  %1 = tile.shuffle up %word, %word width 8 mask %mask : i32
  // CHECK: "llvm.nvvm.shfl.sync.down.i32"
  %2 = tile.shuffle down %1, %word width 32 : i32
  // CHECK: "llvm.nvvm.shfl.sync.idx.f32"
  %3 = tile.shuffle idx %0, %2 width 32 : f32
  // CHECK: llvm.call_intrinsic "llvm.nvvm.vote.ballot.sync"(%[[MASK]], %[[BIT]]) : (i32, i1) -> i32
  %4 = tile.ballot %bit mask %mask
  tile.store %3, %out : f32, !llvm.ptr<1>
  tile.store %4, %out : i32, !llvm.ptr<1>
  llvm.return
}

// The second operand of a conversion is its lower half.
// CHECK-LABEL: llvm.func @numbers(
// CHECK-SAME: %[[X:.*]]: f32
llvm.func @numbers(%x: f32, %out: !llvm.ptr<1>) attributes {tile.kernel} {
  // CHECK: %[[Y:.*]] = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz"(%[[X]]) : (f32) -> f32
  %y = tile.exp2 %x
  // CHECK: %[[BF16:.*]] = llvm.call_intrinsic "llvm.nvvm.ff2bf16x2.rn"(%[[Y]], %[[X]]) : (f32, f32) -> vector<2xbf16>
  // CHECK: %[[PAIR:.*]] = llvm.bitcast %[[BF16]] : vector<2xbf16> to i32
  %0 = tile.pack bf16 %x, %y
  // CHECK: llvm.call_intrinsic "llvm.nvvm.ff2f16x2.rn"(%[[Y]], %[[X]]) : (f32, f32) -> vector<2xf16>
  %1 = tile.pack f16 %x, %y
  // CHECK: %[[HALVES:.*]] = llvm.bitcast %[[PAIR]] : i32 to vector<2xbf16>
  // CHECK: %[[LOW:.*]] = llvm.extractelement %[[HALVES]]
  // CHECK: llvm.fpext %[[LOW]] : bf16 to f32
  %low, %high = tile.unpack bf16 %0
  %low16, %high16 = tile.unpack f16 %1
  %sum = llvm.fadd %low, %high16 : f32
  tile.store %sum, %out : f32, !llvm.ptr<1>
  // CHECK: llvm.intr.trap
  tile.trap
  llvm.return
}
