// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of the ops particular to MoHD, named after it; then what types and interfaces check.

func.func @weight_c1_repeated() -> tensor<4x8xf32> {
  // expected-error @below {{'mohd.weight' op expects 'permutation' to hold each of 0..1 once, got [0, 0]}}
  %w = mohd.weight "w" permutation [0, 0] : tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @weight_c1_rank() -> tensor<4x8xf32> {
  // expected-error @below {{expects 'permutation' to hold each of 0..1 once, got [0, 1, 2]}}
  %w = mohd.weight "w" permutation [0, 1, 2] : tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @weight_c2_permuted() -> tensor<4x8xf32> {
  // expected-error @below {{'mohd.weight' op expects a result of shape [8, 4], got [4, 8]}}
  %w = mohd.weight "w" expanded_shape [4, 8] permutation [1, 0] : tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @weight_c2_rank() -> tensor<4x8xf32> {
  // expected-error @below {{expects a result of shape [32], got [4, 8]}}
  %w = mohd.weight "w" expanded_shape [32] permutation [1, 0] : tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @route_c1_groups(%n: tensor<?x64xf32>, %phi: tensor<8x64xf32>) {
  // expected-error @below {{'mohd.route' op expects 'centroids' of shape [16, 64], got [8, 64]}}
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<8x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

func.func @route_c1_width(%n: tensor<?x64xf32>, %phi: tensor<16x32xf32>) {
  // expected-error @below {{expects 'centroids' of shape [16, 64], got [16, 32]}}
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x32xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

func.func @route_c2(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  // expected-error @below {{'mohd.route' op expects 'scores' to have 16 columns, got 8}}
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x8xf32>
  return
}

// -----

func.func @route_c3_routed(%n: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.route' op expects 'centroids' unless no group is routed and the gate is not 'softmax', got none}}
  %r, %s = mohd.route %n gate binary score softmax_all
    : tensor<?x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

func.func @route_c3_softmax(%n: tensor<?x64xf32>) {
  // expected-error @below {{expects 'centroids' unless no group is routed and the gate is not 'softmax', got none}}
  %r, %s = mohd.route %n gate softmax score softmax_all
    : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return
}

// -----

func.func @route_c4(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  // expected-error @below {{'mohd.route' op expects scaling other than 'n_times_mass' with gate 'shared_one' (the result would be about 100 times too large)}}
  %r, %s = mohd.route %n, %phi gate shared_one score softmax_all scaling n_times_mass
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return
}

// -----

// Accepted, with a warning: one renormalized gate is a constant.
func.func @route_renormalized_one(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  // expected-warning @below {{gate 'renormalized' with one routed group gives the router no gradient from the model's loss}}
  %r, %s = mohd.route %n, %phi gate renormalized score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 1>, tensor<?x16xf32>
  return
}

// -----

// No warning with more routed groups, or with none.
func.func @route_renormalized_others(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  %r, %s = mohd.route %n, %phi gate renormalized score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %r0, %s0 = mohd.route %n gate renormalized score softmax_all
    : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return
}

// -----

func.func @make_routing_c1(%i: tensor<?x7xi32>, %g: tensor<?x8xf32>) {
  // expected-error @below {{'mohd.make_routing' op expects 'indices' to have 8 columns, got 7}}
  %r = mohd.make_routing %i, %g : tensor<?x7xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @make_routing_c2(%i: tensor<?x8xi32>, %g: tensor<?x9xf32>) {
  // expected-error @below {{'mohd.make_routing' op expects 'gates' to have 8 columns, got 9}}
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x9xf32> -> !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @unpack_routing_c1(%r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.unpack_routing' op expects 'indices' to have 8 columns, got 7}}
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x7xi32>, tensor<?x8xf32>
  return
}

// -----

func.func @unpack_routing_c2(%r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.unpack_routing' op expects 'gates' to have 8 columns, got 9}}
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x9xf32>
  return
}

// -----

func.func @gate_c1(%n: tensor<?x60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.gate' op expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %h = mohd.gate %n, %r : tensor<?x60xf32>, !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @scale_c1(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  // expected-note @below {{the gates are scaled here}}
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all scaling k_over_mass
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  // expected-error @below {{'mohd.scale' op expects a routing whose gates are not scaled already, got scaling 'k_over_mass'}}
  %h = mohd.scale %n, %r scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @scale_c2(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) {
  %r, %s = mohd.route %n, %phi gate shared_one score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  // expected-error @below {{'mohd.scale' op expects scaling other than 'n_times_mass' with gate 'shared_one'}}
  %h = mohd.scale %n, %r scaling n_times_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @spmm_c1(%h: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<8x8x96xf32>) {
  // expected-error @below {{'mohd.spmm' op expects 'weight' to have 16 groups, got 8}}
  %y = mohd.spmm %h, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<8x8x96xf32>
  return
}

// -----

func.func @spmm_c2(%h: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x5x96xf32>) {
  // expected-error @below {{'mohd.spmm' op expects the groups of 'weight' to cover the width 64 of 'input', got 16 x 5}}
  %y = mohd.spmm %h, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x5x96xf32>
  return
}

// -----

// 16 x (2^60 + 4) is 64 modulo 2^64.
func.func @spmm_c2_overflow(%h: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x1152921504606846980x2xf32>) {
  // expected-error @below {{expects the groups of 'weight' to cover the width 64 of 'input', got 16 x 1152921504606846980}}
  %y = mohd.spmm %h, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x1152921504606846980x2xf32>
  return
}

// -----

func.func @sddmm_c1(%z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<8x96x8xf32>) {
  // expected-error @below {{'mohd.sddmm' op expects 'weight' to have 16 groups, got 8}}
  %o = mohd.sddmm %z, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<8x96x8xf32>
  return
}

// -----

func.func @sddmm_c2(%z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x95x4xf32>) {
  // expected-error @below {{'mohd.sddmm' op expects 'weight' to contract the width 96 of 'input', got 95}}
  %o = mohd.sddmm %z, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x95x4xf32>
  return
}

// -----

func.func @sddmm_c3(%z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x96x4xf32>) {
  // expected-error @below {{'mohd.sddmm' op expects plan 'dense' only if all 16 groups are active, got 8}}
  %o = mohd.sddmm %z, %r, %w plan <gather to 24, dense> : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf32>
  return
}

// -----

func.func @spmm_c3(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf32>) {
  // expected-error @below {{'mohd.spmm' op expects plan 'dense' only if all 16 groups are active, got 8}}
  %y = mohd.spmm %x, %r, %w plan <gather to 24, dense> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  return
}

// -----

func.func @sddmm_width_overflow(%z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>,
                                %w: tensor<16x96x1152921504606846980xf32>) {
  // expected-error @below {{expects a result of at most 9223372036854775807 columns, got 16 x 1152921504606846980}}
  %o = mohd.sddmm %z, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x1152921504606846980xf32>
  return
}

// -----

func.func @group_fusion_c1_missing(%o: tensor<?x64xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects 'right' exactly for kinds other than 'none', got kind 'block_diagonal'}}
  %y = mohd.group_fusion %o kind block_diagonal : tensor<?x64xf32>
  return
}

// -----

func.func @group_fusion_c1_none(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>) {
  // expected-error @below {{expects 'right' exactly for kinds other than 'none', got kind 'none'}}
  %y = mohd.group_fusion %o kind none right(%right) : tensor<?x64xf32> right tensor<16x4x4xf32>
  return
}

// -----

func.func @group_fusion_c1_width(%o: tensor<?x64xf32>, %right: tensor<16x4x5xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects the blocks of 'right' to cover the width 64 of 'input', got 16 x 5}}
  %y = mohd.group_fusion %o kind block_diagonal right(%right) : tensor<?x64xf32> right tensor<16x4x5xf32>
  return
}

// -----

func.func @group_fusion_c2_missing(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects 'left' exactly for kind 'monarch', got kind 'monarch'}}
  %y = mohd.group_fusion %o kind monarch right(%right) : tensor<?x64xf32> right tensor<16x4x4xf32>
  return
}

// -----

func.func @group_fusion_c2_block_diagonal(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x16xf32>) {
  // expected-error @below {{expects 'left' exactly for kind 'monarch', got kind 'block_diagonal'}}
  %y = mohd.group_fusion %o kind block_diagonal right(%right) left(%left)
    : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32>
  return
}

// -----

func.func @group_fusion_c2_rows(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x8xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects the blocks of 'left' to cover the 16 x 4 rows of 'right', got 4 x 8}}
  %y = mohd.group_fusion %o kind monarch right(%right) left(%left)
    : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x8xf32>
  return
}

// -----

func.func @group_fusion_c3_kind(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x16xf32>,
                                %b: tensor<64xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects 'bias' only with kind 'block_diagonal', got kind 'monarch'}}
  %y = mohd.group_fusion %o kind monarch right(%right) left(%left) bias(%b)
    : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32> bias tensor<64xf32>
  return
}

// -----

func.func @group_fusion_c3_width(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %b: tensor<32xf32>) {
  // expected-error @below {{'mohd.group_fusion' op expects 'bias' to have width 64, got 32}}
  %y = mohd.group_fusion %o kind block_diagonal right(%right) bias(%b)
    : tensor<?x64xf32> right tensor<16x4x4xf32> bias tensor<32xf32>
  return
}

// -----

func.func @group_fusion_c4(%o: tensor<?x64xf32>, %right: tensor<8x8x8xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.group_fusion' op expects 'right' to have 16 blocks, one for each group of 'routing', got 8}}
  %y = mohd.group_fusion %o kind block_diagonal right(%right) routing(%r)
    : tensor<?x64xf32> right tensor<8x8x8xf32> routing !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @balance_loss_c1(%s: tensor<?x8xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.balance_loss' op expects 'scores' to have 16 columns, got 8}}
  %l = mohd.balance_loss %s, %r kind deepseek coefficient 0.01
    : tensor<?x8xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
  return
}

// -----

// expected-error @below {{expects at least one group in a routing, got 0}}
func.func private @routing_no_group(!mohd.routing<0, 0, 0>)

// -----

// expected-error @below {{expects numbers of shared and routed groups that are not negative, got -1 and 2}}
func.func private @routing_negative(!mohd.routing<16, -1, 2>)

// -----

// expected-error @below {{expects at most 16 active groups in a routing, got 15 shared and 2 routed}}
func.func private @routing_too_many(!mohd.routing<16, 15, 2>)

// -----

// expected-error @below {{expects at most 16 active groups in a routing, got 9223372036854775807 shared and 9223372036854775807 routed}}
func.func private @routing_overflow(!mohd.routing<16, 9223372036854775807, 9223372036854775807>)

// -----

// expected-error @below {{expects at least one active group in a routing, got none}}
func.func private @routing_none_active(!mohd.routing<16, 0, 0>)

// -----

func.func @token_counts_of_operands(%i: tensor<4x8xi32>, %g: tensor<5x8xf32>) {
  // expected-error @below {{'mohd.make_routing' op expects operand #1 to have 4 tokens, got 5}}
  %r = mohd.make_routing %i, %g : tensor<4x8xi32>, tensor<5x8xf32> -> !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @token_counts_of_results(%ids: tensor<4xi32>, %table: tensor<256x64xf32>) {
  // expected-error @below {{'mohd.embed' op expects result #0 to have 4 tokens, got 5}}
  %x = mohd.embed %ids, %table : tensor<4xi32>, tensor<256x64xf32> -> tensor<5x64xf32>
  return
}

// -----

func.func @token_tensor_of_dynamic_width(%x: tensor<?x?xf32>) {
  // expected-error @below {{operand #0 must be [tokens, width] tensor of f32, bf16 or f16 with static width, but got 'tensor<?x?xf32>'}}
  %y = mohd.silu %x : tensor<?x?xf32>
  return
}

// -----

func.func @token_tensor_of_f64(%x: tensor<?x64xf64>) {
  // expected-error @below {{operand #0 must be [tokens, width] tensor of f32, bf16 or f16 with static width, but got 'tensor<?x64xf64>'}}
  %y = mohd.silu %x : tensor<?x64xf64>
  return
}

// -----

func.func @result_of_another_type(%h: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf32>) {
  // expected-error @below {{'mohd.spmm' op failed to infer returned types}}
  // expected-error @below {{'mohd.spmm' op inferred type(s) 'tensor<?x96xf32>' are incompatible with return type(s) of operation 'tensor<?x95xf32>'}}
  %y = "mohd.spmm"(%h, %r, %w) : (tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>) -> tensor<?x95xf32>
  return
}
