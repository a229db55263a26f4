# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The NumPy ops against the formulas of docs/semantics.md in plain loops, and the exactness rules 1, 3 and 4."""

import itertools
import math
import unittest.mock

import numpy as np
import pytest

from cases import config_of, random_weights
from mohd import reference as ops
from mohd.config import VALUES, Routing
from mohd.reference_model import Model

SHAPES = [(16, 6, 2, 4), (1, 1, 0, 8), (1, 0, 1, 8), (4, 1, 3, 2), (4, 2, 0, 3), (5, 0, 2, 3), (16, 3, 1, 1)]  # N, K_s, K_r, d_e
TOKENS = [0, 1, 3, 17, 129]


def routing_of(tokens, n, shared, routed, width, seed=0):
    """Random input [T, N*width] and its (indices, gates, scores)."""
    rng = np.random.default_rng(seed)
    x, phi = rng.standard_normal((tokens, n * width)), rng.standard_normal((n, n * width))
    return (x, *ops.route(x, phi, n, shared, routed))


def plain_route(logits, n, shared, routed, gate, score):
    """One token's active groups, gates by group and scores, from semantics.md word by word."""
    total = lambda groups: sum(math.exp(logits[i]) for i in groups)
    s = {
        "softmax_all": lambda i: math.exp(logits[i]) / total(range(n)),
        "softmax_routed": lambda i: 1.0 if i < shared else math.exp(logits[i]) / total(range(shared, n)),
        "sigmoid": lambda i: 1 / (1 + math.exp(-logits[i])),
    }[score]
    chosen = sorted(range(shared, n), key=lambda i: (-logits[i], i))[:routed]
    active = sorted([*range(shared), *chosen])
    g = {
        "softmax": s,
        "shared_one": lambda i: 1.0 if i < shared else s(i),
        "renormalized": lambda i: 1.0 if i < shared else routed * s(i) / sum(s(j) for j in chosen),
        "binary": lambda i: 1.0,
    }[gate]
    return active, [g(i) for i in active], [s(i) for i in range(n)]


@pytest.mark.parametrize("gate,score", list(itertools.product(VALUES["gate"], VALUES["score"])))
def test_route_is_the_formula(gate, score):
    rng = np.random.default_rng(1)
    for (n, shared, routed, width), tokens in itertools.product(SHAPES, TOKENS):
        x, phi = rng.standard_normal((tokens, n * width)), rng.standard_normal((n, n * width))
        phi[n // 2] = phi[-1]  # equal logits
        indices, gates, scores = ops.route(x, phi, n, shared, routed, gate, score)
        assert indices.shape == gates.shape == (tokens, shared + routed) and scores.shape == (tokens, n)
        for t in range(tokens):
            active, g, s = plain_route(ops.linear(x, phi.T)[t], n, shared, routed, gate, score)
            assert indices[t].tolist() == active
            np.testing.assert_allclose(gates[t], g, rtol=1e-9)
            np.testing.assert_allclose(scores[t], s, rtol=1e-9)


def test_select_takes_the_lowest_index_of_equal_logits():
    assert ops.select(np.zeros((1, 6)), 2, 2).tolist() == [[0, 1, 2, 3]]
    assert ops.select([[9, 0, 1, 3, 3, 3]], 1, 2).tolist() == [[0, 3, 4]]
    assert ops.select([[0.0, -0.0, 0.0, -0.0]], 0, 2).tolist() == [[0, 1]]


def test_select_with_nan_and_infinity():
    nan, inf = np.nan, np.inf
    rows = [[nan, 1, 2, 3], [1, 2, 3, nan], [0, -inf, inf, 5], [0, -inf, -inf, -inf]]
    assert ops.select(rows, 1, 2).tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 1, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_token_stays_in_its_row(bad):
    config = config_of(Routing(16, 6, 2))
    weights = random_weights(config)
    weights["model.embed_tokens.weight"][7, 5] = bad
    model = Model(config, weights)
    rows = np.arange(6)

    def logits(tokens):  # six sequences of one token
        return model.prefill(np.array(tokens), rows, np.zeros(6, int), rows, *model.new_caches(6, 1))

    with np.errstate(invalid="ignore"):
        clean, dirty = logits([1, 2, 3, 4, 5, 6]), logits([1, 2, 7, 4, 5, 6])
    assert np.isnan(dirty[2]).all()
    np.testing.assert_allclose(np.delete(dirty, 2, 0), np.delete(clean, 2, 0), rtol=1e-10)


@pytest.mark.parametrize("scaling", VALUES["scaling"])
def test_scale_is_the_formula(scaling):
    x, indices, gates, _ = routing_of(17, 16, 6, 2, 4)
    n, k, mass = 16, 8, gates.sum(1)[:, None]
    factor = {
        "sqrt_nk_over_mass": math.sqrt(n * k) / mass, "n_times_mass": n * mass, "k_over_mass": k / mass,
        "sqrt_n_over_k": math.sqrt(n / k), "n_over_k": n / k, "none": 1.0,
    }[scaling]
    np.testing.assert_allclose(ops.scale(x, indices, gates, n, scaling), x * factor)


@pytest.mark.parametrize("shape,tokens", list(itertools.product(SHAPES, TOKENS)))
def test_sparse_ops_are_masked_dense_ops(shape, tokens):
    n, shared, routed, width = shape
    x, indices, gates, _ = routing_of(tokens, n, shared, routed, width)
    spread = np.zeros((tokens, n))
    np.put_along_axis(spread, indices, gates, 1)
    mask = np.zeros((tokens, n))
    np.put_along_axis(mask, indices, 1.0, 1)
    rng = np.random.default_rng(2)
    w_in, w_out, z = (rng.standard_normal(s) for s in ((n * width, 7), (7, n * width), (tokens, 7)))
    gated = x * spread.repeat(width, 1)
    np.testing.assert_allclose(ops.gate(x, indices, gates, n), gated)
    np.testing.assert_allclose(ops.spmm(x, indices, gates, w_in.reshape(n, width, 7)), gated @ w_in, atol=1e-12)
    columns = w_out.reshape(7, n, width).transpose(1, 0, 2)
    np.testing.assert_allclose(ops.sddmm(z, indices, columns), (z @ w_out) * mask.repeat(width, 1), atol=1e-12)


@pytest.mark.parametrize("k,q,p,l,s,r", [(4, 3, 3, 3, 4, 4), (4, 3, 2, 6, 5, 2), (2, 6, 3, 1, 2, 12), (1, 1, 5, 1, 7, 1)])
def test_group_fusion_of_any_block_shape(k, q, p, l, s, r):
    rng = np.random.default_rng(3)
    x, right, left = (rng.standard_normal(shape) for shape in ((5, k * p), (k, q, p), (l, s, r)))
    bias = rng.standard_normal(k * q)
    u, y = np.zeros((5, k * q)), np.zeros((5, l * s))
    for t, i, j, m in itertools.product(range(5), range(k), range(q), range(p)):
        u[t, i * q + j] += right[i, j, m] * x[t, i * p + m]
    for t, i, j, m in itertools.product(range(5), range(l), range(s), range(r)):
        y[t, j * l + i] += left[i, j, m] * u[t, m * l + i]
    np.testing.assert_allclose(ops.group_fusion(x, "monarch", right, left), y)
    np.testing.assert_allclose(ops.group_fusion(x, "block_diagonal", right, bias=bias), u + bias)
    np.testing.assert_array_equal(ops.group_fusion(x, "none"), x)


def test_group_fusion_is_the_models_form():
    # y[s,j] = sum_k L[j,s,k] u[k,j], u[k,j] = sum_p R[k,j,p] o[k,p]
    rng, n, width = np.random.default_rng(4), 5, 3
    o, right, left = (rng.standard_normal(s) for s in ((n, width), (n, width, width), (width, n, n)))
    u = np.array([[sum(right[k, j, p] * o[k, p] for p in range(width)) for j in range(width)] for k in range(n)])
    y = np.array([[sum(left[j, s, k] * u[k, j] for k in range(n)) for j in range(width)] for s in range(n)])
    np.testing.assert_allclose(ops.group_fusion(o.reshape(1, -1), "monarch", right, left), y.reshape(1, -1))


@pytest.mark.parametrize("kind", VALUES["balance"])
def test_balance_loss_is_the_formula(kind):
    for (n, shared, routed, width), tokens in itertools.product(SHAPES, TOKENS):
        _, indices, _, scores = routing_of(tokens, n, shared, routed, width)
        expected = 0.0
        if kind != "none" and tokens and routed:
            for i in range(shared, n):
                share = (n - shared) / (tokens * (routed if kind == "deepseek" else 1)) * (indices == i).sum()
                expected += 0.01 * share * scores[:, i].mean()
        np.testing.assert_allclose(ops.balance_loss(scores, indices, shared, kind, 0.01), expected)


def test_even_routing_has_balance_loss_of_the_coefficient():
    # softmax_routed: P_i sum to 1, and f_i = 1 for every group with deepseek
    scores, indices = np.full((8, 8), 1 / 8), np.arange(8)[:, None]
    assert ops.balance_loss(scores, indices, 0, "deepseek", 0.01) == pytest.approx(0.01)


def test_rms_norm_over_active_dims():
    x, indices, _, _ = routing_of(3, 4, 1, 1, 2)
    w = np.arange(1.0, 9.0)
    for t in range(3):
        dims = np.concatenate([x[t, 2 * i : 2 * i + 2] for i in indices[t]])
        expected = x[t] / math.sqrt((dims**2).mean() + 0.5) * w
        np.testing.assert_allclose(ops.rms_norm(x, w, 0.5, indices, 4)[t], expected)
    np.testing.assert_allclose(ops.rms_norm(x, w, 0.5), x / np.sqrt((x**2).mean(1, keepdims=True) + 0.5) * w)


def test_rope_turns_pairs_of_half_a_head_apart():
    x, position = np.random.default_rng(5).standard_normal((3, 2 * 6)), np.array([0, 1, 1000])
    y = ops.rope(x, position, 6, 100.0).reshape(3, 2, 6)
    for t, h, j in itertools.product(range(3), range(2), range(3)):
        turned = complex(*x.reshape(3, 2, 6)[t, h, [j, j + 3]]) * np.exp(1j * position[t] * 100.0 ** (-2 * j / 6))
        np.testing.assert_allclose(y[t, h, [j, j + 3]], [turned.real, turned.imag])


def test_attention_is_the_formula():
    rng = np.random.default_rng(6)
    keys, values = rng.standard_normal((2, 2, 3, 5, 2 * 4))  # two layers, three sequences, five rows, two heads of 4
    query, position, sequence = rng.standard_normal((4, 4 * 4)), [0, 4, 2, 2], [2, 0, 0, 1]
    out = ops.attention(query, keys, values, position, sequence, layer=1, head_dim=4)
    for t, head in itertools.product(range(4), range(4)):
        part = slice(head // 2 * 4, head // 2 * 4 + 4)
        rows = range(position[t] + 1)
        power = [math.exp(query[t, head * 4 : head * 4 + 4] @ keys[1, sequence[t], i, part] / 2) for i in rows]
        expected = sum(p * values[1, sequence[t], i, part] for p, i in zip(power, rows)) / sum(power)
        np.testing.assert_allclose(out[t, head * 4 : head * 4 + 4], expected)


def test_silu_at_the_ends():
    inf = np.inf
    out = ops.silu([-inf, -1e4, -1.0, 0.0, 1.0, inf, np.nan])
    np.testing.assert_allclose(out, [0, 0, -1 / (1 + math.e), 0, 1 / (1 + 1 / math.e), inf, np.nan])
    np.testing.assert_allclose(ops.swiglu([-inf, 2.0], [3.0, 3.0]), [0, 6 / (1 + math.exp(-2))])


def test_route_without_centroids():
    indices, gates, scores = ops.route(np.zeros((2, 8)), None, 4, 3, 0, "renormalized")
    assert indices.tolist() == [[0, 1, 2]] * 2 and (gates == 1).all() and scores.shape == (2, 4)
    with pytest.raises(ValueError, match="expects centroids"):
        ops.route(np.zeros((2, 8)), None, 4, 3, 0, "softmax")


def test_shared_one_with_n_times_mass_is_rejected():
    with pytest.raises(ValueError, match="other than n_times_mass"):
        ops.route(np.zeros((1, 4)), np.zeros((4, 4)), 4, 2, 1, "shared_one", scaling="n_times_mass")
    with pytest.raises(ValueError, match="other than n_times_mass"):
        Routing(4, 2, 1, gate="shared_one", scaling="n_times_mass")


# Exactness rules and the magnitude table.

MAGNITUDES = [
    ("softmax", "none", 0.044), ("softmax", "n_times_mass", 0.353), ("softmax", "k_over_mass", 0.707),
    ("softmax", "sqrt_nk_over_mass", 1.000), ("binary", "sqrt_n_over_k", 1.000), ("binary", "n_over_k", 1.414),
    ("shared_one", "none", 0.612), ("renormalized", "sqrt_n_over_k", 1.000),
]


@pytest.mark.parametrize("gate,scaling,expected", MAGNITUDES)
def test_magnitude_table(gate, scaling, expected):
    rng, n, width, tokens, out = np.random.default_rng(7), 16, 16, 256, 128
    x, w = rng.standard_normal((tokens, n * width)), rng.standard_normal((n * width, out))
    indices, gates, _ = ops.route(x, np.zeros((n, n * width)), n, 6, 2, gate)  # a uniform router
    indices[:, 6:] = np.sort([rng.choice(np.arange(6, n), 2, replace=False) for _ in range(tokens)], 1)
    y = ops.spmm(ops.scale(x, indices, gates, n, scaling), indices, gates, w.reshape(n, width, out))
    rms = lambda a: np.sqrt(np.square(a).mean())
    assert rms(y) / rms(x @ w) == pytest.approx(expected, rel=0.03)


def run(model, tokens):
    """Logits of every token of one sequence."""
    rows = np.arange(len(tokens))
    return model.prefill(tokens, np.zeros_like(rows), rows, rows, *model.new_caches(1, len(tokens)))


@pytest.mark.parametrize("fusion", VALUES["fusion"])
@pytest.mark.parametrize("shared,routed", [(16, 0), (6, 10), (0, 16)])
def test_rule_1_all_groups_with_binary_gates_is_the_dense_block(fusion, shared, routed):
    config = config_of(Routing(16, shared, routed, gate="binary", scaling="none", fusion=fusion))
    weights = random_weights(config)
    for name in weights:
        if "fusion" in name:
            weights[name] = np.broadcast_to(np.eye(weights[name].shape[-1]), weights[name].shape)
    dense = config_of(None)
    tokens = np.random.default_rng(8).integers(0, 29, 12)
    expected = run(Model(dense, {name: weights[name] for name in dense.tensor_shapes()}), tokens)
    # as the configuration says it: with fusion `none` this is a dense sub-layer
    np.testing.assert_allclose(run(Model(config, weights), tokens), expected, rtol=1e-11, atol=1e-11)
    # through the sparse ops, whatever the fusion
    with unittest.mock.patch.object(Routing, "is_dense", False):
        full = random_weights(config) | weights
        np.testing.assert_allclose(run(Model(config, full), tokens), expected, rtol=1e-11, atol=1e-11)


def test_rule_3_third_party_form():
    n, shared, routed, width = 8, 2, 2, 6
    routing = Routing(
        n, shared, routed, gate="softmax", scaling="n_times_mass", fusion="block_diagonal", balance="switch",
        balance_coefficient=0.01, axis="ffn_inner",
    )
    config = config_of(routing, num_hidden_layers=1)
    assert "model.layers.0.mlp.gate_proj.weight" not in config.tensor_shapes()  # no GLU
    assert config.tensor_shapes()["model.layers.0.mlp.fusion.bias"] == (48,)
    model = Model(config, random_weights(config))
    x = np.random.default_rng(9).standard_normal((5, 32))
    model.balance = []
    out = model._mlp(x, 0)
    w = {k.removeprefix("model.layers.0.mlp."): v for k, v in model.weights.items()}
    norm = model.weights["model.layers.0.post_attention_layernorm.weight"]
    loss, counts, mean = 0.0, np.zeros(n), np.zeros(n)
    for t in range(5):  # the module's own words: masked intermediate, N * sum(kept scores), block mixing + bias, SiLU
        h = x[t] / np.sqrt((x[t] ** 2).mean() + 1e-5) * norm
        s = np.exp(w["router.weight"] @ h)
        s /= s.sum()
        keep = [0, 1, *(2 + np.argsort(-s[2:])[:2])]
        inner = (w["up_proj.weight"] @ h).reshape(n, width)
        inner = np.array([s[i] * inner[i] if i in keep else 0 * inner[i] for i in range(n)]) * n * s[keep].sum()
        mixed = np.concatenate([w["fusion.right"][i] @ inner[i] for i in range(n)]) + w["fusion.bias"]
        np.testing.assert_allclose(out[t], w["down_proj.weight"] @ (mixed / (1 + np.exp(-mixed))), rtol=1e-10)
        counts[keep[2:]] += 1
        mean += s / 5
    loss = 0.01 * (n - shared) * sum(counts[i] / 5 * mean[i] for i in range(shared, n))
    assert model.balance == [pytest.approx(loss)]


def test_rule_4_scaling_commutes_with_linear_maps_only():
    x, indices, gates, _ = routing_of(17, 16, 6, 2, 4)
    rng = np.random.default_rng(10)
    w, right, left = (rng.standard_normal(s) for s in ((16, 4, 9), (16, 4, 4), (4, 16, 16)))
    scale = lambda a: ops.scale(a, indices, gates, 16, "sqrt_nk_over_mass")
    before, after = (lambda f: f(scale(x))), (lambda f: scale(f(x)))
    for linear in (
        lambda a: ops.spmm(a, indices, gates, w),
        lambda a: ops.linear(a, w.reshape(64, 9)),
        lambda a: ops.gate(a, indices, gates, 16),
        lambda a: ops.sddmm(a, indices, w.reshape(16, 36)[:, :, None].repeat(64, 2).transpose(0, 2, 1)),
        lambda a: ops.group_fusion(a, "monarch", right, left),
        lambda a: ops.rope(a, np.arange(17), 8),
    ):
        np.testing.assert_allclose(before(linear), after(linear), rtol=1e-9, atol=1e-9)
    scores = lambda a: ops.softmax(a @ x.T)
    for other in (ops.silu, scores, lambda a: ops.rms_norm(a, np.ones(64))):
        assert not np.allclose(before(other), after(other), rtol=1e-2, atol=1e-2)
