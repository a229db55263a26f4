// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg,canonicalize,cse))' | FileCheck %s --implicit-check-not=mohd.

// A sum over tokens; the mask chooses those that have the group, which is dimension 1 of the result.
// CHECK-LABEL: func.func @weight_gradient(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x64xf32>, %[[Y:[a-z0-9]+]]: tensor<?x96xbf16>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-DAG: %[[WIDTH:.*]] = arith.constant 4 : index
// CHECK: %[[ACTIVE:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x16xi1>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<96x16x4xbf16>)
// CHECK-DAG: %[[C:.*]] = linalg.index 0
// CHECK-DAG: %[[I:.*]] = linalg.index 1
// CHECK-DAG: %[[P:.*]] = linalg.index 2
// CHECK: %[[FIRST:.*]] = arith.muli %[[I]], %[[WIDTH]]
// CHECK: %[[ROW:.*]] = arith.addi %[[FIRST]], %[[P]]
// CHECK: %[[SUM:.*]] = scf.for %[[T:.*]] = %{{.*}} iter_args
// CHECK:   tensor.extract %[[X]][%[[T]], %[[ROW]]]
// CHECK:   tensor.extract %[[Y]][%[[T]], %[[C]]]
// CHECK:   %[[IS_ACTIVE:.*]] = tensor.extract %[[ACTIVE]][%[[T]], %[[I]]]
// CHECK:   arith.select %[[IS_ACTIVE]], %{{.*}}, %[[ZERO]]
// CHECK: arith.truncf %[[SUM]] : f32 to bf16
func.func @weight_gradient(%x: tensor<?x64xf32>, %y: tensor<?x96xbf16>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> tensor<96x16x4xbf16> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %w = mohd.weight_gradient %x, %y routing(%r) permutation [2, 0, 1]
    : tensor<?x64xf32>, tensor<?x96xbf16> routing !mohd.routing<16, 6, 2> -> tensor<96x16x4xbf16>
  return %w : tensor<96x16x4xbf16>
}

// The slope of silu at -Inf is 0, not the NaN of the formula.
// CHECK-LABEL: func.func @swiglu_gradient(
// CHECK-DAG: %[[MINUS_INF:.*]] = arith.constant 0xFF800000 : f32
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: linalg.generic
// CHECK: %[[IS:.*]] = arith.cmpf oeq, %{{.*}}, %[[MINUS_INF]]
// CHECK: arith.select %[[IS]], %[[ZERO]]
// CHECK: linalg.generic
func.func @swiglu_gradient(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>, %dz: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %dg, %du = mohd.swiglu_gradient %g, %u, %dz : tensor<?x8xf32>
  return %dg, %du : tensor<?x8xf32>, tensor<?x8xf32>
}

// A constant scaling has no slope: zeros. Another one has that of its mass.
// CHECK-LABEL: func.func @scale_gradients(
// CHECK: %[[ZEROS:.*]] = linalg.generic
// CHECK-NOT: scf.for
// CHECK: linalg.yield
// CHECK: %[[SLOPE:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?xf32>)
// CHECK: arith.mulf
// CHECK: arith.divf
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x8xf32>)
// CHECK: tensor.extract %[[SLOPE]]
func.func @scale_gradients(%x: tensor<?x64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %a = mohd.scale_gradient %x, %x, %r scaling n_over_k : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %b = mohd.scale_gradient %x, %x, %r scaling k_over_mass : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  return %a, %b : tensor<?x8xf32>, tensor<?x8xf32>
}

// The result is the operand with its indices exchanged; a copy is a tensor of its own; units keep the indices.
// CHECK-LABEL: func.func @moves(
// CHECK-SAME: %[[W:[a-z0-9]+]]: tensor<3x5xbf16>, %[[X:[a-z0-9]+]]: tensor<?x8xf32>, %[[I:[a-z0-9]+]]: tensor<?x2xi32>
// CHECK: %[[P:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<5x3xbf16>)
// CHECK-DAG: %[[A:.*]] = linalg.index 0
// CHECK-DAG: %[[B:.*]] = linalg.index 1
// CHECK: tensor.extract %[[W]][%[[B]], %[[A]]]
// CHECK: %[[Y:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x8xf32>)
// CHECK: tensor.extract %[[X]]
// CHECK: %[[ONES:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x2xf32>)
// CHECK: return %[[P]], %[[Y]], %[[I]], %[[ONES]]
func.func @moves(%w: tensor<3x5xbf16>, %x: tensor<?x8xf32>, %i: tensor<?x2xi32>, %g: tensor<?x2xf32>)
    -> (tensor<5x3xbf16>, tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>) {
  %p = mohd.permute_weight %w [1, 0] : tensor<3x5xbf16> -> tensor<5x3xbf16>
  %y = mohd.copy %x : tensor<?x8xf32>
  %r = mohd.make_routing %i, %g : tensor<?x2xi32>, tensor<?x2xf32> -> !mohd.routing<4, 1, 1>
  %u = mohd.unit_gates %r : !mohd.routing<4, 1, 1>
  %j, %ones = mohd.unpack_routing %u : !mohd.routing<4, 1, 1> -> tensor<?x2xi32>, tensor<?x2xf32>
  return %p, %y, %j, %ones : tensor<5x3xbf16>, tensor<?x8xf32>, tensor<?x2xi32>, tensor<?x2xf32>
}
