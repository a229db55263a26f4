# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The configuration of a training run: a JSON file whose keys docs/training.md describes.

A section is a frozen dataclass; a field's metadata says what its value must be. Unknown keys and wrong values are
ValueErrors that name the key.
"""

import dataclasses
import json
import pathlib

from mohd.config import Config


def _field(default, kind, check=lambda value: True, expects=""):
    """A key whose value has type `kind` and passes `check`, which `expects` says in words."""
    return dataclasses.field(default=default, metadata={"kind": kind, "check": check, "expects": expects})


def _integer(default, least):
    return _field(default, int, lambda value: value >= least, f"an integer of at least {least}")


def _number(default, low, high=float("inf"), open_low=False):
    words = f"a number {'above' if open_low else 'of at least'} {low}" + (f" and below {high}" if high < float("inf") else "")
    return _field(default, float, lambda value: (value > low if open_low else value >= low) and value < high, words)


def _choice(default, *values):
    return _field(default, str, lambda value: value in values, "one of " + ", ".join(values))


def _flag(default):
    return _field(default, bool, expects="true or false")


def _text(default=dataclasses.MISSING):
    return _field(default, str, expects="a string")


@dataclasses.dataclass(frozen=True)
class Data:
    """`data`: the file of tokens."""

    path: str = _text()
    format: str = _choice("bytes", "bytes", "npy", "uint16", "int32")
    held_out: float = _number(0.05, 0, 1, open_low=True)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """`optimizer`: AdamW."""

    rate: float = _number(2e-3, 0, open_low=True)
    beta1: float = _number(0.9, 0, 1)
    beta2: float = _number(0.95, 0, 1)
    eps: float = _number(1e-8, 0, open_low=True)
    weight_decay: float = _number(0.1, 0)
    clip: float = _number(1.0, 0, open_low=True)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """`schedule`: linear warm-up, then a cosine."""

    warmup: int = _integer(100, 0)
    final: float = _number(0.1, 0)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`evaluation` on the held-out part."""

    every: int = _integer(200, 1)
    sequences: int = _integer(32, 1)


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """`checkpoints`: how often, and how many stay."""

    every: int = _integer(200, 1)
    keep: int = _integer(2, 1)


@dataclasses.dataclass(frozen=True)
class Log:
    """`log`: how often a line and a record of metrics, and whether TensorBoard gets it."""

    every: int = _integer(10, 1)
    tensorboard: bool = _flag(False)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A whole run. `model` is a Config; `weights` a folder or None; paths are absolute or relative to the file's folder."""

    model: Config
    data: Data
    out: str = _text()
    weights: str = _text(None)
    sequence_length: int = _integer(512, 1)
    batch: int = _integer(8, 1)
    micro_batch: int = _integer(0, 0)
    steps: int = _integer(4000, 1)
    seed: int = _integer(0, 0)
    device: str = _choice("auto", "auto", "cpu", "cuda")
    threads: int = _integer(0, 0)
    backend: str = _choice("reference", "reference", "compiled")
    autocast: str = _choice("none", "none", "bf16")
    activation_checkpointing: bool = _flag(False)
    parallel: str = _choice("ddp", "ddp", "fsdp")
    save_dtype: str = _choice("bfloat16", "float32", "bfloat16", "float16")
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


def _value(field, value, name):
    """The checked value of key `name`."""
    kind, good = field.metadata["kind"], False
    if kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        value = float(value) if good else value
    elif kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = isinstance(value, kind)
    if not good or not field.metadata["check"](value):
        raise ValueError(f"expects {name} to be {field.metadata['expects']}, got {json.dumps(value)}")
    return value


def _section(kind, values, prefix, read):
    """The section `kind` of the JSON object `values`, whose keys are named with `prefix`; `read` has keys' own readers."""
    if not isinstance(values, dict):
        raise ValueError(f"expects {prefix.rstrip('.') or 'the configuration'} to be an object, got {json.dumps(values)}")
    fields, out = {field.name: field for field in dataclasses.fields(kind)}, {}
    for key, value in values.items():
        if key not in fields:
            raise ValueError(f"expects the keys {', '.join(sorted(fields))}, got '{prefix}{key}'")
        if value is not None or fields[key].default is not None:
            out[key] = read[key](value) if key in read else _value(fields[key], value, prefix + key)
    for key, field in fields.items():
        if key not in out and field.default is dataclasses.MISSING:
            raise ValueError(f"expects a value for {prefix}{key}")
    return kind(**out)


def _model(value, folder):
    """The model's Config from an object as in config.json, or from the folder that a string names."""
    try:
        if isinstance(value, str):
            return Config.load(folder / value)
        if isinstance(value, dict):
            return Config.from_dict(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model: {error}") from error
    raise ValueError(f"expects model to be an object or a folder, got {json.dumps(value)}")


def from_dict(values, folder="."):
    """Settings of the JSON object `values`, in which paths are relative to `folder`."""
    folder = pathlib.Path(folder)
    read = {key: (lambda value, key=key, kind=kind: _section(kind, value, f"{key}.", {})) for key, kind in SECTIONS.items()}
    settings = _section(Settings, values, "", read | {"model": lambda value: _model(value, folder)})
    at = lambda path: path and str(folder / path)
    data = dataclasses.replace(settings.data, path=at(settings.data.path))
    return dataclasses.replace(settings, data=data, out=at(settings.out), weights=at(settings.weights))


def load(path):
    """Settings of the file `path`."""
    path = pathlib.Path(path)
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"expects JSON, got: {error}") from error
    return from_dict(values, path.parent)
