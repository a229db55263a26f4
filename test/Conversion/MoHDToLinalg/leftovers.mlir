// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg))' | FileCheck %s

// Weights are outside the IR: the reference to one stays.
// CHECK-LABEL: func.func @weight_stays(
// CHECK: %[[W:.*]] = mohd.weight "w" : tensor<64x96xf32>
// CHECK: tensor.extract %[[W]]
// CHECK-NOT: mohd.
// CHECK: return
func.func @weight_stays(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = mohd.weight "w" : tensor<64x96xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// -----

// expected-error @below {{expects no routing in the signature of a function; pass its tensors and use mohd.make_routing and mohd.unpack_routing}}
func.func @routing_argument(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>) -> tensor<?x64xf32> {
  %y = mohd.gate %x, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  return %y : tensor<?x64xf32>
}

// -----

// expected-error @below {{expects no routing in the signature of a function}}
func.func private @routing_result(tensor<?x64xf32>) -> !mohd.routing<16, 6, 2>
