// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of what a Monarch fusion becomes, named after it.

// A group of a local product contracts its own columns.
func.func @tiled_sddmm_c1_local(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xbf16>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'weight' to contract the width 96 of 'input', got 16 x 96}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96 local
    : tensor<?x96xf32>, tensor<16x1x96x4xbf16> -> tensor<?x64xf32>
  return
}

// -----

// 64 columns are no whole number of 12 blocks.
func.func @mix_groups_c1_input(%u: tensor<?x64xf32>, %l: tensor<12x1x16x4xf32>) {
  // expected-error @below {{'mohd.mix_groups' op expects widths of 12 and 16 groups of 1 panels, got 64 and 64 columns}}
  %y = mohd.mix_groups %u, %l : tensor<?x64xf32>, tensor<12x1x16x4xf32> -> tensor<?x64xf32>
  return
}

// -----

// Both sides have groups of the same width.
func.func @mix_groups_c1_result(%u: tensor<?x64xf32>, %l: tensor<16x1x16x4xf32>) {
  // expected-error @below {{expects widths of 16 and 16 groups of 1 panels, got 64 and 48 columns}}
  %y = mohd.mix_groups %u, %l : tensor<?x64xf32>, tensor<16x1x16x4xf32> -> tensor<?x48xf32>
  return
}

// -----

// Groups of 20 columns take two panels of 16, and no more.
func.func @mix_groups_c1_few_panels(%u: tensor<?x40xf32>, %l: tensor<2x1x3x16xf32>) {
  // expected-error @below {{expects widths of 2 and 3 groups of 1 panels, got 40 and 60 columns}}
  %y = mohd.mix_groups %u, %l : tensor<?x40xf32>, tensor<2x1x3x16xf32> -> tensor<?x60xf32>
  return
}

// -----

func.func @mix_groups_c1_many_panels(%u: tensor<?x40xf32>, %l: tensor<2x3x3x16xf32>) {
  // expected-error @below {{expects widths of 2 and 3 groups of 3 panels, got 40 and 60 columns}}
  %y = mohd.mix_groups %u, %l : tensor<?x40xf32>, tensor<2x3x3x16xf32> -> tensor<?x60xf32>
  return
}

// -----

func.func @mix_groups_c2(%u: tensor<?x64xf32>, %l: tensor<8x1x16x8xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.mix_groups' op expects 'weight' to have a block for each of the 16 groups of 'routing', got 8}}
  %y = mohd.mix_groups %u, %l routing(%r) : tensor<?x64xf32>, tensor<8x1x16x8xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x128xf32>
  return
}

// -----

func.func @mix_groups_c3(%u: tensor<?x64xf32>, %l: tensor<16x1x16x4xf32>, %x: tensor<?x64xbf16>) {
  // expected-error @below {{'mohd.mix_groups' op expects 'residual' of type 'tensor<?x64xf32>', got 'tensor<?x64xbf16>'}}
  %y = mohd.mix_groups %u, %l residual(%x) : tensor<?x64xf32>, tensor<16x1x16x4xf32> residual tensor<?x64xbf16> -> tensor<?x64xf32>
  return
}

// -----

// The weight has no tokens; the input, the routing, the residual and the result have the same.
func.func @mix_groups_token_counts(%u: tensor<5x64xf32>, %l: tensor<16x1x16x4xf32>) {
  // expected-error @below {{'mohd.mix_groups' op expects result #0 to have 5 tokens, got 4}}
  %y = mohd.mix_groups %u, %l : tensor<5x64xf32>, tensor<16x1x16x4xf32> -> tensor<4x64xf32>
  return
}
