# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The modules of a MoHD decoder. Parameter names are those of docs/formats.md.

Shapes in comments: B sequences, S tokens each, T = B * S, D hidden width, N groups of d_e dims.
"""

import functools
import importlib

import torch
import torch.nn.functional as F
from torch import nn

from mohd.nn import functional

BACKENDS = {"reference": "mohd.nn.functional", "compiled": "mohd.ops"}
"""Where the functions of a backend are."""

_loaded = {"reference": functional}


def functions_of(backend):
    """The module with the functions of `backend`; raises ValueError for an unknown one, ImportError without `mohd.ops`."""
    if backend in _loaded:
        return _loaded[backend]
    if backend not in BACKENDS:
        raise ValueError(f"expects backend to be one of {', '.join(BACKENDS)}, got '{backend}'")
    try:
        _loaded[backend] = importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        raise ImportError(f"expects {BACKENDS[backend]} for backend '{backend}', got: {error}") from error
    return _loaded[backend]


class Part(nn.Module):
    """A module whose functions are those of `backend`."""

    def __init__(self, backend):
        super().__init__()
        functions_of(backend)  # an unknown one is an error here
        self.backend = backend

    @property
    def ops(self):
        """The backend's functions; no attribute, as modules can be neither copied nor pickled."""
        return functions_of(self.backend)


class RMSNorm(Part):
    """x / rms(x) * weight over the last dim, the statistic in at least float32."""

    def __init__(self, width, eps, backend="reference"):
        super().__init__(backend)
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        """x: [T, D]."""
        return self.ops.rms_norm(x, self.weight, self.eps)


class Fusion(nn.Module):
    """The weights of a group fusion, initialised to the identity. `left` and `bias` are None where the kind has none."""

    def __init__(self, n, width, kind, bias):
        super().__init__()
        self.right = nn.Parameter(torch.eye(width).repeat(n, 1, 1))  # [N, d_e, d_e]
        self.left = nn.Parameter(torch.eye(n).repeat(width, 1, 1)) if kind == "monarch" else None  # [d_e, N, N]
        self.bias = nn.Parameter(torch.zeros(n * width)) if bias else None


class SubLayer(Part):
    """What attention and FFN share: norm, routing and projections on the side of the residual stream.

    `routing` is None where they are dense. A subclass lists the names of its input projections in `inputs` and that of
    its output projection in `output`, and computes one from the other in `inner`. `indices` are the active groups
    [T, K] at the last forward.
    """

    def __init__(self, config, part, backend):
        super().__init__(backend)
        self.config = config
        self.routing = config.routing(part)
        self.indices = None
        if self.routing is None:
            return
        n, width = self.routing.num_groups, config.routed_width // self.routing.num_groups
        if self.routing.needs_scores:
            self.router = nn.Linear(config.hidden_size, n, bias=False)
        if self.routing.fusion != "none":
            bias = self.routing.fusion == "block_diagonal" and self.routing.axis == "ffn_inner"
            self.fusion = Fusion(n, width, self.routing.fusion, bias)

    @property
    def centroids(self):
        """The router's weight [N, D], or None where the routing needs no scores."""
        return self.router.weight if self.routing.needs_scores else None

    def fusion_weights(self):
        """(right, left) of the fusion, None where there is none."""
        return (self.fusion.right, self.fusion.left) if self.routing.fusion != "none" else (None, None)

    def noted(self, indices, scores):
        """The balance loss of a routing, whose indices are kept for `indices`."""
        self.indices = indices.detach()
        return self.ops.balance_loss(scores, indices, self.routing)

    def forward(self, x, norm, *state):
        """(x plus the sub-layer's output, both [T, D], its balance loss); `state` is what `inner` takes beside its input."""
        weights = [getattr(self, name).weight for name in self.inputs]
        output = getattr(self, self.output).weight
        if self.routing is None:
            normed = norm(x)
            z = self.inner(tuple(functional.linear(normed, weight) for weight in weights), *state)
            return x + functional.linear(z, output), x.new_zeros(())
        y, indices, _, scores = self.ops.routed_projections(x, norm.weight, norm.eps, self.centroids, weights, self.routing)
        z = self.inner(y, *state)
        x = self.ops.routed_output(x, z, indices, output, *self.fusion_weights(), self.routing)
        return x, self.noted(indices, scores)


@functools.lru_cache(maxsize=8)
def rotation(length, half, theta, dtype, device):
    """cos and sin, both [length, half], of the angles position * theta^(-j / half)."""
    with torch.inference_mode(False), torch.no_grad():
        rate = theta ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
        angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * rate
        return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, first, theta):
    """RoPE, Hugging Face's half rotation: pairs (j, j + head_dim/2). x: [B, heads, S, head_dim], from position `first` on."""
    length, half = x.shape[2], x.shape[3] // 2
    table = 1 << max(0, first + length - 1).bit_length()  # so that few tables are made
    cos, sin = (t[first : first + length] for t in rotation(table, half, theta, x.dtype, x.device))
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class MoHDAttention(SubLayer):
    """Causal attention with grouped key-value heads."""

    inputs, output = ("q_proj", "k_proj", "v_proj"), "o_proj"

    def __init__(self, config, backend="reference"):
        super().__init__(config, "self_attn", backend)
        d, heads = config.hidden_size, config.num_attention_heads * config.head_dim
        kv = config.num_key_value_heads * config.head_dim
        self.q_proj, self.k_proj = nn.Linear(d, heads, bias=False), nn.Linear(d, kv, bias=False)
        self.v_proj, self.o_proj = nn.Linear(d, kv, bias=False), nn.Linear(heads, d, bias=False)

    def inner(self, projected, length, cache):
        """Attention of the projected q, k, v, each [T, E], of sequences of `length` tokens.

        `cache` is a list of this layer's [k, v] so far, which is extended, or None.
        """
        c, batch = self.config, projected[0].shape[0] // max(1, length)
        heads = lambda t: t.view(batch, length, t.shape[1] // c.head_dim, c.head_dim).transpose(1, 2)  # [B, heads, S, head_dim]
        q, k, v = (heads(t) for t in projected)
        past = cache[0].shape[2] if cache else 0
        q, k = rotate(q, past, c.rope_theta), rotate(k, past, c.rope_theta)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        repeat = c.num_attention_heads // c.num_key_value_heads
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        if past:
            seen = torch.ones(length, past + length, dtype=torch.bool, device=q.device).tril(past)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        else:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).flatten(2).flatten(0, 1)


class MoHDMLP(SubLayer):
    """SwiGLU, or with axis `ffn_inner` the form whose intermediate width is routed (no GLU)."""

    inputs, output = ("gate_proj", "up_proj"), "down_proj"

    def __init__(self, config, backend="reference"):
        super().__init__(config, "mlp", backend)
        d, ff = config.hidden_size, config.intermediate_size
        self.inner_axis = config.mohd is not None and config.mohd.axis == "ffn_inner"
        if not self.inner_axis:
            self.gate_proj = nn.Linear(d, ff, bias=False)
        self.up_proj, self.down_proj = nn.Linear(d, ff, bias=False), nn.Linear(ff, d, bias=False)

    def inner(self, projected):
        """SwiGLU of the two projections, each [T, d_ff]."""
        return self.ops.swiglu(*projected)

    def forward(self, x, norm):
        """(x plus the FFN's output, both [T, D], its balance loss)."""
        if not self.inner_axis:
            return super().forward(x, norm)
        normed = norm(x)
        u, balance = self.routed_inner(normed) if self.routing else (functional.linear(normed, self.up_proj.weight), x.new_zeros(()))
        return x + functional.linear(F.silu(u), self.down_proj.weight), balance

    def routed_inner(self, normed):
        """(the intermediate activation before SiLU, its groups routed [T, d_ff], the balance loss) of normed [T, D]."""
        routing, n = self.routing, self.routing.num_groups
        indices, gates, scores = self.ops.route(normed, self.centroids, routing)
        u = functional.gate_groups(self.ops.sddmm(normed, indices, self.up_proj.weight, n), indices, gates, n)
        if routing.fusion != "none":
            u = self.ops.group_fusion(u, routing.fusion, *self.fusion_weights(), self.fusion.bias, indices)
        return u, self.noted(indices, scores)


class DecoderLayer(nn.Module):
    """Attention and FFN."""

    def __init__(self, config, backend):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, backend)
        self.self_attn = MoHDAttention(config, backend)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, backend)
        self.mlp = MoHDMLP(config, backend)

    def forward(self, x, length, cache):
        """(x after both [T, D], the sum of their balance losses), for sequences of `length` tokens."""
        x, first = self.self_attn(x, self.input_layernorm, length, cache)
        x, second = self.mlp(x, self.post_attention_layernorm)
        return x, first + second


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, config, backend):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, backend) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, backend)
