// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of products in tiles and of what they read, named after it.

func.func @weight_c3_without_view() {
  // expected-error @below {{'mohd.weight' op expects 'panels' only with 'expanded_shape', got 16}}
  %w = mohd.weight "q" panels 16 : tensor<1x6x64x16xf32>
  return
}

// -----

func.func @weight_c3_rank() {
  // expected-error @below {{'mohd.weight' op expects positive 'panels' of a view of rank 3, got 16 of rank 2}}
  %w = mohd.weight "q" expanded_shape [64, 96] panels 16 : tensor<1x6x64x16xf32>
  return
}

// -----

func.func @weight_c3_zero() {
  // expected-error @below {{expects positive 'panels' of a view of rank 3, got 0 of rank 3}}
  %w = mohd.weight "q" expanded_shape [1, 64, 96] panels 0 : tensor<1x6x64x16xf32>
  return
}

// -----

// The permutation is that of the view, which has one axis less than the result.
func.func @weight_c1_of_panels() {
  // expected-error @below {{'mohd.weight' op expects 'permutation' to hold each of 0..2 once, got [0, 1, 2, 3]}}
  %w = mohd.weight "q" expanded_shape [1, 64, 96] permutation [0, 1, 2, 3] panels 16 : tensor<1x6x64x16xf32>
  return
}

// -----

// 100 columns need seven panels.
func.func @weight_c2_last_panel() {
  // expected-error @below {{'mohd.weight' op expects a result of shape [1, 7, 64, 16], got [1, 6, 64, 16]}}
  %w = mohd.weight "q" expanded_shape [1, 64, 100] panels 16 : tensor<1x6x64x16xf32>
  return
}

// -----

func.func @pack_weight_c1(%w: tensor<16x4x100xbf16>) {
  // expected-error @below {{'mohd.pack_weight' op expects a result of type 'tensor<16x7x4x16xbf16>', got 'tensor<16x6x4x16xbf16>'}}
  %p = mohd.pack_weight %w : tensor<16x4x100xbf16> -> tensor<16x6x4x16xbf16>
  return
}

// -----

func.func @pack_weight_c1_element(%w: tensor<64x96xbf16>) {
  // expected-error @below {{expects a result of type 'tensor<1x6x64x16xbf16>', got 'tensor<1x6x64x16xf32>'}}
  %p = mohd.pack_weight %w : tensor<64x96xbf16> -> tensor<1x6x64x16xf32>
  return
}

// -----

// What counts is the weight as permuted: 100 columns of 16 rows.
func.func @pack_weight_c1_permuted(%w: tensor<16x4x100xbf16>) {
  // expected-error @below {{expects a result of type 'tensor<4x7x16x16xbf16>', got 'tensor<16x7x4x16xbf16>'}}
  %p = mohd.pack_weight %w permutation [1, 0, 2] : tensor<16x4x100xbf16> -> tensor<16x7x4x16xbf16>
  return
}

// -----

func.func @pack_weight_c2_twice(%w: tensor<16x4x96xbf16>) {
  // expected-error @below {{'mohd.pack_weight' op expects 'permutation' to hold each of 0..2 once, got [0, 2, 2]}}
  %p = mohd.pack_weight %w permutation [0, 2, 2] : tensor<16x4x96xbf16> -> tensor<16x6x96x16xbf16>
  return
}

// -----

func.func @pack_weight_c2_beyond(%w: tensor<16x4x96xbf16>) {
  // expected-error @below {{expects 'permutation' to hold each of 0..2 once, got [0, 1, 3]}}
  %p = mohd.pack_weight %w permutation [0, 1, 3] : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
  return
}

// -----

func.func @pack_weight_c2_short(%w: tensor<16x4x96xbf16>) {
  // expected-error @below {{expects 'permutation' to hold each of 0..2 once, got [1, 0]}}
  %p = mohd.pack_weight %w permutation [1, 0] : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
  return
}

// -----

func.func @pack_weight_c2_matrix(%w: tensor<64x96xbf16>) {
  // expected-error @below {{expects 'permutation' to hold each of 0..1 once, got [0, 2, 1]}}
  %p = mohd.pack_weight %w permutation [0, 2, 1] : tensor<64x96xbf16> -> tensor<1x4x96x16xbf16>
  return
}

// -----

func.func @group_tokens_c1(%r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.group_tokens' op expects a table of 13 columns, got 12}}
  %t = mohd.group_tokens %r block 256 : !mohd.routing<16, 6, 2> -> tensor<?x12xi32>
  return
}

// -----

func.func @group_tokens_c2_none_routed(%r: !mohd.routing<16, 6, 0>) {
  // expected-error @below {{'mohd.group_tokens' op expects a routing of which tokens have different groups, got '!mohd.routing<16, 6, 0>'}}
  %t = mohd.group_tokens %r block 256 : !mohd.routing<16, 6, 0> -> tensor<?x11xi32>
  return
}

// -----

func.func @group_tokens_c2_all_active(%r: !mohd.routing<4, 1, 3>) {
  // expected-error @below {{expects a routing of which tokens have different groups, got '!mohd.routing<4, 1, 3>'}}
  %t = mohd.group_tokens %r block 256 : !mohd.routing<4, 1, 3> -> tensor<?x1xi32>
  return
}

// -----

func.func @group_tokens_c2_block(%r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.group_tokens' op expects 'block' in 1..65536, got 0}}
  %t = mohd.group_tokens %r block 0 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
  return
}

// -----

func.func @pack_tokens_c1_missing(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.pack_tokens' op expects 'table' exactly with a routing of which tokens have different groups, got none}}
  %p = mohd.pack_tokens %x routing(%r) block 256 rows 12
    : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
  return
}

// -----

func.func @pack_tokens_c1_needless(%x: tensor<?x64xf32>, %t: tensor<?x13xi32>) {
  // expected-error @below {{expects 'table' exactly with a routing of which tokens have different groups, got one}}
  %p = mohd.pack_tokens %x table(%t) block 256 rows 12 : tensor<?x64xf32> table tensor<?x13xi32> -> tensor<?x64xf32>
  return
}

// -----

// A narrower table would be read past its end.
func.func @pack_tokens_c1_columns(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %t: tensor<?x12xi32>) {
  // expected-error @below {{'mohd.pack_tokens' op expects a 'table' of 13 columns, got 12}}
  %p = mohd.pack_tokens %x routing(%r) table(%t) block 256 rows 12
    : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> table tensor<?x12xi32> -> tensor<?x32xf32>
  return
}

// -----

func.func @pack_tokens_c2(%x: tensor<?x60xf32>, %r: !mohd.routing<16, 6, 0>) {
  // expected-error @below {{'mohd.pack_tokens' op expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %p = mohd.pack_tokens %x routing(%r) block 256 rows 12
    : tensor<?x60xf32> routing !mohd.routing<16, 6, 0> -> tensor<?x24xf32>
  return
}

// -----

func.func @pack_tokens_c3(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %t: tensor<?x13xi32>) {
  // expected-error @below {{'mohd.pack_tokens' op expects a result of 32 columns, got 64}}
  %p = mohd.pack_tokens %x routing(%r) table(%t) block 256 rows 12
    : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> table tensor<?x13xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @pack_tokens_c4(%x: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.pack_tokens' op expects 'rows' in 1..64, got -1}}
  %p = mohd.pack_tokens %x block 256 rows -1 : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// All of these have the tokens of one call.
func.func @pack_tokens_token_counts(%x: tensor<5x64xf32>, %r: !mohd.routing<16, 6, 2>, %t: tensor<4x13xi32>) {
  // expected-error @below {{'mohd.pack_tokens' op expects operand #2 to have 5 tokens, got 4}}
  %p = mohd.pack_tokens %x routing(%r) table(%t) block 256 rows 12
    : tensor<5x64xf32> routing !mohd.routing<16, 6, 2> table tensor<4x13xi32> -> tensor<5x32xf32>
  return
}

// -----

func.func @pack_tokens_c4_block(%x: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.pack_tokens' op expects 'block' in 1..65536, got 2305843009213693952}}
  %p = mohd.pack_tokens %x block 2305843009213693952 rows 1 : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}
