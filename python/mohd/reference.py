# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every op of the mohd dialect in float64 NumPy: the oracle that the compiler's lowerings are compared with.

Plain and slow. Shapes: T tokens, N groups, K active groups, d_e = width / N. A routing is the pair (`indices` [T, K],
ascending, and `gates` [T, K]); weights have the layout of the dialect's ops. docs/semantics.md has the formulas.
Inputs of any float type are widened to float64 first; only active groups are read, so that an infinity in a weight
of an inactive group does no harm.
"""

import numpy as np


def wide(array):
    """`array` as float64."""
    return np.asarray(array, dtype=np.float64)


def grouped(input, n):
    """input [T, W] in float64, viewed as [T, n, W / n]."""
    x = wide(input)
    return x.reshape(len(x), n, x.shape[1] // n)


def softmax(x):
    """Softmax over the last axis; an empty axis stays empty, and a NaN stays in its row."""
    if x.shape[-1] == 0:
        return x
    with np.errstate(invalid="ignore", over="ignore"):
        power = np.exp(x - x.max(-1, keepdims=True))
        return power / power.sum(-1, keepdims=True)


def select(logits, num_shared, num_routed):
    """The active set [T, K], ascending: groups below K_s and the K_r largest logits [T, N] of the rest.

    Equal logits: lowest index first. A token with a NaN anywhere takes its lowest-index routed groups.
    """
    logits = wide(logits)
    ranked = np.where(np.isnan(logits).any(-1, keepdims=True), 0.0, logits)[:, num_shared:]
    routed = np.argsort(-ranked, axis=-1, kind="stable")[:, :num_routed] + num_shared
    shared = np.broadcast_to(np.arange(num_shared), (len(logits), num_shared))
    return np.concatenate([shared, np.sort(routed, -1)], -1).astype(np.int64)


def scores_of(logits, num_shared, score="softmax_all"):
    """Scores s [T, N] of logits [T, N]."""
    logits = wide(logits)
    if score == "softmax_all":
        return softmax(logits)
    if score == "sigmoid":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-logits))
    assert score == "softmax_routed", score
    return np.concatenate([np.ones((len(logits), num_shared)), softmax(logits[:, num_shared:])], -1)


def gates_of(scores, indices, num_shared, gate="softmax"):
    """Gates [T, K] of the active set `indices` [T, K] from scores [T, N]."""
    chosen = np.take_along_axis(wide(scores), indices, -1)
    if gate == "softmax":
        return chosen
    out = np.ones_like(chosen)
    routed = chosen[:, num_shared:]
    if gate == "shared_one":
        out[:, num_shared:] = routed
    elif gate == "renormalized" and routed.shape[1]:
        with np.errstate(invalid="ignore"):
            out[:, num_shared:] = routed.shape[1] * routed / routed.sum(-1, keepdims=True)
    else:
        assert gate in ("binary", "renormalized"), gate
    return out


def scaling_of(gates, num_groups, scaling="sqrt_nk_over_mass"):
    """The activation scaling a [T] of gates [T, K]."""
    gates = wide(gates)
    n, k, mass = num_groups, gates.shape[1], gates.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scaling == "sqrt_nk_over_mass":
            return np.sqrt(n * k) / mass
        if scaling == "n_times_mass":
            return n * mass
        if scaling == "k_over_mass":
            return k / mass
    constant = {"sqrt_n_over_k": np.sqrt(n / k), "n_over_k": n / k, "none": 1.0}
    return np.full(len(gates), constant[scaling])


def route(input, centroids, num_groups, num_shared, num_routed, gate="softmax", score="softmax_all", scaling="none"):
    """(indices [T, K], gates [T, K], scores [T, N]) of normalised tokens [T, D] and centroids [N, D] (or None).

    With a `scaling` other than none the gates are already multiplied by it.
    """
    if gate == "shared_one" and scaling == "n_times_mass":
        raise ValueError("expects a scaling other than n_times_mass with gate shared_one")
    if centroids is None:
        if num_routed or gate == "softmax":
            raise ValueError("expects centroids, as the routing depends on scores")
        indices = np.broadcast_to(np.arange(num_shared), (len(input), num_shared)).astype(np.int64)
        s = np.ones((len(input), num_groups))
    else:
        with np.errstate(invalid="ignore"):
            logits = wide(input) @ wide(centroids).T
        indices, s = select(logits, num_shared, num_routed), scores_of(logits, num_shared, score)
    g = gates_of(s, indices, num_shared, gate)
    return indices, g * scaling_of(g, num_groups, scaling)[:, None], s


def scale(input, indices, gates, num_groups, scaling="sqrt_nk_over_mass"):
    """Each token of input [T, W] times its activation scaling; `indices` [T, K] only has the right shape."""
    assert indices.shape == gates.shape
    return wide(input) * scaling_of(gates, num_groups, scaling)[:, None]


def tokens_of(indices, group):
    """(tokens, slots): where `group` is active."""
    return np.nonzero(indices == group)


def gate(input, indices, gates, num_groups):
    """Active groups of input [T, W] times their gates, 0 elsewhere."""
    x = grouped(input, num_groups)
    out, token = np.zeros_like(x), np.arange(len(x))[:, None]
    out[token, indices] = wide(gates)[:, :, None] * x[token, indices]
    return out.reshape(input.shape)


def spmm(input, indices, gates, weight):
    """Contraction side: sum over active groups i of gates_i * input[:, i] . weight[i]; weight [N, d_e, E] -> [T, E]."""
    n, _, width = weight.shape
    x, w, out = grouped(input, n), wide(weight), np.zeros((len(input), width))
    for group in range(n):
        token, slot = tokens_of(indices, group)
        with np.errstate(invalid="ignore"):
            out[token] += (wide(gates)[token, slot][:, None] * x[token, group]) @ w[group]
    return out


def sddmm(input, indices, weight):
    """Output side: group j of the result is input [T, E] . weight[j] where active, 0 elsewhere; weight [N, E, d_e]."""
    n, _, width = weight.shape
    x, w, out = wide(input), wide(weight), np.zeros((len(input), n, width))
    for group in range(n):
        token, _ = tokens_of(indices, group)
        with np.errstate(invalid="ignore"):
            out[token, group] = x[token] @ w[group]
    return out.reshape(len(input), n * width)


def group_fusion(input, kind="monarch", right=None, left=None, bias=None):
    """Mixes groups of input [T, k*p]: right [k, q, p]; for monarch also left [l, s, r] with l*r = k*q -> [T, l*s]."""
    x = wide(input)
    if kind == "none":
        return x
    right = wide(right)
    k, q, p = right.shape
    u = np.einsum("tkp,kqp->tkq", grouped(x, k), right).reshape(len(x), k * q)
    if kind == "block_diagonal":
        return u if bias is None else u + wide(bias)
    assert kind == "monarch" and bias is None, kind
    left = wide(left)
    l, s, r = left.shape
    # u is read as [r, l]: place r*L + l
    return np.einsum("trl,lsr->tsl", u.reshape(len(x), r, l), left).reshape(len(x), s * l)


def balance_loss(scores, indices, num_shared, kind="deepseek", coefficient=0.01):
    """The router's balance loss, a scalar, of scores [T, N] and active sets [T, K]."""
    tokens, n = scores.shape
    num_routed, routed = indices.shape[1] - num_shared, n - num_shared
    if kind == "none" or tokens == 0 or num_routed == 0:
        return np.float64(0.0)
    count = np.bincount(indices[:, num_shared:].reshape(-1), minlength=n)[num_shared:]
    share = {"deepseek": routed / (num_routed * tokens), "switch": routed / tokens}[kind] * count
    return coefficient * np.sum(share * wide(scores)[:, num_shared:].mean(0))


def rms_norm(input, weight, epsilon=1e-5, indices=None, num_groups=None):
    """input / sqrt(mean square + epsilon) * weight; the mean over the active groups only if `indices` [T, K] is given."""
    x = wide(input)
    counted = x[:, None]
    if indices is not None:
        counted = np.take_along_axis(grouped(x, num_groups), indices[:, :, None], 1)
    with np.errstate(invalid="ignore", over="ignore"):
        return x / np.sqrt(np.square(counted).mean((1, 2))[:, None] + epsilon) * wide(weight)


def rope(input, position, head_dim, theta=10000.0):
    """Rotary embedding of input [T, heads*head_dim] at position [T]: pairs (j, j + head_dim/2) within each head."""
    half = head_dim // 2
    angle = wide(position)[:, None] * theta ** (-2.0 * np.arange(half) / head_dim)  # [T, half]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x = wide(input).reshape(len(input), input.shape[1] // head_dim, 2, half)
    low, high = x[:, :, 0], x[:, :, 1]
    return np.stack([low * cos - high * sin, high * cos + low * sin], 2).reshape(input.shape)


def kv_cache_append(cache, rows, position, sequence=None, layer=0):
    """Writes rows [T, W] at cache[layer, sequence, position], in place; the cache is [layers, B, S, W]."""
    sequence = np.arange(len(rows)) if sequence is None else sequence
    cache[layer, sequence, position] = rows
    return cache


def attention(query, keys, values, position, sequence=None, layer=0, head_dim=None):
    """Causal attention of query [T, heads*head_dim] over rows 0..position of its sequence in the caches."""
    sequence = np.arange(len(query)) if sequence is None else sequence
    q = grouped(query, query.shape[1] // head_dim)
    kv_heads = keys.shape[-1] // head_dim
    out = np.zeros_like(q)
    for t, (seq, pos) in enumerate(zip(sequence, position)):
        k = wide(keys[layer, seq, : pos + 1]).reshape(pos + 1, kv_heads, head_dim)
        v = wide(values[layer, seq, : pos + 1]).reshape(pos + 1, kv_heads, head_dim)
        each = q.shape[1] // kv_heads
        for head in range(q.shape[1]):
            with np.errstate(invalid="ignore"):
                weights = softmax(k[:, head // each] @ q[t, head] / np.sqrt(head_dim))
                out[t, head] = weights @ v[:, head // each]
    return out.reshape(query.shape)


def silu(input):
    """x / (1 + exp(-x)), with silu(-Inf) = 0."""
    x = wide(input)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isneginf(x), 0.0, x / (1.0 + np.exp(-x)))


def swiglu(gate, up):
    """silu(gate) * up."""
    with np.errstate(invalid="ignore"):
        return silu(gate) * wide(up)


def linear(input, weight):
    """input [T, D] . weight [D, E]."""
    with np.errstate(invalid="ignore"):
        return wide(input) @ wide(weight)


def embed(ids, table):
    """Row ids[t] of table [V, W] for each t."""
    return wide(table)[np.asarray(ids)]


def add(lhs, rhs):
    """lhs + rhs."""
    with np.errstate(invalid="ignore"):
        return wide(lhs) + wide(rhs)


def sample(logits, temperature, top_k, top_p, draw):
    """A token for each row of logits [T, V] (semantics.md, sampling); the other arguments are [T], `draw` in [0, 1). -1 where no token can be chosen."""
    return np.array([sample_row(np.asarray(row, np.float64), *settings)
                     for row, *settings in zip(logits, temperature, top_k, top_p, draw)], np.int32).reshape(len(logits))


def sample_row(row, temperature, top_k, top_p, draw):
    """`sample` of one row."""
    if np.isnan(row).any() or np.isinf(row.max()):
        return -1
    order = np.argsort(-row, kind="stable")
    if not temperature > 0:
        return order[0]
    with np.errstate(over="ignore", invalid="ignore"):
        weights = np.where(np.isneginf(row), 0.0, np.exp((row - row.max()) / temperature))
    kept = order[:top_k] if top_k >= 1 else order
    if not top_p >= 1:
        sums = np.cumsum(weights[kept])
        kept = kept[:np.searchsorted(sums, top_p * sums[-1]) + 1] if top_p > 0 else kept[:1]
    kept = np.sort(kept)
    sums = np.cumsum(weights[kept])
    chosen = np.searchsorted(sums, max(draw, 0.0) * sums[-1], side="right")
    return kept[min(chosen, np.flatnonzero(weights[kept])[-1])]
