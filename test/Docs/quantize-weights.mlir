// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-quantize-weights | FileCheck %s

// The projection computes with what int8 values and their scales stand for.

// CHECK-LABEL: func.func @project(
// CHECK:         %[[Q:.*]] = mohd.weight "q" expanded_shape [96, 64] permutation [1, 0] quantized values : tensor<64x96xi8>
// CHECK:         %[[S:.*]] = mohd.weight "q" expanded_shape [96, 64] permutation [1, 0] quantized scales : tensor<96xf32>
// CHECK:         %[[W:.*]] = mohd.dequantize %[[Q]], %[[S]]
// CHECK:         mohd.linear %{{.*}}, %[[W]]
func.func @project(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = mohd.weight "q" permutation [1, 0] : tensor<64x96xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}
