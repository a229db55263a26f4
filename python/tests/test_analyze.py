# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m mohd.analyze: each quantity on inputs whose answer is known, the run layer by layer, the command and its report."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mohd
from cases import config_of
from mohd import find
from mohd.analyze import command as program, analysis, plots, quantities, report, stream
from mohd.analyze.quantities import Activations, Routings
from mohd.config import Routing
from mohd.nn import MoHDForCausalLM, functional
from mohd.train import loop

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TEXT = b"the quick brown fox jumps over the lazy dog; " * 4
ONE = Routing(16, 6, 2)


def result_of(rows, length=None, top=0.1, **options):
    """The quantities of activations `rows` [T, D], in sequences of `length`."""
    rows = np.asarray(rows, np.float32)
    found = Activations(rows.shape[1], top)
    for part in np.array_split(rows, 3):
        found.add(part)
    return found.result(np.arange(len(rows)) % (length or max(1, len(rows))) == 0, **options)


def energies(rows):
    return {share: found["mean"] for share, found in result_of(rows)["energy"].items()}


def one_hot(places, width):
    return np.eye(width)[list(places)]


# The energy of dims.


@pytest.mark.parametrize("width", [1, 7, 100])
def test_one_dim_has_all_of_a_one_hot_row(width):
    assert energies(one_hot([0, width - 1, width // 2], width)) == dict.fromkeys(("50", "90", "99"), pytest.approx(1 / width))


@pytest.mark.parametrize("value", [1.0, -0.1, 1e-30, 3e30])
@pytest.mark.parametrize("width", [1, 3, 10, 100, 1000])
def test_equal_dims_need_their_share(width, value):
    assert energies(np.full((2, width), value)) == {share: math.ceil(float(share) / 100 * width) / width for share in ("50", "90", "99")}


def test_energy_is_the_square():
    row = np.sqrt([[0.125, 0.5, 0.25, 0.125]])  # 50 % is reached by one dim, 75 % by two
    assert quantities.dims_of_energy(-np.sort(-row, 1), (0.5, 0.51, 0.75, 0.8, 0.9)).tolist() == [[1, 2, 2, 3, 4]]
    assert energies([[1, -3, 2, 1, 1]]) == {"50": 0.2, "90": 0.8, "99": 1}  # energies 1, 9, 4, 1, 1


def test_quantiles_are_over_tokens():
    rows = np.concatenate([one_hot([0] * 6, 10), np.ones((5, 10))])
    assert result_of(rows)["energy"]["50"] == {"mean": pytest.approx((6 * 0.1 + 5 * 0.5) / 11), "p10": 0.1, "p50": 0.1, "p90": 0.5}


def test_tokens_without_energy_and_tokens_that_are_not_finite_are_left_out():
    good = one_hot([3, 3], 10)
    bad = np.array([np.zeros(10), np.full(10, np.nan), [np.inf] + [1] * 9])
    found = result_of([good[0], *bad, good[1]])
    assert (found["tokens"], found["zero"], found["not_finite"]) == (2, 1, 2)
    assert found["energy"]["50"]["mean"] == 0.1 and found["overlap"]["consecutive"]["mean"] is None  # neighbours of the left out
    assert found["run_length"]["all"] == 1 and found["shared"]["dims"] == [3] and found["never"] == 9
    only = result_of(bad)
    assert only["tokens"] == 0 and only["energy"]["90"]["mean"] is None and only["never"] is None and only["shared"]["count"] == 0
    json.dumps(only, allow_nan=False)


def test_no_token_at_all():
    assert Activations(4).result(np.zeros(0, bool))["overlap"]["consecutive"] == dict.fromkeys(("mean", "p10", "p50", "p90"))


# Top dims, and what follows tokens.


def test_number_of_top_dims():
    assert [quantities.number_of_top(width, 0.1) for width in (1, 4, 10, 25, 256)] == [1, 1, 1, 2, 26]
    assert quantities.number_of_top(5, 1) == 5


def test_equal_dims_are_chosen_by_index():
    magnitude = np.array([[1, 2, 1, 1.0], [1, 1, 1, 1], [0, 0, 3, 0]])
    least = -np.sort(-magnitude, 1)[:, :2]
    assert quantities.top_dims(magnitude, least).tolist() == [[True, True, False, False], [True, True, False, False], [True, False, True, False]]


def test_top_dims_are_those_of_a_sort():
    x = np.random.default_rng(0).integers(-3, 4, (200, 37)).astype(np.float32)  # with many ties
    x[:, 0] += 5
    found = Activations(37, 0.3)
    found.add(x)
    expected = np.zeros((200, 37), bool)
    np.put_along_axis(expected, np.argsort(-np.abs(x), axis=1, kind="stable")[:, :11], True, 1)
    kept, packed = found.arrays()
    assert kept.all() and (np.unpackbits(packed, axis=1, count=37) == expected).all()


def test_the_same_dims_throughout():
    found = result_of(np.tile([5, 4, 3, 0, 0, 0, 0, 0, 0, 0.0], (8, 1)), 4, top=0.2)
    assert found["overlap"]["consecutive"]["mean"] == found["overlap"]["shuffled"]["mean"] == found["overlap"]["expected"] == 1
    assert found["overlap"]["uniform"] == 0.2
    assert found["run_length"] == {"all": 4, "shuffled": 4, "shared": 4, "specialised": None}  # sequences of 4 cut them
    assert (found["shared"]["count"], found["shared"]["dims"], found["never"]) == (2, [0, 1], 8)
    assert found["shared"]["energy"] == pytest.approx(41 / 50)


def test_other_dims_at_each_token():
    found = result_of(one_hot(range(10), 10))
    assert found["overlap"]["consecutive"]["mean"] == found["overlap"]["shuffled"]["mean"] == found["overlap"]["expected"] == 0
    assert found["run_length"]["all"] == 1 and found["shared"]["count"] == 0 and found["never"] == 0


def test_runs_of_ten():
    """Ten dims, each active for ten tokens on end: the text's order is all that there is to see."""
    found = result_of(one_hot(np.repeat(range(10), 10), 10))
    assert found["overlap"]["consecutive"]["mean"] == pytest.approx(90 / 99)
    assert found["overlap"]["expected"] == pytest.approx(10 * 10 * 9 / (100 * 99))
    assert found["run_length"]["all"] == 10 and found["run_length"]["shuffled"] < 1.5
    mean = np.mean([result_of(one_hot(np.repeat(range(10), 10), 10), seed=seed)["overlap"]["shuffled"]["mean"] for seed in range(200)])
    assert mean == pytest.approx(found["overlap"]["expected"], rel=0.05)


def test_sequences_end_pairs_and_runs():
    rows = one_hot([1, 1, 1, 1, 1, 1], 4)
    assert result_of(rows, 3)["run_length"]["all"] == 3
    assert result_of([*one_hot([1, 2], 4), *one_hot([2, 1], 4)], 2)["overlap"]["consecutive"]["mean"] == 0
    assert len(quantities.flow(np.packbits(rows.astype(bool), 1), np.ones(6, bool), np.arange(6) % 3 == 0, 4, 1)[0]) == 4  # pairs


@pytest.mark.parametrize("tokens,overlap,length", [(1, None, 1), (2, 1.0, 2)])
def test_one_and_two_tokens(tokens, overlap, length):
    found = result_of(one_hot([2] * tokens, 8))
    assert found["overlap"]["consecutive"]["mean"] == found["overlap"]["expected"] == overlap and found["run_length"]["all"] == length


def test_shared_and_specialised():
    """Dim 0 leads at every token, dim 1 at half of them, dims 2.. at a twentieth or less."""
    rows = np.zeros((40, 20))
    rows[:, 0] = 2
    rows[::2, 1] = 1
    for i, token in enumerate(range(1, 40, 2)):
        rows[token, 2 + i % 18] = 1
    found = result_of(rows, top=0.1)  # two top dims
    assert found["shared"]["dims"] == [0, 1] and found["specialised"]["dims"] == [*range(4, 20)] and found["never"] == 0
    assert result_of(rows, top=0.1, specialised=0.06)["specialised"]["dims"] == [*range(2, 20)]
    assert result_of(rows, top=0.1, shared=0.51)["shared"]["dims"] == [0]
    assert found["shared"]["energy"] == pytest.approx((1 + 0.8) / 2)
    assert found["specialised"]["energy"] == pytest.approx(0.2 * 16 / 40)
    assert found["run_length"]["shared"] == pytest.approx((40 + 20) / (1 + 20)) and found["run_length"]["specialised"] == 1


def test_blocks_change_nothing(monkeypatch):
    rows = np.random.default_rng(1).standard_normal((50, 24))
    whole = result_of(rows, 10)
    monkeypatch.setattr(quantities, "BLOCK", 60)
    assert analysis.rounded(result_of(rows, 10)) == analysis.rounded(whole)


def test_picture():
    rows = one_hot([5, 5, 5, 1, 1, 2], 6).astype(bool)
    packed, uses = np.packbits(rows, 1), rows.sum(0)
    dims, active = quantities.picture(packed, uses, tokens=4)
    assert dims == [5, 1, 2, 0, 3, 4] and active == [[0], [0], [0], [1]]
    assert quantities.picture(packed, uses, dims=2)[0] == [5, 4]


# Groups.


def routed(indices, routing, scores=None, length=None, **options):
    """The quantities of a router that chose `indices` [T, K], by even scores if none are given."""
    indices = np.asarray(indices, np.int32)
    found = Routings(routing)
    found.add(indices, np.ones((len(indices), routing.num_groups)) if scores is None else scores)
    return found.result(np.arange(len(indices)) % (length or len(indices)) == 0, **options)


def test_entropy():
    assert quantities.entropy([[1, 1, 1, 1], [0, 0, 3, 0], [2, 2, 0, 0]]).tolist() == [2, 0, 1]


def test_identical_routing():
    routing = Routing(6, 2, 1)
    found = routed([[0, 1, 4]] * 128, routing, np.tile([9, 9, 0, 0, 5, 0], (128, 1)))
    assert found["use"] == [1, 1, 0, 0, 1, 0]
    assert found["balance"] == found["load"] == 4
    assert found["use_entropy"] == found["score_entropy"] == {"bits": 0, "most": 2, "share": 0}
    assert found["sets"] == {"seen": 1, "possible": 4, "for_90_percent": 1, "effective": 1, "most_common": [{"groups": [4], "share": 1}]}
    assert found["kept"] == {"consecutive": 1, "shuffled": 1}
    assert found["bucket"] == [{"tile_rows": rows, "tokens": 128, "coverage": 1, "unordered": 1, "of_dense": 0.5} for rows in (64, 128)]


def test_even_routing():
    """Four groups in turn: sorted by group, whole tiles have one group; in the tokens' order every tile has all."""
    found = routed([[t % 4] for t in range(512)], Routing(4, 0, 1), calls=(256,))
    assert found["use"] == [0.25] * 4 and found["balance"] == found["load"] == 1
    assert found["use_entropy"] == found["score_entropy"] == {"bits": 2, "most": 2, "share": 1}
    assert found["sets"]["seen"] == found["sets"]["effective"] == found["sets"]["for_90_percent"] == 4
    assert found["kept"]["consecutive"] == 0 and found["kept"]["shuffled"] == pytest.approx(0.25, abs=0.07)
    assert found["bucket"][0] == {"tile_rows": 64, "tokens": 256, "coverage": 1, "unordered": 0.25, "of_dense": 0.25}
    assert found["bucket"][1] == {"tile_rows": 128, "tokens": 256, "coverage": 0.5, "unordered": 0.25, "of_dense": 0.5}


def test_most_common_sets_come_first():
    found = routed([[0, 2]] * 2 + [[1, 2]] * 17 + [[0, 1]], Routing(3, 0, 2))
    assert [entry["groups"] for entry in found["sets"]["most_common"]] == [[1, 2], [0, 2], [0, 1]]
    assert found["sets"]["most_common"][0]["share"] == 0.85 and found["sets"]["for_90_percent"] == 2


@pytest.mark.parametrize("routing", [Routing(4, 4, 0), Routing(4, 0, 4), Routing(4, 2, 2), Routing(4, 2, 0), Routing(1, 1, 0), Routing(1, 0, 1)], ids=str)
def test_nothing_to_choose(routing):
    """N = K, or K_r = 0: every token has the same groups, and the plan is not `bucket`."""
    found = routed([range(routing.num_active)] * 5, routing)
    assert found["use"] == [1.0] * routing.num_active + [0.0] * (routing.num_groups - routing.num_active) and found["bucket"] is None
    if routing.num_routed:
        assert found["balance"] == pytest.approx(1) and found["load"] == 1 and found["use_entropy"]["share"] == 1 and found["sets"]["seen"] == 1
    else:
        assert found["balance"] is found["sets"] is None
    json.dumps(found, allow_nan=False)


def test_tokens_whose_scores_are_not_finite_are_left_out():
    scores = np.ones((3, 4))
    scores[1, 0] = np.nan
    found = routed([[0], [1], [2]], Routing(4, 0, 1), scores)
    assert (found["tokens"], found["not_finite"]) == (2, 1) and found["use"] == [0.5, 0, 0.5, 0] and found["kept"]["consecutive"] is None
    none = routed([[0]], Routing(4, 0, 1), np.full((1, 4), np.nan))
    assert none["tokens"] == 0 and none["use"] is none["load"] is None


def chosen_at_random(routing, tokens=300, seed=0):
    """(indices, scores) of random logits."""
    logits = torch.from_numpy(np.random.default_rng(seed).standard_normal((tokens, routing.num_groups)) * 2)
    return functional.select(logits, routing), functional.scores_of(logits, routing)


@pytest.mark.parametrize("balance,times", [("deepseek", 1), ("switch", 2)])
def test_balance_and_load_are_those_of_training(balance, times):
    routing = Routing(16, 6, 2, score="softmax_routed", balance=balance)
    indices, scores = chosen_at_random(routing)
    found = routed(indices, routing, scores)
    assert float(functional.balance_loss(scores, indices, routing)) == pytest.approx(0.01 * times * found["balance"])
    model = MoHDForCausalLM(config_of(routing, num_hidden_layers=1))
    for part in model.sub_layers():
        part.indices = indices
    assert found["load"] == pytest.approx(loop.load_of(model))


@pytest.mark.parametrize("routing", [Routing(16, 6, 2), Routing(32, 0, 1), Routing(64, 3, 4), Routing(40, 8, 3), Routing(4, 0, 3)], ids=str)
def test_bucket_order(routing):
    """Against a sort by a key that Python's integers make: earlier tokens first within a key."""
    indices = chosen_at_random(routing)[0].numpy()
    order, candidates = quantities.bucket_order(indices, routing), routing.num_groups - routing.num_shared
    pairs = routing.num_routed > 1 and candidates**2 <= 1024

    def key(token):
        first, second = [int(group) - routing.num_shared for group in (*indices[token, routing.num_shared :], 0)][:2]
        return (first, (-second if first % 2 else second) if pairs else 0, token)

    assert order.tolist() == sorted(range(len(indices)), key=key)
    assert (quantities.bucket_order(np.tile(range(4), (5, 1)), Routing(4, 2, 2)) == range(5)).all()


ORDER = """
func.func @order(%i: tensor<?x{K}xi32> {{mohd.name = "indices"}}, %g: tensor<?x{K}xf32> {{mohd.name = "gates"}})
    -> (tensor<?xi32> {{mohd.name = "order"}}, tensor<?x{W}xi32> {{mohd.name = "masks"}}) {{
  %r = mohd.make_routing %i, %g : tensor<?x{K}xi32>, tensor<?x{K}xf32> -> !mohd.routing<{N}, {S}, {R}>
  %order, %masks = mohd.bucket_order %r rows 64 : !mohd.routing<{N}, {S}, {R}> -> tensor<?xi32>, tensor<?x{W}xi32>
  return %order, %masks : tensor<?xi32>, tensor<?x{W}xi32>
}}
"""


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
@pytest.mark.parametrize("routing", [Routing(16, 6, 2), Routing(40, 2, 3)], ids=str)
def test_bucket_order_is_the_kernels(tmp_path, routing):
    """The kernel of mohd.bucket_order in the emulator: the same order, and masks with as many bits as tiles execute groups."""
    indices = chosen_at_random(routing, 200)[0].numpy()
    words = -(-routing.num_groups // 32)
    text = ORDER.format(K=routing.num_active, N=routing.num_groups, S=routing.num_shared, R=routing.num_routed, W=words)
    (tmp_path / "order.mlir").write_text(text)
    module = mohd.load(mohd.compile(tmp_path / "order.mlir", "emulate:sm_90a", tmp_path / "order.mohdb"), device="emulate")
    order, masks = module.run("order", indices, np.ones(indices.shape, np.float32))
    assert order.tolist() == quantities.bucket_order(indices, routing).tolist()
    bits = np.unpackbits(np.ascontiguousarray(masks[:4]).view(np.uint8)).sum()
    assert 64 * int(bits) == quantities.executed(quantities.membership(indices, routing.num_groups)[order], 64)


def test_a_tile_that_is_not_full_is_executed_whole():
    has = quantities.membership([[0], [1], [0]], 4)
    assert quantities.executed(has, 2) == 2 * 2 + 2 * 1 and quantities.executed(has[:0], 2) == 0


# The run layer by layer.


def save(folder, config, dtype=torch.float32, seed=0):
    """A random model in `folder`."""
    torch.manual_seed(seed)
    model = MoHDForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(1 + 0.1 * torch.randn_like(weight) if "norm" in name else weight + 0.1 * torch.randn_like(weight))
    model.save_pretrained(folder, dtype)
    return MoHDForCausalLM.from_pretrained(folder)


def streamed(folder, config, tokens):
    """All that `stream` yields, joined: sites and routings by layer."""
    sites, routings = {}, {}
    for layer, arrays, chosen in stream.stream(stream.Checkpoint(folder, config), tokens):
        for site, x in arrays.items():
            sites.setdefault((layer, site), []).append(x.copy())
        for part, (indices, _) in chosen.items():
            routings.setdefault((layer, part), []).append(indices)
    joined = lambda found: {key: np.concatenate(parts) for key, parts in found.items()}
    return joined(sites), joined(routings)


def hooked(model, tokens):
    """The same of the whole model, by hooks; the normed input and the inner activation from what they are made of."""
    sites, routings = {}, {}

    def look(layer, name, part):
        before, after = ("resid_pre", "resid_mid") if name == "self_attn" else ("resid_mid", "resid_post")
        short = "attn" if name == "self_attn" else "mlp"

        def hook(module, inputs, output):
            sites[layer, before], sites[layer, after] = inputs[0].numpy().copy(), output[0].numpy().copy()
            sites[layer, f"{short}_norm"] = inputs[1](inputs[0]).numpy()
            if module.routing is not None:
                routings[layer, name] = module.indices.numpy()

        inner = part.inner

        def kept(projected, *state):
            z = inner(projected, *state)
            if name == "mlp":
                sites[layer, "mlp_act"] = z.numpy()
            return z

        part.inner = kept
        part.register_forward_hook(hook)

    for i, layer in enumerate(model.model.layers):
        look(i, "self_attn", layer.self_attn)
        look(i, "mlp", layer.mlp)
    with torch.no_grad():
        model(torch.from_numpy(tokens))
    return sites, routings


@pytest.mark.parametrize("routing", [
    None, ONE, Routing(16, 6, 2, norm_stat="active"), Routing(16, 6, 2, fusion="none"), Routing(16, 6, 2, axis="ffn_inner", fusion="block_diagonal"),
    Routing(4, 2, 0, gate="binary"), Routing(4, 4, 0, gate="binary", scaling="none", fusion="none"), Routing(4, 0, 4),
], ids=str)
def test_layers_one_by_one_are_the_whole_model(tmp_path, routing):
    config = config_of(routing)
    model, tokens = save(tmp_path, config), np.random.default_rng(0).integers(0, 29, (3, 10))
    sites, routings = streamed(tmp_path, config, tokens)
    expected, chosen = hooked(model, tokens)
    assert sites.keys() == {(layer, site) for layer in range(2) for site in stream.SITES} and routings.keys() == chosen.keys()
    for key, x in expected.items():
        if key in sites:
            np.testing.assert_array_equal(sites[key], x, str(key))
    for key, indices in chosen.items():
        np.testing.assert_array_equal(routings[key], indices)
    for layer in range(2):
        np.testing.assert_array_equal(sites[layer, "resid_pre"] + sites[layer, "attn_out"], expected[layer, "resid_mid"])
        np.testing.assert_array_equal(sites[layer, "resid_mid"] + sites[layer, "mlp_out"], expected[layer, "resid_post"])
        down = model.model.layers[layer].mlp.down_proj.weight.detach().numpy()
        if routing is None or routing.axis == "ffn_inner":
            np.testing.assert_allclose(sites[layer, "mlp_act"] @ down.T, sites[layer, "mlp_out"], rtol=1e-4, atol=1e-5)


def test_few_sequences_at_a_time(tmp_path, monkeypatch):
    config = config_of(ONE)
    save(tmp_path, config)
    tokens = np.random.default_rng(0).integers(0, 29, (5, 6))
    whole, _ = streamed(tmp_path, config, tokens)
    monkeypatch.setattr(stream, "BATCH", 13)
    parts, _ = streamed(tmp_path, config, tokens)
    for key, x in whole.items():
        np.testing.assert_allclose(parts[key], x, rtol=1e-4, atol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_are_widened(tmp_path, dtype):
    config = config_of(ONE)
    model, tokens = save(tmp_path, config, dtype), np.arange(10)[None]
    np.testing.assert_array_equal(streamed(tmp_path, config, tokens)[0][1, "resid_mid"], hooked(model, tokens)[0][1, "resid_mid"])


def shard(folder, count=3):
    """Cuts the model in `folder` into shards, tensors in turn."""
    tensors = load_file(folder / "model.safetensors")
    names, where = sorted(tensors), {}
    for i in range(count):
        file = f"model-{i + 1:05}-of-{count:05}.safetensors"
        save_file({name: tensors[name] for name in names[i::count]}, folder / file)
        where |= dict.fromkeys(names[i::count], file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def test_shards(tmp_path):
    config, tokens = config_of(ONE), np.arange(10)[None]
    save(tmp_path, config)
    whole, _ = streamed(tmp_path, config, tokens)
    shard(tmp_path)
    parts, _ = streamed(tmp_path, config, tokens)
    np.testing.assert_array_equal(parts[1, "mlp_out"], whole[1, "mlp_out"])


def test_one_layer_is_in_memory_at_a_time(tmp_path, monkeypatch):
    config = config_of(ONE, num_hidden_layers=4)
    save(tmp_path, config)
    alive, read, rows = weakref.WeakSet(), [], []
    module, layer, some = stream.Checkpoint.module, stream.Checkpoint.layer, stream.Checkpoint.rows

    def counted(self, number):
        found = module(self, number)
        alive.add(found)
        return found

    monkeypatch.setattr(stream.Checkpoint, "module", counted)
    monkeypatch.setattr(stream.Checkpoint, "layer", lambda self, number: read.append(number) or layer(self, number))
    monkeypatch.setattr(stream.Checkpoint, "rows", lambda self, name, ids: rows.append((name, ids.tolist())) or some(self, name, ids))
    for _ in stream.stream(stream.Checkpoint(tmp_path, config), np.array([[7, 3, 7]])):
        assert len(alive) == 1
    assert read == [0, 1, 2, 3] and rows == [("model.embed_tokens.weight", [3, 7])]


# The command.


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with a text and two models of bytes, `mohd` and `dense`."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text").write_bytes(TEXT)
    for name, routing in (("mohd", ONE), ("dense", None)):
        save(folder / name, config_of(routing, vocab_size=128, tokenizer="bytes"))
    return folder


@pytest.fixture
def model(folders, tmp_path):
    """A copy of the MoHD model to spoil."""
    shutil.copytree(folders / "mohd", tmp_path / "model")
    shutil.copy(folders / "text", tmp_path / "text")
    return tmp_path / "model"


def run(model, *options, text="text"):
    """The exit code of an analysis of `model` into the folder `out` beside it."""
    source = ["--text", str(model.parent / text)] if text else []
    return program.main([str(model), *source, "-o", str(model.parent / "out"), *map(str, options)])


@pytest.fixture
def no_figures(monkeypatch):
    """Leaves out the figures, which take the time of a run."""
    monkeypatch.setattr(plots, "draw", lambda result: {"energy": b"figure"})


@pytest.fixture(scope="module")
def whole(folders):
    """(result, folder) of an analysis of the MoHD model."""
    out = folders / "mohd-out"
    assert program.main([str(folders / "mohd"), "--text", str(folders / "text"), "--sequence-length", "20", "-o", str(out)]) == 0
    return json.loads((out / "analysis.json").read_text()), out


def test_what_a_run_writes(whole, folders):
    result, out = whole
    assert {path.name for path in out.iterdir()} == {"analysis.json", "report.html"} | {f"{name}.png" for name in plots.FIGURES}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    assert result["text"] == {"name": "text", "tokens": 180, "sequences": 9, "sequence_length": 20}
    assert [layer["layer"] for layer in result["layers"]] == [0, 1] and result["layers"][0]["sites"].keys() == stream.SITES.keys()
    assert result["layers"][1]["sites"]["mlp_act"]["dims"] == 48 and result["layers"][1]["sites"]["mlp_act"]["tokens"] == 180
    config = MoHDForCausalLM.from_pretrained(folders / "mohd").config
    tokens = np.frombuffer(TEXT, np.uint8).astype(np.int64).reshape(9, 20)
    sites, routings = streamed(folders / "mohd", config, tokens)
    expected = analysis.rounded(result_of(sites[1, "mlp_norm"], 20))
    assert result["layers"][1]["sites"]["mlp_norm"] == expected
    use = np.bincount(routings[0, "mlp"].reshape(-1), minlength=16) / 180
    assert result["layers"][0]["routing"]["mlp"]["use"] == pytest.approx(use, rel=1e-5)


def test_same_files_again(whole, folders, tmp_path):
    assert program.main([str(folders / "mohd"), "--text", str(folders / "text"), "--sequence-length", "20", "-o", str(tmp_path)]) == 0
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (whole[1] / path.name).read_bytes()


def test_default_folder_and_a_dense_model_over_an_earlier_analysis(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dense-analysis").mkdir()
    for name in ("bucket.png", "note.txt"):
        (tmp_path / "dense-analysis" / name).write_text("of an earlier one")
    assert program.main([str(folders / "dense"), "--text", str(folders / "text"), "--max-tokens", "30"]) == 0
    assert capsys.readouterr().out == "30 tokens, 2 layers; wrote dense-analysis/report.html\n"
    names = {path.name for path in (tmp_path / "dense-analysis").iterdir()}
    assert "note.txt" in names and "energy.png" in names and not names & {"bucket.png", "group-use.png", "balance.png"}
    page = (tmp_path / "dense-analysis/report.html").read_text()
    assert "none, a dense model" in page and "<h2>Groups</h2>" not in page


@pytest.mark.parametrize("routing,without", [
    (Routing(4, 2, 0, gate="binary"), {"balance", "bucket"}), (Routing(4, 0, 4), {"bucket"}), (Routing(4, 0, 2, axis="ffn_inner"), set()),
], ids=["none routed", "all active", "inner axis"])
def test_figures_there_is_data_for(tmp_path, routing, without):
    save(tmp_path / "model", config_of(routing, vocab_size=128, tokenizer="bytes", num_hidden_layers=1))
    (tmp_path / "text").write_bytes(TEXT)
    assert run(tmp_path / "model") == 0
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == plots.FIGURES.keys() - without


def test_text_shorter_than_a_sequence(model):
    (model.parent / "text").write_bytes(b"a")
    assert run(model) == 0
    result = json.loads((model.parent / "out/analysis.json").read_text())
    assert result["text"]["tokens"] == result["text"]["sequence_length"] == 1
    assert result["layers"][0]["sites"]["mlp_out"]["overlap"]["consecutive"]["mean"] is None
    assert "–" in (model.parent / "out/report.html").read_text()


def test_a_model_whose_activations_are_not_finite(model):
    tensors = load_file(model / "model.safetensors")
    tensors["model.embed_tokens.weight"][:] = torch.inf
    save_file(tensors, model / "model.safetensors")
    assert run(model) == 0
    result = json.loads((model.parent / "out/analysis.json").read_text())
    assert result["layers"][0]["sites"]["resid_pre"]["not_finite"] == 128 and result["layers"][0]["routing"]["mlp"]["tokens"] == 0


def test_tokens_of_a_file_and_of_a_tokenizer(model, capsys, no_figures):
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({key: value for key, value in values.items() if key != "tokenizer"}))
    assert run(model) == 3
    assert "expects --tokens, tokenizer 'bytes' in config.json or a file tokenizer.json in" in capsys.readouterr().err
    np.save(model.parent / "tokens.npy", np.arange(40))
    assert run(model, "--tokens", model.parent / "tokens.npy", text=None) == 0
    np.save(model.parent / "tokens.npy", np.arange(40.0))
    assert run(model, "--tokens", model.parent / "tokens.npy", text=None) == 3
    assert "expects one-dimensional integers in" in capsys.readouterr().err
    (model.parent / "tokens.npy").write_bytes(b"")
    assert run(model, "--tokens", model.parent / "tokens.npy", text=None) == 3
    np.save(model.parent / "tokens.npy", np.arange(100, 140))
    assert run(model, "--tokens", model.parent / "tokens.npy", text=None) == 3
    assert "expects tokens from 0 to 127 in" in capsys.readouterr().err
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"the": 5, "quick": 6, "[UNK]": 0}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(model / "tokenizer.json"))
    tokens = analysis.read_tokens(model, analysis.config_of(model), model.parent / "text", None, analysis.Options(max_tokens=4))
    assert tokens.tolist() == [[5, 6, 0, 0]]
    assert run(model) == 0
    (model.parent / "text").write_bytes(b"\xff")
    assert run(model) == 3
    (model / "tokenizer.json").write_text("{}")
    (model.parent / "text").write_bytes(TEXT)
    assert run(model) == 3
    errors = capsys.readouterr().err
    assert "expects UTF-8 text in" in errors and "expects a tokenizer in" in errors


def test_text_is_taken_as_it_is(model):
    """With its byte order mark and its line ends, as bytes and by a tokenizer, here of single characters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    text = model.parent / "text"
    text.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    read = lambda: analysis.read_tokens(model, analysis.config_of(model), text, None, analysis.Options()).tolist()
    change(model, vocab_size=256)
    assert read() == [[0xEF, 0xBB, 0xBF, ord("a"), 13, 10, ord("b"), 10]]
    letters = Tokenizer(models.WordLevel({"[UNK]": 0, "\ufeff": 1, "a": 2, "\r": 3, "\n": 4, "b": 5}, "[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    letters.save(str(model / "tokenizer.json"))
    change(model, tokenizer=None)
    assert read() == [[1, 2, 3, 4, 5, 4]]


def change(folder, **values):
    """Changes keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil(folder, edit):
    """Changes the dictionary of tensors."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("break_it,code,words", [
    (lambda m: spoil(m, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")), 3, "expects the tensor model.layers.1.mlp.up_proj.weight in .*, got none"),
    (lambda m: spoil(m, lambda t: t.update(bias=torch.zeros(2))), 3, "expects only tensors of the model in .*model.safetensors, got bias"),
    (lambda m: spoil(m, lambda t: t.update({"model.norm.weight": torch.zeros(2)})), 3, r"expects the shape \[32\] of model.norm.weight in .*, got \[2\]"),
    (lambda m: spoil(m, lambda t: t.update({"model.norm.weight": torch.zeros(32, dtype=torch.int8)})), 3,
     "expects F32, F16 or BF16 of model.norm.weight in .*, got I8"),
    (lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-5]), 3, "expects a safetensors file in .*, got: "),
    (lambda m: (m / "model.safetensors").write_bytes(b"short"), 3, "expects a safetensors file in .*, got: "),
    (lambda m: (m / "model.safetensors").unlink(), 7, "expects the file .*model.safetensors, got none"),
    (lambda m: (m / "model.safetensors.index.json").write_text("[]"), 3, "expects an index of shards in .*, got: "),
    (lambda m: shard(m) or (m / "model-00002-of-00003.safetensors").unlink(), 7, "expects the file .*model-00002-of-00003.safetensors, got none"),
    (lambda m: shard(m) or shutil.copy(m / "model-00002-of-00003.safetensors", m / "model-00001-of-00003.safetensors"), 3,
     "expects .* in one file, got .* and .*"),
    (lambda m: (m / "config.json").unlink(), 7, "config.json"),
    (lambda m: (m / "config.json").write_text("{"), 3, "config.json: "),
    (lambda m: change(m, attention_bias=True), 3, "config.json: expects attention_bias to be False, got True"),
    (lambda m: change(m, rope_scaling={"type": "linear"}), 3, "config.json: expects rope_scaling to be None, got"),
    (lambda m: change(m, sliding_window=16), 3, "config.json: expects no sliding_window, which would change what is computed; got 16"),
    (lambda m: change(m, mohd={"num_group": 1}), 3, "config.json: .*num_group"),
    (lambda m: (m.parent / "text").write_bytes(b""), 3, "expects a positive multiple of 1 bytes in .*text, got 0"),
    (lambda m: (m.parent / "text").write_bytes(b"\xff" * 9), 3, "expects tokens from 0 to 127 in .*text, the model's vocabulary, got 255"),
    (lambda m: (m.parent / "text").unlink(), 7, "text"),
    (lambda m: (m.parent / "out").write_text("a file"), 7, "expects a folder or nothing at .*out, got a file"),
], ids=range(20))
def test_wrong_input_is_one_line(model, capsys, break_it, code, words):
    break_it(model)
    assert run(model) == code
    error = capsys.readouterr().err
    assert re.match(f"error: (.*){words}", error) and error.count("\n") == 1
    assert not (model.parent / "out").is_dir()


def test_unknown_keys_only_warn(model, no_figures):
    change(model, colour="red")
    with pytest.warns(UserWarning, match="unknown key 'colour'"):
        assert run(model, "--max-tokens", 5) == 0


def test_tensors_that_old_checkpoints_have_and_nobody_reads(model, no_figures):
    spoil(model, lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}))
    assert run(model, "--max-tokens", 5) == 0


@pytest.mark.parametrize("options,words", [
    ([], "one of the arguments --text --tokens is required"), (["--text", "a", "--tokens", "b"], "not allowed with"),
    (["--text", "a", "--top", "0"], "expects a share above 0 and up to 1, got 0"), (["--text", "a", "--shared", "nan"], "expects a share above 0"),
    (["--text", "a", "--sequence-length", "0"], "expects an integer of at least 1, got 0"), (["--text", "a", "--max-tokens", "x"], "invalid integer value"),
    (["--text", "a", "--specialised", "0.6"], "expects --specialised to be at most --shared 0.5, got 0.6"),
    (["--text", "a", "--colour", "red"], "unrecognized arguments"),
], ids=str)
def test_wrong_flags(options, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(["model", *options])
    assert words in capsys.readouterr().err


def test_longer_sequences_than_the_model_has(model, capsys):
    assert run(model, "--sequence-length", 65) == 3
    assert "expects --sequence-length to be at most the model's max_position_embeddings 64, got 65" in capsys.readouterr().err


@pytest.mark.parametrize("package,option", [("matplotlib.figure", "matplotlib"), ("tokenizers", "tokenizers")])
def test_a_package_that_is_not_there(model, monkeypatch, capsys, package, option):
    monkeypatch.setitem(sys.modules, package, None)
    change(model, tokenizer=None)
    (model / "tokenizer.json").write_text("{}")
    assert run(model) == 1
    assert f"expects the package {option}" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["stream", "write"])
def test_ctrl_c_leaves_no_halves(model, monkeypatch, capsys, where, no_figures):
    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    if where == "stream":
        monkeypatch.setattr(stream.Checkpoint, "layer", interrupt)
    else:
        monkeypatch.setattr(report, "page", interrupt)
        assert run(model, "--max-tokens", 5) == 130
        assert {path.suffix for path in (model.parent / "out").iterdir()} == {".png"}
        monkeypatch.setattr(pathlib.Path, "write_bytes", interrupt)
        shutil.rmtree(model.parent / "out")
    assert run(model, "--max-tokens", 5) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert not (model.parent / "out").exists() or not list((model.parent / "out").iterdir())


# The report.


def test_numbers_of_the_report():
    assert [report.percent(value) for value in (None, 0, 0.123, 1)] == ["–", "0.0 %", "12.3 %", "100.0 %"]
    assert report.number(1234.5) == "1,234.50" and report.mean([None, 1, 2]) == 1.5 and report.mean([None]) is None


def test_report_escapes_names(whole):
    result = json.loads(json.dumps(whole[0]))
    result["model"]["name"] = result["text"]["name"] = "<script>&"
    page = report.page(result, {})
    assert "<script" not in page and "&lt;script&gt;&amp;" in page


LOOK = """<script>
addEventListener("load", () => {
  const images = [...document.images];
  document.body.dataset.images = images.length + " images, " + images.filter(i => !i.complete || i.naturalWidth < 300).length + " missing";
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
});
</script></head>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_report_opens_in_a_browser(whole, tmp_path):
    """The page, with a script added that counts its images; nothing is asked for from outside, and the console stays empty."""
    result, out = whole
    page = (out / "report.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r'(?:src|href)=(?!"data:image/png;base64,)|@import|url\(', page)
    page = page.replace("img-src data:;", "img-src data:; script-src 'unsafe-inline';").replace("</head>", LOOK)
    (tmp_path / "page.html").write_text(page)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/profile", "--window-size=1300,900",
               "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, f"file://{tmp_path}/page.html"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f'data-images="{len(plots.FIGURES)} images, 0 missing"' in done.stdout and 'data-wide="false"' in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    site, router = result["layers"][1]["sites"]["mlp_norm"], result["layers"][0]["routing"]["mlp"]
    text = re.sub(r"<[^>]*>", " ", done.stdout)
    for number in (report.percent(site["energy"]["50"]["mean"]), report.percent(site["overlap"]["consecutive"]["mean"]), report.number(router["load"]),
                   report.percent(router["bucket"][0]["coverage"]), "180 tokens in 9 sequences of 20", "16: 6 shared, 2 routed for each token"):
        assert number in text, number


def test_every_option_and_figure_is_documented():
    page = (ROOT / "docs/analysis.md").read_text()
    source = (ROOT / "python/mohd/analyze/command.py").read_text()
    options = re.findall(r'"(--[a-z-]+)"', source)
    assert len(options) == 9
    for option in options:
        assert f"`{option} " in page, option
    for name in (*plots.FIGURES, *stream.SITES):
        assert f"`{name}`" in page, name
