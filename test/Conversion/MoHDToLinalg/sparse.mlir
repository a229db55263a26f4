// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg,canonicalize,cse))' | FileCheck %s --implicit-check-not=mohd.

// The mask chooses: what is not active becomes 0 whatever its value is.
// CHECK-LABEL: func.func @gate(
// CHECK-SAME: %[[X:.*]]: tensor<?x64xbf16>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[ACTIVE:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x16xi1>)
// CHECK: %[[GATES:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x16xf32>)
// CHECK: %[[GATE:.*]] = tensor.extract %[[GATES]]
// CHECK: %[[NARROW:.*]] = tensor.extract %[[X]]
// CHECK: %[[WIDE:.*]] = arith.extf %[[NARROW]]
// CHECK: %[[PRODUCT:.*]] = arith.mulf %[[GATE]], %[[WIDE]] : f32
// CHECK: %[[IS_ACTIVE:.*]] = tensor.extract %[[ACTIVE]]
// CHECK: %[[CHOSEN:.*]] = arith.select %[[IS_ACTIVE]], %[[PRODUCT]], %[[ZERO]] : f32
// CHECK: arith.truncf %[[CHOSEN]] : f32 to bf16
func.func @gate(%x: tensor<?x64xbf16>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x64xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.gate %x, %r : tensor<?x64xbf16>, !mohd.routing<16, 6, 2>
  return %y : tensor<?x64xbf16>
}

// All 16 groups of 4 are walked; the sum is f32 and rounded once.
// CHECK-LABEL: func.func @spmm(
// CHECK-SAME: %{{.*}}: tensor<?x64xbf16>, %[[W:[a-z0-9]+]]: tensor<16x4x96xbf16>
// CHECK-DAG: %[[GROUPS:.*]] = arith.constant 16 : index
// CHECK-DAG: %[[WIDTH:.*]] = arith.constant 4 : index
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x96xbf16>)
// CHECK: %[[SUM:.*]] = scf.for %[[GROUP:.*]] = %{{.*}} to %[[GROUPS]]
// CHECK:   %[[PART:.*]] = scf.for %[[P:.*]] = %{{.*}} to %[[WIDTH]]
// CHECK:     tensor.extract %[[W]][%[[GROUP]], %[[P]],
// CHECK:     arith.addf %{{.*}} : f32
// CHECK:   arith.select %{{.*}}, %[[PART]], %{{.*}} : f32
// CHECK: arith.truncf %[[SUM]] : f32 to bf16
func.func @spmm(%x: tensor<?x64xbf16>, %w: tensor<16x4x96xbf16>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x96xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.spmm %x, %r, %w plan <gather to 24, grouped> : tensor<?x64xbf16>, !mohd.routing<16, 6, 2>, tensor<16x4x96xbf16>
  return %y : tensor<?x96xbf16>
}

// The output side has no gates.
// CHECK-LABEL: func.func @sddmm(
// CHECK-SAME: %{{.*}}: tensor<?x96xf32>, %[[W:[a-z0-9]+]]: tensor<16x96x4xf16>, %{{.*}}: tensor<?x8xi32>, %[[GATES:[a-z0-9]+]]: tensor<?x8xf32>
// CHECK-NOT: tensor.extract %[[GATES]]
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x64xf32>)
// CHECK: tensor.extract %[[W]]
// CHECK-NOT: tensor.extract %[[GATES]]
// CHECK: arith.select
// CHECK: return
func.func @sddmm(%x: tensor<?x96xf32>, %w: tensor<16x96x4xf16>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<?x64xf32> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.sddmm %x, %r, %w : tensor<?x96xf32>, !mohd.routing<16, 6, 2>, tensor<16x96x4xf16>
  return %y : tensor<?x64xf32>
}

// The inner blocks stay f32; only active blocks contribute.
// CHECK-LABEL: func.func @monarch(
// CHECK-SAME: %{{.*}}: tensor<?x64xbf16>, %[[R:[a-z0-9]+]]: tensor<16x4x4xf32>, %[[L:[a-z0-9]+]]: tensor<4x16x16xf32>
// CHECK: %[[BLOCKS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x64xf32>)
// CHECK:   tensor.extract %[[R]]
// CHECK:   arith.select
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x64xbf16>)
// CHECK:   tensor.extract %[[L]]
// CHECK:   tensor.extract %[[BLOCKS]]
// CHECK: return
func.func @monarch(%o: tensor<?x64xbf16>, %right: tensor<16x4x4xf32>, %left: tensor<4x16x16xf32>, %i: tensor<?x8xi32>,
                   %g: tensor<?x8xf32>) -> tensor<?x64xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %y = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)
    : tensor<?x64xbf16> right tensor<16x4x4xf32> left tensor<4x16x16xf32> routing !mohd.routing<16, 6, 2>
  return %y : tensor<?x64xbf16>
}

// Blocks need not be square: 16 blocks of 4 become 16 of 2. Without a routing there is no mask.
// CHECK-LABEL: func.func @block_diagonal(
// CHECK-SAME: %[[BIAS:[a-z0-9]+]]: tensor<32xf32>)
// CHECK-NOT: arith.select
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x32xf32>)
// CHECK: tensor.extract %[[BIAS]]
// CHECK-NOT: arith.select
// CHECK: return
func.func @block_diagonal(%o: tensor<?x64xf32>, %right: tensor<16x2x4xf32>, %b: tensor<32xf32>) -> tensor<?x32xf32> {
  %y = mohd.group_fusion %o kind block_diagonal right(%right) bias(%b)
    : tensor<?x64xf32> right tensor<16x2x4xf32> bias tensor<32xf32>
  return %y : tensor<?x32xf32>
}

// CHECK-LABEL: func.func @no_fusion(
// CHECK-SAME: %[[X:.*]]: tensor<?x64xf32>)
// CHECK-NEXT: return %[[X]]
func.func @no_fusion(%o: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = mohd.group_fusion %o kind none : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
