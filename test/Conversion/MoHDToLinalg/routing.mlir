// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg,canonicalize))' | FileCheck %s --implicit-check-not=mohd.

// A routing is its two tensors, and one that is taken apart again costs nothing.
// CHECK-LABEL: func.func @parts(
// CHECK-SAME: %[[INDICES:.*]]: tensor<?x8xi32>, %[[GATES:.*]]: tensor<?x8xf32>)
// CHECK-NEXT: return %[[INDICES]], %[[GATES]]
func.func @parts(%i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> (tensor<?x8xi32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %i1, %g1 = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i1, %g1 : tensor<?x8xi32>, tensor<?x8xf32>
}

// Logits and scores are f32 for narrow elements; a NaN is looked for before groups are ranked; equal logits: the lower index is first.
// CHECK-LABEL: func.func @route_softmax(
// CHECK: %[[LOGITS:.*]] = linalg.generic
// CHECK:   arith.extf %{{.*}} : bf16 to f32
// CHECK: %[[NAN:.*]] = linalg.generic
// CHECK:   arith.cmpf uno
// CHECK: %[[RANKED:.*]] = linalg.generic
// CHECK:   %[[LOGIT:.*]] = tensor.extract %[[LOGITS]]
// CHECK:   arith.select %{{.*}}, %{{.*}}, %[[LOGIT]]
// CHECK: %[[ACTIVE:.*]] = linalg.generic
// CHECK:   tensor.extract %[[RANKED]]
// CHECK:   arith.cmpf ogt
// CHECK:   arith.cmpf oeq
// CHECK:   arith.cmpi slt
// CHECK: -> tensor<?x16xi1>
// CHECK: %[[INDICES:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x8xi32>)
// CHECK: arith.maximumf
// CHECK: %[[SCORES:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x16xf32>)
// CHECK:   math.exp
// CHECK:   arith.divf
// CHECK: %[[GATES:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x8xf32>)
// CHECK:   tensor.extract %[[INDICES]]
// CHECK:   tensor.extract %[[SCORES]]
// CHECK: return %[[INDICES]], %[[GATES]], %[[SCORES]]
func.func @route_softmax(%n: tensor<?x64xbf16>, %phi: tensor<16x64xbf16>) -> (tensor<?x8xi32>, tensor<?x8xf32>, tensor<?x16xf32>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xbf16>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i, %g, %s : tensor<?x8xi32>, tensor<?x8xf32>, tensor<?x16xf32>
}

// A sigmoid needs no maximum. The scaling of the gates divides sqrt(16 * 8) by their sum.
// CHECK-LABEL: func.func @route_sigmoid_scaled(
// CHECK-NOT: arith.maximumf
// CHECK-DAG: %[[ROOT:.*]] = arith.constant 11.3137083 : f32
// CHECK: arith.negf
// CHECK-NOT: arith.maximumf
// CHECK: arith.divf %[[ROOT]],
// CHECK: arith.mulf
// CHECK: return
func.func @route_sigmoid_scaled(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> tensor<?x8xf32> {
  %r, %s = mohd.route %n, %phi gate shared_one score sigmoid scaling sqrt_nk_over_mass
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %g : tensor<?x8xf32>
}

// A softmax over the routed groups reads 10 of 16 logits; renormalized gates divide by the mass of the 2 routed ones.
// CHECK-LABEL: func.func @route_renormalized(
// CHECK-DAG: %[[ROUTED:.*]] = arith.constant 10 : index
// CHECK-DAG: %[[TWO:.*]] = arith.constant 2.0{{.*}} : f32
// CHECK: arith.maximumf
// CHECK: scf.for {{.*}} to %[[ROUTED]]
// CHECK: math.exp
// CHECK: arith.mulf %{{.*}}, %[[TWO]]
// CHECK: return
func.func @route_renormalized(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> tensor<?x8xf32> {
  %r, %s = mohd.route %n, %phi gate renormalized score softmax_routed
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %g : tensor<?x8xf32>
}

// Without centroids nothing is computed: scores and gates are 1.
// CHECK-LABEL: func.func @route_without_centroids(
// CHECK-NOT: math.exp
// CHECK-NOT: scf.for
// CHECK: linalg.index 1
// CHECK-NOT: scf.for
// CHECK: return
func.func @route_without_centroids(%n: tensor<?x64xf32>) -> (tensor<?x6xi32>, tensor<?x6xf32>, tensor<?x16xf32>) {
  %r, %s = mohd.route %n gate binary score softmax_all : tensor<?x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 0> -> tensor<?x6xi32>, tensor<?x6xf32>
  return %i, %g, %s : tensor<?x6xi32>, tensor<?x6xf32>, tensor<?x16xf32>
}

// A token's factor is computed from its gates in f32 and the product rounded once.
// CHECK-LABEL: func.func @scale(
// CHECK: %[[FACTORS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?xf32>)
// CHECK: tensor.extract %[[FACTORS]]
// CHECK: arith.mulf %{{.*}} : f32
// CHECK-NEXT: arith.truncf %{{.*}} : f32 to f16
// CHECK: return
func.func @scale(%x: tensor<?x64xf16>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x64xf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.scale %x, %r scaling n_times_mass : tensor<?x64xf16>, !mohd.routing<16, 6, 2>
  return %y : tensor<?x64xf16>
}

// The loss of no token is 0 although its mean is not a number.
// CHECK-LABEL: func.func @balance_loss(
// CHECK-SAME: %[[SCORES:.*]]: tensor<?x16xf32>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-DAG: %[[NONE:.*]] = arith.constant 0 : index
// CHECK: %[[TOKENS:.*]] = tensor.dim %[[SCORES]]
// CHECK: %[[EMPTY:.*]] = arith.cmpi eq, %[[TOKENS]], %[[NONE]]
// CHECK: arith.select %[[EMPTY]], %[[ZERO]], %{{.*}} : f32
// CHECK: return %{{.*}} : tensor<f32>
func.func @balance_loss(%s: tensor<?x16xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<f32> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %l = mohd.balance_loss %s, %r kind deepseek coefficient 1.000000e-02
    : tensor<?x16xf32>, !mohd.routing<16, 6, 2> -> tensor<f32>
  return %l : tensor<f32>
}

// CHECK-LABEL: func.func @no_balance_loss(
// CHECK-NOT: scf.for
// CHECK: arith.constant 0.000000e+00 : f32
// CHECK-NOT: scf.for
// CHECK: return
func.func @no_balance_loss(%s: tensor<?x16xf32>, %i: tensor<?x6xi32>, %g: tensor<?x6xf32>) -> tensor<f32> {
  %r = mohd.make_routing %i, %g : tensor<?x6xi32>, tensor<?x6xf32> -> !mohd.routing<16, 6, 0>
  %l = mohd.balance_loss %s, %r kind switch coefficient 1.000000e-02
    : tensor<?x16xf32>, !mohd.routing<16, 6, 0> -> tensor<f32>
  return %l : tensor<f32>
}
