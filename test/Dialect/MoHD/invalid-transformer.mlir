// RUN: mohd-opt %s -split-input-file -verify-diagnostics

// One case for each labelled constraint of the unrouted ops and of programs, named after it.

func.func @embed_c1(%ids: tensor<?xi32>, %table: tensor<256x64xf32>) {
  // expected-error @below {{'mohd.embed' op expects a result of the table's width 64, got 32}}
  %x = mohd.embed %ids, %table : tensor<?xi32>, tensor<256x64xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<?x64xf32>, %w: tensor<32xf32>) {
  // expected-error @below {{'mohd.rms_norm' op expects 'weight' to have width 64, got 32}}
  %n = mohd.rms_norm %x, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<?x60xf32>, %w: tensor<60xf32>, %r: !mohd.routing<16, 6, 2>) {
  // expected-error @below {{'mohd.rms_norm' op expects the width of 'input' to be a multiple of 16 groups, got 60}}
  %n = mohd.rms_norm %x, %w routing(%r) epsilon 1.0e-05
    : tensor<?x60xf32>, tensor<60xf32> routing !mohd.routing<16, 6, 2>
  return
}

// -----

func.func @linear_c1(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>) {
  // expected-error @below {{'mohd.linear' op expects 'weight' of shape [64, 96], got [96, 64]}}
  %y = mohd.linear %x, %w : tensor<?x64xf32>, tensor<96x64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @linear_c2(%x: tensor<?x64xf32>, %w: tensor<64x96xf32>) {
  // expected-error @below {{'mohd.linear' op expects plan 'dense', got 'grouped'}}
  %y = mohd.linear %x, %w plan <gather to 8, grouped> : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @rope_c1_odd(%x: tensor<?x66xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.rope' op expects an even 'head_dim' in 2..4096, got 33}}
  %y = mohd.rope %x, %p head_dim 33 theta 1.0e+04 : tensor<?x66xf32>, tensor<?xi32>
  return
}

// -----

func.func @rope_c1_zero(%x: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects an even 'head_dim' in 2..4096, got 0}}
  %y = mohd.rope %x, %p head_dim 0 theta 1.0e+04 : tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @rope_c2(%x: tensor<?x48xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.rope' op expects the width of 'input' to be a multiple of 'head_dim' 32, got 48}}
  %y = mohd.rope %x, %p head_dim 32 theta 1.0e+04 : tensor<?x48xf32>, tensor<?xi32>
  return
}

// -----

func.func @kv_cache_append_c1(%c: tensor<2x?x?x64xf32>, %k: tensor<?x32xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.kv_cache_append' op expects 'rows' to have the cache's width 64, got 32}}
  %d = mohd.kv_cache_append %c, %k, %p layer 0 : tensor<2x?x?x64xf32>, tensor<?x32xf32>, tensor<?xi32>
  return
}

// -----

func.func @kv_cache_append_c2_large(%c: tensor<2x?x?x64xf32>, %k: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.kv_cache_append' op expects 'layer' to be less than a static number of layers of the cache, got layer 2 of}}
  %d = mohd.kv_cache_append %c, %k, %p layer 2 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @kv_cache_append_c2_dynamic(%c: tensor<?x?x?x64xf32>, %k: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects 'layer' to be less than a static number of layers of the cache, got layer 0 of}}
  %d = mohd.kv_cache_append %c, %k, %p layer 0 : tensor<?x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @kv_cache_append_c2_negative(%c: tensor<2x?x?x64xf32>, %k: tensor<?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects 'layer' to be less than a static number of layers of the cache, got layer -1 of}}
  %d = mohd.kv_cache_append %c, %k, %p layer -1 : tensor<2x?x?x64xf32>, tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_c1_query(%q: tensor<?x100xf32>, %c: tensor<2x?x?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention' op expects the widths of 'query' and 'keys' to be multiples of 'head_dim' 32, got 100 and 64}}
  %a = mohd.attention %q, %c, %c, %p layer 0 head_dim 32
    : tensor<?x100xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_c1_zero(%q: tensor<?x64xf32>, %c: tensor<2x?x?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects 'head_dim' in 1..4096, got 0}}
  %a = mohd.attention %q, %c, %c, %p layer 0 head_dim 0
    : tensor<?x64xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_c2(%q: tensor<?x96xf32>, %c: tensor<2x?x?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention' op expects the number of query heads to be a multiple of the number of key heads, got 3 and 2}}
  %a = mohd.attention %q, %c, %c, %p layer 0 head_dim 32
    : tensor<?x96xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_c3_types(%q: tensor<?x64xf32>, %k: tensor<2x?x?x64xf32>, %v: tensor<2x?x?x64xbf16>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention' op expects 'keys' and 'values' of one type, got 'tensor<2x?x?x64xf32>' and 'tensor<2x?x?x64xbf16>'}}
  %a = mohd.attention %q, %k, %v, %p layer 0 head_dim 32
    : tensor<?x64xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xbf16>, tensor<?xi32>
  return
}

// -----

func.func @attention_c3_layer(%q: tensor<?x64xf32>, %c: tensor<2x?x?x64xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention' op expects 'layer' to be less than a static number of layers of the cache, got layer 2 of}}
  %a = mohd.attention %q, %c, %c, %p layer 2 head_dim 32
    : tensor<?x64xf32>, tensor<2x?x?x64xf32>, tensor<2x?x?x64xf32>, tensor<?xi32>
  return
}

// -----

mohd.program @program_c1 interface {} workspace "0" {
  // expected-error @below {{expects only 'mohd.dispatch' in a program, got 'arith.constant'}}
  %zero = arith.constant 0 : index
}

// -----

mohd.program @dispatch_c1_missing interface {} workspace "0" {
  // expected-error @below {{'mohd.dispatch' op expects 'kernel' to name a function of the module, got @absent}}
  mohd.dispatch @absent grid "1" params [] bindings []
}

// -----

mohd.program @dispatch_c1_program interface {} workspace "0" {
  // expected-error @below {{expects 'kernel' to name a function of the module, got @dispatch_c1_program}}
  mohd.dispatch @dispatch_c1_program grid "1" params [] bindings []
}

// -----

func.func private @kernel()
mohd.program @dispatch_params interface {} workspace "0" {
  // expected-error @below {{attribute 'params' failed to satisfy constraint: string array attribute}}
  mohd.dispatch @kernel grid "1" params [1] bindings []
}

// -----

func.func private @kernel()
mohd.program @dispatch_bindings interface {} workspace "0" {
  // expected-error @below {{attribute 'bindings' failed to satisfy constraint: array of #mohd.binding}}
  mohd.dispatch @kernel grid "1" params [] bindings ["x"]
}

// -----

func.func private @dispatch_outside() {
  // expected-error @below {{'mohd.dispatch' op expects parent op 'mohd.program'}}
  mohd.dispatch @dispatch_outside grid "1" params [] bindings []
}

// -----

// A table of so many frequencies would never end.
func.func @rope_c1_huge(%x: tensor<?x0xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{expects an even 'head_dim' in 2..4096, got 4611686018427387904}}
  %y = mohd.rope %x, %p head_dim 4611686018427387904 theta 1.0e+04 : tensor<?x0xf32>, tensor<?xi32>
  return
}

// -----

func.func @attention_c4(%q: tensor<?x8192xf32>, %c: tensor<2x?x?x8192xf32>, %p: tensor<?xi32>) {
  // expected-error @below {{'mohd.attention' op expects 'head_dim' in 1..4096, got 8192}}
  %a = mohd.attention %q, %c, %c, %p layer 0 head_dim 8192
    : tensor<?x8192xf32>, tensor<2x?x?x8192xf32>, tensor<2x?x?x8192xf32>, tensor<?xi32>
  return
}

// -----

// expected-error @below {{expects 'mohd.name' to be a string, got 3 : i64}}
func.func private @name_attribute(tensor<?x8xf32> {mohd.name = 3})

// -----

// expected-error @below {{expects 'mohd.dims' to be an array of names, got "T"}}
func.func private @dims_attribute(tensor<?x8xf32>) -> (tensor<?x8xf32> {mohd.dims = "T"})

// -----

// expected-error @below {{expects 'mohd.dims' to be an array of names, got [3]}}
func.func private @dims_attribute_of_numbers(tensor<?x8xf32> {mohd.dims = [3]})

// -----

func.func @sample_c1(%l: tensor<?x0xf32>, %t: tensor<?xf32>, %k: tensor<?xi32>, %p: tensor<?xf32>, %d: tensor<?xf32>) {
  // expected-error @below {{'mohd.sample' op expects logits of at least one column, got none}}
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<?x0xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<?xf32> -> tensor<?xi32>
  return
}

// -----

func.func @sample_tokens(%l: tensor<2x20xf32>, %t: tensor<?xf32>, %k: tensor<?xi32>, %p: tensor<?xf32>, %d: tensor<3xf32>) {
  // expected-error @below {{'mohd.sample' op expects operand #4 to have 2 tokens, got 3}}
  %y = mohd.sample %l temperature %t top_k %k top_p %p draw %d : tensor<2x20xf32>, tensor<?xf32>, tensor<?xi32>, tensor<?xf32>, tensor<3xf32> -> tensor<?xi32>
  return
}
