// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// CHECK-LABEL: llvm.func @barriers_in_shared_memory(
llvm.func @barriers_in_shared_memory(%n: i32) attributes {tile.kernel, tile.shared_bytes = 8 : i64} {
  // CHECK: %[[N:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: %[[BARRIER:.*]] = llvm.getelementptr %{{.*}}[0] : (!llvm.ptr) -> !llvm.ptr, i8
  %barrier = tile.shared[0]
  // CHECK: llvm.getelementptr %[[TABLE]][22] :
  // CHECK: llvm.call %{{.*}}(%[[BARRIER]], %[[N]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr) -> ()
  tile.mbarrier_init %barrier, %n
  // CHECK: llvm.getelementptr %[[TABLE]][23] :
  // CHECK: llvm.call %{{.*}}(%[[BARRIER]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr) -> ()
  tile.mbarrier_arrive %barrier
  // CHECK: llvm.getelementptr %[[TABLE]][24] :
  // CHECK: llvm.call %{{.*}}(%[[BARRIER]], %[[N]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr) -> ()
  tile.mbarrier_expect %barrier, %n
  // CHECK: llvm.getelementptr %[[TABLE]][25] :
  // CHECK: llvm.call %{{.*}}(%[[BARRIER]], %[[N]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr) -> ()
  tile.mbarrier_wait %barrier, %n
  llvm.return
}

// Coordinates that a tensor does not have are 0.
// CHECK-LABEL: llvm.func @tiles_of_tensors(
llvm.func @tiles_of_tensors(%map: !llvm.ptr {tile.tensor_map}, %i: i32, %j: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[PLACE:.*]] = llvm.getelementptr %{{.*}}[0]
  // CHECK: %[[MAP:.*]] = llvm.load %[[PLACE]] : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[I:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[J:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: %[[SHARED:.*]] = llvm.getelementptr %{{.*}}[0] : (!llvm.ptr) -> !llvm.ptr, i8
  %shared = tile.shared[0]
  // CHECK: %[[BARRIER:.*]] = llvm.getelementptr %{{.*}}[2048] : (!llvm.ptr) -> !llvm.ptr, i8
  %barrier = tile.shared[2048]
  // CHECK: %[[RANK:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[C2:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[C3:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[C4:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][26] :
  // CHECK: llvm.call %{{.*}}(%[[SHARED]], %[[MAP]], %[[BARRIER]], %[[RANK]], %[[I]], %[[J]], %[[C2]], %[[C3]], %[[C4]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, i32, i32, i32, i32, i32, i32, !llvm.ptr) -> ()
  tile.tma_load %shared, %map[%i, %j], %barrier
  // CHECK: %[[FIVE:.*]] = llvm.mlir.constant(5 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][27] :
  // CHECK: llvm.call %{{.*}}(%[[MAP]], %[[SHARED]], %[[FIVE]], %[[I]], %[[J]], %[[I]], %[[J]], %[[I]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i32, i32, i32, i32, i32, i32, !llvm.ptr) -> ()
  tile.tma_store %map[%i, %j, %i, %j, %i], %shared
  // CHECK: llvm.getelementptr %[[TABLE]][28] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr) -> ()
  tile.tma_store_commit
  // CHECK: %[[PENDING:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[READ:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][29] :
  // CHECK: llvm.call %{{.*}}(%[[PENDING]], %[[READ]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> ()
  tile.tma_store_wait 2 read
  // CHECK: %[[REGISTERS:.*]] = llvm.mlir.constant(232 : i32)
  // CHECK: %[[INCREASES:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][30] :
  // CHECK: llvm.call %{{.*}}(%[[REGISTERS]], %[[INCREASES]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> ()
  tile.set_max_registers 232 increase
  llvm.return
}
