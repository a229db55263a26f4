// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --split-input-file --verify-diagnostics

func.func @many_groups(%x: tensor<?x1025xf32>, %phi: tensor<1025x1025xf32>) -> tensor<?x1025xf32> {
  // expected-error@+1 {{'mohd.route' op expects at most 1024 groups for a GPU, got 1025}}
  %r, %s = mohd.route %x, %phi gate softmax score softmax_all : tensor<?x1025xf32>, tensor<1025x1025xf32> -> !mohd.routing<1025, 0, 1>, tensor<?x1025xf32>
  return %s : tensor<?x1025xf32>
}

// -----

func.func @many_keys(%i: tensor<?x1xi32>, %g: tensor<?x1xf32>) -> (tensor<?xi32>, tensor<?x626xi32>) {
  %r = mohd.make_routing %i, %g : tensor<?x1xi32>, tensor<?x1xf32> -> !mohd.routing<20001, 0, 1>
  // expected-error@+1 {{'mohd.bucket_order' op expects at most 16384 groups for a GPU, got 20001}}
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<20001, 0, 1> -> tensor<?xi32>, tensor<?x626xi32>
  return %order, %masks : tensor<?xi32>, tensor<?x626xi32>
}

// -----

func.func @monarch(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x16xf32>) -> tensor<?x64xf32> {
  // expected-error@+1 {{expects a Monarch fusion to be a 'mohd.bucket_fusion' on a GPU}}
  %y = mohd.group_fusion %o kind monarch right(%right) left(%left) : tensor<?x64xf32> right tensor<16x4x4xf32> left tensor<4x16x16xf32>
  return %y : tensor<?x64xf32>
}

// -----

func.func @no_kernel(%w: tensor<16x4x96xbf16>) -> tensor<16x6x4x16xbf16> {
  // expected-error@+1 {{'mohd.pack_weight' op expects an op with a GPU kernel}}
  %p = mohd.pack_weight %w : tensor<16x4x96xbf16> -> tensor<16x6x4x16xbf16>
  return %p : tensor<16x6x4x16xbf16>
}

// -----

func.func @wide_left(%o: tensor<?x65536xf32>, %right: tensor<65536x1x1xf32>, %left: tensor<1x1x65536xf32>) -> tensor<?x1xf32> {
  // expected-error@+1 {{'mohd.bucket_fusion' op expects at most 41728 columns of 'left', got 65536}}
  %y = mohd.bucket_fusion %o, %right, %left common 65536 rows 64 : tensor<?x65536xf32>, tensor<65536x1x1xf32>, tensor<1x1x65536xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
