// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s | mohd-opt | FileCheck %s
// RUN: mohd-opt %s --mlir-print-op-generic | mohd-opt | FileCheck %s

// CHECK-LABEL: func.func @routing
func.func @routing(%x: tensor<?x64xf32>, %w: tensor<64xbf16>, %phi: tensor<16x64xbf16>) {
  // CHECK: %[[R:.*]], %{{.*}} = mohd.norm_route %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<64xbf16>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.0e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<64xbf16>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  // CHECK: %[[ORDER:.*]], %{{.*}} = mohd.bucket_order %[[R]] rows 64 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
  // CHECK: mohd.bucket_tokens %{{.*}} norm(%{{.*}}) routing(%[[R]]) order(%[[ORDER]]) epsilon 1.000000e-05 : tensor<?x64xf32> norm tensor<64xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> -> tensor<?x64xbf16>
  %a = mohd.bucket_tokens %x norm(%w) routing(%r) order(%order) epsilon 1.0e-05 : tensor<?x64xf32> norm tensor<64xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> -> tensor<?x64xbf16>
  // CHECK: mohd.bucket_tokens %{{.*}} routing(%[[R]]) epsilon 0.000000e+00 ungated : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  %c = mohd.bucket_tokens %x routing(%r) epsilon 0.0 ungated : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> -> tensor<?x64xf32>
  // CHECK: mohd.bucket_tokens %{{.*}} epsilon 0.000000e+00 : tensor<?x64xf32> -> tensor<?x64xf16>
  %b = mohd.bucket_tokens %x epsilon 0.0 : tensor<?x64xf32> -> tensor<?x64xf16>
  return
}

// CHECK-LABEL: func.func @products
func.func @products(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xbf16>, %order: tensor<?xi32>, %masks: tensor<?x1xi32>, %g: tensor<?x96xbf16>, %x: tensor<?x96xf32>,
                    %v: tensor<16x4x96xbf16>, %r: !mohd.routing<16, 6, 2>, %right: tensor<16x4x4xbf16>, %left: tensor<4x16x16xbf16>, %y: tensor<?x64xf32>) {
  // CHECK: mohd.bucket_spmm %{{.*}}, %{{.*}} order(%{{.*}}) masks(%{{.*}}) residual(%{{.*}}) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x96xf32> -> tensor<?x96xf32>
  %0 = mohd.bucket_spmm %a, %w order(%order) masks(%masks) residual(%x) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x96xf32> -> tensor<?x96xf32>
  // CHECK: mohd.bucket_spmm %{{.*}}, %{{.*}} gate(%{{.*}}) common 16 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> gate tensor<?x96xbf16> -> tensor<?x96xbf16>
  %1 = mohd.bucket_spmm %a, %w gate(%g) common 16 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xbf16> gate tensor<?x96xbf16> -> tensor<?x96xbf16>
  // CHECK: mohd.bucket_sddmm %{{.*}}, %{{.*}} routing(%{{.*}}) order(%{{.*}}) masks(%{{.*}}) rows 64 scatters : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> masks tensor<?x1xi32> -> tensor<?x64xf32>
  %2 = mohd.bucket_sddmm %g, %v routing(%r) order(%order) masks(%masks) rows 64 scatters : tensor<?x96xbf16>, tensor<16x4x96xbf16> routing !mohd.routing<16, 6, 2> order tensor<?xi32> masks tensor<?x1xi32> -> tensor<?x64xf32>
  // CHECK: mohd.bucket_fusion %{{.*}}, %{{.*}}, %{{.*}} order(%{{.*}}) masks(%{{.*}}) residual(%{{.*}}) common 6 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
  %3 = mohd.bucket_fusion %a, %right, %left order(%order) masks(%masks) residual(%y) common 6 rows 64 : tensor<?x64xbf16>, tensor<16x4x4xbf16>, tensor<4x16x16xbf16> order tensor<?xi32> masks tensor<?x1xi32> residual tensor<?x64xf32> -> tensor<?x64xf32>
  // CHECK: mohd.bucket_weight_gradient %{{.*}}, %{{.*}} masks(%{{.*}}) permutation [2, 0, 1] common 6 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> masks tensor<?x1xi32> -> tensor<96x16x4xbf16>
  %4 = mohd.bucket_weight_gradient %a, %g masks(%masks) permutation [2, 0, 1] common 6 rows 64 : tensor<?x64xbf16>, tensor<?x96xbf16> masks tensor<?x1xi32> -> tensor<96x16x4xbf16>
  // CHECK: mohd.bucket_weight_gradient %{{.*}}, %{{.*}} local common 16 rows 64 : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<16x4x4xf32>
  %5 = mohd.bucket_weight_gradient %a, %a local common 16 rows 64 : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<16x4x4xf32>
  return
}

// CHECK-LABEL: func.func @quantized
func.func @quantized(%a: tensor<?x64xbf16>, %w: tensor<96x16x4xi8>, %s: tensor<16x96xf32>, %masks: tensor<?x1xi32>, %g: tensor<?x96xbf16>, %v: tensor<16x4x96xi8>, %t: tensor<16x4xf32>,
                     %r: !mohd.routing<16, 6, 0>) {
  // CHECK: mohd.bucket_spmm %{{.*}}, %{{.*}} scales(%{{.*}}) masks(%{{.*}}) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xi8> scales tensor<16x96xf32> masks tensor<?x1xi32> -> tensor<?x96xf32>
  %0 = mohd.bucket_spmm %a, %w scales(%s) masks(%masks) common 6 rows 64 : tensor<?x64xbf16>, tensor<96x16x4xi8> scales tensor<16x96xf32> masks tensor<?x1xi32> -> tensor<?x96xf32>
  // CHECK: mohd.bucket_sddmm %{{.*}}, %{{.*}} scales(%{{.*}}) routing(%{{.*}}) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xi8> scales tensor<16x4xf32> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  %1 = mohd.bucket_sddmm %g, %v scales(%t) routing(%r) rows 64 : tensor<?x96xbf16>, tensor<16x4x96xi8> scales tensor<16x4xf32> routing !mohd.routing<16, 6, 0> -> tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @transpose_weight
func.func @transpose_weight(%w: tensor<16x4x96xbf16>, %m: tensor<4x96xbf16>) {
  // CHECK: mohd.transpose_weight %{{.*}} permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x16x4xbf16>
  %0 = mohd.transpose_weight %w permutation [2, 0, 1] : tensor<16x4x96xbf16> -> tensor<96x16x4xbf16>
  // CHECK: mohd.transpose_weight %{{.*}} permutation [2, 0, 1] : tensor<4x96xbf16> -> tensor<96x1x4xbf16>
  %1 = mohd.transpose_weight %m permutation [2, 0, 1] : tensor<4x96xbf16> -> tensor<96x1x4xbf16>
  return
}
