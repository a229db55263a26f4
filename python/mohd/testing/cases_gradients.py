# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Entry points of the ops of backward functions."""

import itertools

import numpy as np

from mohd import reference, reference_gradients
from mohd.config import VALUES
from mohd.testing.arrays import disjoint_routing, identical_routing, normal, rounded, routing
from mohd.testing.cases_routing import SHAPES, routing_type
from mohd.testing.cases_sparse import COLUMNS, named
from mohd.testing.entry import Entry

PERMUTATIONS = tuple(itertools.permutations(range(3)))
ELEMENTS = ("f32", "bf16", "f16")


def tensor(*shape):
    """A tensor type; the last part is the element type, None a dynamic dimension."""
    return f"tensor<{'x'.join('?' if part is None else str(part) for part in shape)}>"


def routing_arguments(n, shared, routed):
    """(arguments, line that makes %r, type of %r) of a routing given by its tensors."""
    k, kind = shared + routed, routing_type(n, shared, routed)
    arguments = {"indices": tensor(None, k, "i32"), "gates": tensor(None, k, "f32")}
    return arguments, f"%r = mohd.make_routing %indices, %gates : {', '.join(arguments.values())} -> {kind}\n", kind


def hide(made, name, n):
    """NaN in the groups of `made[name]` [T, W] that a token does not have: nothing may read them."""
    grouped = made[name].reshape(len(made[name]), n, -1)
    grouped[~(made["indices"][:, :, None] == np.arange(n)).any(1)] = np.nan


def special_routings(make, n, names):
    """`special` of an entry point whose `make(rng, tokens, choose)` has routings: all alike, all different, and with NaN where tokens are inactive."""

    def hidden(rng):
        made = make(rng, 17, routing)
        for name in names:
            hide(made, name, n)
        return made

    return {"identical": lambda rng: make(rng, 17, identical_routing), "disjoint": lambda rng: make(rng, 17, disjoint_routing),
            "bad_where_inactive": hidden}


def with_bad(make, *bad):
    """`special` with a NaN in row 1, column 0, and an infinity in row 3, the last column, of each argument in `bad`."""

    def made(rng):
        inputs = make(5, rng)
        for name in bad:
            inputs[name][1, 0], inputs[name][3, -1] = np.nan, np.inf
        return inputs

    return {"bad": made}


def weight_gradient(shape, rows, columns, permutation=None, local=False, elements=("f32", "f32", "f32"), tokens=None):
    """mohd.weight_gradient for groups of `rows` columns; `shape` is N, K_s and K_r, or N alone without a routing, 0 for a result of rank 2."""
    n, is_routed = max(shape[0], 1), len(shape) == 3
    sides = {"x": (n * rows, elements[0]), "z": (columns * (n if local else 1), elements[1])}
    arguments = {name: tensor(None, width, element) for name, (width, element) in sides.items()}
    operands, types, body = "%x, %z", ", ".join(arguments.values()), ""
    if is_routed:
        more, body, kind = routing_arguments(*shape)
        arguments.update(more)
        operands, types = operands + " routing(%r)", f"{types} routing {kind}"
    order = permutation or (0, 1, 2)
    dims = [(n, rows, columns)[axis] for axis in order] if shape[0] else (rows, columns)
    result = tensor(*dims, elements[2])
    if permutation:
        operands += f" permutation {list(permutation)}"
    body += f"%w = mohd.weight_gradient {operands}{' local' if local else ''} : {types} -> {result}"

    def make(rng, tokens, choose):
        made = {name: normal(rng, (tokens, width), element) for name, (width, element) in sides.items()}
        if is_routed:
            made["indices"], made["gates"] = choose(rng, tokens, *shape)
        return made

    def inputs(tokens, rng):
        return make(rng, tokens, routing)

    def expected(x, z, indices=None, gates=None):
        w = reference_gradients.weight_gradient(x, z, n, indices, order, local)
        return w if shape[0] else w[0]

    special = with_bad(inputs, "x", "z")
    if is_routed:
        special.update(special_routings(make, n, ["x", "z"] if local else ["x"]))
    more = {"tokens": tokens} if tokens else {}
    return Entry(named("weight_gradient", shape, rows, columns, order, "local" if local else "all", elements, tokens or ()), arguments, body,
                 {"w": result}, inputs, expected, length=max(tokens or [129]), special=special, **more)


def weight_gradients():
    """Every shape, every order of dimensions, every pair of types; tiles with left-over rows and columns, several blocks of tokens."""
    columns, orders = itertools.cycle(COLUMNS), itertools.cycle((None, *PERMUTATIONS))
    for *shape, rows in SHAPES:
        yield weight_gradient(tuple(shape), rows, next(columns), next(orders))
    for order in PERMUTATIONS:
        yield weight_gradient((7, 2, 3), 5, 37, order)
    for elements in (("bf16", "bf16", "bf16"), ("f16", "f16", "f16"), ("f32", "bf16", "bf16"), ("bf16", "f32", "f32")):
        yield weight_gradient((5, 1, 2), 6, 20, (0, 2, 1), elements=elements)
    for rows, columns, tokens in ((1, 1, None), (37, 29, None), (150, 131, (70,))):
        yield weight_gradient((0,), rows, columns, tokens=tokens)
    yield weight_gradient((0,), 12, 40, elements=("f32", "f32", "bf16"))
    yield weight_gradient((2, 1, 1), 133, 140, (2, 0, 1), tokens=(70,))
    for shape, order in (((7, 2, 3), None), ((5, 0, 2), (0, 2, 1)), ((4, 4, 0), None), ((4,), None)):
        yield weight_gradient(shape, 5, 3, order, local=True)
    half = ("bf16", "bf16", "bf16")  # by a GPU's tensor units, as extents are multiples of eight
    for shape, rows, columns, order in (((16, 6, 2), 4, 96, (2, 0, 1)), ((5, 1, 2), 8, 24, (0, 2, 1)), ((7, 2, 3), 24, 40, (1, 0, 2)),
                                        ((0,), 72, 136, None)):
        yield weight_gradient(shape, rows, columns, order, elements=half)
    yield weight_gradient((40, 2, 3), 8, 8, (1, 2, 0), elements=("f16", "f16", "f32"))
    yield weight_gradient((4, 1, 1), 8, 16, local=True, elements=half)
    yield weight_gradient((4, 1, 1), 3, 2, tokens=(8200,))


def gate_gradient(shape, element="f32"):
    """mohd.gate_gradient."""
    n, shared, num_routed, width = shape
    arguments = dict.fromkeys(("x", "z"), tensor(None, n * width, element))
    types = ", ".join(arguments.values())
    more, body, kind = routing_arguments(n, shared, num_routed)
    result = more["gates"]
    body += f"%y = mohd.gate_gradient %x, %z, %r : {types}, {kind} -> {result}"

    def make(rng, tokens, choose):
        indices, gates = choose(rng, tokens, n, shared, num_routed)
        return {**{name: normal(rng, (tokens, n * width), element) for name in "xz"}, "indices": indices, "gates": gates}

    def inputs(tokens, rng):
        return make(rng, tokens, routing)

    return Entry(named("gate_gradient", shape, element), {**arguments, **more}, body, {"y": result}, inputs,
                 lambda x, z, indices, gates: reference_gradients.gate_gradient(x, z, indices, n), length=width,
                 special=special_routings(make, n, ["x", "z"]) | with_bad(inputs, "x", "z"))


def move_groups(op, shape, element="f32"):
    """mohd.gather_groups and mohd.scatter_groups."""
    n, shared, num_routed, width = shape
    more, body, kind = routing_arguments(n, shared, num_routed)
    types = [tensor(None, count * width, element) for count in (n, shared + num_routed)]
    given, result = types if op == "gather_groups" else types[::-1]
    body += f"%y = mohd.{op} %x, %r : {given}, {kind} -> {result}"

    def make(rng, tokens, choose):
        indices, gates = choose(rng, tokens, n, shared, num_routed)
        count = n if op == "gather_groups" else shared + num_routed
        return {"x": normal(rng, (tokens, count * width), element), "indices": indices, "gates": gates}

    def inputs(tokens, rng):
        return make(rng, tokens, routing)

    special = special_routings(make, n, ["x"] if op == "gather_groups" else []) | with_bad(inputs, "x")
    return Entry(named(op, shape, element), {"x": given, **more}, body, {"y": result}, inputs,
                 lambda x, indices, gates: getattr(reference_gradients, op)(x, indices, n), length=0, special=special)


def scale_gradient(scaling, shape, element="f32"):
    """mohd.scale_gradient."""
    n, shared, num_routed, width = shape
    arguments = dict.fromkeys(("x", "z"), tensor(None, n * width, element))
    types = ", ".join(arguments.values())
    more, body, kind = routing_arguments(n, shared, num_routed)
    result = more["gates"]
    body += f"%y = mohd.scale_gradient %x, %z, %r scaling {scaling} : {types}, {kind} -> {result}"

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, n, shared, num_routed)
        return {**{name: normal(rng, (tokens, n * width), element) for name in "xz"}, "indices": indices, "gates": np.abs(gates) + 0.1}

    return Entry(named("scale_gradient", scaling, shape, element), {**arguments, **more}, body, {"y": result}, inputs,
                 lambda x, z, indices, gates: reference_gradients.scale_gradient(x, z, gates, n, scaling), length=n * width,
                 special=with_bad(inputs, "x", "z", "gates"))


def route_gradient(shape, gate, score, scaling="none", given=("gates_grad", "scores_grad")):
    """mohd.route_gradient of a routing that scores of that kind give."""
    n, shared, num_routed = shape
    more, body, kind = routing_arguments(n, shared, num_routed)
    result = tensor(None, n, "f32")
    arguments = {"scores": result, **more} | {name: more["gates"] if name == "gates_grad" else result for name in given}
    operands = "".join(f" {name[:-5]}(%{name})" for name in given)
    types = "".join(f" {name[:-5]} {arguments[name]}" for name in given)
    body += f"%y = mohd.route_gradient %scores, %r{operands} gate {gate} score {score} scaling {scaling} : {result}, {kind}{types} -> {result}"

    def inputs(tokens, rng):
        logits = normal(rng, (tokens, n))
        scores = rounded(reference.scores_of(logits, shared, score), "f32")
        indices = reference.select(logits, shared, num_routed)
        gates = reference.gates_of(scores, indices, shared, gate)
        made = {"scores": scores, "indices": indices.astype(np.int32), "gates": rounded(gates, "f32")}
        return made | {name: normal(rng, (tokens, shared + num_routed if name == "gates_grad" else n)) for name in given}

    def expected(scores, indices, gates, gates_grad=None, scores_grad=None):
        return reference_gradients.route_gradient(scores, indices, shared, gates_grad, scores_grad, gate, score, scaling)

    return Entry(named("route_gradient", shape, gate, score, scaling, *given), arguments, body, {"y": result}, inputs, expected,
                 length=4 * n + 64, special=with_bad(inputs, "scores", *given))


def route_gradients():
    """Every gate, score and scaling at one shape, two gates at the ugly shapes, and either gradient alone."""
    for gate, score, scaling in itertools.product(VALUES["gate"], VALUES["score"], VALUES["scaling"]):
        yield route_gradient((7, 2, 3), gate, score, scaling)
    scores = itertools.cycle(VALUES["score"])
    for (n, shared, num_routed, _), gate in itertools.product(SHAPES[:1] + SHAPES[2:6], ("softmax", "renormalized")):
        yield route_gradient((n, shared, num_routed), gate, next(scores), "k_over_mass")
    for gate in VALUES["gate"]:
        yield route_gradient((16, 3, 4), gate, next(scores), "sqrt_nk_over_mass", ("gates_grad",))
    yield route_gradient((16, 3, 4), "renormalized", "softmax_routed", "sqrt_nk_over_mass", ("scores_grad",))


def balance_loss_gradient(kind, shape):
    """mohd.balance_loss_gradient."""
    n, shared, num_routed, _ = shape
    more, body, type = routing_arguments(n, shared, num_routed)
    body += f"%y = mohd.balance_loss_gradient %grad, %r kind {kind} coefficient 2.5e-1 : tensor<f32>, {type} -> {tensor(None, n, 'f32')}"

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, n, shared, num_routed)
        return {"grad": normal(rng, ()), "indices": indices, "gates": gates}

    return Entry(named("balance_loss_gradient", kind, shape), {"grad": "tensor<f32>", **more}, body, {"y": tensor(None, n, "f32")}, inputs,
                 lambda grad, indices, gates: reference_gradients.balance_loss_gradient(grad, indices, n, shared, kind, 0.25), length=8,
                 special={"bad": lambda rng: inputs(3, rng) | {"grad": np.float64(np.nan)}})


def rms_norm_gradient(width, element="f32", weight="f32", epsilon=1e-5, shape=None, used=("y", "f")):
    """mohd.rms_norm_gradient over all dims, or the active ones of the routing `shape` (N, K_s, K_r), of which results `used` are returned."""
    type, n = tensor(None, width, element), shape[0] if shape else 1
    arguments, body, operands, types = {"x": type, "w": tensor(width, weight), "z": type}, "", "", ""
    if shape:
        more, body, kind = routing_arguments(*shape)
        arguments.update(more)
        operands, types = " routing(%r)", f" routing {kind}"
    body += f"%y, %f = mohd.rms_norm_gradient %x, %w, %z{operands} epsilon {epsilon:e} : {type}, {arguments['w']}{types} -> tensor<?xf32>"

    def inputs(tokens, rng):
        made = {"x": normal(rng, (tokens, width), element), "w": normal(rng, (width,), weight), "z": normal(rng, (tokens, width), element)}
        if shape:
            made["indices"], made["gates"] = routing(rng, tokens, *shape)
        return made

    def expected(x, w, z, indices=None, gates=None):
        values = dict(zip("yf", reference_gradients.rms_norm_gradient(x, w, z, epsilon, indices, n)))
        return tuple(values[name] for name in used)

    results = {"y": type, "f": "tensor<?xf32>"}
    return Entry(named("rms_norm_gradient", width, element, weight, int(-10 * np.log10(epsilon)), shape or "full", *used), arguments, body,
                 {name: results[name] for name in used}, inputs, expected, length=2 * width, special=with_bad(inputs, "x", "z"))


def column_sums(width, given, element="f32", result="f32"):
    """mohd.column_sums of `grad` and what is `given` of "input" and "factors"."""
    arguments = {"grad": tensor(None, width, element)}
    arguments |= {name: tensor(None, width, element) if name == "input" else "tensor<?xf32>" for name in given}
    operands, types = ("".join(parts) for parts in ([f" {name}(%{name})" for name in given], [f" {name} {arguments[name]}" for name in given]))
    body = f"%y = mohd.column_sums %grad{operands} : {arguments['grad']}{types} -> {tensor(width, result)}"

    def inputs(tokens, rng):
        return {name: normal(rng, (tokens, width) if name != "factors" else (tokens,), element if name != "factors" else "f32")
                for name in arguments}

    return Entry(named("column_sums", width, *given, element, result), arguments, body, {"y": tensor(width, result)}, inputs,
                 reference_gradients.column_sums, length=129, special=with_bad(inputs, "grad"))


def elementwise(op, operands, results, width, element, expected, used=None):
    """copy, silu_gradient and swiglu_gradient, of which results `used` are returned, all if that is not given."""
    type, extremes = tensor(None, width, element), [-np.inf, np.inf, np.nan, 0.0, -0.0, -1e3, 1e3, -100.0, -88.0, 88.0, 2.0**-14]

    def inputs(tokens, rng):
        return {name: normal(rng, (tokens, width), element, 3.0) for name in operands}

    def ends(rng):
        made = inputs(len(extremes), rng)
        made[operands[0]][:] = np.array(extremes)[:, None]
        return {name: rounded(value, element) for name, value in made.items()}

    body = f"{', '.join('%' + name for name in results)} = mohd.{op} {', '.join('%' + name for name in operands)} : {type}"
    used = used or results

    def values(**given):
        found = expected(*given.values())
        return tuple(dict(zip(results, found if isinstance(found, tuple) else (found,)))[name] for name in used)

    return Entry(named(op, width, element, *used), dict.fromkeys(operands, type), body, dict.fromkeys(used, type), inputs, values, length=16,
                 special={"ends": ends})


def fusion_mix(left, shape=None, element="f32", weight="f32"):
    """mohd.fusion_mix with `left` (l, s, r); with (N, K_s, K_r) the routing outside of which the input is zero is given."""
    l, s, r = left
    arguments, body = {"x": tensor(None, l * r, element), "left": tensor(*left, weight)}, ""
    operands, types = "%x, %left", ", ".join(arguments.values())
    if shape:
        more, body, kind = routing_arguments(*shape)
        arguments.update(more)
        operands, types = operands + " routing(%r)", f"{types} routing {kind}"
    body += f"%y = mohd.fusion_mix {operands} : {types}"

    def make(rng, tokens, choose):
        made = {"x": normal(rng, (tokens, l * r), element), "left": normal(rng, left, weight)}
        if shape:
            made["indices"], made["gates"] = choose(rng, tokens, *shape)
            made["x"] = reference.gate(made["x"], made["indices"], np.ones_like(made["gates"]), r)
        return made

    def inputs(tokens, rng):
        return make(rng, tokens, routing)

    special = special_routings(make, r, []) if shape else with_bad(inputs, "x")
    return Entry(named("fusion_mix", left, shape or "dense", element, weight), arguments, body, {"y": tensor(None, l * s, element)}, inputs,
                 lambda x, left, indices=None, gates=None: reference_gradients.fusion_mix(x, left), length=r, special=special)


def fusion_mix_gradient(shape, element="f32", result="f32"):
    """mohd.fusion_mix_gradient for a left factor of `shape` (l, s, r)."""
    l, s, r = shape
    arguments = {"x": tensor(None, l * r, element), "z": tensor(None, l * s, element)}
    body = f"%y = mohd.fusion_mix_gradient %x, %z : {', '.join(arguments.values())} -> {tensor(*shape, result)}"

    def inputs(tokens, rng):
        return {"x": normal(rng, (tokens, l * r), element), "z": normal(rng, (tokens, l * s), element)}

    return Entry(named("fusion_mix_gradient", shape, element, result), arguments, body, {"y": tensor(*shape, result)}, inputs,
                 lambda x, z: reference_gradients.fusion_mix_gradient(x, z, shape), length=129, special=with_bad(inputs, "x", "z"))


def embed_gradient(rows, width, element="f32", result="f32"):
    """mohd.embed_gradient; the first and the last row are always asked for."""
    arguments = {"ids": "tensor<?xi32>", "z": tensor(None, width, element)}
    body = f"%y = mohd.embed_gradient %ids, %z : {', '.join(arguments.values())} -> {tensor(rows, width, result)}"

    def inputs(tokens, rng):
        ids = rng.integers(0, rows, tokens).astype(np.int32)
        ids[:1], ids[-1:] = 0, rows - 1
        return {"ids": ids, "z": normal(rng, (tokens, width), element)}

    return Entry(named("embed_gradient", rows, width, element, result), arguments, body, {"y": tensor(rows, width, result)}, inputs,
                 lambda ids, z: reference_gradients.embed_gradient(ids, z, rows), length=129, special=with_bad(inputs, "z"))


def permute_weight(shape, permutation, element="f32"):
    """mohd.permute_weight."""
    types = tensor(*shape, element), tensor(*(shape[axis] for axis in permutation), element)
    body = f"%y = mohd.permute_weight %w {list(permutation)} : {types[0]} -> {types[1]}"
    return Entry(named("permute_weight", shape, permutation, element), {"w": types[0]}, body, {"y": types[1]},
                 lambda tokens, rng: {"w": normal(rng, shape, element)}, lambda w: reference_gradients.permute_weight(w, permutation), length=0,
                 tokens=(1,))


def permuted_products(permutation):
    """Products of weights whose dimensions are in the order `permutation`, and unit gates."""
    n, width, columns, shape = 5, 3, 21, (5, 1, 2)
    more, body, kind = routing_arguments(*shape)
    weights = {"a": (n, width, columns), "b": (n, columns, width), "c": (n, width, width)}
    arguments = {"x": tensor(None, n * width, "f32"), "z": tensor(None, columns, "f32"), "d": tensor(n * width, columns, "f32"), **more}
    for name, dims in weights.items():
        stored = [0, 0, 0]
        for place, axis in enumerate(permutation):
            stored[axis] = dims[place]
        arguments[name] = tensor(*stored, "f32")
        body += f"%{name}p = mohd.permute_weight %{name} {list(permutation)} : {arguments[name]} -> {tensor(*dims, 'f32')}\n"
    x, z = arguments["x"], arguments["z"]
    body += f"""%dp = mohd.permute_weight %d [1, 0] : {arguments['d']} -> {tensor(columns, n * width, 'f32')}
%u = mohd.unit_gates %r : {kind}
%i, %g = mohd.unpack_routing %u : {kind} -> {more['indices']}, {more['gates']}
%spmm = mohd.spmm %x, %u, %ap : {x}, {kind}, {tensor(*weights['a'], 'f32')}
%sddmm = mohd.sddmm %z, %r, %bp : {z}, {kind}, {tensor(*weights['b'], 'f32')}
%blocks = mohd.group_fusion %sddmm kind block_diagonal right(%cp) routing(%r) : {x} right {tensor(*weights['c'], 'f32')} routing {kind}
%linear = mohd.linear %z, %dp : {z}, {tensor(columns, n * width, 'f32')} -> {x}"""

    def inputs(tokens, rng):
        indices, gates = routing(rng, tokens, *shape)
        made = {"indices": indices, "gates": gates}
        for name, type in arguments.items():
            if name not in made:
                dims = [tokens if part == "?" else int(part) for part in type[7:-1].split("x")[:-1]]
                made[name] = normal(rng, dims)
        return made

    def expected(x, z, d, indices, gates, a, b, c):
        a, b, c = (np.transpose(weight, permutation) for weight in (a, b, c))
        _, ones = reference_gradients.unit_gates(indices, gates)
        hidden = reference.sddmm(z, indices, b)
        return (indices, ones, reference.spmm(x, indices, ones, a), hidden, reference.group_fusion(hidden, "block_diagonal", c),
                reference.linear(z, np.transpose(d)))

    results = {"i": more["indices"], "g": more["gates"], "spmm": z, "sddmm": x, "blocks": x, "linear": x}
    return Entry(named("permuted", permutation), arguments, body, results, inputs, expected, length=columns + 16)


def elementwise_gradients():
    """copy and the gradients of units in every type and at ugly widths."""
    for width, element in ((64, "f32"), (64, "bf16"), (64, "f16"), (1, "f32"), (37, "f32")):
        yield elementwise("copy", ("x",), ("y",), width, element, reference.wide)
        yield elementwise("silu_gradient", ("x", "z"), ("y",), width, element, reference_gradients.silu_gradient)
        yield elementwise("swiglu_gradient", ("g", "u", "z"), ("dg", "du"), width, element, reference_gradients.swiglu_gradient)
    for used in (("dg",), ("du",)):
        yield elementwise("swiglu_gradient", ("g", "u", "z"), ("dg", "du"), 20, "f32", reference_gradients.swiglu_gradient, used)


def norm_gradients():
    """Gradients of norms and their weights. A single column has an epsilon that counts, as its gradient cancels without one."""
    yield rms_norm_gradient(1, epsilon=0.5)
    for width, element, weight in ((7, "f32", "f32"), (37, "f32", "bf16"), (64, "bf16", "f32"), (64, "f16", "f16")):
        yield rms_norm_gradient(width, element, weight)
    for *shape, width in SHAPES[:1] + SHAPES[3:]:
        yield rms_norm_gradient(shape[0] * width, shape=tuple(shape))
    yield rms_norm_gradient(35, "bf16", "f16", shape=(7, 2, 3))
    yield rms_norm_gradient(20, used=("y",))
    yield rms_norm_gradient(20, used=("f",))
    for given, (width, element, result) in zip(((), ("input",), ("factors",), ("input", "factors")) * 2, (
            (1, "f32", "f32"), (7, "f32", "f32"), (64, "f32", "f32"), (200, "f32", "f32"),
            (37, "bf16", "f32"), (64, "f16", "f16"), (65, "f32", "bf16"), (64, "bf16", "bf16"))):
        yield column_sums(width, given, element, result)


def fusion_gradients():
    """Both sides of the left factor."""
    for left in ((4, 16, 16), (5, 7, 7), (1, 7, 1), (6, 5, 2), (1, 2, 12), (37, 3, 5)):
        yield fusion_mix(left)
        yield fusion_mix_gradient(left)
    yield fusion_mix((4, 16, 16), (16, 6, 2))
    yield fusion_mix((3, 7, 7), (7, 2, 3), "bf16", "f16")
    for element, result in (("bf16", "bf16"), ("f16", "f32"), ("f32", "bf16")):
        yield fusion_mix_gradient((18, 4, 4), element, result)


def gradients_of_gates():
    """gate_gradient, scale_gradient and balance_loss_gradient."""
    for shape in SHAPES:
        yield gate_gradient(shape)
    for op in ("gather_groups", "scatter_groups"):
        for *shape, element in (*((*shape, "f32") for shape in SHAPES), (7, 2, 3, 13, "bf16"), (4, 1, 2, 40, "f16")):
            yield move_groups(op, tuple(shape), element)
    yield gate_gradient((7, 2, 3, 13), "bf16")
    yield gate_gradient((4, 1, 2, 40), "f16")
    for scaling in VALUES["scaling"]:
        yield scale_gradient(scaling, (7, 2, 3, 5))
    yield scale_gradient("sqrt_nk_over_mass", SHAPES[0], "bf16")
    yield scale_gradient("k_over_mass", SHAPES[1])
    for kind, shape in itertools.product(VALUES["balance"], (SHAPES[0], SHAPES[2], SHAPES[4], SHAPES[5])):
        yield balance_loss_gradient(kind, shape)


def weights():
    """permute_weight alone and as the weight of products, and embed_gradient."""
    for shape, permutation in ((((7, 19), (1, 0)), ((1, 40), (1, 0))) + tuple(((3, 5, 18), order) for order in PERMUTATIONS[1:])):
        yield permute_weight(shape, permutation)
    yield permute_weight((4, 6, 33), (1, 0, 2), "bf16")
    yield permute_weight((4, 6, 33), (2, 0, 1), "f16")
    for permutation in ((1, 2, 0), (0, 2, 1), (1, 0, 2)):
        yield permuted_products(permutation)
    for rows, width, element, result in ((1, 1, "f32", "f32"), (11, 24, "f32", "f32"), (257, 7, "f32", "bf16"), (5, 70, "bf16", "bf16"),
                                         (300, 64, "f16", "f32")):
        yield embed_gradient(rows, width, element, result)


def groups():
    """Entry points by group."""
    return {
        "weight_gradient": list(weight_gradients()), "route_gradient": list(route_gradients()), "gate_gradient": list(gradients_of_gates()),
        "norm_gradient": [*norm_gradients(), *elementwise_gradients()], "fusion_gradient": list(fusion_gradients()),
        "weight_order": list(weights()),
    }
