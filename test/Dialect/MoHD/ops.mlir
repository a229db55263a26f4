// RUN: mohd-opt %s --verify-roundtrip | FileCheck %s

// Every op of the dialect parses, prints and round-trips.

// CHECK-LABEL: @weight(
// CHECK: mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
func.func @weight() -> (tensor<64xf32>, tensor<16x4x96xbf16>) {
  %a = mohd.weight "norm" : tensor<64xf32>
  %b = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  return %a, %b : tensor<64xf32>, tensor<16x4x96xbf16>
}

// CHECK-LABEL: @route(
// CHECK: mohd.route %{{.*}}, %{{.*}} gate softmax score softmax_all : tensor<?x64xf32>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
// CHECK: mohd.route %{{.*}}, %{{.*}} gate shared_one score sigmoid scaling k_over_mass
// CHECK: mohd.route %{{.*}} gate binary score softmax_routed : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
func.func @route(%n: tensor<?x64xf32>, %phi: tensor<16x64xbf16>)
    -> (!mohd.routing<16, 6, 2>, tensor<?x16xf32>, !mohd.routing<16, 6, 2>, !mohd.routing<16, 6, 0>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %r1, %s1 = mohd.route %n, %phi gate shared_one score sigmoid scaling k_over_mass
    : tensor<?x64xf32>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %r2, %s2 = mohd.route %n gate binary score softmax_routed
    : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return %r, %s, %r1, %r2
    : !mohd.routing<16, 6, 2>, tensor<?x16xf32>, !mohd.routing<16, 6, 2>, !mohd.routing<16, 6, 0>
}

// CHECK-LABEL: @routing_parts(
// CHECK: mohd.make_routing %{{.*}}, %{{.*}} : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
// CHECK: mohd.unpack_routing %{{.*}} : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
func.func @routing_parts(%i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> (tensor<?x8xi32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %i1, %g1 = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i1, %g1 : tensor<?x8xi32>, tensor<?x8xf32>
}

// CHECK-LABEL: @sparse(
// CHECK: mohd.gate %{{.*}}, %{{.*}} : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
// CHECK: mohd.scale %{{.*}}, %{{.*}} scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
// CHECK: mohd.spmm %{{.*}}, %{{.*}}, %{{.*}} plan <gather to 24,grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
// CHECK: mohd.sddmm %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf16>
func.func @sparse(%n: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xbf16>,
                  %v: tensor<16x96x4xf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %g = mohd.gate %n, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %h = mohd.scale %n, %r scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %z = mohd.spmm %h, %r, %w plan <gather to 24, grouped> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  %o = mohd.sddmm %z, %r, %v : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf16>
  return %g, %o : tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: @fusion(
// CHECK: mohd.group_fusion %{{.*}} kind monarch right(%{{.*}}) left(%{{.*}}) routing(%{{.*}}) : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32> routing !mohd.routing<16, 6, 2>
// CHECK: mohd.group_fusion %{{.*}} kind block_diagonal right(%{{.*}}) bias(%{{.*}}) : tensor<?x64xf32> right tensor<16x4x4xf32> bias tensor<64xf32>
// CHECK: mohd.group_fusion %{{.*}} kind none : tensor<?x64xf32>
func.func @fusion(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x16xf32>, %b: tensor<64xf32>,
                  %r: !mohd.routing<16, 6, 2>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %m = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32> routing !mohd.routing<16, 6, 2>
  %d = mohd.group_fusion %o kind block_diagonal right(%right) bias(%b)
    : tensor<?x64xf32> right tensor<16x4x4xf32> bias tensor<64xf32>
  %n = mohd.group_fusion %o kind none : tensor<?x64xf32>
  return %m, %d, %n : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: @balance_loss(
// CHECK: mohd.balance_loss %{{.*}}, %{{.*}} kind switch coefficient 1.000000e-02 : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
func.func @balance_loss(%s: tensor<?x16xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<f32> {
  %l = mohd.balance_loss %s, %r kind switch coefficient 1.000000e-02
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
  return %l : tensor<f32>
}

// CHECK-LABEL: @quantized(
// CHECK: mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] quantized values : tensor<16x4x96xi8>
// CHECK: mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] quantized scales : tensor<16x96xf32>
// CHECK: mohd.dequantize %{{.*}}, %{{.*}} : tensor<16x4x96xi8>, tensor<16x96xf32> -> tensor<16x4x96xf32>
// CHECK: mohd.dequantize %{{.*}}, %{{.*}} : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xf32>
// CHECK: mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 quantized values : tensor<16x6x4x16xi8>
// CHECK: mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 quantized scales : tensor<16x6x16xf32>
// CHECK: mohd.tiled_spmm %{{.*}}, %{{.*}} scales(%{{.*}}) common 16 chosen 0 block 12 few 24 rows 12 panels 2
// CHECK-SAME: : tensor<?x64xf32>, tensor<16x6x4x16xi8> scales tensor<16x6x16xf32> -> tensor<?x96xf32>
// CHECK: mohd.tiled_sddmm %{{.*}}, %{{.*}} scales(%{{.*}}) table(%{{.*}}) common 6 chosen 2 block 12 few 24 rows 12 panels 1 depth 96
// CHECK-SAME: : tensor<?x96xf32>, tensor<16x1x96x4xi8> scales tensor<16x1x4xf32> table tensor<?x13xi32> -> tensor<?x64xf32>
func.func @quantized(%x: tensor<?x64xf32>, %m: tensor<64x96xi8>, %ms: tensor<96xf32>, %o: tensor<16x1x96x4xi8>, %os: tensor<16x1x4xf32>,
                     %t: tensor<?x13xi32>) -> (tensor<16x4x96xf32>, tensor<64x96xf32>, tensor<?x64xf32>) {
  %q = mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] quantized values : tensor<16x4x96xi8>
  %s = mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] quantized scales : tensor<16x96xf32>
  %w = mohd.dequantize %q, %s : tensor<16x4x96xi8>, tensor<16x96xf32> -> tensor<16x4x96xf32>
  %d = mohd.dequantize %m, %ms : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xf32>
  %qp = mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 quantized values : tensor<16x6x4x16xi8>
  %sp = mohd.weight "w" expanded_shape [96, 16, 4] permutation [1, 2, 0] panels 16 quantized scales : tensor<16x6x16xf32>
  %y = mohd.tiled_spmm %x, %qp scales(%sp) common 16 chosen 0 block 12 few 24 rows 12 panels 2
    : tensor<?x64xf32>, tensor<16x6x4x16xi8> scales tensor<16x6x16xf32> -> tensor<?x96xf32>
  %z = mohd.tiled_sddmm %y, %o scales(%os) table(%t) common 6 chosen 2 block 12 few 24 rows 12 panels 1 depth 96
    : tensor<?x96xf32>, tensor<16x1x96x4xi8> scales tensor<16x1x4xf32> table tensor<?x13xi32> -> tensor<?x64xf32>
  return %w, %d, %z : tensor<16x4x96xf32>, tensor<64x96xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: @dense(
// CHECK: mohd.embed %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<256x64xbf16> -> tensor<?x64xf32>
// CHECK: mohd.rms_norm %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
// CHECK: mohd.rms_norm %{{.*}}, %{{.*}} routing(%{{.*}}) epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32> routing !mohd.routing<16, 6, 2>
// CHECK: mohd.linear %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<64x96xbf16> -> tensor<?x96xf32>
// CHECK: mohd.silu %{{.*}} : tensor<?x96xf32>
// CHECK: mohd.swiglu %{{.*}}, %{{.*}} : tensor<?x96xf32>
// CHECK: mohd.add %{{.*}}, %{{.*}} : tensor<?x96xf32>
func.func @dense(%ids: tensor<?xi32>, %table: tensor<256x64xbf16>, %w: tensor<64xf32>, %r: !mohd.routing<16, 6, 2>,
                 %p: tensor<64x96xbf16>) -> tensor<?x96xf32> {
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<256x64xbf16> -> tensor<?x64xf32>
  %n = mohd.rms_norm %x, %w epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
  %a = mohd.rms_norm %n, %w routing(%r) epsilon 1.000000e-05
    : tensor<?x64xf32>, tensor<64xf32> routing !mohd.routing<16, 6, 2>
  %y = mohd.linear %a, %p : tensor<?x64xf32>, tensor<64x96xbf16> -> tensor<?x96xf32>
  %s = mohd.silu %y : tensor<?x96xf32>
  %z = mohd.swiglu %s, %y : tensor<?x96xf32>
  %u = mohd.add %z, %y : tensor<?x96xf32>
  return %u : tensor<?x96xf32>
}

// CHECK-LABEL: @sample(
// CHECK: mohd.sample %{{.*}} temperature %{{.*}} top_k %{{.*}} top_p %{{.*}} draw %{{.*}} : tensor<?x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
func.func @sample(%l: tensor<?x20xf32>, %t: tensor<?xf32>, %k: tensor<?xi32>, %p: tensor<?xf32>, %d: tensor<?xf32>) -> tensor<?xi32> {
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<?x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
  return %y : tensor<?xi32>
}

// CHECK-LABEL: @attention(
// CHECK: mohd.rope %{{.*}}, %{{.*}} head_dim 32 theta 1.000000e+04 : tensor<?x64xf32>, tensor<?xi32>
// CHECK: mohd.kv_cache_append %{{.*}}, %{{.*}}, %{{.*}} in %{{.*}} layer 1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>
// CHECK: mohd.kv_cache_append %{{.*}}, %{{.*}}, %{{.*}} layer 1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
// CHECK: mohd.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} in %{{.*}} layer 1 head_dim 32
func.func @attention(%k: tensor<?x64xf32>, %q: tensor<?x128xf32>, %pos: tensor<?xi32>, %seq: tensor<?xi32>,
                     %kc: tensor<2x?x?x64xf32>, %vc: tensor<2x?x?x64xf32>) -> tensor<?x128xf32> {
  %kr = mohd.rope %k, %pos head_dim 32 theta 1.000000e+04 : tensor<?x64xf32>, tensor<?xi32>
  %kc1 = mohd.kv_cache_append %kc, %kr, %pos in %seq layer 1
    : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>
  %vc1 = mohd.kv_cache_append %vc, %k, %pos layer 1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  %a = mohd.attention %q, %kc1, %vc1, %pos in %seq layer 1 head_dim 32
    : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>, tensor<?xi32>
  return %a : tensor<?x128xf32>
}

// CHECK-LABEL: mohd.program @double interface
// CHECK: mohd.dispatch @add_0 grid "T" params ["T"] bindings [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
mohd.program @double interface {dims = ["T"], inputs = [{name = "x", dtype = "f32", shape = ["T", "64"]}],
    outputs = [{name = "y", dtype = "f32", shape = ["T", "64"]}]} workspace "0" {
  mohd.dispatch @add_0 grid "T" params ["T"] bindings
    [#mohd.binding<input 0, "0", "T*256">, #mohd.binding<output 0, "0", "T*256">]
}
func.func private @add_0()
