// RUN: mohd-opt %s --mohd-fold-scale | FileCheck %s
// RUN: mohd-opt %s --mohd-fold-scale --mohd-fold-scale | FileCheck %s

// Two projections of one scaled value, and an output side that reads no gates: folds.
// CHECK-LABEL: func.func @two_projections(
// CHECK-SAME:    %[[N:[^:]*]]: tensor<?x8xf32>
// CHECK:         %[[R:.*]], %{{.*}} = mohd.route {{.*}} scaling k_over_mass
// CHECK:         %[[Q:.*]] = mohd.spmm %[[N]], %[[R]]
// CHECK:         mohd.spmm %[[N]], %[[R]]
// CHECK:         mohd.sddmm %[[Q]], %[[R]]
func.func @two_projections(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %w: tensor<4x2x6xf32>, %v: tensor<4x6x2xf32>)
    -> (tensor<?x8xf32>, tensor<?x6xf32>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %k = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %o = mohd.sddmm %q, %r, %v : tensor<?x6xf32>, !mohd.routing<4, 1, 1>, tensor<4x6x2xf32>
  return %o, %k : tensor<?x8xf32>, tensor<?x6xf32>
}

// An SpMM over the same routing takes an unscaled value: its gates must stay as they are.
// CHECK-LABEL: func.func @unscaled_spmm(
// CHECK:         mohd.scale
func.func @unscaled_spmm(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %w: tensor<4x2x6xf32>)
    -> (tensor<?x6xf32>, tensor<?x6xf32>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %k = mohd.spmm %n, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  return %q, %k : tensor<?x6xf32>, tensor<?x6xf32>
}

// The scaled value goes through SiLU, which is not linear.
// CHECK-LABEL: func.func @not_linear(
// CHECK:         mohd.scale
func.func @not_linear(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>) -> tensor<?x8xf32> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %y = mohd.silu %h : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The gates leave the function.
// CHECK-LABEL: func.func @gates_escape(
// CHECK:         mohd.scale
func.func @gates_escape(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %w: tensor<4x2x6xf32>)
    -> (tensor<?x6xf32>, tensor<?x2xf32>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<4, 1, 1> -> tensor<?x2xi32>, tensor<?x2xf32>
  return %q, %g : tensor<?x6xf32>, tensor<?x2xf32>
}

// Two kinds of scaling of one routing.
// CHECK-LABEL: func.func @two_kinds(
// CHECK:         mohd.scale
// CHECK:         mohd.scale
func.func @two_kinds(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %w: tensor<4x2x6xf32>)
    -> (tensor<?x6xf32>, tensor<?x6xf32>) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %j = mohd.scale %n, %r scaling n_over_k : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %k = mohd.spmm %j, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  return %q, %k : tensor<?x6xf32>, tensor<?x6xf32>
}

// A routing from outside has gates that are not ours to change.
// CHECK-LABEL: func.func @no_route(
// CHECK:         mohd.scale
func.func @no_route(%n: tensor<?x8xf32>, %r: !mohd.routing<4, 1, 1>, %w: tensor<4x2x6xf32>) -> tensor<?x6xf32> {
  %h = mohd.scale %n, %r scaling k_over_mass : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  return %q : tensor<?x6xf32>
}

// A constant factor folds as well.
// CHECK-LABEL: func.func @constant_factor(
// CHECK-NOT:     mohd.scale
// CHECK:         return
func.func @constant_factor(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %w: tensor<4x2x6xf32>) -> tensor<?x6xf32> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 1>, tensor<?x4xf32>
  %h = mohd.scale %n, %r scaling n_over_k : tensor<?x8xf32>, !mohd.routing<4, 1, 1>
  %q = mohd.spmm %h, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  return %q : tensor<?x6xf32>
}
