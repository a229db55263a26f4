// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint on quantised weights, named after it.

func.func @weight_c4_values() -> tensor<4x8xf32> {
  // expected-error @below {{'mohd.weight' op expects elements of i8 for quantised values, got 'f32'}}
  %w = mohd.weight "w" quantized values : tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @weight_c4_scales() -> tensor<8xbf16> {
  // expected-error @below {{'mohd.weight' op expects elements of f32 for scales, got 'bf16'}}
  %w = mohd.weight "w" expanded_shape [4, 8] quantized scales : tensor<8xbf16>
  return %w : tensor<8xbf16>
}

// -----

func.func @weight_c4_plain() -> tensor<4x8xi8> {
  // expected-error @below {{'mohd.weight' op expects elements of f32, bf16 or f16, got 'i8'}}
  %w = mohd.weight "w" : tensor<4x8xi8>
  return %w : tensor<4x8xi8>
}

// -----

func.func @weight_c5_rank() -> tensor<8xi8> {
  // expected-error @below {{'mohd.weight' op expects 'quantized' only with a tensor of rank 2 or 3, got rank 1}}
  %w = mohd.weight "w" quantized values : tensor<8xi8>
  return %w : tensor<8xi8>
}

// -----

func.func @weight_c5_scales() -> tensor<8xf32> {
  // expected-error @below {{'mohd.weight' op expects scales to have an 'expanded_shape'}}
  %w = mohd.weight "w" quantized scales : tensor<8xf32>
  return %w : tensor<8xf32>
}

// -----

func.func @weight_c2_scales() -> tensor<4x4xf32> {
  // expected-error @below {{'mohd.weight' op expects a result of shape [4, 8], got [4, 4]}}
  %w = mohd.weight "w" expanded_shape [8, 4, 2] permutation [1, 2, 0] quantized scales : tensor<4x4xf32>
  return %w : tensor<4x4xf32>
}

// -----

func.func @weight_c2_panels_of_scales() {
  // expected-error @below {{'mohd.weight' op expects a result of shape [4, 1, 16], got [4, 1, 8]}}
  %w = mohd.weight "w" expanded_shape [8, 4, 2] permutation [1, 2, 0] panels 16 quantized scales : tensor<4x1x8xf32>
  return
}

// -----

func.func @dequantize_c1_groups(%q: tensor<4x2x8xi8>, %s: tensor<8xf32>) {
  // expected-error @below {{'mohd.dequantize' op expects 'scales' of shape [4, 8], got [8]}}
  %w = mohd.dequantize %q, %s : tensor<4x2x8xi8>, tensor<8xf32> -> tensor<4x2x8xf32>
  return
}

// -----

func.func @dequantize_c2(%q: tensor<2x8xi8>, %s: tensor<8xf32>) {
  // expected-error @below {{'mohd.dequantize' op expects a result of shape [2, 8], got [2, 4]}}
  %w = mohd.dequantize %q, %s : tensor<2x8xi8>, tensor<8xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @tiled_spmm_c5_none(%p: tensor<?x8xf32>, %w: tensor<4x1x2x16xi8>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'scales' exactly for a weight of i8, got none for one of 'i8'}}
  %y = mohd.tiled_spmm %p, %w common 4 chosen 0 block 6 few 24 rows 6 panels 1 : tensor<?x8xf32>, tensor<4x1x2x16xi8> -> tensor<?x16xf32>
  return
}

// -----

func.func @tiled_spmm_c5_some(%p: tensor<?x8xf32>, %w: tensor<4x1x2x16xbf16>, %s: tensor<4x1x16xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'scales' exactly for a weight of i8, got some for one of 'bf16'}}
  %y = mohd.tiled_spmm %p, %w scales(%s) common 4 chosen 0 block 6 few 24 rows 6 panels 1
    : tensor<?x8xf32>, tensor<4x1x2x16xbf16> scales tensor<4x1x16xf32> -> tensor<?x16xf32>
  return
}

// -----

func.func @tiled_sddmm_c5_shape(%x: tensor<?x2xf32>, %w: tensor<4x1x2x16xi8>, %s: tensor<1x4x16xf32>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'scales' of shape [4, 1, 16], got [1, 4, 16]}}
  %y = mohd.tiled_sddmm %x, %w scales(%s) common 4 chosen 0 block 6 few 24 rows 6 panels 1 depth 2
    : tensor<?x2xf32>, tensor<4x1x2x16xi8> scales tensor<1x4x16xf32> -> tensor<?x64xf32>
  return
}
