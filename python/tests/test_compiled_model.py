# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models through mohd-compile and the runtime, against the NumPy model; and mohd.compare on the example model."""

import os
import pathlib

import numpy as np
import pytest
import torch

import mohd
from cases import config_of, random_weights
from mohd import compare, find
from mohd.config import VALUES, Routing
from mohd.nn import MoHDForCausalLM
from mohd.reference_model import Model

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"

# Without a build there is nothing to test; a build (MOHD_BUILD, set by scripts/check) must have the compiler.
pytestmark = pytest.mark.skipif(
    find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first"
)

ROUTINGS = [
    None,
    Routing(16, 6, 2),
    *(Routing(16, 6, 2, gate=gate, scaling="sqrt_n_over_k") for gate in VALUES["gate"]),
    *(Routing(16, 6, 2, scaling=scaling) for scaling in VALUES["scaling"][1:]),
    *(Routing(16, 6, 2, score=score) for score in VALUES["score"][1:]),
    *(Routing(16, 6, 2, fusion=fusion) for fusion in VALUES["fusion"][1:]),
    *(Routing(16, 6, 2, fusion=fusion, axis="ffn_inner") for fusion in VALUES["fusion"]),
    Routing(16, 6, 2, norm_stat="active"),
    Routing(1, 0, 1), Routing(4, 4, 0), Routing(4, 2, 0, gate="binary"), Routing(32, 0, 1),
    Routing(4, 2, 2, gate="binary", scaling="none", fusion="none"),
]
ROUTINGS = list(dict.fromkeys(ROUTINGS))  # softmax with sqrt_n_over_k is a gate's and a scaling's


def folder_of(config, path, dtype=torch.float32):
    """Writes a model of random weights into the folder `path`; returns it."""
    model = MoHDForCausalLM(config)
    model.load_state_dict({name: torch.tensor(array) for name, array in random_weights(config).items()})
    model.save_pretrained(path, dtype)
    return path


def load_both(folder, weights_dtype="f32"):
    """(compiled module, NumPy model) of a model folder."""
    bundle = mohd.compile(folder, out=folder / "model.mohdb", weights_dtype=weights_dtype)
    return mohd.load(bundle), Model.load(folder)


def expect_close(got, expected):
    """Equal to float32 rounding."""
    assert got.shape == expected.shape and got.dtype == np.float32
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("routing", ROUTINGS, ids=str)
def test_compiled_agrees_with_numpy(tmp_path, routing):
    """Three sequences of 7 tokens by prefill, then two steps of decode."""
    config = config_of(routing)
    module, reference = load_both(folder_of(config, tmp_path))
    tokens = np.random.default_rng(5).integers(0, 29, (3, 9))
    place = np.arange(27)
    expected = reference.prefill(tokens.reshape(-1), place // 9, place % 9, place, *reference.new_caches(3, 9)).reshape(3, 9, -1)
    generator = mohd.Generator(module, 3, 9)
    expect_close(generator.prefill(tokens[:, :7], all_rows=True), expected[:, :7])
    expect_close(generator.decode(tokens[:, 7]), expected[:, 7])
    expect_close(generator.decode(tokens[:, 8]), expected[:, 8])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(module, NumPy model) of one MoHD model."""
    return load_both(folder_of(config_of(Routing(16, 6, 2), tie_word_embeddings=True), tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("lengths", [[0], [1], [17], [5, 0, 64, 1]], ids=str)
def test_prefill_of_ragged_sequences_then_decode(small, lengths):
    module, reference = small
    rng, count = np.random.default_rng(6), sum(lengths)
    sequence = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    position = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    order = rng.permutation(count)  # tokens of a call may come in any order
    sequence, position = sequence[order], position[order]
    tokens = rng.integers(0, 29, count).astype(np.int32)
    rows = np.flatnonzero(rng.random(count) < 0.5).astype(np.int32)
    expected_caches = reference.new_caches(len(lengths), 65)
    caches = [mohd.zeros(cache.shape, np.float32) for cache in expected_caches]
    named = dict(zip(("k_cache", "v_cache"), caches))
    context = module.context()
    inputs = {"tokens": tokens, "sequence": sequence, "position": position, "rows": rows}
    got = context.run("prefill", inputs | named)["logits"]
    expect_close(got, reference.prefill(tokens, sequence, position, rows, *expected_caches))
    for cache, expected in zip(caches, expected_caches):
        expect_close(cache, expected)
    tokens, position = np.arange(len(lengths), dtype=np.int32), np.array(lengths, np.int32)
    got = context.run("decode", {"tokens": tokens, "position": position} | named)["logits"]
    expect_close(got, reference.decode(tokens, position, *expected_caches))


def test_generator_with_no_tokens(small):
    generator = mohd.Generator(small[0], 2, 9)
    assert generator.prefill(np.zeros((2, 0), np.int32), all_rows=True).shape == (2, 0, 29)
    with pytest.raises(ValueError, match="at least one token"):
        generator.prefill(np.zeros((2, 0), np.int32))


def test_results_do_not_depend_on_threads(small):
    module, _ = small
    tokens = np.random.default_rng(7).integers(0, 29, (2, 40))
    results = [mohd.Generator(module, 2, 41, threads).prefill(tokens, all_rows=True) for threads in (1, 2, 5)]
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


def test_pinned_threads(small):
    module, _ = small
    assert module.context(1, pin_threads=True).threads == module.context(1, pin_threads=False).threads == 1
    with pytest.raises(mohd.MohdError, match="at least 1024 CPUs to pin 1024 threads to"):
        module.context(1024, pin_threads=True)


@pytest.mark.parametrize("name,values", [("tokens", [29]), ("tokens", [-1]), ("position", [65]), ("sequence", [1]), ("rows", [1])])
def test_index_outside_its_range_is_refused(small, name, values):
    module, _ = small
    inputs = {key: np.zeros(1, np.int32) for key in ("tokens", "sequence", "position", "rows")}
    inputs[name] = np.array(values, np.int32)
    caches = {key: mohd.zeros((2, 1, 65, 16), np.float32) for key in ("k_cache", "v_cache")}
    with pytest.raises(mohd.MohdError, match=name) as caught:
        module.context().run("prefill", inputs | caches)
    assert caught.value.status == "OUT_OF_RANGE"


def test_decode_wants_a_token_for_each_sequence(small):
    module, _ = small
    inputs = {"tokens": np.zeros(2, np.int32), "position": np.zeros(2, np.int32)}
    caches = {key: mohd.zeros((2, 3, 65, 16), np.float32) for key in ("k_cache", "v_cache")}
    with pytest.raises(mohd.MohdError, match="k_cache"):
        module.context().run("decode", inputs | caches)


@pytest.mark.parametrize("weights_dtype", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("name", ["pydoc-mohd", "pydoc-dense"])
def test_example_models_agree_with_pytorch(capsys, name, weights_dtype):
    arguments = [str(EXAMPLES / name), "--text", str(EXAMPLES / "sample.txt"), "--weights-dtype", weights_dtype]
    code = compare.main(arguments)
    out = capsys.readouterr().out
    assert code == 0 and "PASS" in out and "of them 0 from a near tie" in out, out


def test_compare_takes_random_tokens(tmp_path, capsys):
    folder = folder_of(config_of(Routing(16, 6, 2), max_position_embeddings=300), tmp_path)
    assert compare.main([str(folder), "--tokens", "100"]) == 0, capsys.readouterr()


def greedy(model, prompt, count):
    """What follows a prompt by the NumPy model."""
    caches, tokens = model.new_caches(1, len(prompt) + count), np.array(prompt, np.int32)
    logits = model.prefill(tokens, np.zeros_like(tokens), np.arange(len(tokens)), [len(tokens) - 1], *caches)
    made = []
    for position in range(len(prompt), len(prompt) + count):
        made.append(int(np.argmax(logits[0])))
        logits = model.decode(np.array(made[-1:]), np.array([position]), *caches)
    return made


def test_generate_takes_the_largest_logits(small):
    module, reference = small
    prompts = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]
    expected = [greedy(reference, prompt, 8) for prompt in prompts]
    assert module.generate(prompts[0], 8).tolist() == expected[0]
    together = module.generate(prompts, 8, threads=1)
    assert together.dtype == np.int32 and together.tolist() == expected
    assert module.generate(np.array(prompts[1]), 8, temperature=1.0, top_k=1, seed=5).tolist() == expected[1]
    assert module.generate(prompts[1], 8, temperature=1.0, top_p=1e-6).tolist() == expected[1]


def test_streams_and_draws(small):
    module, _ = small
    steps = module.stream([1, 2], 20, temperature=2.0, seed=7)
    first = next(steps)  # before the others are made
    assert isinstance(first, int)
    whole = module.generate([1, 2], 20, temperature=2.0, seed=7)
    assert [first, *steps] == whole.tolist() == module.generate([1, 2], 20, temperature=2.0, seed=7, threads=1).tolist()
    assert module.generate([1, 2], 20, temperature=2.0, seed=8).tolist() != whole.tolist()
    array = next(module.stream([[1, 2], [3]], 1))
    assert array.shape == (2,) and array.dtype == np.int32


def test_draws_follow_the_softmax(small):
    """4000 sequences of one token, each drawn from the same distribution."""
    module, reference = small
    logits = reference.prefill(np.array([5]), np.array([0]), np.array([0]), [0], *reference.new_caches(1, 1))[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    drawn = module.generate([[5]] * 4000, 1, temperature=1.0)[:, 0]
    seen = np.bincount(drawn, minlength=29) / 4000
    assert (abs(seen - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4000) + 1e-9).all()


@pytest.mark.parametrize("arguments, error, message", [
    (([], 5), ValueError, "a token in each prompt and a new one, got prompts of 0 and 5"),
    (([[1], []], 5), ValueError, "got prompts of 1, 0 and 5"),
    (([1], 0), ValueError, "got prompts of 1 and 0 new ones"),
    (([1] * 60, 70), ValueError, "at most [0-9]+ positions, got 129: 60 tokens and 70 new ones"),
    (([1, 29], 5), mohd.MohdError, "29"),
])
def test_what_generate_refuses(small, arguments, error, message):
    with pytest.raises(error, match=message):
        small[0].generate(*arguments)


def test_generator_wants_a_prompt_for_each_sequence(small):
    with pytest.raises(ValueError, match="^expects 2 prompts, got 3$"):
        next(mohd.Generator(small[0], 2, 9).stream([[1], [2], [3]], 1))


def test_generate_needs_finite_logits(tmp_path):
    config = config_of(None)
    folder = folder_of(config, tmp_path)
    bundle = mohd.compile(folder, out=folder / "model.mohdb")
    generator = mohd.Generator(mohd.load(bundle), 2, 4)
    logits = np.zeros((2, 29), np.float32)
    assert generator.sample(logits, temperature=[0.0, 1.0], draw=0.5).tolist() == [0, 14]
    logits[1, 3] = np.nan
    with pytest.raises(mohd.MohdError, match="sequence 1 has logits that are not finite"):
        generator.sample(logits)
