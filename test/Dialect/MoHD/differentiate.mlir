// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-differentiate --canonicalize --cse | FileCheck %s
// RUN: mohd-opt %s --mohd-differentiate --mohd-differentiate --canonicalize --cse | FileCheck %s

// A function without the attribute is left alone.
// CHECK-LABEL: func.func @plain(
// CHECK-NOT:   func.func @plain_backward
func.func @plain(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The attribute goes; names are those of arguments and results, or their numbers. What no rule needs is no argument.
// CHECK-LABEL: func.func @linear(
// CHECK-NOT:   mohd.backward
// CHECK-LABEL: func.func @linear_backward(
// CHECK-SAME:  %[[X:[^:]*]]: tensor<?x8xbf16> {mohd.dims = ["rows"], mohd.name = "x"}, %[[W:[^:]*]]: tensor<8x6xf32> {mohd.name = "arg1"},
// CHECK-SAME:  %[[DY:[^:]*]]: tensor<?x6xf32> {mohd.name = "grad_result0"})
// CHECK-SAME:  -> (tensor<?x8xbf16> {mohd.name = "grad_x"}, tensor<8x6xf32> {mohd.name = "grad_arg1"})
// CHECK-DAG:   %[[WT:.*]] = mohd.permute_weight %[[W]] [1, 0] : tensor<8x6xf32> -> tensor<6x8xf32>
// CHECK-DAG:   %[[DX:.*]] = mohd.linear %[[DY]], %[[WT]] : tensor<?x6xf32>, tensor<6x8xf32> -> tensor<?x8xbf16>
// CHECK-DAG:   %[[DW:.*]] = mohd.weight_gradient %[[X]], %[[DY]] : tensor<?x8xbf16>, tensor<?x6xf32> -> tensor<8x6xf32>
// CHECK:       return %[[DX]], %[[DW]]
func.func @linear(%x: tensor<?x8xbf16> {mohd.dims = ["rows"], mohd.name = "x"}, %w: tensor<8x6xf32>) -> tensor<?x6xf32>
    attributes {mohd.backward = "linear_backward"} {
  %y = mohd.linear %x, %w : tensor<?x8xbf16>, tensor<8x6xf32> -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// What is not returned is computed again; what is, is not, and nor is what only it needs.
// CHECK-LABEL: func.func @again_backward(
// CHECK-SAME:  %[[X:[^:]*]]: tensor<?x8xf32> {{.*}}, %[[DY:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_result0"})
// CHECK:       %[[A:.*]] = mohd.silu %[[X]]
// CHECK:       %[[DA:.*]] = mohd.silu_gradient %[[A]], %[[DY]]
// CHECK:       mohd.silu_gradient %[[X]], %[[DA]]
func.func @again(%x: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = "again_backward"} {
  %a = mohd.silu %x : tensor<?x8xf32>
  %y = mohd.silu %a : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
// CHECK-LABEL: func.func @saved_backward(
// CHECK-SAME:  %[[X:[^:]*]]: tensor<?x8xf32> {{.*}}, %[[A:[^:]*]]: tensor<?x8xf32> {mohd.name = "result1"}, %[[DY:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_result0"},
// CHECK-SAME:  %[[DR:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_result1"})
// CHECK-NOT:   mohd.silu %
// CHECK:       %[[DA:.*]] = mohd.silu_gradient %[[A]], %[[DY]]
// CHECK:       %[[SUM:.*]] = mohd.add %[[DR]], %[[DA]]
// CHECK:       mohd.silu_gradient %[[X]], %[[SUM]]
func.func @saved(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) attributes {mohd.backward = "saved_backward"} {
  %a = mohd.silu %x : tensor<?x8xf32>
  %y = mohd.silu %a : tensor<?x8xf32>
  return %y, %a : tensor<?x8xf32>, tensor<?x8xf32>
}

// Gradients are values of their own, also after CSE: that of both sides of a sum is copied, and the copy is; that of an argument that is returned is copied.
// CHECK-LABEL: func.func @copies_backward(
// CHECK-SAME:  %[[DY:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_result0"}, %[[DZ:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_result1"})
// CHECK:       %[[A:.*]] = mohd.copy %[[DY]]
// CHECK:       %[[B:.*]] = mohd.copy %[[A]]
// CHECK:       %[[C:.*]] = mohd.copy %[[DZ]]
// CHECK:       return %[[A]], %[[B]], %[[C]]
func.func @copies(%x: tensor<?x8xf32>, %z: tensor<?x8xf32>, %v: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
    attributes {mohd.backward = "copies_backward"} {
  %y = mohd.add %x, %z : tensor<?x8xf32>
  return %y, %v : tensor<?x8xf32>, tensor<?x8xf32>
}

// Two matrices that multiply one value have one gradient.
// CHECK-LABEL: func.func @equal_gradients_backward(
// CHECK:       %[[DW:.*]] = mohd.weight_gradient
// CHECK:       %[[DV:.*]] = mohd.copy %[[DW]] : tensor<8x6xf32>
// CHECK:       return %{{.*}}, %[[DW]], %[[DV]]
func.func @equal_gradients(%x: tensor<?x8xf32>, %w: tensor<8x6xf32>, %v: tensor<8x6xf32>) -> tensor<?x6xf32>
    attributes {mohd.backward = "equal_gradients_backward"} {
  %y = mohd.linear %x, %w : tensor<?x8xf32>, tensor<8x6xf32> -> tensor<?x6xf32>
  %z = mohd.linear %x, %v : tensor<?x8xf32>, tensor<8x6xf32> -> tensor<?x6xf32>
  %sum = mohd.add %y, %z : tensor<?x6xf32>
  return %sum : tensor<?x6xf32>
}

// Integers have no gradient, and neither has an argument that only they depend on, nor one that no result depends on.
// CHECK-LABEL: func.func @integers_backward(
// CHECK-SAME:  -> (tensor<16x8xf32> {mohd.name = "grad_arg1"})
func.func @integers(%ids: tensor<?xi32>, %table: tensor<16x8xf32>, %phi: tensor<4x8xf32>, %unused: tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x8xf32>)
    attributes {mohd.backward = "integers_backward"} {
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<16x8xf32> -> tensor<?x8xf32>
  %r, %s = mohd.route %x, %phi gate binary score softmax_all : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<4, 1, 1> -> tensor<?x2xi32>, tensor<?x2xf32>
  return %i, %x : tensor<?x2xi32>, tensor<?x8xf32>
}

// A constant scaling gives gates no gradient; the angle of a rotation back is negated; a fusion of kind none passes its gradient on.
// CHECK-LABEL: func.func @no_factors_backward(
// CHECK-NOT:   mohd.scale_gradient
// CHECK:       %[[DZ:.*]] = mohd.rope %{{.*}}, %{{.*}} head_dim 8 theta 1.000000e+04 inverse
// CHECK:       mohd.scale %[[DZ]], %{{.*}} scaling n_over_k
func.func @no_factors(%x: tensor<?x8xf32>, %position: tensor<?xi32>, %i: tensor<?x2xi32>, %g: tensor<?x2xf32>) -> tensor<?x8xf32>
    attributes {mohd.backward = "no_factors_backward"} {
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %s = mohd.scale %x, %r scaling n_over_k : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %f = mohd.group_fusion %s kind none : tensor<?x8xf32>
  %y = mohd.rope %f, %position head_dim 8 theta 1.0e+04 : tensor<?x8xf32>, tensor<?xi32>
  return %y : tensor<?x8xf32>
}

// An argument that is frozen has no gradient, and what only its gradient needs is no argument.
// CHECK-LABEL: func.func @frozen_backward(
// CHECK-SAME: %[[X:[a-z0-9]*]]: tensor<?x64xf32> {mohd.name = "x"}, %[[G:[a-z0-9]*]]: tensor<?x96xf32> {mohd.name = "grad_y"})
// CHECK-SAME: -> (tensor<64x96xf32> {mohd.name = "grad_w"})
// CHECK-NEXT: %[[W:.*]] = mohd.weight_gradient %[[X]], %[[G]]
// CHECK-NEXT: return %[[W]]
func.func @frozen(%x: tensor<?x64xf32> {mohd.name = "x", mohd.frozen}, %w: tensor<64x96xf32> {mohd.name = "w"}) -> (tensor<?x96xf32> {mohd.name = "y"})
    attributes {mohd.backward = "frozen_backward"} {
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// A product is kept by its active groups, without which it is zero. What is frozen among the results gets no gradient.
// CHECK-LABEL: func.func @kept_backward(
// CHECK-SAME: %[[Z:[a-z0-9]*]]: tensor<?x96xf32> {mohd.name = "z"}, %[[W:[a-z0-9]*]]: tensor<16x96x4xf32> {mohd.name = "w"}
// CHECK-SAME: %[[KEPT:[a-z0-9]*]]: tensor<?x32xf32> {mohd.name = "kept"}, %[[G:[a-z0-9]*]]: tensor<?x64xf32> {mohd.name = "grad_y"})
// CHECK: %[[R:.*]] = mohd.make_routing
// CHECK-NOT: mohd.sddmm
// CHECK: %[[O:.*]] = mohd.scatter_groups %[[KEPT]], %[[R]]
// CHECK: mohd.silu_gradient %[[O]], %[[G]]
func.func @kept(%z: tensor<?x96xf32> {mohd.name = "z"}, %w: tensor<16x96x4xf32> {mohd.name = "w"}, %i: tensor<?x8xi32> {mohd.name = "i"},
                %g: tensor<?x8xf32> {mohd.name = "g", mohd.frozen})
    -> (tensor<?x64xf32> {mohd.name = "y"}, tensor<?x32xf32> {mohd.name = "kept", mohd.frozen}) attributes {mohd.backward = "kept_backward"} {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %o = mohd.sddmm %z, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf32>
  %y = mohd.silu %o : tensor<?x64xf32>
  %kept = mohd.gather_groups %o, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
  return %y, %kept : tensor<?x64xf32>, tensor<?x32xf32>
}

// Groups that are gathered are scattered on the way back, and the other way round.
// CHECK-LABEL: func.func @groups_backward(
// CHECK: %[[DO:.*]] = mohd.gather_groups %{{.*}}, %[[R:.*]] : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
// CHECK: mohd.scatter_groups %[[DO]], %[[R]] : tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
func.func @groups(%x: tensor<?x64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x64xf32> attributes {mohd.backward = "groups_backward"} {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.gather_groups %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x32xf32>
  %y = mohd.scatter_groups %a, %r : tensor<?x32xf32>, !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
