# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every op of backward functions in float64 NumPy, as `mohd.reference` has the others: shapes and routings are as there.

`grad` is the gradient of the result of the op that a function is named after. docs/differentiation.md has the formulas.
"""

import numpy as np

from mohd.reference import gates_of, grouped, scaling_of, silu, tokens_of, wide


def permute_weight(weight, permutation):
    """`weight` with dimension i being dimension permutation[i] of what is given."""
    return np.transpose(wide(weight), permutation)


def weight_gradient(rows, columns, groups=1, indices=None, permutation=(0, 1, 2), local=False):
    """w [groups, P, C] with its dimensions permuted: sum over the tokens that have group i of rows[:, i]^T . columns (of group i if `local`).

    `rows` is [T, groups*P], `columns` [T, C] or [T, groups*C]; without `indices` [T, K] every token has every group.
    """
    x, y = grouped(rows, groups), grouped(columns, groups if local else 1)
    out = np.zeros((groups, x.shape[2], y.shape[2]))
    for group in range(groups):
        token = np.arange(len(x)) if indices is None else tokens_of(indices, group)[0]
        with np.errstate(invalid="ignore", over="ignore"):
            out[group] = np.einsum("tp,tc->pc", x[token, group], y[token, group if local else 0])
    return np.transpose(out, permutation)


def unit_gates(indices, gates):
    """The active sets with all gates 1."""
    return indices, np.ones(np.shape(gates))


def gather_groups(x, indices, num_groups):
    """The active groups of x [T, D] side by side: [T, K * d_e]."""
    tokens, active = indices.shape
    width = x.shape[1] // num_groups
    groups = wide(x).reshape(tokens, num_groups, width)
    return np.take_along_axis(groups, np.asarray(indices)[:, :, None], 1).reshape(tokens, active * width)


def scatter_groups(x, indices, num_groups):
    """The active groups of x [T, K * d_e] in their places, 0 elsewhere: [T, D]."""
    tokens, active = indices.shape
    width = x.shape[1] // active
    placed = np.zeros((tokens, num_groups, width))
    np.put_along_axis(placed, np.asarray(indices)[:, :, None], wide(x).reshape(tokens, active, width), 1)
    return placed.reshape(tokens, num_groups * width)


def gate_gradient(input, grad, indices, num_groups):
    """Gradient of the gates [T, K] of gated input [T, W]."""
    token = np.arange(len(input))[:, None]
    return (grouped(input, num_groups)[token, indices] * grouped(grad, num_groups)[token, indices]).sum(-1)


def scaling_slope(gates, num_groups, scaling):
    """The derivative [T] of the activation scaling by the mass of gates [T, K]; None where it is 0."""
    n, k, mass = num_groups, gates.shape[1], wide(gates).sum(-1)
    if scaling == "sqrt_nk_over_mass":
        return -np.sqrt(n * k) / mass**2
    if scaling == "k_over_mass":
        return -k / mass**2
    return np.full(len(gates), float(n)) if scaling == "n_times_mass" else None


def scale_gradient(input, grad, gates, num_groups, scaling):
    """Gradient of the gates [T, K] of scaled input [T, W]."""
    slope, out = scaling_slope(gates, num_groups, scaling), np.zeros(gates.shape)
    if slope is not None:
        out[:] = (slope * (wide(input) * wide(grad)).sum(-1))[:, None]
    return out


def route_gradient(scores, indices, num_shared, gates_grad=None, scores_grad=None, gate="softmax", score="softmax_all", scaling="none"):
    """Gradient of the logits [T, N] of a routing from those of its gates [T, K] and scores [T, N]."""
    s, (tokens, active) = wide(scores), indices.shape
    ds = np.zeros(s.shape) if scores_grad is None else wide(scores_grad).copy()
    if gates_grad is not None and gate != "binary" and (gate != "renormalized" or active > num_shared):
        unscaled = gates_of(s, indices, num_shared, gate)
        given, slope = wide(gates_grad), scaling_slope(unscaled, s.shape[1], scaling)
        dg = scaling_of(unscaled, s.shape[1], scaling)[:, None] * given
        if slope is not None:
            dg = dg + (slope * (given * unscaled).sum(-1))[:, None]
        first = 0 if gate == "softmax" else num_shared
        dg, slots = dg[:, first:], indices[:, first:]
        if gate == "renormalized":
            chosen = np.take_along_axis(s, slots, -1)
            mass = chosen.sum(-1, keepdims=True)
            dg = (active - num_shared) / mass * (dg - (dg * chosen).sum(-1, keepdims=True) / mass)
        ds[np.arange(tokens)[:, None], slots] += dg
    if score == "sigmoid":
        return s * (1 - s) * ds
    out, first = np.zeros(s.shape), num_shared if score == "softmax_routed" else 0
    s, ds = s[:, first:], ds[:, first:]
    out[:, first:] = s * (ds - (ds * s).sum(-1, keepdims=True))
    return out


def balance_loss_gradient(grad, indices, num_groups, num_shared, kind="deepseek", coefficient=0.01):
    """Gradient of the scores [T, N] from that of the loss, a scalar."""
    tokens, num_routed = len(indices), indices.shape[1] - num_shared
    out = np.zeros((tokens, num_groups))
    if kind != "none" and tokens and num_routed:
        count = np.bincount(indices[:, num_shared:].reshape(-1), minlength=num_groups)[num_shared:]
        share = {"deepseek": (num_groups - num_shared) / num_routed, "switch": num_groups - num_shared}[kind] * count / tokens
        out[:, num_shared:] = wide(grad) * coefficient * share / tokens
    return out


def rms_norm_gradient(input, weight, grad, epsilon=1e-5, indices=None, num_groups=1):
    """Gradient of the input [T, W] of an RMS norm, and its factors [T]; the mean over active groups only if `indices` [T, K] is given."""
    x = grouped(input, num_groups)
    counts = np.ones(x.shape[:2], bool) if indices is None else (indices[:, :, None] == np.arange(num_groups)).any(1)
    counted = counts.sum(-1) * x.shape[2]
    squares = np.where(counts[:, :, None], np.square(x), 0.0).sum((1, 2))
    factors = 1.0 / np.sqrt(squares / counted + epsilon)
    weighted = grouped(wide(weight) * wide(grad), num_groups)
    share = factors**3 / counted * (weighted * x).sum((1, 2))
    out = factors[:, None, None] * weighted - np.where(counts[:, :, None], x * share[:, None, None], 0.0)
    return out.reshape(input.shape), factors


def column_sums(grad, input=None, factors=None):
    """Sum over tokens of grad [T, W], of its products with input [T, W] and factors [T] where they are given."""
    product = wide(grad)
    if input is not None:
        product = product * wide(input)
    if factors is not None:
        product = product * wide(factors)[:, None]
    return product.sum(0)


def silu_slope(x):
    """The derivative of silu, 0 at -Inf."""
    sigmoid = 1.0 / (1.0 + np.exp(-wide(x)))
    return np.where(np.isneginf(x), 0.0, sigmoid * (1.0 + x * (1.0 - sigmoid)))


def silu_gradient(input, grad):
    """Gradient of the input of silu."""
    return wide(grad) * silu_slope(input)


def swiglu_gradient(gate, up, grad):
    """Gradients of both inputs of a gated unit."""
    return wide(up) * wide(grad) * silu_slope(gate), silu(gate) * wide(grad)


def fusion_mix(input, left):
    """The left factor [l, s, r] of a Monarch fusion alone, of input [T, r*l] -> [T, s*l]."""
    l, s, r = left.shape
    return np.einsum("trl,lsr->tsl", grouped(input, r), wide(left)).reshape(len(input), s * l)


def fusion_mix_gradient(input, grad, shape):
    """Gradient of the left factor, of `shape` [l, s, r], from input [T, r*l] and grad [T, s*l]."""
    _, s, r = shape
    return np.einsum("tsl,trl->lsr", grouped(grad, s), grouped(input, r))


def embed_gradient(ids, grad, rows):
    """Gradient of a table [rows, W] whose rows ids[t] were picked."""
    out = np.zeros((rows, grad.shape[1]))
    np.add.at(out, ids, wide(grad))
    return out


def kv_cache_append_gradient(grad, position, sequence=None, layer=0):
    """(`grad` [layers, B, S, W] with zeros at the tokens' places, in place, and what was there [T, W])."""
    sequence = np.arange(len(position)) if sequence is None else sequence
    rows = wide(grad[layer, sequence, position])
    grad[layer, sequence, position] = 0
    return grad, rows


def attended(query, keys, values, grad, position, sequence, layer, head_dim):
    """For each token and query head: (token, head, its columns; its rows and columns of a cache; scores and grad . values of these rows)."""
    for t, seq in enumerate(np.arange(len(query)) if sequence is None else sequence):
        ratio = query.shape[1] // keys.shape[3]
        for head in range(query.shape[1] // head_dim):
            columns, of_kv = (slice(i * head_dim, (i + 1) * head_dim) for i in (head, head // ratio))
            rows = (layer, seq, slice(position[t] + 1), of_kv)
            yield t, head, columns, rows, wide(keys[rows]) @ wide(query[t, columns]) / np.sqrt(head_dim), wide(values[rows]) @ wide(grad[t, columns])


def attention_gradient(query, keys, values, grad, position, sequence=None, layer=0, head_dim=None):
    """Gradient of the queries [T, heads*head_dim] of an attention; largest score, mass and delta of each head [T, 3*heads]."""
    out, statistics = np.zeros(query.shape), np.zeros((len(query), 3 * query.shape[1] // head_dim))
    for t, head, columns, rows, scores, products in attended(query, keys, values, grad, position, sequence, layer, head_dim):
        largest = np.fmax.reduce(scores, initial=-np.inf)
        powers = np.exp(scores - largest)
        weights = powers / powers.sum()
        delta = (weights * products).sum()
        out[t, columns] = (weights * (products - delta)) @ wide(keys[rows]) / np.sqrt(head_dim)
        statistics[t, 3 * head : 3 * head + 3] = largest, powers.sum(), delta
    return out, statistics


def attention_cache_gradient(into, query, keys, values, grad, statistics, position, sequence=None, layer=0, head_dim=None, of_values=False):
    """Adds the gradient of the keys of an attention, or of its values, to `into` [layers, B, S, kv_heads*head_dim], in place."""
    for t, head, columns, rows, scores, products in attended(query, keys, values, grad, position, sequence, layer, head_dim):
        largest, mass, delta = statistics[t, 3 * head : 3 * head + 3]
        factors = np.exp(scores - largest) / mass
        if not of_values:
            factors = factors * (products - delta) / np.sqrt(head_dim)
        into[rows] += np.outer(factors, wide((grad if of_values else query)[t, columns]))
    return into
