# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels for a model: what its forward pass asks of `mohd.ops`, compiled ahead of time."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import torch

from mohd.nn.modules import SubLayer


def compile(model: torch.nn.Module, out: str | os.PathLike[str] | None = None, targets: str | Iterable[str] = "cpu:native",
            sample: Callable[[], object] | None = None) -> torch.nn.Module:
    """Switches `model` to the compiled backend, and compiles the functions, forward and backward, that it needs; returns it.

    They serve any number of tokens. `out`: the bundle to keep, which `mohd.ops.load` loads in other processes; by default nothing stays. `sample` runs
    the model once, on as little as possible; by default it is given one sequence of two tokens. What a model is later used with (the type of its weights,
    autocast) is to be so already. Raises MohdError with the compiler's message, and ValueError if the model needs no kernels.
    """
    from mohd import ops  # which imports modules of mohd.nn

    for part in model.modules():
        if isinstance(part, SubLayer):
            part.backend = "compiled"
    tokens = torch.zeros(1, 2, dtype=torch.long, device=next(model.parameters()).device)
    with ops.recording() as specs, torch.no_grad():
        sample() if sample else model(tokens)
    if not specs:
        raise ValueError("expects a model that calls operations of mohd.ops, got none")
    with tempfile.TemporaryDirectory() as folder:
        ops.compile(specs, out or pathlib.Path(folder) / "ops.mohdb", targets)
    return model
