// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(mohd-pipeline-plan{quantize=1},mohd-pipeline-schedule{lanes=16 registers=32})' | FileCheck %s
// RUN: mohd-opt %s --pass-pipeline='builtin.module(mohd-pipeline-plan{quantize=1},mohd-pipeline-schedule{reference=1})' \
// RUN:   | FileCheck %s --check-prefix=REFERENCE

// The list of weights says which part of the tensor is meant.
// CHECK: mohd.weights = [
// CHECK-SAME: quantized = #mohd<quantized values>
// CHECK-SAME: type = tensor<1x4x64x16xi8>
// CHECK-SAME: quantized = #mohd<quantized scales>
// CHECK-SAME: type = tensor<1x4x16xf32>

// One token: values are converted at each step, and the sums of a group are multiplied by the scales.
// CHECK-LABEL: func.func private @tiled_spmm_0(
// CHECK:         scf.index_switch
// CHECK:         case 1
// CHECK:           scf.for
// CHECK:             %[[SUMS:.*]]:{{.*}} = scf.for
// CHECK:               memref.prefetch
// CHECK:               %[[VALUES:.*]] = vector.load %{{.*}} : memref<1x4x64x16xi8>, vector<16xi8>
// CHECK:               arith.sitofp %[[VALUES]] : vector<16xi8> to vector<16xf32>
// CHECK-NOT:           arith.mulf
// CHECK:               vector.fma
// CHECK:               scf.yield
// CHECK:             %[[SCALES:.*]] = vector.load %{{.*}} : memref<1x4x16xf32>, vector<16xf32>
// CHECK:             vector.fma %{{.*}}, %[[SCALES]], %{{.*}} : vector<16xf32>
// CHECK:         return

// The reference makes the weight first.
// REFERENCE-LABEL: func.func private @dequantize_0(
// REFERENCE:         arith.sitofp %{{.*}} : i8 to f32
// REFERENCE-NEXT:    memref.load
// REFERENCE-NEXT:    arith.mulf
// REFERENCE-LABEL: func.func private @linear_0(
func.func @project(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = mohd.weight "w" permutation [1, 0] : tensor<64x64xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
