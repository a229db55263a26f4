# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a model layer by layer: all tokens through one layer, then through the next, so that the weights of one layer are in memory at a time.

Between layers the residual stream of all tokens is kept, [T, D] float32. Weights are read by safetensors' lazy files, of the embedding table only
the rows of tokens that occur, and computed with in float32 whatever type they are stored in. Shapes in comments: T tokens, D hidden width.
"""

import collections
import contextlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from mohd import weights
from mohd.nn import functional
from mohd.nn.modules import DecoderLayer

SITES = {
    "resid_pre": "residual stream before attention",
    "attn_norm": "normed input of attention",
    "attn_out": "output of attention",
    "resid_mid": "residual stream before the FFN",
    "mlp_norm": "normed input of the FFN",
    "mlp_act": "inner activation of the FFN",
    "mlp_out": "output of the FFN",
}
"""The places of a layer that are looked at, in the order of the computation."""

PARTS = ("self_attn", "mlp")
"""The sub-layers, which may have a router each."""

BATCH = 2048  # tokens that go through a layer together, about
NEVER_READ = ".rotary_emb.inv_freq"  # which old checkpoints of LLaMA store; it follows from rope_theta


class Checkpoint:
    """The weights of the model in `folder`, read when they are asked for.

    ValueError where a tensor is missing, has another shape or type than docs/formats.md says, or is not of the model; OSError without a file.
    """

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        expected, self.paths = config.tensor_shapes(), {}
        for path in self._files():
            with self._open(path) as file:
                for name in file.keys():
                    part = file.get_slice(name)
                    self._check(path, name, part.get_shape(), part.get_dtype(), expected)
                    self.paths[name] = path
        missing = sorted(expected.keys() - self.paths.keys())
        if missing:
            raise ValueError(f"expects the tensor {missing[0]} in {folder}, got none")

    def _files(self):
        """The paths of the safetensors files."""
        try:
            return weights.files(self.folder)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expects an index of shards in {self.folder / weights.INDEX}, got: {error}") from error

    @staticmethod
    @contextlib.contextmanager
    def _open(path):
        """An open safetensors file."""
        if not path.is_file():
            raise FileNotFoundError(f"expects the file {path}, got none")
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except SafetensorError as error:
            raise ValueError(f"expects a safetensors file in {path}, got: {error}") from error

    def _check(self, path, name, shape, kind, expected):
        """Whether tensor `name` of the file `path` is what the model expects, and there once."""
        if name in self.paths:
            raise ValueError(f"expects {name} in one file, got {self.paths[name]} and {path}")
        if name not in expected:
            if name.endswith(NEVER_READ):
                return
            raise ValueError(f"expects only tensors of the model in {path}, got {name}")
        if tuple(shape) != tuple(expected[name]):
            raise ValueError(f"expects the shape {list(expected[name])} of {name} in {path}, got {list(shape)}")
        if kind not in ("F32", "F16", "BF16"):
            raise ValueError(f"expects F32, F16 or BF16 of {name} in {path}, got {kind}")

    def rows(self, name, ids):
        """Rows `ids` [n] of the matrix `name` as float32; no others are read."""
        with self._open(self.paths[name]) as file:
            return file.get_slice(name)[ids.tolist()].float()

    def layer(self, number):
        """The weights of a layer by name within it, as float32."""
        prefix, names = f"model.layers.{number}.", collections.defaultdict(list)
        for name in self.config.tensor_shapes():
            if name.startswith(prefix):
                names[self.paths[name]].append(name)
        tensors = {}
        for path, found in names.items():
            with self._open(path) as file:
                tensors.update({name.removeprefix(prefix): file.get_tensor(name).float() for name in found})
        return tensors

    def module(self, number):
        """The layer as a module."""
        with torch.device("meta"):
            layer = DecoderLayer(self.config, "reference")
        layer.load_state_dict(self.layer(number), assign=True)
        return layer.eval()


def embed(checkpoint, tokens):
    """The residual stream [T, D] of tokens [T], before the first layer."""
    ids, places = np.unique(tokens, return_inverse=True)
    return checkpoint.rows("model.embed_tokens.weight", ids)[torch.from_numpy(places)]


def sub_layer(part, x, norm, *state):
    """What `part(x, norm, *state)` of mohd.nn.modules computes, with what it goes through.

    Returns (normed input [T, D], the input of the output projection [T, E], the output [T, D] that is to be added to x, routing), where routing
    is (indices [T, K], scores [T, N]) or None.
    """
    normed, routing = norm(x), part.routing
    routed = None if routing is None else functional.route(normed, part.centroids, routing)[::2]
    output = getattr(part, part.output).weight
    if getattr(part, "inner_axis", False):
        u = part.routed_inner(normed)[0] if routing else functional.linear(normed, part.up_proj.weight)
        z = F.silu(u)
        return normed, z, functional.linear(z, output), routed
    inputs = [getattr(part, name).weight for name in part.inputs]
    if routing is None:
        z = part.inner(tuple(functional.linear(normed, weight) for weight in inputs), *state)
        return normed, z, functional.linear(z, output), None
    y, indices, _, _ = functional.routed_projections(x, norm.weight, norm.eps, part.centroids, inputs, routing)
    z = part.inner(y, *state)
    return normed, z, functional.routed_output(x.new_zeros(()), z, indices, output, *part.fusion_weights(), routing), routed


def run_layer(layer, x, length):
    """(x after the layer [T, D], activations by site, routings by part) of sequences of `length` tokens."""
    seen, routings = {"resid_pre": x}, {}
    seen["attn_norm"], _, seen["attn_out"], routings["self_attn"] = sub_layer(layer.self_attn, x, layer.input_layernorm, length, None)
    seen["resid_mid"] = x = x + seen["attn_out"]
    seen["mlp_norm"], seen["mlp_act"], seen["mlp_out"], routings["mlp"] = sub_layer(layer.mlp, x, layer.post_attention_layernorm)
    arrays = {site: seen[site].numpy() for site in SITES}
    chosen = {part: tuple(tensor.numpy() for tensor in routed) for part, routed in routings.items() if routed is not None}
    return x + seen["mlp_out"], arrays, chosen


def stream(checkpoint, tokens):
    """Yields (layer, activations by site, routings by part) for each layer and some sequences of tokens [sequences, length] at a time, in order.

    Activations are [t, D] or [t, d_ff] float32, a routing is (indices [t, K], scores [t, N]); they are valid until the next step.
    """
    count, length = tokens.shape
    with torch.no_grad():
        x = embed(checkpoint, tokens.reshape(-1))
        step = max(1, BATCH // length) * length
        for number in range(checkpoint.config.num_hidden_layers):
            layer = checkpoint.module(number)
            for begin in range(0, count * length, step):
                rows = slice(begin, begin + step)
                after, arrays, chosen = run_layer(layer, x[rows], length)
                yield number, arrays, chosen
                x[rows] = after
            del layer
