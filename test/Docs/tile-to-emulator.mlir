// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// A thread stores its index: the function gets it from the table, announces the store, and stores.
// CHECK: llvm.mlir.global external @mohd_emulator()
// CHECK-LABEL: llvm.func @kernel(
// CHECK-SAME: %[[ARGUMENTS:.*]]: !llvm.ptr) {
llvm.func @kernel(%x: !llvm.ptr<1>) attributes {tile.kernel, tile.threads = 32 : i32} {
  // CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[ARGUMENTS]][0]
  // CHECK: %[[VALUE:.*]] = llvm.load %[[PLACE]] : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[X:.*]] = llvm.load %[[VALUE]] : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[TABLE:.*]] = llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[ENTRY:.*]] = llvm.getelementptr %[[TABLE]][0]
  // CHECK: %[[REGISTER:.*]] = llvm.load %[[ENTRY]]
  // CHECK: %[[THREAD:.*]] = llvm.call %[[REGISTER]](%{{.*}}) : !llvm.ptr, (i32) -> i32
  %thread = tile.special_register tid_x
  // CHECK: %[[TO:.*]] = llvm.getelementptr %[[X]][%[[THREAD]]] : (!llvm.ptr, i32) -> !llvm.ptr, i32
  %to = llvm.getelementptr %x[%thread] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
  // CHECK: %[[CHECK_ENTRY:.*]] = llvm.getelementptr %[[TABLE]][2]
  // CHECK: %[[CHECK:.*]] = llvm.load %[[CHECK_ENTRY]]
  // CHECK: llvm.call %[[CHECK]](%[[TO]], %{{.*}}, %{{.*}}, %{{.*}})
  // CHECK: llvm.store %[[THREAD]], %[[TO]]
  tile.store %thread, %to : i32, !llvm.ptr<1>
  llvm.return
}
