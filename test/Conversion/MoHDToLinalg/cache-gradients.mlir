// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg,canonicalize,cse))' | FileCheck %s --implicit-check-not=mohd.

// What is appended is read before its places are cleared.
// CHECK-LABEL: func.func @kv_cache_append_gradient(
// CHECK-SAME: %[[GRAD:[a-z0-9]+]]: tensor<2x?x?x64xbf16>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : bf16
// CHECK-DAG: %[[LAYER:.*]] = arith.constant 1 : index
// CHECK: %[[ROWS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x64xf32>)
// CHECK:   tensor.extract %[[GRAD]][%[[LAYER]],
// CHECK: %[[REST:.*]] = scf.for {{.*}} iter_args(%{{.*}} = %[[GRAD]])
// CHECK:   tensor.insert %[[ZERO]] into %{{.*}}[%[[LAYER]],
// CHECK: return %[[REST]], %[[ROWS]]
func.func @kv_cache_append_gradient(%grad: tensor<2x?x?x64xbf16>, %position: tensor<?xi32>) -> (tensor<2x?x?x64xbf16>, tensor<?x64xf32>) {
  %c, %rows = mohd.kv_cache_append_gradient %grad, %position layer 1 : tensor<2x?x?x64xbf16>, tensor<?xi32> -> tensor<?x64xf32>
  return %c, %rows : tensor<2x?x?x64xbf16>, tensor<?x64xf32>
}

// CHECK-LABEL: func.func @zero_cache(
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<1x?x?x64xf16>)
// CHECK-NOT: tensor.extract
// CHECK: linalg.yield
func.func @zero_cache(%cache: tensor<1x?x?x64xf16>) -> tensor<1x?x?x64xf16> {
  %z = mohd.zero_cache %cache : tensor<1x?x?x64xf16>
  return %z : tensor<1x?x?x64xf16>
}

// Sums go over the rows that a token sees; four query heads share two key heads.
// CHECK-LABEL: func.func @attention_gradient(
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<?x128xf32>, %[[K:[a-z0-9]+]]: tensor<2x?x?x64xf32>, %[[V:[a-z0-9]+]]: tensor<2x?x?x64xf32>, %[[DY:[a-z0-9]+]]: tensor<?x128xf32>
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK:   tensor.extract %[[K]]
// CHECK:   tensor.extract %[[Q]]
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK:   tensor.extract %[[V]]
// CHECK:   tensor.extract %[[DY]]
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4xf32>)
// CHECK:   %[[POSITION:.*]] = arith.index_cast
// CHECK:   %[[COUNT:.*]] = arith.addi %[[POSITION]], %c1
// CHECK:   scf.for %{{.*}} = %c0 to %[[COUNT]]
// CHECK: math.exp
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x128xf32>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x12xf32>)
func.func @attention_gradient(%q: tensor<?x128xf32>, %keys: tensor<2x?x?x64xf32>, %values: tensor<2x?x?x64xf32>, %dy: tensor<?x128xf32>,
                              %position: tensor<?xi32>) -> (tensor<?x128xf32>, tensor<?x12xf32>) {
  %dq, %s = mohd.attention_gradient %q, %keys, %values, %dy, %position layer 1 head_dim 32
    : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32> -> tensor<?x12xf32>
  return %dq, %s : tensor<?x128xf32>, tensor<?x12xf32>
}

// A row adds up what it gets of the tokens of its sequence that see it, to what is there; other layers stay.
// CHECK-LABEL: func.func @attention_cache_gradient(
// CHECK-SAME: %[[INTO:[a-z0-9]+]]: tensor<2x?x?x64xf32>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK: %[[FACTORS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK:   math.exp
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<2x?x?x64xf32>)
// CHECK:   %[[SUM:.*]] = scf.for
// CHECK:     %[[IS_ITS:.*]] = arith.cmpi eq
// CHECK:     %[[IS_HIDDEN:.*]] = arith.cmpi slt
// CHECK:     tensor.extract %[[FACTORS]]
// CHECK:     %[[SEEN:.*]] = arith.select %[[IS_HIDDEN]], %[[ZERO]]
// CHECK:     arith.select %[[IS_ITS]], %[[SEEN]], %[[ZERO]]
// CHECK:   %[[BEFORE:.*]] = tensor.extract %[[INTO]]
// CHECK:   %[[AFTER:.*]] = arith.addf %[[BEFORE]], %[[SUM]]
// CHECK:   arith.select %{{.*}}, %[[AFTER]], %[[BEFORE]]
func.func @attention_cache_gradient(%into: tensor<2x?x?x64xf32>, %q: tensor<?x128xf32>, %keys: tensor<2x?x?x64xf32>, %values: tensor<2x?x?x64xf32>,
                                    %dy: tensor<?x128xf32>, %s: tensor<?x12xf32>, %position: tensor<?xi32>, %sequence: tensor<?xi32>) -> tensor<2x?x?x64xf32> {
  %dk = mohd.attention_cache_gradient %into, %q, %keys, %values, %dy, %s, %position in %sequence layer 1 head_dim 32
    : tensor<2x?x?x64xf32>, tensor<?x128xf32>, tensor<?x12xf32>, tensor<?xi32>, tensor<?xi32>
  return %dk : tensor<2x?x?x64xf32>
}
