# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Backward functions of whole decoders, caches and attention included, against autograd of `mohd.nn` in float64."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM
from mohd.nn.modules import DecoderLayer
from test_gradients import DIMS, FLAT, IDS, INNER, KIND, LEFT, N, PHI, RIGHT, ROUTED, ROWS, SCORES, SHARED, TOKENS, Function, X, Z, compiled_context, expect_gradients

LENGTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 3, 2, 4, 2, 4
CONFIG = Config(hidden_size=DIMS, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=ROWS,
                max_position_embeddings=16, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, mohd=Routing(N, SHARED, ROUTED))
WIDTHS = {"q": HEADS * HEAD_DIM, "k": KV_HEADS * HEAD_DIM, "v": KV_HEADS * HEAD_DIM, "gate": INNER, "up": INNER}
OUTPUTS = {"o": HEADS * HEAD_DIM, "down": INNER}
PARTS = {"self_attn": ("input_layernorm", "qkv", "o"), "mlp": ("post_attention_layernorm", ("gate", "up"), "down")}


def cache_type(layers):
    return f"tensor<{layers}x?x?x{KV_HEADS * HEAD_DIM}xf32>"


def weights(layer):
    """The weights of a layer's functions: their types, by the names of `mohd.nn` with `_` for each dot."""
    for part, (norm, inputs, output) in PARTS.items():
        yield f"{layer}{norm}_weight", FLAT
        yield f"{layer}{part}_router_weight", PHI
        for name in inputs:
            yield f"{layer}{part}_{name}_proj_weight", f"tensor<{N}x{DIMS // N}x{WIDTHS[name]}xf32>"
        yield f"{layer}{part}_{output}_proj_weight", f"tensor<{N}x{OUTPUTS[output]}x{DIMS // N}xf32>"
        yield f"{layer}{part}_fusion_right", RIGHT
        yield f"{layer}{part}_fusion_left", LEFT


def parameters(tensors):
    """Parameters of `mohd.nn` made of the functions' weights."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("_proj_weight"):
            is_output = name.split("_")[-3] in OUTPUTS
            tensor = tensor.transpose(1, 2).flatten(0, 1) if is_output else tensor.flatten(0, 1).T
        elif name == "lm_head_weight":
            tensor = tensor.T
        for module in ("self_attn", "mlp", "router", "fusion", "lm_head", "embed_tokens", "norm", "layernorm", "proj"):
            name = name.replace(f"{module}_", f"{module}.")
        found[name] = tensor
    return found


def layer_text(number, prefix, x, k, v):
    """(lines that compute decoder layer `number` of %x with weights called after `prefix`, its result, the caches after it)."""
    lines = []
    for part, (norm, inputs, output) in PARTS.items():
        own = f"{part}{number}_"
        w = f"%{prefix}{part}_"
        lines.append(f"""%{own}n = mohd.rms_norm {x}, %{prefix}{norm}_weight epsilon 1.0e-5 : {X}, {FLAT}
%{own}r, %{own}s = mohd.route %{own}n, {w}router_weight gate softmax score softmax_all : {X}, {PHI} -> {KIND}, {SCORES}
%{own}h = mohd.scale %{own}n, %{own}r scaling sqrt_nk_over_mass : {X}, {KIND}""")
        for name in inputs:
            lines.append(f"%{own}{name} = mohd.spmm %{own}h, %{own}r, {w}{name}_proj_weight : {X}, {KIND}, tensor<{N}x{DIMS // N}x{WIDTHS[name]}xf32>")
        if part == "mlp":
            lines.append(f"%{own}z = mohd.swiglu %{own}gate, %{own}up : {Z}")
        else:
            cache, q, rows = cache_type(1 if prefix == "" else LAYERS), f"tensor<?x{WIDTHS['q']}xf32>", f"tensor<?x{WIDTHS['k']}xf32>"
            lines.append(f"""%{own}qr = mohd.rope %{own}q, %position head_dim {HEAD_DIM} theta 1.0e4 : {q}, {IDS}
%{own}kr = mohd.rope %{own}k, %position head_dim {HEAD_DIM} theta 1.0e4 : {rows}, {IDS}
%k{number}_after = mohd.kv_cache_append {k}, %{own}kr, %position in %sequence layer {number} : {cache}, {rows}, {IDS}, {IDS}
%v{number}_after = mohd.kv_cache_append {v}, %{own}v, %position in %sequence layer {number} : {cache}, {rows}, {IDS}, {IDS}
%{own}z = mohd.attention %{own}qr, %k{number}_after, %v{number}_after, %position in %sequence layer {number} head_dim {HEAD_DIM}
  : {q}, {cache}, {cache}, {IDS}, {IDS}""")
        z, out = f"tensor<?x{OUTPUTS[output]}xf32>", f"tensor<{N}x{OUTPUTS[output]}x{DIMS // N}xf32>"
        lines.append(f"""%{own}o = mohd.sddmm %{own}z, %{own}r, {w}{output}_proj_weight : {z}, {KIND}, {out}
%{own}f = mohd.group_fusion %{own}o kind monarch right({w}fusion_right) left({w}fusion_left) routing(%{own}r) : {X} right {RIGHT} left {LEFT} routing {KIND}
%{own}y = mohd.add {x}, %{own}f : {X}""")
        x = f"%{own}y"
    return "\n".join(lines), x, f"%k{number}_after", f"%v{number}_after"


PLACES = {"position": IDS, "sequence": IDS}


class DecoderFunction(Function):
    """A function whose weights are small, so that errors of f32 do not grow from op to op."""

    def inputs(self):
        return {name: values * np.float32(0.3) if name.endswith(("proj_weight", "router_weight", "right", "left")) else values for name, values in super().inputs().items()}


def decoder_layer(is_frozen=True):
    """A layer that returns its caches, for its backward function alone if they are frozen."""
    body, y, _, _ = layer_text(0, "", "%x", "%k", "%v")
    body = body.replace(y, "%y")

    def run(x, k, v, position, sequence, **tensors):
        layer, cache = DecoderLayer(CONFIG, "reference").double(), []
        y, _ = functional_call(layer, parameters(tensors), (x, LENGTH, cache))
        rows = (made.transpose(1, 2).reshape(TOKENS, -1) for made in cache)
        return y, *(old.index_put((torch.tensor(0), sequence, position), new) for old, new in zip((k, v), rows))

    arguments = {"x": X, **dict(weights("")), "k": cache_type(1), "v": cache_type(1), **PLACES}
    after = ("k0_after", "v0_after")
    takes = (*(name for name in arguments if name not in "kv"), *after)
    return DecoderFunction("decoder_layer" if is_frozen else "decoder_layer_and_caches", arguments, body, {"y": X, **dict.fromkeys(after, cache_type(1))}, run, takes,
                    dict(zip(after, "kv")), ("k", "v", *after) if is_frozen else ())


def decoder():
    """A model that keeps nothing: its backward function appends to the caches again."""
    table, head, logits = f"tensor<{ROWS}x{DIMS}xf32>", f"tensor<{DIMS}x{ROWS}xf32>", f"tensor<?x{ROWS}xf32>"
    arguments = {"tokens": IDS, "model_embed_tokens_weight": table}
    body, x, k, v = f"%x = mohd.embed %tokens, %model_embed_tokens_weight : {IDS}, {table} -> {X}\n", "%x", "%k", "%v"
    for number in range(LAYERS):
        prefix = f"model_layers_{number}_"
        arguments |= dict(weights(prefix))
        text, x, k, v = layer_text(number, prefix, x, k, v)
        body += text + "\n"
    body += f"""%n = mohd.rms_norm {x}, %model_norm_weight epsilon 1.0e-5 : {X}, {FLAT}
%y = mohd.linear %n, %lm_head_weight : {X}, {head} -> {logits}"""
    arguments |= {"model_norm_weight": FLAT, "lm_head_weight": head, "k": cache_type(LAYERS), "v": cache_type(LAYERS), **PLACES}

    def run(tokens, k, v, position, sequence, **tensors):
        named = {name.replace("model_layers_", "model.layers.").replace("model_", "model."): tensor for name, tensor in tensors.items()}
        for number in range(LAYERS):
            named = {name.replace(f"layers.{number}_", f"layers.{number}."): tensor for name, tensor in named.items()}
        model = MoHDForCausalLM(CONFIG).double()
        return functional_call(model, parameters(named), (tokens.view(-1, LENGTH),)).flatten(0, 1)

    return DecoderFunction("decoder", arguments, body, {"y": logits}, run, tuple(arguments), frozen=("k", "v"))


@pytest.mark.parametrize("lowering,function", [
    *((lowering, decoder_layer()) for lowering in ("fast", "reference", "emulate:sm_80", "emulate:sm_90a")),
    *((lowering, function) for lowering in ("fast", "emulate:sm_80") for function in (decoder_layer(is_frozen=False), decoder()))],
    ids=lambda value: value if isinstance(value, str) else value.name)
def test_backward_function_of_a_decoder_agrees_with_autograd(lowering, function, tmp_path):
    context = compiled_context(tmp_path / "decoder.mlir", [function], lowering)
    expect_gradients(context, function)
    taken = {tensor.name for tensor in context.module.entry_points[f"{function.name}_backward"].inputs}
    assert taken == {*function.takes, *(f"grad_{name}" for name in function.results if name not in function.frozen)}
