// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-tile-products --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-tile-products --mohd-tile-products --cse | FileCheck %s

// A weight of the model's files is laid out when the bundle is written: in panels, its view kept.
// CHECK-LABEL: func.func @weight_of_a_file(
// CHECK-NOT:     mohd.pack_weight
// CHECK:         %[[W:.*]] = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 : tensor<16x6x4x16xbf16>
// CHECK-NOT:     mohd.pack_weight
// CHECK:         mohd.tiled_spmm %{{.*}}, %[[W]]
func.func @weight_of_a_file(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x96xf32> {
  %w = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  return %y : tensor<?x96xf32>
}

// A matrix gets an axis for its one group, first in the layout; a weight without a view, the view that it has.
// CHECK-LABEL: func.func @matrices_of_a_file(
// CHECK:         mohd.weight "down" expanded_shape [96, 64, 1] permutation [2, 1, 0] panels 16 : tensor<1x6x64x16xf32>
// CHECK:         mohd.weight "up" expanded_shape [96, 32, 1] permutation [2, 0, 1] panels 16 : tensor<1x2x96x16xf32>
func.func @matrices_of_a_file(%x: tensor<?x64xf32>) -> tensor<?x32xf32> {
  %w = mohd.weight "down" expanded_shape [96, 64] permutation [1, 0] : tensor<64x96xf32>
  %v = mohd.weight "up" : tensor<96x32xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %z = mohd.linear %y, %v : tensor<?x96xf32>, tensor<96x32xf32> -> tensor<?x32xf32>
  return %z : tensor<?x32xf32>
}

// Any other weight is laid out in the call.
// CHECK-LABEL: func.func @weight_of_a_call(
// CHECK-SAME:    %[[W:[^:]*]]: tensor<16x4x96xbf16>
// CHECK:         %[[P:.*]] = mohd.pack_weight %[[W]] : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
// CHECK:         mohd.tiled_spmm %{{.*}}, %[[P]]
func.func @weight_of_a_call(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xbf16>) -> tensor<?x96xf32> {
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  return %y : tensor<?x96xf32>
}

// Three projections of the same tokens have one list and one packing between them.
// CHECK-LABEL: func.func @projections(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xf32>, %[[R:[^:]*]]: !mohd.routing<16, 6, 2>
// CHECK:         %[[T:.*]] = mohd.group_tokens %[[R]] block [[B:[0-9]+]] : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
// CHECK:         %[[P:.*]] = mohd.pack_tokens %[[X]] routing(%[[R]]) table(%[[T]]) block [[B]] rows [[ROWS:[0-9]+]] {{.*}} -> tensor<?x32xf32>
// CHECK-NOT:     mohd.group_tokens
// CHECK-NOT:     mohd.pack_tokens
// CHECK-COUNT-3: mohd.tiled_spmm %[[P]], %{{.*}} table(%[[T]]) common 6 chosen 2 block [[B]] few 24 rows [[ROWS]]
// CHECK-NOT:     mohd.group_tokens
// CHECK-NOT:     mohd.pack_tokens
// CHECK:         return
func.func @projections(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %q: tensor<16x4x96xf32>, %k: tensor<16x4x96xf32>,
                       %v: tensor<16x4x48xbf16>) -> (tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x48xf32>) {
  %a = mohd.spmm %x, %r, %q plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  %b = mohd.spmm %x, %r, %k plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  %c = mohd.spmm %x, %r, %v plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x48xbf16>
  return %a, %b, %c : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x48xf32>
}

// Where all tokens have the same groups there is nothing to list: all active, or none routed.
// CHECK-LABEL: func.func @all_active(
// CHECK-NOT:     mohd.group_tokens
// CHECK:         mohd.pack_tokens %{{.*}} routing(%{{.*}}) block
// CHECK:         mohd.tiled_spmm %{{.*}}, %{{.*}} common 4 chosen 0 block
// CHECK:         mohd.tiled_sddmm %{{.*}}, %{{.*}} common 4 chosen 0 block
// CHECK:         return
func.func @all_active(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 1, 3>, %w: tensor<4x16x96xf32>, %v: tensor<4x96x16xf32>) -> tensor<?x64xf32> {
  %y = mohd.spmm %x, %r, %w plan <gather to 24, dense> : tensor<?x64xf32>, !mohd.routing<4, 1, 3>, tensor<4x16x96xf32>
  %z = mohd.sddmm %y, %r, %v plan <gather to 24, dense> : tensor<?x96xf32>, !mohd.routing<4, 1, 3>, tensor<4x96x16xf32>
  return %z : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @none_routed(
// CHECK-NOT:     mohd.group_tokens
// CHECK:         mohd.pack_tokens %{{.*}} routing(%{{.*}}) block {{.*}} -> tensor<?x32xf32>
// CHECK:         mohd.tiled_spmm %{{.*}}, %{{.*}} common 2 chosen 0 block
// CHECK:         mohd.tiled_sddmm %{{.*}}, %{{.*}} common 2 chosen 0 block
// CHECK:         return
func.func @none_routed(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 2, 0>, %w: tensor<4x16x96xf32>, %v: tensor<4x96x16xf32>) -> tensor<?x64xf32> {
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<4, 2, 0>, tensor<4x16x96xf32>
  %z = mohd.sddmm %y, %r, %v plan <gather to 24, grouped> : tensor<?x96xf32>, !mohd.routing<4, 2, 0>, tensor<4x96x16xf32>
  return %z : tensor<?x64xf32>
}

// A linear is one group that every token has. Packed tokens are f32, the result is what it was; 100 columns need a seventh panel.
// CHECK-LABEL: func.func @linear(
// CHECK-NOT:     mohd.group_tokens
// CHECK:         %[[W:.*]] = mohd.pack_weight %{{.*}} -> tensor<1x7x64x16xf32>
// CHECK:         %[[P:.*]] = mohd.pack_tokens %{{.*}} block {{[0-9]+}} rows {{[0-9]+}} : tensor<5x64xf16> -> tensor<5x64xf32>
// CHECK:         mohd.tiled_spmm %[[P]], %[[W]] common 1 chosen 0 block {{.*}} -> tensor<5x100xbf16>
func.func @linear(%x: tensor<5x64xf16>, %w: tensor<64x100xf32>) -> tensor<5x100xbf16> {
  %y = mohd.linear %x, %w : tensor<5x64xf16>, tensor<64x100xf32> -> tensor<5x100xbf16>
  return %y : tensor<5x100xbf16>
}

// Groups narrower than a panel have one of the next power of two.
// CHECK-LABEL: func.func @narrow_groups(
// CHECK:         mohd.pack_weight %{{.*}} : tensor<4x96x5xf32> -> tensor<4x1x96x8xf32>
// CHECK:         mohd.pack_weight %{{.*}} : tensor<4x96x1xf32> -> tensor<4x1x96x1xf32>
func.func @narrow_groups(%x: tensor<?x96xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<4x96x5xf32>, %v: tensor<4x96x1xf32>)
    -> (tensor<?x20xf32>, tensor<?x4xf32>) {
  %y = mohd.sddmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x96xf32>, !mohd.routing<4, 1, 2>, tensor<4x96x5xf32>
  %z = mohd.sddmm %x, %r, %v plan <gather to 24, grouped> : tensor<?x96xf32>, !mohd.routing<4, 1, 2>, tensor<4x96x1xf32>
  return %y, %z : tensor<?x20xf32>, tensor<?x4xf32>
}

// 16-bit weights are widened 256 steps at a time; where sums cannot wait in the result because it is narrow too, all steps are taken at once.
// CHECK-LABEL: func.func @depths(
// CHECK:         mohd.tiled_sddmm {{.*}} depth 256 : {{.*}}xbf16> table {{.*}} -> tensor<?x64xf32>
// CHECK:         mohd.tiled_sddmm {{.*}} depth 96 : {{.*}}xbf16> table {{.*}} -> tensor<?x64xf32>
// CHECK:         mohd.tiled_sddmm {{.*}} depth 4096 : {{.*}}xbf16> table {{.*}} -> tensor<?x64xf16>
func.func @depths(%x: tensor<?x4096xf32>, %y: tensor<?x96xf32>, %z: tensor<?x4096xf16>, %r: !mohd.routing<4, 1, 2>,
                  %w: tensor<4x4096x16xbf16>, %v: tensor<4x96x16xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf16>) {
  %a = mohd.sddmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x4096xf32>, !mohd.routing<4, 1, 2>, tensor<4x4096x16xbf16>
  %b = mohd.sddmm %y, %r, %v plan <gather to 24, grouped> : tensor<?x96xf32>, !mohd.routing<4, 1, 2>, tensor<4x96x16xbf16>
  %c = mohd.sddmm %z, %r, %w plan <gather to 24, grouped> : tensor<?x4096xf16>, !mohd.routing<4, 1, 2>, tensor<4x4096x16xbf16>
  return %a, %b, %c : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf16>
}

// Other ops stay, and with them weights that no product reads.
// CHECK-LABEL: func.func @other_ops(
// CHECK-NEXT:    mohd.weight "norm" : tensor<64xf32>
// CHECK-NEXT:    mohd.rms_norm
// CHECK-NEXT:    mohd.gate
// CHECK-NEXT:    mohd.silu
// CHECK-NEXT:    return
func.func @other_ops(%x: tensor<?x64xf32>, %r: !mohd.routing<4, 1, 2>) -> tensor<?x64xf32> {
  %w = mohd.weight "norm" : tensor<64xf32>
  %n = mohd.rms_norm %x, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  %g = mohd.gate %n, %r : tensor<?x64xf32>, !mohd.routing<4, 1, 2>
  %s = mohd.silu %g : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// Scales as a weight of their own are a row of their view: no layout of the file gives them in panels.
// CHECK-LABEL: func.func @scales_as_weight(
// CHECK:         %[[S:.*]] = mohd.weight "a" expanded_shape [8, 4, 16] permutation [0, 1, 2] {{.*}} : tensor<8x16xf32>
// CHECK:         mohd.pack_weight %[[S]] : tensor<8x16xf32> -> tensor<1x1x8x16xf32>
func.func @scales_as_weight(%x: tensor<?x8xf32>) -> tensor<?x16xf32> {
  %s = mohd.weight "a" expanded_shape [8, 4, 16] permutation [0, 1, 2] quantized scales : tensor<8x16xf32>
  %y = mohd.linear %x, %s : tensor<?x8xf32>, tensor<8x16xf32> -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}
