// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// expected-error @below {{expects 'tile.kernel' on an 'llvm.func'}}
func.func @kernel_of_another_kind() attributes {tile.kernel} {
  return
}

// -----

// expected-error @below {{expects a kernel to return nothing, got 'i32'}}
llvm.func @kernel_with_a_result() -> i32 attributes {tile.kernel}

// -----

// expected-error @below {{expects parameters of a kernel to be i32, i64, f32, '!llvm.ptr<1>' or tensor maps, got '!llvm.ptr'}}
llvm.func @parameter_that_is_no_tensor_map(%x: f32, %map: !llvm.ptr) attributes {tile.kernel}

// -----

// expected-error @below {{expects an attribute of kernels, got 'tile.kernl'}}
llvm.func @unknown_attribute() attributes {tile.kernl}

// -----

// expected-error @below {{expects 'tile.shared_bytes' to be a multiple of 1 from 0 to 232448, got 232449 : i64}}
llvm.func @too_much_shared_memory() attributes {tile.shared_bytes = 232449 : i64}

// -----

// expected-error @below {{expects 'tile.threads' to be a multiple of 32 from 32 to 1024, got 48 : i32}}
llvm.func @half_a_warp() attributes {tile.threads = 48 : i32}

// -----

// expected-error @below {{expects 'tile.min_blocks' to be a multiple of 1 from 1 to 32, got "two"}}
llvm.func @no_number() attributes {tile.min_blocks = "two"}

// -----

// expected-error @below {{expects 'tile.tensor_map' on a parameter '!llvm.ptr', got 'tile.tensor_map' on '!llvm.ptr<1>'}}
llvm.func @tensor_map_in_global_memory(%map: !llvm.ptr<1> {tile.tensor_map})

// -----

llvm.func @shared_c1_not_declared() {
  // expected-error @below {{'tile.shared' op expects a function with the attribute 'tile.shared_bytes'}}
  %0 = tile.shared[0]
  llvm.return
}

// -----

llvm.func @shared_c2_behind_the_end() attributes {tile.shared_bytes = 64 : i64} {
  // expected-error @below {{expects an offset below the kernel's 64 bytes of shared memory, got 64}}
  %0 = tile.shared[64]
  llvm.return
}

// -----

llvm.func @load_c1_three_words(%p: !llvm.ptr<1>) {
  // expected-error @below {{'tile.load' op expects 'result' to have 1, 2, 4, 8 or 16 bytes, got 12 in 'vector<3xi32>'}}
  %0 = tile.load %p : !llvm.ptr<1> -> vector<3xi32>
  llvm.return
}

// -----

llvm.func @load_c1_too_wide(%p: !llvm.ptr<1>) {
  // expected-error @below {{expects 'result' to have 1, 2, 4, 8 or 16 bytes, got 32 in 'vector<8xf32>'}}
  %0 = tile.load %p : !llvm.ptr<1> -> vector<8xf32>
  llvm.return
}

// -----

llvm.func @load_c2_shared(%p: !llvm.ptr<3>) {
  // expected-error @below {{expects global memory and 4, 8 or 16 bytes with 'streaming', got 4 bytes at '!llvm.ptr<3>'}}
  %0 = tile.load %p streaming : !llvm.ptr<3> -> i32
  llvm.return
}

// -----

llvm.func @load_c2_byte(%p: !llvm.ptr<1>) {
  // expected-error @below {{expects global memory and 4, 8 or 16 bytes with 'streaming', got 1 bytes at '!llvm.ptr<1>'}}
  %0 = tile.load %p streaming : !llvm.ptr<1> -> i8
  llvm.return
}

// -----

llvm.func @load_of_a_generic_pointer(%p: !llvm.ptr) {
  // expected-error @below {{operand #0 must be pointer to global or shared memory, !llvm.ptr<1> or !llvm.ptr<3>, but got '!llvm.ptr'}}
  %0 = tile.load %p : !llvm.ptr -> i32
  llvm.return
}

// -----

llvm.func @store_c1_three_bytes(%p: !llvm.ptr<3>, %v: vector<3xi8>) {
  // expected-error @below {{'tile.store' op expects 'value' to have 1, 2, 4, 8 or 16 bytes, got 3 in 'vector<3xi8>'}}
  tile.store %v, %p : vector<3xi8>, !llvm.ptr<3>
  llvm.return
}

// -----

llvm.func @barrier_sync_c1_no_threads(%id: i32) {
  // expected-error @below {{expects both 'barrier' and 'threads' or none of them}}
  "tile.barrier_sync"(%id) : (i32) -> ()
  llvm.return
}

// -----

llvm.func @barrier_sync_c2_half_a_warp(%id: i32) {
  // expected-error @below {{'tile.barrier_sync' op expects 'threads' to be a multiple of 32 from 32 to 1024, got 16}}
  tile.barrier_sync barrier %id threads 16
  llvm.return
}

// -----

llvm.func @barrier_arrive_c1_too_many(%id: i32) {
  // expected-error @below {{'tile.barrier_arrive' op expects 'threads' to be a multiple of 32 from 32 to 1024, got 1056}}
  tile.barrier_arrive %id threads 1056
  llvm.return
}

// -----

llvm.func @shuffle_c1_no_power_of_two(%x: i32) {
  // expected-error @below {{expects 'width' to be a power of two from 1 to 32, got 12}}
  %0 = tile.shuffle up %x, %x width 12 : i32
  llvm.return
}

// -----

llvm.func @shuffle_c1_too_wide(%x: i32) {
  // expected-error @below {{expects 'width' to be a power of two from 1 to 32, got 64}}
  %0 = tile.shuffle up %x, %x width 64 : i32
  llvm.return
}

// -----

llvm.func @grid_sync_c1(%counter: !llvm.ptr<1>) attributes {tile.kernel} {
  // expected-error @below {{'tile.grid_sync' op expects a kernel with the attribute 'tile.cooperative'}}
  tile.grid_sync %counter
  llvm.return
}
