// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// Every op of backward functions parses, prints and round-trips.

// CHECK-LABEL: @permute_weight(
// CHECK: mohd.permute_weight %{{.*}} [1, 2, 0] : tensor<96x16x4xbf16> -> tensor<16x4x96xbf16>
// CHECK: mohd.permute_weight %{{.*}} [1, 0] : tensor<64x96xf32> -> tensor<96x64xf32>
func.func @permute_weight(%w: tensor<96x16x4xbf16>, %v: tensor<64x96xf32>) {
  %0 = mohd.permute_weight %w [1, 2, 0] : tensor<96x16x4xbf16> -> tensor<16x4x96xbf16>
  %1 = mohd.permute_weight %v [1, 0] : tensor<64x96xf32> -> tensor<96x64xf32>
  return
}

// CHECK-LABEL: @weight_gradient(
// CHECK: mohd.weight_gradient %{{.*}}, %{{[a-z0-9]*}} : tensor<?x64xf32>, tensor<?x96xbf16> -> tensor<64x96xf32>
// CHECK: mohd.weight_gradient %{{.*}}, %{{.*}} routing(%{{.*}}) permutation [2, 0, 1] : {{.*}} routing !mohd.routing<16, 6, 2> -> tensor<96x16x4xf32>
// CHECK: mohd.weight_gradient %{{.*}}, %{{.*}} local : {{.*}} -> tensor<16x4x6xf32>
// CHECK: mohd.tiled_weight_gradient %{{.*}}, %{{.*}} table(%{{.*}}) permutation [2, 0, 1] common 6 chosen 2 block 4096 rows 12 : {{.*}} table tensor<?x13xi32> -> tensor<96x16x4xf32>
// CHECK: mohd.tiled_weight_gradient %{{.*}}, %{{.*}} local common 16 chosen 0 block 8 rows 1 : {{.*}} -> tensor<16x4x6xf32>
func.func @weight_gradient(%h: tensor<?x64xf32>, %dy: tensor<?x96xbf16>, %r: !mohd.routing<16, 6, 2>, %t: tensor<?x13xi32>) {
  %0 = mohd.weight_gradient %h, %dy : tensor<?x64xf32>, tensor<?x96xbf16> -> tensor<64x96xf32>
  %1 = mohd.weight_gradient %h, %dy routing(%r) permutation [2, 0, 1]
    : tensor<?x64xf32>, tensor<?x96xbf16> routing !mohd.routing<16, 6, 2> -> tensor<96x16x4xf32>
  %2 = mohd.weight_gradient %h, %dy local : tensor<?x64xf32>, tensor<?x96xbf16> -> tensor<16x4x6xf32>
  %3 = mohd.tiled_weight_gradient %h, %dy table(%t) permutation [2, 0, 1] common 6 chosen 2 block 4096 rows 12
    : tensor<?x64xf32>, tensor<?x96xbf16> table tensor<?x13xi32> -> tensor<96x16x4xf32>
  %4 = mohd.tiled_weight_gradient %h, %dy local common 16 chosen 0 block 8 rows 1
    : tensor<?x64xf32>, tensor<?x96xbf16> -> tensor<16x4x6xf32>
  return
}

// CHECK-LABEL: @groups(
// CHECK: mohd.gather_groups %{{.*}}, %{{.*}} : tensor<?x64xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x32xbf16>
// CHECK: mohd.scatter_groups %{{.*}}, %{{.*}} : tensor<?x32xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x64xbf16>
func.func @groups(%x: tensor<?x64xbf16>, %r: !mohd.routing<16, 6, 2>) {
  %0 = mohd.gather_groups %x, %r : tensor<?x64xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x32xbf16>
  %1 = mohd.scatter_groups %0, %r : tensor<?x32xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x64xbf16>
  return
}

// CHECK-LABEL: @routing(
// CHECK: mohd.unit_gates %{{.*}} : !mohd.routing<16, 6, 2>
// CHECK: mohd.gate_gradient %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<?x64xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
// CHECK: mohd.scale_gradient %{{.*}}, %{{.*}}, %{{.*}} scaling k_over_mass : {{.*}} -> tensor<?x8xf32>
// CHECK: mohd.route_gradient %{{.*}}, %{{.*}} gates(%{{.*}}) scores(%{{.*}}) gate softmax score softmax_all scaling n_over_k : {{.*}} gates tensor<?x8xf32> scores tensor<?x16xf32> -> tensor<?x16xf32>
// CHECK: mohd.route_gradient %{{.*}}, %{{[a-z0-9]*}} gate renormalized score sigmoid : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
// CHECK: mohd.balance_loss_gradient %{{.*}}, %{{.*}} kind deepseek coefficient 1.000000e-02 : tensor<f32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
func.func @routing(%x: tensor<?x64xf32>, %dy: tensor<?x64xbf16>, %r: !mohd.routing<16, 6, 2>, %s: tensor<?x16xf32>, %dg: tensor<?x8xf32>,
                   %dl: tensor<f32>) {
  %u = mohd.unit_gates %r : !mohd.routing<16, 6, 2>
  %0 = mohd.gate_gradient %x, %dy, %r : tensor<?x64xf32>, tensor<?x64xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %1 = mohd.scale_gradient %x, %dy, %u scaling k_over_mass : tensor<?x64xf32>, tensor<?x64xbf16>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %2 = mohd.route_gradient %s, %r gates(%dg) scores(%s) gate softmax score softmax_all scaling n_over_k
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> gates tensor<?x8xf32> scores tensor<?x16xf32> -> tensor<?x16xf32>
  %3 = mohd.route_gradient %s, %r gate renormalized score sigmoid : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  %4 = mohd.balance_loss_gradient %dl, %r kind deepseek coefficient 1.000000e-02
    : tensor<f32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  return
}

// CHECK-LABEL: @rest(
// CHECK: mohd.rms_norm_gradient %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xbf16> -> tensor<?xf32>
// CHECK: mohd.rms_norm_gradient %{{.*}}, %{{.*}}, %{{.*}} routing(%{{.*}}) epsilon 1.000000e-05 : {{.*}} routing !mohd.routing<16, 6, 2> -> tensor<?xf32>
// CHECK: mohd.column_sums %{{[a-z0-9]*}} : tensor<?x64xf32> -> tensor<64xbf16>
// CHECK: mohd.column_sums %{{.*}} input(%{{.*}}) factors(%{{.*}}) : tensor<?x64xf32> input tensor<?x64xf32> factors tensor<?xf32> -> tensor<64xbf16>
// CHECK: mohd.copy %{{.*}} : tensor<?x64xf32>
// CHECK: mohd.silu_gradient %{{.*}}, %{{.*}} : tensor<?x64xf32>
// CHECK: mohd.swiglu_gradient %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xf32>
// CHECK: mohd.fusion_mix %{{.*}}, %{{[a-z0-9]*}} : tensor<?x64xf32>, tensor<4x3x16xf32>
// CHECK: mohd.fusion_mix %{{.*}}, %{{.*}} routing(%{{.*}}) : tensor<?x64xf32>, tensor<4x3x16xf32> routing !mohd.routing<16, 6, 2>
// CHECK: mohd.fusion_mix_gradient %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<?x12xf32> -> tensor<4x3x16xf32>
// CHECK: mohd.embed_gradient %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<?x64xf32> -> tensor<256x64xbf16>
// CHECK: mohd.rope %{{.*}}, %{{.*}} head_dim 16 theta 1.000000e+04 inverse : tensor<?x64xf32>, tensor<?xi32>
func.func @rest(%x: tensor<?x64xf32>, %w: tensor<64xbf16>, %r: !mohd.routing<16, 6, 2>, %l: tensor<4x3x16xf32>, %ids: tensor<?xi32>) -> tensor<?x12xf32> {
  %0, %f = mohd.rms_norm_gradient %x, %w, %x epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xbf16> -> tensor<?xf32>
  %1, %f1 = mohd.rms_norm_gradient %x, %w, %x routing(%r) epsilon 1.0e-05
    : tensor<?x64xf32>, tensor<64xbf16> routing !mohd.routing<16, 6, 2> -> tensor<?xf32>
  %2 = mohd.column_sums %x : tensor<?x64xf32> -> tensor<64xbf16>
  %3 = mohd.column_sums %x input(%0) factors(%f) : tensor<?x64xf32> input tensor<?x64xf32> factors tensor<?xf32> -> tensor<64xbf16>
  %4 = mohd.copy %x : tensor<?x64xf32>
  %5 = mohd.silu_gradient %x, %4 : tensor<?x64xf32>
  %6, %7 = mohd.swiglu_gradient %x, %4, %5 : tensor<?x64xf32>
  %8 = mohd.fusion_mix %x, %l : tensor<?x64xf32>, tensor<4x3x16xf32>
  %9 = mohd.fusion_mix %x, %l routing(%r) : tensor<?x64xf32>, tensor<4x3x16xf32> routing !mohd.routing<16, 6, 2>
  %10 = mohd.fusion_mix_gradient %x, %9 : tensor<?x64xf32>, tensor<?x12xf32> -> tensor<4x3x16xf32>
  %11 = mohd.embed_gradient %ids, %x : tensor<?xi32>, tensor<?x64xf32> -> tensor<256x64xbf16>
  %12 = mohd.rope %x, %ids head_dim 16 theta 1.0e+04 inverse : tensor<?x64xf32>, tensor<?xi32>
  return %8 : tensor<?x12xf32>
}

// CHECK-LABEL: @caches(
// CHECK: mohd.zero_cache %{{.*}} : tensor<2x?x?x64xf32>
// CHECK: mohd.attention_gradient %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} in %{{.*}} layer 1 head_dim 32 : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x12xf32>
// CHECK: mohd.attention_cache_gradient %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} in %{{.*}} layer 1 head_dim 32 : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
// CHECK: mohd.attention_cache_gradient %{{.*}} layer 1 head_dim 32 of_values : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>
// CHECK: mohd.kv_cache_append_gradient %{{.*}}, %{{.*}} in %{{.*}} layer 1 : tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xbf16>
// CHECK: mohd.kv_cache_append_gradient %{{.*}}, %{{[a-z0-9]*}} layer 0 : tensor<2x?x?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
func.func @caches(%q: tensor<?x128xf32>, %k: tensor<2x?x?x64xf32>, %pos: tensor<?xi32>, %seq: tensor<?xi32>) {
  %z = mohd.zero_cache %k : tensor<2x?x?x64xf32>
  %dq, %s = mohd.attention_gradient %q, %k, %k, %q, %pos in %seq layer 1 head_dim 32
    : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x12xf32>
  %0 = mohd.attention_cache_gradient %z, %q, %k, %k, %q, %s, %pos in %seq layer 1 head_dim 32
    : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
  %1 = mohd.attention_cache_gradient %0, %q, %k, %k, %q, %s, %pos layer 1 head_dim 32 of_values
    : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>
  %2, %rows = mohd.kv_cache_append_gradient %1, %pos in %seq layer 1 : tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xbf16>
  %3, %more = mohd.kv_cache_append_gradient %2, %pos layer 0 : tensor<2x?x?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  return
}
