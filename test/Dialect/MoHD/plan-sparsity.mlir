// RUN: mohd-opt %s --mohd-plan-sparsity | FileCheck %s
// RUN: mohd-opt %s --mohd-plan-sparsity --mohd-plan-sparsity | FileCheck %s

// All groups are active: dense.
// CHECK-LABEL: func.func @all_groups(
// CHECK:         mohd.sddmm {{.*}} plan <dense>
func.func @all_groups(%x: tensor<?x6xf32>, %r: !mohd.routing<4, 1, 3>, %w: tensor<4x6x2xf32>) -> tensor<?x8xf32> {
  %y = mohd.sddmm %x, %r, %w : tensor<?x6xf32>, !mohd.routing<4, 1, 3>, tensor<4x6x2xf32>
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @some_groups(
// CHECK:         mohd.sddmm {{.*}} plan <gather>
func.func @some_groups(%x: tensor<?x6xf32>, %r: !mohd.routing<4, 1, 2>, %w: tensor<4x6x2xf32>) -> tensor<?x8xf32> {
  %y = mohd.sddmm %x, %r, %w : tensor<?x6xf32>, !mohd.routing<4, 1, 2>, tensor<4x6x2xf32>
  return %y : tensor<?x8xf32>
}

// A plan that is there stays.
// CHECK-LABEL: func.func @planned(
// CHECK:         mohd.spmm {{.*}} plan <gather>
func.func @planned(%x: tensor<?x8xf32>, %r: !mohd.routing<4, 1, 3>, %w: tensor<4x2x6xf32>) -> tensor<?x6xf32> {
  %y = mohd.spmm %x, %r, %w plan <gather> : tensor<?x8xf32>, !mohd.routing<4, 1, 3>, tensor<4x2x6xf32>
  return %y : tensor<?x6xf32>
}
