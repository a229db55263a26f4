// RUN: mohd-opt %s -canonicalize -split-input-file | FileCheck %s

// Centroids go when no group is routed, the gate is a constant and nobody reads the scores.
// CHECK-LABEL: @drop_unneeded_centroids(
// CHECK-SAME: %[[N:.*]]: tensor<?x64xf32>, %[[PHI:.*]]: tensor
// CHECK: %[[R:.*]], %{{.*}} = mohd.route %[[N]] gate binary score softmax_all : tensor<?x64xf32> ->
// CHECK: return %[[R]]
func.func @drop_unneeded_centroids(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> !mohd.routing<16, 6, 0> {
  %r, %s = mohd.route %n, %phi gate binary score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return %r : !mohd.routing<16, 6, 0>
}

// The same holds for the gates that are 1 on shared groups; the scaling stays.
// CHECK-LABEL: @drop_unneeded_centroids_shared(
// CHECK: mohd.route %{{[a-z0-9]*}} gate shared_one score sigmoid scaling n_over_k
// CHECK: mohd.route %{{[a-z0-9]*}} gate renormalized score softmax_routed :
// CHECK: return
func.func @drop_unneeded_centroids_shared(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>)
    -> (!mohd.routing<16, 6, 0>, !mohd.routing<16, 16, 0>) {
  %r0, %s0 = mohd.route %n, %phi gate shared_one score sigmoid scaling n_over_k
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  %r1, %s1 = mohd.route %n, %phi gate renormalized score softmax_routed
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 16, 0>, tensor<?x16xf32>
  return %r0, %r1 : !mohd.routing<16, 6, 0>, !mohd.routing<16, 16, 0>
}

// Groups are routed: the logits choose them.
// CHECK-LABEL: @keep_centroids_routed(
// CHECK-SAME: %[[N:.*]]: tensor<?x64xf32>, %[[PHI:.*]]: tensor
// CHECK: mohd.route %[[N]], %[[PHI]] gate binary
func.func @keep_centroids_routed(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> !mohd.routing<16, 6, 2> {
  %r, %s = mohd.route %n, %phi gate binary score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 2>, tensor<?x16xf32>
  return %r : !mohd.routing<16, 6, 2>
}

// The gates are scores.
// CHECK-LABEL: @keep_centroids_softmax(
// CHECK-SAME: %[[N:.*]]: tensor<?x64xf32>, %[[PHI:.*]]: tensor
// CHECK: mohd.route %[[N]], %[[PHI]] gate softmax
func.func @keep_centroids_softmax(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> !mohd.routing<16, 6, 0> {
  %r, %s = mohd.route %n, %phi gate softmax score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return %r : !mohd.routing<16, 6, 0>
}

// Somebody reads the scores.
// CHECK-LABEL: @keep_centroids_scores(
// CHECK-SAME: %[[N:.*]]: tensor<?x64xf32>, %[[PHI:.*]]: tensor
// CHECK: mohd.route %[[N]], %[[PHI]] gate binary
func.func @keep_centroids_scores(%n: tensor<?x64xf32>, %phi: tensor<16x64xf32>) -> (!mohd.routing<16, 6, 0>, tensor<?x16xf32>) {
  %r, %s = mohd.route %n, %phi gate binary score softmax_all
    : tensor<?x64xf32>, tensor<16x64xf32> -> !mohd.routing<16, 6, 0>, tensor<?x16xf32>
  return %r, %s : !mohd.routing<16, 6, 0>, tensor<?x16xf32>
}

// Unpacking what was just packed gives the parts back.
// CHECK-LABEL: @unpack_of_make(
// CHECK-SAME: %[[I:.*]]: tensor<?x8xi32>, %[[G:.*]]: tensor<?x8xf32>
// CHECK-NEXT: return %[[I]], %[[G]]
func.func @unpack_of_make(%i: tensor<?x8xi32>, %g: tensor<?x8xf32>) -> (tensor<?x8xi32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<?x8xi32>, tensor<?x8xf32> -> !mohd.routing<16, 6, 2>
  %i1, %g1 = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i1, %g1 : tensor<?x8xi32>, tensor<?x8xf32>
}

// Not when the types differ (here by a static token count), and not for a routing of another origin.
// CHECK-LABEL: @unpack_kept(
// CHECK: %[[R:.*]] = mohd.make_routing
// CHECK: mohd.unpack_routing %[[R]]
// CHECK: mohd.unpack_routing %{{.*}} : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>
func.func @unpack_kept(%i: tensor<4x8xi32>, %g: tensor<4x8xf32>, %other: !mohd.routing<16, 6, 2>)
    -> (tensor<?x8xi32>, tensor<?x8xf32>) {
  %r = mohd.make_routing %i, %g : tensor<4x8xi32>, tensor<4x8xf32> -> !mohd.routing<16, 6, 2>
  %i1, %g1 = mohd.unpack_routing %r : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  %i2, %g2 = mohd.unpack_routing %other : !mohd.routing<16, 6, 2> -> tensor<?x8xi32>, tensor<?x8xf32>
  return %i1, %g2 : tensor<?x8xi32>, tensor<?x8xf32>
}

// Scalings that are 1: `none`, and the constant ones when every group is active.
// CHECK-LABEL: @scale_by_one(
// CHECK-SAME: %[[N:.*]]: tensor<?x64xf32>
// CHECK-NEXT: return %[[N]], %[[N]], %[[N]]
func.func @scale_by_one(%n: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %all: !mohd.routing<16, 6, 10>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = mohd.scale %n, %r scaling none : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %b = mohd.scale %n, %all scaling sqrt_n_over_k : tensor<?x64xf32>, !mohd.routing<16, 6, 10>
  %c = mohd.scale %n, %all scaling n_over_k : tensor<?x64xf32>, !mohd.routing<16, 6, 10>
  return %a, %b, %c : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// Not when fewer groups are active, and not when the factor depends on the gates.
// CHECK-LABEL: @scale_kept(
// CHECK-DAG: mohd.scale %{{.*}} scaling sqrt_n_over_k
// CHECK-DAG: mohd.scale %{{.*}} scaling n_over_k
// CHECK-DAG: mohd.scale %{{.*}} scaling sqrt_nk_over_mass
// CHECK: return
func.func @scale_kept(%n: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %all: !mohd.routing<16, 6, 10>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = mohd.scale %n, %r scaling sqrt_n_over_k : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %b = mohd.scale %n, %r scaling n_over_k : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %c = mohd.scale %n, %all scaling sqrt_nk_over_mass : tensor<?x64xf32>, !mohd.routing<16, 6, 10>
  return %a, %b, %c : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// Fusion of kind `none` is its input; any other kind stays.
// CHECK-LABEL: @fusion_none(
// CHECK-SAME: %[[O:.*]]: tensor<?x64xf32>, %[[RIGHT:.*]]: tensor
// CHECK: %[[D:.*]] = mohd.group_fusion %[[O]] kind block_diagonal right(%[[RIGHT]])
// CHECK-NEXT: return %[[O]], %[[D]]
func.func @fusion_none(%o: tensor<?x64xf32>, %right: tensor<16x4x4xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %n = mohd.group_fusion %o kind none : tensor<?x64xf32>
  %d = mohd.group_fusion %o kind block_diagonal right(%right) : tensor<?x64xf32> right tensor<16x4x4xf32>
  return %n, %d : tensor<?x64xf32>, tensor<?x64xf32>
}

// Token ops are pure: what nobody uses goes.
// CHECK-LABEL: @unused(
// CHECK-NEXT: return
func.func @unused(%x: tensor<?x64xf32>, %w: tensor<64xf32>) {
  %n = mohd.rms_norm %x, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  %v = mohd.weight "w" : tensor<64xf32>
  return
}

// A weight whose dimensions keep their order is itself; two permutations are one.
// CHECK-LABEL: @permute_weights(
// CHECK-SAME: %[[W:.*]]: tensor<16x4x96xf32>
// CHECK-NOT: mohd.permute_weight
// CHECK: %[[ONCE:.*]] = mohd.permute_weight %[[W]] [2, 1, 0] : tensor<16x4x96xf32> -> tensor<96x4x16xf32>
// CHECK-NOT: mohd.permute_weight
// CHECK: return %[[W]], %[[ONCE]], %[[W]]
func.func @permute_weights(%w: tensor<16x4x96xf32>) -> (tensor<16x4x96xf32>, tensor<96x4x16xf32>, tensor<16x4x96xf32>) {
  %same = mohd.permute_weight %w [0, 1, 2] : tensor<16x4x96xf32> -> tensor<16x4x96xf32>
  %first = mohd.permute_weight %w [1, 2, 0] : tensor<16x4x96xf32> -> tensor<4x96x16xf32>
  %second = mohd.permute_weight %first [1, 0, 2] : tensor<4x96x16xf32> -> tensor<96x4x16xf32>
  %back = mohd.permute_weight %first [2, 0, 1] : tensor<4x96x16xf32> -> tensor<16x4x96xf32>
  return %same, %second, %back : tensor<16x4x96xf32>, tensor<96x4x16xf32>, tensor<16x4x96xf32>
}

// A gradient is made in the order that is wanted: dimension 0 is that of w at place 2, then at place 0.
// CHECK-LABEL: @permute_gradients(
// CHECK: mohd.weight_gradient %{{.*}}, %{{.*}} permutation [2, 0, 1] local : {{.*}} -> tensor<96x16x4xf32>
// CHECK: mohd.weight_gradient %{{.*}}, %{{.*}} routing(%{{.*}}) permutation [1, 0, 2] : {{.*}} -> tensor<4x16x96xf32>
// CHECK-NOT: mohd.permute_weight
func.func @permute_gradients(%x: tensor<?x64xf32>, %y: tensor<?x1536xf32>, %z: tensor<?x96xf32>, %r: !mohd.routing<16, 6, 2>)
    -> (tensor<96x16x4xf32>, tensor<4x16x96xf32>) {
  %w = mohd.weight_gradient %x, %y local : tensor<?x64xf32>, tensor<?x1536xf32> -> tensor<16x4x96xf32>
  %v = mohd.weight_gradient %x, %z routing(%r) permutation [2, 0, 1]
    : tensor<?x64xf32>, tensor<?x96xf32> routing !mohd.routing<16, 6, 2> -> tensor<96x16x4xf32>
  %wp = mohd.permute_weight %w [2, 0, 1] : tensor<16x4x96xf32> -> tensor<96x16x4xf32>
  %vp = mohd.permute_weight %v [2, 1, 0] : tensor<96x16x4xf32> -> tensor<4x16x96xf32>
  return %wp, %vp : tensor<96x16x4xf32>, tensor<4x16x96xf32>
}

// One that is wanted in its own order too stays, and so does one of rank 2.
// CHECK-LABEL: @keep_permutations_of_gradients(
// CHECK: %[[W:.*]] = mohd.weight_gradient %{{.*}}, %{{[a-z0-9]*}} :
// CHECK: mohd.permute_weight %[[W]]
// CHECK: %[[V:.*]] = mohd.weight_gradient %{{.*}}, %{{[a-z0-9]*}} :
// CHECK: mohd.permute_weight %[[V]]
func.func @keep_permutations_of_gradients(%x: tensor<?x64xf32>, %z: tensor<?x96xf32>) -> (tensor<16x4x96xf32>, tensor<96x16x4xf32>, tensor<96x64xf32>) {
  %w = mohd.weight_gradient %x, %z : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<16x4x96xf32>
  %wp = mohd.permute_weight %w [2, 0, 1] : tensor<16x4x96xf32> -> tensor<96x16x4xf32>
  %v = mohd.weight_gradient %x, %z : tensor<?x64xf32>, tensor<?x96xf32> -> tensor<64x96xf32>
  %vp = mohd.permute_weight %v [1, 0] : tensor<64x96xf32> -> tensor<96x64xf32>
  return %w, %wp, %vp : tensor<16x4x96xf32>, tensor<96x16x4xf32>, tensor<96x64xf32>
}

// Two values that are gated alike are added first, and so are gradients of the same gates.
// CHECK-LABEL: @add_before_gate(
// CHECK-SAME: %[[A:[a-z0-9]*]]: tensor<?x64xf32>, %[[B:[a-z0-9]*]]: tensor<?x64xf32>, %[[X:[a-z0-9]*]]: tensor<?x64xf32>, %[[R:[a-z0-9]*]]:
// CHECK: %[[SUM:.*]] = mohd.add %[[A]], %[[B]]
// CHECK: %[[Y:.*]] = mohd.gate %[[SUM]], %[[R]]
// CHECK: %[[ALSO:.*]] = mohd.add %[[A]], %[[B]]
// CHECK: %[[G:.*]] = mohd.gate_gradient %[[X]], %[[ALSO]], %[[R]]
// CHECK: return %[[Y]], %[[G]]
func.func @add_before_gate(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>, %x: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>)
    -> (tensor<?x64xf32>, tensor<?x8xf32>) {
  %ga = mohd.gate %a, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %gb = mohd.gate %b, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %y = mohd.add %ga, %gb : tensor<?x64xf32>
  %da = mohd.gate_gradient %x, %a, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %db = mohd.gate_gradient %x, %b, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %g = mohd.add %da, %db : tensor<?x8xf32>
  return %y, %g : tensor<?x64xf32>, tensor<?x8xf32>
}

// Another routing, another value, or a gated value that is wanted itself: nothing is saved.
// CHECK-LABEL: @keep_gates_before_add(
// CHECK: mohd.gate
// CHECK: mohd.gate
// CHECK: mohd.gate
// CHECK: mohd.add
// CHECK: mohd.add
// CHECK: mohd.gate_gradient
// CHECK: mohd.gate_gradient
// CHECK: mohd.add
func.func @keep_gates_before_add(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>, %r: !mohd.routing<16, 6, 2>, %q: !mohd.routing<16, 6, 2>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x8xf32>) {
  %ga = mohd.gate %a, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %gb = mohd.gate %b, %q : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %gc = mohd.gate %b, %r : tensor<?x64xf32>, !mohd.routing<16, 6, 2>
  %y = mohd.add %ga, %gb : tensor<?x64xf32>
  %z = mohd.add %ga, %gc : tensor<?x64xf32>
  %da = mohd.gate_gradient %a, %a, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %db = mohd.gate_gradient %b, %a, %r : tensor<?x64xf32>, tensor<?x64xf32>, !mohd.routing<16, 6, 2> -> tensor<?x8xf32>
  %g = mohd.add %da, %db : tensor<?x8xf32>
  return %ga, %y, %z, %g : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x8xf32>
}
