# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads the weights of a model folder into NumPy, and converts to and from the 16-bit storage types."""

import json
import pathlib

import numpy as np

INDEX = "model.safetensors.index.json"
"""The file that lists shards."""


def from_bf16(bits):
    """bfloat16 bit patterns (uint16) as float32."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)


def to_bf16(array):
    """float32 rounded to nearest even bfloat16, as bit patterns (uint16). NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)


def read_safetensors(path):
    """The tensors of one safetensors file by name, as float32 (F32, BF16, F16)."""
    data = pathlib.Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + length + begin : 8 + length + end]
        kind = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry["dtype"]]
        array = np.frombuffer(raw, kind)
        array = from_bf16(array) if entry["dtype"] == "BF16" else array.astype(np.float32)
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def files(folder):
    """The paths of the safetensors files of the model in `folder`: one, or the shards that the index names."""
    folder = pathlib.Path(folder)
    index = folder / INDEX
    if not index.exists():
        return [folder / "model.safetensors"]
    return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]


def load(folder):
    """All weights of the model in `folder` as float32 by name."""
    tensors = {}
    for path in files(folder):
        tensors.update(read_safetensors(path))
    return tensors
