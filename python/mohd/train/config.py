# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The configuration of a training run: a JSON file whose keys docs/training.md describes.

A section is a frozen dataclass of mohd.fields. Unknown keys and wrong values are ValueErrors that name the key.
"""

import dataclasses
import json
import pathlib

from mohd.config import Config
from mohd.fields import MAX_SEED, choice, flag, integer, number, read_object, section, text


@dataclasses.dataclass(frozen=True)
class Data:
    """`data`: the file of tokens."""

    path: str = text()
    format: str = choice("bytes", "bytes", "npy", "uint16", "int32")
    held_out: float = number(0.05, 0, 1, open_low=True)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """`optimizer`: AdamW."""

    rate: float = number(2e-3, 0, open_low=True)
    beta1: float = number(0.9, 0, 1)
    beta2: float = number(0.95, 0, 1)
    eps: float = number(1e-8, 0, open_low=True)
    weight_decay: float = number(0.1, 0)
    clip: float = number(1.0, 0, open_low=True)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """`schedule`: linear warm-up, then a cosine."""

    warmup: int = integer(100, 0)
    final: float = number(0.1, 0)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`evaluation` on the held-out part."""

    every: int = integer(200, 1)
    sequences: int = integer(32, 1)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """`checkpoints`: how often, and how many stay."""

    every: int = integer(200, 1)
    keep: int = integer(2, 1)


@dataclasses.dataclass(frozen=True)
class Log:
    """`log`: how often a line and a record of metrics, and whether TensorBoard gets it."""

    every: int = integer(10, 1)
    tensorboard: bool = flag(False)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A whole run. `model` is a Config; `weights` a folder or None; paths are absolute or relative to the file's folder."""

    model: Config
    data: Data
    out: str = text()
    weights: str = text(None)
    sequence_length: int = integer(512, 1)
    batch: int = integer(8, 1)
    micro_batch: int = integer(0, 0)
    steps: int = integer(4000, 1)
    seed: int = integer(0, 0, MAX_SEED)
    device: str = choice("auto", "auto", "cpu", "cuda")
    threads: int = integer(0, 0)
    backend: str = choice("reference", "reference", "compiled")
    autocast: str = choice("none", "none", "bf16")
    activation_checkpointing: bool = flag(False)
    parallel: str = choice("ddp", "ddp", "fsdp")
    save_dtype: str = choice("bfloat16", "float32", "bfloat16", "float16")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    log: Log = Log()

    def __post_init__(self):
        if self.sequence_length > self.model.max_position_embeddings:
            raise ValueError(
                f"expects sequence_length to be at most the model's max_position_embeddings "
                f"{self.model.max_position_embeddings}, got {self.sequence_length}"
            )


SECTIONS = {"data": Data, "optimizer": Optimizer, "schedule": Schedule, "evaluation": Evaluation, "checkpoints": Checkpoints, "log": Log}
"""The sections by key."""


def _model(value, folder):
    """The model's Config from an object as in config.json, or from the folder that a string names."""
    if isinstance(value, str):
        return Config.load(folder / value)
    if not isinstance(value, dict):
        raise ValueError(f"expects model to be an object or a folder, got {json.dumps(value)}")
    try:
        return Config.from_dict(value)
    except ValueError as error:
        raise ValueError(f"model: {error}") from error


def from_dict(values, folder="."):
    """Settings of the JSON object `values`, in which paths are relative to `folder`."""
    folder = pathlib.Path(folder)
    read = {key: (lambda value, key=key, kind=kind: section(kind, value, f"{key}.", {})) for key, kind in SECTIONS.items()}
    settings = section(Settings, values, "", read | {"model": lambda value: _model(value, folder)})
    at = lambda path: path and str(folder / path)
    data = dataclasses.replace(settings.data, path=at(settings.data.path))
    return dataclasses.replace(settings, data=data, out=at(settings.out), weights=at(settings.weights))


def load(path):
    """Settings of the file `path`."""
    path = pathlib.Path(path)
    values = read_object(path)
    try:
        return from_dict(values, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
