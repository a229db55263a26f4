# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""mohd.compare: the tokens it takes, its verdict on right and wrong logits, and one run with the real compiler."""

import numpy as np
import pytest
import torch

import mohd
from cases import config_of
from mohd import compare
from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM


class Fake:
    """Stands for `mohd.runtime.Generator`, with PyTorch as the compiled model, and an error of relative size `error`."""

    def __init__(self, folder, error):
        self.model, self.error = MoHDForCausalLM.from_pretrained(folder), error

    def prefill(self, tokens, all_rows=False):
        self.cache = self.model.new_cache()
        logits = self.forward(tokens)
        return logits if all_rows else logits[:, -1]

    def decode(self, tokens):
        return self.forward(tokens[:, None])[:, 0]

    def forward(self, tokens):
        with torch.no_grad():
            return self.model(torch.from_numpy(tokens).long(), self.cache).numpy() * (1 + self.error)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    MoHDForCausalLM(config_of(Routing(16, 6, 2), max_position_embeddings=256)).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("error,good", [(0.0, True), (5e-5, True), (2e-4, False), (np.nan, False)])
def test_verdict(folder, monkeypatch, capsys, error, good):
    monkeypatch.setattr(mohd, "load", lambda bundle: None)
    monkeypatch.setattr(compare, "Generator", lambda module, sequences, positions: Fake(folder, error))
    tokens = compare.tokens_of(Config.load(folder), None, 100, 0)
    assert compare.compare("none.mohdb", folder, tokens, 1e-4, False) == good
    assert ("PASS" if good else "FAIL") in capsys.readouterr().out


@pytest.mark.parametrize("required", [True, False])
def test_verdict_on_greedy_tokens(folder, monkeypatch, capsys, required):
    monkeypatch.setattr(mohd, "load", lambda bundle: None)
    monkeypatch.setattr(compare, "Generator", lambda *_: Fake(folder, 0.0))
    monkeypatch.setattr(compare, "compiled_greedy", lambda generator, prompt, count: [-1] * count)
    tokens = compare.tokens_of(Config.load(folder), None, 100, 0)
    assert compare.compare("none.mohdb", folder, tokens, 1e-4, required) != required
    assert "greedy   0 of 192 tokens identical" in capsys.readouterr().out


def test_tokens(tmp_path):
    config = config_of(None, max_position_embeddings=300, tokenizer="bytes", vocab_size=256)
    tokens = compare.tokens_of(config, None, 1000, 0)
    assert tokens.shape == (4, 250) and tokens.max() > 200
    assert (tokens == compare.tokens_of(config, None, 1000, 0)).all()
    (tmp_path / "text").write_bytes(bytes(range(256)))
    np.testing.assert_array_equal(compare.tokens_of(config, tmp_path / "text", 10, 0), [list(range(10))])
    with pytest.raises(ValueError, match="expects at least 290 bytes"):
        compare.tokens_of(config, tmp_path / "text", 290, 0)
    with pytest.raises(ValueError, match="tokenizer 'bytes'"):
        compare.tokens_of(config_of(None), tmp_path / "text", 10, 0)


def test_missing_model_is_one_line(tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "config.json" in error and error.count("\n") == 1


def test_rows_after_a_near_tie_are_shown_but_not_judged(folder, monkeypatch, capsys):
    monkeypatch.setattr(mohd, "load", lambda bundle: None)
    monkeypatch.setattr(compare, "Generator", lambda *_: Fake(folder, 0.0))
    exact = compare.compiled_logits

    def wrong_at_the_end(generator, tokens):
        logits = exact(generator, tokens)
        logits[:, 60:] *= 2
        return logits

    monkeypatch.setattr(compare, "compiled_logits", wrong_at_the_end)
    tokens = compare.tokens_of(Config.load(folder), None, 100, 0)
    assert not compare.compare("none.mohdb", folder, tokens, 1e-4, False)
    capsys.readouterr()
    monkeypatch.setattr(compare, "near_ties", lambda *_: np.arange(100) == 60)
    assert compare.compare("none.mohdb", folder, tokens, 1e-4, False)
    out = capsys.readouterr().out
    assert "100, of them 40 from a near tie" in out and "(not judged)" in out
    monkeypatch.setattr(compare, "near_ties", lambda *_: np.arange(100) == 5)  # nearly nothing is left to judge
    assert not compare.compare("none.mohdb", folder, tokens, 1e-4, False)
