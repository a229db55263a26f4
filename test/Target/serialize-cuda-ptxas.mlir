// ptxas 13.0 itself: a kernel that spills, and a product whose sums are read before they are there.
// REQUIRES: nvptx, ptxas
// RUN: not mohd-opt %s --split-input-file --mohd-serialize-cuda="targets=sm_90a dump-dir=%t" 2>&1 | FileCheck %s

// CHECK: error: kernel 'spills' expects no spills, got {{[1-9][0-9]*}} bytes of stores and {{[1-9][0-9]*}} of loads with 24 registers
// CHECK-NEXT: reproduce with: {{.*}}ptxas -arch=sm_90a -O3 -v --warn-on-spills --warn-on-local-memory-usage -o /dev/null {{.*}}kernels-sm_90a.ptx
llvm.func @spills(%d: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>, nvvm.maxnreg = 24 : i32} {
  %v0 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v1 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v2 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v3 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v4 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v5 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v6 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v7 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v8 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v9 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v10 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v11 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v12 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v13 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v14 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v15 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v16 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v17 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v18 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v19 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v20 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v21 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v22 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v23 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v24 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v25 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v26 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v27 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v28 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  %v29 = llvm.load volatile %d : !llvm.ptr<1> -> f32
  llvm.store volatile %v0, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v1, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v2, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v3, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v4, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v5, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v6, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v7, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v8, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v9, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v10, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v11, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v12, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v13, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v14, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v15, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v16, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v17, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v18, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v19, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v20, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v21, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v22, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v23, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v24, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v25, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v26, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v27, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v28, %d : f32, !llvm.ptr<1>
  llvm.store volatile %v29, %d : f32, !llvm.ptr<1>
  llvm.return
}

// -----

// CHECK: error: expects no performance loss, got 'ptxas info    : (C7517)
llvm.func @early(%desc: i64, %d: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>} {
  %z = llvm.mlir.constant(0.0 : f32) : f32
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.fence.sync.aligned;", "" : () -> ()
  %r = llvm.inline_asm has_side_effects asm_dialect = att "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, $4, $4, 1, 1, 1, 0, 0;", "=f,=f,=f,=f,l,0,1,2,3" %desc, %z, %z, %z, %z : (i64, f32, f32, f32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.commit_group.sync.aligned;", "" : () -> ()
  %0 = llvm.extractvalue %r[0] : !llvm.struct<(f32, f32, f32, f32)>
  llvm.store %0, %d : f32, !llvm.ptr<1>
  llvm.inline_asm has_side_effects asm_dialect = att "wgmma.wait_group.sync.aligned 0;", "" : () -> ()
  llvm.return
}
