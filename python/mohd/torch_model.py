# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The reference MoHD language model in PyTorch: docs/semantics.md written down plainly, for training and comparison.

Sparse parts are computed densely and masked: the point is to be readable and differentiable, not fast. Parameter
names are those of docs/formats.md. Shapes in comments: B sequences, S tokens each, D hidden width, N groups.
"""

import json
import math
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from mohd.config import Config
from mohd.weights import files


def select(logits, routing):
    """The active set as a mask [..., N] of bools: shared groups plus the K_r largest logits of the rest.

    Equal logits: lowest index first. A token with a NaN anywhere takes its lowest-index routed groups.
    """
    shared, n = routing.num_shared, routing.num_groups
    ranked = logits.detach().masked_fill(logits.isnan().any(-1, keepdim=True), 0.0)[..., shared:]
    order = torch.sort(ranked, dim=-1, descending=True, stable=True).indices[..., : routing.num_routed] + shared
    mask = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device).scatter(-1, order, True)
    return mask | (torch.arange(n, device=logits.device) < shared)


def scores_of(logits, routing):
    """Scores s [..., N] of the router's logits."""
    if routing.score == "softmax_all":
        return logits.softmax(-1)
    if routing.score == "sigmoid":
        return logits.sigmoid()
    shared, routed = logits[..., : routing.num_shared], logits[..., routing.num_shared :]
    return torch.cat([torch.ones_like(shared), routed.softmax(-1)], -1)


def gates_of(scores, mask, routing):
    """Gates g [..., N]: the attribute `gate` on the active set, 0 elsewhere."""
    zero = torch.zeros_like(scores)
    if routing.gate == "softmax":
        return torch.where(mask, scores, zero)
    ones = mask.to(scores.dtype)
    if routing.gate == "binary" or routing.num_routed == 0:
        return ones
    shared = torch.arange(routing.num_groups, device=mask.device) < routing.num_shared
    chosen = torch.where(mask & ~shared, scores, zero)
    if routing.gate == "renormalized":
        chosen = routing.num_routed * chosen / chosen.sum(-1, keepdim=True)
    return torch.where(shared, ones, chosen)


def scaling_of(gates, routing):
    """The token's activation scaling a [..., 1]."""
    n, k, mass = routing.num_groups, routing.num_active, gates.sum(-1, keepdim=True)
    return {
        "sqrt_nk_over_mass": lambda: math.sqrt(n * k) / mass,
        "n_times_mass": lambda: n * mass,
        "k_over_mass": lambda: k / mass,
        "sqrt_n_over_k": lambda: torch.full_like(mass, math.sqrt(n / k)),
        "n_over_k": lambda: torch.full_like(mass, n / k),
        "none": lambda: torch.ones_like(mass),
    }[routing.scaling]()


def balance_of(scores, mask, routing):
    """The balance loss of one router over all tokens of the batch; no gradient goes through the counts."""
    routed, tokens = routing.num_groups - routing.num_shared, mask[..., 0].numel()
    if routing.balance == "none" or routing.num_routed == 0 or tokens == 0:
        return scores.new_zeros(())
    count = mask[..., routing.num_shared :].reshape(tokens, routed).sum(0).to(scores.dtype)
    share = routed / (tokens * (routing.num_routed if routing.balance == "deepseek" else 1)) * count
    mean = scores[..., routing.num_shared :].reshape(tokens, routed).mean(0)
    return routing.balance_coefficient * (share * mean).sum()


class RMSNorm(nn.Module):
    """x / rms(x) * weight, with the statistic in at least float32, over all dims or over the active ones."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x, active=None):
        """x: [..., D]; active: optional [..., D] mask of the dims that the mean square is taken over."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        square = wide.square()
        if active is None:
            mean = square.mean(-1, keepdim=True)
        else:
            mean = torch.where(active, square, 0.0).sum(-1, keepdim=True) / active.sum(-1, keepdim=True)
        return wide * torch.rsqrt(mean + self.eps) * self.weight


class Fusion(nn.Module):
    """Group fusion: mixes within each group (right), then across groups (left); initialised to the identity."""

    def __init__(self, n, width, kind, bias):
        super().__init__()
        self.right = nn.Parameter(torch.eye(width).repeat(n, 1, 1))  # [N, d_e, d_e]
        self.left = nn.Parameter(torch.eye(n).repeat(width, 1, 1)) if kind == "monarch" else None  # [d_e, N, N]
        self.bias = nn.Parameter(torch.zeros(n * width)) if bias else None

    def forward(self, x):
        """x: [..., N * d_e], zero on inactive groups."""
        n, width, _ = self.right.shape
        y = torch.einsum("...kp,kjp->...kj", x.unflatten(-1, (n, width)), self.right)
        if self.left is not None:
            y = torch.einsum("...kj,jsk->...sj", y, self.left)
        y = y.flatten(-2)
        return y if self.bias is None else y + self.bias


class SubLayer(nn.Module):
    """What attention and FFN share: the routing of the block's axis. `routing` is None where they are dense."""

    def __init__(self, config, part):
        super().__init__()
        self.routing = config.routing(part)
        self.balance = None  # balance loss of the last forward
        self.logits = None  # the router's logits [B, S, N] at the last forward
        if self.routing is None:
            return
        n, width = self.routing.num_groups, config.routed_width // self.routing.num_groups
        if self.routing.needs_scores:
            self.router = nn.Linear(config.hidden_size, n, bias=False)
        if self.routing.fusion != "none":
            bias = self.routing.fusion == "block_diagonal" and self.routing.axis == "ffn_inner"
            self.fusion = Fusion(n, width, self.routing.fusion, bias)
        self.width = width

    def route(self, normed):
        """(weights, mask), both over the routed axis: a * g_i and whether i is active, for each dim."""
        routing = self.routing
        with torch.autocast(normed.device.type, enabled=False):
            if routing.needs_scores:
                logits = functional.linear(normed, self.router.weight)  # [B, S, N]
                scores, mask = scores_of(logits, routing), select(logits, routing)
                self.logits = logits.detach()
            else:
                scores = normed.new_ones(normed.shape[:-1] + (routing.num_groups,))
                mask = (torch.arange(routing.num_groups, device=normed.device) < routing.num_shared).expand(scores.shape)
            gates = gates_of(scores, mask, routing)
            self.balance = balance_of(scores, mask, routing)
            weights = gates * scaling_of(gates, routing)
        return weights.repeat_interleave(self.width, -1), mask.repeat_interleave(self.width, -1)

    def fuse(self, x):
        """Group fusion of x, or x itself where there is none."""
        return self.fusion(x) if self.routing.fusion != "none" else x

    def routed(self, x, norm, inner):
        """The residual-axis sub-layer: gate and scale the normed input, run `inner`, mask and fuse its output."""
        if self.routing is None:
            return inner(norm(x))
        normed = norm(x)
        weights, mask = self.route(normed)
        if self.routing.norm_stat == "active":
            normed = norm(x, mask)
        # where, not a product: an inactive dim contributes nothing even if it holds an infinity
        hidden = torch.where(mask, normed * weights, 0.0)
        return self.fuse(torch.where(mask, inner(hidden), 0.0))


def rotate(x, position, theta):
    """RoPE, Hugging Face's half rotation: pairs (j, j + head_dim/2). x: [B, heads, S, head_dim]; position: [S]."""
    half = x.shape[-1] // 2
    rate = theta ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angle = position.to(torch.float64)[:, None] * rate  # [S, half]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Attention(SubLayer):
    """Causal attention with grouped key-value heads."""

    def __init__(self, config):
        super().__init__(config, "self_attn")
        self.config = config
        d, heads = config.hidden_size, config.num_attention_heads * config.head_dim
        kv = config.num_key_value_heads * config.head_dim
        self.q_proj, self.k_proj = nn.Linear(d, heads, bias=False), nn.Linear(d, kv, bias=False)
        self.v_proj, self.o_proj = nn.Linear(d, kv, bias=False), nn.Linear(heads, d, bias=False)

    def forward(self, x, norm, cache):
        """x: [B, S, D]; `cache`: a list that holds this layer's [k, v] so far and is extended, or None."""
        return self.routed(x, norm, lambda hidden: self.attend(hidden, cache))

    def attend(self, hidden, cache):
        """The dense attention of `hidden` [B, S, D] after the cached keys and values."""
        c, (batch, length, _) = self.config, hidden.shape
        split = lambda t: t.view(batch, length, -1, c.head_dim).transpose(1, 2)  # [B, heads, S, head_dim]
        q, k, v = split(self.q_proj(hidden)), split(self.k_proj(hidden)), split(self.v_proj(hidden))
        past = cache[0].shape[2] if cache else 0
        position = torch.arange(past, past + length, device=hidden.device)
        q, k = rotate(q, position, c.rope_theta), rotate(k, position, c.rope_theta)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        repeat = c.num_attention_heads // c.num_key_value_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        if past:
            seen = torch.arange(past + length, device=hidden.device) <= position[:, None]
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class MLP(SubLayer):
    """SwiGLU, or with axis `ffn_inner` the form whose intermediate width is routed (no GLU)."""

    def __init__(self, config):
        super().__init__(config, "mlp")
        d, ff = config.hidden_size, config.intermediate_size
        self.inner_axis = config.mohd is not None and config.mohd.axis == "ffn_inner"
        if not self.inner_axis:
            self.gate_proj = nn.Linear(d, ff, bias=False)
        self.up_proj, self.down_proj = nn.Linear(d, ff, bias=False), nn.Linear(ff, d, bias=False)

    def forward(self, x, norm):
        """x: [B, S, D]."""
        if self.inner_axis:
            return self.down_proj(functional.silu(self.inner(norm(x))))
        return self.routed(x, norm, lambda h: self.down_proj(functional.silu(self.gate_proj(h)) * self.up_proj(h)))

    def inner(self, normed):
        """The routed intermediate activation [B, S, d_ff] before SiLU."""
        if self.routing is None:
            return self.up_proj(normed)
        weights, mask = self.route(normed)
        return self.fuse(torch.where(mask, self.up_proj(normed) * weights, 0.0))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x, cache):
        x = x + self.self_attn(x, self.input_layernorm, cache)
        return x + self.mlp(x, self.post_attention_layernorm)


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Model(nn.Module):
    """The language model; `state_dict()` has exactly the tensors of docs/formats.md."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def new_cache(self):
        """An empty key-value cache for `forward`."""
        return [[] for _ in self.model.layers]

    def forward(self, tokens, cache=None):
        """Logits [B, S, V] of tokens [B, S], which follow those already in `cache`."""
        x = self.model.embed_tokens(tokens)
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cache[i] if cache is not None else None)
        head = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return functional.linear(self.model.norm(x), head.weight)

    def sub_layers(self):
        """Every attention and FFN."""
        return [part for layer in self.model.layers for part in (layer.self_attn, layer.mlp)]

    def balance_loss(self):
        """The sum of all routers' balance losses at the last forward."""
        return sum((part.balance for part in self.sub_layers() if part.balance is not None), torch.zeros(()))


def load(folder, dtype=torch.float32):
    """The model in `folder` (Hugging Face layout, one file or shards) with its weights converted to `dtype`."""
    weights = {}
    for path in files(folder):
        weights.update(load_file(path))
    model = Model(Config.load(folder)).to(dtype)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()})
    return model.eval()


def save(model, folder, dtype=torch.bfloat16):
    """Writes config.json and model.safetensors, the weights rounded to `dtype`, into `folder`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
