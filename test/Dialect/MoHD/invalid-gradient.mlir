// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of the ops of backward functions, named after it.

func.func @permute_weight_c1(%w: tensor<16x4x96xf32>) {
  // expected-error @below {{'mohd.permute_weight' op expects 'permutation' to hold each of 0..2 once, got [0, 2, 2]}}
  %p = mohd.permute_weight %w [0, 2, 2] : tensor<16x4x96xf32> -> tensor<16x96x96xf32>
  return
}

// -----

func.func @permute_weight_c1_short(%w: tensor<16x4x96xf32>) {
  // expected-error @below {{expects 'permutation' to hold each of 0..2 once, got [1, 0]}}
  %p = mohd.permute_weight %w [1, 0] : tensor<16x4x96xf32> -> tensor<4x16xf32>
  return
}

// -----

func.func @permute_weight_c1_shape(%w: tensor<16x4x96xf32>) {
  // expected-error @below {{'mohd.permute_weight' op expects a result of type 'tensor<96x16x4xf32>', got 'tensor<4x96x16xf32>'}}
  %p = mohd.permute_weight %w [2, 0, 1] : tensor<16x4x96xf32> -> tensor<4x96x16xf32>
  return
}

// -----

func.func @permute_weight_c1_element(%w: tensor<16x4xf32>) {
  // expected-error @below {{expects a result of type 'tensor<4x16xf32>', got 'tensor<4x16xbf16>'}}
  %p = mohd.permute_weight %w [1, 0] : tensor<16x4xf32> -> tensor<4x16xbf16>
  return
}

// -----

func.func @weight_gradient_c1(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.weight_gradient' op expects 'permutation' to hold each of 0..2 once, got [0, 1, 3]}}
  %w = mohd.weight_gradient %x, %z permutation [0, 1, 3] : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x4x96xf32>
  return
}

// -----

func.func @weight_gradient_c2(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.weight_gradient' op expects 'permutation' only with a result of rank 3, got rank 2}}
  %w = mohd.weight_gradient %x, %z permutation [1, 0] : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<96x64xf32>
  return
}

// -----

func.func @weight_gradient_c3(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.weight_gradient' op expects 'grouped' to have 16 x 5 columns, got 64}}
  %w = mohd.weight_gradient %x, %z : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x5x96xf32>
  return
}

// -----

// Dimension 0 of the result is the columns, 1 the groups.
func.func @weight_gradient_c3_permuted(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{expects 'other' to have 1 x 90 columns, got 96}}
  %w = mohd.weight_gradient %x, %z permutation [2, 0, 1] : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<90x16x4xf32>
  return
}

// -----

func.func @weight_gradient_c3_local(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{expects 'other' to have 16 x 96 columns, got 96}}
  %w = mohd.weight_gradient %x, %z local : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x4x96xf32>
  return
}

// -----

// The product of the extents does not fit 64 bits.
func.func @weight_gradient_c3_overflow(%x: tensor<?x0xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{expects 'grouped' to have 4294967296 x 4294967296 columns, got 0}}
  %w = mohd.weight_gradient %x, %z : tensor<?x0xf32>, tensor<?x96xf32> -> tensor<4294967296x4294967296x96xf32>
  return
}

// -----

func.func @weight_gradient_c4(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>, %r: !mohd.routing<8, 3, 1>) {
  // expected-error @below {{'mohd.weight_gradient' op expects a result of 8 groups, got 16}}
  %w = mohd.weight_gradient %x, %z routing(%r) : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<8, 3, 1> -> tensor<16x4x96xf32>
  return
}

// -----

func.func @weight_gradient_tokens(%x: tensor<3x64xf32>, %z: tensor<4x96xf32>) {
  // expected-error @below {{expects operand #1 to have 3 tokens, got 4}}
  %w = mohd.weight_gradient %x, %z : tensor<3x64xf32>, tensor<4x96xf32> -> tensor<64x96xf32>
  return
}

// -----

func.func @tiled_weight_gradient_c1(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.tiled_weight_gradient' op expects 'table' exactly if groups are chosen, got 2 chosen groups}}
  %w = mohd.tiled_weight_gradient %x, %z common 6 chosen 2 block 64 rows 4 : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x4x96xf32>
  return
}

// -----

func.func @tiled_weight_gradient_c2(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) {
  // expected-error @below {{'mohd.tiled_weight_gradient' op expects 'rows' in 1..64, got 65}}
  %w = mohd.tiled_weight_gradient %x, %z common 16 chosen 0 block 64 rows 65 : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x4x96xf32>
  return
}

// -----

func.func @gate_gradient_c1(%x: tensor<?x60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gate_gradient' op expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %g = mohd.gate_gradient %x, %x, %r : tensor<?x60xf32>, tensor<?x60xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  return
}

// -----

func.func @gate_gradient_c1_grad(%x: tensor<?x64xf32>, %z: tensor<?x32xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gate_gradient' op expects 'grad' to have 64 columns, got 32}}
  %g = mohd.gate_gradient %x, %z, %r : tensor<?x64xf32>, tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  return
}

// -----

func.func @gate_gradient_c2(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gate_gradient' op expects 'result' to have 8 columns, got 16}}
  %g = mohd.gate_gradient %x, %x, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  return
}

// -----

func.func @scale_gradient_c1(%x: tensor<?x64xf32>, %z: tensor<?x32xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.scale_gradient' op expects 'grad' to have 64 columns, got 32}}
  %g = mohd.scale_gradient %x, %z, %r scaling k_over_mass : tensor<?x64xf32>, tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  return
}

// -----

func.func @scale_gradient_c2(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.scale_gradient' op expects 'result' to have 8 columns, got 16}}
  %g = mohd.scale_gradient %x, %x, %r scaling k_over_mass : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  return
}

// -----

func.func @route_gradient_c1(%s: tensor<?x12xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.route_gradient' op expects 'scores' to have 16 columns, got 12}}
  %l = mohd.route_gradient %s, %r gate softmax score softmax_all : tensor<?x12xf32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  return
}

// -----

func.func @route_gradient_c1_result(%s: tensor<?x16xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{expects 'result' to have 16 columns, got 12}}
  %l = mohd.route_gradient %s, %r gate softmax score softmax_all : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<?x12xf32>
  return
}

// -----

func.func @route_gradient_c1_grad(%s: tensor<?x16xf32>, %ds: tensor<?x8xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{expects 'scores_grad' to have 16 columns, got 8}}
  %l = mohd.route_gradient %s, %r scores(%ds) gate softmax score softmax_all
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> scores tensor<?x8xf32> -> tensor<?x16xf32>
  return
}

// -----

func.func @route_gradient_c2(%s: tensor<?x16xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.route_gradient' op expects 'gates_grad' to have 8 columns, got 16}}
  %l = mohd.route_gradient %s, %r gates(%s) gate softmax score softmax_all
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> gates tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

func.func @balance_loss_gradient_c1(%g: tensor<f32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.balance_loss_gradient' op expects 'result' to have 16 columns, got 8}}
  %s = mohd.balance_loss_gradient %g, %r kind switch coefficient 1.0e-02 : tensor<f32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  return
}

// -----

func.func @rms_norm_gradient_c1(%x: tensor<?x64xf32>, %w: tensor<32xf32>) {
  // expected-error @below {{'mohd.rms_norm_gradient' op expects 'weight' to have 64 columns, got 32}}
  %g, %f = mohd.rms_norm_gradient %x, %w, %x epsilon 1.0e-05 : tensor<?x64xf32>, tensor<32xf32> -> tensor<?xf32>
  return
}

// -----

func.func @rms_norm_gradient_c2(%x: tensor<?x60xf32>, %w: tensor<60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.rms_norm_gradient' op expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %g, %f = mohd.rms_norm_gradient %x, %w, %x routing(%r) epsilon 1.0e-05
    : tensor<?x60xf32>, tensor<60xf32> routing !mohd.routing<16, 6, 2> -> tensor<?xf32>
  return
}

// -----

func.func @column_sums_c1(%x: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.column_sums' op expects 'result' to have 64 columns, got 32}}
  %s = mohd.column_sums %x : tensor<?x64xf32> -> tensor<32xf32>
  return
}

// -----

func.func @column_sums_c1_input(%x: tensor<?x64xf32>, %z: tensor<?x32xf32>) {
  // expected-error @below {{'mohd.column_sums' op expects 'input' to have 64 columns, got 32}}
  %s = mohd.column_sums %x input(%z) : tensor<?x64xf32> input tensor<?x32xf32> -> tensor<64xf32>
  return
}

// -----

func.func @fusion_mix_c1(%x: tensor<?x60xf32>, %l: tensor<4x16x16xf32>) {
  // expected-error @below {{'mohd.fusion_mix' op expects the blocks of 'left' to cover the width 60 of 'input', got 4 x 16}}
  %y = mohd.fusion_mix %x, %l : tensor<?x60xf32>, tensor<4x16x16xf32>
  return
}

// -----

func.func @fusion_mix_c2(%x: tensor<?x64xf32>, %l: tensor<8x8x8xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.fusion_mix' op expects 'left' to have 16 columns, one for each group of 'routing', got 8}}
  %y = mohd.fusion_mix %x, %l routing(%r) : tensor<?x64xf32>, tensor<8x8x8xf32> routing !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @fusion_mix_of_too_many_columns(%x: tensor<?x64xf32>, %l: tensor<4294967296x4294967296x1xf32>) {
  // expected-error @below {{expects a result of at most 9223372036854775807 columns, got 4294967296 x 4294967296}}
  %y = mohd.fusion_mix %x, %l : tensor<?x64xf32>, tensor<4294967296x4294967296x1xf32>
  return
}

// -----

func.func @fusion_mix_gradient_c1(%x: tensor<?x64xf32>, %z: tensor<?x12xf32>) {
  // expected-error @below {{'mohd.fusion_mix_gradient' op expects a result [l, s, r] with l*r = 64 and l*s = 12, got [4, 4, 16]}}
  %l = mohd.fusion_mix_gradient %x, %z : tensor<?x64xf32>, tensor<?x12xf32> -> tensor<4x4x16xf32>
  return
}

// -----

func.func @embed_gradient_c1(%ids: tensor<?xi32>, %x: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.embed_gradient' op expects 'result' to have 64 columns, got 32}}
  %t = mohd.embed_gradient %ids, %x : tensor<?xi32>, tensor<?x64xf32> -> tensor<256x32xf32>
  return
}

// -----

func.func @gather_groups_c1(%x: tensor<?x60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{to be a multiple of}}
  %a = mohd.gather_groups %x, %r : tensor<?x60xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
  return
}

// -----

func.func @gather_groups_c2(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gather_groups' op expects 32 columns for 8 active groups of 4, got 24}}
  %a = mohd.gather_groups %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x24xf32>
  return
}

// -----

func.func @gather_groups_c2_element(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gather_groups' op expects a result of the input's elements, got 'f32' and 'bf16'}}
  %a = mohd.gather_groups %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xbf16>
  return
}

// -----

func.func @scatter_groups_c1(%x: tensor<?x30xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.scatter_groups' op expects 32 columns for 8 active groups of 4, got 30}}
  %o = mohd.scatter_groups %x, %r : tensor<?x30xf32>, !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  return
}

// -----

func.func @scatter_groups_c2(%x: tensor<?x32xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{to be a multiple of}}
  %o = mohd.scatter_groups %x, %r : tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x65xf32>
  return
}
