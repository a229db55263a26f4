// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-outline-dispatches=chip=sm_90a --cse | FileCheck %s

// In the form of the models a block has 32 columns of a group, with few tokens 8, of all groups.
// CHECK-LABEL: mohd.program @of_models
// CHECK: mohd.dispatch @bucket_fusion_0_few grid "min(1,16/max(1,T))*ceildiv(T,16)*8"
// CHECK: mohd.dispatch @bucket_fusion_0_many grid "(1-min(1,16/max(1,T)))*ceildiv(T,32)*2"
func.func @of_models(%o: tensor<?x1024xbf16>, %r: tensor<16x64x64xbf16>, %l: tensor<64x16x16xbf16>, %x: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %y = mohd.bucket_fusion %o, %r, %l residual(%x) common 16 rows 64
     : tensor<?x1024xbf16>, tensor<16x64x64xbf16>, tensor<64x16x16xbf16> residual tensor<?x1024xf32> -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

// Any other: one kernel.
// CHECK-LABEL: mohd.program @of_other_sizes
// CHECK: mohd.dispatch @bucket_fusion_1 grid "ceildiv(T,8)*1"
func.func @of_other_sizes(%o: tensor<?x15xf32>, %r: tensor<3x8x5xf32>, %l: tensor<6x7x4xf32>) -> tensor<?x42xf32> {
  %y = mohd.bucket_fusion %o, %r, %l common 2 rows 64
     : tensor<?x15xf32>, tensor<3x8x5xf32>, tensor<6x7x4xf32> -> tensor<?x42xf32>
  return %y : tensor<?x42xf32>
}

// The factors' products are of bf16, and of f32 in two parts.
// CHECK-LABEL: llvm.func @bucket_fusion_0_many(
// CHECK: tile.mma bf16
// CHECK: tile.barrier_sync
// CHECK: tile.mma tf32
// CHECK: tile.barrier_sync
// CHECK-LABEL: llvm.func @bucket_fusion_1(
// CHECK: math.fma
