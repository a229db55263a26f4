// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-approximate-math | FileCheck %s

// 16-bit functions are computed in f32, vectors stay vectors.
// CHECK-LABEL: func.func @half_precision(
// CHECK-NOT: math.exp
// CHECK: arith.extf %{{.*}} : vector<8xbf16> to vector<8xf32>
// CHECK: arith.truncf %{{.*}} : vector<8xf32> to vector<8xbf16>
// CHECK: return
func.func @half_precision(%x: vector<8xbf16>) -> vector<8xbf16> {
  %0 = math.exp %x : vector<8xbf16>
  return %0 : vector<8xbf16>
}

// The exponential clamps its argument so that a NaN stays, rounds by an addition, and takes the exponent from the low bits.
// CHECK-LABEL: func.func @exponential(
// CHECK-SAME: %[[X:.*]]: vector<8xf32>
// CHECK: %[[BELOW:.*]] = arith.cmpf ogt, %{{.*}}, %[[X]]
// CHECK: %[[RAISED:.*]] = arith.select %[[BELOW]], %{{.*}}, %[[X]]
// CHECK: %[[ABOVE:.*]] = arith.cmpf ogt, %[[RAISED]]
// CHECK: arith.select %[[ABOVE]], %{{.*}}, %[[RAISED]]
// CHECK: %[[SHIFTED:.*]] = llvm.intr.fmuladd
// CHECK: %[[BITS:.*]] = arith.bitcast %[[SHIFTED]]
// CHECK: arith.shli %[[BITS]]
// CHECK-COUNT-8: llvm.intr.fmuladd
// CHECK: %[[RESULT:.*]] = arith.addf
// CHECK: return %[[RESULT]]
func.func @exponential(%x: vector<8xf32>) -> vector<8xf32> {
  %0 = math.exp %x : vector<8xf32>
  return %0 : vector<8xf32>
}

// The reduction of an f32 sine needs f64.
// CHECK-LABEL: func.func @f32_sine_and_cosine(
// CHECK-NOT: math.
// CHECK: arith.extf %{{.*}} : vector<4xf32> to vector<4xf64>
// CHECK-NOT: math.
// CHECK: arith.addi %{{.*}} : vector<4xi64>
// CHECK-NOT: math.
// CHECK: return
func.func @f32_sine_and_cosine(%x: vector<4xf32>) -> (vector<4xf32>, vector<4xf32>) {
  %0 = math.sin %x : vector<4xf32>
  %1 = math.cos %x : vector<4xf32>
  return %0, %1 : vector<4xf32>, vector<4xf32>
}

// What targets do themselves is left alone.
// CHECK-LABEL: func.func @native(
// CHECK: math.absf
// CHECK: math.floor
// CHECK: math.sqrt
func.func @native(%x: f64) -> f64 {
  %0 = math.absf %x : f64
  %1 = math.floor %0 : f64
  %2 = math.sqrt %1 : f64
  return %2 : f64
}
