# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of the ops that make a routing or use only it: route, scale, balance_loss."""

import functools
import itertools

import numpy as np

from mohd import reference
from mohd.config import VALUES
from mohd.testing.arrays import dyadic, normal, rounded, routing
from mohd.testing.entry import Entry

SHAPES = ((16, 6, 2, 4), (1, 1, 0, 8), (1, 0, 1, 8), (4, 1, 3, 2), (4, 2, 0, 3), (5, 0, 2, 3), (16, 3, 1, 1), (7, 2, 3, 5),
          (4, 4, 0, 2), (12, 3, 1, 1))
"""N, K_s, K_r and d_e: one group, all groups active, none routed, none shared, width 1, odd and prime widths."""


def routing_type(n, shared, routed):
    """The type of a routing."""
    return f"!mohd.routing<{n}, {shared}, {routed}>"


def route_inputs(shape, element, tokens, rng):
    """Inputs whose logits are exact in f32, so that every implementation sees the same ties; some centroids are equal."""
    n, _, _, width = shape
    phi = dyadic(rng, (n, n * width))
    phi[n // 2] = phi[-1]
    return {"n": rounded(dyadic(rng, (tokens, n * width), 2.0), element), "phi": phi}


def route_special(shape, element):
    """Tokens that are alike, all ties, and rows with a NaN or an infinity among good ones."""
    n, _, _, width = shape
    dims = n * width

    def alike(rng):
        made = route_inputs(shape, element, 1, rng)
        return {**made, "n": np.repeat(made["n"], 9, 0)}

    def ties(rng):
        return {**route_inputs(shape, element, 3, rng), "phi": np.ones((n, dims))}

    def bad(rng):
        made = route_inputs(shape, element, 17, rng)
        made["n"][2, dims // 2] = np.nan
        made["n"][5, 0] = np.inf
        made["n"][7, -1] = -np.inf
        return made

    def one_infinite_logit(rng):
        made = route_inputs(shape, element, 3, rng)
        made["phi"][:, 0] = 0.0
        made["phi"][-1, 0] = 1.0
        made["n"][1, 0] = -np.inf  # NaN in every logit but the last: 0 * Inf
        return made

    def bad_centroid(rng):
        made = route_inputs(shape, element, 3, rng)
        made["phi"][-1, 0] = np.inf
        made["n"][0, 0], made["n"][1, 0], made["n"][2, 0] = 1.0, -1.0, 0.0
        return made

    return {"alike": alike, "ties": ties, "bad": bad, "one_infinite_logit": one_infinite_logit, "bad_centroid": bad_centroid}


def route(shape, gate, score, scaling="none", element="f32", weight="f32"):
    """mohd.route with the routing taken apart."""
    n, shared, routed, width = shape
    dims, k, name = n * width, shared + routed, "_".join(map(str, shape))
    kind, centroids = routing_type(n, shared, routed), routed > 0 or gate == "softmax"
    arguments = {"n": f"tensor<?x{dims}x{element}>"}
    if centroids:
        arguments["phi"] = f"tensor<{n}x{dims}x{weight}>"
    operands, types = ", ".join(f"%{name}" for name in arguments), ", ".join(arguments.values())
    body = f"""
%r, %scores = mohd.route {operands} gate {gate} score {score} scaling {scaling} : {types} -> {kind}, tensor<?x{n}xf32>
%indices, %gates = mohd.unpack_routing %r : {kind} -> tensor<?x{k}xi32>, tensor<?x{k}xf32>
"""

    def only_used(make):
        return lambda *args: {key: value for key, value in make(*args).items() if key in arguments}

    def expected(n, phi=None):
        return reference.route(n, phi, *shape[:3], gate=gate, score=score, scaling=scaling)

    return Entry(
        f"route_{name}_{gate}_{score}_{scaling}_{element}_{weight}", arguments, body,
        {"indices": f"tensor<?x{k}xi32>", "gates": f"tensor<?x{k}xf32>", "scores": f"tensor<?x{n}xf32>"},
        only_used(functools.partial(route_inputs, shape, element)), expected, length=dims + n,
        special={label: only_used(make) for label, make in route_special(shape, element).items()})


def all_routes():
    """Every combination of gate, score and scaling at one shape, and every gate and score at the other shapes."""
    for gate, score, scaling in itertools.product(VALUES["gate"], VALUES["score"], VALUES["scaling"]):
        if (gate, scaling) != ("shared_one", "n_times_mass"):
            yield route(SHAPES[0], gate, score, scaling)


def route_shapes():
    """Every gate at the ugly shapes, every score once there, and 16-bit elements."""
    scores = itertools.cycle(VALUES["score"])
    for shape, gate in itertools.product(SHAPES[1:], VALUES["gate"]):
        yield route(shape, gate, next(scores), "sqrt_nk_over_mass" if shape[0] > 1 else "none")
    for shape in ((128, 32, 32, 2), (37, 3, 9, 3), (37, 0, 37, 1)):
        yield route(shape, "softmax", "softmax_all", "sqrt_nk_over_mass")
        yield route(shape, "renormalized", "softmax_routed")
    for element, weight in (("bf16", "bf16"), ("f16", "f16"), ("f32", "bf16"), ("bf16", "f32")):
        yield route(SHAPES[0], "softmax", "softmax_all", "none", element, weight)
        yield route(SHAPES[7], "renormalized", "sigmoid", "none", element, weight)


def scale(scaling, shape, element="f32"):
    """mohd.scale of a routing made from its tensors."""
    n, shared, routed, width = shape
    dims, k, kind = n * width, shared + routed, routing_type(n, shared, routed)

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, n, shared, routed)
        return {"x": normal(rng, (tokens, dims), element), "indices": indices, "gates": np.abs(gates) + 0.1}

    def bad(rng):
        made = inputs(5, rng)
        made["gates"][1, 0], made["gates"][2], made["gates"][3, -1] = np.nan, 0.0, np.inf
        made["x"][4, 0] = np.inf
        return made

    def expected(x, indices, gates):
        return reference.scale(x, indices, gates, n, scaling)

    body = f"""
%r = mohd.make_routing %indices, %gates : tensor<?x{k}xi32>, tensor<?x{k}xf32> -> {kind}
%y = mohd.scale %x, %r scaling {scaling} : tensor<?x{dims}x{element}>, {kind}
"""
    return Entry(
        f"scale_{scaling}_{n}_{shared}_{routed}_{width}_{element}",
        {"x": f"tensor<?x{dims}x{element}>", "indices": f"tensor<?x{k}xi32>", "gates": f"tensor<?x{k}xf32>"}, body,
        {"y": f"tensor<?x{dims}x{element}>"}, inputs, expected, length=k, special={"bad": bad})


def scales():
    """Every scaling that is an op of its own, in every element type."""
    for scaling in VALUES["scaling"]:
        if scaling != "none":  # folds to its operand
            for element in ("f32", "bf16", "f16"):
                yield scale(scaling, SHAPES[0], element)
            yield scale(scaling, (7, 2, 3, 5))


def balance_loss(kind, shape):
    """mohd.balance_loss."""
    n, shared, routed, _ = shape
    k, type = shared + routed, routing_type(n, shared, routed)

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, n, shared, routed)
        return {"scores": np.abs(normal(rng, (tokens, n))), "indices": indices, "gates": gates}

    def bad(rng):
        made = inputs(5, rng)
        made["scores"][1, -1] = np.nan
        return made

    def expected(scores, indices, gates):
        return np.asarray(reference.balance_loss(scores, indices, shared, kind, 0.25))

    body = f"""
%r = mohd.make_routing %indices, %gates : tensor<?x{k}xi32>, tensor<?x{k}xf32> -> {type}
%loss = mohd.balance_loss %scores, %r kind {kind} coefficient 2.5e-1 : tensor<?x{n}xf32>, {type} -> tensor<f32>
"""
    return Entry(
        f"balance_loss_{kind}_{n}_{shared}_{routed}",
        {"scores": f"tensor<?x{n}xf32>", "indices": f"tensor<?x{k}xi32>", "gates": f"tensor<?x{k}xf32>"}, body,
        {"loss": "tensor<f32>"}, inputs, expected, length=129 + n, special={"bad": bad})


def losses():
    """Every balance loss at shapes with and without routed groups."""
    for kind, shape in itertools.product(VALUES["balance"], (SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[4], SHAPES[5])):
        yield balance_loss(kind, shape)


def groups():
    """Entry points by group."""
    return {"route": list(all_routes()), "route_shapes": list(route_shapes()), "scale_and_balance": [*scales(), *losses()]}
