// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

llvm.func @tma_load_c1_no_coordinates(%m: !llvm.ptr {tile.tensor_map}, %p: !llvm.ptr<3>) {
  // expected-error @below {{'tile.tma_load' op expects 1 to 5 coordinates, got 0}}
  tile.tma_load %p, %m[], %p
  llvm.return
}

// -----

llvm.func @tma_load_c2_no_tensor_map(%m: !llvm.ptr, %i: i32, %p: !llvm.ptr<3>) {
  // expected-error @below {{'tile.tma_load' op expects 'map' to be a parameter of the kernel with the attribute 'tile.tensor_map'}}
  tile.tma_load %p, %m[%i], %p
  llvm.return
}

// -----

llvm.func @tma_store_c1_six_coordinates(%m: !llvm.ptr {tile.tensor_map}, %i: i32, %p: !llvm.ptr<3>) {
  // expected-error @below {{'tile.tma_store' op expects 1 to 5 coordinates, got 6}}
  tile.tma_store %m[%i, %i, %i, %i, %i, %i], %p
  llvm.return
}

// -----

llvm.func @tma_store_c2_no_parameter(%i: i32, %p: !llvm.ptr<3>) {
  %m = llvm.mlir.zero : !llvm.ptr
  // expected-error @below {{'tile.tma_store' op expects 'map' to be a parameter of the kernel with the attribute 'tile.tensor_map'}}
  tile.tma_store %m[%i], %p
  llvm.return
}

// -----

llvm.func @tma_store_wait_c1_negative() {
  // expected-error @below {{'tile.tma_store_wait' op expects 'pending' to be from 0 to 2147483647, got -2}}
  tile.tma_store_wait -2
  llvm.return
}

// -----

llvm.func @set_max_registers_c1_no_multiple_of_8() {
  // expected-error @below {{expects 'registers' to be a multiple of 8 from 24 to 256, got 100}}
  tile.set_max_registers 100
  llvm.return
}

// -----

llvm.func @set_max_registers_c1_too_few() {
  // expected-error @below {{expects 'registers' to be a multiple of 8 from 24 to 256, got 16}}
  tile.set_max_registers 16 increase
  llvm.return
}
