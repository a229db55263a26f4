// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s 2>&1 | FileCheck %s

// A warning of a verifier is printed, not the op that it is about: printing an op verifies it.
// CHECK: warning: gate 'renormalized' with one routed group gives the router no gradient from the model's loss
// CHECK: func.func @renormalized_with_one_routed_group(
func.func @renormalized_with_one_routed_group(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> tensor<?x16xf32> {
  %r, %s = mohd.route %n, %phi gate renormalized score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 3, 1>, tensor<?x16xf32>
  return %s : tensor<?x16xf32>
}
