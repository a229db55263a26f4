# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small configurations and random weights that the tests share."""

import itertools

import numpy as np

from mohd.config import VALUES, Config, Routing

SIZES = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    vocab_size=29, max_position_embeddings=64,
)


def routings():
    """Every valid combination of gate, scaling, score and fusion, and every other attribute value once, at N=16, 6+2."""
    for gate, scaling, score, fusion in itertools.product(*(VALUES[k] for k in ("gate", "scaling", "score", "fusion"))):
        if (gate, scaling) != ("shared_one", "n_times_mass"):
            yield Routing(16, 6, 2, gate=gate, scaling=scaling, score=score, fusion=fusion)
    for fusion, balance in itertools.product(VALUES["fusion"], VALUES["balance"]):
        yield Routing(16, 6, 2, fusion=fusion, balance=balance, axis="ffn_inner")
        yield Routing(16, 6, 2, fusion=fusion, balance=balance, norm_stat="active")
    for gate in VALUES["gate"]:  # the ugly sizes: one group, all active, none routed, none shared, width 1
        for n, shared, routed in ((1, 1, 0), (1, 0, 1), (4, 4, 0), (4, 1, 3), (4, 2, 0), (4, 0, 2), (32, 0, 1), (16, 1, 5)):
            yield Routing(n, shared, routed, gate=gate)


def config_of(routing, **changes):
    """A two-layer model of 32 dims with `routing` (None: dense)."""
    return Config(**{**SIZES, **changes}, mohd=routing)


def random_weights(config, seed=0):
    """Random float64 weights by name: norms and fusion near the identity, all else normal."""
    rng, weights = np.random.default_rng(seed), {}
    for name, shape in config.tensor_shapes().items():
        noise = rng.standard_normal(shape)
        if "norm" in name:
            weights[name] = 1 + 0.1 * noise
        elif "fusion.bias" in name:
            weights[name] = 0.1 * noise
        elif "fusion" in name:
            weights[name] = np.eye(shape[-1]) + 0.1 * noise
        else:
            weights[name] = noise / np.sqrt(shape[-1]) if len(shape) == 2 else noise
    return weights
