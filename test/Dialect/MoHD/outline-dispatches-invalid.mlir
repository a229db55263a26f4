// RUN: mohd-opt %s --mohd-outline-dispatches -split-input-file -verify-diagnostics

// expected-error @+1 {{expects results of an entry point to be tensors, got '!mohd.routing<4, 1, 2>' (take it apart with 'mohd.unpack_routing')}}
func.func @routing_result(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>) -> !mohd.routing<4, 1, 2> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 2>, tensor<?x4xf32>
  return %r : !mohd.routing<4, 1, 2>
}

// -----

// expected-error @+1 {{expects each result to be computed by an op of its own, got result #0 that is an argument, a weight or another result}}
func.func @argument_result(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %x : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expects each result to be computed by an op of its own, got result #1}}
func.func @same_result_twice(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y, %y : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

func.func @old_cache_used(%k: tensor<?x4xf32>, %c: tensor<1x?x?x4xf32>, %p: tensor<?xi32>)
    -> (tensor<1x?x?x4xf32>, tensor<?x4xf32>) {
  // expected-error @+1 {{expects a value that is updated in place not to be used later, but 'mohd.attention' uses it}}
  %1 = mohd.kv_cache_append %c, %k, %p layer 0 : tensor<1x?x?x4xf32>, tensor<?x4xf32>, tensor<?xi32>
  %a = mohd.attention %k, %c, %c, %p layer 0 head_dim 4
    : tensor<?x4xf32>, tensor<1x?x?x4xf32>, tensor<1x?x?x4xf32>, tensor<?xi32>
  return %1, %a : tensor<1x?x?x4xf32>, tensor<?x4xf32>
}

// -----

func.func @weight_as_cache(%k: tensor<2x4xf32>, %p: tensor<2xi32>) -> tensor<2x4xf32> {
  %c = mohd.weight "cache" : tensor<1x2x3x4xf32>
  // expected-error @+1 {{expects a value that is updated in place not to be a weight}}
  %1 = mohd.kv_cache_append %c, %k, %p layer 0 : tensor<1x2x3x4xf32>, tensor<2x4xf32>, tensor<2xi32>
  %y = mohd.silu %k : tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}

// -----

func.func @computed_indices(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>, %x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 2>, tensor<?x4xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<4, 1, 2> -> tensor<?x3xi32>, tensor<?x3xf32>
  // expected-error @+1 {{expects indices to be an argument of the entry point, so that their range can be checked, got operand #0}}
  %q = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.gate %x, %q : tensor<?x8xf32>, !mohd.routing<4, 1, 2>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expects elements f32, bf16, f16, f64, i8, i32 or i64 in the interface, got 'i3'}}
func.func @element_type(%x: tensor<?x8xf32>, %z: tensor<?xi3>) -> tensor<?x8xf32> {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expects an entry point of one block}}
func.func @two_blocks(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  cf.br ^next
^next:
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @foreign_op(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{expects only ops of the mohd dialect in an entry point, got 'math.exp'}}
  %y = math.exp %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @contradicting_tokens(%x: tensor<?x8xf32> {mohd.dims = ["T"]}, %y: tensor<?x8xf32> {mohd.dims = ["T"]},
    %i: tensor<4x3xi32>, %g: tensor<4x3xf32>, %j: tensor<5x3xi32>, %h: tensor<5x3xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<4x3xi32>, tensor<4x3xf32> -> !mohd.routing<4, 1, 2>
  %s = mohd.make_routing %j, %h : tensor<5x3xi32>, tensor<5x3xf32> -> !mohd.routing<4, 1, 2>
  %a = mohd.gate %x, %r : tensor<?x8xf32>, !mohd.routing<4, 1, 2>
  // expected-error @+1 {{expects equal sizes, got 4 and 5}}
  %b = mohd.gate %y, %s : tensor<?x8xf32>, !mohd.routing<4, 1, 2>
  return %a, %b : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// expected-error @+1 {{expects arguments of an entry point to be ranked tensors, got 'f32'}}
func.func @scalar_argument(%x: f32) {
  return
}

// -----

// expected-error @+1 {{expects 1 names in 'mohd.dims' of argument #0, got 2}}
func.func @too_many_names(%x: tensor<?x8xf32> {mohd.dims = ["T", "U"]}) -> tensor<?x8xf32> {
  %y = mohd.silu %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @table_of_a_caller(%z: tensor<?x8xf32>, %w: tensor<4x1x8x2xf32>, %t: tensor<?x6xi32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{expects a 'table' that 'mohd.group_tokens' makes, got an argument or another op's result}}
  %y = mohd.tiled_sddmm %z, %w table(%t) common 1 chosen 2 block 64 few 24 rows 4 panels 1 depth 8
    : tensor<?x8xf32>, tensor<4x1x8x2xf32> table tensor<?x6xi32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @table_of_other_blocks(%x: tensor<?x8xf32>, %n: tensor<?x8xf32>, %phi: tensor<4x8xf32>) -> tensor<?x6xf32> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 2>, tensor<?x4xf32>
  %t = mohd.group_tokens %r block 128 : !mohd.routing<4, 1, 2> -> tensor<?x6xi32>
  // expected-error @+1 {{expects a 'table' of [block, groups, common, chosen] [64, 4, 1, 2], got [128, 4, 1, 2]}}
  %p = mohd.pack_tokens %x routing(%r) table(%t) block 64 rows 4
    : tensor<?x8xf32> routing !mohd.routing<4, 1, 2> table tensor<?x6xi32> -> tensor<?x6xf32>
  return %p : tensor<?x6xf32>
}
