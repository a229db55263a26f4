// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// CHECK-LABEL: llvm.func @copies(
llvm.func @copies(%from: !llvm.ptr<1>, %rest: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[REST:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  %to = tile.shared[0]
  // CHECK: %[[BYTES:.*]] = llvm.mlir.constant(16 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][11] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[BYTES]], %[[BYTES]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i32, i32, !llvm.ptr) -> ()
  tile.copy_async %to, %from bytes 16
  // CHECK: %[[FEW:.*]] = llvm.mlir.constant(4 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][11] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[FEW]], %[[REST]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i32, i32, !llvm.ptr) -> ()
  tile.copy_async %to, %from bytes 4 source_bytes %rest
  // CHECK: llvm.getelementptr %[[TABLE]][12] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr) -> ()
  tile.copy_async_commit
  // CHECK: %[[PENDING:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][13] :
  // CHECK: llvm.call %{{.*}}(%[[PENDING]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.copy_async_wait 3
  llvm.return
}

// Fragments go through slots on the stack, made where the kernel starts.
// CHECK-LABEL: llvm.func @fragments(
llvm.func @fragments() attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[STORED:.*]] = llvm.alloca %{{.*}} x vector<2xi32> {alignment = 16 : i64}
  // CHECK: %[[LOADED:.*]] = llvm.alloca %{{.*}} x vector<2xi32> {alignment = 16 : i64}
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  %row = tile.shared[0]
  // CHECK: %[[COUNT:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[TRANSPOSED:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][14] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %[[COUNT]], %[[TRANSPOSED]], %[[LOADED]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, i32, !llvm.ptr, !llvm.ptr) -> ()
  // CHECK: %[[WORDS:.*]] = llvm.load %[[LOADED]] : !llvm.ptr -> vector<2xi32>
  %0 = tile.load_matrix %row transposed : vector<2xi32>
  // CHECK: %[[PLAIN:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.store %[[WORDS]], %[[STORED]]
  // CHECK: llvm.getelementptr %[[TABLE]][15] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[PLAIN]], %[[STORED]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, i32, !llvm.ptr, !llvm.ptr) -> ()
  tile.store_matrix %0, %row : vector<2xi32>
  llvm.return
}

// CHECK-LABEL: llvm.func @products_of_a_warp(
llvm.func @products_of_a_warp() attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[D:.*]] = llvm.alloca %{{.*}} x vector<4xi32>
  // CHECK: %[[C:.*]] = llvm.alloca %{{.*}} x vector<4xi32>
  // CHECK: %[[B:.*]] = llvm.alloca %{{.*}} x vector<2xi32>
  // CHECK: %[[A:.*]] = llvm.alloca %{{.*}} x vector<4xi32>
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  %row = tile.shared[0]
  %a = tile.load %row : !llvm.ptr<3> -> vector<4xi32>
  %b = tile.load %row : !llvm.ptr<3> -> vector<2xi32>
  // CHECK: %[[S8:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][16] :
  // CHECK: llvm.call %{{.*}}(%[[S8]], %[[A]], %[[B]], %[[C]], %[[D]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
  // CHECK: llvm.load %[[D]] : !llvm.ptr -> vector<4xi32>
  %0 = tile.mma s8 %a, %b, %a : vector<4xi32>
  llvm.return
}
