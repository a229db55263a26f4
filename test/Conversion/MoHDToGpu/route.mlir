// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_90a --cse | FileCheck %s

// A router is one launch of a warp for each token, four in a block, or one where there are few; logits are added up in registers, exchanged in shared memory.
// CHECK-LABEL: mohd.program @route
// CHECK: mohd.dispatch @norm_route_0_few grid "min(1,16/max(1,T))*ceildiv(T,1)" params ["T"]
// CHECK: mohd.dispatch @norm_route_0_many grid "(1-min(1,16/max(1,T)))*ceildiv(T,4)" params ["T"]
func.func @route(%x: tensor<?x64xf32>, %w: tensor<64xbf16>, %phi: tensor<16x64xbf16>) -> (tensor<?x8xi32>, tensor<?x8xf32>) {
  %r, %s = mohd.norm_route %x, %w, %phi epsilon 1.0e-05 gate softmax score softmax_all scaling none : tensor<?x64xf32>, tensor<64xbf16>, tensor<16x64xbf16> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i, %g : tensor<?x8xi32>, tensor<?x8xf32>
}

// The order of tokens is one block (a small one for few), whose warps count keys in shared memory. With fewer pairs of chosen groups than counters a key is a pair.
// CHECK-LABEL: mohd.program @order
// CHECK: mohd.dispatch @bucket_order_0_few grid "min(1,T)*min(1,16/max(1,T))" params ["T"]
// CHECK: mohd.dispatch @bucket_order_0_many grid "min(1,T)*(1-min(1,16/max(1,T)))" params ["T"]
func.func @order(%i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> (tensor<?xi32>, tensor<?x1xi32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<16, 6, 2> -> tensor<?xi32>, tensor<?x1xi32>
  return %order, %masks : tensor<?xi32>, tensor<?x1xi32>
}

// CHECK-LABEL: llvm.func @norm_route_0_few(
// CHECK-SAME: attributes {mohd.kernel, tile.kernel, tile.min_blocks = 1 : i32, tile.shared_bytes = {{[0-9]+}} : i64, tile.threads = 128 : i32}
// CHECK: scf.for {{.*}} iter_args
// CHECK: math.fma
// CHECK: tile.shuffle bfly
// CHECK: tile.barrier_sync
// CHECK: tile.exp2
// CHECK: tile.ballot
// CHECK-LABEL: llvm.func @bucket_order_0_few(
// CHECK: tile.threads = 128 : i32
// CHECK-LABEL: llvm.func @bucket_order_0_many(
// 10 x 10 keys of 32 warps
// CHECK-SAME: tile.shared_bytes = 12800 : i64, tile.threads = 1024 : i32
// CHECK: tile.atomic add
// CHECK-COUNT-7: tile.ballot
// CHECK: math.ctpop
