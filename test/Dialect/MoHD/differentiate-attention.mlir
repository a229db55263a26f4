// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-differentiate --canonicalize --cse | FileCheck %s

// Gradients of caches are added to zeros, which the kernels update in place.
// CHECK-LABEL: func.func @attention_backward(
// CHECK-SAME:  %[[Q:[^:]*]]: tensor<?x16xf32> {{.*}}, %[[K:[^:]*]]: tensor<1x?x?x8xf32> {{.*}}, %[[V:[^:]*]]: tensor<1x?x?x8xf32> {{.*}}, %[[P:[^:]*]]: tensor<?xi32> {{.*}}, %[[DY:[^:]*]]: tensor<?x16xf32> {mohd.name = "grad_result0"})
// CHECK:       %[[DQ:.*]], %[[S:.*]] = mohd.attention_gradient %[[Q]], %[[K]], %[[V]], %[[DY]], %[[P]] layer 0 head_dim 4 : {{.*}} -> tensor<?x12xf32>
// CHECK:       %[[ZK:.*]] = mohd.zero_cache %[[K]]
// CHECK:       %[[DK:.*]] = mohd.attention_cache_gradient %[[ZK]], %[[Q]], %[[K]], %[[V]], %[[DY]], %[[S]], %[[P]] layer 0 head_dim 4 :
// CHECK:       %[[ZV:.*]] = mohd.zero_cache %[[V]]
// CHECK:       %[[DV:.*]] = mohd.attention_cache_gradient %[[ZV]], %[[Q]], %[[K]], %[[V]], %[[DY]], %[[S]], %[[P]] layer 0 head_dim 4 of_values
// CHECK:       return %[[DQ]], %[[DK]], %[[DV]]
func.func @attention(%q: tensor<?x16xf32>, %k: tensor<1x?x?x8xf32>, %v: tensor<1x?x?x8xf32>, %p: tensor<?xi32>) -> tensor<?x16xf32>
    attributes {mohd.backward = "attention_backward"} {
  %y = mohd.attention %q, %k, %v, %p layer 0 head_dim 4 : tensor<?x16xf32>, tensor<1x?x?x8xf32>, tensor<1x?x?x8xf32>, tensor<?xi32>
  return %y : tensor<?x16xf32>
}

// A cache that serves as keys and values has one gradient, of frozen ones there is none.
// CHECK-LABEL: func.func @both_backward(
// CHECK:       %[[Z:.*]] = mohd.zero_cache %[[C:.*]] :
// CHECK:       %[[A:.*]] = mohd.attention_cache_gradient %[[Z]], %{{.*}}, %[[C]], %[[C]]
// CHECK:       %[[B:.*]] = mohd.attention_cache_gradient %[[A]], {{.*}} of_values
// CHECK:       return %{{.*}}, %[[B]]
// CHECK-LABEL: func.func @frozen_backward(
// CHECK-NOT:   mohd.zero_cache
// CHECK:       mohd.attention_gradient
// CHECK-NOT:   mohd.attention_cache_gradient
// CHECK:       return
func.func @both(%q: tensor<?x8xf32>, %c: tensor<1x?x?x8xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x8xf32> attributes {mohd.backward = "both_backward"} {
  %y = mohd.attention %q, %c, %c, %p in %s layer 0 head_dim 4 : tensor<?x8xf32>, tensor<1x?x?x8xf32>, tensor<1x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  return %y : tensor<?x8xf32>
}
func.func @frozen(%q: tensor<?x8xf32>, %c: tensor<1x?x?x8xf32> {mohd.frozen}, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x8xf32> attributes {mohd.backward = "frozen_backward"} {
  %y = mohd.attention %q, %c, %c, %p in %s layer 0 head_dim 4 : tensor<?x8xf32>, tensor<1x?x?x8xf32>, tensor<1x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  return %y : tensor<?x8xf32>
}

// What is appended has the gradient at its places, the cache that elsewhere. The gradient of a cache that is returned is an argument, updated in place.
// CHECK-LABEL: func.func @append_backward(
// CHECK-SAME:  %[[P:[^:]*]]: tensor<?xi32> {{.*}}, %[[DC:[^:]*]]: tensor<2x?x?x8xf32> {mohd.name = "grad_result0"})
// CHECK-SAME:  -> (tensor<2x?x?x8xf32> {mohd.name = "grad_c"}, tensor<?x8xbf16> {mohd.name = "grad_k"})
// CHECK-NEXT:  %[[D:.*]], %[[DK:.*]] = mohd.kv_cache_append_gradient %[[DC]], %[[P]] layer 1 : tensor<2x?x?x8xf32>, tensor<?xi32> -> tensor<?x8xbf16>
// CHECK-NEXT:  return %[[D]], %[[DK]]
func.func @append(%c: tensor<2x?x?x8xf32> {mohd.name = "c"}, %k: tensor<?x8xbf16> {mohd.name = "k"}, %p: tensor<?xi32>) -> tensor<2x?x?x8xf32>
    attributes {mohd.backward = "append_backward"} {
  %y = mohd.kv_cache_append %c, %k, %p layer 1 : tensor<2x?x?x8xf32>, tensor<?x8xbf16>, tensor<?xi32>
  return %y : tensor<2x?x?x8xf32>
}

// Layers share their caches. Nothing uses a cache after it was appended to, and no gradient after it was updated: layer 0 finds its rows in what layer 1 made of the cache.
// CHECK-LABEL: func.func @layers_backward(
// CHECK-SAME:  %[[X:[^:]*]]: tensor<?x8xf32> {{.*}}, %[[C:[^:]*]]: tensor<2x?x?x8xf32>
// CHECK:       %[[C0:.*]] = mohd.kv_cache_append %[[C]], %[[X]], {{.*}} layer 0
// CHECK:       %[[A0:.*]] = mohd.attention %[[X]], %[[C0]], %[[C0]]
// CHECK:       %[[C1:.*]] = mohd.kv_cache_append %[[C0]], %[[A0]], {{.*}} layer 1
// CHECK-NOT:   mohd.attention %
// CHECK:       %[[DQ1:.*]], %[[S1:.*]] = mohd.attention_gradient %[[A0]], %[[C1]], %[[C1]]
// CHECK:       %[[Z:.*]] = mohd.zero_cache %[[C1]]
// CHECK:       %[[DA:.*]] = mohd.attention_cache_gradient %[[Z]], %[[A0]], %[[C1]], %[[C1]], {{.*}}, %[[S1]], {{.*}} layer 1
// CHECK:       %[[DB:.*]] = mohd.attention_cache_gradient %[[DA]], {{.*}} layer 1 head_dim 4 of_values
// CHECK:       %[[D1:.*]], %[[R1:.*]] = mohd.kv_cache_append_gradient %[[DB]], {{.*}} layer 1
// CHECK:       %[[DY:.*]] = mohd.add %[[DQ1]], %[[R1]]
// CHECK:       %[[DQ0:.*]], %[[S0:.*]] = mohd.attention_gradient %[[X]], %[[C1]], %[[C1]], %[[DY]], {{.*}} layer 0
// CHECK:       %[[DE:.*]] = mohd.attention_cache_gradient %[[D1]], %[[X]], %[[C1]], %[[C1]], %[[DY]], %[[S0]], {{.*}} layer 0
// CHECK:       %[[DF:.*]] = mohd.attention_cache_gradient %[[DE]], {{.*}} layer 0 head_dim 4 of_values
// CHECK:       %{{.*}}, %[[R0:.*]] = mohd.kv_cache_append_gradient %[[DF]], {{.*}} layer 0
// CHECK:       mohd.add %[[DQ0]], %[[R0]]
// CHECK-LABEL: func.func @saved_backward(
// CHECK-SAME:  %[[SAVED:[^:]*]]: tensor<2x?x?x8xf32> {mohd.name = "result1"}
// CHECK-NOT:   mohd.kv_cache_append %
// CHECK:       mohd.attention_gradient %{{.*}}, %[[SAVED]], %[[SAVED]], {{.*}} layer 1
// CHECK:       mohd.attention_gradient %{{.*}}, %[[SAVED]], %[[SAVED]], {{.*}} layer 0
func.func @layers(%x: tensor<?x8xf32>, %c: tensor<2x?x?x8xf32> {mohd.frozen}, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x8xf32>
    attributes {mohd.backward = "layers_backward"} {
  %c0 = mohd.kv_cache_append %c, %x, %p in %s layer 0 : tensor<2x?x?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %a0 = mohd.attention %x, %c0, %c0, %p in %s layer 0 head_dim 4 : tensor<?x8xf32>, tensor<2x?x?x8xf32>, tensor<2x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %c1 = mohd.kv_cache_append %c0, %a0, %p in %s layer 1 : tensor<2x?x?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %a1 = mohd.attention %a0, %c1, %c1, %p in %s layer 1 head_dim 4 : tensor<?x8xf32>, tensor<2x?x?x8xf32>, tensor<2x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  return %a1 : tensor<?x8xf32>
}
func.func @saved(%x: tensor<?x8xf32>, %c: tensor<2x?x?x8xf32> {mohd.frozen}, %p: tensor<?xi32>, %s: tensor<?xi32>)
    -> (tensor<?x8xf32>, tensor<2x?x?x8xf32> {mohd.frozen}, tensor<?x8xf32> {mohd.frozen}) attributes {mohd.backward = "saved_backward"} {
  %c0 = mohd.kv_cache_append %c, %x, %p in %s layer 0 : tensor<2x?x?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %a0 = mohd.attention %x, %c0, %c0, %p in %s layer 0 head_dim 4 : tensor<?x8xf32>, tensor<2x?x?x8xf32>, tensor<2x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %c1 = mohd.kv_cache_append %c0, %a0, %p in %s layer 1 : tensor<2x?x?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>
  %a1 = mohd.attention %a0, %c1, %c1, %p in %s layer 1 head_dim 4 : tensor<?x8xf32>, tensor<2x?x?x8xf32>, tensor<2x?x?x8xf32>, tensor<?xi32>, tensor<?xi32>
  return %a1, %c1, %a0 : tensor<?x8xf32>, tensor<2x?x?x8xf32>, tensor<?x8xf32>
}

// What depends on constants alone needs no rule.
// CHECK-LABEL: func.func @quantized_backward(
// CHECK:       %[[W:.*]] = mohd.dequantize
// CHECK:       %[[T:.*]] = mohd.permute_weight %[[W]]
// CHECK:       %[[DX:.*]] = mohd.linear %{{.*}}, %[[T]]
// CHECK:       return %[[DX]] :
func.func @quantized(%x: tensor<?x8xf32>, %v: tensor<8x6xi8>, %s: tensor<6xf32> {mohd.frozen}) -> tensor<?x6xf32> attributes {mohd.backward = "quantized_backward"} {
  %w = mohd.dequantize %v, %s : tensor<8x6xi8>, tensor<6xf32> -> tensor<8x6xf32>
  %y = mohd.linear %x, %w : tensor<?x8xf32>, tensor<8x6xf32> -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// CHECK-LABEL: func.func @copied_backward(
// CHECK:       %[[C:.*]] = mohd.copy %{{.*}} : tensor<?x8xf32>
// CHECK-NEXT:  return %[[C]]
func.func @copied(%x: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {mohd.backward = "copied_backward"} {
  %y = mohd.copy %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
