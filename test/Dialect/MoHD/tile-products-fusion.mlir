// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-tile-products --mohd-tile-products --cse | FileCheck %s

// A Monarch fusion is its right factor, group by group, then its left one. The right factor [k, q, p] lies as [k, p, q], the left one [l, s, r] as [r, s, l], in panels: what they
// have in the model's files is permuted once more, when the bundle is written.
// CHECK-LABEL: func.func @factors_of_a_file(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x80xf32>, %[[R:[^:]*]]: !mohd.routing<16, 6, 2>
// CHECK-NOT:     mohd.pack_weight
// CHECK-DAG:     %[[RIGHT:.*]] = mohd.weight "right" expanded_shape [16, 4, 5] permutation [0, 2, 1] panels 4 : tensor<16x1x5x4xbf16>
// CHECK-DAG:     %[[T:.*]] = mohd.group_tokens %[[R]] block [[B:[0-9]+]] :
// CHECK:         %[[U:.*]] = mohd.tiled_sddmm %[[X]], %[[RIGHT]] table(%[[T]]) common 6 chosen 2 block [[B]] few 0 rows {{[0-9]+}} panels 1 depth 5 local : {{.*}} -> tensor<?x64xf32>
// CHECK:         %[[LEFT:.*]] = mohd.weight "left" expanded_shape [16, 4, 20] permutation [0, 2, 1] panels 4 : tensor<16x1x20x4xf32>
// CHECK:         %[[Y:.*]] = mohd.mix_groups %[[U]], %[[LEFT]] routing(%[[R]]) :
// CHECK:         return %[[Y]]
func.func @factors_of_a_file(%x: tensor<?x80xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x80xf32> {
  %right = mohd.weight "right" : tensor<16x4x5xbf16>
  %left = mohd.weight "left" expanded_shape [16, 4, 20] permutation [1, 2, 0] : tensor<4x20x16xf32>
  %y = mohd.group_fusion %x kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x80xf32> right tensor<16x4x5xbf16> left tensor<4x20x16xf32> routing !mohd.routing<16, 6, 2>
  return %y : tensor<?x80xf32>
}

// Factors that are arguments are laid out in the call.
// CHECK-LABEL: func.func @factors_of_a_call(
// CHECK-SAME:    %[[R:[^:]*]]: tensor<2x20x3xf32>, %[[L:[^:]*]]: tensor<20x3x2xf32>
// CHECK-DAG:     %[[RIGHT:.*]] = mohd.pack_weight %[[R]] permutation [0, 2, 1] : tensor<2x20x3xf32> -> tensor<2x2x3x16xf32>
// CHECK:         %[[U:.*]] = mohd.tiled_sddmm %{{.*}}, %[[RIGHT]] common 2 chosen 0 {{.*}} local : {{.*}} -> tensor<?x40xf32>
// CHECK:         %[[LEFT:.*]] = mohd.pack_weight %[[L]] permutation [2, 1, 0] : tensor<20x3x2xf32> -> tensor<2x2x3x16xf32>
// CHECK:         mohd.mix_groups %[[U]], %[[LEFT]] : {{.*}} -> tensor<?x60xf32>
func.func @factors_of_a_call(%right: tensor<2x20x3xf32>, %left: tensor<20x3x2xf32>, %x: tensor<?x6xf32>) -> tensor<?x60xf32> {
  %y = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x6xf32> right tensor<2x20x3xf32> left tensor<20x3x2xf32>
  return %y : tensor<?x60xf32>
}

// The middle is f32 whatever the tokens are.
// CHECK-LABEL: func.func @narrow_tokens(
// CHECK:         mohd.tiled_sddmm {{.*}} : tensor<?x6xbf16>, {{.*}} -> tensor<?x8xf32>
// CHECK:         mohd.mix_groups {{.*}} : tensor<?x8xf32>, {{.*}} -> tensor<?x12xbf16>
func.func @narrow_tokens(%right: tensor<2x4x3xf32>, %left: tensor<4x3x2xf32>, %x: tensor<?x6xbf16>) -> tensor<?x12xbf16> {
  %y = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x6xbf16> right tensor<2x4x3xf32> left tensor<4x3x2xf32>
  return %y : tensor<?x12xbf16>
}

// The right factor makes 4 blocks of 6 columns, the left one reads 3 of 8: these are not the token's groups, and all of them count.
// CHECK-LABEL: func.func @other_blocks(
// CHECK:         %[[U:.*]] = mohd.tiled_sddmm %{{.*}} table(%{{.*}}) common 1 chosen 1
// CHECK:         mohd.mix_groups %[[U]], %{{[^ ]*}} : tensor<?x24xf32>, tensor<3x1x2x8xf32> -> tensor<?x16xf32>
func.func @other_blocks(%right: tensor<4x6x5xf32>, %left: tensor<8x2x3xf32>, %x: tensor<?x20xf32>, %r: !mohd.routing<4, 1, 1>) -> tensor<?x16xf32> {
  %y = mohd.group_fusion %x kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x20xf32> right tensor<4x6x5xf32> left tensor<8x2x3xf32> routing !mohd.routing<4, 1, 1>
  return %y : tensor<?x16xf32>
}

// The residual stream goes into the second factor, whichever side of the sum it is on.
// CHECK-LABEL: func.func @residuals(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x8xf32>
// CHECK-NOT:     mohd.add
// CHECK:         %[[A:.*]] = mohd.mix_groups %{{.*}}, %{{.*}} residual(%[[X]])
// CHECK-NOT:     mohd.add
// CHECK:         %[[B:.*]] = mohd.mix_groups %{{.*}}, %{{.*}} residual(%[[A]])
// CHECK-NOT:     mohd.add
// CHECK:         return %[[B]]
func.func @residuals(%x: tensor<?x8xf32>, %right: tensor<2x4x4xf32>, %left: tensor<4x2x2xf32>) -> tensor<?x8xf32> {
  %f = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %a = mohd.add %x, %f : tensor<?x8xf32>
  %g = mohd.group_fusion %a kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %b = mohd.add %g, %a : tensor<?x8xf32>
  return %b : tensor<?x8xf32>
}

// Of two fusions that are added, one adds the other.
// CHECK-LABEL: func.func @sum_of_fusions(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x8xf32>
// CHECK-NOT:     mohd.add
// CHECK:         %[[G:.*]] = mohd.mix_groups %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK:         %[[SUM:.*]] = mohd.mix_groups %{{.*}}, %{{.*}} residual(%[[G]])
// CHECK-NOT:     mohd.add
// CHECK:         return %[[SUM]]
func.func @sum_of_fusions(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>, %right: tensor<2x4x4xf32>, %left: tensor<4x2x2xf32>) -> tensor<?x8xf32> {
  %f = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %g = mohd.group_fusion %y kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %a = mohd.add %f, %g : tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// A result that is needed without the residual too stays, and so does a sum with itself.
// CHECK-LABEL: func.func @two_uses(
// CHECK:         %[[F:.*]] = mohd.mix_groups %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK:         %[[A:.*]] = mohd.add %{{.*}}, %[[F]]
// CHECK:         %[[G:.*]] = mohd.mix_groups %{{[^ ]*}}, %{{[^ ]*}} :
// CHECK:         %[[B:.*]] = mohd.add %[[G]], %[[G]]
// CHECK:         return %[[F]], %[[A]], %[[B]]
func.func @two_uses(%x: tensor<?x8xf32>, %right: tensor<2x4x4xf32>, %left: tensor<4x2x2xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %f = mohd.group_fusion %x kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %a = mohd.add %x, %f : tensor<?x8xf32>
  %g = mohd.group_fusion %a kind monarch right(%right) left(%left) : tensor<?x8xf32> right tensor<2x4x4xf32> left tensor<4x2x2xf32>
  %b = mohd.add %g, %g : tensor<?x8xf32>
  return %f, %a, %b : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// Blocks with a bias are no product of these kinds: they stay, and their sum too.
// CHECK-LABEL: func.func @other_kinds(
// CHECK-NOT:     mohd.pack_weight
// CHECK:         mohd.group_fusion %{{.*}} kind block_diagonal
// CHECK:         mohd.add
// CHECK-NOT:     mohd.mix_groups
// CHECK:         return
func.func @other_kinds(%x: tensor<?x8xf32>, %right: tensor<2x4x4xf32>, %bias: tensor<8xf32>) -> tensor<?x8xf32> {
  %f = mohd.group_fusion %x kind block_diagonal right(%right) bias(%bias) : tensor<?x8xf32> right tensor<2x4x4xf32> bias tensor<8xf32>
  %a = mohd.add %x, %f : tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}
