# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A whole model in float64 NumPy, built from the ops of `mohd.reference` as the importer builds it from the dialect's.

`prefill` and `decode` have the entry points' inputs and outputs (docs/formats.md).
"""

import numpy as np

from mohd import reference as ops
from mohd import weights as files
from mohd.config import Config


class Model:
    """A model of a configuration and its weights by name (docs/formats.md); arrays of any float type."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = {name: ops.wide(array) for name, array in weights.items()}
        shapes = {name: array.shape for name, array in self.weights.items()}
        if shapes != config.tensor_shapes():
            wrong = dict(shapes.items() ^ config.tensor_shapes().items())
            raise ValueError(f"expects the tensors of docs/formats.md, differs in {', '.join(sorted(wrong))}")

    @staticmethod
    def load(folder):
        """Reads a model folder."""
        return Model(Config.load(folder), files.load(folder))

    def new_caches(self, sequences, positions):
        """Zeroed (k_cache, v_cache), each [layers, B, S, kv_heads*head_dim]."""
        c = self.config
        shape = (c.num_hidden_layers, sequences, positions, c.num_key_value_heads * c.head_dim)
        return np.zeros(shape), np.zeros(shape)

    def prefill(self, tokens, sequence, position, rows, k_cache, v_cache):
        """Logits [R, V] at `rows` of tokens [T], each at (sequence, position); the caches are updated in place."""
        c, w = self.config, self.weights
        x = ops.embed(tokens, w["model.embed_tokens.weight"])
        self.balance = []  # each routed sub-layer's balance loss
        for layer in range(c.num_hidden_layers):
            x = ops.add(x, self._attention(x, layer, sequence, position, k_cache, v_cache))
            x = ops.add(x, self._mlp(x, layer))
        x = ops.rms_norm(ops.embed(rows, x), w["model.norm.weight"], c.rms_norm_eps)
        head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
        return ops.linear(x, w[head].T)

    def decode(self, tokens, position, k_cache, v_cache):
        """Logits [T, V] of one token for each of the first T sequences."""
        count = np.arange(len(tokens))
        return self.prefill(tokens, count, position, count, k_cache, v_cache)

    def _route(self, normed, prefix):
        """(indices, gates) of the sub-layer `prefix`."""
        r = self.config.mohd
        indices, gates, scores = ops.route(
            normed, self.weights.get(f"{prefix}.router.weight"), r.num_groups, r.num_shared, r.num_routed, r.gate, r.score
        )
        self.balance.append(ops.balance_loss(scores, indices, r.num_shared, r.balance, r.balance_coefficient))
        return indices, gates

    def _fuse(self, x, prefix):
        """Group fusion of x [T, routed width]."""
        part = {name: self.weights.get(f"{prefix}.fusion.{name}") for name in ("right", "left", "bias")}
        return ops.group_fusion(x, self.config.mohd.fusion, **part)

    def _sub_layer(self, x, layer, part, norm, inner):
        """A residual-axis sub-layer: inner(project) -> (activation, output weight), routed or dense.

        `project(name)` is the contraction-side projection by weight `name` of the normed, gated and scaled input.
        """
        prefix = f"model.layers.{layer}.{part}"
        norm, eps = self.weights[f"model.layers.{layer}.{norm}.weight"], self.config.rms_norm_eps
        weight = lambda name: self.weights[f"{prefix}.{name}.weight"]
        hidden = ops.rms_norm(x, norm, eps)
        routing = self.config.routing(part)
        if routing is None:
            out, name = inner(lambda name: ops.linear(hidden, weight(name).T))
            return ops.linear(out, weight(name).T)
        n = routing.num_groups
        indices, gates = self._route(hidden, prefix)
        if routing.norm_stat == "active":
            hidden = ops.rms_norm(x, norm, eps, indices, n)
        hidden = ops.scale(hidden, indices, gates, n, routing.scaling)
        grouped = lambda name: weight(name).T.reshape(n, -1, weight(name).shape[0])  # [N, d_e, E]
        out, name = inner(lambda name: ops.spmm(hidden, indices, gates, grouped(name)))
        columns = weight(name).reshape(n, -1, weight(name).shape[1]).transpose(0, 2, 1)  # [N, E, d_e]
        return self._fuse(ops.sddmm(out, indices, columns), prefix)

    def _attention(self, x, layer, sequence, position, k_cache, v_cache):
        """The attention sub-layer's addition to x."""
        c = self.config

        def inner(project):
            q, k, v = project("q_proj"), project("k_proj"), project("v_proj")
            q, k = (ops.rope(t, position, c.head_dim, c.rope_theta) for t in (q, k))
            ops.kv_cache_append(k_cache, k, position, sequence, layer)
            ops.kv_cache_append(v_cache, v, position, sequence, layer)
            return ops.attention(q, k_cache, v_cache, position, sequence, layer, c.head_dim), "o_proj"

        return self._sub_layer(x, layer, "self_attn", "input_layernorm", inner)

    def _mlp(self, x, layer):
        """The FFN sub-layer's addition to x."""
        if self.config.mohd and self.config.mohd.axis == "ffn_inner":
            return self._inner_mlp(x, layer)
        inner = lambda project: (ops.swiglu(project("gate_proj"), project("up_proj")), "down_proj")
        return self._sub_layer(x, layer, "mlp", "post_attention_layernorm", inner)

    def _inner_mlp(self, x, layer):
        """The FFN with axis ffn_inner: its intermediate width is routed, there is no GLU."""
        prefix, routing = f"model.layers.{layer}.mlp", self.config.routing("mlp")
        norm = self.weights[f"model.layers.{layer}.post_attention_layernorm.weight"]
        up, down = (self.weights[f"{prefix}.{name}_proj.weight"] for name in ("up", "down"))
        hidden = ops.rms_norm(x, norm, self.config.rms_norm_eps)
        if routing is None:
            return ops.linear(ops.silu(ops.linear(hidden, up.T)), down.T)
        n = routing.num_groups
        indices, gates = self._route(hidden, prefix)
        u = ops.sddmm(hidden, indices, up.reshape(n, -1, up.shape[1]).transpose(0, 2, 1))
        u = ops.scale(ops.gate(u, indices, gates, n), indices, gates, n, routing.scaling)
        return ops.linear(ops.silu(self._fuse(u, prefix)), down.T)
