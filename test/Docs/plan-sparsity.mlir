// RUN: mohd-opt %s --mohd-plan-sparsity | FileCheck %s

// Half of the groups are active. Weights of a few tokens are read group by group; more tokens are multiplied column by column.

// CHECK-LABEL: func.func @half(
// CHECK: mohd.spmm {{.*}} plan <gather to {{[0-9]+}},grouped>
func.func @half(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf32>) -> tensor<?x96xf32> {
  %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  return %y : tensor<?x96xf32>
}
