# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of the ops that walk active groups, gate, spmm, sddmm, group_fusion, and of dequantize."""

import itertools

import numpy as np

from mohd import reference
from mohd.testing.arrays import disjoint_routing, identical_routing, normal, rounded, routing
from mohd.testing.cases_routing import SHAPES, routing_type
from mohd.testing.entry import Entry

COLUMNS = (1, 7, 31, 64)
"""Widths of the other side of a projection."""


def named(op, *parts):
    """An entry point's name."""
    return "_".join(map(str, [op, *itertools.chain.from_iterable(p if isinstance(p, tuple) else [p] for p in parts)]))


def routed(op, shape, columns, element, weight, special_tokens=17):
    """An entry point of `op` (gate, spmm or sddmm) with a routing given by its tensors."""
    n, shared, num_routed, width = shape
    k, kind = shared + num_routed, routing_type(n, shared, num_routed)
    dims = {"gate": n * width, "spmm": n * width, "sddmm": columns}[op]
    result = {"gate": n * width, "spmm": columns, "sddmm": n * width}[op]
    weights = {"gate": None, "spmm": (n, width, columns), "sddmm": (n, columns, width)}[op]

    def made(rng, tokens, choose):
        indices, gates = choose(rng, tokens, n, shared, num_routed)
        inputs = {"x": normal(rng, (tokens, dims), element), "indices": indices, "gates": gates}
        if weights:
            inputs["w"] = normal(rng, weights, weight)
        return inputs

    def bad_token(rng):
        inputs = made(rng, 17, routing)
        inputs["x"][3] = np.nan
        inputs["x"][4, dims // 2] = np.inf
        inputs["gates"][5, 0] = np.nan
        inputs["gates"][6, -1] = -np.inf
        return inputs

    def bad_where_inactive(rng):
        """Infinities and NaN in groups that no token has: nothing may read them."""
        inputs = made(rng, 5, identical_routing)
        idle = np.setdiff1d(np.arange(n), inputs["indices"])
        if weights:
            inputs["w"][idle] = np.inf
        if op != "sddmm":
            inputs["x"].reshape(5, n, width)[:, idle] = np.nan
        return inputs

    def expected(x, indices, gates, w=None):
        return {
            "gate": lambda: reference.gate(x, indices, gates, n),
            "spmm": lambda: reference.spmm(x, indices, gates, w),
            "sddmm": lambda: reference.sddmm(x, indices, w),
        }[op]()

    arguments = {"x": f"tensor<?x{dims}x{element}>", "indices": f"tensor<?x{k}xi32>", "gates": f"tensor<?x{k}xf32>"}
    operands, types = "%x, %r", f"tensor<?x{dims}x{element}>, {kind}"
    if weights:
        arguments["w"] = f"tensor<{'x'.join(map(str, weights))}x{weight}>"
        operands, types = operands + ", %w", f"{types}, {arguments['w']}"
    body = f"""
%r = mohd.make_routing %indices, %gates : tensor<?x{k}xi32>, tensor<?x{k}xf32> -> {kind}
%y = mohd.{op} {operands} : {types}
"""
    return Entry(
        named(op, shape, columns, element, weight), arguments, body, {"y": f"tensor<?x{result}x{element}>"},
        lambda tokens, rng: made(rng, tokens, routing), expected, length={"gate": 1, "spmm": k * width, "sddmm": columns}[op],
        special={
            "identical": lambda rng: made(rng, special_tokens, identical_routing),
            "disjoint": lambda rng: made(rng, special_tokens, disjoint_routing),
            "bad_token": bad_token, "bad_where_inactive": bad_where_inactive,
        })


def projections(op):
    """Every shape with columns in turn, and every pair of element types."""
    columns = itertools.cycle(COLUMNS)
    for shape in SHAPES:
        yield routed(op, shape, next(columns), "f32", "f32")
    for element, weight in itertools.product(("f32", "bf16", "f16"), repeat=2):
        if (element, weight) != ("f32", "f32"):
            yield routed(op, SHAPES[0], 48, element, weight)
    yield routed(op, (16, 6, 2, 16), 128, "f32", "bf16")
    yield routed(op, (7, 2, 3, 13), 37, "bf16", "f16")


def dequantized(groups, rows, columns, element="f32"):
    """mohd.dequantize of arguments to a weight of `element`, alone and as the weight of a projection; `groups` 0: a matrix."""
    shape, row = ((groups, rows, columns), (groups, columns)) if groups else ((rows, columns), (columns,))
    values, scales, weight = (f"tensor<{'x'.join(map(str, dims))}x{dtype}>"
                              for dims, dtype in ((shape, "i8"), (row, "f32"), (shape, element)))
    arguments = {"x": f"tensor<?x{max(groups, 1) * rows}xf32>", "q": values, "s": scales}
    body = f"%w = mohd.dequantize %q, %s : {values}, {scales} -> {weight}\n"
    if groups:
        arguments.update(indices=f"tensor<?x{groups}xi32>", gates=f"tensor<?x{groups}xf32>")
        kind = routing_type(groups, 0, groups)
        body += f"%r = mohd.make_routing %indices, %gates : {arguments['indices']}, {arguments['gates']} -> {kind}\n"
        body += f"%y = mohd.spmm %x, %r, %w : {arguments['x']}, {kind}, {weight}"
    else:
        body += f"%y = mohd.linear %x, %w : {arguments['x']}, {weight} -> tensor<?x{columns}xf32>"

    def inputs(tokens, rng):
        made = {"x": normal(rng, (tokens, max(groups, 1) * rows)), "q": rng.integers(-128, 128, shape), "s": normal(rng, row)}
        if groups:
            made["indices"], made["gates"] = routing(rng, tokens, groups, 0, groups)
        return made

    def expected(x, q, s, indices=None, gates=None):
        w = rounded(q * np.expand_dims(s, -2), element)
        return (reference.spmm(x, indices, gates, w) if groups else reference.linear(x, w)), w

    return Entry(named("dequantize", shape), arguments, body, {"y": f"tensor<?x{columns}xf32>", "w": weight}, inputs, expected,
                 length=max(groups, 1) * rows)


def gates():
    """Every shape and element type."""
    for shape in SHAPES:
        yield routed("gate", shape, 0, "f32", "f32")
    for element in ("bf16", "f16"):
        yield routed("gate", (7, 2, 3, 13), 0, element, "f32")


def fusion(kind, right, left=None, bias=False, routed_groups=None, element="f32", weight="f32", special_tokens=17):
    """mohd.group_fusion with blocks `right` (k, q, p) and `left` (l, s, r); with (K_s, K_r) the routing of the input is given."""
    k, q, p = right
    dims, inner = k * p, k * q
    result = left[0] * left[1] if left else inner
    arguments = {"x": f"tensor<?x{dims}x{element}>", "right": f"tensor<{k}x{q}x{p}x{weight}>"}
    operands, types = "right(%right)", f"{arguments['x']} right {arguments['right']}"
    if left:
        arguments["left"] = f"tensor<{'x'.join(map(str, left))}x{weight}>"
        operands, types = operands + " left(%left)", f"{types} left {arguments['left']}"
    if bias:
        arguments["bias"] = f"tensor<{result}x{weight}>"
        operands, types = operands + " bias(%bias)", f"{types} bias {arguments['bias']}"
    body = ""
    if routed_groups:
        active, type = sum(routed_groups), routing_type(k, *routed_groups)
        arguments.update(indices=f"tensor<?x{active}xi32>", gates=f"tensor<?x{active}xf32>")
        operands, types = operands + " routing(%r)", f"{types} routing {type}"
        body = f"%r = mohd.make_routing %indices, %gates : tensor<?x{active}xi32>, tensor<?x{active}xf32> -> {type}\n"
    body += f"%y = mohd.group_fusion %x kind {kind} {operands} : {types}"

    def inputs(tokens, rng, choose=routing):
        made = {"x": normal(rng, (tokens, dims), element), "right": normal(rng, right, weight)}
        if left:
            made["left"] = normal(rng, left, weight)
        if bias:
            made["bias"] = normal(rng, (result,), weight)
        if routed_groups:
            made["indices"], made["gates"] = choose(rng, tokens, k, *routed_groups)
            made["x"] = reference.gate(made["x"], made["indices"], np.ones_like(made["gates"]), k)
        return made

    def bad_token(rng):
        made = inputs(5, rng)
        made["x"][2] = np.nan
        return made

    def bad_where_inactive(rng):
        made = inputs(1, rng)
        made["right"][np.setdiff1d(np.arange(k), made["indices"])] = np.inf
        return made

    def expected(x, right, left=None, bias=None, indices=None, gates=None):
        if indices is not None and not np.isfinite(right).all():
            right = np.where(np.isin(np.arange(k), indices)[:, None, None], right, 0.0)
        return reference.group_fusion(x, kind, right, left, bias)

    special = {"bad_token": bad_token}
    if routed_groups:
        special = {
            "identical": lambda rng: inputs(special_tokens, rng, identical_routing),
            "disjoint": lambda rng: inputs(special_tokens, rng, disjoint_routing), "bad_where_inactive": bad_where_inactive}
    return Entry(
        named("fusion", kind, right, left or (), "bias" if bias else "plain", routed_groups or "dense", element, weight),
        arguments, body, {"y": f"tensor<?x{result}x{element}>"}, inputs, expected, length=p + (left[2] if left else 0), special=special)


def fusions():
    """Both kinds in the models' form at the ugly shapes, with and without routing, and general block shapes."""
    for n, shared, num_routed, width in SHAPES:
        right, left = (n, width, width), (width, n, n)
        yield fusion("monarch", right, left, routed_groups=(shared, num_routed))
        yield fusion("block_diagonal", right, bias=True, routed_groups=(shared, num_routed))
    for n, width in sorted({(n, width) for n, _, _, width in SHAPES}):
        yield fusion("block_diagonal", (n, width, width))
    for right, routed_groups, element, weight in (((16, 4, 4), (6, 2), "f32", "f32"), ((7, 5, 3), (2, 3), "bf16", "bf16"),
                                                  ((5, 33, 40), (0, 2), "f32", "bf16"), ((4, 3, 3), (4, 0), "bf16", "f16")):
        yield fusion("block_diagonal", right, routed_groups=routed_groups, element=element, weight=weight)
    yield fusion("monarch", (16, 4, 4), (4, 16, 16))
    for element, weight in itertools.product(("f32", "bf16", "f16"), repeat=2):
        if (element, weight) != ("f32", "f32"):
            yield fusion("monarch", (16, 4, 4), (4, 16, 16), routed_groups=(6, 2), element=element, weight=weight)
    yield fusion("block_diagonal", (7, 5, 5), bias=True, routed_groups=(2, 3), element="bf16", weight="f16")
    for right, left in (((4, 3, 3), (3, 4, 4)), ((4, 3, 2), (6, 5, 2)), ((2, 6, 3), (1, 2, 12)), ((1, 1, 5), (1, 7, 1))):
        yield fusion("monarch", right, left)
    yield fusion("block_diagonal", (5, 2, 3), bias=True)


def groups():
    """Entry points by group."""
    return {
        "gate": list(gates()), "spmm": list(projections("spmm")), "sddmm": list(projections("sddmm")), "fusion": list(fusions()),
        "dequantize": [dequantized(0, 5, 19), dequantized(0, 16, 32), dequantized(4, 3, 37), dequantized(2, 8, 16),
                       dequantized(0, 16, 24, "f16"), dequantized(4, 8, 40, "bf16")],
    }
