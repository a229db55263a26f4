// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-tile-products --mohd-tile-products --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-tile-products=remarks=true -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

// The tokens of a group come from a table in large blocks; two gradients of one routing share it. The order of dimensions stays with the gradient.
// CHECK-LABEL: func.func @weight_gradients(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xf32>, %[[Y:[^:]*]]: tensor<?x96xf32>, %[[R:[^:]*]]: !mohd.routing<16, 6, 2>
// CHECK:         %[[T:.*]] = mohd.group_tokens %[[R]] block 8192 : {{.*}} -> tensor<?x13xi32>
// CHECK:         %[[A:.*]] = mohd.tiled_weight_gradient %[[X]], %[[Y]] table(%[[T]]) common 6 chosen 2 block 8192 rows {{[0-9]+}} : {{.*}} -> tensor<16x4x96xf32>
// CHECK-NOT:     mohd.group_tokens
// CHECK:         %[[B:.*]] = mohd.tiled_weight_gradient %[[X]], %[[X]] table(%[[T]]) permutation [2, 0, 1] local common 6 chosen 2 block 8192 rows {{[0-9]+}} : {{.*}} -> tensor<4x16x4xf32>
// CHECK:         return %[[A]], %[[B]]
// REMARK-DAG:    remark: tiles: mohd.weight_gradient by tiles of {{[0-9]+}} rows, in blocks of 8192 tokens
func.func @weight_gradients(%x: tensor<?x64xf32>, %y: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>) -> (tensor<16x4x96xf32>, tensor<4x16x4xf32>) {
  %a = mohd.weight_gradient %x, %y routing(%r) : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<16x4x96xf32>
  %b = mohd.weight_gradient %x, %x routing(%r) permutation [2, 0, 1] local
    : tensor<?x64xf32>, tensor<?x64xf32> routing !mohd.routing<16, 6, 2> -> tensor<4x16x4xf32>
  return %a, %b : tensor<16x4x96xf32>, tensor<4x16x4xf32>
}

// All tokens have every group, or there is only one: no table.
// CHECK-LABEL: func.func @gradients_of_all_tokens(
// CHECK-NOT:     mohd.group_tokens
// CHECK:         mohd.tiled_weight_gradient %{{.*}}, %{{[a-z0-9]*}} common 4 chosen 0
// CHECK:         mohd.tiled_weight_gradient %{{.*}}, %{{[a-z0-9]*}} common 1 chosen 0 {{.*}} -> tensor<64x96xbf16>
// CHECK-NOT:     mohd.group_tokens
func.func @gradients_of_all_tokens(%x: tensor<?x64xf32>, %y: tensor<?x96xf32>, %r: !mohd.routing<4, 1, 3>) -> (tensor<4x16x96xf32>, tensor<64x96xbf16>) {
  %a = mohd.weight_gradient %x, %y routing(%r) : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<4, 1, 3> -> tensor<4x16x96xf32>
  %b = mohd.weight_gradient %x, %y : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<64x96xbf16>
  return %a, %b : tensor<4x16x96xf32>, tensor<64x96xbf16>
}

// A left factor alone is the second step of a fusion, and keeps its routing.
// CHECK-LABEL: func.func @fusion_mix(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xbf16>, %[[L:[^:]*]]: tensor<4x3x16xf32>, %[[R:[^:]*]]: !mohd.routing
// CHECK:         %[[P:.*]] = mohd.pack_weight %[[L]] permutation [2, 1, 0] : tensor<4x3x16xf32> -> tensor<16x1x3x4xf32>
// CHECK:         %[[A:.*]] = mohd.mix_groups %[[X]], %[[P]] : tensor<?x64xbf16>, {{.*}} -> tensor<?x12xbf16>
// CHECK:         %[[B:.*]] = mohd.mix_groups %[[X]], %[[P]] routing(%[[R]]) :
// CHECK:         return %[[A]], %[[B]]
// REMARK-NOT:    fusion_mix
func.func @fusion_mix(%x: tensor<?x64xbf16>, %l: tensor<4x3x16xf32>, %r: !mohd.routing<16, 6, 2>) -> (tensor<?x12xbf16>, tensor<?x12xbf16>) {
  %a = mohd.fusion_mix %x, %l : tensor<?x64xbf16>, tensor<4x3x16xf32>
  %b = mohd.fusion_mix %x, %l routing(%r) : tensor<?x64xbf16>, tensor<4x3x16xf32> routing !mohd.routing<16, 6, 2>
  return %a, %b : tensor<?x12xbf16>, tensor<?x12xbf16>
}

// Blocks without a bias are a product by themselves, in the element type of the tokens.
// CHECK-LABEL: func.func @block_diagonal(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x20xbf16>, %[[W:[^:]*]]: tensor<4x6x5xf32>, %[[R:[^:]*]]: !mohd.routing
// CHECK-NOT:     mohd.group_fusion
// CHECK-DAG:     %[[P:.*]] = mohd.pack_weight %[[W]] permutation [0, 2, 1]
// CHECK-DAG:     %[[T:.*]] = mohd.group_tokens %[[R]]
// CHECK:         %[[Y:.*]] = mohd.tiled_sddmm %[[X]], %[[P]] table(%[[T]]) common 1 chosen 1 {{.*}} local : {{.*}} -> tensor<?x24xbf16>
// CHECK-NOT:     mohd.mix_groups
// CHECK:         return %[[Y]]
func.func @block_diagonal(%x: tensor<?x20xbf16>, %w: tensor<4x6x5xf32>, %r: !mohd.routing<4, 1, 1>) -> tensor<?x24xbf16> {
  %y = mohd.group_fusion %x kind block_diagonal right(%w) routing(%r) : tensor<?x20xbf16> right tensor<4x6x5xf32> routing !mohd.routing<4, 1, 1>
  return %y : tensor<?x24xbf16>
}

// A weight in another order is laid out from where it lies, whatever order the product wants in addition.
// CHECK-LABEL: func.func @permuted_weights(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x20xf32>, %[[W:[^:]*]]: tensor<6x4x5xf32>, %[[V:[^:]*]]: tensor<8x20xf32>
// CHECK-NOT:     mohd.permute_weight
// CHECK-DAG:     mohd.pack_weight %[[W]] permutation [1, 2, 0] : tensor<6x4x5xf32> -> tensor<4x1x5x8xf32>
// CHECK-DAG:     mohd.pack_weight %[[V]] permutation [1, 0] : tensor<8x20xf32> -> tensor<1x1x20x8xf32>
// CHECK-NOT:     mohd.permute_weight
// CHECK:         return
func.func @permuted_weights(%x: tensor<?x20xf32>, %w: tensor<6x4x5xf32>, %v: tensor<8x20xf32>) -> (tensor<?x24xf32>, tensor<?x8xf32>) {
  %right = mohd.permute_weight %w [1, 0, 2] : tensor<6x4x5xf32> -> tensor<4x6x5xf32>
  %y = mohd.group_fusion %x kind block_diagonal right(%right) : tensor<?x20xf32> right tensor<4x6x5xf32>
  %p = mohd.permute_weight %v [1, 0] : tensor<8x20xf32> -> tensor<20x8xf32>
  %z = mohd.linear %x, %p : tensor<?x20xf32>, tensor<20x8xf32> -> tensor<?x8xf32>
  return %y, %z : tensor<?x24xf32>, tensor<?x8xf32>
}
