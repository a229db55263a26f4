# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example models and what trained them (examples/)."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from mohd import compare, weights
from mohd.analyze import analyse
from mohd.nn import MoHDForCausalLM
from mohd.train import command as program, config, loop

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import corpus  # noqa: E402

NAMES = ["mohd", "dense"]


@pytest.mark.parametrize("name", NAMES)
def test_committed_model_is_the_configuration(name):
    folder = EXAMPLES / f"pydoc-{name}"
    record, settings = json.loads((folder / "training.json").read_text()), config.load(folder / "train.json")
    assert [record["parameters"], record["activated_parameters"]] == list(settings.model.parameters())
    assert {k: v.shape for k, v in weights.load(folder).items()} == settings.model.tensor_shapes()
    assert record["steps"] == settings.steps and record["seed"] == settings.seed
    assert record["tokens"] == settings.steps * settings.batch * settings.sequence_length
    if name == "dense":  # made before there was mohd.train
        assert f"--rate {settings.optimizer.rate} --warmup {settings.schedule.warmup}" in record["command"]
    else:
        assert record["command"] == "python -m mohd.train --config examples/pydoc-mohd/train.json"


def test_models_activate_the_same_number_of_parameters():
    mohd, dense = (config.load(EXAMPLES / f"pydoc-{name}/train.json").model.parameters()[1] for name in NAMES)
    assert mohd == pytest.approx(dense, rel=0.005)


@pytest.mark.parametrize("name,loss", [("mohd", 1.5), ("dense", 1.5)])
def test_models_know_their_language(name, loss):
    text = torch.frombuffer(bytearray((EXAMPLES / "sample.txt").read_bytes()), dtype=torch.uint8).long()
    rows = text[: len(text) // 512 * 512].view(-1, 512)
    with torch.no_grad():
        logits = MoHDForCausalLM.from_pretrained(EXAMPLES / f"pydoc-{name}")(rows[:, :-1])
    assert loop.cross_entropy(logits, rows[:, 1:]) < loss


def test_sample_has_no_near_tie():
    model = MoHDForCausalLM.from_pretrained(EXAMPLES / "pydoc-mohd")
    tokens = compare.tokens_of(model.config, EXAMPLES / "sample.txt", 1000, 0)
    assert compare.reference_logits(model, tokens)[1].all()


def test_near_ties_are_seen_and_rows_after_them_left_out():
    model = MoHDForCausalLM.from_pretrained(EXAMPLES / "pydoc-mohd")
    tokens = compare.tokens_of(model.config, EXAMPLES / "sample.txt", 1000, 0)
    router = model.model.layers[1].mlp.router.weight
    with torch.no_grad():
        router[8:] = router[7]  # any pair of routed groups may tie now
    clear = compare.reference_logits(model, tokens)[1]
    assert not clear[:, -1].any()
    assert (np.diff(clear.astype(int), axis=1) <= 0).all()  # once left out, left out to the end


@pytest.fixture(scope="module")
def analyses():
    return {name: analyse(EXAMPLES / f"pydoc-{name}", EXAMPLES / "sample.txt") for name in NAMES}


def expect_shown(cells, values):
    """The numbers in a row of a page are `values`, but for one in the last digit that is shown."""
    shown = re.findall(r"\d+(?:\.\d+)?", " ".join(cells))
    assert len(shown) == len(values), cells
    for text, value in zip(shown, values):
        assert float(text) == pytest.approx(value, abs=10 ** -len(text.partition(".")[2])), (cells, value)


PAGE = [[cell.strip() for cell in line.strip("|").split("|")] for line in (EXAMPLES.parent / "docs/analysis.md").read_text().splitlines() if line.startswith("|")]
"""Rows of the tables of docs/analysis.md."""


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_norm", "mlp_act"])
def test_shown_dims_are_those_of_the_committed_models(analyses, site):
    first = next(i for i, row in enumerate(PAGE) if row[0] == f"`{site}`, MoHD")
    assert PAGE[first + 1][0] == "dense"
    for name, row in zip(NAMES, PAGE[first:]):
        sites = [layer["sites"][site] for layer in analyses[name]["layers"]]
        values = [[100 * s["energy"][share]["mean"] for share in ("50", "90", "99")] + [100 * s["overlap"][kind]["mean"] for kind in ("consecutive", "shuffled")]
                  + [s["shared"]["count"], 100 * s["shared"]["energy"], s["specialised"]["count"]] for s in sites]
        expect_shown(row[1:], np.mean(values, 0))


@pytest.mark.parametrize("layer,part,name", [(0, "self_attn", "attention"), (0, "mlp", "FFN"), (1, "self_attn", "attention"), (3, "mlp", "FFN")])
def test_shown_routers_are_those_of_the_committed_model(analyses, layer, part, name):
    router = analyses["mohd"]["layers"][layer]["routing"][part]
    entropies = [100 * router[key]["share"] for key in ("use_entropy", "score_entropy")]
    coverage = [100 * calls["coverage"] for calls in router["bucket"] if calls["tile_rows"] == 64]
    (row,) = (row for row in PAGE if row[0] == f"layer {layer}, {name}")
    expect_shown(row[1:], [router["balance"], router["load"], *entropies, *(router["sets"][key] for key in ("seen", "possible", "effective")), *coverage])


def test_shown_ranges_are_those_of_the_committed_model(analyses):
    text = (EXAMPLES.parent / "docs/analysis.md").read_text()
    calls = [calls for layer in analyses["mohd"]["layers"] for router in layer["routing"].values() for calls in router["bucket"] if calls["tile_rows"] == 64]
    for words, values in (("tokens fill (\\d+ to \\d+) %", [c["unordered"] for c in calls]), ("at 256 a product does (\\d+ to \\d+) %", [c["of_dense"] for c in calls if c["tokens"] == 256])):
        expect_shown(re.findall(words, text), [100 * min(values), 100 * max(values)])


def test_prose_takes_the_long_paragraphs_of_the_body():
    text = "Words that make this paragraph long enough, <b>bold</b>\nones and a <code>name</code> too, are kept.¶"
    page = f'<p>{text}</p><div class="body" role="main"><p>short</p><p>{text}</p><pre>{text}</pre><div class="clearer"><p>{text}</p>'
    kept = "Words that make this paragraph long enough, bold ones and a name too, are kept.\n\n"
    assert corpus.prose(page) == kept


def test_corpus_prints_nothing_but_the_text(tmp_path):
    """What apt-get says of a package that it fetches is not part of it."""
    programs = {"apt-get": "echo fetched; touch package.deb", "dpkg-deb": 'mkdir -p "$3/usr/share/doc/python3.11/html/a"; cp "$PAGE" "$3/usr/share/doc/python3.11/html/a"'}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    sentence = "A paragraph of a page that is long enough to be kept, of sixty characters."
    (tmp_path / "page.html").write_text(f'<div class="body" role="main"><p>{sentence}</p></div>')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PAGE": str(tmp_path / "page.html"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for _ in range(2):  # fetched, and from the cache
        done = subprocess.run([sys.executable, EXAMPLES / "corpus.py", "--whole"], check=True, capture_output=True, text=True, env=environment)
        assert done.stdout == sentence + "\n\n"


def test_split_holds_out_the_end():
    kept, held_out = corpus.split(bytes(range(100)))
    assert (len(kept), held_out) == (95, bytes(range(95, 100)))


def test_training_by_the_configuration(tmp_path):
    """A few short steps of the example's own configuration, on a text of one sentence."""
    values = json.loads((EXAMPLES / "pydoc-mohd/train.json").read_text())
    (tmp_path / "text").write_bytes(b"the quick brown fox jumps over the lazy dog. " * 400)
    values |= {"model": str(EXAMPLES / "pydoc-mohd"), "data": {"path": "text"}, "out": "out", "steps": 4, "batch": 2, "sequence_length": 64}
    values["schedule"] = {"warmup": 1}
    (tmp_path / "train.json").write_text(json.dumps(values | {"log": {"every": 1}}))
    assert program.main(["--config", str(tmp_path / "train.json")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert lines[3]["loss"] < lines[0]["loss"] and lines[-1]["held_out_loss"] < np.log(256)
    assert MoHDForCausalLM.from_pretrained(tmp_path / "out").config == MoHDForCausalLM.from_pretrained(EXAMPLES / "pydoc-mohd").config
