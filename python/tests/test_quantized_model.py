# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models compiled with --quantize=int8 against the NumPy model of weights that a few lines of NumPy quantised."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
import torch

import mohd
from cases import config_of, random_weights
from mohd import compare, find, weights
from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM
from mohd.reference_model import Model

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.skipif(
    find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first"
)


def quantized(weight, axis, groups):
    """`weight` as int8 stands for it: axis `axis` is contracted, cut into `groups` that have scales of their own."""
    shape = weight.shape
    cut = weight.astype(np.float32).reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    scale = np.abs(cut).max(axis + 1, keepdims=True) / np.float32(127)
    values = np.rint(cut / np.where(scale == 0, np.float32(1), scale))
    assert np.abs(values).max() <= 127
    return (values.astype(np.float64) * scale).reshape(shape)


def quantized_model(folder):
    """The NumPy model of a folder with quantised projections and an LM head of its own."""
    config, tensors = Config.load(folder), weights.load(folder)
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    for name in tensors:
        # What reads the routed residual has scales for each of its groups; what writes groups contracts all of its input.
        reads = any(f"{part}_proj" in name for part in ("q", "k", "v", "gate", "up"))
        routing = config.routing("mlp" if ".mlp." in name else "self_attn")
        groups = routing.num_groups if reads and routing and routing.axis != "ffn_inner" else 1
        if "_proj." in name or name == "lm_head.weight":
            tensors[name] = quantized(tensors[name], 1, groups)
    return Model(dataclasses.replace(config, tie_word_embeddings=False), tensors)


def logits_of(module, tokens):
    """Logits [sequences, length, V]: prefill, the last two tokens by decode."""
    generator = mohd.Generator(module, *tokens.shape)
    parts = [generator.prefill(tokens[:, :-2], all_rows=True)]
    parts += [generator.decode(tokens[:, i])[:, None] for i in (-2, -1)]
    return np.concatenate(parts, 1)


def folder_of(config, path):
    """Writes a model of random weights into the folder `path`; returns it."""
    model = MoHDForCausalLM(config)
    model.load_state_dict({name: torch.tensor(array) for name, array in random_weights(config).items()})
    model.save_pretrained(path)
    return path


ROUTINGS = [
    None,  # a LLaMA
    Routing(16, 6, 2),
    Routing(16, 6, 2, fusion="none", scaling="none"),
    Routing(16, 6, 2, norm_stat="active"),
    Routing(4, 4, 0), Routing(4, 1, 3), Routing(4, 2, 0, gate="binary"), Routing(1, 0, 1), Routing(32, 0, 1), Routing(4, 0, 2),
    Routing(4, 2, 2, gate="binary", scaling="none", fusion="none"),
    *(Routing(16, 6, 2, fusion=fusion, axis="ffn_inner") for fusion in ("monarch", "none")),
]
ODD = dict(hidden_size=48, intermediate_size=80, num_attention_heads=3, num_key_value_heads=1, head_dim=14, vocab_size=37)
"""No width is a multiple of a panel of 16 columns but those that groups must divide."""


def compile_quantized(folder, lowering="fast", weights_dtype="f32"):
    bundle = mohd.compile(folder, out=folder / "model.mohdb", weights_dtype=weights_dtype, quantize="int8",
                          options=[f"--lowering={lowering}"])
    return mohd.load(bundle)


def expect_quantized(config, folder, lowering="fast", length=12):
    """The compiled model agrees with the NumPy model of quantised weights to float32 rounding, and not with the unquantised one."""
    folder_of(config, folder)
    module, reference = compile_quantized(folder, lowering), quantized_model(folder)
    tokens = np.random.default_rng(5).integers(0, config.vocab_size, (3, length))
    place = np.arange(tokens.size)
    run = lambda model: model.prefill(
        tokens.reshape(-1), place // length, place % length, place, *model.new_caches(3, length)).reshape(3, length, -1)
    got, expected = logits_of(module, tokens), run(reference)
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)
    assert np.linalg.norm(got - run(Model.load(folder))) > 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("routing", ROUTINGS, ids=str)
def test_compiled_agrees_with_quantized_numpy(tmp_path, routing):
    expect_quantized(config_of(routing), tmp_path)


@pytest.mark.parametrize("routing", [None, Routing(16, 6, 2), Routing(16, 6, 2, axis="ffn_inner")], ids=str)
def test_odd_widths(tmp_path, routing):
    expect_quantized(config_of(routing, **ODD), tmp_path)


@pytest.mark.parametrize("routing", [None, Routing(16, 6, 2)], ids=str)
def test_tied_head_is_quantized_and_embeddings_are_not(tmp_path, routing):
    expect_quantized(config_of(routing, tie_word_embeddings=True), tmp_path)


@pytest.mark.parametrize("routing", [None, Routing(16, 6, 2), Routing(16, 6, 2, axis="ffn_inner")], ids=str)
def test_reference_lowering(tmp_path, routing):
    expect_quantized(config_of(routing), tmp_path, "reference")


def test_many_tokens_meet_widened_panels(tmp_path):
    expect_quantized(config_of(Routing(8, 2, 2), hidden_size=64, max_position_embeddings=128), tmp_path, length=120)


def test_quantized_from_what_the_files_hold(tmp_path):
    """Other weights may be 16-bit: projections are quantised from the files' f32, not from those."""
    folder_of(config_of(None), tmp_path)
    compile_quantized(tmp_path, weights_dtype="bf16")
    narrow = (tmp_path / "model.mohdb").read_bytes()
    compile_quantized(tmp_path)
    wide = (tmp_path / "model.mohdb").read_bytes()
    tensors = weights.load(tmp_path)
    weight = tensors["model.layers.0.mlp.down_proj.weight"]  # [32, 48]
    scale = np.abs(weight).max(1, keepdims=True) / np.float32(127)
    panel = np.rint(weight / scale).astype(np.int8)[:16].T.tobytes()  # the first 16 columns of [48, 32]
    assert panel in narrow and panel in wide


def test_bundles_are_the_same_each_time(tmp_path):
    folder_of(config_of(Routing(16, 6, 2)), tmp_path)
    compile_quantized(tmp_path)
    first = (tmp_path / "model.mohdb").read_bytes()
    compile_quantized(tmp_path)
    assert first == (tmp_path / "model.mohdb").read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, bad):
    config = config_of(None)
    model = MoHDForCausalLM(config)
    tensors = {name: torch.tensor(array) for name, array in random_weights(config).items()}
    tensors["model.layers.1.self_attn.k_proj.weight"][3, 4] = bad
    model.load_state_dict(tensors)
    model.save_pretrained(tmp_path)
    with pytest.raises(mohd.MohdError, match="tensor 'model.layers.1.self_attn.k_proj.weight': expects finite weights"):
        compile_quantized(tmp_path)
    assert not (tmp_path / "model.mohdb").exists()


@pytest.mark.parametrize("name", ["pydoc-mohd", "pydoc-dense"])
def test_example_models_stay_close_to_pytorch(capsys, name):
    code = compare.main([str(EXAMPLES / name), "--text", str(EXAMPLES / "sample.txt"), "--quantize", "int8"])
    out = capsys.readouterr().out
    assert code == 0 and "PASS: relative error at most 0.05" in out, out
