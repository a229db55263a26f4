# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example models and what trained them (examples/)."""

import json
import pathlib
import sys

import numpy as np
import pytest
import torch

from mohd import compare, weights
from mohd.nn import MoHDForCausalLM

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import corpus  # noqa: E402
import train  # noqa: E402

NAMES = ["mohd", "dense"]


@pytest.mark.parametrize("name", NAMES)
def test_committed_model_is_the_configuration(name):
    folder = EXAMPLES / f"pydoc-{name}"
    record, model = json.loads((folder / "training.json").read_text()), MoHDForCausalLM.from_pretrained(folder)
    assert model.config.to_dict() == train.MODELS[name].to_dict() | {"torch_dtype": "bfloat16"}
    assert [record["parameters"], record["activated_parameters"]] == list(model.config.parameters())
    assert {k: v.shape for k, v in weights.load(folder).items()} == model.config.tensor_shapes()


def test_models_activate_the_same_number_of_parameters():
    mohd, dense = (train.MODELS[name].parameters()[1] for name in NAMES)
    assert mohd == pytest.approx(dense, rel=0.005)


@pytest.mark.parametrize("name,loss", [("mohd", 1.5), ("dense", 1.5)])
def test_models_know_their_language(name, loss):
    data = train.to_tokens((EXAMPLES / "sample.txt").read_bytes())
    assert train.validate(MoHDForCausalLM.from_pretrained(EXAMPLES / f"pydoc-{name}"), data) < loss


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


def test_prose_takes_the_long_paragraphs_of_the_body():
    text = "Words that make this paragraph long enough, <b>bold</b>\nones and a <code>name</code> too, are kept.¶"
    page = f'<p>{text}</p><div class="body" role="main"><p>short</p><p>{text}</p><pre>{text}</pre><div class="clearer"><p>{text}</p>'
    kept = "Words that make this paragraph long enough, bold ones and a name too, are kept.\n\n"
    assert corpus.prose(page) == kept


def test_split_holds_out_the_end():
    kept, held_out = corpus.split(bytes(range(100)))
    assert (len(kept), held_out) == (95, bytes(range(95, 100)))


def test_training_lowers_the_loss_and_writes_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "fetch", lambda: b"the quick brown fox jumps over the lazy dog. " * 400)
    command = ["train.py", "mohd", "--out", str(tmp_path), "--steps", "6", "--batch", "1", "--warmup", "1", "--every", "3"]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["log"][0][0] == 3 and record["log"][-1][2] < record["log"][0][2] < np.log(256)
    assert record["validation_loss"] < np.log(256)
    MoHDForCausalLM.from_pretrained(tmp_path)
