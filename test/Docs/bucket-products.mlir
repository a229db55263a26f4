// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-bucket-products --cse | FileCheck %s

// A product of routed groups on a GPU: tokens are ordered by routed set, laid out in that order, gated, in the weight's type, and the weight is K-major.

// CHECK-LABEL: func.func @project(
// CHECK-SAME:    %[[X:.*]]: tensor<?x64xf32>, %[[R:.*]]: !mohd.routing<16, 6, 2>)
// CHECK-NEXT:    %[[ORDER:.*]], %[[MASKS:.*]] = mohd.bucket_order %[[R]] rows 64 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
// CHECK-NEXT:    %[[W:.*]] = mohd.weight "q" expanded_shape [96, 16, 4] permutation [0, 1, 2] : tensor<96x16x4xbf16>
// CHECK-NEXT:    %[[A:.*]] = mohd.bucket_tokens %[[X]] routing(%[[R]]) order(%[[ORDER]]) epsilon 0.000000e+00
// CHECK-NEXT:    %[[Y:.*]] = mohd.bucket_spmm %[[A]], %[[W]] order(%[[ORDER]]) masks(%[[MASKS]]) common 6 rows 64
// CHECK-NEXT:    return %[[Y]]
func.func @project(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x96xf32> {
  %w = mohd.weight "q" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  %y = mohd.spmm %x, %r, %w plan <gather to 16, bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  return %y : tensor<?x96xf32>
}
