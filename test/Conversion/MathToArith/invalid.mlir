// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-approximate-math --split-input-file -verify-diagnostics

func.func @f64_logarithm(%x: f64) -> f64 {
  // expected-error @+1 {{'math.log' op has no approximation for 'f64', and kernels call no library}}
  %0 = math.log %x : f64
  return %0 : f64
}
