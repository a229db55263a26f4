# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of several ops: routed sub-layers, and what docs/semantics.md promises of them (exactness rules, magnitudes)."""

import numpy as np

from mohd import reference
from mohd.testing.arrays import dyadic, normal, rounded
from mohd.testing.cases_routing import routing_type
from mohd.testing.entry import Entry

MAGNITUDES = (
    ("softmax", "none", 0.044), ("softmax", "n_times_mass", 0.353), ("softmax", "k_over_mass", 0.707),
    ("softmax", "sqrt_nk_over_mass", 1.000), ("binary", "sqrt_n_over_k", 1.000), ("binary", "n_over_k", 1.414),
    ("shared_one", "none", 0.612), ("renormalized", "sqrt_n_over_k", 1.000),
)
"""Gate, scaling, and the RMS of a projection over the dense one's, from docs/semantics.md."""


def ffn(shape, inner, gate, scaling, fusion, norm_stat="full", weight="f32"):
    """A routed FFN sub-layer: norm, route, scale, SpMM, SwiGLU, SDDMM, fusion, residual."""
    n, shared, num_routed, width = shape
    dims, kind = n * width, routing_type(n, shared, num_routed)
    x = f"tensor<?x{dims}xf32>"
    inside = f"tensor<?x{inner}xf32>"
    arguments = {
        "x": x, "norm": f"tensor<{dims}xf32>", "phi": f"tensor<{n}x{dims}xf32>", "w_gate": f"tensor<{n}x{width}x{inner}x{weight}>",
        "w_up": f"tensor<{n}x{width}x{inner}x{weight}>", "w_down": f"tensor<{n}x{inner}x{width}x{weight}>"}
    mixed = "%o"
    lines = [
        f"%n = mohd.rms_norm %x, %norm epsilon 1.0e-5 : {x}, {arguments['norm']}",
        f"%r, %s = mohd.route %n, %phi gate {gate} score softmax_all : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>",
        f"%m = mohd.rms_norm %x, %norm routing(%r) epsilon 1.0e-5 : {x}, {arguments['norm']} routing {kind}"
        if norm_stat == "active" else "",
        f"%h = mohd.scale {'%m' if norm_stat == 'active' else '%n'}, %r scaling {scaling} : {x}, {kind}",
        f"%a = mohd.spmm %h, %r, %w_gate : {x}, {kind}, {arguments['w_gate']}",
        f"%b = mohd.spmm %h, %r, %w_up : {x}, {kind}, {arguments['w_up']}",
        f"%z = mohd.swiglu %a, %b : {inside}",
        f"%o = mohd.sddmm %z, %r, %w_down : {inside}, {kind}, {arguments['w_down']}",
    ]
    if fusion == "monarch":
        arguments.update(right=f"tensor<{n}x{width}x{width}xf32>", left=f"tensor<{width}x{n}x{n}xf32>")
        lines.append(f"%f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)"
                     f" : {x} right {arguments['right']} left {arguments['left']} routing {kind}")
        mixed = "%f"
    lines.append(f"%y = mohd.add %x, {mixed} : {x}")

    def inputs(tokens, rng):
        made = {
            "x": normal(rng, (tokens, dims)), "norm": 1 + normal(rng, dims, scale=0.125), "phi": dyadic(rng, (n, dims)),
            "w_gate": normal(rng, (n, width, inner), weight, dims**-0.5),
            "w_up": normal(rng, (n, width, inner), weight, dims**-0.5),
            "w_down": normal(rng, (n, inner, width), weight, inner**-0.5)}
        made["norm"] = rounded(made["norm"], "f32")
        if fusion == "monarch":
            made["right"] = normal(rng, (n, width, width), scale=width**-0.5)
            made["left"] = normal(rng, (width, n, n), scale=n**-0.5)
        return made

    def bad(rng):
        made = inputs(5, rng)
        made["x"][1, 0], made["x"][3, -1] = np.nan, np.inf
        return made

    def expected(x, norm, phi, w_gate, w_up, w_down, right=None, left=None):
        normed = reference.rms_norm(x, norm, 1e-5)
        indices, gates, _ = reference.route(normed, phi, n, shared, num_routed, gate=gate)
        if norm_stat == "active":
            normed = reference.rms_norm(x, norm, 1e-5, indices, n)
        h = reference.scale(normed, indices, gates, n, scaling)
        z = reference.swiglu(reference.spmm(h, indices, gates, w_gate), reference.spmm(h, indices, gates, w_up))
        o = reference.sddmm(z, indices, w_down)
        return reference.add(x, reference.group_fusion(o, fusion, right, left))

    name = "_".join(map(str, shape))
    return Entry(f"ffn_{name}_{gate}_{scaling}_{fusion}_{norm_stat}_{weight}", arguments, "\n".join(filter(None, lines)), {"y": x},
                 inputs, expected, length=4 * (dims + inner), special={"bad_token": bad})


def rule_1(n, width, columns, shared):
    """With all groups, binary gates, no scaling and no fusion a routed sub-layer is the dense one: both, side by side."""
    dims, kind = n * width, routing_type(n, shared, n - shared)
    x, z = f"tensor<?x{dims}xf32>", f"tensor<?x{columns}xf32>"
    arguments = {"x": x, "phi": f"tensor<{n}x{dims}xf32>", "w_in": f"tensor<{n}x{width}x{columns}xf32>",
                 "w_out": f"tensor<{n}x{columns}x{width}xf32>", "dense_in": f"tensor<{dims}x{columns}xf32>",
                 "dense_out": f"tensor<{columns}x{dims}xf32>"}
    body = f"""
%r, %s = mohd.route %x, %phi gate binary score softmax_all : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>
%a = mohd.spmm %x, %r, %w_in : {x}, {kind}, {arguments['w_in']}
%b = mohd.silu %a : {z}
%routed = mohd.sddmm %b, %r, %w_out : {z}, {kind}, {arguments['w_out']}
%c = mohd.linear %x, %dense_in : {x}, {arguments['dense_in']} -> {z}
%d = mohd.silu %c : {z}
%dense = mohd.linear %d, %dense_out : {z}, {arguments['dense_out']} -> {x}
"""

    def inputs(tokens, rng):
        w_in, w_out = normal(rng, (n, width, columns)), normal(rng, (n, columns, width))
        return {"x": normal(rng, (tokens, dims)), "phi": normal(rng, (n, dims)), "w_in": w_in, "w_out": w_out,
                "dense_in": w_in.reshape(dims, columns), "dense_out": w_out.transpose(1, 0, 2).reshape(columns, dims)}

    def expected(x, phi, w_in, w_out, dense_in, dense_out):
        y = reference.linear(reference.silu(reference.linear(x, dense_in)), dense_out)
        return y, y

    return Entry(f"rule_1_{n}_{width}_{columns}_{shared}", arguments, body, {"routed": x, "dense": x}, inputs, expected,
                 length=dims + columns)


def rule_3():
    """The third-party module's form: route the FFN's inner width, bias before SiLU, no GLU."""
    dims, inner, n, shared, num_routed = 24, 64, 16, 6, 2
    width, kind = inner // n, routing_type(n, shared, num_routed)
    x, u = f"tensor<?x{dims}xf32>", f"tensor<?x{inner}xf32>"
    arguments = {"x": x, "phi": f"tensor<{n}x{dims}xf32>", "w_up": f"tensor<{n}x{dims}x{width}xf32>",
                 "right": f"tensor<{n}x{width}x{width}xf32>", "bias": f"tensor<{inner}xf32>", "w_down": f"tensor<{inner}x{dims}xf32>"}
    body = f"""
%r, %s = mohd.route %x, %phi gate softmax score softmax_all : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>
%a = mohd.sddmm %x, %r, %w_up : {x}, {kind}, {arguments['w_up']}
%b = mohd.gate %a, %r : {u}, {kind}
%c = mohd.scale %b, %r scaling n_times_mass : {u}, {kind}
%d = mohd.group_fusion %c kind block_diagonal right(%right) bias(%bias) : {u} right {arguments['right']} bias {arguments['bias']}
%e = mohd.silu %d : {u}
%y = mohd.linear %e, %w_down : {u}, {arguments['w_down']} -> {x}
%loss = mohd.balance_loss %s, %r kind switch coefficient 1.0e-2 : tensor<?x{n}xf32>, {kind} -> tensor<f32>
"""

    def inputs(tokens, rng):
        shapes = {"w_up": (n, dims, width), "right": (n, width, width), "bias": (inner,), "w_down": (inner, dims)}
        return {"x": dyadic(rng, (tokens, dims), 2.0), "phi": dyadic(rng, (n, dims)),
                **{name: normal(rng, shape) for name, shape in shapes.items()}}

    def expected(x, phi, w_up, right, bias, w_down):
        indices, gates, scores = reference.route(x, phi, n, shared, num_routed)
        gated = reference.gate(reference.sddmm(x, indices, w_up), indices, gates, n)
        scaled = reference.scale(gated, indices, gates, n, "n_times_mass")
        mixed = reference.group_fusion(scaled, "block_diagonal", right, bias=bias)
        loss = reference.balance_loss(scores, indices, shared, "switch", 0.01)
        return reference.linear(reference.silu(mixed), w_down), np.asarray(loss)

    return Entry("rule_3", arguments, body, {"y": x, "loss": "tensor<f32>"}, inputs, expected, length=4 * (dims + inner))


def rule_4(scaling):
    """Scaling before and after a linear map is the same, before and after SiLU it is not: no pass may confuse the two."""
    n, shared, num_routed, width, columns = 16, 6, 2, 4, 24
    dims, kind = n * width, routing_type(n, shared, num_routed)
    x, y = f"tensor<?x{dims}xf32>", f"tensor<?x{columns}xf32>"
    arguments = {"x": x, "phi": f"tensor<{n}x{dims}xf32>", "w": f"tensor<{n}x{width}x{columns}xf32>"}
    body = f"""
%r, %s = mohd.route %x, %phi gate softmax score sigmoid : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>
%h = mohd.scale %x, %r scaling {scaling} : {x}, {kind}
%before = mohd.spmm %h, %r, %w : {x}, {kind}, {arguments['w']}
%a = mohd.spmm %x, %r, %w : {x}, {kind}, {arguments['w']}
%after = mohd.scale %a, %r scaling {scaling} : {y}, {kind}
%b = mohd.silu %a : {y}
%outside = mohd.scale %b, %r scaling {scaling} : {y}, {kind}
%inside = mohd.silu %after : {y}
"""

    def inputs(tokens, rng):
        return {"x": dyadic(rng, (tokens, dims), 2.0), "phi": dyadic(rng, (n, dims), 0.25), "w": normal(rng, (n, width, columns))}

    def expected(x, phi, w):
        indices, gates, _ = reference.route(x, phi, n, shared, num_routed, score="sigmoid")
        plain = reference.spmm(x, indices, gates, w)
        scaled = reference.scale(plain, indices, gates, n, scaling)
        outside = reference.scale(reference.silu(plain), indices, gates, n, scaling)
        return scaled, scaled, outside, reference.silu(scaled)

    return Entry(f"rule_4_{scaling}", arguments, body, dict.fromkeys(("before", "after", "outside", "inside"), y), inputs, expected,
                 length=dims + n)


def folded_scaling(gate, scaling):
    """A scaling that one SpMM reads and that phase plan folds into the gates; it must not change the result."""
    n, shared, num_routed, width, columns = 16, 6, 2, 4, 24
    dims, kind = n * width, routing_type(n, shared, num_routed)
    x, y = f"tensor<?x{dims}xf32>", f"tensor<?x{columns}xf32>"
    arguments = {"x": x, "phi": f"tensor<{n}x{dims}xf32>", "w": f"tensor<{n}x{width}x{columns}xf32>"}
    body = f"""
%r, %s = mohd.route %x, %phi gate {gate} score softmax_all : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>
%h = mohd.scale %x, %r scaling {scaling} : {x}, {kind}
%y = mohd.spmm %h, %r, %w : {x}, {kind}, {arguments['w']}
"""

    def inputs(tokens, rng):
        return {"x": dyadic(rng, (tokens, dims), 2.0), "phi": dyadic(rng, (n, dims), 0.25), "w": normal(rng, (n, width, columns))}

    def expected(x, phi, w):
        indices, gates, _ = reference.route(x, phi, n, shared, num_routed, gate=gate, scaling=scaling)
        return reference.spmm(x, indices, gates, w)

    return Entry(f"folded_{gate}_{scaling}", arguments, body, {"y": y}, inputs, expected, length=dims + n)


def rule_5():
    """Numbers that only f32 inside can hold, with 16-bit storage: long sums, squares beyond f16, logits that 16 bits cannot tell apart."""
    long, wide = 4096, 300.0

    def ones(element):
        arguments = {"x": f"tensor<?x{long}x{element}>", "w": f"tensor<{long}x3x{element}>"}
        return Entry(
            f"rule_5_sum_{element}", arguments,
            f"%y = mohd.linear %x, %w : {arguments['x']}, {arguments['w']} -> tensor<?x3xf32>", {"y": "tensor<?x3xf32>"},
            lambda tokens, rng: {"x": np.ones((tokens, long)), "w": np.ones((long, 3))}, lambda x, w: reference.linear(x, w), length=0, tokens=(1, 3))

    def squares():
        x = "tensor<?x64xf16>"
        return Entry(
            "rule_5_squares", {"x": x, "w": "tensor<64xf16>"}, f"%y = mohd.rms_norm %x, %w epsilon 1.0e-5 : {x}, tensor<64xf16>",
            {"y": x}, lambda tokens, rng: {"x": np.full((tokens, 64), wide), "w": np.ones(64)},
            lambda x, w: reference.rms_norm(x, w, 1e-5), length=64, tokens=(1, 3))

    def logits(element):
        kind = routing_type(8, 0, 2)

        def inputs(tokens, rng):
            phi = np.ones((8, 64))
            phi[5, 0], phi[2, 0] = 2.0, 1.5  # logits 1024 + 16 and + 8, where bf16 has a spacing of 8 and exp none at all
            return {"x": np.full((tokens, 64), 16.0), "phi": phi}

        body = f"""
%r, %scores = mohd.route %x, %phi gate softmax score softmax_all : tensor<?x64x{element}>, tensor<8x64x{element}> -> {kind}, tensor<?x8xf32>
%indices, %gates = mohd.unpack_routing %r : {kind} -> tensor<?x2xi32>, tensor<?x2xf32>
"""
        return Entry(
            f"rule_5_logits_{element}", {"x": f"tensor<?x64x{element}>", "phi": f"tensor<8x64x{element}>"}, body,
            {"indices": "tensor<?x2xi32>", "gates": "tensor<?x2xf32>", "scores": "tensor<?x8xf32>"}, inputs,
            lambda x, phi: reference.route(x, phi, 8, 0, 2), length=64, tokens=(1, 3))

    return [ones("bf16"), ones("f16"), squares(), logits("bf16"), logits("f16")]


def magnitude(gate, scaling):
    """A gated, scaled projection under a uniform router, beside the dense one."""
    n, shared, num_routed, width, columns = 16, 6, 2, 16, 64
    dims, kind = n * width, routing_type(n, shared, num_routed)
    x, y = f"tensor<?x{dims}xf32>", f"tensor<?x{columns}xf32>"
    arguments = {"x": x, "phi": f"tensor<{n}x{dims}xf32>", "w": f"tensor<{n}x{width}x{columns}xf32>",
                 "dense": f"tensor<{dims}x{columns}xf32>"}
    body = f"""
%r, %s = mohd.route %x, %phi gate {gate} score softmax_all scaling {scaling} : {x}, {arguments['phi']} -> {kind}, tensor<?x{n}xf32>
%routed = mohd.spmm %x, %r, %w : {x}, {kind}, {arguments['w']}
%full = mohd.linear %x, %dense : {x}, {arguments['dense']} -> {y}
"""

    def inputs(tokens, rng):
        w = normal(rng, (n, width, columns))
        return {"x": normal(rng, (tokens, dims)), "phi": np.zeros((n, dims)), "w": w, "dense": w.reshape(dims, columns)}

    def expected(x, phi, w, dense):
        indices, gates, _ = reference.route(x, phi, n, shared, num_routed, gate=gate, scaling=scaling)
        return reference.spmm(x, indices, gates, w), reference.linear(x, dense)

    return Entry(f"magnitude_{gate}_{scaling}", arguments, body, {"routed": y, "full": y}, inputs, expected, length=dims + n,
                 tokens=(256,))


def sublayers():
    """Routed sub-layers in the presets' proportions and the ugly shapes."""
    yield ffn((16, 6, 2, 4), 48, "softmax", "sqrt_nk_over_mass", "monarch")
    yield ffn((16, 3, 1, 4), 40, "softmax", "n_times_mass", "monarch", weight="bf16")
    yield ffn((12, 3, 1, 5), 31, "shared_one", "k_over_mass", "none")
    yield ffn((16, 9, 3, 2), 32, "renormalized", "sqrt_n_over_k", "monarch", norm_stat="active")
    yield ffn((16, 6, 2, 4), 48, "binary", "n_over_k", "none", norm_stat="active", weight="f16")
    yield ffn((4, 1, 3, 2), 7, "softmax", "sqrt_nk_over_mass", "monarch")
    yield ffn((5, 0, 2, 1), 3, "softmax", "k_over_mass", "monarch")


def groups():
    """Entry points by group."""
    rules = [rule_1(n, width, columns, shared) for n, width, columns, shared in ((16, 4, 48, 0), (4, 3, 7, 4), (1, 8, 5, 0), (8, 1, 16, 3))]
    rules += [rule_3(), *(rule_4(scaling) for scaling in ("sqrt_nk_over_mass", "n_times_mass", "n_over_k"))]
    rules += [folded_scaling(gate, "sqrt_nk_over_mass") for gate in ("softmax", "shared_one", "renormalized")]
    rules += rule_5()
    return {"sublayer": list(sublayers()), "rules": rules}
