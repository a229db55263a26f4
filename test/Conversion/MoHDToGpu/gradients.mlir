// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --mohd-fuse-launches --cse | FileCheck %s --check-prefix=FUSED

// A row, an element or a part of a token for itself.
// CHECK-LABEL: mohd.program @rows
// CHECK: mohd.dispatch @gate_gradient_0 grid "ceildiv(T,4)"
// CHECK: mohd.dispatch @scale_gradient_0 grid "ceildiv(T,4)"
// CHECK: mohd.dispatch @route_gradient_0 grid "ceildiv(T,4)"
// CHECK: mohd.dispatch @rms_norm_gradient_0 grid "ceildiv(T,4)"
// CHECK: mohd.dispatch @unit_gates_0 grid "ceildiv(T*8,256)"
// CHECK: mohd.dispatch @swiglu_gradient_0 grid "ceildiv(T*16,256)"
func.func @rows(%x: tensor<?x64xf32>, %z: tensor<?x64xf32>, %w: tensor<64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>, %s: tensor<?x16xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>, tensor<?x64xf32>, tensor<?xf32>, tensor<?x8xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.gate_gradient %x, %z, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %b = mohd.scale_gradient %x, %z, %r scaling k_over_mass : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %c = mohd.route_gradient %s, %r gates(%a) gate renormalized score softmax_all : tensor<?x16xf32>, !mohd.routing<16, 6, 2> gates tensor<?x8xf32> -> tensor<?x16xf32>
  %d, %f = mohd.rms_norm_gradient %x, %w, %z epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?xf32>
  %u = mohd.unit_gates %r : !mohd.routing<16, 6, 2>
  %ui, %ug = mohd.unpack_routing %u : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  %h = mohd.gate %x, %u : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %p, %q = mohd.swiglu_gradient %x, %h, %z : tensor<?x64xf32>
  return %a, %b, %c, %d, %f, %ug, %p, %q : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>, tensor<?x64xf32>, tensor<?xf32>, tensor<?x8xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: mohd.program @groups
// CHECK: mohd.dispatch @gather_groups_0 grid "ceildiv(T,4)"
// CHECK: mohd.dispatch @scatter_groups_0 grid "ceildiv(T,4)"
func.func @groups(%x: tensor<?x64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x64xf32> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.gather_groups %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
  %y = mohd.scatter_groups %a, %r : tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// Sums over tokens are due even of no tokens; a second launch adds up the parts of the tokens.
// CHECK-LABEL: mohd.program @sums
// CHECK: mohd.dispatch @column_sums_0_parts grid "32"
// CHECK: mohd.dispatch @column_sums_0 grid "1"
// CHECK: mohd.dispatch @fusion_mix_gradient_0_parts grid "32"
// CHECK: mohd.dispatch @fusion_mix_gradient_0 grid "4"
// CHECK: mohd.dispatch @embed_gradient_0_clear grid "16"
// CHECK: mohd.dispatch @embed_gradient_0 grid "ceildiv(T*1,4)"
// CHECK: mohd.dispatch @balance_loss_gradient_0_count grid "1"
// CHECK: mohd.dispatch @balance_loss_gradient_0 grid "ceildiv({{.*}}*16,256)"
// FUSED-LABEL: mohd.program @sums
// FUSED: mohd.dispatch @fused_{{[0-9]+}} grid "min(1,16/max(1,T))*1024"
func.func @sums(%x: tensor<?x64xf32>, %z: tensor<?x64xf32>, %ids: tensor<?xi32>, %l: tensor<f32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>)
    -> (tensor<64xbf16>, tensor<4x16x16xf32>, tensor<256x64xf32>, tensor<?x16xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.column_sums %x input(%z) : tensor<?x64xf32> input tensor<?x64xf32> -> tensor<64xbf16>
  %b = mohd.fusion_mix_gradient %x, %z : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<4x16x16xf32>
  %c = mohd.embed_gradient %ids, %x : tensor<?xi32>, tensor<?x64xf32> -> tensor<256x64xf32>
  %d = mohd.balance_loss_gradient %l, %r kind deepseek coefficient 1.0e-02 : tensor<f32>, !mohd.routing<16, 6, 2> -> tensor<?x16xf32>
  return %a, %b, %c, %d : tensor<64xbf16>, tensor<4x16x16xf32>, tensor<256x64xf32>, tensor<?x16xf32>
}

// A weight's gradient: few tiles, so that blocks share the tokens, or tiles of 128 x 128, without that.
// A program with one keeps its launches.
// CHECK-LABEL: mohd.program @weights
// FUSED-LABEL: mohd.program @weights
// FUSED-NOT: mohd.dispatch @fused_
// FUSED-LABEL: llvm.func @
// CHECK: mohd.dispatch @bucket_weight_gradient_0_mma64 grid "16" params ["T"
// CHECK: mohd.dispatch @bucket_weight_gradient_0 grid "24"
// CHECK: mohd.dispatch @bucket_weight_gradient_1_mma128 grid "256"
// CHECK-NOT: mohd.dispatch @bucket_weight_gradient_1 grid
// CHECK: mohd.dispatch @bucket_weight_gradient_2_scalar grid "16"
// CHECK: mohd.dispatch @bucket_weight_gradient_2 grid
// CHECK: mohd.dispatch @bucket_weight_gradient_3_mma64 grid "192"
func.func @weights(%x: tensor<?x64xbf16>, %y: tensor<?x96xbf16>, %a: tensor<?x2048xbf16>, %f: tensor<?x64xf32>, %z: tensor<?x96xf32>, %m: tensor<?x1xi32>)
    -> (tensor<96x16x4xbf16>, tensor<2048x2048xf32>, tensor<16x4x96xf32>, tensor<16x128x128xbf16>) {
  %0 = mohd.bucket_weight_gradient %x, %y masks(%m) permutation [2, 0, 1] common 6 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> masks tensor<?x1xi32> -> tensor<96x16x4xbf16>
  %1 = mohd.bucket_weight_gradient %a, %a common 1 rows 64 : tensor<?x2048xbf16>, tensor<?x2048xbf16> -> tensor<2048x2048xf32>
  %2 = mohd.bucket_weight_gradient %f, %z masks(%m) common 6 rows 64 : tensor<?x64xf32>, tensor<?x96xf32> masks tensor<?x1xi32> -> tensor<16x4x96xf32>
  %3 = mohd.bucket_weight_gradient %a, %a masks(%m) local common 6 rows 64 : tensor<?x2048xbf16>, tensor<?x2048xbf16> masks tensor<?x1xi32> -> tensor<16x128x128xbf16>
  return %0, %1, %2, %3 : tensor<96x16x4xbf16>, tensor<2048x2048xf32>, tensor<16x4x96xf32>, tensor<16x128x128xbf16>
}

// CHECK-LABEL: llvm.func @route_gradient_0(
// CHECK: tile.shared
// CHECK: tile.warp_sync
// CHECK-LABEL: llvm.func @embed_gradient_0(
// CHECK: scf.while
// CHECK: tile.ballot

// Steps without a group of the tile are left out; what is not finite is looked for only where zeros stand for groups that a token does not have.
// CHECK-LABEL: llvm.func @bucket_weight_gradient_0_mma64(
// CHECK: tile.ballot
// CHECK: scf.while
// CHECK: tile.copy_async
// CHECK: tile.load_matrix {{.*}} transposed
// CHECK: tile.mma bf16
// CHECK: arith.cmpf une
// CHECK-LABEL: llvm.func @bucket_weight_gradient_1_mma128(
// CHECK: tile.mma bf16
// CHECK-NOT: arith.cmpf
// CHECK-LABEL: llvm.func @bucket_weight_gradient_2_scalar(
// CHECK: math.fma
// CHECK: arith.cmpf oeq
