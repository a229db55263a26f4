// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-expand-f16 | FileCheck %s

// The exponent and the mantissa are put in f32's places and multiplied by 2^112; Inf and NaN are chosen apart.
// CHECK-LABEL: func.func @widen(
// CHECK-SAME: %[[X:.*]]: vector<4xf16>
func.func @widen(%x: vector<4xf16>) -> vector<4xf32> {
  // CHECK: %[[BITS:.*]] = arith.bitcast %[[X]] : vector<4xf16> to vector<4xi16>
  // CHECK: arith.extui %[[BITS]] : vector<4xi16> to vector<4xi32>
  // CHECK: arith.mulf
  // CHECK: arith.select
  // CHECK-NOT: arith.extf
  // CHECK: return
  %0 = arith.extf %x : vector<4xf16> to vector<4xf32>
  return %0 : vector<4xf32>
}

// Small, normal and large numbers are rounded each in their way; other types are left alone.
// CHECK-LABEL: func.func @narrow(
func.func @narrow(%x: f32) -> (f16, bf16) {
  // CHECK-COUNT-3: arith.select
  // CHECK: %[[BITS:.*]] = arith.trunci %{{.*}} : i32 to i16
  // CHECK: %[[HALF:.*]] = arith.bitcast %[[BITS]] : i16 to f16
  %0 = arith.truncf %x : f32 to f16
  // CHECK: %[[OTHER:.*]] = arith.truncf %{{.*}} : f32 to bf16
  %1 = arith.truncf %x : f32 to bf16
  // CHECK: return %[[HALF]], %[[OTHER]]
  return %0, %1 : f16, bf16
}
