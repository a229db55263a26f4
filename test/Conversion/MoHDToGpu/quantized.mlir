// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_80 --cse | FileCheck %s

// Few tokens read the int8 values; a copy is written for many only, in scratch.
// CHECK-LABEL: mohd.program @contract
// CHECK-SAME: workspace "12288"
// CHECK: mohd.dispatch @bucket_spmm_0_bytes8 grid "min(1,T)*min(1,8/max(1,T))*6"
// CHECK: mohd.dispatch @bucket_spmm_0_bytes16 grid "min(1,T)*(1-min(1,8/max(1,T)))*min(1,16/max(1,T))*6"
// CHECK: mohd.dispatch @bucket_spmm_0_expand grid "(1-min(1,16/max(1,T)))*3" {{.*}}<workspace
// CHECK: mohd.dispatch @bucket_spmm_0_mma64 grid "(1-min(1,16/max(1,T)))*{{.*}}<workspace
func.func @contract(%a: tensor<?x64xbf16>, %w: tensor<96x4x16xi8>, %s: tensor<4x96xf32>, %m: tensor<?x1xi32>) -> tensor<?x96xf32> {
  %y = mohd.bucket_spmm %a, %w scales(%s) masks(%m) common 2 rows 64 : tensor<?x64xbf16>, tensor<96x4x16xi8> scales tensor<4x96xf32> masks tensor<?x1xi32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// In f32 no copy is worth it.
// CHECK-LABEL: mohd.program @wide
// CHECK-SAME: workspace "0"
// CHECK: mohd.dispatch @bucket_spmm_1_dot1
// CHECK: mohd.dispatch @bucket_spmm_1_dot16
// CHECK-NEXT: mohd.dispatch @bucket_spmm_1_scalar
func.func @wide(%a: tensor<?x64xf32>, %w: tensor<96x4x16xi8>, %s: tensor<4x96xf32>) -> tensor<?x96xf32> {
  %y = mohd.bucket_spmm %a, %w scales(%s) common 4 rows 64 : tensor<?x64xf32>, tensor<96x4x16xi8> scales tensor<4x96xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// A group's scale is loaded beside its values, and multiplies what they add up.
// CHECK-LABEL: llvm.func @bucket_spmm_0_bytes8(
// CHECK: scf.for
// CHECK: tile.load %{{.*}} streaming : !llvm.ptr<1> -> vector<2xi32>
// CHECK: %[[SCALE:.*]] = tile.load %{{.*}} : !llvm.ptr<1> -> f32
// CHECK: tile.load %{{.*}} streaming : !llvm.ptr<1> -> vector<2xi32>
// CHECK: tile.mma bf16
// CHECK-NOT: tile.mma
// CHECK: llvm.extractelement %{{.*}} : vector<4xf32>
// CHECK: math.fma %{{.*}}, %[[SCALE]], %{{.*}} : f32
// CHECK-LABEL: llvm.func @bucket_spmm_0_expand(
// CHECK: tile.load %{{.*}} : !llvm.ptr<1> -> vector<8xi8>
// CHECK: tile.store %{{.*}} : vector<4xi32>, !llvm.ptr<1>
