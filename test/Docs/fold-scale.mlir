// RUN: mohd-opt %s --mohd-fold-scale | FileCheck %s

// The scaling of the SpMM's input becomes part of the gates, and the pass over the activations is gone.

// CHECK-LABEL: func.func @sub_layer(
// CHECK-SAME:    %[[N:.*]]: tensor<?x64xf32>, %[[PHI:[^:]*]]: tensor<16x64xf32>, %[[W:.*]]: tensor<16x4x96xf32>)
// CHECK:         %[[ROUTING:.*]], %{{.*}} = mohd.route %[[N]], %[[PHI]] gate softmax score softmax_all scaling sqrt_nk_over_mass
// CHECK-NOT:     mohd.scale
// CHECK:         mohd.spmm %[[N]], %[[ROUTING]], %[[W]]
func.func @sub_layer(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>, %w: tensor<16x4x96xf32>) -> tensor<?x96xf32> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %h = mohd.scale %n, %r scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %q = mohd.spmm %h, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  return %q : tensor<?x96xf32>
}
