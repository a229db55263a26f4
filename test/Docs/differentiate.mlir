// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-differentiate --canonicalize --cse | FileCheck %s

// The function returns its routing and its scores: the backward function takes them, and no router runs again. The weight lies as a
// model's file has it, and so does its gradient.

// CHECK-LABEL: func.func @project(
// CHECK-LABEL: func.func @project_backward(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x64xf32> {mohd.name = "x"}, %[[PHI:[^:]*]]: tensor<16x64xf32> {mohd.name = "phi"}, %[[W:[^:]*]]: tensor<96x16x4xf32> {mohd.name = "w"},
// CHECK-SAME:    %[[I:[^:]*]]: tensor<?x8xi32> {mohd.name = "indices"}, %[[G:[^:]*]]: tensor<?x8xf32> {mohd.name = "gates"}, %[[S:[^:]*]]: tensor<?x16xf32> {mohd.name = "scores"},
// CHECK-SAME:    %[[DY:[^:]*]]: tensor<?x96xf32> {mohd.name = "grad_y"}, %[[DG:[^:]*]]: tensor<?x8xf32> {mohd.name = "grad_gates"}, %[[DS:[^:]*]]: tensor<?x16xf32> {mohd.name = "grad_scores"})
// CHECK-SAME:    -> (tensor<?x64xf32> {mohd.name = "grad_x"}, tensor<16x64xf32> {mohd.name = "grad_phi"}, tensor<96x16x4xf32> {mohd.name = "grad_w"})
// CHECK-NOT:     mohd.route %
// CHECK-DAG:     %[[R:.*]] = mohd.make_routing %[[I]], %[[G]]
// CHECK-DAG:     %[[WT:.*]] = mohd.permute_weight %[[W]] [1, 0, 2] : tensor<96x16x4xf32> -> tensor<16x96x4xf32>
// CHECK-DAG:     %[[DH:.*]] = mohd.sddmm %[[DY]], %[[R]], %[[WT]]
// CHECK-DAG:     %[[DX:.*]] = mohd.gate %[[DH]], %[[R]]
// CHECK-DAG:     %[[DGATES:.*]] = mohd.gate_gradient %[[X]], %[[DH]], %[[R]]
// CHECK-DAG:     %[[H:.*]] = mohd.gate %[[X]], %[[R]]
// CHECK-DAG:     %[[DW:.*]] = mohd.weight_gradient %[[H]], %[[DY]] routing(%[[R]]) permutation [2, 0, 1] {{.*}} -> tensor<96x16x4xf32>
// CHECK-DAG:     %[[SUM:.*]] = mohd.add %[[DG]], %[[DGATES]]
// CHECK-DAG:     %[[DL:.*]] = mohd.route_gradient %[[S]], %[[R]] gates(%[[SUM]]) scores(%[[DS]]) gate softmax score softmax_all
// CHECK-DAG:     %[[DN:.*]] = mohd.linear %[[DL]], %[[PHI]]
// CHECK-DAG:     %[[DPHI:.*]] = mohd.weight_gradient %[[DL]], %[[X]]
// CHECK-DAG:     %[[DXS:.*]] = mohd.add %[[DX]], %[[DN]]
// CHECK:         return %[[DXS]], %[[DPHI]], %[[DW]]
func.func @project(%x: tensor<?x64xf32> {mohd.name = "x"}, %phi: tensor<16x64xf32> {mohd.name = "phi"}, %w: tensor<96x16x4xf32> {mohd.name = "w"})
    -> (tensor<?x96xf32> {mohd.name = "y"}, tensor<?x8xi32> {mohd.name = "indices"}, tensor<?x8xf32> {mohd.name = "gates"}, tensor<?x16xf32> {mohd.name = "scores"})
    attributes {mohd.backward = "project_backward"} {
  %r, %s = mohd.route %x, %phi gate softmax score softmax_all : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %v = mohd.permute_weight %w [1, 2, 0] : tensor<96x16x4xf32> -> tensor<16x4x96xf32>
  %y = mohd.spmm %x, %r, %v : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %y, %i, %g, %s : tensor<?x96xf32>, tensor<?x8xi32>, tensor<?x8xf32>, tensor<?x16xf32>
}
