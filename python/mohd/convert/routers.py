# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Centroids for the routers of a converted model.

They are set in one pass over the calibration tokens: each sub-layer's when its input is known, so that it sees what the routed sub-layers
before it make of the tokens. Shapes: T tokens, D dims, N groups.
"""

import dataclasses

import numpy as np
import torch

from mohd import reference
from mohd.analyze.stream import PARTS, sub_layer
from mohd.convert.calibrate import shares
from mohd.convert.layout import generator
from mohd.nn import functional

NORMS = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""What is tried for the ridge, as a share of the mean energy of a dim."""


def check_factors(routing, expand):
    """Refuses a gate and scaling that change groups whose scores are all equal, with all groups active or, in a wider model, with K."""
    everything = dataclasses.replace(routing, num_routed=routing.num_groups - routing.num_shared)
    for r in [everything] + [routing] * (expand > 1):
        n = r.num_groups
        with np.errstate(all="ignore"):
            _, gates, _ = reference.route(np.zeros((1, 1)), np.zeros((n, 1)), n, r.num_shared, r.num_routed, r.gate, r.score, r.scaling)
        if not np.allclose(gates, 1, rtol=1e-12, atol=0):
            raise ValueError(
                f"expects a gate and a scaling that leave groups of equal scores as they are, as else the dense model is not reproduced with "
                f"{r.num_active} of {n} groups active, got gate {r.gate} with scaling {r.scaling}, which multiply by {gates.min():.4g} to {gates.max():.4g}"
            )


def has_choice(routing):
    """Whether a router decides anything."""
    return 0 < routing.num_routed < routing.num_groups - routing.num_shared


def captured(rank, share, routing):
    """Mean over tokens of the share [T, N] that the shared groups and the K_r routed ones of highest `rank` [T, N - K_s] have."""
    routed = share[:, routing.num_shared :]
    chosen = rank.topk(routing.num_routed, -1).indices
    return float((share[:, : routing.num_shared].sum(-1) + routed.gather(1, chosen).sum(-1)).mean())


def fitted(normed, share, routing):
    """Centroids [N, D] float64 whose logits of normed inputs [T, D] are the best linear guess at the routed groups' shares [T, N].

    Ridge regression; the ridge is the one of RIDGES that captures most on the last quarter of the tokens, which the fit does not see.
    """
    cut = len(normed) * 3 // 4
    shared = routing.num_shared
    wanted = share[:, shared:] - share[:, shared:].mean(-1, keepdim=True)
    inputs, last = normed[:cut], normed[cut:]
    values, vectors = torch.linalg.eigh(inputs.T @ inputs)
    target = vectors.T @ (inputs.T @ wanted[:cut])
    tried = [vectors @ (target / (values.clamp(min=0) + ridge * values.mean() + 1e-30)[:, None]) for ridge in RIDGES]
    best = max(tried, key=lambda solution: captured(last @ solution, share[cut:], routing))
    return torch.cat([best.new_zeros(shared, best.shape[0]), best.T])


def directions(routing, width, together, seed):
    """Centroids [N, D] float64: a random direction for each `together` routed groups, the directions adding up to 0; 0 for groups that are left over."""
    count = (routing.num_groups - routing.num_shared) // together
    drawn = torch.randn(count, width, generator=generator(seed), dtype=torch.float64)
    drawn -= drawn.mean(0)
    out = torch.zeros(routing.num_groups, width, dtype=torch.float64)
    out[routing.num_shared : routing.num_shared + count * together] = drawn.repeat_interleave(together, 0)
    return out


def whitened(centroids, normed):
    """Centroids whose logits of normed inputs [T, D] have mean 0 and are as independent as may be, so that no group is the favourite of all tokens."""
    mean = normed.mean(0)
    values, vectors = torch.linalg.eigh((normed - mean).T @ (normed - mean) / len(normed))
    floor = values.mean() * 0.1
    out = centroids @ (vectors * (values.clamp(min=0) + floor).rsqrt()) @ vectors.T
    return out - (out @ mean)[:, None] * mean / (mean @ mean + 1e-30)


def of_spread(centroids, normed, routing, spread):
    """Centroids so scaled that a token's logits of the routed groups have about the standard deviation `spread`; zeros stay zeros.

    Without normed inputs (None) these count as independent and of size 1.
    """
    routed = centroids[routing.num_shared :]
    if normed is None:
        size = routed.square().sum(-1).mean().sqrt()
    else:
        logits = normed @ routed.T
        size = (logits - logits.mean(-1, keepdim=True)).square().mean().sqrt()
    return centroids * (spread / size) if size > 0 else centroids


def sub_layers(model):
    """(name, sub-layer, its norm) of every attention and FFN in the order of the computation."""
    for i, layer in enumerate(model.model.layers):
        for part in PARTS:
            yield f"model.layers.{i}.{part}", getattr(layer, part), getattr(layer, NORMS[part])


def walk(model, tokens, look):
    """Runs tokens [sequences, length] through the layers; before each sub-layer `look(name, part, norm, x, state)` sees its input x [T, D]."""
    x = model.model.embed_tokens(tokens.flatten())
    for name, part, norm in sub_layers(model):
        state = (tokens.shape[1], None) if name.endswith("self_attn") else ()
        look(name, part, norm, x, state)
        x = part(x, norm, *state)[0]


def contributions(dense, name, x, state, groups):
    """(normed input [T, D], the groups' contributions [T, N]), float64, of the dense model's sub-layer `name` on x [T, D].

    A contribution is the mean of two shares: that of what the projections read, which is the energy of the normed input times that of the
    weights' columns, and that of what the sub-layer writes, the energy of its output. A token's add up to 1.
    """
    _, layer, part = name.rsplit(".", 2)
    layer = dense.model.layers[int(layer)]
    module = getattr(layer, part)
    normed, _, output, _ = sub_layer(module, x, getattr(layer, NORMS[part]), *state)
    columns = sum(getattr(module, reader).weight.double().square().sum(0) for reader in module.inputs)
    grouped = lambda energy: energy.unflatten(1, (groups, -1)).sum(-1)
    read, written = grouped(normed.double().square() * columns), grouped(output.double().square())
    share = (shares(read.cpu().numpy()) + shares(written.cpu().numpy())) / 2
    return normed.double(), torch.from_numpy(share).to(x.device)


@torch.no_grad()
def fit(model, dense, tokens, spread):
    """Sets the centroids of `model` by tokens [sequences, length]; `dense` is the dense model of the same dims."""

    def look(name, part, norm, x, state):
        normed, share = contributions(dense, name, x, state, part.routing.num_groups)
        part.router.weight.copy_(of_spread(fitted(normed, share, part.routing), normed, part.routing, spread))

    walk(model, tokens, look)


@torch.no_grad()
def scatter(model, tokens, together, spread, seed):
    """Sets random centroids, the same for each `together` routed groups; tokens, if given, are spread over them evenly.

    With together = K_r the copies of a wider model's routed blocks are chosen whole: the groups of the copy with the largest logit come first.
    """

    def choose(number, part, normed):
        routing = part.routing
        drawn = directions(routing, part.router.weight.shape[1], together, 1000 * seed + number).to(part.router.weight.device)
        if normed is not None:
            drawn = whitened(drawn, normed)
        part.router.weight.copy_(of_spread(drawn, normed, routing, spread))

    if tokens is None:
        for number, (_, part, _) in enumerate(sub_layers(model)):
            choose(number, part, None)
        return
    numbers = {name: number for number, (name, _, _) in enumerate(sub_layers(model))}
    walk(model, tokens, lambda name, part, norm, x, state: choose(numbers[name], part, norm(x).double()))


@torch.no_grad()
def judged(model, dense, tokens):
    """How the routers of `model` do on tokens [sequences, length]: for each sub-layer the mean shares of contributions that are captured.

    `router`: by its groups; `best`: by the K_r largest ones; `random`: by groups chosen at random; and `load`, the tokens of the routed group
    that has most, over the mean.
    """
    found = []

    def look(name, part, norm, x, state):
        routing = part.routing
        normed, share = contributions(dense, name, x, state, routing.num_groups)
        routed = share[:, routing.num_shared :]
        rank = functional.router_logits(norm(x), part.centroids)[:, routing.num_shared :]
        count = torch.bincount(rank.topk(routing.num_routed, -1).indices.flatten(), minlength=routed.shape[1]).double()
        chance = share[:, : routing.num_shared].sum(-1) + routed.mean(-1) * routing.num_routed
        found.append({
            "sub_layer": name, "router": captured(rank, share, routing), "best": captured(routed, share, routing),
            "random": float(chance.mean()), "load": float(count.max() / count.mean()),
        })

    walk(model, tokens, look)
    return found
