// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --cse | FileCheck %s

// What is not active is not read: it may be anything, and is zero in the result.
// CHECK-LABEL: mohd.program @layout
// CHECK: mohd.dispatch @bucket_tokens_0 grid "ceildiv(T,4)" params ["T"]
func.func @layout(%x: tensor<?x64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>, %order: tensor<?xi32>) -> tensor<?x64xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.bucket_tokens %x routing(%r) order(%order) epsilon 0.0 : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> order tensor<?xi32> -> tensor<?x64xbf16>
  return %a : tensor<?x64xbf16>
}

// Ops that differ in the names of dims only share a kernel, and each has its own grid.
// CHECK-LABEL: mohd.program @other
// CHECK: mohd.dispatch @bucket_tokens_0 grid "ceildiv(B,4)" params ["B"]
func.func @other(%x: tensor<?x64xf32> {mohd.dims = ["B"]}, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>, %order: tensor<?xi32>) -> tensor<?x64xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.bucket_tokens %x routing(%r) order(%order) epsilon 0.0 : tensor<?x64xf32> routing !mohd.routing<16, 6, 2> order tensor<?xi32> -> tensor<?x64xbf16>
  return %a : tensor<?x64xbf16>
}

// Indices in device memory have not been looked at: rows beyond the table are zero.
// CHECK-LABEL: mohd.program @look_up
// CHECK: mohd.dispatch @embed_0 grid "ceildiv(T*16,256)" params ["T", "V"]
func.func @look_up(%ids: tensor<?xi32>, %table: tensor<?x64xbf16> {mohd.dims = ["V"]}) -> tensor<?x64xf32> {
  %y = mohd.embed %ids, %table : tensor<?xi32>, tensor<?x64xbf16> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A block for each token, whatever the settings are.
// CHECK-LABEL: mohd.program @next
// CHECK: mohd.dispatch @sample_0 grid "T" params ["T"]
func.func @next(%l: tensor<?x20xf32>, %t: tensor<?xf32>, %k: tensor<?xi32>, %p: tensor<?xf32>, %d: tensor<?xf32>) -> tensor<?xi32> {
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<?x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
  return %y : tensor<?xi32>
}

// CHECK-LABEL: llvm.func @bucket_tokens_0(
// CHECK: %[[ACTIVE:.*]] = arith.cmpi ne
// CHECK: scf.if %[[ACTIVE]]
// CHECK: tile.load %{{.*}} : !llvm.ptr<1> -> vector<4xf32>
// CHECK: tile.pack bf16
// CHECK: tile.store %{{.*}} : vector<2xi32>, !llvm.ptr<1>
// CHECK-LABEL: llvm.func @embed_0(
// CHECK: arith.cmpi sge
// CHECK: scf.if
// CHECK: tile.load %{{.*}} : !llvm.ptr<1> -> vector<2xi32>
// CHECK-LABEL: llvm.func @sample_0(
// CHECK: scf.for {{.*}} -> (i32)
// CHECK: tile.barrier
// CHECK: tile.exp2
// CHECK: tile.barrier
