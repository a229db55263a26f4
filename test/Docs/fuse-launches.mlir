// RUN: mohd-opt %s --mohd-fuse-launches | FileCheck %s

// Two dispatches become one for up to 16 tokens, and stay two for more. The second stage waits for the grid: it reads what the first one writes.

// CHECK:       mohd.program @twice
// CHECK-SAME:    workspace "T*4+128"
// CHECK-NEXT:    mohd.dispatch @clear_counter grid "min(1,16/max(1,T))" params [] bindings [#mohd.binding<workspace 0, "T*4", "128">]
// CHECK-NEXT:    mohd.dispatch @fused_0 grid "min(1,16/max(1,T))*1024" params ["T", "ceildiv(T,32)"] bindings
// CHECK-SAME:      [#mohd.binding<input 0, "0", "T*4">, #mohd.binding<workspace 0, "0", "T*4">,
// CHECK-SAME:       #mohd.binding<workspace 0, "0", "T*4">, #mohd.binding<output 0, "0", "T*4">, #mohd.binding<workspace 0, "T*4", "128">]
// CHECK-NEXT:    mohd.dispatch @copy grid "(1-min(1,16/max(1,T)))*(ceildiv(T,32))"
// CHECK-NEXT:    mohd.dispatch @copy grid "(1-min(1,16/max(1,T)))*(ceildiv(T,32))"
// CHECK:       llvm.func @fused_0
// CHECK:         scf.for
// CHECK:           tile.store
// CHECK:         tile.grid_sync
// CHECK:         scf.for
// CHECK:           tile.store
mohd.program @twice interface {dims = ["T"], inputs = [], outputs = []} workspace "T*4" {
  mohd.dispatch @copy grid "ceildiv(T,32)" params ["T"] bindings [#mohd.binding<input 0, "0", "T*4">, #mohd.binding<workspace 0, "0", "T*4">]
  mohd.dispatch @copy grid "ceildiv(T,32)" params ["T"] bindings [#mohd.binding<workspace 0, "0", "T*4">, #mohd.binding<output 0, "0", "T*4">]
}

llvm.func @copy(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>, %t: i64) attributes {mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = 0 : i64, tile.threads = 32 : i32} {
  %thread = tile.special_register tid_x
  %from = llvm.getelementptr %x[%thread] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  %value = tile.load %from : !llvm.ptr<1> -> f32
  %to = llvm.getelementptr %y[%thread] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
  tile.store %value, %to : f32, !llvm.ptr<1>
  llvm.return
}
