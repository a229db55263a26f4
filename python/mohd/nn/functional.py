# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The operations of a routed sub-layer in plain PyTorch: docs/semantics.md written down, for any float type.

Sparse parts are computed densely and masked: the point is to be readable and differentiable, not fast. Inactive groups
are left out by `where`, not by a product with zero, so that a NaN or an infinity stays in its row. `mohd.ops` has
the same functions compiled. Shapes: T tokens, D routed width in N groups of d_e, K active groups, E inner width;
`routing` is a `mohd.config.Routing`. Indices are int32 [T, K] in ascending order; gates are [T, K] and contain the
activation scaling. Norms, routers and gates are float32 for 16-bit types and under autocast, else of the input's type.
"""

import contextlib
import math

import torch
import torch.nn.functional as F


def plain(x):
    """A context without autocast on the device of x."""
    enabled = torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if enabled else contextlib.nullcontext()


def widened(x):
    """x, or its float32 copy if it has 16 bits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def active_mask(indices, num_groups, width=1):
    """Whether each of N * width dims belongs to an active group, bool [T, N * width]."""
    mask = torch.zeros(indices.shape[0], num_groups, dtype=torch.bool, device=indices.device)
    return mask.scatter(1, indices.long(), True).repeat_interleave(width, 1)


def gate_groups(x, indices, gates, num_groups):
    """x [T, D] times its group's gate in active groups, 0 in the others."""
    width = x.shape[1] // num_groups
    full = gates.new_zeros(x.shape[0], num_groups).scatter(1, indices.long(), gates)
    return torch.where(active_mask(indices, num_groups, width), x * full.repeat_interleave(width, 1), 0.0)


def rms_norm(x, weight, eps, mask=None):
    """x / rms(x) * weight for x [T, D], the mean square over all dims or over those of `mask` [T, D]."""
    with plain(x):
        x = widened(x)
        square = x.square()
        if mask is None:
            mean = square.mean(-1, keepdim=True)
        else:
            mean = torch.where(mask, square, 0.0).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
        return x * torch.rsqrt(mean + eps) * weight


def select(logits, routing):
    """The active set int32 [T, K]: shared groups, then the K_r largest logits [T, N] of the rest, by index.

    Equal logits: lowest index first. A token with a NaN anywhere takes its lowest-index routed groups.
    """
    shared = routing.num_shared
    ranked = logits.detach().masked_fill(logits.isnan().any(-1, keepdim=True), 0.0)[:, shared:]
    order = torch.sort(ranked, dim=-1, descending=True, stable=True).indices[:, : routing.num_routed] + shared
    first = torch.arange(shared, device=logits.device).expand(logits.shape[0], shared)
    return torch.cat([first, order.sort(-1).values], 1).int()


def scores_of(logits, routing):
    """Scores s [T, N] of the router's logits."""
    if routing.score == "softmax_all":
        return logits.softmax(-1)
    if routing.score == "sigmoid":
        return logits.sigmoid()
    shared, routed = logits[:, : routing.num_shared], logits[:, routing.num_shared :]
    return torch.cat([torch.ones_like(shared), routed.softmax(-1)], -1)


def gates_of(scores, indices, routing):
    """Gates g [T, K] of the active groups, before scaling."""
    chosen = scores.gather(1, indices.long())
    if routing.gate == "softmax":
        return chosen
    if routing.gate == "binary" or routing.num_routed == 0:
        return torch.ones_like(chosen)
    shared, routed = chosen[:, : routing.num_shared], chosen[:, routing.num_shared :]
    if routing.gate == "renormalized":
        routed = routing.num_routed * routed / routed.sum(-1, keepdim=True)
    return torch.cat([torch.ones_like(shared), routed], 1)


def scaling_of(gates, routing):
    """The tokens' activation scaling a [T, 1]."""
    n, k, mass = routing.num_groups, routing.num_active, gates.sum(-1, keepdim=True)
    return {
        "sqrt_nk_over_mass": lambda: math.sqrt(n * k) / mass,
        "n_times_mass": lambda: n * mass,
        "k_over_mass": lambda: k / mass,
        "sqrt_n_over_k": lambda: torch.full_like(mass, math.sqrt(n / k)),
        "n_over_k": lambda: torch.full_like(mass, n / k),
        "none": lambda: torch.ones_like(mass),
    }[routing.scaling]()


def router_logits(normed, centroids):
    """The router's logits [T, N] of the normed input [T, D], by centroids [N, D]."""
    with plain(normed):
        return F.linear(widened(normed), widened(centroids))


def route(normed, centroids, routing):
    """(indices [T, K], gates [T, K], scores [T, N]) of normed [T, D]; centroids [N, D], None if nothing needs scores."""
    if centroids is None:
        scores = widened(normed).new_ones(normed.shape[0], routing.num_groups)
        indices = torch.arange(routing.num_shared, dtype=torch.int32, device=normed.device).repeat(normed.shape[0], 1)
    else:
        logits = router_logits(normed, centroids)
        scores, indices = scores_of(logits, routing), select(logits, routing)
    gates = gates_of(scores, indices, routing)
    return indices, gates * scaling_of(gates, routing), scores


def linear(x, weight):
    """x [T, I] times the transpose of weight [O, I], in the weight's type or autocast's."""
    return F.linear(x.to(weight.dtype), weight)


def spmm(x, indices, gates, weight, num_groups):
    """The gated active groups of x [T, D] times weight [E, D]: [T, E]."""
    return linear(gate_groups(x, indices, gates, num_groups), weight)


def sddmm(z, indices, weight, num_groups):
    """z [T, E] times weight [D, E] in active groups, 0 in the others: [T, D]."""
    return torch.where(active_mask(indices, num_groups, weight.shape[0] // num_groups), linear(z, weight), 0.0)


def group_fusion(o, kind, right=None, left=None, bias=None, indices=None):
    """Mixes o [T, D] within each group by right [N, d_e, d_e], then across groups by left [d_e, N, N], adds bias [D].

    `kind` is `monarch` (right and left), `block_diagonal` (right) or `none`. With `indices` [T, K] the groups that
    are not in it count as 0.
    """
    if kind == "none":
        return o
    n, width, _ = right.shape
    if indices is not None:
        o = torch.where(active_mask(indices, n, width), o, 0.0)
    y = torch.einsum("tkp,kjp->tkj", o.to(right.dtype).unflatten(-1, (n, width)), right)
    if kind == "monarch":
        y = torch.einsum("tkj,jsk->tsj", y, left)
    y = y.flatten(1)
    return y if bias is None else y + bias.to(y.dtype)


def balance_loss(scores, indices, routing):
    """The balance loss, a scalar, of one router's scores [T, N] and indices [T, K]; no gradient through the counts."""
    routed, tokens = routing.num_groups - routing.num_shared, scores.shape[0]
    if routing.balance == "none" or routing.num_routed == 0 or tokens == 0:
        return scores.new_zeros(())
    count = active_mask(indices, routing.num_groups).sum(0)[routing.num_shared :].to(scores.dtype)
    share = routed / (tokens * (routing.num_routed if routing.balance == "deepseek" else 1)) * count
    return routing.balance_coefficient * (share * scores[:, routing.num_shared :].mean(0)).sum()


def routed_projections(x, norm_weight, eps, centroids, weights, routing):
    """Norm, router and contraction-side projections of a sub-layer's input x [T, D] by `weights`, each [E_i, D].

    Returns (the tuple of [T, E_i], indices, gates, scores).
    """
    normed = rms_norm(x, norm_weight, eps)
    indices, gates, scores = route(normed, centroids, routing)
    n = routing.num_groups
    if routing.norm_stat == "active":
        normed = rms_norm(x, norm_weight, eps, active_mask(indices, n, x.shape[1] // n))
    return tuple(spmm(normed, indices, gates, weight, n) for weight in weights), indices, gates, scores


def routed_output(residual, z, indices, weight, right, left, routing):
    """residual [T, D] plus the fused output-side projection of z [T, E] by weight [D, E]; [T, D]."""
    out = sddmm(z, indices, weight, routing.num_groups)
    return residual + group_fusion(out, routing.fusion, right, left, indices=indices)


def swiglu(gate, up):
    """silu(gate) * up, both [T, E]."""
    return F.silu(gate) * up
