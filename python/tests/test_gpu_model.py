# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models with kernels for GPUs, in the emulator: against the NumPy model, and the example models against the CPU's kernels."""

import functools
import os
import pathlib

import numpy as np
import pytest

import mohd
from cases import config_of
from mohd import find
from mohd.config import Routing
from test_compiled_model import expect_close, folder_of
from test_quantized_model import ODD, quantized_model
from mohd.reference_model import Model

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
STEPS = 50  # of decode

# Without a build there is nothing to test; a build (MOHD_BUILD, set by scripts/check) must have the compiler.
pytestmark = pytest.mark.skipif(
    find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first"
)

ROUTINGS = [
    None,
    Routing(16, 6, 2),
    Routing(16, 6, 2, gate="shared_one", scaling="sqrt_n_over_k"),
    Routing(16, 6, 2, fusion="block_diagonal"),
    Routing(16, 6, 2, fusion="none", axis="ffn_inner"),
    Routing(16, 6, 2, norm_stat="active"),
    Routing(4, 4, 0), Routing(4, 2, 0, gate="binary"), Routing(32, 0, 1), Routing(4, 0, 3),
]


@pytest.mark.parametrize("routing", ROUTINGS, ids=str)
def test_agrees_with_numpy(tmp_path, routing):
    """Three sequences of 7 tokens by prefill, then a step of decode, in f32."""
    folder = folder_of(config_of(routing), tmp_path)
    module = mohd.load(mohd.compile(folder, "emulate:sm_90a", folder / "model.mohdb", weights_dtype="f32"))
    reference = Model.load(folder)
    tokens = np.random.default_rng(5).integers(0, 29, (3, 8))
    place = np.arange(24)
    expected = reference.prefill(tokens.reshape(-1), place // 8, place % 8, place, *reference.new_caches(3, 8)).reshape(3, 8, -1)
    generator = mohd.Generator(module, 3, 8, device="emulate")
    expect_close(generator.prefill(tokens[:, :7], all_rows=True), expected[:, :7])
    expect_close(generator.decode(tokens[:, 7]), expected[:, 7])


QUANTIZED = [
    (None, {}), (Routing(16, 6, 2), {}), (Routing(16, 6, 2), ODD), (Routing(16, 6, 2, axis="ffn_inner"), ODD), (Routing(4, 4, 0), {}), (Routing(4, 2, 0), {}),
    (Routing(4, 0, 3), {}),
]


def expect_quantized(folder, chip, weights_dtype, lengths, limit):
    """Prefills of the first `lengths` tokens of a sequence, and a step of decode, agree with the NumPy model of the quantised weights."""
    module = mohd.load(mohd.compile(folder, f"emulate:{chip}", folder / "model.mohdb", weights_dtype=weights_dtype, quantize="int8"))
    tokens = np.random.default_rng(5).integers(0, 29, max(lengths) + 1)
    place = np.arange(tokens.size)
    reference = quantized_model(folder)
    expected = reference.prefill(tokens, 0 * place, place, place, *reference.new_caches(1, tokens.size))
    generator = mohd.Generator(module, 1, tokens.size, device="emulate")
    for length in lengths:
        got = generator.prefill(tokens[None, :length], all_rows=True)[0]
        assert np.linalg.norm(got - expected[:length]) <= limit * np.linalg.norm(expected[:length]), length
    got = generator.decode(tokens[length : length + 1])
    assert np.linalg.norm(got - expected[length]) <= limit * np.linalg.norm(expected[length])


@pytest.mark.parametrize("routing,sizes", QUANTIZED, ids=str)
def test_quantized_agrees_with_numpy(tmp_path, routing, sizes):
    """int8 weights, read by the kernels of few tokens and of many, in f32."""
    folder = folder_of(config_of(routing, **sizes), tmp_path)
    expect_quantized(folder, "sm_90a", "f32", [0, 1, 2, 15, 16, 17], 1e-5)


@pytest.mark.parametrize("chip", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("routing", [None, Routing(4, 4, 0), Routing(4, 2, 0)], ids=str)
def test_quantized_in_16_bits(tmp_path, routing, chip):
    """The same on tensor units, where tokens are rounded; routings without a choice that rounding could change."""
    folder = folder_of(config_of(routing, hidden_size=64), tmp_path)
    expect_quantized(folder, chip, "bf16", [1, 15, 17], 2e-2)


def generate(module, device):
    """Logits of a prompt's rows, and the tokens that follow it."""
    prompt = np.frombuffer(b"The function returns the number of items in a list, or -1 if", np.uint8)[None].astype(np.int32)
    generator = mohd.Generator(module, 1, prompt.size + STEPS, device=device)
    logits = generator.prefill(prompt, all_rows=True)
    tokens = [int(np.argmax(logits[0, -1]))]
    for _ in range(STEPS):
        tokens.append(int(np.argmax(generator.decode(tokens[-1:])[0])))
    return logits, tokens


@functools.cache
def on_cpu(name, folder):
    """What the CPU's kernels make of an example model."""
    return generate(mohd.load(mohd.compile(EXAMPLES / name, out=folder / "cpu.mohdb")), "cpu")


@pytest.mark.parametrize("chip", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("name", ["pydoc-mohd", "pydoc-dense"])
def test_example_models_agree_with_the_cpu(tmp_path, tmp_path_factory, name, chip):
    expected, tokens = on_cpu(name, tmp_path_factory.getbasetemp())
    module = mohd.load(mohd.compile(EXAMPLES / name, f"emulate:{chip}", tmp_path / "gpu.mohdb"))
    logits, found = generate(module, "emulate")
    assert np.linalg.norm(logits - expected) <= 2e-2 * np.linalg.norm(expected)
    assert found == tokens
