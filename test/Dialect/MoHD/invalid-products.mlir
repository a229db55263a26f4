// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of the two tiled products, named after it.

func.func @tiled_spmm_c1(%x: tensor<?x64xf32>, %w: tensor<16x6x4x16xbf16>, %t: tensor<?x13xi32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'packed' to have 8 x 4 columns, got 64}}
  %y = mohd.tiled_spmm %x, %w table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c2_wide(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'weight' to have 7 panels for 97 columns, got 6}}
  %y = mohd.tiled_spmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x97xf32>
  return
}

// -----

func.func @tiled_spmm_c2_narrow(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>) {
  // expected-error @below {{expects 'weight' to have 5 panels for 80 columns, got 6}}
  %y = mohd.tiled_spmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x80xf32>
  return
}

// -----

func.func @tiled_spmm_c3_missing(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'table' exactly if groups are chosen, got 2 chosen groups}}
  %y = mohd.tiled_spmm %x, %w common 6 chosen 2 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c3_columns(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>, %t: tensor<?x11xi32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects a 'table' of 13 columns, got 11}}
  %y = mohd.tiled_spmm %x, %w table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x11xi32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c3_too_many_groups(%x: tensor<?x68xf32>, %w: tensor<16x6x4x16xbf16>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 1 to 16 active groups, got 17 common and 0 chosen}}
  %y = mohd.tiled_spmm %x, %w common 17 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x68xf32>, tensor<16x6x4x16xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c3_negative(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>, %t: tensor<?x11xi32>) {
  // expected-error @below {{expects 1 to 16 active groups, got -1 common and 9 chosen}}
  %y = mohd.tiled_spmm %x, %w table(%t) common -1 chosen 9 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x11xi32> -> tensor<?x96xf32>
  return
}

// -----

// The sum of these does not fit 64 bits.
func.func @tiled_spmm_c3_huge(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>, %t: tensor<?x11xi32>) {
  // expected-error @below {{expects 1 to 16 active groups, got 9223372036854775807 common and 9223372036854775807 chosen}}
  %y = mohd.tiled_spmm %x, %w table(%t) common 9223372036854775807 chosen 9223372036854775807 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x11xi32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c4(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'panels' in 1..64, got 0}}
  %y = mohd.tiled_spmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 0
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_empty_panel(%x: tensor<?x32xf32>, %w: tensor<16x6x4x0xbf16>) {
  // expected-error @below {{operand #1 must be static [groups, panels, rows, columns of a panel (a power of two, at most 64)] tensor of f32, bf16 or f16}}
  %y = mohd.tiled_spmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x0xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_sddmm_odd_panel(%x: tensor<?x96xf32>, %w: tensor<16x1x96x3xbf16>) {
  // expected-error @below {{operand #1 must be static [groups, panels, rows, columns of a panel (a power of two, at most 64)] tensor}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x3xbf16> -> tensor<?x48xf32>
  return
}

// -----

func.func @tiled_sddmm_no_group(%x: tensor<?x96xf32>, %w: tensor<0x1x96x4xbf16>) {
  // expected-error @below {{operand #1 must be static [groups, panels, rows, columns of a panel (a power of two, at most 64)] tensor}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<0x1x96x4xbf16> -> tensor<?x48xf32>
  return
}

// -----

func.func @tiled_sddmm_c1(%x: tensor<?x95xf32>, %w: tensor<16x1x96x4xbf16>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'weight' to contract the width 95 of 'input', got 1 x 96}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 95
    : tensor<?x95xf32>, tensor<16x1x96x4xbf16> -> tensor<?x64xf32>
  return
}

// -----

func.func @tiled_sddmm_c2_groups(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xbf16>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects a result of 16 groups of 1 panels, got 60 columns}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xbf16> -> tensor<?x60xf32>
  return
}

// -----

func.func @tiled_sddmm_c2_panels(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xbf16>) {
  // expected-error @below {{expects a result of 16 groups of 1 panels, got 80 columns}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xbf16> -> tensor<?x80xf32>
  return
}

// -----

func.func @tiled_sddmm_c3_needless(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xbf16>, %t: tensor<?x9xi32>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'table' exactly if groups are chosen, got 0 chosen groups}}
  %y = mohd.tiled_sddmm %x, %w table(%t) common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xbf16> table tensor<?x9xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @tiled_sddmm_c4(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xbf16>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'depth' in 1..9223372036854775807, got 0}}
  %y = mohd.tiled_sddmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 0
    : tensor<?x96xf32>, tensor<16x1x96x4xbf16> -> tensor<?x64xf32>
  return
}

// -----

// The tokens of the table are those of the input.
func.func @tiled_sddmm_token_counts(%x: tensor<5x96xf32>, %w: tensor<16x1x96x4xbf16>, %t: tensor<4x13xi32>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects operand #2 to have 5 tokens, got 4}}
  %y = mohd.tiled_sddmm %x, %w table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<5x96xf32>, tensor<16x1x96x4xbf16> table tensor<4x13xi32> -> tensor<5x64xf32>
  return
}

// -----

func.func @tiled_spmm_c6_both(%x: tensor<?x64xf32>, %w: tensor<16x6x4x16xf32>, %h: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects at most one of 'gate' and 'residual', got both}}
  %y = mohd.tiled_spmm %x, %w gate(%h) residual(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xf32> gate tensor<?x96xf32> residual tensor<?x96xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c6_gate(%x: tensor<?x64xf32>, %w: tensor<16x6x4x16xf32>, %h: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'gate' of type 'tensor<?x96xf32>', got 'tensor<?x64xf32>'}}
  %y = mohd.tiled_spmm %x, %w gate(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xf32> gate tensor<?x64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_c6_residual(%x: tensor<?x64xf32>, %w: tensor<16x6x4x16xf32>, %h: tensor<?x96xbf16>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'residual' of type 'tensor<?x96xf32>', got 'tensor<?x96xbf16>'}}
  %y = mohd.tiled_spmm %x, %w residual(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xf32> residual tensor<?x96xbf16> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_spmm_token_counts_of_gate(%x: tensor<5x64xf32>, %w: tensor<16x6x4x16xf32>, %h: tensor<4x96xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects operand #2 to have 5 tokens, got 4}}
  %y = mohd.tiled_spmm %x, %w gate(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<5x64xf32>, tensor<16x6x4x16xf32> gate tensor<4x96xf32> -> tensor<5x96xf32>
  return
}

// -----

func.func @tiled_sddmm_c6(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xf32>, %h: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'residual' of type 'tensor<?x64xf32>', got 'tensor<?x96xf32>'}}
  %y = mohd.tiled_sddmm %x, %w residual(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xf32> residual tensor<?x96xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @tiled_spmm_c1_overflow(%x: tensor<?x0xf32>, %w: tensor<4x0x4611686018427387904x16xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'packed' to have 4 x 4611686018427387904 columns, got 0}}
  %y = mohd.tiled_spmm %x, %w common 4 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x0xf32>, tensor<4x0x4611686018427387904x16xf32> -> tensor<?x0xf32>
  return
}

// -----

func.func @tiled_spmm_c4_rows(%x: tensor<?x64xf32>, %w: tensor<16x6x4x16xf32>) {
  // expected-error @below {{'mohd.tiled_spmm' op expects 'rows' in 1..64, got 100000000}}
  %y = mohd.tiled_spmm %x, %w common 16 chosen 0 block 256 few 24 rows 100000000 panels 2 : tensor<?x64xf32>, tensor<16x6x4x16xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @tiled_sddmm_c4_few(%x: tensor<?x96xf32>, %w: tensor<16x1x96x4xf32>) {
  // expected-error @below {{'mohd.tiled_sddmm' op expects 'few' in 0..65536, got -1}}
  %y = mohd.tiled_sddmm %x, %w common 16 chosen 0 block 256 few -1 rows 12 panels 1 depth 96 : tensor<?x96xf32>, tensor<16x1x96x4xf32> -> tensor<?x64xf32>
  return
}

// -----

// expected-error @below {{expects a plan to gather to 0 tokens or more, got -1}}
func.func private @plan() attributes {plan = #mohd.plan<gather to -1, grouped>}
