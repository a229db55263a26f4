# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training steps: the compiled operations beside the same model in plain, masked PyTorch, and beside the dense model of the same hidden width.

`python -m peers.training CASE VARIANT` prints the memory of a step in a process of its own.
"""

import ctypes
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import torch
from torch.nn import functional

from mohd import ops
from mohd.config import Config, Routing
from mohd.nn import MoHDForCausalLM, compile
from mohd.train import config, loop
from peers import pytorch

VARIANTS = ("mohd", "masked", "dense", "active")
"""Compiled; plain PyTorch; dense at the same hidden width; dense at the active width, for the memory."""

PARTS = ("forward", "backward", "optimizer")


def config_of(case, variant):
    """The model's configuration."""
    groups = case["groups"]
    width = case["hidden_size"] * (sum(groups[1:]) if variant == "active" else groups[0]) // groups[0]
    routing = Routing(*groups) if variant in ("mohd", "masked") else None
    return Config(hidden_size=width, intermediate_size=case["intermediate_size"], num_hidden_layers=case["layers"], num_attention_heads=case["heads"],
                  head_dim=case["head_dim"], vocab_size=case["vocabulary"], max_position_embeddings=case["length"], mohd=routing)


class Training:
    """A model with its optimizer."""

    def __init__(self, case, variant, bundle):
        torch.manual_seed(0)
        config = config_of(case, variant)
        self.model = MoHDForCausalLM(config, "compiled" if variant == "mohd" else "reference")
        if variant == "mohd" and bundle.exists():
            ops.load(bundle)
        elif variant == "mohd":
            compile(self.model, bundle)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.tokens = torch.randint(case["vocabulary"], (case["sequences"], case["length"]), generator=torch.Generator().manual_seed(1))

    def step(self):
        """Seconds of each of PARTS, and the loss."""
        times = [time.perf_counter()]
        loss = functional.cross_entropy(self.model(self.tokens).flatten(0, 1), self.tokens.flatten()) + self.model.balance_loss()
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        self.optimizer.step()
        self.optimizer.zero_grad()
        times.append(time.perf_counter())
        return [after - before for before, after in zip(times, times[1:])], loss.item()

    def weight_bytes(self):
        """Bytes of the weights, and as many of their gradients and of each of the optimizer's two moments."""
        return sum(p.nbytes for p in self.model.parameters())


def _memory(name):
    """A value of /proc/self/status in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def peak_bytes(case, variant, bundle):
    """Bytes of weights, gradients and the optimizer's state, and the most memory of a step beyond these: activations and temporaries."""
    training = Training(case, variant, bundle)
    for _ in range(2):
        training.step()
    ctypes.CDLL(None).malloc_trim(0)
    before = _memory("VmRSS")  # without gradients
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    training.step()
    weights = training.weight_bytes()
    return {"step_bytes": _memory("VmHWM") - before - weights, "static_bytes": 4 * weights}


def _peak_in_process(case, variant, bundle):
    command = [sys.executable, "-m", "peers.training", json.dumps(case), variant, str(bundle), str(torch.get_num_threads())]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TOP_PAD_": "0"}  # what is freed goes back at once
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def measure(name, case, repetitions, threads, say):
    """A row: medians and samples of each variant, in turn; losses that must agree; memory."""
    pytorch.set_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        bundle = pathlib.Path(folder, "ops.mohdb")
        say(f"train {name}: compile")
        models = {variant: Training(case, variant, bundle) for variant in VARIANTS[:3]}
        samples, losses = {variant: [] for variant in models}, {}
        for number in range(repetitions + 1):
            say(f"train {name}: step {number}")
            for variant, model in models.items():
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", "mohd.ops")  # that no kernel was compiled
                    times, loss = model.step()
                if number:
                    samples[variant].append(times)
                else:
                    losses[variant] = loss
        error = abs(losses["mohd"] - losses["masked"]) / losses["masked"]
        assert error <= 1e-5, f"{name}: the losses {losses} differ by {error:.3g}"
        models.clear()
        say(f"train {name}: memory")
        memory = {variant: _peak_in_process(case, variant, bundle) for variant in VARIANTS}
    rows = {variant: {"median_s": statistics.median(map(sum, times)), "samples_s": [sum(t) for t in times]}
            | {f"{part}_s": statistics.median(t[i] for t in times) for i, part in enumerate(PARTS)} for variant, times in samples.items()}
    tokens = case["sequences"] * case["length"]
    return {"name": name, "case": case, "tokens": tokens, "threads": threads, "variants": rows, "loss_error": error, "memory": memory}


def first_losses(example, text, steps, threads, say):
    """The losses of the first steps of an example model's training (its train.json, in float32) on the bytes `text`: with compiled operations and, from the same weights
    at each step, with plain ones; tokens a second of each."""
    pytorch.set_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "text").write_bytes(text)
        settings = json.loads((example / "train.json").read_text())
        settings |= {"model": str(example), "steps": steps, "autocast": "none", "threads": threads, "data": settings["data"] | {"path": "text"}}
        trainers = {}
        for backend in ("compiled", "reference"):
            (folder / "train.json").write_text(json.dumps(settings | {"out": backend, "backend": backend}))
            trainers[backend] = loop.Trainer(config.load(folder / "train.json"))
        found = {backend: {"losses": [], "gradient_norms": [], "seconds": []} for backend in trainers}
        for step in range(steps):
            if step % 10 == 0:
                say(f"train {example.name}: step {step}")
            trainers["reference"].model.load_state_dict(trainers["compiled"].model.state_dict())
            for backend, trainer in trainers.items():
                start = time.perf_counter()
                loss, _, norm = trainer.train_step()
                for key, value in zip(found[backend], (loss, norm, time.perf_counter() - start)):
                    found[backend][key].append(value)
    tokens = settings["batch"] * settings["sequence_length"]
    for one in found.values():
        one["tokens_per_s"] = tokens / statistics.median(one.pop("seconds"))
    largest = lambda key: max(abs(a - b) / b for a, b in zip(*(one[key] for one in found.values()), strict=True))
    return {"model": example.name, "steps": steps, "threads": threads, "text_sha256": hashlib.sha256(text).hexdigest(), "backends": found,
            "loss_difference": largest("losses"), "gradient_norm_difference": largest("gradient_norms")}


def overhead(repetitions=2000):
    """Seconds of a forward call on one token and one thread: of the smallest operation, and of an empty operator of PyTorch with as many arguments; `*_gradient` the same of a
    product whose tokens and weight need gradients, beside an empty operator to which nothing needs any."""
    pytorch.set_threads(1)
    gate, up = torch.randn(1, 16), torch.randn(1, 16)
    product = torch.randn(1, 16), torch.arange(2, dtype=torch.int32)[None], torch.ones(1, 2), torch.randn(16, 16), 4
    graded = tuple(value.clone().requires_grad_() if i in (0, 3) else value for i, value in enumerate(product))
    library = torch.library.Library("mohd_bench", "FRAGMENT")
    for schema in ("empty(Tensor gate, Tensor up)", "empty_product(Tensor x, Tensor indices, Tensor gates, Tensor weight, int num_groups)"):
        library.define(f"{schema} -> Tensor")
        library.impl(schema.partition("(")[0], lambda *arguments: torch.empty((1, 16)), "CPU")
    with tempfile.TemporaryDirectory() as folder:
        with ops.recording() as specs:
            ops.swiglu(gate, up)
            ops.spmm(*product)
        ops.compile(specs, pathlib.Path(folder, "ops.mohdb"))
    calls = {"mohd": lambda: ops.swiglu(gate, up), "empty": lambda: torch.ops.mohd_bench.empty(gate, up),
             "mohd_gradient": lambda: ops.spmm(*graded), "empty_gradient": lambda: torch.ops.mohd_bench.empty_product(*product)}
    samples = {name: [] for name in calls}
    for _ in range(9):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repetitions):
                call()
            samples[name].append((time.perf_counter() - start) / repetitions)
    return samples


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    print(json.dumps(peak_bytes(json.loads(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))))
