// What ptxas makes of kernels: machine code, the same each time, and figures.
// REQUIRES: nvptx, ptxas
// RUN: rm -rf %t
// RUN: mohd-opt %s --mohd-serialize-cuda="targets=sm_90a dump-dir=%t/a" | FileCheck %s --check-prefix=FIGURES
// RUN: mohd-opt %s --mohd-serialize-cuda="targets=sm_90a dump-dir=%t/b" && cmp %t/a/kernels-sm_90a.cubin %t/b/kernels-sm_90a.cubin
// RUN: FileCheck %s < %t/a/kernels-sm_90a.ptx
// RUN: llvm-readelf -S %t/a/kernels-sm_90a.cubin | FileCheck %s --check-prefix=ELF
// ELF: .text.product

// FIGURES: chip = "sm_90a", format = "cubin"
// FIGURES-SAME: barriers = 0 : i64, blocks_per_sm = 4 : i64, dynamic_shared = 49152 : i64, name = "product", registers = {{[0-9]+}} : i64, static_shared = 0 : i64, threads = 128 : i64, warps_per_sm = 16 : i64
// FIGURES-SAME: barriers = 1 : i64, blocks_per_sm = {{[1-9][0-9]*}} : i64, dynamic_shared = 0 : i64, name = "sum", registers = {{[0-9]+}} : i64, static_shared = 512 : i64, threads = 64 : i64
// FIGURES-SAME: ptxas = "{{[0-9]+[.][0-9.]+}}"

llvm.mlir.global external @smem() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
llvm.mlir.global internal @partial() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<512 x i8>

// TMA brings a tile, a warp group multiplies it.
// CHECK: .version 8.6
// CHECK: .target sm_90a
// CHECK: .entry product(
// CHECK: .param .align 64 .b8 product_param_0[128]
// CHECK: cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes
// CHECK: wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
llvm.func @product(%map: !llvm.ptr {llvm.byval = !llvm.array<128 x i8>, llvm.align = 64 : i64, nvvm.grid_constant}, %desc: i64, %d: !llvm.ptr<1>)
    attributes {nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>, tile.shared_bytes = 49152 : i64,
                mohd.instructions = ["wgmma.mma_async", "cp.async.bulk.tensor.2d"]} {
  %smem = llvm.mlir.addressof @smem : !llvm.ptr<3>
  %c0 = llvm.mlir.constant(0 : i32) : i32
  %bar = llvm.getelementptr %smem[32768] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
  llvm.inline_asm has_side_effects asm_dialect = att "mbarrier.init.shared::cta.b64 [$0], 1;", "r" %bar : (!llvm.ptr<3>) -> ()
  llvm.inline_asm has_side_effects asm_dialect = att "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3}], [$4];", "r,l,r,r,r" %smem, %map, %c0, %c0, %bar : (!llvm.ptr<3>, !llvm.ptr, i32, i32, !llvm.ptr<3>) -> ()
  llvm.inline_asm has_side_effects asm_dialect = att "{\0A.reg .pred p;\0Await: mbarrier.try_wait.parity.shared::cta.b64 p, [$0], 0;\0A@!p bra wait;\0A}", "r" %bar : (!llvm.ptr<3>) -> ()
  %z = llvm.mlir.constant(0.0 : f32) : f32
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.fence.sync.aligned;", "" : () -> ()
  %r = llvm.inline_asm has_side_effects asm_dialect = att "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $4, $4, 1, 1, 1, 0, 0;", "=f,=f,=f,=f,l,0,1,2,3" %desc, %z, %z, %z, %z : (i64, f32, f32, f32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.commit_group.sync.aligned;", "" : () -> ()
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.wait_group.sync.aligned 0;", "" : () -> ()
  %0 = llvm.extractvalue %r[0] : !llvm.struct<(f32, f32, f32, f32)>
  llvm.store %0, %d : f32, !llvm.ptr<1>
  llvm.return
}

// CHECK: .entry sum(
// CHECK: bar.sync
llvm.func @sum(%d: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 64, 1, 1>} {
  %partial = llvm.mlir.addressof @partial : !llvm.ptr<3>
  %thread = nvvm.read.ptx.sreg.tid.x : i32
  %mine = llvm.getelementptr %partial[%thread] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
  %v = llvm.load %d : !llvm.ptr<1> -> f32
  llvm.store %v, %mine : f32, !llvm.ptr<3>
  llvm.inline_asm has_side_effects asm_dialect = att "bar.sync 0;", "~{memory}" : () -> ()
  %other = llvm.load %partial : !llvm.ptr<3> -> f32
  llvm.store %other, %d : f32, !llvm.ptr<1>
  llvm.return
}
