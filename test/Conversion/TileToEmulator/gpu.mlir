// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// The emulator finds the variable by its name and sets it; the object needs no other.
// CHECK-DAG: llvm.mlir.global external @mohd_emulator() {{.*}} : !llvm.ptr {
// CHECK-DAG: llvm.mlir.global private constant @mohd_site_{{[0-9]+}}("memory: tile.load at gpu.mlir:{{[0-9]+}}:{{[0-9]+}}\00")

// Parameters are loaded from where the argument says; a pointer loses its address space, a tensor map stays in place.
// CHECK-LABEL: llvm.func @parameters(
// CHECK-SAME: %[[ARGUMENTS:.*]]: !llvm.ptr) attributes {tile.shared_bytes = 1024 : i64}
llvm.func @parameters(%x: !llvm.ptr<1>, %map: !llvm.ptr {tile.tensor_map}, %n: i64, %scale: f32) attributes {tile.kernel, tile.threads = 32 : i32, tile.min_blocks = 1 : i32, tile.shared_bytes = 1024 : i64} {
  // CHECK: %[[P0:.*]] = llvm.getelementptr %[[ARGUMENTS]][0] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr
  // CHECK: %[[A0:.*]] = llvm.load %[[P0]] : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[X:.*]] = llvm.load %[[A0]] : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[P1:.*]] = llvm.getelementptr %[[ARGUMENTS]][1]
  // CHECK: %[[MAP:.*]] = llvm.load %[[P1]] : !llvm.ptr -> !llvm.ptr
  // CHECK-NEXT: %[[P2:.*]] = llvm.getelementptr %[[ARGUMENTS]][2]
  // CHECK: %[[A2:.*]] = llvm.load %[[P2]]
  // CHECK: %[[N:.*]] = llvm.load %[[A2]] : !llvm.ptr -> i64
  // CHECK: %[[A3:.*]] = llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[SCALE:.*]] = llvm.load %[[A3]] : !llvm.ptr -> f32
  // CHECK: llvm.getelementptr %[[X]][%[[N]]] : (!llvm.ptr, i64) -> !llvm.ptr, f32
  %place = llvm.getelementptr %x[%n] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
  // CHECK: llvm.store %[[SCALE]], %{{.*}} : f32, !llvm.ptr
  tile.store %scale, %place : f32, !llvm.ptr<1>
  llvm.return
}

// CHECK-LABEL: llvm.func @special_registers(
llvm.func @special_registers() attributes {tile.kernel} {
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: %[[TID_X:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][0] :
  // CHECK: llvm.call %{{.*}}(%[[TID_X]]) : !llvm.ptr, (i32) -> i32
  %0 = tile.special_register tid_x
  // CHECK: %[[LANE:.*]] = llvm.mlir.constant(12 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][0] :
  // CHECK: llvm.call %{{.*}}(%[[LANE]]) : !llvm.ptr, (i32) -> i32
  %1 = tile.special_register lane
  llvm.return
}

// An access is announced with its bytes and its space, 0 for global memory and 1 for shared memory, then done.
// CHECK-LABEL: llvm.func @memory(
llvm.func @memory(%global: !llvm.ptr<1>, %one: i32) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[GLOBAL:.*]] = llvm.load %{{.*}} : !llvm.ptr -> !llvm.ptr
  // CHECK: %[[ONE:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: llvm.getelementptr %[[TABLE]][35] :
  // CHECK: %[[BASE:.*]] = llvm.call %{{.*}}() : !llvm.ptr, () -> !llvm.ptr
  // CHECK: %[[SHARED:.*]] = llvm.getelementptr %[[BASE]][1024] : (!llvm.ptr) -> !llvm.ptr, i8
  %shared = tile.shared[1024]
  // CHECK: %[[BYTES:.*]] = llvm.mlir.constant(16 : i32)
  // CHECK: %[[SPACE:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][1] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %[[BYTES]], %[[SPACE]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, i32, !llvm.ptr) -> ()
  // CHECK: %[[VALUE:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> vector<8xbf16>
  %0 = tile.load %global : !llvm.ptr<1> -> vector<8xbf16>
  // CHECK: %[[BYTES_STORED:.*]] = llvm.mlir.constant(16 : i32)
  // CHECK: %[[SPACE_STORED:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][2] :
  // CHECK: llvm.call %{{.*}}(%[[SHARED]], %[[BYTES_STORED]], %[[SPACE_STORED]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, i32, !llvm.ptr) -> ()
  // CHECK: llvm.store %[[VALUE]], %[[SHARED]] {alignment = 1 : i64} : vector<8xbf16>, !llvm.ptr
  tile.store %0, %shared : vector<8xbf16>, !llvm.ptr<3>
  // CHECK: %[[MAX:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[SPACE_OF_ATOMIC:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][3] :
  // CHECK: llvm.call %{{.*}}(%[[MAX]], %[[SHARED]], %[[ONE]], %[[SPACE_OF_ATOMIC]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %1 = tile.atomic max %one, %shared : !llvm.ptr<3>
  llvm.return
}

// As numbers, pointers to shared memory are addresses there; casts between address spaces vanish.
// CHECK-LABEL: llvm.func @pointers(
llvm.func @pointers(%global: !llvm.ptr<1>) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  %shared = tile.shared[0]
  // CHECK: %[[NUMBER:.*]] = llvm.ptrtoint %[[POINTER:.*]] : !llvm.ptr to i32
  // CHECK: %[[MASK:.*]] = llvm.mlir.constant(262143 : i32)
  // CHECK: llvm.and %[[NUMBER]], %[[MASK]]
  %0 = llvm.ptrtoint %shared : !llvm.ptr<3> to i32
  // CHECK-NOT: llvm.and
  // CHECK: llvm.ptrtoint %{{.*}} : !llvm.ptr to i64
  %1 = llvm.ptrtoint %global : !llvm.ptr<1> to i64
  // CHECK-NOT: llvm.addrspacecast
  // CHECK: llvm.load %[[POINTER]] : !llvm.ptr -> i32
  %2 = llvm.addrspacecast %shared : !llvm.ptr<3> to !llvm.ptr
  %3 = llvm.load %2 : !llvm.ptr -> i32
  llvm.return
}

// CHECK-LABEL: llvm.func @synchronisation(
llvm.func @synchronisation(%id: i32) attributes {tile.kernel} {
  // CHECK: %[[ID:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: %[[BARRIER:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[ALL:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][4] :
  // CHECK: llvm.call %{{.*}}(%[[BARRIER]], %[[ALL]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> ()
  tile.barrier_sync
  // CHECK: %[[THREADS:.*]] = llvm.mlir.constant(64 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][4] :
  // CHECK: llvm.call %{{.*}}(%[[ID]], %[[THREADS]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> ()
  tile.barrier_sync barrier %id threads 64
  // CHECK: %[[ARRIVING:.*]] = llvm.mlir.constant(96 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][5] :
  // CHECK: llvm.call %{{.*}}(%[[ID]], %[[ARRIVING]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> ()
  tile.barrier_arrive %id threads 96
  // CHECK: %[[FENCE:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][10] :
  // CHECK: llvm.call %{{.*}}(%[[FENCE]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.fence proxy_async
  llvm.return
}

// CHECK-LABEL: llvm.func @grid(
// CHECK-NOT: tile.cooperative
llvm.func @grid(%counter: !llvm.ptr<1>) attributes {tile.cooperative, tile.kernel} {
  // CHECK: %[[ADDRESS:.*]] = llvm.load
  // CHECK-NEXT: %[[COUNTER:.*]] = llvm.load %[[ADDRESS]]
  // CHECK: llvm.getelementptr %{{.*}}[36] :
  // CHECK: llvm.call %{{.*}}(%[[COUNTER]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr) -> ()
  tile.grid_sync %counter
  llvm.return
}
