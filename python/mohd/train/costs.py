# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a training run needs: memory and communication of a process, computed, not measured on a machine.

Weights, gradients and the two moments of AdamW are float32. Activations are counted by running one layer's forward pass
on tensors without data, and summing up what autograd keeps.
"""

import contextlib
import dataclasses
import math

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM
from mohd.nn.modules import rotation
from mohd.train.loop import cross_entropy

SIZES = {"355m": (1024, 2560), "495m": (1536, 1536), "1130m": (2048, 4096)}
VARIANTS = {"dense": (1, None), "50": (1, (16, 6, 2)), "75": (1, (16, 9, 3)), "x2": (2, (16, 6, 2)), "x3": (3, (12, 3, 1)), "x4": (4, (16, 3, 1))}
PRESETS = tuple(f"mohd-{size}-{variant}" for size in SIZES for variant in VARIANTS)
"""The paper's models, as `mohd-compile --list-presets` names them."""


def preset(name):
    """The Config of a preset."""
    if name not in PRESETS:
        raise ValueError(f"expects one of {', '.join(PRESETS)}, got '{name}'")
    _, size, variant = name.split("-")
    (width, inner), (factor, groups) = SIZES[size], VARIANTS[variant]
    return Config(width * factor, inner, 24, width // 128, 32000, 2048, head_dim=128, mohd=Routing(*groups) if groups else None)


def _kept(model, tokens, autocast):
    """Bytes that autograd keeps of the forward pass of `tokens` tokens, loss included, beside the weights themselves."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # which keeps the number from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        given = torch.zeros(1, tokens, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
            logits = model(given)
        cross_entropy(logits, given)
    return sum(storage.nbytes() for storage in kept.values())


def _slope(config, layers, autocast):
    """Bytes that a token more costs a model with so many layers."""
    rotation.cache_clear()
    try:
        with FakeTensorMode():
            model = MoHDForCausalLM(dataclasses.replace(config, num_hidden_layers=layers))
            few, many = (_kept(model, tokens, autocast) for tokens in (64, 128))
    finally:
        rotation.cache_clear()  # it has tensors without data
    return (many - few) // 64


def activation_bytes(config, autocast=True, checkpointing=False):
    """Bytes a token that autograd keeps with the reference backend; with checkpointing the most at any time."""
    one, two = (_slope(config, layers, autocast) for layers in (1, 2))
    if checkpointing:  # each layer's input, and all of one layer and the head
        return one + 4 * config.hidden_size * config.num_hidden_layers
    return one + (config.num_hidden_layers - 1) * (two - one)


def cost(config, processes=1, parallel="ddp", micro_batches=1, autocast=True, activation_checkpointing=False):
    """The needs of each of `processes` processes that train `config`, a dict of integers.

    weights, gradients, optimizer: bytes that stay; activations_per_token: bytes for each token of a micro-batch;
    sent: bytes that it sends in a step of `micro_batches`, and receives as many (rings: each of n processes sends (n - 1) / n of
    what is gathered or scattered, an all-reduce is both). parameters, activated: of the model.
    """
    if parallel not in ("ddp", "fsdp"):
        raise ValueError(f"expects parallel to be one of ddp, fsdp, got '{parallel}'")
    parameters, activated = config.parameters()
    outside = sum(math.prod(shape) for name, shape in config.tensor_shapes().items() if ".layers." not in name)
    total, parts = 4 * parameters, processes if parallel == "fsdp" else 1
    share = lambda count: count * (processes - 1) // processes
    if parallel == "ddp":
        sent = share(2 * total)  # an all-reduce of the gradients
    else:
        layers = total - 4 * outside  # gathered for the forward and again for the backward pass; the rest once
        sent = micro_batches * share(2 * layers + 4 * outside) + share(total)
    whole_gradients = parallel == "fsdp" and micro_batches > 1  # they are added up before they are scattered
    return {
        "parameters": parameters,
        "activated": activated,
        "weights": -(-total // parts),
        "gradients": total if whole_gradients else -(-total // parts),
        "optimizer": -(-2 * total // parts),
        "activations_per_token": activation_bytes(config, autocast, activation_checkpointing),
        "sent": sent,
    }
