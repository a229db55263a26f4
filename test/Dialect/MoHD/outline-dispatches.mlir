// RUN: mohd-opt %s --mohd-outline-dispatches | FileCheck %s
// RUN: mohd-opt %s --mohd-outline-dispatches=reference=true | FileCheck %s --check-prefix=REFERENCE
// RUN: mohd-opt %s --mohd-outline-dispatches=lanes=16 | FileCheck %s --check-prefix=LANES

// CHECK: mohd.weights = [{source = "a", type = tensor<8xf32>}, {source = "b", type = tensor<8xf32>},
// CHECK-SAME: {expanded_shape = array<i64: 100, 8, 1>, panels = 16 : i64, permutation = array<i64: 2, 1, 0>, source = "w", type = tensor<1x7x8x16xbf16>}]

// Weights of one type share a kernel; a dead place in the workspace is used again: three values, two places.
// CHECK-LABEL: mohd.program @chain
// CHECK-SAME:    workspace "T*128"
// CHECK:         mohd.dispatch @rms_norm_0 {{.*}} #mohd.binding<weight 0, "0", "32">, #mohd.binding<workspace 0, "0", "T*32">]
// CHECK:         mohd.dispatch @rms_norm_0 {{.*}} #mohd.binding<weight 1, "0", "32">, #mohd.binding<workspace 0, "T*64", "T*32">]
// CHECK:         mohd.dispatch @rms_norm_0 {{.*}} #mohd.binding<weight 0, "0", "32">, #mohd.binding<workspace 0, "0", "T*32">]
// CHECK:         mohd.dispatch @silu_0 {{.*}} [#mohd.binding<workspace 0, "0", "T*32">, #mohd.binding<output 0, "0", "T*32">]
// REFERENCE-LABEL: mohd.program @chain
// REFERENCE-COUNT-4: grid "1"
func.func @chain(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %a = mohd.weight "a" : tensor<8xf32>
  %b = mohd.weight "b" : tensor<8xf32>
  %1 = mohd.rms_norm %x, %a epsilon 1.0e-05 : tensor<?x8xf32>, tensor<8xf32>
  %2 = mohd.rms_norm %1, %b epsilon 1.0e-05 : tensor<?x8xf32>, tensor<8xf32>
  %3 = mohd.rms_norm %2, %a epsilon 1.0e-05 : tensor<?x8xf32>, tensor<8xf32>
  %4 = mohd.silu %3 : tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// A weight in panels has its filled-up size, 7 * 8 * 16 bf16; the grid of a product is its column tiles for each block, of whatever lanes. The tokens of the
// product are those that were packed.
// CHECK-LABEL: mohd.program @panels
// CHECK-SAME:    dims = ["T"]
// CHECK:         mohd.dispatch @pack_tokens_0 grid "ceildiv(T,252)*min(1,ceildiv(T,8))"
// CHECK:         mohd.dispatch @tiled_spmm_0 grid "ceildiv(T,252)*4" {{.*}} #mohd.binding<weight 2, "0", "1792">, #mohd.binding<output 0, "0", "T*400">]
// LANES-LABEL: mohd.program @panels
// LANES:         mohd.dispatch @tiled_spmm_0 grid "ceildiv(T,252)*4"
func.func @panels(%x: tensor<?x8xf32>) -> tensor<?x100xf32> {
  %w = mohd.weight "w" expanded_shape [100, 8, 1] permutation [2, 1, 0] panels 16 : tensor<1x7x8x16xbf16>
  %p = mohd.pack_tokens %x block 252 rows 14 : tensor<?x8xf32> -> tensor<?x8xf32>
  %y = mohd.tiled_spmm %p, %w common 1 chosen 0 block 252 few 24 rows 14 panels 2
    : tensor<?x8xf32>, tensor<1x7x8x16xbf16> -> tensor<?x100xf32>
  return %y : tensor<?x100xf32>
}

// A weight that a call lays out has no tokens: one task for each row of each group, and a place in the workspace whose size is known.
// CHECK-LABEL: mohd.program @weight_of_a_call
// CHECK-SAME:    workspace "3072+T*64"
// CHECK:         mohd.dispatch @pack_weight_0 grid "32" {{.*}} bindings [#mohd.binding<input 1, "0", "3072">, #mohd.binding<workspace 0, "0", "3072">]
// CHECK:         mohd.dispatch @group_tokens_0 grid "ceildiv(T,252)*1" {{.*}} #mohd.binding<workspace 0, "3072", "T*24">]
// CHECK:         mohd.dispatch @tiled_sddmm_0 grid "ceildiv(T,252)*4"
// CHECK-SAME:      [#mohd.binding<input 0, "0", "T*32">, #mohd.binding<workspace 0, "0", "3072">, #mohd.binding<workspace 0, "3072", "T*24">, #mohd.binding<output 0,
func.func @weight_of_a_call(%x: tensor<?x8xf32>, %w: tensor<4x8x24xf32>, %i: tensor<?x3xi32>, %g: tensor<?x3xf32>) -> tensor<?x96xf32> {
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %p = mohd.pack_weight %w : tensor<4x8x24xf32> -> tensor<4x3x8x8xf32>
  %t = mohd.group_tokens %r block 252 : !mohd.routing<4, 1, 2> -> tensor<?x6xi32>
  %y = mohd.tiled_sddmm %x, %p table(%t) common 1 chosen 2 block 252 few 24 rows 14 panels 3 depth 8
    : tensor<?x8xf32>, tensor<4x3x8x8xf32> table tensor<?x6xi32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// A routing is two buffers; taken apart and returned, they are the outputs.
// CHECK-LABEL: mohd.program @routing
// CHECK-SAME:    outputs = [{dtype = "i32", name = "result0", shape = ["T", "3"]}, {dtype = "f32", name = "gates", shape = ["T", "3"]}]
// CHECK:         mohd.dispatch @route_0
// CHECK-SAME:      #mohd.binding<output 0, "0", "T*12">, #mohd.binding<output 1, "0", "T*12">, #mohd.binding<workspace 0, "0", "T*16">]
func.func @routing(%n: tensor<?x8xf32>, %phi: tensor<4x8xf32>)
    -> (tensor<?x3xi32>, tensor<?x3xf32> {mohd.name = "gates"}) {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x8xf32>, tensor<4x8xf32> -> !mohd.routing<4, 1, 2>, tensor<?x4xf32>
  %i, %g = mohd.unpack_routing %r : !mohd.routing<4, 1, 2> -> tensor<?x3xi32>, tensor<?x3xf32>
  return %i, %g : tensor<?x3xi32>, tensor<?x3xf32>
}

// Token counts that an op ties together are one dim; indices get a range.
// CHECK-LABEL: mohd.program @one_dim
// CHECK-SAME:    dims = ["T"]
// CHECK-SAME:    {dtype = "i32", name = "arg1", range = ["0", "4"], shape = ["T", "3"]}
func.func @one_dim(%x: tensor<?x8xf32>, %i: tensor<?x3xi32>, %g: tensor<?x3xf32>) -> tensor<?x8xf32> {
  %r = mohd.make_routing %i, %g : tensor<?x3xi32>, tensor<?x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.gate %x, %r : tensor<?x8xf32>, !mohd.routing<4, 1, 2>
  return %y : tensor<?x8xf32>
}

// A static token count of one argument fixes the other's.
// CHECK-LABEL: mohd.program @static_tokens
// CHECK-SAME:    dims = []
// CHECK-SAME:    {dtype = "f32", name = "arg0", shape = ["5", "8"]}
// CHECK:         mohd.dispatch @gate_1 {{.*}} params ["5"]
func.func @static_tokens(%x: tensor<?x8xf32>, %w: tensor<5x3xi32>, %g: tensor<5x3xf32>) -> tensor<?x8xf32> {
  %r = mohd.make_routing %w, %g : tensor<5x3xi32>, tensor<5x3xf32> -> !mohd.routing<4, 1, 2>
  %y = mohd.gate %x, %r : tensor<?x8xf32>, !mohd.routing<4, 1, 2>
  return %y : tensor<?x8xf32>
}

// Two layers of a cache share kernels; the layer is an offset; the cache is updated in place. Without sequences there is one
// for each token.
// CHECK-LABEL: mohd.program @cache
// CHECK-SAME:    {dtype = "f32", mutable = true, name = "arg1", shape = ["2", "T", "d1", "4"]}
// CHECK-SAME:    {dtype = "i32", name = "arg2", range = ["0", "d1"], shape = ["T"]}
// CHECK-SAME:    outputs = []
// CHECK:         mohd.dispatch @kv_cache_append_0
// CHECK-SAME:      #mohd.binding<input 1, "0", "T*d1*16">
// CHECK:         mohd.dispatch @kv_cache_append_0
// CHECK-SAME:      #mohd.binding<input 1, "T*d1*16", "T*d1*16">
func.func @cache(%k: tensor<?x4xf32>, %c: tensor<2x?x?x4xf32>, %p: tensor<?xi32>) -> tensor<2x?x?x4xf32> {
  %0 = mohd.kv_cache_append %c, %k, %p layer 0 : tensor<2x?x?x4xf32>, tensor<?x4xf32>, tensor<?xi32>
  %1 = mohd.kv_cache_append %0, %k, %p layer 1 : tensor<2x?x?x4xf32>, tensor<?x4xf32>, tensor<?xi32>
  return %1 : tensor<2x?x?x4xf32>
}

// An entry point may have the name that a kernel would get.
// CHECK-LABEL: mohd.program @swiglu_0
// CHECK:         mohd.dispatch @swiglu_1
func.func @swiglu_0(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %z = mohd.swiglu %x, %y : tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// A sum of a value and itself has a kernel of its own: it reads one buffer twice.
// CHECK-LABEL: mohd.program @sums
// CHECK:         mohd.dispatch @[[TWICE:.*]] grid {{.*}} [#mohd.binding<input 0, {{.*}}>, #mohd.binding<input 0,
// CHECK-NOT:     mohd.dispatch @[[TWICE]] grid
// CHECK:         mohd.dispatch @{{.*}} grid {{.*}} [#mohd.binding<input 0, {{.*}}>, #mohd.binding<input 1,
func.func @sums(%x: tensor<?x24xf32>, %z: tensor<?x24xf32>) -> (tensor<?x24xf32>, tensor<?x24xf32>) {
  %0 = mohd.add %x, %x : tensor<?x24xf32>
  %1 = mohd.add %x, %z : tensor<?x24xf32>
  return %0, %1 : tensor<?x24xf32>, tensor<?x24xf32>
}
