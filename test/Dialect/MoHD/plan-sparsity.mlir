// RUN: mohd-opt %s --mohd-plan-sparsity | FileCheck %s
// RUN: mohd-opt %s --mohd-plan-sparsity --mohd-plan-sparsity | FileCheck %s
// RUN: mohd-opt %s --mohd-plan-sparsity=gather-tokens=5 | FileCheck %s --check-prefix=FIVE
// RUN: mohd-opt %s --mohd-plan-sparsity=gather-tokens=0 | FileCheck %s --check-prefix=NONE
// RUN: mohd-opt %s --mohd-plan-sparsity=gather-tokens=100000 | FileCheck %s --check-prefix=MOST
// RUN: mohd-opt %s --mohd-plan-sparsity=lanes=4 | FileCheck %s --check-prefix=LANES4
// RUN: mohd-opt %s --mohd-plan-sparsity=lanes=16 | FileCheck %s --check-prefix=LANES16
// RUN: mohd-opt %s --mohd-plan-sparsity=remarks=true 2>&1 >/dev/null | FileCheck %s --check-prefix=REMARK
// RUN: not mohd-opt %s --mohd-plan-sparsity=lanes=0 2>&1 | FileCheck %s --check-prefix=LANES
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(mohd-plan-sparsity{gpu=true}))' | FileCheck %s --check-prefix=GPU

// LANES: expects positive lanes of a target, got 0

// All groups are active: dense.
// CHECK-LABEL: func.func @all_groups(
// CHECK:         mohd.sddmm {{.*}} plan <gather to {{[0-9]+}},dense>
// NONE-LABEL:  func.func @all_groups(
// NONE:          mohd.sddmm {{.*}} plan <dense>
// REMARK:      plan: mohd.sddmm of 4 of 4 groups, 12 weights of 32 bits each: gather to {{[0-9]+}} tokens, then dense; expected speed over dense 1.00 for 1 token, 1.00 for 32, 1.00 for 256
func.func @all_groups(%x: tensor<?x6xf32>, %r: !mohd.routing<4, 1, 3>, %w: tensor<4x6x2xf32>) -> tensor<?x8xf32> {
  %y = mohd.sddmm %x, %r, %w : tensor<?x6xf32>, !mohd.routing<4, 1, 3>, tensor<4x6x2xf32>
  return %y : tensor<?x8xf32>
}

// Groups that no token has cost nothing.
// CHECK-LABEL: func.func @none_routed(
// CHECK:         mohd.sddmm {{.*}} plan <gather to {{[0-9]+}},grouped>
// REMARK:      plan: mohd.sddmm of 2 of 4 groups{{.*}} 2.00 for 1 token, 2.00 for 32, 2.00 for 256
func.func @none_routed(%x: tensor<?x512xf32>, %r: !mohd.routing<4, 2, 0>, %w: tensor<4x512x256xf32>) -> tensor<?x1024xf32> {
  %y = mohd.sddmm %x, %r, %w : tensor<?x512xf32>, !mohd.routing<4, 2, 0>, tensor<4x512x256xf32>
  return %y : tensor<?x1024xf32>
}

// Gathering saves time while reading weights is what takes it: with wide vectors up to more tokens. As soon as computing does, there is nothing to save.
// CHECK-LABEL: func.func @some_groups(
// CHECK:         mohd.spmm {{.*}} plan <gather to 23,grouped>
// LANES4-LABEL: func.func @some_groups(
// LANES4:        mohd.spmm {{.*}} plan <gather to 13,grouped>
// LANES16-LABEL: func.func @some_groups(
// LANES16:       mohd.spmm {{.*}} plan <gather to 33,grouped>
// FIVE-LABEL:  func.func @some_groups(
// FIVE:          mohd.spmm {{.*}} plan <gather to 5,grouped>
// NONE-LABEL:  func.func @some_groups(
// NONE:          mohd.spmm {{.*}} plan <grouped>
// MOST-LABEL:  func.func @some_groups(
// MOST:          mohd.spmm {{.*}} plan <gather to 512,grouped>
// REMARK:      plan: mohd.spmm of 8 of 16 groups, 720896 weights of 32 bits each
func.func @some_groups(%x: tensor<?x2048xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x128x5632xf32>) -> tensor<?x5632xf32> {
  %y = mohd.spmm %x, %r, %w : tensor<?x2048xf32>, !mohd.routing<16, 6, 2>, tensor<16x128x5632xf32>
  return %y : tensor<?x5632xf32>
}

// Groups of sddmm share a token's columns: 512 KiB of those stay in the second-level cache, and then the contraction is not cut.
// CHECK-LABEL: func.func @shared_columns(
// CHECK:         mohd.sddmm {{.*}} plan <gather to 64,grouped>
// FIVE-LABEL:  func.func @shared_columns(
// FIVE:          mohd.sddmm {{.*}} plan <gather to 5,grouped>
func.func @shared_columns(%x: tensor<?x2048xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x2048x352xf32>) -> tensor<?x5632xf32> {
  %y = mohd.sddmm %x, %r, %w : tensor<?x2048xf32>, !mohd.routing<16, 6, 2>, tensor<16x2048x352xf32>
  return %y : tensor<?x5632xf32>
}

// A plan that is there stays.
// CHECK-LABEL: func.func @planned(
// CHECK:         mohd.spmm {{.*}} plan <gather to 7,grouped>
// FIVE-LABEL:  func.func @planned(
// FIVE:          mohd.spmm {{.*}} plan <gather to 7,grouped>
// REMARK-NOT:  groups, 96 weights
func.func @planned(%x: tensor<?x8xf32>, %r: !mohd.routing<4, 1, 3>, %w: tensor<4x2x48xf32>) -> tensor<?x48xf32> {
  %y = mohd.spmm %x, %r, %w plan <gather to 7, grouped> : tensor<?x8xf32>, !mohd.routing<4, 1, 3>, tensor<4x2x48xf32>
  return %y : tensor<?x48xf32>
}

// A linear is one group that all tokens have.
// CHECK-LABEL: func.func @linear(
// CHECK:         mohd.linear {{.*}} plan <gather to {{[0-9]+}},dense>
// REMARK:      plan: mohd.linear of 1 of 1 groups, 1048576 weights of 16 bits each
func.func @linear(%x: tensor<?x1024xf32>, %w: tensor<1024x1024xbf16>) -> tensor<?x1024xf32> {
  %y = mohd.linear %x, %w : tensor<?x1024xf32>, tensor<1024x1024xbf16> -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

// A quantised weight is read as bytes.
// REMARK:      plan: mohd.linear of 1 of 1 groups, 4096 weights of 8 bits each
func.func @quantized(%x: tensor<?x64xf32>, %v: tensor<64x64xi8>, %s: tensor<64xf32>) -> tensor<?x64xf32> {
  %w = mohd.dequantize %v, %s : tensor<64x64xi8>, tensor<64xf32> -> tensor<64x64xf32>
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A GPU gathers for as many tokens as a tile of its tensor units has rows.
// GPU-LABEL: func.func @on_gpu
func.func @on_gpu(%x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %w: tensor<16x4x96xf32>, %m: tensor<64x32xf32>) -> (tensor<?x96xf32>, tensor<?x32xf32>) {
  // GPU: mohd.spmm {{.*}} plan <gather to 16,bucket>
  %y = mohd.spmm %x, %r, %w : tensor<?x64xf32>, !mohd.routing<16, 6, 2>, tensor<16x4x96xf32>
  // GPU: mohd.linear {{.*}} plan <gather to 16,dense>
  %z = mohd.linear %x, %m : tensor<?x64xf32>, tensor<64x32xf32> -> tensor<?x32xf32>
  return %y, %z : tensor<?x96xf32>, tensor<?x32xf32>
}
