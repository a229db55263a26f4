// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(mohd-bucket-products),cse)' | FileCheck %s
// Once more changes nothing.
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(mohd-bucket-products),cse,func.func(mohd-bucket-products),cse)' | FileCheck %s

// A feed-forward layer: one order, one layout for both projections, bucket order up to the fusion, which brings tokens back into the residual stream.
// CHECK-LABEL: func.func @layer(
// CHECK-SAME: %[[X:[^:]*]]: tensor<?x64xf32>
func.func @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %norm = mohd.weight "norm" : tensor<64xbf16>
  %phi = mohd.weight "phi" : tensor<16x64xbf16>
  %wg = mohd.weight "gate" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  %wu = mohd.weight "up" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  %wd = mohd.weight "down" expanded_shape [16, 4, 96] permutation [0, 2, 1] : tensor<16x96x4xbf16>
  %right = mohd.weight "right" : tensor<16x4x4xbf16>
  %left = mohd.weight "left" : tensor<4x16x16xbf16>
  // CHECK-NOT: mohd.rms_norm
  // CHECK: %[[R:.*]], %{{.*}} = mohd.norm_route %[[X]]
  // CHECK: %[[ORDER:.*]], %[[MASKS:.*]] = mohd.bucket_order %[[R]] rows 64
  %n = mohd.rms_norm %x, %norm epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xbf16>
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all scaling sqrt_nk_over_mass : tensor<?x64xf32>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  // CHECK: %[[WG:.*]] = mohd.weight "gate" expanded_shape [96, 16, 4] permutation [0, 1, 2] : tensor<96x16x4xbf16>
  // CHECK: %[[A:.*]] = mohd.bucket_tokens %[[X]] norm(%{{.*}}) routing(%[[R]]) order(%[[ORDER]]) epsilon 1.000000e-05 : {{.*}} -> tensor<?x64xbf16>
  // CHECK: %[[G:.*]] = mohd.bucket_spmm %[[A]], %[[WG]] masks(%[[MASKS]]) common 6 rows 64 : {{.*}} -> tensor<?x96xbf16>
  %g = mohd.spmm %n, %r, %wg plan <gather to 16,bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  // CHECK-NOT: mohd.bucket_tokens
  // CHECK: %[[H:.*]] = mohd.bucket_spmm %[[A]], %{{.*}} masks(%[[MASKS]]) gate(%[[G]]) common 6 rows 64 : {{.*}} -> tensor<?x96xbf16>
  %u = mohd.spmm %n, %r, %wu plan <gather to 16,bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  %h = mohd.swiglu %g, %u : tensor<?x96xf32>
  // CHECK: %[[O:.*]] = mohd.bucket_sddmm %[[H]], %{{.*}} routing(%[[R]]) order(%[[ORDER]]) masks(%[[MASKS]]) rows 64 : {{.*}} -> tensor<?x64xbf16>
  %o = mohd.sddmm %h, %r, %wd plan <gather to 16,bucket> : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xbf16>
  // CHECK: %[[Y:.*]] = mohd.bucket_fusion %[[O]], %{{.*}}, %{{.*}} order(%[[ORDER]]) masks(%[[MASKS]]) residual(%[[X]]) common 6 rows 64
  %f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r) : tensor<?x64xf32> right tensor<16x4x4xbf16> left tensor<4x16x16xbf16> routing !mohd.routing<16, 6, 2>
  %y = mohd.add %x, %f : tensor<?x64xf32>
  // CHECK: return %[[Y]]
  return %y : tensor<?x64xf32>
}

// Alone, products leave tokens in their own order.
// CHECK-LABEL: func.func @alone
func.func @alone(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf16>, %v: tensor<16x96x4xf32>) -> (tensor<?x96xf32>, tensor<?x64xf32>) {
  // CHECK: %[[ORDER:.*]], %[[MASKS:.*]] = mohd.bucket_order
  // CHECK-NOT: mohd.bucket_order
  // CHECK: %[[T:.*]] = mohd.transpose_weight %{{.*}} permutation [2, 0, 1] : tensor<16x4x96xf16> -> tensor<96x16x4xf16>
  // CHECK: %[[A:.*]] = mohd.bucket_tokens %{{.*}} routing(%{{.*}}) order(%[[ORDER]]) epsilon 0.000000e+00 : {{.*}} -> tensor<?x64xf16>
  // CHECK: mohd.bucket_spmm %[[A]], %[[T]] order(%[[ORDER]]) masks(%[[MASKS]]) common 6 rows 64 : {{.*}} -> tensor<?x96xf32>
  %y = mohd.spmm %x, %r, %w plan <bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf16>
  // CHECK: %[[Z:.*]] = mohd.bucket_tokens %{{.*}} order(%[[ORDER]]) epsilon 0.000000e+00 : {{.*}} -> tensor<?x96xf32>
  // CHECK: mohd.bucket_sddmm %[[Z]], %{{.*}} routing(%{{.*}}) order(%[[ORDER]]) masks(%[[MASKS]]) rows 64 scatters : {{.*}} -> tensor<?x64xf32>
  %o = mohd.sddmm %z, %r, %v plan <bucket> : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf32>
  return %y, %o : tensor<?x96xf32>, tensor<?x64xf32>
}

// Weights that are arguments in the order that products read are not copied.
// CHECK-LABEL: func.func @as_read(
// CHECK-SAME: %[[W:[^:]*]]: tensor<96x16x4xbf16>, %[[V:[^:]*]]: tensor<16x4x96xbf16>
func.func @as_read(%w: tensor<96x16x4xbf16>, %v: tensor<16x4x96xbf16>, %x: tensor<?x64xbf16>, %z: tensor<?x96xbf16>, %r: !mohd.routing<16, 6, 2>) -> (tensor<?x96xbf16>, tensor<?x64xbf16>) {
  // CHECK-NOT: mohd.transpose_weight
  // CHECK: mohd.bucket_spmm %{{.*}}, %[[W]] order
  %p = mohd.permute_weight %w [1, 2, 0] : tensor<96x16x4xbf16> -> tensor<16x4x96xbf16>
  %y = mohd.spmm %x, %r, %p plan <bucket> : tensor<?x64xbf16>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  // CHECK: mohd.bucket_sddmm %{{.*}}, %[[V]] routing
  %q = mohd.permute_weight %v [0, 2, 1] : tensor<16x4x96xbf16> -> tensor<16x96x4xbf16>
  %o = mohd.sddmm %z, %r, %q plan <bucket> : tensor<?x96xbf16>, !mohd.routing<16, 6, 2>, tensor<16x96x4xbf16>
  return %y, %o : tensor<?x96xbf16>, tensor<?x64xbf16>
}

// All groups active, or none routed: no order, no masks.
// CHECK-LABEL: func.func @common
func.func @common(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 4, 0>, %w: tensor<16x4x96xf32>, %q: tensor<64x32xbf16>) -> (tensor<?x96xf32>, tensor<?x32xf32>) {
  // CHECK-NOT: mohd.bucket_order
  // CHECK: mohd.bucket_tokens %{{.*}} routing(%{{.*}}) epsilon
  // CHECK: mohd.bucket_spmm %{{.*}}, %{{.*}} common 4 rows 64
  %y = mohd.spmm %x, %r, %w plan <bucket> : tensor<?x64xf32>, !mohd.routing<16, 4, 0>, tensor<16x4x96xf32>
  // CHECK: mohd.bucket_tokens %{{.*}} epsilon 0.000000e+00 : tensor<?x64xf32> -> tensor<?x64xbf16>
  // CHECK: mohd.bucket_spmm %{{.*}}, %{{.*}} common 1 rows 64 : tensor<?x64xbf16>, tensor<32x1x64xbf16> -> tensor<?x32xf32>
  %z = mohd.linear %x, %q plan <dense> : tensor<?x64xf32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  return %y, %z : tensor<?x96xf32>, tensor<?x32xf32>
}

// A norm that something else reads stays, and so does a SwiGLU whose result is used twice.
// CHECK-LABEL: func.func @used_twice
func.func @used_twice(%x: tensor<?x64xf32>, %norm: tensor<64xf32>, %g: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf32>) -> (tensor<?x64xf32>, tensor<?x96xf32>) {
  // CHECK: mohd.rms_norm
  %n = mohd.rms_norm %x, %norm epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  // CHECK: %[[U:.*]] = mohd.bucket_spmm
  %u = mohd.spmm %n, %r, %w plan <bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  // CHECK: mohd.swiglu %{{.*}}, %[[U]]
  %h = mohd.swiglu %g, %u : tensor<?x96xf32>
  return %n, %h : tensor<?x64xf32>, tensor<?x96xf32>
}

// Backward: products of permuted weights lay them out in one go; one order serves a routing with its gates and without; a gradient's sides are laid out as a product's tokens
// are, in 16 bits if the weight is, and with zeros where groups are another one's.
// CHECK-LABEL: func.func @backward
func.func @backward(%x: tensor<?x64xf32>, %dy: tensor<?x96xf32>, %do: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xbf16>, %v: tensor<16x96x4xbf16>, %c: tensor<96x64xf32>)
    -> (tensor<?x96xf32>, tensor<16x4x96xbf16>, tensor<16x96x4xbf16>, tensor<16x4x4xf32>, tensor<96x64xf32>, tensor<?x96xf32>) {
  // CHECK: mohd.bucket_order
  // CHECK-NOT: mohd.bucket_order
  // CHECK-NOT: mohd.unit_gates
  // CHECK-NOT: mohd.permute_weight
  // CHECK: mohd.transpose_weight %{{.*}} permutation [1, 0, 2] : tensor<16x96x4xbf16> -> tensor<96x16x4xbf16>
  // CHECK: %[[DO:.*]] = mohd.bucket_tokens %{{.*}} routing(%{{.*}}) order(%{{.*}}) epsilon 0.000000e+00 ungated : {{.*}} -> tensor<?x64xbf16>
  // CHECK: mohd.bucket_spmm %[[DO]]
  %u = mohd.unit_gates %r : !mohd.routing<16, 6, 2>
  %t = mohd.permute_weight %v [0, 2, 1] : tensor<16x96x4xbf16> -> tensor<16x4x96xbf16>
  %z = mohd.spmm %do, %u, %t plan <bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  // CHECK-NOT: mohd.gate
  // CHECK: %[[X:.*]] = mohd.bucket_tokens %{{.*}} routing(%{{.*}}) order(%{{.*}}) epsilon 0.000000e+00 : {{.*}} -> tensor<?x64xbf16>
  // CHECK: %[[DY:.*]] = mohd.bucket_tokens %{{.*}} order(%{{.*}}) epsilon 0.000000e+00 : {{.*}} -> tensor<?x96xbf16>
  // CHECK: mohd.bucket_weight_gradient %[[X]], %[[DY]] masks(%{{.*}}) common 6 rows 64
  %h = mohd.gate %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %0 = mohd.weight_gradient %h, %dy routing(%r) : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<16x4x96xbf16>
  // CHECK: mohd.bucket_weight_gradient %[[DO]], %[[DY]] masks(%{{.*}}) permutation [0, 2, 1] common 6 rows 64
  %1 = mohd.weight_gradient %do, %dy routing(%r) permutation [0, 2, 1] : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<16x96x4xbf16>
  // CHECK: %[[A:.*]] = mohd.bucket_tokens %{{.*}} ungated : {{.*}} -> tensor<?x64xf32>
  // CHECK: %[[B:.*]] = mohd.bucket_tokens %{{.*}} ungated : {{.*}} -> tensor<?x64xf32>
  // CHECK: mohd.bucket_weight_gradient %[[A]], %[[B]] masks(%{{.*}}) local common 6 rows 64
  %2 = mohd.weight_gradient %do, %x routing(%r) local : tensor<?x64xf32>, tensor<?x64xf32> routing !mohd.routing<16, 6, 2> -> tensor<16x4x4xf32>
  // CHECK: mohd.bucket_weight_gradient %{{.*}}, %{{.*}} common 1 rows 64 : tensor<?x96xf32>, tensor<?x64xf32> -> tensor<96x64xf32>
  %3 = mohd.weight_gradient %dy, %x : tensor<?x96xf32>, tensor<?x64xf32> -> tensor<96x64xf32>
  // CHECK: mohd.transpose_weight %{{.*}} permutation [1, 0, 2] : tensor<96x64xf32> -> tensor<96x1x64xf32>
  %p = mohd.permute_weight %c [1, 0] : tensor<96x64xf32> -> tensor<64x96xf32>
  %4 = mohd.linear %x, %p plan <dense> : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %z, %0, %1, %2, %3, %4 : tensor<?x96xf32>, tensor<16x4x96xbf16>, tensor<16x96x4xbf16>, tensor<16x4x4xf32>, tensor<96x64xf32>, tensor<?x96xf32>
}
