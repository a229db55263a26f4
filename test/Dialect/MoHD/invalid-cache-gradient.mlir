// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of the gradients of attention and of KV caches, named after it.

func.func @kv_cache_append_gradient_c1(%c: tensor<1x?x?x8xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.kv_cache_append_gradient' op expects 'rows' to have the cache's width 8, got 6}}
  %d, %rows = mohd.kv_cache_append_gradient %c, %p layer 0 : tensor<1x?x?x8xf32>, tensor<?xi32> -> tensor<?x6xf32>
  return
}

// -----

func.func @kv_cache_append_gradient_c2(%c: tensor<1x?x?x8xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.kv_cache_append_gradient' op expects 'layer' to be less than a static number of layers of the cache, got layer 1 of 'tensor<1x?x?x8xf32>'}}
  %d, %rows = mohd.kv_cache_append_gradient %c, %p layer 1 : tensor<1x?x?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @attention_gradient_c1(%q: tensor<?x16xf32>, %c: tensor<1x?x?x8xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention_gradient' op expects the widths of 'query' and 'keys' to be multiples of 'head_dim' 3, got 16 and 8}}
  %d, %s = mohd.attention_gradient %q, %c, %c, %q, %p layer 0 head_dim 3
    : tensor<?x16xf32>, tensor<1x?x?x8xf32>, tensor<1x?x?x8xf32>, tensor<?xi32> -> tensor<?x12xf32>
  return
}

// -----

func.func @attention_gradient_c2(%q: tensor<?x16xf32>, %c: tensor<1x?x?x8xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention_gradient' op expects 'statistics' to have 12 columns, three for each query head, got 4}}
  %d, %s = mohd.attention_gradient %q, %c, %c, %q, %p layer 0 head_dim 4
    : tensor<?x16xf32>, tensor<1x?x?x8xf32>, tensor<1x?x?x8xf32>, tensor<?xi32> -> tensor<?x4xf32>
  return
}

// -----

func.func @attention_cache_gradient_c1(%q: tensor<?x16xf32>, %c: tensor<1x?x?x8xf32>, %s: tensor<?x12xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention_cache_gradient' op expects 'layer' to be less than a static number of layers of the cache, got layer 2}}
  %d = mohd.attention_cache_gradient %c, %q, %c, %c, %q, %s, %p layer 2 head_dim 4
    : tensor<1x?x?x8xf32>, tensor<?x16xf32>, tensor<?x12xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_cache_gradient_c2(%q: tensor<?x16xf32>, %c: tensor<1x?x?x8xf32>, %s: tensor<?x4xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention_cache_gradient' op expects 'statistics' to have 12 columns, three for each query head, got 4}}
  %d = mohd.attention_cache_gradient %c, %q, %c, %c, %q, %s, %p layer 0 head_dim 4
    : tensor<1x?x?x8xf32>, tensor<?x16xf32>, tensor<?x4xf32>, tensor<?xi32>
  return
}
