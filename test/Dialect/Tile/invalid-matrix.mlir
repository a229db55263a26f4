// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

llvm.func @copy_async_c1_two_bytes(%to: !llvm.ptr<3>, %from: !llvm.ptr<1>) {
  // expected-error @below {{expects 'bytes' to be 4, 8 or 16, got 2}}
  tile.copy_async %to, %from bytes 2
  llvm.return
}

// -----

llvm.func @copy_async_wait_c1_negative() {
  // expected-error @below {{'tile.copy_async_wait' op expects 'pending' to be from 0 to 2147483647, got -1}}
  tile.copy_async_wait -1
  llvm.return
}

// -----

llvm.func @load_matrix_c1_three(%p: !llvm.ptr<3>) {
  // expected-error @below {{result #0 must be fixed-length vector of 32-bit signless integer values of length 1/2/4, but got 'vector<3xi32>'}}
  %0 = tile.load_matrix %p : vector<3xi32>
  llvm.return
}

// -----

llvm.func @store_matrix_c1_floats(%p: !llvm.ptr<3>, %f: vector<2xf32>) {
  // expected-error @below {{operand #0 must be fixed-length vector of 32-bit signless integer values of length 1/2/4, but got 'vector<2xf32>'}}
  tile.store_matrix %f, %p : vector<2xf32>
  llvm.return
}

// -----

llvm.func @mma_c1_integer_sums(%a: vector<4xi32>, %b: vector<2xi32>, %c: vector<4xi32>) {
  // expected-error @below {{'tile.mma' op expects sums of f32 with tf32, got 'i32'}}
  %0 = tile.mma tf32 %a, %b, %c : vector<4xi32>
  llvm.return
}

// -----

llvm.func @mma_c1_float_sums(%a: vector<4xi32>, %b: vector<2xi32>, %c: vector<4xf32>) {
  // expected-error @below {{expects sums of i32 with s8, got 'f32'}}
  %0 = tile.mma s8 %a, %b, %c : vector<4xf32>
  llvm.return
}

// -----

llvm.func @matrix_descriptor_c1_leading(%p: !llvm.ptr<3>) {
  // expected-error @below {{expects 'leading' to be a multiple of 16 from 0 to 262128, got 24}}
  %0 = tile.matrix_descriptor %p none leading 24 stride 16
  llvm.return
}

// -----

llvm.func @matrix_descriptor_c1_stride(%p: !llvm.ptr<3>) {
  // expected-error @below {{expects 'stride' to be a multiple of 16 from 0 to 262128, got 262144}}
  %0 = tile.matrix_descriptor %p none leading 16 stride 262144
  llvm.return
}

// -----

func.func @wgmma_c1_two_words(%a: vector<2xi32>, %b: i64, %s: !tile.sums<64x8>, %t: i1) {
  // expected-error @below {{operand #0 must be i64 or vector<4xi32>, but got 'vector<2xi32>'}}
  %0 = tile.wgmma bf16 %a, %b, %s accumulates %t : vector<2xi32>, !tile.sums<64x8>
  return
}

// -----

func.func @wgmma_c2_transposed_words(%a: vector<4xi32>, %b: i64, %s: !tile.sums<64x8>, %t: i1) {
  // expected-error @below {{expects a descriptor as a transposed A, got 'vector<4xi32>'}}
  %0 = tile.wgmma bf16 %a transposed, %b, %s accumulates %t : vector<4xi32>, !tile.sums<64x8>
  return
}

// -----

llvm.func @wgmma_wait_c1_eight() {
  // expected-error @below {{'tile.wgmma_wait' op expects 'pending' to be from 0 to 7, got 8}}
  tile.wgmma_wait 8
  llvm.return
}

// -----

func.func @wgmma_wait_returns_what_it_takes(%s: !tile.sums<64x8>) {
  // expected-error @below {{failed to infer returned types}}
  // expected-error @below {{inferred type(s) '!tile.sums<64x8>' are incompatible with return type(s) of operation '!tile.sums<64x16>'}}
  %0 = "tile.wgmma_wait"(%s) <{pending = 0 : i32}> : (!tile.sums<64x8>) -> !tile.sums<64x16>
  return
}

// -----

func.func @wgmma_read_c1_behind_the_end(%s: !tile.sums<64x8>) {
  // expected-error @below {{expects 'index' to be below the thread's 4 elements, got 4}}
  %0 = tile.wgmma_read %s[4] : !tile.sums<64x8>
  return
}

// -----

// expected-error @below {{expects the columns of sums to be a multiple of 8 from 8 to 256, got 12}}
func.func private @sums_of_12_columns(%s: !tile.sums<64x12>)

// -----

// expected-error @below {{expects a shape of 64xN for sums, got 2 dimensions, the first 32}}
func.func private @sums_of_32_rows(%s: !tile.sums<32x8>)
