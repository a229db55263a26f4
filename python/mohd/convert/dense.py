# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads a dense LLaMA checkpoint, and refuses what cannot be converted with a ValueError that says why."""

import pathlib

import torch
from safetensors.torch import load_file

from mohd import weights
from mohd.analyze.analysis import config_of
from mohd.analyze.stream import Checkpoint
from mohd.fields import read_object

KEPT = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Keys that the converted config.json keeps: they mean nothing to us, but something to those who generate text."""


def read_config(folder):
    """(Config, the object of `folder`/config.json) of a dense model."""
    path = pathlib.Path(folder) / "config.json"
    values = read_object(path)
    if values.get("model_type") == "mohd" or values.get("mohd") is not None:
        raise ValueError(f"expects a dense model (model_type 'llama') in {path}, got a MoHD one")
    return config_of(folder), values


def read_tensors(checkpoint):
    """The tensors of a checked checkpoint by name, as they are stored. All of them must be finite."""
    tensors = {}
    for path in weights.files(checkpoint.folder):
        for name, tensor in load_file(path).items():
            if name not in checkpoint.config.tensor_shapes():
                continue  # one that is never read
            if not tensor.isfinite().all():
                raise ValueError(f"expects finite values in '{name}' in {path}, got NaN or infinity")
            tensors[name] = tensor
    return tensors


def read(folder):
    """(Checkpoint, tensors by name as they are stored, keys of config.json to keep) of the dense model in `folder`.

    Raises ValueError with the reason for a model that is none or cannot be converted, OSError for a missing file.
    """
    config, values = read_config(folder)
    checkpoint = Checkpoint(folder, config)
    return checkpoint, read_tensors(checkpoint), {key: values[key] for key in KEPT if values.get(key) is not None}


def common_type(tensors):
    """The type of all tensors, or float32, which holds all of them, if they differ."""
    types = {tensor.dtype for tensor in tensors.values()}
    return types.pop() if len(types) == 1 else torch.float32
