// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-approximate-math | FileCheck %s

// Functions become arithmetic; a square root stays, as every target has it.
// CHECK-LABEL: func.func @functions(
// CHECK-NOT: math.{{exp|fma|rsqrt}}
// CHECK: arith.divf %{{.*}}, %{{.*}} : f32
// CHECK-NOT: math.{{exp|fma|rsqrt}}
// CHECK: llvm.intr.fmuladd
// CHECK: math.sqrt %{{.*}} : vector<8xf32>
// CHECK: return
func.func @functions(%x: f32, %v: vector<8xf32>) -> (f32, vector<8xf32>) {
  %0 = math.rsqrt %x : f32
  %1 = math.exp %v : vector<8xf32>
  %2 = math.fma %1, %v, %v : vector<8xf32>
  %3 = math.sqrt %2 : vector<8xf32>
  return %0, %3 : f32, vector<8xf32>
}

// Sine: reduction by pi/2, two polynomials, and a choice by quadrant.
// CHECK-LABEL: func.func @sine(
// CHECK: %[[BITS:.*]] = arith.bitcast %{{.*}} : f64 to i64
// CHECK: arith.andi %[[BITS]]
// CHECK: arith.select
// CHECK: %[[RESULT:.*]] = arith.select
// CHECK: return %[[RESULT]] : f64
func.func @sine(%x: f64) -> f64 {
  %0 = math.sin %x : f64
  return %0 : f64
}
