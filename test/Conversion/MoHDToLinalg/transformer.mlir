// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --pass-pipeline='builtin.module(func.func(convert-mohd-to-linalg,canonicalize,cse))' | FileCheck %s --implicit-check-not=mohd.

// CHECK-LABEL: func.func @embed(
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<256x64xbf16>)
// CHECK: %[[ID:.*]] = tensor.extract %[[IDS]]
// CHECK: %[[ROW:.*]] = arith.index_cast %[[ID]]
// CHECK: tensor.extract %[[TABLE]][%[[ROW]],
// CHECK: arith.extf
func.func @embed(%ids: tensor<?xi32>, %table: tensor<256x64xbf16>) -> tensor<?x64xf32> {
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<256x64xbf16> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @dequantize(
// CHECK-SAME: %[[VALUES:.*]]: tensor<4x8x64xi8>, %[[SCALES:.*]]: tensor<4x64xf32>)
// CHECK: %[[GROUP:.*]] = linalg.index 0
// CHECK: %[[ROW:.*]] = linalg.index 1
// CHECK: %[[COLUMN:.*]] = linalg.index 2
// CHECK: %[[VALUE:.*]] = tensor.extract %[[VALUES]][%[[GROUP]], %[[ROW]], %[[COLUMN]]]
// CHECK: %[[WIDE:.*]] = arith.sitofp %[[VALUE]] : i8 to f32
// CHECK: %[[SCALE:.*]] = tensor.extract %[[SCALES]][%[[GROUP]], %[[COLUMN]]]
// CHECK: arith.mulf %[[WIDE]], %[[SCALE]]
func.func @dequantize(%q: tensor<4x8x64xi8>, %s: tensor<4x64xf32>) -> tensor<4x8x64xf32> {
  %w = mohd.dequantize %q, %s : tensor<4x8x64xi8>, tensor<4x64xf32> -> tensor<4x8x64xf32>
  return %w : tensor<4x8x64xf32>
}

// Statistics are f32 for narrow elements.
// CHECK-LABEL: func.func @rms_norm(
// CHECK-DAG: %[[WIDTH:.*]] = arith.constant 6.4{{.*}}e+01 : f32
// CHECK-DAG: %[[EPSILON:.*]] = arith.constant 9.99999974E-6 : f32
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?xf32>)
// CHECK: %[[MEAN:.*]] = arith.divf %{{.*}}, %[[WIDTH]] : f32
// CHECK: %[[SHIFTED:.*]] = arith.addf %[[MEAN]], %[[EPSILON]]
// CHECK: math.sqrt %[[SHIFTED]]
// CHECK: arith.truncf %{{.*}} : f32 to f16
func.func @rms_norm(%x: tensor<?x64xf16>, %w: tensor<64xf32>) -> tensor<?x64xf16> {
  %n = mohd.rms_norm %x, %w epsilon 1.000000e-05 : tensor<?x64xf16>, tensor<64xf32>
  return %n : tensor<?x64xf16>
}

// Over active groups only: 8 groups of 4 are counted, the rest is masked.
// CHECK-LABEL: func.func @rms_norm_of_active(
// CHECK-DAG: %[[COUNTED:.*]] = arith.constant 3.2{{.*}}e+01 : f32
// CHECK: arith.select
// CHECK: arith.divf %{{.*}}, %[[COUNTED]] : f32
func.func @rms_norm_of_active(%x: tensor<?x64xf32>, %w: tensor<64xf32>, %i: tensor<?x8xi32>, %g: tensor<?x8xf32>)
    -> tensor<?x64xf32> {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %n = mohd.rms_norm %x, %w routing(%r) epsilon 1.000000e-05
    : tensor<?x64xf32>, tensor<64xf32> routing !mohd.routing<16, 6, 2>
  return %n : tensor<?x64xf32>
}

// A static token count on one side only is no obstacle.
// CHECK-LABEL: func.func @linear(
// CHECK: %[[SUM:.*]] = scf.for
// CHECK:   arith.addf %{{.*}} : f32
// CHECK: arith.truncf %[[SUM]] : f32 to bf16
// CHECK: tensor.cast %{{.*}} : tensor<3x96xbf16> to tensor<?x96xbf16>
func.func @linear(%x: tensor<3x64xbf16>, %w: tensor<64x96xbf16>) -> tensor<?x96xbf16> {
  %y = mohd.linear %x, %w : tensor<3x64xbf16>, tensor<64x96xbf16> -> tensor<?x96xbf16>
  return %y : tensor<?x96xbf16>
}

// CHECK-LABEL: func.func @add(
// CHECK: arith.addf %{{.*}} : f32
// CHECK-NEXT: arith.truncf
func.func @add(%x: tensor<?x64xbf16>, %o: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %y = mohd.add %x, %o : tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

// silu(-Inf) is 0, not -Inf / Inf.
// CHECK-LABEL: func.func @silu(
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant 0xFF800000 : f32
// CHECK: %[[IS_LOWEST:.*]] = arith.cmpf oeq, %[[X:.*]], %[[LOWEST]]
// CHECK: %[[MINUS:.*]] = arith.negf %[[X]]
// CHECK: math.exp %[[MINUS]]
// CHECK: %[[QUOTIENT:.*]] = arith.divf %[[X]],
// CHECK: arith.select %[[IS_LOWEST]], %[[ZERO]], %[[QUOTIENT]]
func.func @silu(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = mohd.silu %x : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// The gate is not rounded before it is multiplied.
// CHECK-LABEL: func.func @swiglu(
// CHECK: %[[SILU:.*]] = arith.select
// CHECK-NOT: arith.truncf
// CHECK: arith.mulf %[[SILU]],
// CHECK-NEXT: arith.truncf
func.func @swiglu(%gate: tensor<?x96xbf16>, %up: tensor<?x96xbf16>) -> tensor<?x96xbf16> {
  %z = mohd.swiglu %gate, %up : tensor<?x96xbf16>
  return %z : tensor<?x96xbf16>
}

// The angle and its sine and cosine are f64, the rotation is f32.
// CHECK-LABEL: func.func @rope(
// CHECK: %[[FREQUENCY:.*]] = arith.constant dense<[1.000000e+00, 1.000000e-01, {{.*}}]> : tensor<4xf64>
// CHECK: arith.sitofp %{{.*}} : i32 to f64
// CHECK: tensor.extract %[[FREQUENCY]]
// CHECK: %[[COSINE:.*]] = math.cos %{{.*}} : f64
// CHECK-NEXT: arith.truncf %[[COSINE]] : f64 to f32
// CHECK: %[[SINE:.*]] = math.sin %{{.*}} : f64
// CHECK-NEXT: arith.truncf %[[SINE]] : f64 to f32
func.func @rope(%q: tensor<?x64xf32>, %position: tensor<?xi32>) -> tensor<?x64xf32> {
  %r = mohd.rope %q, %position head_dim 8 theta 1.000000e+04 : tensor<?x64xf32>, tensor<?xi32>
  return %r : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @kv_cache_append(
// CHECK-SAME: %[[CACHE:[a-z0-9]+]]: tensor<2x?x?x64xbf16>, %{{.*}}, %[[POSITION:[a-z0-9]+]]: tensor<?xi32>, %[[SEQUENCE:[a-z0-9]+]]: tensor<?xi32>
// CHECK: %[[LAYER:.*]] = arith.constant 1 : index
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[CACHE]])
// CHECK:   tensor.extract %[[SEQUENCE]]
// CHECK:   tensor.extract %[[POSITION]]
// CHECK:   %[[DATA:.*]] = arith.truncf
// CHECK:   tensor.insert %[[DATA]] into %{{.*}}[%[[LAYER]],
func.func @kv_cache_append(%cache: tensor<2x?x?x64xbf16>, %rows: tensor<?x64xf32>, %position: tensor<?xi32>,
                           %sequence: tensor<?xi32>) -> tensor<2x?x?x64xbf16> {
  %c = mohd.kv_cache_append %cache, %rows, %position in %sequence layer 1
    : tensor<2x?x?x64xbf16>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>
  return %c : tensor<2x?x?x64xbf16>
}

// Two query heads share a key head; the rows are those up to the token's position; without `sequence` a token is its own sequence.
// CHECK-LABEL: func.func @attention(
// CHECK-SAME: %{{.*}}: tensor<?x128xf32>, %[[KEYS:[a-z0-9]+]]: tensor<2x?x?x64xf32>, %[[VALUES:[a-z0-9]+]]: tensor<2x?x?x64xf32>, %[[POSITION:[a-z0-9]+]]
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4x?xf32>)
// CHECK:   %[[TOKEN:.*]] = linalg.index 0
// CHECK:   tensor.extract %[[KEYS]][%{{.*}}, %[[TOKEN]],
// CHECK: arith.maximumf
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x128xf32>)
// CHECK:   tensor.extract %[[POSITION]]
// CHECK:   tensor.extract %[[VALUES]]
func.func @attention(%q: tensor<?x128xf32>, %keys: tensor<2x?x?x64xf32>, %values: tensor<2x?x?x64xf32>,
                     %position: tensor<?xi32>) -> tensor<?x128xf32> {
  %a = mohd.attention %q, %keys, %values, %position layer 1 head_dim 32
    : tensor<?x128xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>
  return %a : tensor<?x128xf32>
}

// Weights, then ranks: each token compared with every other one.
// CHECK-LABEL: func.func @sample(
// CHECK-SAME: %[[LOGITS:[a-z0-9]+]]: tensor<?x20xf32>
// CHECK: arith.maximumf
// CHECK: math.exp
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x20xf32>)
// CHECK:   tensor.extract %[[LOGITS]]
// CHECK:   arith.cmpf oeq
// CHECK:   arith.cmpf ogt
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?xi32>)
func.func @sample(%l: tensor<?x20xf32>, %t: tensor<?xf32>, %k: tensor<?xi32>, %p: tensor<?xf32>, %d: tensor<?xf32>) -> tensor<?xi32> {
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<?x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
  return %y : tensor<?xi32>
}
