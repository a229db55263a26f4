# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Backward functions: each rule of docs/differentiation.md against finite differences, compiled ones against autograd in float64."""

import functools
import itertools
import re
import typing
import zlib

import numpy as np
import pytest
import torch

import mohd
from mohd import reference, reference_gradients as gradients, runtime
from mohd.compiler import compile as compile_model
from mohd.config import VALUES, Routing
from mohd.nn import functional
from mohd.testing import arrays

TOKENS, N, SHARED, ROUTED, WIDTH, INNER, ROWS = 9, 6, 2, 2, 4, 10, 7
DIMS, ACTIVE = N * WIDTH, SHARED + ROUTED


class Sizes(typing.NamedTuple):
    """Sizes of a sub-layer, and the type of its tokens and weights."""

    n: int = N
    shared: int = SHARED
    routed: int = ROUTED
    width: int = WIDTH
    inner: int = INNER
    element: str = "f32"

    def types(self):
        """The types of tokens [T, D] and [T, E], of a norm's weight, centroids, weights in and out, and both factors; of a routing, its indices, gates and scores."""
        n, active, width, inner, element = self.n, self.shared + self.routed, self.width, self.inner, self.element
        shapes = ("?", n * width), ("?", inner), (n * width,), (n, n * width), (n, width, inner), (n, inner, width), (n, width, width), (width, n, n)
        return (*(f"tensor<{'x'.join(map(str, shape))}x{element}>" for shape in shapes), f"!mohd.routing<{n}, {self.shared}, {self.routed}>",
                f"tensor<?x{active}xi32>", f"tensor<?x{active}xf32>", f"tensor<?x{n}xf32>")


X, Z, FLAT, PHI, W_IN, W_OUT, RIGHT, LEFT, KIND, INDICES, GATES, SCORES = Sizes().types()
IDS, LOSS = "tensor<?xi32>", "tensor<f32>"
COMBINATIONS = [combination for combination in itertools.product(VALUES["gate"], VALUES["score"], VALUES["scaling"])
                if combination[::2] != ("shared_one", "n_times_mass")]


# ---------------------------------------------------------------------------------------------------------------------
# Rules in NumPy against finite differences
# ---------------------------------------------------------------------------------------------------------------------


def differences(function, inputs, grads, step=1e-6):
    """The gradient of sum(grads * function(**inputs)) by each array of floats in `inputs`, by central differences."""

    def loss():
        values = function(**inputs)
        return sum(np.sum(grad * value) for grad, value in zip(grads, values if isinstance(values, tuple) else (values,), strict=True))

    found = {}
    for name, array in inputs.items():
        if array.dtype != np.float64:
            continue
        found[name] = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            middle = array[place]
            array[place] = middle + step
            above = loss()
            array[place] = middle - step
            found[name][place] = (above - loss()) / (2 * step)
            array[place] = middle
    return found


def expect_rule(forward, backward, inputs, seed=0):
    """`backward(*grads, **inputs)` gives the gradient of each array of floats, by name."""
    rng = np.random.default_rng(seed)
    values = forward(**inputs)
    grads = [rng.standard_normal(np.shape(value)) for value in (values if isinstance(values, tuple) else (values,))]
    found, expected = backward(*grads, **inputs), differences(forward, inputs, grads)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, rtol=1e-6, atol=1e-7 * np.abs(want).max(initial=1), err_msg=name)


def made(seed=1, tokens=4, **shapes):
    """Random float64 arrays of these shapes, and a routing of positive gates if `gates` is among them."""
    rng = np.random.default_rng(seed)
    inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    if "gates" in shapes:
        inputs["gates"] = np.abs(inputs["gates"]) + 0.2
        inputs["indices"] = arrays.routing(rng, tokens, N, SHARED, ROUTED)[0]
    return inputs


def swap(weight):
    return np.swapaxes(weight, -1, -2)


def spmm_rule(g, x, gates, w, indices):
    hidden = reference.sddmm(g, indices, swap(w))
    return {"x": reference.gate(hidden, indices, gates, N), "gates": gradients.gate_gradient(x, hidden, indices, N),
            "w": gradients.weight_gradient(reference.gate(x, indices, gates, N), g, N, indices)}


def sddmm_rule(g, x, gates, w, indices):
    return {"x": reference.spmm(g, *gradients.unit_gates(indices, gates), swap(w)), "gates": np.zeros(gates.shape),
            "w": gradients.weight_gradient(g, x, N, indices, (0, 2, 1))}


def monarch_rule(g, x, right, left):
    middle = gradients.fusion_mix(g, swap(left))
    u = reference.group_fusion(x, "block_diagonal", right)
    return {"x": reference.group_fusion(middle, "block_diagonal", swap(right)),
            "right": gradients.weight_gradient(middle, x, N, local=True), "left": gradients.fusion_mix_gradient(u, g, left.shape)}


def block_rule(g, x, right, bias):
    return {"x": reference.group_fusion(g, "block_diagonal", swap(right)), "right": gradients.weight_gradient(g, x, N, local=True),
            "bias": gradients.column_sums(g)}


def norm_rule(g, x, w, gates=None, indices=None):
    grad, factors = gradients.rms_norm_gradient(x, w, g, 1e-5, indices, N)
    found = {"x": grad, "w": gradients.column_sums(g, x, factors)}
    return found if gates is None else {**found, "gates": np.zeros(gates.shape)}


PLACES = {"position": np.array([2, 3, 0, 1]), "sequence": np.array([1, 1, 0, 1]), "layer": 1}
OF_HEADS = {**PLACES, "head_dim": 3}


def append_rule(g, cache, rows):
    cache, rows = gradients.kv_cache_append_gradient(g.copy(), **PLACES)
    return {"cache": cache, "rows": rows}


def attention_rule(g, query, keys, values):
    grad, statistics = gradients.attention_gradient(query, keys, values, g, **OF_HEADS)
    add = functools.partial(gradients.attention_cache_gradient, query=query, keys=keys, values=values, grad=g, statistics=statistics, **OF_HEADS)
    return {"query": grad, "keys": add(np.zeros(keys.shape)), "values": add(np.zeros(values.shape), of_values=True)}


IDS_MADE = np.array([3, 0, 3, 6])
RULES = {
    "gate": (lambda x, gates, indices: reference.gate(x, indices, gates, N),
             lambda g, x, gates, indices: {"x": reference.gate(g, indices, gates, N), "gates": gradients.gate_gradient(x, g, indices, N)},
             made(x=(4, DIMS), gates=(4, ACTIVE))),
    "gather_groups": (lambda x, gates, indices: gradients.gather_groups(x, indices, N),
                      lambda g, x, gates, indices: {"x": gradients.scatter_groups(g, indices, N), "gates": np.zeros(gates.shape)},
                      made(x=(4, DIMS), gates=(4, ACTIVE))),
    "scatter_groups": (lambda x, gates, indices: gradients.scatter_groups(x, indices, N),
                       lambda g, x, gates, indices: {"x": gradients.gather_groups(g, indices, N), "gates": np.zeros(gates.shape)},
                       made(x=(4, ACTIVE * WIDTH), gates=(4, ACTIVE))),
    "spmm": (lambda x, gates, w, indices: reference.spmm(x, indices, gates, w), spmm_rule,
             made(x=(4, DIMS), gates=(4, ACTIVE), w=(N, WIDTH, 5))),
    "sddmm": (lambda x, gates, w, indices: reference.sddmm(x, indices, w), sddmm_rule, made(x=(4, 5), gates=(4, ACTIVE), w=(N, 5, WIDTH))),
    "linear": (lambda x, w: reference.linear(x, w),
               lambda g, x, w: {"x": reference.linear(g, swap(w)), "w": gradients.weight_gradient(x, g)[0]}, made(x=(4, 5), w=(5, 3))),
    "monarch": (lambda x, right, left: reference.group_fusion(x, "monarch", right, left), monarch_rule,
                made(x=(4, DIMS), right=(N, WIDTH, WIDTH), left=(WIDTH, N, N))),
    "monarch_of_other_blocks": (lambda x, right, left: reference.group_fusion(x, "monarch", right, left), monarch_rule,
                                made(x=(4, 12), right=(N, 3, 2), left=(9, 4, 2))),
    "block_diagonal": (lambda x, right, bias: reference.group_fusion(x, "block_diagonal", right, bias=bias), block_rule,
                       made(x=(4, DIMS), right=(N, 3, WIDTH), bias=(3 * N,))),
    "rms_norm": (lambda x, w: reference.rms_norm(x, w), norm_rule, made(x=(4, DIMS), w=(DIMS,))),
    "rms_norm_of_active": (lambda x, w, gates, indices: reference.rms_norm(x, w, 1e-5, indices, N), norm_rule,
                           made(x=(4, DIMS), w=(DIMS,), gates=(4, ACTIVE))),
    "embed": (lambda table: reference.embed(IDS_MADE, table), lambda g, table: {"table": gradients.embed_gradient(IDS_MADE, g, ROWS)},
              made(table=(ROWS, 3))),
    "silu": (reference.silu, lambda g, input: {"input": gradients.silu_gradient(input, g)}, made(input=(4, 7))),
    "swiglu": (reference.swiglu, lambda g, gate, up: dict(zip(("gate", "up"), gradients.swiglu_gradient(gate, up, g))),
               made(gate=(4, 7), up=(4, 7))),
    "rope": (lambda x: reference.rope(x, np.arange(4), 6), lambda g, x: {"x": reference.rope(g, -np.arange(4), 6)}, made(x=(4, 12))),
    "kv_cache_append": (lambda cache, rows: reference.kv_cache_append(cache.copy(), rows, **PLACES), append_rule, made(cache=(2, 2, 4, 5), rows=(4, 5))),
    "attention": (lambda query, keys, values: reference.attention(query, keys, values, **OF_HEADS), attention_rule,
                  made(query=(4, 12), keys=(2, 2, 4, 6), values=(2, 2, 4, 6))),
    "permute_weight": (lambda w: gradients.permute_weight(w, (2, 0, 1)), lambda g, w: {"w": gradients.permute_weight(g, (1, 2, 0))},
                       made(w=(2, 3, 4))),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_agrees_with_finite_differences(rule):
    expect_rule(*RULES[rule])


@pytest.mark.parametrize("scaling", VALUES["scaling"])
def test_rule_of_scale_agrees_with_finite_differences(scaling):
    expect_rule(lambda x, gates, indices: reference.scale(x, indices, gates, N, scaling),
                lambda g, x, gates, indices: {"x": reference.scale(g, indices, gates, N, scaling),
                                              "gates": gradients.scale_gradient(x, g, gates, N, scaling)},
                made(x=(4, DIMS), gates=(4, ACTIVE)))


@pytest.mark.parametrize("gate,score,scaling", COMBINATIONS)
def test_rule_of_route_agrees_with_finite_differences(gate, score, scaling):
    names = dict(gate=gate, score=score, scaling=scaling)

    def backward(gates_grad, scores_grad, n, phi):
        indices, _, scores = reference.route(n, phi, N, SHARED, ROUTED, **names)
        logits = gradients.route_gradient(scores, indices, SHARED, gates_grad, scores_grad, **names)
        return {"n": logits @ phi, "phi": logits.T @ n}

    expect_rule(lambda n, phi: reference.route(n, phi, N, SHARED, ROUTED, **names)[1:], backward, made(n=(3, 8), phi=(N, 8)))


@pytest.mark.parametrize("kind", VALUES["balance"])
def test_rule_of_balance_loss_agrees_with_finite_differences(kind):
    indices = made(gates=(4, ACTIVE))["indices"]
    expect_rule(lambda scores: reference.balance_loss(scores, indices, SHARED, kind),
                lambda g, scores: {"scores": gradients.balance_loss_gradient(g, indices, N, SHARED, kind)}, made(scores=(4, N)))


# ---------------------------------------------------------------------------------------------------------------------
# Compiled functions against autograd
# ---------------------------------------------------------------------------------------------------------------------


class Function(typing.NamedTuple):
    """A function with a backward one: MLIR types by name, body, and the same in torch, of tensors by name, which gives `results` that are floats."""

    name: str
    arguments: dict
    body: str
    results: dict
    torch: typing.Callable
    takes: tuple = ()
    """What the backward function takes besides the gradients of the results."""
    updated: dict = {}
    """The argument that each result is which is one updated in place."""
    frozen: tuple = ()
    """Arguments and results without a gradient."""

    def text(self):
        def port(name, type):
            return f'{type} {{mohd.name = "{name}"{", mohd.frozen" if name in self.frozen else ""}}}'

        arguments = ", ".join(f"%{name}: {port(name, type)}" for name, type in self.arguments.items())
        results = ", ".join(port(name, type) for name, type in self.results.items())
        return (f'func.func @{self.name}({arguments}) -> ({results}) attributes {{mohd.backward = "{self.name}_backward"}} {{\n{self.body}\n'
                f"  return {', '.join('%' + name for name in self.results)} : {', '.join(self.results.values())}\n}}\n")

    def inputs(self):
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        values = {name: self.value(rng, name, type) for name, type in self.arguments.items()}
        if "indices" in values:
            values["indices"] = arrays.routing(rng, TOKENS, N, SHARED, ROUTED)[0]
            values["gates"] = np.abs(values["gates"]) + np.float32(0.2)
        if "mohd.kv_cache_append" in self.body:  # three tokens each of three sequences
            values["sequence"], values["position"] = (part.astype(np.int32) for part in np.divmod(np.arange(TOKENS), 3))
        return values

    @staticmethod
    def value(rng, name, type, tokens=TOKENS):
        shape = [tokens if part == "?" else int(part) for part in type[7:-1].split("x")[:-1]]
        if type.endswith("xi32>"):
            return rng.integers(0, ROWS, shape).astype(np.int32)
        return rng.standard_normal(shape).astype(np.float32)


MAKE = f"%r = mohd.make_routing %indices, %gates : {INDICES}, {GATES} -> {KIND}\n"
MADE = {"indices": INDICES, "gates": GATES}


def spread(indices, gates):
    """(mask [T, N], gates [T, N]) of a routing."""
    zeros = torch.zeros(len(indices), N, dtype=torch.float64)
    return zeros.scatter(1, indices, 1.0) > 0, zeros.scatter(1, indices, gates)


def each(x, n=N):
    """x [T, W] as [T, N, W / N]."""
    return x.unflatten(1, (n, -1))


def gate(x, mask, gates):
    return torch.where(mask[..., None], gates[..., None] * each(x, mask.shape[1]), 0.0).flatten(1)


def spmm(x, mask, gates, w):
    return torch.einsum("tnp,npo->to", each(gate(x, mask, gates), mask.shape[1]), w)


def sddmm(z, mask, w):
    return torch.where(mask[..., None], torch.einsum("to,nop->tnp", z, w), 0.0).flatten(1)


def norm(x, w, mask=None):
    return functional.rms_norm(x, w, 1e-5, None if mask is None else mask.repeat_interleave(x.shape[1] // mask.shape[1], 1))


def fuse(x, kind, right, left=None, bias=None):
    y = torch.einsum("tkp,kqp->tkq", x.unflatten(1, (right.shape[0], -1)), right).flatten(1)
    if kind == "monarch":
        y = torch.einsum("trl,lsr->tsl", y.unflatten(1, (left.shape[2], -1)), left).flatten(1)
    return y if bias is None else y + bias


def routed(function):
    """`function` of a mask and gates [T, N] in place of a routing's tensors."""
    return lambda indices, gates, **rest: function(mask=spread(indices, gates)[0], gates=spread(indices, gates)[1], **rest)


def single_ops():
    """Each op that has a rule, alone."""
    yield Function("gate", {"x": X, **MADE}, MAKE + f"%y = mohd.gate %x, %r : {X}, {KIND}", {"y": X}, routed(gate), ("x", "indices", "gates"))
    active = f"tensor<?x{ACTIVE * WIDTH}xf32>"
    gathered = lambda x, indices: each(x).take_along_dim(indices[..., None], 1).flatten(1)
    yield Function("gather_groups", {"x": X, **MADE}, MAKE + f"%y = mohd.gather_groups %x, %r : {X}, {KIND} -> {active}", {"y": active},
                   lambda x, indices, gates: gathered(x, indices), ("indices", "gates"))
    yield Function("scatter_groups", {"x": active, **MADE}, MAKE + f"%y = mohd.scatter_groups %x, %r : {active}, {KIND} -> {X}", {"y": X},
                   lambda x, indices, gates: torch.zeros(TOKENS, N, WIDTH, dtype=x.dtype).scatter(
                       1, indices[..., None].expand(-1, -1, WIDTH), x.unflatten(1, (ACTIVE, WIDTH))).flatten(1), ("indices", "gates"))
    for scaling in ("sqrt_nk_over_mass", "n_times_mass", "k_over_mass", "n_over_k"):
        def scale(x, mask, gates, scaling=scaling):
            return x * functional.scaling_of(gates, Routing(N, SHARED, ROUTED, scaling=scaling))
        body = MAKE + f"%y = mohd.scale %x, %r scaling {scaling} : {X}, {KIND}"
        takes = ("indices", "gates") if scaling == "n_over_k" else ("x", "indices", "gates")
        yield Function(f"scale_{scaling}", {"x": X, **MADE}, body, {"y": X}, routed(scale), takes)
    yield Function("spmm", {"x": X, "w": W_IN, **MADE}, MAKE + f"%y = mohd.spmm %x, %r, %w : {X}, {KIND}, {W_IN}", {"y": Z}, routed(spmm),
                   ("x", "w", "indices", "gates"))
    yield Function("sddmm", {"z": Z, "w": W_OUT, **MADE}, MAKE + f"%y = mohd.sddmm %z, %r, %w : {Z}, {KIND}, {W_OUT}", {"y": X},
                   routed(lambda z, mask, gates, w: sddmm(z, mask, w)), ("z", "w", "indices", "gates"))
    yield Function("linear", {"z": Z, "w": f"tensor<{INNER}x{DIMS}xf32>"},
                   f"%y = mohd.linear %z, %w : {Z}, tensor<{INNER}x{DIMS}xf32> -> {X}", {"y": X}, lambda z, w: z @ w, ("z", "w"))
    stored = f"tensor<{INNER}x{N}x{WIDTH}xf32>"
    yield Function("permuted_spmm", {"x": X, "w": stored, **MADE}, MAKE + f"""%p = mohd.permute_weight %w [1, 2, 0] : {stored} -> {W_IN}
%y = mohd.spmm %x, %r, %p : {X}, {KIND}, {W_IN}""", {"y": Z}, routed(lambda x, w, mask, gates: spmm(x, mask, gates, w.permute(1, 2, 0))),
                   ("x", "w", "indices", "gates"))
    stored = f"tensor<{N}x{WIDTH}x{INNER}xf32>"
    yield Function("permuted_sddmm", {"z": Z, "w": stored, **MADE}, MAKE + f"""%p = mohd.permute_weight %w [0, 2, 1] : {stored} -> {W_OUT}
%y = mohd.sddmm %z, %r, %p : {Z}, {KIND}, {W_OUT}""", {"y": X}, routed(lambda z, w, mask, gates: sddmm(z, mask, w.permute(0, 2, 1))),
                   ("z", "w", "indices", "gates"))
    yield Function("permuted_linear", {"z": Z, "w": f"tensor<{DIMS}x{INNER}xf32>"},
                   f"%p = mohd.permute_weight %w [1, 0] : tensor<{DIMS}x{INNER}xf32> -> tensor<{INNER}x{DIMS}xf32>\n"
                   f"%y = mohd.linear %z, %p : {Z}, tensor<{INNER}x{DIMS}xf32> -> {X}", {"y": X}, lambda z, w: z @ w.T, ("z", "w"))
    yield Function("monarch", {"x": X, "right": RIGHT, "left": LEFT},
                   f"%y = mohd.group_fusion %x kind monarch right(%right) left(%left) : {X} right {RIGHT} left {LEFT}", {"y": X},
                   lambda x, right, left: fuse(x, "monarch", right, left), ("x", "right", "left"))
    right, left = "tensor<6x2x4xf32>", "tensor<4x5x3xf32>"
    yield Function("monarch_of_other_blocks", {"x": X, "right": right, "left": left},
                   f"%y = mohd.group_fusion %x kind monarch right(%right) left(%left) : {X} right {right} left {left}",
                   {"y": "tensor<?x20xf32>"}, lambda x, right, left: fuse(x, "monarch", right, left), ("x", "right", "left"))
    yield Function("block_diagonal", {"x": X, "right": RIGHT, "bias": FLAT},
                   f"%y = mohd.group_fusion %x kind block_diagonal right(%right) bias(%bias) : {X} right {RIGHT} bias {FLAT}", {"y": X},
                   lambda x, right, bias: fuse(x, "block_diagonal", right, bias=bias), ("x", "right"))
    yield Function("rms_norm", {"x": X, "w": FLAT}, f"%y = mohd.rms_norm %x, %w epsilon 1.0e-5 : {X}, {FLAT}", {"y": X}, norm, ("x", "w"))
    yield Function("rms_norm_of_active", {"x": X, "w": FLAT, **MADE},
                   MAKE + f"%y = mohd.rms_norm %x, %w routing(%r) epsilon 1.0e-5 : {X}, {FLAT} routing {KIND}", {"y": X},
                   routed(lambda x, w, mask, gates: norm(x, w, mask)), ("x", "w", "indices", "gates"))
    yield Function("embed", {"ids": IDS, "table": f"tensor<{ROWS}x5xf32>"},
                   f"%y = mohd.embed %ids, %table : {IDS}, tensor<{ROWS}x5xf32> -> tensor<?x5xf32>", {"y": "tensor<?x5xf32>"},
                   lambda ids, table: table[ids], ("ids",))
    yield Function("add", {"x": X, "z": X}, f"%y = mohd.add %x, %z : {X}", {"y": X}, lambda x, z: x + z)
    yield Function("add_to_itself", {"x": X}, f"%y = mohd.add %x, %x : {X}", {"y": X}, lambda x: x + x)
    square = f"tensor<{DIMS}x{DIMS}xf32>"
    yield Function("matrix_used_twice", {"x": X, "w": square}, f"""%z = mohd.linear %x, %w : {X}, {square} -> {X}
%y = mohd.linear %z, %w : {X}, {square} -> {X}""", {"y": X, "z": X}, lambda x, w: (x @ w @ w, x @ w), ("x", "w", "z"))
    yield Function("matrices_of_one_value", {"x": X, "w": square, "v": square}, f"""%z = mohd.linear %x, %w : {X}, {square} -> {X}
%u = mohd.linear %x, %v : {X}, {square} -> {X}
%y = mohd.add %z, %u : {X}""", {"y": X}, lambda x, w, v: x @ (w + v), ("x", "w", "v"))
    yield Function("silu", {"x": X}, f"%y = mohd.silu %x : {X}", {"y": X}, lambda x: torch.nn.functional.silu(x), ("x",))
    yield Function("swiglu", {"x": X, "z": X}, f"%y = mohd.swiglu %x, %z : {X}", {"y": X}, lambda x, z: torch.nn.functional.silu(x) * z, ("x", "z"))
    yield Function("rope", {"x": X, "position": IDS}, f"%y = mohd.rope %x, %position head_dim 8 theta 1.0e4 : {X}, {IDS}", {"y": X},
                   rope, ("position",))


    yield from caches()


def attend(q, k, v, position, sequence, layer, head_dim=4):
    """Attention of q [T, heads*head_dim] over caches [layers, B, S, kv_heads*head_dim]."""
    k, v = (cache[layer][sequence].unflatten(2, (-1, head_dim)) for cache in (k, v))  # [T, S, kv_heads, head_dim]
    q = q.unflatten(1, (k.shape[2], -1, head_dim))
    scores = torch.einsum("tghd,tsgd->tghs", q, k) / head_dim**0.5
    hidden = torch.arange(k.shape[1]) > position[:, None]
    weights = scores.masked_fill(hidden[:, None, None], -torch.inf).softmax(-1)
    return torch.einsum("tghs,tsgd->tghd", weights, v).flatten(1)


def caches():
    """Attention, and what is appended to a cache."""
    q, cache = "tensor<?x16xf32>", "tensor<2x?x?x8xf32>"
    for name, ids, place, layer in (("attention", ("position", "sequence"), "%position in %sequence", 1), ("attention_of_own", ("position",), "%position", 0)):
        body = f"%y = mohd.attention %q, %k, %v, {place} layer {layer} head_dim 4 : {q}, {cache}, {cache}, {', '.join([IDS] * len(ids))}"
        yield Function(name, {"q": q, "k": cache, "v": cache, **dict.fromkeys(ids, IDS)}, body, {"y": q},
                       functools.partial(lambda layer, q, k, v, position, sequence=torch.arange(TOKENS): attend(q, k, v, position, sequence, layer), layer),
                       ("q", "k", "v", *ids))
    body = f"%after = mohd.kv_cache_append %cache, %rows, %position in %sequence layer 1 : {cache}, tensor<?x8xf32>, {IDS}, {IDS}"
    yield Function("kv_cache_append", {"cache": cache, "rows": "tensor<?x8xf32>", "position": IDS, "sequence": IDS}, body, {"after": cache},
                   lambda cache, rows, position, sequence: cache.index_put((torch.tensor(1), sequence, position), rows), ("position", "sequence"),
                   {"after": "cache"})


def rope(x, position):
    angle = (position.double()[:, None] * 1e4 ** (-torch.arange(4) / 4.0))[:, None]  # [T, 1, head_dim / 2]
    low, high = x.view(TOKENS, -1, 2, 4).unbind(2)
    return torch.cat([low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()], -1).flatten(1)


ROUTE = "%i, %g = mohd.unpack_routing %r : {} -> {}, {}\n"
ROUTED_RESULTS = {"i": INDICES, "g": GATES, "s": SCORES}


def chosen(routing, n, phi):
    """(mask, gates [T, N], gates [T, K], scores) of a router."""
    logits = n @ phi.T
    indices, scores = functional.select(logits, routing).long(), functional.scores_of(logits, routing)
    gates = torch.zeros_like(scores).scatter(1, indices, functional.gates_of(scores, indices, routing))
    return functional.active_mask(indices, routing.num_groups), gates, indices, scores


def routers():
    """A router and what uses it: each gate with each score, each scaling, each kind of loss."""
    balances, scalings = itertools.cycle(VALUES["balance"]), itertools.cycle(VALUES["scaling"])
    for number, (gate_kind, score) in enumerate(itertools.product(VALUES["gate"], VALUES["score"])):
        scaling, balance = next(scalings), next(balances)
        if (gate_kind, scaling) == ("shared_one", "n_times_mass"):
            scaling = next(scalings)

        def function(n, phi, routing=Routing(N, SHARED, ROUTED, gate_kind, scaling, score, balance=balance)):
            mask, gates, indices, scores = chosen(routing, n, phi)
            gates = gates * functional.scaling_of(gates, routing)
            return (gate(n, mask, gates), functional.balance_loss(scores, indices, routing), indices, gates.gather(1, indices), scores)

        body = f"""%r, %s = mohd.route %n, %phi gate {gate_kind} score {score} scaling {scaling} : {X}, {PHI} -> {KIND}, {SCORES}
%y = mohd.gate %n, %r : {X}, {KIND}
%loss = mohd.balance_loss %s, %r kind {balance} coefficient 1.0e-2 : {SCORES}, {KIND} -> {LOSS}
""" + ROUTE.format(KIND, INDICES, GATES)
        yield Function(f"router_{number}_{gate_kind}_{score}_{scaling}_{balance}", {"n": X, "phi": PHI}, body,
                       {"y": X, "loss": LOSS, **ROUTED_RESULTS}, function, ("n", "phi", "i", "g", "s"))


def sub_layers(sizes=Sizes(), kinds=(("monarch", "full", True), ("block_diagonal", "active", True), ("none", "active", True), ("monarch", "active", False))):
    """A routed FFN with each fusion and both norms, and one that keeps nothing. The norm's weight comes twice, as a value that is no matrix has one gradient."""
    x_type, z_type, flat, phi, w_in, w_out, right, left, kind, indices, gates, scores = sizes.types()
    for fusion, norm_stat, keeps in kinds:
        routing = Routing(sizes.n, sizes.shared, sizes.routed, fusion=fusion, norm_stat=norm_stat)
        arguments = {"x": x_type, "norm_w": flat, "phi": phi, "w_gate": w_in, "w_up": w_in, "w_down": w_out}
        if norm_stat == "active":
            arguments["active_w"] = flat
        fused = ""
        if fusion != "none":
            arguments["right"] = right
            fused = f"%f = mohd.group_fusion %o kind {fusion} right(%right) routing(%r) : {x_type} right {right} routing {kind}"
        if fusion == "monarch":
            arguments["left"] = left
            fused = (f"%f = mohd.group_fusion %o kind monarch right(%right) left(%left) routing(%r)"
                     f" : {x_type} right {right} left {left} routing {kind}")
        active = norm_stat == "active"
        body = f"""%n = mohd.rms_norm %x, %norm_w epsilon 1.0e-5 : {x_type}, {flat}
%r, %s = mohd.route %n, %phi gate softmax score softmax_all : {x_type}, {phi} -> {kind}, {scores}
{f'%m = mohd.rms_norm %x, %active_w routing(%r) epsilon 1.0e-5 : {x_type}, {flat} routing {kind}' if active else ''}
%h = mohd.scale {'%m' if active else '%n'}, %r scaling sqrt_nk_over_mass : {x_type}, {kind}
%a = mohd.spmm %h, %r, %w_gate : {x_type}, {kind}, {w_in}
%b = mohd.spmm %h, %r, %w_up : {x_type}, {kind}, {w_in}
%z = mohd.swiglu %a, %b : {z_type}
%o = mohd.sddmm %z, %r, %w_down : {z_type}, {kind}, {w_out}
{fused}
%y = mohd.add %x, {'%f' if fused else '%o'} : {x_type}
%loss = mohd.balance_loss %s, %r kind deepseek coefficient 1.0e-2 : {scores}, {kind} -> {LOSS}
""" + (ROUTE.format(kind, indices, gates) if keeps else "")

        def function(x, norm_w, phi, w_gate, w_up, w_down, active_w=None, right=None, left=None, routing=routing, keeps=keeps):
            n = norm(x, norm_w)
            mask, gates, indices, scores = chosen(routing, n, phi)
            h = (norm(x, active_w, mask) if active_w is not None else n) * functional.scaling_of(gates, routing)
            a, b = spmm(h, mask, gates, w_gate), spmm(h, mask, gates, w_up)
            o = sddmm(torch.nn.functional.silu(a) * b, mask, w_down)
            y = x + (o if right is None else fuse(o, routing.fusion, right, left))
            made = y, functional.balance_loss(scores, indices, routing)
            return (*made, a, b, indices, gates.gather(1, indices), scores) if keeps else made

        saved = {"a": z_type, "b": z_type, "i": indices, "g": gates, "s": scores} if keeps else {}
        yield Function(f"ffn_{fusion}_{norm_stat}_{len(saved)}", arguments, body, {"y": x_type, "loss": LOSS, **saved}, function, (*arguments, *saved))


FUNCTIONS = {function.name: function for function in (*single_ops(), *routers(), *sub_layers())}


@pytest.fixture(scope="module", params=["reference", "fast", "emulate:sm_80"])
def context(request, tmp_path_factory):
    """Of all functions; of those without a router for the reference lowering, where routers take long to compile; of sub-layers for a GPU."""
    source = tmp_path_factory.mktemp("gradients") / "functions.mlir"
    taken = {"fast": lambda name: True, "reference": lambda name: not name.startswith("router")}
    names = filter(taken.get(request.param, lambda name: name.startswith(("ffn", "attention", "kv_cache"))), FUNCTIONS)
    return compiled_context(source, [FUNCTIONS[name] for name in names], request.param)


def compiled_context(source, functions, lowering):
    """A context of functions, whose text goes to `source`, compiled for the CPU by the lowering `reference` or `fast`, or for `emulate:CHIP`."""
    source.write_text("".join(function.text() for function in functions))
    target, device = (lowering, "emulate") if lowering.startswith("emulate") else ("cpu:native", "cpu")
    options = ["--lowering=reference"] if lowering == "reference" else []
    return runtime.Module(compile_model(source, target, source.with_suffix(".mohdb"), options=options)).context(2, device=device)


def expect_close(found, want, name):
    """Within what f32 can do over a few hundred operations."""
    want = want.detach().numpy()
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-5 * max(np.abs(want).max(), 1e-3), err_msg=name)


@pytest.mark.xdist_group("gradients")  # one process compiles them
def test_compiled_functions_and_gradients_agree_with_autograd(context):
    for function in FUNCTIONS.values():
        if function.name in context.module.entry_points:
            expect_gradients(context, function)


def updatable(values):
    """A copy that a kernel may update in place."""
    copy = mohd.empty(values.shape, values.dtype)
    copy[...] = values
    return copy


def expect_gradients(context, function):
    """The function's results and its gradients are those of torch."""
    name = function.name
    inputs = function.inputs()
    given = {key: updatable(value) for key, value in inputs.items()}
    outputs = context.run(name, given) | {key: given[argument] for key, argument in function.updated.items()}
    wide = {key: torch.tensor(value, dtype=torch.float64 if value.dtype == np.float32 else torch.int64) for key, value in inputs.items()}
    floats = [tensor.requires_grad_() for tensor in wide.values() if tensor.is_floating_point()]
    values = function.torch(**wide)
    values = dict(zip(function.results, values if isinstance(values, tuple) else (values,), strict=True))
    for key, value in values.items():
        expect_close(outputs[key], value, f"{name}: {key}")

    rng = np.random.default_rng(5)
    grads = {key: rng.standard_normal(value.shape).astype(np.float32) for key, value in values.items()
             if value.is_floating_point() and key not in function.frozen}
    loss = sum((torch.tensor(grads[key], dtype=torch.float64) * values[key]).sum() for key in grads)
    loss.backward()

    given |= outputs | {f"grad_{key}": updatable(value) for key, value in grads.items()}
    entry = context.module.entry_points[f"{name}_backward"]
    found = context.run(entry.name, {tensor.name: given[tensor.name] for tensor in entry.inputs})
    assert floats and found
    # The gradient of a cache that is updated in place is so, too.
    found |= {f"grad_{argument}": given[f"grad_{key}"] for key, argument in function.updated.items() if key in grads}
    for key, tensor in wide.items():
        if key in function.frozen:
            assert f"grad_{key}" not in found
        elif f"grad_{key}" in found:
            expect_close(found[f"grad_{key}"], tensor.grad, f"{name}: grad_{key}")
        else:  # nothing goes there
            assert not tensor.is_floating_point() or tensor.grad is None or not tensor.grad.any(), (name, key)


@pytest.mark.xdist_group("gradients")
def test_backward_functions_take_what_they_need(context):
    for name, function in FUNCTIONS.items():
        if name in context.module.entry_points:
            results = [f"grad_{key}" for key, type in function.results.items() if "i32" not in type]
            taken = [tensor.name for tensor in context.module.entry_points[f"{name}_backward"].inputs]
            assert set(taken) - set(results) == set(function.takes), name
            assert [key for key in taken if key in results] == [key for key in results if key in taken], name


# ---------------------------------------------------------------------------------------------------------------------
# 16 bits: kernels for tensor units
# ---------------------------------------------------------------------------------------------------------------------

HALF, HALF_TOKENS = Sizes(8, 3, 2, 32, 64, "bf16"), 72


def half_inputs(function):
    """Inputs in bfloat16, of tokens whose router is far from a tie."""
    rng = np.random.default_rng(3)
    made = {name: torch.tensor(function.value(rng, name, type, 8 * HALF_TOKENS)).mul(1.0 if name in ("x", "norm_w") else 0.2).bfloat16()
            for name, type in function.arguments.items()}
    logits = norm(made["x"].double(), made["norm_w"].double()) @ made["phi"].double().T
    best = logits[:, HALF.shared :].sort(-1, descending=True).values
    clear = (best[:, HALF.routed - 1] - best[:, HALF.routed]).sort(descending=True).indices[:HALF_TOKENS]
    return made | {"x": made["x"][clear].contiguous()}


def of_torch(tensor):
    """What a runtime takes for a tensor."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def to_torch(array):
    """A runtime's result in float64, or int64."""
    array = np.asarray(array)
    tensor = torch.from_numpy(array.copy())
    return tensor.view(torch.bfloat16).double() if array.dtype == np.uint16 else tensor.double() if array.dtype == np.float32 else tensor.long()


@pytest.mark.parametrize("chip,products", [("sm_80", "mma"), ("sm_90a", "wgmma")])
def test_bfloat16_ffn_on_tensor_units_agrees_with_autograd(chip, products, tmp_path):
    """A function and its backward function of the kernels that GPUs run for 16-bit weights, in the emulator, beside float64."""
    (function,) = sub_layers(HALF, [("monarch", "full", True)])
    source = tmp_path / "half.mlir"
    source.write_text(function.text())
    module = runtime.Module(compile_model(source, f"emulate:{chip}", tmp_path / "half.mohdb"))
    context, inputs = module.context(2, device="emulate"), half_inputs(function)
    wide = {key: value.double().requires_grad_() for key, value in inputs.items()}
    values = dict(zip(function.results, function.torch(**wide), strict=True))
    given = {key: of_torch(value) for key, value in inputs.items()}
    outputs = context.run(function.name, given)
    random = torch.Generator().manual_seed(4)
    grads = {key: torch.randn(value.shape, generator=random).to(torch.bfloat16 if "bf16" in function.results[key] else torch.float32)
             for key, value in values.items() if value.is_floating_point()}
    sum((grads[key].double() * values[key]).sum() for key in grads).backward()
    given |= outputs | {f"grad_{key}": of_torch(value) for key, value in grads.items()}
    entry = module.entry_points[f"{function.name}_backward"]
    found = context.run(entry.name, {tensor.name: given[tensor.name] for tensor in entry.inputs})

    assert found.keys() == {f"grad_{key}" for key in wide}
    for key, got, want in (*((key, outputs[key], values[key].detach()) for key in values), *((key, found[f"grad_{key}"], wide[key].grad) for key in wide)):
        assert (to_torch(got) - want).abs().max() <= 4e-2 * want.abs().max(), key
    (target,) = module.manifest["targets"]
    (program,) = (program for program in target["programs"] if module.manifest["entry_points"][program["entry"]]["name"] == entry.name)
    names = {target["kernels"][dispatch["kernel"]]["name"] for dispatch in program["dispatches"]}
    for product, kind in (("bucket_spmm", products), ("bucket_sddmm", products), ("bucket_weight_gradient", "mma")):
        assert any(re.fullmatch(rf"{product}_\d+_{kind}\d+", name) for name in names), names
