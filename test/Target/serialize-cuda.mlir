// What the kernels of a module become, in PTX, without an assembler.
// REQUIRES: nvptx
// RUN: rm -rf %t
// RUN: env MOHD_PTXAS= mohd-opt %s --mohd-serialize-cuda="targets=ptx dump-dir=%t" | FileCheck %s --check-prefix=FIGURES
// RUN: FileCheck %s --check-prefix=TEXT < %t/kernels-ptx.ptx
// RUN: FileCheck %s --check-prefix=IR < %t/kernels-ptx.ll

// Without an assembler there is PTX, and no figures but what the kernel says. The rest of the module stays.
// FIGURES: mohd.cuda = {images = [{bytes = {{[0-9]+}} : i64, chip = "ptx", format = "ptx", kernels = [{dynamic_shared = 2048 : i64, name = "mma", threads = 32 : i64}, {dynamic_shared = 0 : i64, name = "tiles", threads = 256 : i64}]}]}
// FIGURES: llvm.func @mma

// Machine code needs one.
// RUN: not env MOHD_PTXAS= mohd-opt %s --mohd-serialize-cuda=targets=sm_90a 2>&1 | FileCheck %s --check-prefix=ABSENT --implicit-check-not=llvm.func
// ABSENT: error: sm_90a: cannot find ptxas, which makes machine code of PTX: run scripts/setup --cuda, or set MOHD_PTXAS to its path or CUDA_HOME
// RUN: not env MOHD_PTXAS=%t/missing mohd-opt %s --mohd-serialize-cuda=targets=ptx 2>&1 | FileCheck %s --check-prefix=WRONG
// WRONG: error: ptx: expects MOHD_PTXAS to be the path of ptxas, got '{{.*}}missing'
// RUN: not mohd-opt %s --mohd-serialize-cuda=targets=sm_90 2>&1 | FileCheck %s --check-prefix=CHIP
// CHIP: error: expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got 'sm_90'; did you mean 'sm_90a'?
// RUN: not mohd-opt %s --mohd-serialize-cuda 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: expected CUDA target 'sm_80', 'sm_90a' or 'ptx', got ''

// The text is for drivers that know sm_80 and no more. Functions that are no kernels are inlined and dropped.
// TEXT: .version 7.0
// TEXT-NEXT: .target sm_80
// IR-NOT: @double

llvm.mlir.global external @smem() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>

llvm.func @double(%x: f32) -> f32 {
  %y = llvm.fadd %x, %x : f32
  llvm.return %y : f32
}

// Shared memory that a launch asks for has an address and no size.
// TEXT: .extern .shared .align 1024 .b8 smem[];
// TEXT: .visible .entry mma(
// TEXT: .reqntid 32, 1, 1
// TEXT: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// TEXT: add{{.*}}.f32
llvm.func @mma(%a: !llvm.ptr<1>, %d: !llvm.ptr<1>) attributes {mohd.kernel, nvvm.reqntid = array<i32: 32, 1, 1>,
    tile.shared_bytes = 2048 : i64, mohd.instructions = ["mma.sync"]} {
  %smem = llvm.mlir.addressof @smem : !llvm.ptr<3>
  %a0 = llvm.load %a : !llvm.ptr<1> -> i32
  llvm.store %a0, %smem : i32, !llvm.ptr<3>
  %z = llvm.mlir.constant(0.0 : f32) : f32
  %r = llvm.inline_asm has_side_effects asm_dialect = att "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0, $1, $2, $3}, {$4, $4, $4, $4}, {$4, $4}, {$5, $5, $5, $5};", "=f,=f,=f,=f,r,f" %a0, %z : (i32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
  %0 = llvm.extractvalue %r[0] : !llvm.struct<(f32, f32, f32, f32)>
  %1 = llvm.call @double(%0) : (f32) -> f32
  llvm.store %1, %d : f32, !llvm.ptr<1>
  llvm.return
}

// Either mark makes a kernel, and either attribute tells the number of threads.
// TEXT: .visible .entry tiles(
// TEXT: .maxntid 16, 16
llvm.func @tiles(%d: !llvm.ptr<1>) attributes {nvvm.kernel, nvvm.maxntid = array<i32: 16, 16>} {
  %z = llvm.mlir.constant(0.0 : f32) : f32
  llvm.store %z, %d : f32, !llvm.ptr<1>
  llvm.return
}
