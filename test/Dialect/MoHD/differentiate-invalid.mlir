// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-differentiate -split-input-file -verify-diagnostics

func.func @quantized(%x: tensor<?x8xf32>, %v: tensor<8x6xi8>, %s: tensor<6xf32>) -> tensor<?x6xf32> attributes {mohd.backward = "b"} {
  // expected-error @below {{'mohd.dequantize' op expects an op that has a gradient, as 'quantized' has a backward function; constants, such as quantized weights, are marked 'mohd.frozen'}}
  %w = mohd.dequantize %v, %s : tensor<8x6xi8>, tensor<6xf32> -> tensor<8x6xf32>
  %y = mohd.linear %x, %w : tensor<?x8xf32>, tensor<8x6xf32> -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// -----

// expected-error @below {{expects an argument that has a gradient, as 'integers' has a backward function}}
func.func @integers(%ids: tensor<?xi32>) -> tensor<?x8xf32> attributes {mohd.backward = "b"} {
  %table = mohd.weight "table" : tensor<16x8xf32>
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<16x8xf32> -> tensor<?x8xf32>
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @below {{expects the name of a function that there is not yet as 'mohd.backward', got "other"}}
func.func @taken(%x: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = "other"} {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
func.func @other() {
  return
}

// -----

// expected-error @below {{expects 'mohd.backward' to be the name of a function, got 3 : i64}}
func.func @number(%x: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = 3} {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @below {{expects 'mohd.backward' to be the name of a function, got ""}}
func.func @empty(%x: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = ""} {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @below {{expects a function of one block to have a backward function}}
func.func private @declared(tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = "b"}

// -----

// expected-error @below {{expects a value of which several ops give gradients to be a tensor of rank 2, got 'tensor<4x2x6xf32>'}}
func.func @twice(%x: tensor<?x8xf32>, %w: tensor<4x2x6xf32>, %i: tensor<?x2xi32>, %g: tensor<?x2xf32>) -> (tensor<?x6xf32>, tensor<?x6xf32>)
    attributes {mohd.backward = "b"} {
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %y = mohd.spmm %x, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %z = mohd.silu %x : tensor<?x8xf32>
  %v = mohd.spmm %z, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  return %y, %v : tensor<?x6xf32>, tensor<?x6xf32>
}

// -----

// expected-error @below {{expects 'grad_arg0' to be computed by an op of its own, or to be a tensor of rank 2, got 'tensor<4x2x6xf32>'}}
func.func @returned(%w: tensor<4x2x6xf32>) -> tensor<4x2x6xf32> attributes {mohd.backward = "b"} {
  return %w : tensor<4x2x6xf32>
}

// -----

func.func @table(%ids: tensor<?xi32>, %table: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = "b"} {
  // expected-error @below {{'mohd.embed' op expects a table of static shape, as its gradient has one, got 'tensor<?x8xf32>'}}
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %x : tensor<?x8xf32>
}

// -----

// Both weights have one and the same gradient.
// expected-error @below {{expects 'grad_v' to be computed by an op of its own, or to be a tensor of rank 2, got 'tensor<4x2x6xf32>'}}
func.func @equal(%x: tensor<?x8xf32>, %w: tensor<4x2x6xf32>, %v: tensor<4x2x6xf32> {mohd.name = "v"}, %i: tensor<?x2xi32>, %g: tensor<?x2xf32>) -> tensor<?x6xf32>
    attributes {mohd.backward = "b"} {
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %y = mohd.spmm %x, %r, %w : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %z = mohd.spmm %x, %r, %v : tensor<?x8xf32>, !mohd.routing<4, 1, 1>, tensor<4x2x6xf32>
  %sum = mohd.add %y, %z : tensor<?x6xf32>
  return %sum : tensor<?x6xf32>
}
