// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(mohd-quantize-weights,mohd-bucket-products),cse)' | FileCheck %s

// Products read the int8 values of weights of the model's files, K-major, and their scales; tokens have the type that the weight would have.
// CHECK-LABEL: func.func @files(
// CHECK-SAME: %[[X:[^:]*]]: tensor<?x64xf32>
func.func @files(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>) -> (tensor<?x96xf32>, tensor<?x64xf32>, tensor<?x32xf32>) {
  %wu = mohd.weight "up" expanded_shape [96, 16, 4] permutation [1, 2, 0] : tensor<16x4x96xbf16>
  %wd = mohd.weight "down" expanded_shape [16, 4, 96] permutation [0, 2, 1] : tensor<16x96x4xf16>
  %q = mohd.weight "q" permutation [1, 0] : tensor<64x32xf32>
  // CHECK-NOT: mohd.dequantize
  // CHECK: %[[ORDER:.*]], %[[MASKS:.*]] = mohd.bucket_order
  // CHECK-DAG: %[[WU:.*]] = mohd.weight "up" expanded_shape [96, 16, 4] permutation [0, 1, 2] quantized k_major_values : tensor<96x16x4xi8>
  // CHECK-DAG: %[[SU:.*]] = mohd.weight "up" expanded_shape [96, 16, 4] permutation [1, 2, 0] quantized scales : tensor<16x96xf32>
  // CHECK-DAG: %[[A:.*]] = mohd.bucket_tokens %{{.*}} -> tensor<?x64xbf16>
  // CHECK: mohd.bucket_spmm %[[A]], %[[WU]] scales(%[[SU]]) order(%[[ORDER]]) masks(%[[MASKS]]) common 6 rows 64
  %y = mohd.spmm %x, %r, %wu plan <bucket> : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  // CHECK-DAG: %[[WD:.*]] = mohd.weight "down" expanded_shape [16, 4, 96] permutation [0, 1, 2] quantized k_major_values : tensor<16x4x96xi8>
  // CHECK-DAG: %[[SD:.*]] = mohd.weight "down" expanded_shape [16, 4, 96] permutation [0, 2, 1] quantized scales : tensor<16x4xf32>
  // CHECK-DAG: %[[Z:.*]] = mohd.bucket_tokens %{{.*}} -> tensor<?x96xf16>
  // CHECK: mohd.bucket_sddmm %[[Z]], %[[WD]] scales(%[[SD]]) routing(%{{.*}}) order(%[[ORDER]]) masks(%[[MASKS]]) rows 64 scatters
  %o = mohd.sddmm %z, %r, %wd plan <bucket> : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf16>
  // CHECK-DAG: %[[Q:.*]] = mohd.weight "q" expanded_shape [32, 64, 1] permutation [0, 2, 1] quantized k_major_values : tensor<32x1x64xi8>
  // CHECK-DAG: %[[SQ:.*]] = mohd.weight "q" expanded_shape [32, 64, 1] permutation [2, 1, 0] quantized scales : tensor<1x32xf32>
  // CHECK: mohd.bucket_spmm %[[X]], %[[Q]] scales(%[[SQ]]) common 1 rows 64
  %h = mohd.linear %x, %q plan <dense> : tensor<?x64xf32>, tensor<64x32xf32> -> tensor<?x32xf32>
  // CHECK-NOT: mohd.dequantize
  // CHECK: return
  return %y, %o, %h : tensor<?x96xf32>, tensor<?x64xf32>, tensor<?x32xf32>
}

// Values that are arguments are no weights of the files, and cannot be laid out when the bundle is written.
// CHECK-LABEL: func.func @arguments(
func.func @arguments(%x: tensor<?x64xf32>, %q: tensor<64x32xi8>, %s: tensor<32xf32>) -> tensor<?x32xf32> {
  // CHECK: %[[W:.*]] = mohd.dequantize
  // CHECK: %[[T:.*]] = mohd.transpose_weight %[[W]]
  // CHECK: mohd.bucket_spmm %{{.*}}, %[[T]] common 1 rows 64
  %w = mohd.dequantize %q, %s : tensor<64x32xi8>, tensor<32xf32> -> tensor<64x32xf32>
  %h = mohd.linear %x, %w plan <dense> : tensor<?x64xf32>, tensor<64x32xf32> -> tensor<?x32xf32>
  return %h : tensor<?x32xf32>
}
