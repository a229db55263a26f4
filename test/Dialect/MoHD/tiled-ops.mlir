// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// What scheduling puts in place of products parses, prints and round-trips.

// CHECK-LABEL: @weight_in_panels(
// CHECK: mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 : tensor<16x6x4x16xbf16>
// CHECK: mohd.weight "r" expanded_shape [2, 3, 20] panels 8 : tensor<2x3x3x8xf32>
func.func @weight_in_panels() -> (tensor<16x6x4x16xbf16>, tensor<2x3x3x8xf32>) {
  %a = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 : tensor<16x6x4x16xbf16>
  %b = mohd.weight "r" expanded_shape [2, 3, 20] panels 8 : tensor<2x3x3x8xf32>
  return %a, %b : tensor<16x6x4x16xbf16>, tensor<2x3x3x8xf32>
}

// A matrix counts as one group.
// CHECK-LABEL: @pack_weight(
// CHECK: mohd.pack_weight %{{.*}} : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
// CHECK: mohd.pack_weight %{{.*}} : tensor<64x100xf16> -> tensor<1x7x64x16xf16>
// CHECK: mohd.pack_weight %{{.*}} permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x2x16x2xbf16>
func.func @pack_weight(%w: tensor<16x4x96xbf16>, %m: tensor<64x100xf16>)
    -> (tensor<16x6x4x16xbf16>, tensor<1x7x64x16xf16>, tensor<96x2x16x2xbf16>) {
  %p = mohd.pack_weight %w : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
  %q = mohd.pack_weight %m : tensor<64x100xf16> -> tensor<1x7x64x16xf16>
  %r = mohd.pack_weight %w permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x2x16x2xbf16>
  return %p, %q, %r : tensor<16x6x4x16xbf16>, tensor<1x7x64x16xf16>, tensor<96x2x16x2xbf16>
}

// With a routing and a table, with a routing alone (all tokens have the same groups), and with neither.
// CHECK-LABEL: @pack_tokens(
// CHECK: %[[TABLE:.*]] = mohd.group_tokens %{{.*}} block 256 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
// CHECK: mohd.pack_tokens %{{.*}} routing(%{{.*}}) table(%[[TABLE]]) block 256 rows 12 : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> table tensor<?x13xi32> -> tensor<?x32xf32>
// CHECK: mohd.pack_tokens %{{.*}} routing(%{{.*}}) block 256 rows 12 : tensor<?x64xf32> routing !mohd.routing<16, 8, 0> -> tensor<?x32xf32>
// CHECK: mohd.pack_tokens %{{.*}} block 64 rows 4 : tensor<?x64xf32> -> tensor<?x64xf32>
func.func @pack_tokens(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %s: !mohd.routing<16, 8, 0>)
    -> (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x64xf32>) {
  %t = mohd.group_tokens %r block 256 : !mohd.routing<16, 6, 2> -> tensor<?x13xi32>
  %a = mohd.pack_tokens %x routing(%r) table(%t) block 256 rows 12
    : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> table tensor<?x13xi32> -> tensor<?x32xf32>
  %b = mohd.pack_tokens %x routing(%s) block 256 rows 12
    : tensor<?x64xf32> routing !mohd.routing<16, 8, 0> -> tensor<?x32xf32>
  %c = mohd.pack_tokens %x block 64 rows 4 : tensor<?x64xf32> -> tensor<?x64xf32>
  return %a, %b, %c : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: @products(
// CHECK: mohd.tiled_spmm %{{.*}}, %{{.*}} table(%{{.*}}) common 6 chosen 2 block 256 few 24 rows 12 panels 2 : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
// CHECK: mohd.tiled_spmm %{{.*}}, %{{.*}} common 8 chosen 0 block 256 few 24 rows 12 panels 2 : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x90xf32>
// CHECK: mohd.tiled_sddmm %{{.*}}, %{{.*}} table(%{{.*}}) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 64 : tensor<?x96xf32>, tensor<16x1x96x4xf16> table tensor<?x13xi32> -> tensor<?x64xf32>
// CHECK: mohd.tiled_sddmm %{{.*}}, %{{.*}} common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96 : tensor<?x96xf32>, tensor<16x1x96x4xf16> -> tensor<?x48xf32>
func.func @products(%x: tensor<?x32xf32>, %w: tensor<16x6x4x16xbf16>, %v: tensor<16x1x96x4xf16>, %t: tensor<?x13xi32>)
    -> (tensor<?x96xf32>, tensor<?x90xf32>, tensor<?x64xf32>, tensor<?x48xf32>) {
  %a = mohd.tiled_spmm %x, %w table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> table tensor<?x13xi32> -> tensor<?x96xf32>
  %b = mohd.tiled_spmm %x, %w common 8 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x32xf32>, tensor<16x6x4x16xbf16> -> tensor<?x90xf32>
  %c = mohd.tiled_sddmm %a, %v table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 64
    : tensor<?x96xf32>, tensor<16x1x96x4xf16> table tensor<?x13xi32> -> tensor<?x64xf32>
  %d = mohd.tiled_sddmm %a, %v common 8 chosen 0 block 256 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xf16> -> tensor<?x48xf32>
  return %a, %b, %c, %d : tensor<?x96xf32>, tensor<?x90xf32>, tensor<?x64xf32>, tensor<?x48xf32>
}

// CHECK-LABEL: @epilogues(
// CHECK: mohd.tiled_spmm %{{.*}}, %{{.*}} gate(%{{.*}}) common 16 chosen 0 {{.*}} : tensor<?x64xf32>, tensor<16x6x4x16xbf16> gate tensor<?x96xf32> -> tensor<?x96xf32>
// CHECK: mohd.tiled_spmm %{{.*}}, %{{.*}} residual(%{{.*}}) common 16 chosen 0 {{.*}} : tensor<?x64xf32>, tensor<16x6x4x16xbf16> residual tensor<?x96xf32> -> tensor<?x96xf32>
// CHECK: mohd.tiled_sddmm %{{.*}}, %{{.*}} table(%{{.*}}) residual(%{{.*}}) common 6 chosen 2 {{.*}} table tensor<?x13xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
func.func @epilogues(%x: tensor<?x64xf32>, %h: tensor<?x96xf32>, %w: tensor<16x6x4x16xbf16>, %v: tensor<16x1x96x4xf16>, %t: tensor<?x13xi32>) -> tensor<?x64xf32> {
  %a = mohd.tiled_spmm %x, %w gate(%h) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xbf16> gate tensor<?x96xf32> -> tensor<?x96xf32>
  %b = mohd.tiled_spmm %x, %w residual(%a) common 16 chosen 0 block 256 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xbf16> residual tensor<?x96xf32> -> tensor<?x96xf32>
  %c = mohd.tiled_sddmm %b, %v table(%t) residual(%x) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 64
    : tensor<?x96xf32>, tensor<16x1x96x4xf16> table tensor<?x13xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
  return %c : tensor<?x64xf32>
}

// A group of a local product contracts its 4 of 64 columns.
// CHECK-LABEL: @fusion(
// CHECK: %[[U:.*]] = mohd.tiled_sddmm %{{.*}}, %{{.*}} table(%{{.*}}) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 4 local : tensor<?x64xf32>, tensor<16x1x4x4xbf16> table tensor<?x13xi32> -> tensor<?x64xf32>
// CHECK: mohd.mix_groups %[[U]], %{{.*}} routing(%{{.*}}) residual(%{{.*}}) : tensor<?x64xf32>, tensor<16x1x16x4xf32> routing !mohd.routing<16, 6, 2> residual tensor<?x64xf32> -> tensor<?x64xf32>
// CHECK: mohd.mix_groups %[[U]], %{{.*}} routing(%{{.*}}) : tensor<?x64xf32>, tensor<16x1x16x4xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
// CHECK: mohd.mix_groups %[[U]], %{{.*}} residual(%{{.*}}) : tensor<?x64xf32>, tensor<16x1x16x4xf32> residual tensor<?x64xf32> -> tensor<?x64xf32>
// CHECK: mohd.mix_groups %[[U]], %{{.*}} : tensor<?x64xf32>, tensor<2x2x3x16xf32> -> tensor<?x96xf16>
func.func @fusion(%x: tensor<?x64xf32>, %right: tensor<16x1x4x4xbf16>, %left: tensor<16x1x16x4xf32>, %other: tensor<2x2x3x16xf32>,
                  %r: !mohd.routing<16, 6, 2>, %t: tensor<?x13xi32>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x96xf16>) {
  %u = mohd.tiled_sddmm %x, %right table(%t) common 6 chosen 2 block 256 few 24 rows 12 panels 1 depth 4 local
    : tensor<?x64xf32>, tensor<16x1x4x4xbf16> table tensor<?x13xi32> -> tensor<?x64xf32>
  %a = mohd.mix_groups %u, %left routing(%r) residual(%x)
    : tensor<?x64xf32>, tensor<16x1x16x4xf32> routing !mohd.routing<16, 6, 2> residual tensor<?x64xf32> -> tensor<?x64xf32>
  %b = mohd.mix_groups %u, %left routing(%r) : tensor<?x64xf32>, tensor<16x1x16x4xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  %c = mohd.mix_groups %u, %left residual(%x) : tensor<?x64xf32>, tensor<16x1x16x4xf32> residual tensor<?x64xf32> -> tensor<?x64xf32>
  %d = mohd.mix_groups %u, %other : tensor<?x64xf32>, tensor<2x2x3x16xf32> -> tensor<?x96xf16>
  return %a, %b, %c, %d : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x96xf16>
}
