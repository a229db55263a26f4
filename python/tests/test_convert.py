# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m mohd.convert: exactness of what it does to weights, what it finds in planted data, its files, and what it refuses."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import mohd
from cases import config_of, random_weights
from mohd import find, reference, weights
from mohd.analyze.stream import Checkpoint
from mohd.config import VALUES, Config, Routing
from mohd.convert import command as program, build, calibrate, conversion, grouping, layout, routers
from mohd.files import whole_folder
from mohd.nn import MoHDForCausalLM
from mohd.reference_model import Model
from mohd.train import command as train

DENSE = config_of(None, vocab_size=128, tokenizer="bytes")
TEXT = b"the quick brown fox jumps over the lazy dog; " * 60
ORDER = np.random.default_rng(3).permutation(32)
FACTOR_1 = [("softmax", "k_over_mass"), ("renormalized", "none"), ("binary", "none"), ("renormalized", "k_over_mass")]


def tensors_of(config, seed=0):
    """Random float64 tensors by name of a dense model."""
    return {name: torch.from_numpy(array) for name, array in random_weights(config, seed).items()}


def logits_of(config, tensors):
    """float64 logits [20, V] by the NumPy model."""
    model, tokens = Model(config, {name: tensor.numpy() for name, tensor in tensors.items()}), np.arange(20) * 7 % config.vocab_size
    return model.prefill(tokens, np.zeros(20, int), np.arange(20), np.arange(20), *model.new_caches(1, 20))


def made(config, tensors, routing, expand=1, order=ORDER, noise=0.0):
    """(configuration, weights) of a conversion whose routers are 0."""
    return build.weights_of(config, tensors, build.layout_of(order, routing, expand), routing, noise)


def expect_equal(got, expected):
    """Equal to float64 rounding."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("tied", [False, True])
def test_reordered_model_computes_the_same(tied):
    config = config_of(None, tie_word_embeddings=tied)
    tensors = tensors_of(config)
    expect_equal(logits_of(*made(config, tensors, None)), logits_of(config, tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_reordered_weights_have_the_bits_of_the_dense_ones(dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in tensors_of(DENSE).items()}
    there = layout.converted(tensors, layout.permuted(ORDER), False)
    back = layout.converted(there, layout.permuted(np.argsort(ORDER)), False)
    for name, tensor in tensors.items():
        assert back[name].dtype == dtype and back[name].equal(tensor) and (tensor.ndim == 1 or not there[name].equal(tensor))


@pytest.mark.parametrize("n,shared", [(1, 0), (1, 1), (4, 0), (4, 4), (16, 6), (32, 0)])
@pytest.mark.parametrize("gate,scaling", FACTOR_1 + [("softmax", "sqrt_nk_over_mass"), ("binary", "n_over_k"), ("renormalized", "sqrt_n_over_k")])
def test_all_groups_active_is_the_dense_model(gate, scaling, n, shared):
    tensors = tensors_of(DENSE)
    for fusion in VALUES["fusion"]:
        routing = Routing(n, shared, n - shared, gate=gate, scaling=scaling, fusion=fusion)
        build.check(DENSE, routing, 1)
        expect_equal(logits_of(*made(DENSE, tensors, routing)), logits_of(DENSE, tensors))


@pytest.mark.parametrize("gate,scaling,expand", [
    ("softmax", "none", 1), ("softmax", "n_over_k", 1), ("shared_one", "none", 1), ("shared_one", "sqrt_nk_over_mass", 1), ("binary", "n_times_mass", 1),
    ("softmax", "sqrt_nk_over_mass", 2), ("renormalized", "n_over_k", 2),
])
def test_gates_that_change_equal_groups_are_refused(gate, scaling, expand):
    with pytest.raises(ValueError, match=f"expects a gate and a scaling that leave .*, got gate {gate} with scaling {scaling}, which multiply by "):
        build.check(DENSE, Routing(16, 6, 2, gate=gate, scaling=scaling), expand)


@pytest.mark.parametrize("changes", [dict(axis="ffn_inner"), dict(norm_stat="active"), dict(score="softmax_routed")], ids=str)
def test_routings_that_are_refused(changes):
    with pytest.raises(ValueError, match="expects (axis residual|norm_stat full|a gate and a scaling)"):
        build.check(DENSE, Routing(16, 6, 2, scaling="k_over_mass", **changes), 1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("expand", [2, 3, 4])
def test_wider_model_computes_the_same(expand, tied):
    config = config_of(None, tie_word_embeddings=tied)
    tensors = tensors_of(config)
    expected = logits_of(config, tensors)
    wide, weights_ = made(config, tensors, None, expand)
    assert wide.hidden_size == 32 * expand and wide.head_dim == 8 and wide.intermediate_size == 48
    expect_equal(logits_of(wide, weights_), expected)
    everything = Routing(4 * expand, 3, 4 * expand - 3, scaling="k_over_mass")
    expect_equal(logits_of(*made(config, tensors, everything, expand, noise=0.3)), expected)
    first, second = (made(config, tensors, everything, expand, noise=noise)[1]["model.layers.0.mlp.up_proj.weight"] for noise in (0.3, 0.0))
    assert second[:, :32].equal(second[:, 32:64]) and not first[:, :32].isclose(first[:, 32:64]).any()


@pytest.mark.parametrize("gate,scaling", FACTOR_1)
@pytest.mark.parametrize("expand,n,shared,routed", [(2, 16, 6, 2), (2, 8, 0, 4), (2, 16, 1, 7), (3, 12, 3, 1), (3, 12, 1, 3), (4, 16, 3, 1), (4, 128, 30, 2), (2, 2, 0, 1)])
def test_wider_model_at_the_dense_width_computes_the_same(expand, n, shared, routed, gate, scaling):
    tensors, routing = tensors_of(DENSE), Routing(n, shared, routed, gate=gate, scaling=scaling)
    build.check(DENSE, routing, expand)
    config, weights_ = made(DENSE, tensors, routing, expand)
    expected = logits_of(DENSE, tensors)
    expect_equal(logits_of(config, weights_), expected)  # the first copy, by the tie
    for number, name in enumerate(name for name in weights_ if name.endswith("router.weight")):
        weights_[name] = 1e-13 * routers.directions(routing, config.hidden_size, routed, number)  # so small that gates stay 1
    expect_equal(logits_of(config, weights_), expected)
    normed = np.random.default_rng(0).standard_normal((400, config.hidden_size))
    indices = reference.select(normed @ weights_["model.layers.0.mlp.router.weight"].numpy().T, shared, routed)
    copies = (n - shared) // routed
    chosen = (indices[:, shared:] - shared) // routed
    assert (chosen == chosen[:, :1]).all() and set(chosen[:, 0]) == set(range(copies))  # a whole copy each time, and every copy sometimes


def test_copies_have_the_energy_of_what_they_come_from():
    made_ = layout.upcycled(np.arange(32), 2, 16, 6, 2)
    assert np.bincount(made_.source).tolist() == [1] * 24 + [5] * 8
    np.testing.assert_allclose(np.bincount(made_.source, made_.scale**2), 2.0)
    assert layout.blocks_of(7, 1, 2).tolist() == [0, 1, 2, 1, 2, 1, 2] and layout.blocks_of(6, 1, 2).tolist() == [0, 1, 2, 1, 2, 1]


def planted(tokens=600, seed=0):
    """Rows [T, 32] of which dims 0, 5, .. (eight) are always large, and of the other 24 the six of one of four sets; and the sets."""
    rng = np.random.default_rng(seed)
    dims = rng.permutation(32)
    shared, sets = dims[:8], dims[8:].reshape(4, 6)
    rows = 0.1 * rng.standard_normal((tokens, 32))
    rows[:, shared] += 5 * rng.choice([-1, 1], (tokens, 8))
    chosen = rng.integers(0, 4, tokens)
    for row, which in zip(rows, chosen):
        row[sets[which]] += 2
    return rows, shared, sets, chosen


def found_in(order):
    """(shared dims, the other groups of six) of an order of 32 dims, as sets."""
    return set(order[:8].tolist()), {frozenset(group.tolist()) for group in order[8:].reshape(4, 6)}


def test_planted_dims_are_found():
    rows, shared, sets, _ = planted()
    counts = calibrate.Together(32, 14)
    counts.add(rows)
    use = counts.use()
    order = np.concatenate([(ranked := grouping.order_of(use.activity, use.affinity, 1, 0))[:8],
                            (rest := np.sort(ranked[8:]))[np.argsort(grouping.clustered(use.affinity[np.ix_(rest, rest)], 4), kind="stable")]])
    assert found_in(order) == (set(shared.tolist()), {frozenset(group.tolist()) for group in sets})


def test_planted_dims_of_a_checkpoint_are_found(tmp_path):
    # layers that write nothing: normed inputs are rows of the embedding table
    rows, shared, sets, _ = planted(128)
    tensors = {name: (0 if name.endswith(layout.WRITERS) else 1) * t.float() for name, t in tensors_of(DENSE).items()}
    tensors["model.embed_tokens.weight"] = torch.from_numpy(rows).float()
    for name in tensors:
        if name.endswith("norm.weight"):
            tensors[name] = torch.ones(32)
    folder = write(tmp_path / "dense", tensors)
    checkpoint, tokens = Checkpoint(folder, DENSE), np.arange(128).reshape(4, 32)
    for seen in (tokens, None):  # on text, and from the table
        order = build.order_by(checkpoint, seen, Routing(16, 4, 4), 1)
        assert set(order[:8].tolist()) == set(shared.tolist())
        members = [frozenset(group.tolist()) for group in order[8:].reshape(12, 2)]  # pairs, each within one of the planted sets
        assert all(any(group <= set(planted_.tolist()) for planted_ in sets) for group in members)


def test_exchanges_repair_a_bad_clustering():
    labels = np.arange(24) % 4
    affinity = np.where(labels[:, None] == labels, 1.0, -0.1)
    np.fill_diagonal(affinity, 0)
    got = grouping.improved(affinity, np.arange(24) // 6, 4)
    assert {frozenset(np.flatnonzero(got == i)) for i in range(4)} == {frozenset(np.flatnonzero(labels == i)) for i in range(4)}


@pytest.mark.parametrize("dims,groups,shared", [(32, 1, 0), (32, 1, 1), (32, 32, 0), (32, 32, 31), (32, 4, 4), (32, 8, 3), (6, 3, 1)])
def test_order_is_a_permutation_whatever_the_sizes(dims, groups, shared):
    rng = np.random.default_rng(0)
    affinity = rng.standard_normal((dims, dims))
    for activity in (rng.random(dims), np.zeros(dims)):
        order = grouping.order_of(activity, affinity + affinity.T, groups, shared)
        assert sorted(order.tolist()) == list(range(dims))
        np.testing.assert_array_equal(order, grouping.order_of(activity, affinity + affinity.T, groups, shared))


def test_router_finds_the_groups_that_tokens_need():
    rows, shared, sets, chosen = planted()
    order = np.concatenate([shared, *sets])
    normed = torch.from_numpy(rows[:, order])
    share = torch.zeros(len(rows), 5, dtype=torch.float64)
    share[:, 0], share[torch.arange(len(rows)), torch.from_numpy(chosen) + 1] = 0.5, 0.5
    routing = Routing(5, 1, 1)
    centroids = routers.of_spread(routers.fitted(normed, share, routing), normed, routing, 0.1)
    logits = (normed @ centroids.T)[:, 1:]
    assert (logits.argmax(-1).numpy() == chosen).all() and not centroids[0].any()
    assert (logits - logits.mean(-1, keepdim=True)).square().mean().sqrt() == pytest.approx(0.1)


def test_random_directions_spread_tokens_of_any_mean():
    routing, rng = Routing(8, 2, 1), torch.Generator().manual_seed(0)
    normed = 3 + torch.randn(4000, 64, generator=rng, dtype=torch.float64) * torch.logspace(-2, 1, 64, dtype=torch.float64)
    logits = normed @ routers.whitened(routers.directions(routing, 64, 1, 0), normed).T
    count = torch.bincount(logits[:, 2:].argmax(-1), minlength=6)
    assert count.max() < 1.5 * 4000 / 6
    assert torch.bincount((normed @ routers.directions(routing, 64, 1, 0).T)[:, 2:].argmax(-1), minlength=6).max() > 2000


def write(folder, tensors=None, config=DENSE, **keys):
    """Writes a dense model whose config.json has `keys`, too; returns the folder."""
    folder.mkdir()
    tensors = tensors or {name: (0.1 if tensor.ndim > 1 else 1) * tensor.float() for name, tensor in tensors_of(config).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict() | keys))
    return folder


def run(folder, out, *options, n=8, shared=2, routed=2):
    """The exit code of a conversion of `folder` with small amounts of text."""
    sizes = ["--groups", str(n), "--shared", str(shared), "--routed", str(routed)]
    return program.main([str(folder), *sizes, "-o", str(out), "--calibrate", "512", "--evaluate", "4", "--sequence-length", "32", "--device", "cpu", *options])


@pytest.fixture
def dense(tmp_path):
    """A dense model and a text."""
    (tmp_path / "text").write_bytes(TEXT)
    return write(tmp_path / "dense")


def record_of(out):
    return json.loads((out / "conversion.json").read_text())


def test_command_writes_a_model_that_training_takes(dense, tmp_path, capsys):
    out = tmp_path / "new/mohd"
    assert run(dense, out, "--text", str(tmp_path / "text")) == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "conversion.json", "model.safetensors", "train.json"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["mohd"]
    text, record = capsys.readouterr().out, record_of(out)
    assert f"python -m mohd.train --config {out / 'train.json'}" in text and "MoHD, 2 shared and 2 routed groups" in text
    first, second, third, last = record["quality"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6) and first["loss"] == pytest.approx(third["loss"], rel=1e-6)
    assert last["activated_parameters"] < first["activated_parameters"]
    assert len(record["routers"]) == 4 and all(0 < r["random"] < r["best"] <= 1 and r["router"] <= r["best"] + 1e-9 for r in record["routers"])
    dense_, got = weights.load(dense), weights.load(out)
    np.testing.assert_array_equal(got["lm_head.weight"], dense_["lm_head.weight"][:, record["source"]])
    assert {name: array.shape for name, array in got.items()} == Config.load(out).tensor_shapes()
    values = json.loads((out / "train.json").read_text()) | {"steps": 30, "optimizer": {"rate": 0.01}, "log": {"every": 1}, "evaluation": {"every": 30, "sequences": 4}}
    (out / "train.json").write_text(json.dumps(values))
    assert train.main(["--config", str(out / "train.json")]) == 0
    lines = [json.loads(line) for line in (out / "recovered/metrics.jsonl").read_text().splitlines()]
    held_out = [line["held_out_loss"] for line in lines if "held_out_loss" in line]
    assert lines[0]["loss"] == pytest.approx(last["loss"], rel=0.1) and held_out[-1] < last["loss"] - 0.5


def test_recovering_in_one_go(dense, tmp_path):
    assert run(dense, tmp_path / "out", "--text", str(tmp_path / "text"), "--recover", "2") == 0
    assert {"config.json", "model.safetensors", "metrics.jsonl"} <= {path.name for path in (tmp_path / "out/recovered").iterdir()}
    assert MoHDForCausalLM.from_pretrained(tmp_path / "out/recovered").config.mohd.num_routed == 2


@pytest.mark.parametrize("sizes,options", [
    (dict(n=1, shared=0, routed=1), []), (dict(n=1, shared=1, routed=0), []), (dict(n=32, shared=4, routed=4), []), (dict(n=8, shared=4, routed=0), []),
    (dict(n=8, shared=4, routed=0), ["--gate", "binary", "--scaling", "none", "--fusion", "none"]), (dict(n=8, shared=0, routed=3), []),
    (dict(n=8, shared=2, routed=6), []), (dict(n=8, shared=8, routed=0), ["--gate", "binary", "--scaling", "none", "--fusion", "none"]),
    (dict(n=8, shared=2, routed=2), ["--spread", "0"]), (dict(n=8, shared=3, routed=1), ["--gate", "renormalized", "--scaling", "none"]),
    (dict(n=8, shared=2, routed=2), ["--expand", "2"]), (dict(n=12, shared=3, routed=1), ["--expand", "3", "--dtype", "bfloat16"]),
    (dict(n=8, shared=2, routed=6), ["--expand", "4"]),
], ids=str)
def test_sizes_convert(dense, tmp_path, sizes, options, capsys):
    assert run(dense, tmp_path / "out", "--text", str(tmp_path / "text"), *options, **sizes) == 0
    model, record = MoHDForCausalLM.from_pretrained(tmp_path / "out"), record_of(tmp_path / "out")
    assert model.config.mohd == Routing(sizes["n"], sizes["shared"], sizes["routed"], **{"scaling": "k_over_mass"} | dict(
        (key[2:], value) for key, value in zip(options[::2], options[1::2]) if key in ("--gate", "--scaling", "--fusion")))
    losses = [row["loss"] for row in record["quality"]]
    assert losses[:3] == pytest.approx([losses[0]] * 3, rel=1e-5)
    if "--expand" in options or model.config.mohd.num_active == sizes["n"]:
        assert losses[3] == pytest.approx(losses[0], rel=5e-2 if "bfloat16" in options else 1e-2)
    assert ("no gradient" in " ".join(record["notes"])) == ("renormalized" in options)


def test_without_text_the_embedding_table_decides(dense, tmp_path, capsys):
    assert run(dense, tmp_path / "out") == 0
    record = record_of(tmp_path / "out")
    assert not (tmp_path / "out/train.json").exists() and [row["loss"] for row in record["quality"]] == [None] * 4
    assert "note: no text: dims are ordered by the embedding table alone, and nothing is measured" in capsys.readouterr().out
    assert sorted(record["source"]) == list(range(32))
    assert MoHDForCausalLM.from_pretrained(tmp_path / "out").model.layers[0].mlp.router.weight.any()


@pytest.mark.parametrize("options", [["--expand", "2"], ["--expand", "2", "--noise", "0.1"]], ids=str)
@pytest.mark.parametrize("routed", [2, 6])
def test_the_largest_seed(dense, tmp_path, options, routed):
    assert run(dense, tmp_path / "out", "--seed", str(2**63 - 1), *options, routed=routed) == 0


def test_the_same_twice(dense, tmp_path):
    for name in ("a", "b"):
        assert run(dense, tmp_path / name, "--text", str(tmp_path / "text")) == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_shards_of_mixed_types_and_what_goes_along(dense, tmp_path):
    tensors = {name: torch.from_numpy(array) for name, array in weights.load(dense).items()}
    names, kinds = sorted(tensors), (torch.bfloat16, torch.float16)
    tensors = {name: tensor.to(kinds[i % 2]) for i, (name, tensor) in enumerate(sorted(tensors.items()))}
    for i in range(2):
        save_file({name: tensors[name] for name in names[i::2]}, dense / f"part-{i}.safetensors")
    (dense / weights.INDEX).write_text(json.dumps({"weight_map": {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}}))
    (dense / "model.safetensors").unlink()
    (dense / "config.json").write_text(json.dumps(DENSE.to_dict() | {"eos_token_id": 3, "tokenizer": "bytes"}))
    (dense / "tokenizer_config.json").write_text("{}")
    assert run(dense, tmp_path / "out", "--text", str(tmp_path / "text")) == 0
    got, values = weights.load(tmp_path / "out"), json.loads((tmp_path / "out/config.json").read_text())
    assert (values["torch_dtype"], values["eos_token_id"], values["tokenizer"]) == ("float32", 3, "bytes")
    assert (tmp_path / "out/tokenizer_config.json").read_text() == "{}"
    source = record_of(tmp_path / "out")["source"]
    np.testing.assert_array_equal(got["model.norm.weight"], tensors["model.norm.weight"].float().numpy()[source])


def test_type_of_the_dense_model_stays(dense, tmp_path):
    tensors = {name: torch.from_numpy(array).bfloat16() for name, array in weights.load(dense).items()}
    save_file(tensors, dense / "model.safetensors")
    assert run(dense, tmp_path / "out", "--text", str(tmp_path / "text")) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "bfloat16"
    source = record_of(tmp_path / "out")["source"]
    np.testing.assert_array_equal(weights.load(tmp_path / "out")["model.embed_tokens.weight"],
                                  tensors["model.embed_tokens.weight"].float().numpy()[:, source])
    held_out = torch.frombuffer(bytearray(TEXT[-135:]), dtype=torch.uint8).long()
    rows = torch.stack([held_out[i : i + 33] for i in range(0, 128, 32)])
    with torch.no_grad():
        logits = MoHDForCausalLM.from_pretrained(tmp_path / "out")(rows[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    assert float(loss) == pytest.approx(record_of(tmp_path / "out")["quality"][-1]["loss"], rel=1e-6)  # of what is written, routers rounded, too


def test_tokens_and_tokenizers(dense, tmp_path, capsys):
    (dense / "config.json").write_text(json.dumps({k: v for k, v in DENSE.to_dict().items() if k != "tokenizer"}))
    np.save(tmp_path / "tokens.npy", np.frombuffer(TEXT, np.uint8).astype(np.int64))
    assert run(dense, tmp_path / "a", "--tokens", str(tmp_path / "tokens.npy")) == 0
    assert run(dense, tmp_path / "b", "--text", str(tmp_path / "text")) == 3
    assert "expects --tokens, tokenizer 'bytes' in config.json or a file tokenizer.json in " in capsys.readouterr().err
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "fox": 1, "dog": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(dense / "tokenizer.json"))
    (tmp_path / "text").write_bytes(TEXT * 4)
    assert run(dense, tmp_path / "c", "--text", str(tmp_path / "text")) == 0
    made_ = np.load(tmp_path / "c/tokens.npy")
    assert made_[:10].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 2, 0] and (tmp_path / "c/tokenizer.json").exists()
    assert train.main(["--config", str(tmp_path / "c/train.json"), "--export", str(tmp_path / "d")]) == 7  # it finds all but a checkpoint
    assert json.loads((tmp_path / "c/train.json").read_text())["data"]["path"] == "tokens.npy"


@pytest.mark.parametrize("keys,words", [
    (dict(model_type="mohd", mohd={"num_groups": 8, "num_shared": 2, "num_routed": 2}), r"expects a dense model \(model_type 'llama'\) in .*, got a MoHD one"),
    (dict(mohd={"axis": "ffn_inner"}), "got a MoHD one"),
    (dict(model_type="gpt2"), "config.json: expects model_type 'mohd' with a mohd block or 'llama' without, got 'gpt2'"),
    (dict(attention_bias=True), "config.json: expects attention_bias to be False, got True"),
    (dict(rope_scaling={"type": "linear"}), "config.json: expects rope_scaling to be None, got "),
    (dict(rope_parameters={"rope_theta": 1e6}), 'config.json: expects no rope_parameters, which would change what is computed, write rope_theta; got {"rope_theta": 1000000.0}'),
    (dict(hidden_size=None), "config.json: expects a value for hidden_size"),
    (dict(num_attention_heads=0, head_dim=None), "config.json: expects num_attention_heads to be an integer from 1 to 1048576, got 0"),
    (dict(vocab_size=127), r"expects the shape \[127, 32\] of .*, got \[128, 32\]"),
    (dict(num_hidden_layers=3), "expects the tensor model.layers.2.input_layernorm.weight in .*, got none"),
    (dict(num_hidden_layers=1), "expects only tensors of the model in .*, got model.layers.1"),
    (dict(tie_word_embeddings=True), "expects only tensors of the model in .*, got lm_head.weight"),
], ids=str)
def test_models_that_are_refused(dense, tmp_path, keys, words, capsys):
    (dense / "config.json").write_text(json.dumps(DENSE.to_dict() | keys))
    refused(dense, tmp_path, words, capsys)


def refused(folder, tmp_path, words, capsys, *options, code=3, **sizes):
    """A conversion ends with `code` and `words`, and leaves nothing."""
    before = sorted(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(folder, tmp_path / "out", *options, **sizes) == code
    error = capsys.readouterr().err
    assert re.search(words, error) and error.startswith("error: ") and error.count("\n") == 1, error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("sizes,options,words", [
    (dict(n=5), [], "expects the hidden size to be a multiple of --groups 5, got 32"),
    (dict(n=0), [], "expects 1 <= num_shared"), (dict(shared=7), [], "expects 1 <= num_shared"), (dict(routed=-1), [], "expects 1 <= num_shared"),
    (dict(shared=0, routed=0), [], "expects 1 <= num_shared"),
    (dict(), ["--gate", "softmax", "--scaling", "none"], "which multiply by 0.125 to 0.125"),
    (dict(), ["--gate", "shared_one", "--scaling", "n_times_mass"], "expects a scaling other than n_times_mass"),
    (dict(), ["--expand", "3"], "expects the hidden size to be a multiple of|expects with --expand 3 all groups to be active or one in 3"),
    (dict(n=16), ["--expand", "2"], r"expects with --expand 2 all groups to be active or one in 2 \(the dense model's width\), 16 or 8 of 16, got 4"),
    (dict(shared=4, routed=0), ["--expand", "2"], "expects --routed to be at least 1 with --expand 2"),
    (dict(), ["--expand", "2", "--fusion", "block_diagonal"], "expects fusion monarch with --expand 2"),
    (dict(), ["--spread", "nan"], "expects spread to be a finite number of at least 0, got nan"),
    (dict(), ["--calibrate", "0"], "expects calibrate to be a finite number of at least 1, got 0"),
    (dict(), ["--seed", "-1"], "expects seed to be an integer from 0 to 9223372036854775807, got -1"),
    (dict(), ["--seed", str(2**64)], "expects seed to be an integer from 0 to 9223372036854775807, got 18446744073709551616"),
    (dict(), ["--device", "tpu"], "expects device to be one of auto, cpu, cuda, got tpu"),
    (dict(), ["--held-out", "1"], "expects data.held_out to be a number above 0 and below 1, got 1.0"),
    (dict(), ["--sequence-length", "65"], "expects sequence_length to be at most the model's max_position_embeddings 64, got 65"),
], ids=str)
def test_options_that_are_refused(dense, tmp_path, sizes, options, words, capsys):
    refused(dense, tmp_path, words, capsys, "--text", str(tmp_path / "text"), *options, **sizes)


def test_text_that_is_refused(dense, tmp_path, capsys):
    (tmp_path / "text").write_bytes(TEXT[:100])
    refused(dense, tmp_path, "expects at least .* held-out tokens|expects at least .* tokens", capsys, "--text", str(tmp_path / "text"))
    (tmp_path / "text").write_bytes(b"\xff" * 3000)
    refused(dense, tmp_path, "expects tokens from 0 to 127, the model's vocabulary, got 255", capsys, "--text", str(tmp_path / "text"))
    refused(dense, tmp_path, "No such file", capsys, "--text", str(tmp_path / "gone"), code=7)
    with pytest.raises(SystemExit, match="2"):
        run(dense, tmp_path / "out", "--recover", "3")


def test_files_that_are_refused(dense, tmp_path, capsys):
    file = dense / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    refused(dense, tmp_path, "expects a safetensors file in .*model.safetensors, got: ", capsys)
    file.write_bytes(b"")
    refused(dense, tmp_path, "expects a safetensors file in ", capsys)
    file.write_bytes(whole[:-8] + np.array([1, np.nan], np.float32).tobytes())
    refused(dense, tmp_path, "expects finite values in '.*' in .*, got NaN or infinity", capsys)
    file.unlink()
    refused(dense, tmp_path, "expects the file .*model.safetensors, got none", capsys, code=7)
    (dense / "config.json").write_text("[]")
    refused(dense, tmp_path, r"config.json: expects an object, got \[\]", capsys)
    (dense / "config.json").unlink()
    refused(dense, tmp_path, "No such file", capsys, code=7)


def test_old_buffers_are_dropped(dense, tmp_path):
    tensors = {name: torch.from_numpy(array) for name, array in weights.load(dense).items()}
    save_file(tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, dense / "model.safetensors")
    assert run(dense, tmp_path / "out") == 0
    assert weights.load(tmp_path / "out").keys() == Config.load(tmp_path / "out").tensor_shapes().keys()


def test_a_folder_with_something_in_it_is_not_touched(dense, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    assert run(dense, out) == 0  # an empty one is fine
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(dense, out) == 3
    assert f"expects a new or an empty folder to write into, got {out}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert run(dense, tmp_path / "text") == 3  # a file
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    assert run(dense, tmp_path / "link") == 0 and (tmp_path / "there/config.json").exists()


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(dense, tmp_path, monkeypatch, number, code):
    before = signal.getsignal(number)

    def half(config, tensors, folder, dtype):
        (folder / "model.safetensors").write_bytes(b"half")
        os.kill(os.getpid(), number)

    monkeypatch.setattr(conversion, "save_weights", half)
    assert run(dense, tmp_path / "out", "--text", str(tmp_path / "text")) == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "text"] and signal.getsignal(number) == before


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(OSError), whole_folder(tmp_path / "a/b") as work:
        (work / "half").write_text("")
        raise OSError
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
def test_compiled_model_is_the_dense_one(tmp_path):
    config = dataclasses.replace(DENSE, vocab_size=256)
    folder = write(tmp_path / "dense", config=config)
    (tmp_path / "text").write_bytes(TEXT)
    assert run(folder, tmp_path / "out", "--expand", "2", "--gate", "renormalized", "--scaling", "none", "--text", str(tmp_path / "text")) == 0
    module = mohd.load(mohd.compile(tmp_path / "out", out=tmp_path / "model.mohdb"))
    tokens = np.frombuffer(TEXT[:32], np.uint8).astype(np.int32)[None]
    got = mohd.Generator(module, 1, 32).prefill(tokens, all_rows=True)
    with torch.no_grad():
        expected = MoHDForCausalLM.from_pretrained(folder)(torch.from_numpy(tokens).long()).numpy()
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_every_option_is_documented():
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs/conversion.md").read_text()
    for option in ("gate", "scaling", "fusion", "dtype", "recover", "tokens", *(f.name for f in dataclasses.fields(conversion.Options))):
        assert f"| `--{option.replace('_', '-')}` |" in page, option
