# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the converted model of a dense one's tensors: the layout, and weights whose routers are still 0."""

import dataclasses

import torch

from mohd.config import Routing
from mohd.convert import layout as layouts
from mohd.convert.calibrate import estimated, observed
from mohd.convert.grouping import order_of
from mohd.convert.routers import check_factors
from mohd.nn import MoHDForCausalLM


def check(config, routing, expand):
    """Refuses a routing that `config` cannot be converted to, widened `expand` times."""
    width, n, k = config.hidden_size * expand, routing.num_groups, routing.num_active
    for name, only, reason in (("axis", "residual", "the other form of the FFN has no gate projection"), ("norm_stat", "full", "active dims would change")):
        if getattr(routing, name) != only:
            raise ValueError(f"expects {name} {only}, as {reason}, got {getattr(routing, name)}")
    if width % n:
        raise ValueError(f"expects the hidden size to be a multiple of --groups {n}, got {width}")
    check_factors(routing, expand)
    if expand == 1 or k == n:
        return
    if k * expand != n:
        raise ValueError(
            f"expects with --expand {expand} all groups to be active or one in {expand} (the dense model's width), {n} or {n / expand:g} of {n}, got {k}"
        )
    if routing.num_routed == 0:
        raise ValueError(f"expects --routed to be at least 1 with --expand {expand}, as a copy that is no group's choice is never used, got 0")
    if routing.fusion != "monarch":
        raise ValueError(f"expects fusion monarch with --expand {expand}, as it takes a group's output to all copies of its dims, got {routing.fusion}")


def order_by(checkpoint, tokens, routing, expand):
    """int64 [D]: the dims in their new order, by what they do on tokens [sequences, length], or by the embedding table alone if that is None.

    As many dims count as active as a token keeps, but no more than half: more would say little about any of them.
    """
    dims, n, k = checkpoint.config.hidden_size, routing.num_groups, routing.num_active
    top = max(1, min(dims * k // n, dims // 2))
    use = estimated(checkpoint, top) if tokens is None else observed(checkpoint, tokens, top)
    if expand == 1:
        return order_of(use.activity, use.affinity, n, routing.num_shared)
    return order_of(use.activity, use.affinity, *((1, 0) if k == n else (k, routing.num_shared)))


def layout_of(order, routing, expand):
    """The layout of the dims in `order`, widened `expand` times."""
    if expand == 1:
        return layouts.permuted(order)
    if routing is None or routing.num_active == routing.num_groups:
        return layouts.replicated(order, expand)
    return layouts.upcycled(order, expand, routing.num_groups, routing.num_shared, routing.num_routed)


def everything(routing: Routing):
    """The routing with all groups active."""
    return dataclasses.replace(routing, num_routed=routing.num_groups - routing.num_shared)


def config_of(config, layout, routing):
    """The configuration of the converted model; heads keep their size."""
    return dataclasses.replace(config, hidden_size=len(layout.source), mohd=routing)


def added(config, layout):
    """Routers and fusions of the converted model by name, float32: routers 0, fusions the identity, but for copies, all of which take their group's output."""
    out = {}
    for name, shape in config.tensor_shapes().items():
        if name.endswith("router.weight"):
            out[name] = torch.zeros(shape)
        elif name.endswith("fusion.right"):
            out[name] = torch.eye(shape[-1]).repeat(shape[0], 1, 1)
        elif name.endswith("fusion.left"):
            mixed = torch.eye(shape[-1])
            if layout.whole and layout.expand > 1:
                block = torch.from_numpy(layouts.blocks_of(config.mohd.num_groups, config.mohd.num_shared, config.mohd.num_routed))
                mixed = (block[:, None] == block).float()
            out[name] = mixed.repeat(shape[0], 1, 1)
    return out


def weights_of(config, tensors, layout, routing, noise=0.0, seed=0):
    """(configuration, weights by name) of the dense `config` and its `tensors` in `layout`; `routing` None makes a dense one, whose dims are laid out so."""
    made = config_of(config, layout, routing)
    return made, layouts.converted(tensors, layout, config.tie_word_embeddings, noise, seed) | added(made, layout)


def model_of(config, tensors, layout, routing, noise=0.0, seed=0):
    """The same as a model in float32."""
    made, weights = weights_of(config, tensors, layout, routing, noise, seed)
    with torch.device("meta"):
        model = MoHDForCausalLM(made)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval()
