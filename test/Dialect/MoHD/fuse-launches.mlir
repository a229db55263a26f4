// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-fuse-launches | FileCheck %s
// RUN: mohd-opt %s --mohd-fuse-launches | mohd-opt --mohd-fuse-launches | FileCheck %s
// RUN: mohd-opt %s --mohd-fuse-launches=except=chain | FileCheck %s --check-prefix=EXCEPT

// What happens for up to 16 tokens is one launch, whose grid the runtime cuts; the counter behind the workspace is cleared first. Dispatches for few tokens
// are no longer there; those for any number of them are for many now.
// CHECK-LABEL: mohd.program @chain
// CHECK-SAME: workspace "T*256+128" {
// CHECK-NEXT: mohd.dispatch @clear_counter grid "min(1,16/max(1,T))" params [] bindings [#mohd.binding<workspace 0, "T*256", "128">]
// CHECK-NEXT: mohd.dispatch @fused_0 grid "min(1,16/max(1,T))*1024"
// CHECK-SAME: params ["T", "ceildiv(T,4)", "min(1,16/max(1,T))*8", "min(1,T)"]
// CHECK-SAME: bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<workspace 0, "0", "T*256">, #mohd.binding<workspace 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">, #mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 1, "0", "T*256">, #mohd.binding<workspace 0, "T*256", "128">]
// CHECK-NEXT: mohd.dispatch @small grid "(1-min(1,16/max(1,T)))*(ceildiv(T,4))"
// CHECK-NEXT: mohd.dispatch @many grid "(1-min(1,16/max(1,T)))*T"
// CHECK-NEXT: mohd.dispatch @large grid "(1-min(1,16/max(1,T)))*(min(1,T))"
// CHECK-NEXT: }
// EXCEPT-LABEL: mohd.program @chain
// EXCEPT-SAME: workspace "T*256" {
// EXCEPT-NEXT: mohd.dispatch @small grid "ceildiv(T,4)"
mohd.program @chain interface {dims = ["T"], inputs = [], outputs = []} workspace "T*256" {
  mohd.dispatch @small grid "ceildiv(T,4)" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<workspace 0, "0", "T*256">]
  mohd.dispatch @large grid "min(1,16/max(1,T))*8" params ["T"] bindings [#mohd.binding<workspace 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
  mohd.dispatch @many grid "(1-min(1,16/max(1,T)))*T" params ["T"] bindings [#mohd.binding<workspace 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
  mohd.dispatch @large grid "min(1,T)" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 1, "0", "T*256">]
}

// A kernel with a barrier of its own is no part of a launch, and what stands alone before or after it stays as it was.
// CHECK-LABEL: mohd.program @apart
// CHECK-SAME: workspace "0" {
// CHECK-NEXT: mohd.dispatch @small grid "T"
// CHECK-NEXT: mohd.dispatch @named grid "T"
// CHECK-NEXT: mohd.dispatch @small grid "T"
// CHECK-NEXT: }
mohd.program @apart interface {dims = ["T"], inputs = [], outputs = []} workspace "0" {
  mohd.dispatch @small grid "T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
  mohd.dispatch @named grid "T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 1, "0", "T*256">]
  mohd.dispatch @small grid "T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 2, "0", "T*256">]
}

// Layers have one kernel. The workspace makes the first one wait between its stages and the second one not: so the kernel waits.
// CHECK-LABEL: mohd.program @layers
// CHECK: mohd.dispatch @clear_counter
// CHECK-NEXT: mohd.dispatch @fused_1
// CHECK-NEXT: mohd.dispatch @small grid "(1-min
// CHECK-NEXT: mohd.dispatch @large grid "(1-min
// CHECK-NEXT: mohd.dispatch @fused_1
// CHECK-NEXT: mohd.dispatch @small grid "(1-min
// CHECK-NEXT: mohd.dispatch @large grid "(1-min
// CHECK-NEXT: }
mohd.program @layers interface {dims = ["T"], inputs = [], outputs = []} workspace "T*1024" {
  mohd.dispatch @small grid "T" params ["T"] bindings [#mohd.binding<workspace 0, "0", "T*256">, #mohd.binding<workspace 0, "T*256", "T*256">]
  mohd.dispatch @large grid "T" params ["T"] bindings [#mohd.binding<workspace 0, "T*256", "T*256">, #mohd.binding<workspace 0, "T*512", "T*256">]
  mohd.dispatch @small grid "T" params ["T"] bindings [#mohd.binding<workspace 0, "T*512", "T*256">, #mohd.binding<workspace 0, "0", "T*256">]
  mohd.dispatch @large grid "T" params ["T"] bindings [#mohd.binding<workspace 0, "T*512", "T*256">, #mohd.binding<workspace 0, "T*768", "T*256">]
}

// Two of three dispatches exclude each other: they do not wait, though both write the same place, and the third one does.
// CHECK-LABEL: mohd.program @either
// CHECK: mohd.dispatch @fused_2
mohd.program @either interface {dims = ["T"], inputs = [], outputs = []} workspace "0" {
  mohd.dispatch @small grid "min(1,4/max(1,T))*T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
  mohd.dispatch @large grid "(1-min(1,4/max(1,T)))*T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
  mohd.dispatch @small grid "T" params ["T"] bindings [#mohd.binding<output 0, "0", "T*256">, #mohd.binding<output 1, "0", "T*256">]
}

// The kernels that only stages used are gone.
// CHECK-NOT: llvm.func @unused
// CHECK: llvm.func @small(
llvm.func @small(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %t: i64) attributes {mohd.instructions = ["ldmatrix"], mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 96 : i64, tile.threads = 64 : i32} {
  %thread = tile.special_register tid_x
  %block = tile.special_register ctaid_x
  %place = tile.shared[32]
  %element = llvm.getelementptr %x[%block] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  %value = tile.load %element : !llvm.ptr<1> -> f32
  tile.store %value, %place : f32, !llvm.ptr<3>
  tile.barrier_sync
  %to = llvm.getelementptr %y[%thread] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  tile.store %value, %to : f32, !llvm.ptr<1>
  llvm.return
}
llvm.func @large(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %t: i64) attributes {mohd.instructions = ["cp.async.cg", "ldmatrix"], mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 0 : i64, tile.threads = 256 : i32} {
  %blocks = tile.special_register nctaid_x
  %size = tile.special_register ntid_x
  %value = tile.load %x : !llvm.ptr<1> -> f32
  %to = llvm.getelementptr %y[%blocks] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  %too = llvm.getelementptr %to[%size] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  tile.store %value, %too : f32, !llvm.ptr<1>
  llvm.return
}
llvm.func @many(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %t: i64) attributes {mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 0 : i64, tile.threads = 256 : i32} {
  llvm.return
}
llvm.func @named(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %t: i64) attributes {mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 0 : i64, tile.threads = 64 : i32} {
  %three = llvm.mlir.constant(3 : i32) : i32
  tile.barrier_sync barrier %three threads 64
  llvm.return
}

// What the kernels of stages demand the launch's does. Four parts of a block run a stage of 64 threads, each with 128 bytes of shared memory and a barrier of its own; neighbouring tasks go to different blocks.
// CHECK: llvm.func @fused_0(%[[X:.*]]: !llvm.ptr<1>, %[[M1:.*]]: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %{{.*}}: !llvm.ptr<1>, %[[Y2:.*]]: !llvm.ptr<1>, %[[COUNTER:.*]]: !llvm.ptr<1>, %{{.*}}: i64, %[[GRID:.*]]: i64, %[[GRID2:.*]]: i64, %[[GRID3:.*]]: i64)
// CHECK-SAME: mohd.instructions = ["cp.async.cg", "ldmatrix"], mohd.kernel, tile.cooperative, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 512 : i64, tile.threads = 256 : i32
// CHECK-NOT: tile.grid_sync
// CHECK: %[[TASKS:.*]] = arith.trunci %[[GRID]]
// CHECK: %[[PART:.*]] = arith.divui %{{.*}}, %c64{{.*}}
// CHECK: %[[THREAD:.*]] = arith.remui %{{.*}}, %c64{{.*}}
// CHECK: %[[SCALED:.*]] = arith.muli %[[PART]], %{{.*}}
// CHECK: %[[FIRST:.*]] = arith.addi %[[SCALED]], %{{.*}}
// CHECK: %[[STEP:.*]] = arith.muli %{{.*}}, %c4{{.*}}
// CHECK: scf.for %[[TASK:.*]] = %[[FIRST]] to %[[TASKS]] step %[[STEP]]
// CHECK: %[[BASE:.*]] = tile.shared[32]
// CHECK: %[[OFFSET:.*]] = arith.muli %[[PART]], %c128{{.*}}
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[BASE]][%[[OFFSET]]]
// CHECK: llvm.getelementptr %[[X]][%[[TASK]]]
// CHECK: tile.store %{{.*}}, %[[PLACE]]
// CHECK: %[[OWN:.*]] = arith.addi %[[PART]], %c1{{.*}}
// CHECK: tile.barrier_sync barrier %[[OWN]] threads 64
// CHECK: llvm.getelementptr %[[M1]][%[[THREAD]]]
// CHECK: tile.barrier_sync barrier %{{.*}} threads 64
// CHECK-NEXT: }
// What the second stage reads is what the first one writes. The third one has nothing to do with them.
// CHECK-NEXT: tile.grid_sync %[[COUNTER]]
// CHECK: %[[BLOCKS:.*]] = arith.trunci %[[GRID2]]
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[BLOCKS]]
// CHECK-NEXT: %[[SIZE:.*]] = arith.constant 256 : i32
// CHECK-NEXT: tile.load
// CHECK-NEXT: llvm.getelementptr %{{.*}}[%[[BLOCKS]]]
// CHECK-NEXT: llvm.getelementptr %{{.*}}[%[[SIZE]]]
// CHECK-NEXT: tile.store
// CHECK-NEXT: }
// CHECK-NEXT: tile.barrier_sync
// CHECK: %[[BLOCKS3:.*]] = arith.trunci %[[GRID3]]
// CHECK: llvm.getelementptr %[[Y2]][%[[BLOCKS3]]]
// CHECK: llvm.return

// CHECK: llvm.func @clear_counter(
// CHECK: tile.store %c0{{.*}}
// CHECK: llvm.func @fused_1(
// CHECK-COUNT-1: tile.grid_sync
// CHECK: llvm.return
// CHECK: llvm.func @fused_2(
// CHECK: scf.for
// CHECK-NOT: tile.grid_sync
// CHECK: scf.for
// CHECK: tile.grid_sync
// CHECK: scf.for
