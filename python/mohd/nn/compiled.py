# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels for a model: what its forward pass asks of `mohd.ops`, compiled ahead of time."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import torch

from mohd.nn.modules import Part


def target_of(device: torch.device) -> str:
    """The compiler's target for a device: this machine's CPU, or the GPU's chip. Raises ValueError for other devices."""
    if device.type == "cpu":
        return "cpu:native"
    if device.type != "cuda":
        raise ValueError(f"expects a model on a CPU or on CUDA, got {device}")
    major, minor = torch.cuda.get_device_capability(device)
    return {(8, 0): "cuda:sm_80", (9, 0): "cuda:sm_90a"}.get((major, minor), "cuda:ptx")


def compile(model: torch.nn.Module, out: str | os.PathLike[str] | None = None, targets: str | Iterable[str] | None = None,
            sample: Callable[[], object] | None = None) -> torch.nn.Module:
    """Switches `model` to the compiled backend, and compiles the functions, forward and backward, that it needs; returns it.

    They serve any number of tokens. `out`: the bundle to keep, which `mohd.ops.load` loads in other processes; by default nothing stays. `targets`: as of
    `mohd.compile`; by default the model's device. `sample` runs
    the model once, on as little as possible; by default it is given one sequence of two tokens. What a model is later used with (the type of its weights,
    autocast) is to be so already. Raises MohdError with the compiler's message, and ValueError if the model needs no kernels.
    """
    from mohd import ops  # which imports modules of mohd.nn

    for part in model.modules():
        if isinstance(part, Part):
            part.backend = "compiled"
    device = next(model.parameters()).device
    tokens = torch.zeros(1, 2, dtype=torch.long, device=device)
    with ops.recording() as specs, torch.no_grad():
        sample() if sample else model(tokens)
    if not specs:
        raise ValueError("expects a model that calls operations of mohd.ops, got none")
    with tempfile.TemporaryDirectory() as folder:
        ops.compile(specs, out or pathlib.Path(folder) / "ops.mohdb", targets or target_of(device))
    return model
