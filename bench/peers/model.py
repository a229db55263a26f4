# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models: prefill and decode of a compiled model folder beside the same model in torch, eager and compiled."""

import pathlib
import tempfile
import time

import numpy as np
import torch

import mohd
from mohd.arrays import zeros
from mohd.nn import MoHDForCausalLM
from peers import pytorch

TOLERANCE = 1e-3
"""Relative error of logits between two float32 models; a near tie of a router may cost more than rounding."""


def _tokens(count, seed=0):
    return np.random.default_rng(seed).integers(32, 127, count).astype(np.int32)


class Compiled:
    """A compiled folder with the tensors of one sequence."""

    def __init__(self, bundle, threads):
        self.module = mohd.load(bundle)
        self.context = self.module.context(threads)
        cache = {tensor.name: tensor for tensor in self.module.entry_points["decode"].inputs}["k_cache"]
        self.layers, self.width = cache.shape[0], cache.shape[3]

    def _caches(self, length):
        return {name: zeros((self.layers, 1, length, self.width), np.float32) for name in ("k_cache", "v_cache")}

    def prefill(self, tokens, caches=None):
        """A function that prefills and returns the logits after the last token."""
        count = len(tokens)
        inputs = {"tokens": tokens, "sequence": np.zeros(count, np.int32), "position": np.arange(count, dtype=np.int32),
                  "rows": np.array([count - 1], np.int32)}
        call = self.context.bind("prefill", inputs | (caches or self._caches(count)))
        return lambda: call()["logits"]

    def decode(self, tokens):
        """A function that decodes the last of the tokens, the others being in the cache."""
        caches = self._caches(len(tokens))
        self.prefill(tokens[:-1], caches)()
        inputs = {"tokens": tokens[-1:].copy(), "position": np.array([len(tokens) - 1], np.int32)}
        call = self.context.bind("decode", inputs | caches)
        return lambda: call()["logits"]


class Eager:
    """The torch model."""

    def __init__(self, folder, compiles=False):
        self.model = MoHDForCausalLM.from_pretrained(folder)
        self.run = torch.compile(self.model, dynamic=False) if compiles else self.model

    def prefill(self, tokens):
        given = torch.from_numpy(tokens.astype(np.int64))[None]
        return lambda: self.run(given)[0, -1:].numpy()

    def decode(self, tokens):
        given = torch.from_numpy(tokens.astype(np.int64))[None]
        cache = self.model.new_cache()
        self.model(given[:, :-1], cache)
        return lambda: self.run(given[:, -1:], [list(part) for part in cache])[0].numpy()


def _time(calls, repetitions):
    """{name: samples}, in turn."""
    samples = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    return samples


def _row(name, case, tokens, produced, threads, calls, repetitions):
    expected = calls["torch"]()
    errors = {}
    for key, call in calls.items():
        errors[key] = float(np.linalg.norm(call() - expected) / np.linalg.norm(expected))
        assert errors[key] <= TOLERANCE, f"{name} {case} {key}: relative error {errors[key]:.3g}"
    samples = _time(calls, repetitions)
    return {"model": name, "case": case, "tokens": tokens, "threads": threads,
            "variants": {key: {"median_s": float(np.median(s)), "tokens_per_s": produced / float(np.median(s)), "error": errors[key],
                               "samples_s": s} for key, s in samples.items()}}


def measure(folder, prefill_tokens, compiles, repetitions, threads):
    """Rows of prefill and decode for a model folder. All arithmetic is float32; the compiled model keeps the folder's weights."""
    pytorch.set_threads(threads)
    rows = []
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        bundle = mohd.compile(folder, out=pathlib.Path(temporary, "model.mohdb"), options=["-q"])
        models = {"mohd": Compiled(bundle, threads), "torch": Eager(folder)}
        if compiles:
            models["torch.compile"] = Eager(folder, compiles=True)
        name = pathlib.Path(folder).name
        for count in prefill_tokens:
            tokens = _tokens(count)
            calls = {key: model.prefill(tokens) for key, model in models.items()}
            rows.append(_row(name, "prefill", count, count, threads, calls, repetitions))
        tokens = _tokens(max(prefill_tokens) + 1)
        calls = {key: model.decode(tokens) for key, model in models.items()}
        rows.append(_row(name, "decode", len(tokens), 1, threads, calls, repetitions))
    return rows


def load_times(folder, repetitions, threads):
    """Seconds from a bundle's path to the first logits of a decode step, in this process; the file is in the page cache."""
    samples = []
    with tempfile.TemporaryDirectory() as temporary:
        bundle = mohd.compile(folder, out=pathlib.Path(temporary, "model.mohdb"), options=["-q"])
        for _ in range(repetitions):
            start = time.perf_counter()
            model = Compiled(bundle, threads)
            inputs = {"tokens": _tokens(1), "position": np.zeros(1, np.int32)}
            model.context.run("decode", inputs | model._caches(1))
            samples.append(time.perf_counter() - start)
            del model
    return samples
