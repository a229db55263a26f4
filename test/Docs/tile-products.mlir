// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products="lanes=16 registers=32 l2-bytes=1048576" --cse | FileCheck %s

// A product of routed groups: the weight's layout says panels, the tokens are listed by group and packed, and the product reads both front to back. CSE
// removes the weight as it was.

// CHECK-LABEL: func.func @project(
// CHECK-SAME:    %[[X:.*]]: tensor<?x64xf32>, %[[R:.*]]: !mohd.routing<16, 6, 2>)
// CHECK-NEXT:    %[[W:.*]] = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 : tensor<16x6x4x16xf32>
// CHECK-NEXT:    %[[T:.*]] = mohd.group_tokens %[[R]] block 266 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
// CHECK-NEXT:    %[[P:.*]] = mohd.pack_tokens %[[X]] routing(%[[R]]) table(%[[T]]) block 266 rows 14
// CHECK-NEXT:    %[[Y:.*]] = mohd.tiled_spmm %[[P]], %[[W]] table(%[[T]]) common 6 chosen 2 block 266 few 24 rows 14 panels 2
// CHECK-NEXT:    return %[[Y]]
func.func @project(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x96xf32> {
  %w = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xf32>
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  return %y : tensor<?x96xf32>
}

// The two factors of a Monarch fusion: the groups' own columns, then the mix of groups, which adds the residual stream. The right factor lies as [k, p, q], the
// left one as [r, s, l].

// CHECK-LABEL: func.func @mix(
// CHECK-SAME:    %[[O:.*]]: tensor<?x64xf32>, %[[X:.*]]: tensor<?x64xf32>, %[[R:.*]]: !mohd.routing<16, 6, 2>)
// CHECK-DAG:     %[[RIGHT:.*]] = mohd.weight "right" expanded_shape [16, 4, 4] permutation [0, 2, 1] panels 4 : tensor<16x1x4x4xf32>
// CHECK-DAG:     %[[T:.*]] = mohd.group_tokens %[[R]] block 266 :
// CHECK:         %[[U:.*]] = mohd.tiled_sddmm %[[O]], %[[RIGHT]] table(%[[T]]) common 6 chosen 2 block 266 few 0 rows 14 panels 1 depth 4 local
// CHECK:         %[[LEFT:.*]] = mohd.weight "left" expanded_shape [4, 16, 16] permutation [2, 1, 0] panels 4 : tensor<16x1x16x4xf32>
// CHECK-NEXT:    %[[Y:.*]] = mohd.mix_groups %[[U]], %[[LEFT]] routing(%[[R]]) residual(%[[X]])
// CHECK-NEXT:    return %[[Y]]
func.func @mix(%o: tensor<?x64xf32>, %x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x64xf32> {
  %right = mohd.weight "right" : tensor<16x4x4xf32>
  %left = mohd.weight "left" : tensor<4x16x16xf32>
  %f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32> routing !mohd.routing<16, 6, 2>
  %y = mohd.add %x, %f : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
