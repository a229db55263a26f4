// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-quantize-weights | FileCheck %s
// RUN: mohd-opt %s --mohd-quantize-weights --mohd-quantize-weights | FileCheck %s
// RUN: mohd-opt %s --mohd-quantize-weights --mohd-tile-products --cse | FileCheck %s --check-prefix=TILED

// The weight of a dense projection is one group.
// CHECK-LABEL: func.func @linear(
// CHECK-NEXT:    %[[Q:.*]] = mohd.weight "w" expanded_shape [96, 64] permutation [1, 0] quantized values : tensor<64x96xi8>
// CHECK-NEXT:    %[[S:.*]] = mohd.weight "w" expanded_shape [96, 64] permutation [1, 0] quantized scales : tensor<96xf32>
// CHECK-NEXT:    %[[W:.*]] = mohd.dequantize %[[Q]], %[[S]] : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xbf16>
// CHECK-NEXT:    mohd.linear %{{.*}}, %[[W]]
// TILED-LABEL: func.func @linear(
// TILED-NEXT:    %[[Q:.*]] = mohd.weight "w" expanded_shape [96, 64, 1] permutation [2, 1, 0] panels 16 quantized values : tensor<1x6x64x16xi8>
// TILED-NEXT:    %[[S:.*]] = mohd.weight "w" expanded_shape [96, 64, 1] permutation [2, 1, 0] panels 16 quantized scales : tensor<1x6x16xf32>
// TILED-NEXT:    %[[P:.*]] = mohd.pack_tokens
// TILED-NEXT:    mohd.tiled_spmm %[[P]], %[[Q]] scales(%[[S]]) common 1 chosen 0
func.func @linear(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = mohd.weight "w" permutation [1, 0] : tensor<64x96xbf16>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xbf16> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// Each group of an spmm has scales of its own; the last panel is not whole.
// CHECK-LABEL: func.func @spmm(
// CHECK:         mohd.weight "w" expanded_shape [90, 16, 4] permutation [1, 2, 0] quantized values : tensor<16x4x90xi8>
// CHECK:         mohd.weight "w" expanded_shape [90, 16, 4] permutation [1, 2, 0] quantized scales : tensor<16x90xf32>
// CHECK:         mohd.dequantize
// CHECK:         mohd.spmm
// TILED-LABEL: func.func @spmm(
// TILED-NEXT:    %[[Q:.*]] = mohd.weight "w" {{.*}} panels 16 quantized values : tensor<16x6x4x16xi8>
// TILED-NEXT:    %[[S:.*]] = mohd.weight "w" {{.*}} panels 16 quantized scales : tensor<16x6x16xf32>
// TILED:         mohd.tiled_spmm %{{.*}}, %[[Q]] scales(%[[S]]) table(%{{.*}}) common 6 chosen 2
func.func @spmm(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x90xf32> {
  %w = mohd.weight "w" expanded_shape [90, 16, 4] permutation [1, 2, 0] : tensor<16x4x90xf32>
  %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x90xf32>
  return %y : tensor<?x90xf32>
}

// CHECK-LABEL: func.func @sddmm(
// CHECK:         mohd.weight "w" expanded_shape [16, 4, 96] permutation [0, 2, 1] quantized scales : tensor<16x4xf32>
// CHECK:         mohd.dequantize
// CHECK:         mohd.sddmm
// TILED-LABEL: func.func @sddmm(
// TILED:         %[[Q:.*]] = mohd.weight "w" {{.*}} panels 4 quantized values : tensor<16x1x96x4xi8>
// TILED:         %[[S:.*]] = mohd.weight "w" {{.*}} panels 4 quantized scales : tensor<16x1x4xf32>
// TILED:         mohd.tiled_sddmm %{{.*}}, %[[Q]] scales(%[[S]]) table(%{{.*}}) common 6 chosen 2
func.func @sddmm(%x: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x64xf32> {
  %w = mohd.weight "w" expanded_shape [16, 4, 96] permutation [0, 2, 1] : tensor<16x96x4xf32>
  %y = mohd.sddmm %x, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf32>
  return %y : tensor<?x64xf32>
}

// Of a weight that is also a table the table stays.
// CHECK-LABEL: func.func @table_and_projection(
// CHECK:         %[[W:.*]] = mohd.weight "w" : tensor<64x64xf32>
// CHECK:         %[[D:.*]] = mohd.dequantize
// CHECK:         mohd.embed %{{.*}}, %[[W]]
// CHECK:         mohd.linear %{{.*}}, %[[D]]
func.func @table_and_projection(%ids: tensor<?xi32>) -> tensor<?x64xf32> {
  %w = mohd.weight "w" : tensor<64x64xf32>
  %x = mohd.embed %ids, %w : tensor<?xi32>, tensor<64x64xf32> -> tensor<?x64xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// An argument and a norm's weight stay as they are.
// CHECK-LABEL: func.func @argument(
// CHECK-NEXT:    %[[N:.*]] = mohd.weight "n" : tensor<64xf32>
// CHECK-NEXT:    mohd.rms_norm %{{.*}}, %[[N]]
// CHECK-NEXT:    mohd.linear
func.func @argument(%x: tensor<?x64xf32>, %w: tensor<64x96xf32>) -> tensor<?x96xf32> {
  %n = mohd.weight "n" : tensor<64xf32>
  %h = mohd.rms_norm %x, %n epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
  %y = mohd.linear %h, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// What arguments stand for is computed in the call, then packed.
// TILED-LABEL: func.func @dequantized_arguments(
// TILED:         %[[W:.*]] = mohd.dequantize
// TILED-NEXT:    mohd.pack_weight %[[W]]
func.func @dequantized_arguments(%x: tensor<?x64xf32>, %q: tensor<64x96xi8>, %s: tensor<96xf32>) -> tensor<?x96xf32> {
  %w = mohd.dequantize %q, %s : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// Values and scales of different tensors are no weight of the files.
// TILED-LABEL: func.func @parts_of_two_tensors(
// TILED:         mohd.dequantize
// TILED:         mohd.pack_weight
func.func @parts_of_two_tensors(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %q = mohd.weight "v" expanded_shape [96, 64] permutation [1, 0] quantized values : tensor<64x96xi8>
  %s = mohd.weight "w" expanded_shape [96, 64] permutation [1, 0] quantized scales : tensor<96xf32>
  %w = mohd.dequantize %q, %s : tensor<64x96xi8>, tensor<96xf32> -> tensor<64x96xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}
