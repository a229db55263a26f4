// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: llvm.func @attributes_of_kernels(
// CHECK-SAME: %{{.*}}: !llvm.ptr {tile.tensor_map}
// CHECK-SAME: tile.kernel, tile.min_blocks = 2 : i32, tile.shared_bytes = 232448 : i64, tile.threads = 1024 : i32
llvm.func @attributes_of_kernels(%map: !llvm.ptr {tile.tensor_map}) attributes {
    tile.kernel, tile.shared_bytes = 232448 : i64, tile.threads = 1024 : i32, tile.min_blocks = 2 : i32} {
  llvm.return
}

// CHECK-LABEL: llvm.func @special_registers(
// CHECK: tile.special_register tid_x
// CHECK: tile.special_register nctaid_z
// CHECK: tile.special_register lane
llvm.func @special_registers() {
  %0 = tile.special_register tid_x
  %1 = tile.special_register nctaid_z
  %2 = tile.special_register lane
  llvm.return
}

// CHECK-LABEL: llvm.func @memory(
// CHECK-SAME: %[[GLOBAL:.*]]: !llvm.ptr<1>, %[[WORD:.*]]: i32
llvm.func @memory(%global: !llvm.ptr<1>, %word: i32) attributes {tile.kernel, tile.shared_bytes = 64 : i64} {
  // CHECK: %[[SHARED:.*]] = tile.shared[16]
  %shared = tile.shared[16]
  // CHECK: %[[VECTOR:.*]] = tile.load %[[GLOBAL]] streaming : !llvm.ptr<1> -> vector<8xbf16>
  %vector = tile.load %global streaming : !llvm.ptr<1> -> vector<8xbf16>
  // CHECK: %[[BYTE:.*]] = tile.load %[[SHARED]] : !llvm.ptr<3> -> i8
  %byte = tile.load %shared : !llvm.ptr<3> -> i8
  // CHECK: tile.store %[[VECTOR]], %[[SHARED]] : vector<8xbf16>, !llvm.ptr<3>
  tile.store %vector, %shared : vector<8xbf16>, !llvm.ptr<3>
  // CHECK: tile.store %[[BYTE]], %[[GLOBAL]] : i8, !llvm.ptr<1>
  tile.store %byte, %global : i8, !llvm.ptr<1>
  // CHECK: tile.atomic exchange %[[WORD]], %[[GLOBAL]] : !llvm.ptr<1>
  %old = tile.atomic exchange %word, %global : !llvm.ptr<1>
  llvm.return
}

// CHECK-LABEL: llvm.func @synchronisation(
// CHECK-SAME: %[[ID:.*]]: i32
llvm.func @synchronisation(%id: i32) {
  // CHECK: tile.barrier_sync{{$}}
  tile.barrier_sync
  // CHECK: tile.barrier_sync barrier %[[ID]] threads 256
  tile.barrier_sync barrier %id threads 256
  // CHECK: tile.barrier_arrive %[[ID]] threads 1024
  tile.barrier_arrive %id threads 1024
  // CHECK: tile.fence block
  tile.fence block
  // CHECK: tile.fence device
  tile.fence device
  // CHECK: tile.fence proxy_async
  tile.fence proxy_async
  // CHECK: tile.fence mbarrier_init
  tile.fence mbarrier_init
  llvm.return
}

// CHECK-LABEL: llvm.func @within_a_warp(
// CHECK-SAME: %[[X:.*]]: f32, %[[WORD:.*]]: i32, %[[BIT:.*]]: i1, %[[MASK:.*]]: i32
llvm.func @within_a_warp(%x: f32, %word: i32, %bit: i1, %mask: i32) {
  // CHECK: tile.warp_sync{{$}}
  tile.warp_sync
  // CHECK: tile.warp_sync mask %[[MASK]]
  tile.warp_sync mask %mask
  // CHECK: tile.shuffle bfly %[[X]], %[[WORD]] width 32 : f32
  %0 = tile.shuffle bfly %x, %word width 32 : f32
  // CHECK: tile.shuffle idx %[[WORD]], %[[WORD]] width 4 mask %[[MASK]] : i32
  %1 = tile.shuffle idx %word, %word width 4 mask %mask : i32
  // CHECK: tile.ballot %[[BIT]]{{$}}
  %2 = tile.ballot %bit
  // CHECK: tile.ballot %[[BIT]] mask %[[MASK]]
  %3 = tile.ballot %bit mask %mask
  // CHECK: tile.elect{{$}}
  %4 = tile.elect
  // CHECK: tile.elect mask %[[MASK]]
  %5 = tile.elect mask %mask
  llvm.return
}

// CHECK-LABEL: llvm.func @numbers(
// CHECK-SAME: %[[X:.*]]: f32
llvm.func @numbers(%x: f32) {
  // CHECK: %[[Y:.*]] = tile.exp2 %[[X]]
  %y = tile.exp2 %x
  // CHECK: %[[PAIR:.*]] = tile.pack bf16 %[[X]], %[[Y]]
  %pair = tile.pack bf16 %x, %y
  // CHECK: tile.unpack f16 %[[PAIR]]
  %low, %high = tile.unpack f16 %pair
  // CHECK: tile.trap
  tile.trap
  llvm.return
}

// CHECK-LABEL: llvm.func @grid(
// CHECK-SAME: %[[COUNTER:.*]]: !llvm.ptr<1>) attributes {tile.cooperative, tile.kernel}
llvm.func @grid(%counter: !llvm.ptr<1>) attributes {tile.cooperative, tile.kernel} {
  // CHECK: tile.grid_sync %[[COUNTER]]
  tile.grid_sync %counter
  llvm.return
}
