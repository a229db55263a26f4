# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How many launches a step of decode takes on a GPU, by the grids of the bundle: what costs time whatever the kernels do."""

import collections
import json
import os
import pathlib
import re
import struct
import subprocess

import pytest

from mohd import find

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST = 3  # launches of a layer

pytestmark = pytest.mark.skipif(
    find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first"
)


def read_manifest(path):
    """The manifest of a bundle (docs/formats.md)."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[64 : 64 + length])


def evaluate(expression, dims):
    """The value of an expression of the manifest."""
    assert re.fullmatch(r"[\w+\-*/(), ]*", expression)
    functions = {"min": min, "max": max, "ceildiv": lambda a, b: -(-a // b)}
    return eval(expression.replace("/", "//"), {"__builtins__": {}}, {**functions, **dims})


def launches_of_layers(manifest, target, entry, dims):
    """Launches in the order of the program, as {number of the layer: their kernels}. A launch without a weight of a layer belongs to the last
    layer before it; -1 has those before the first layer. What follows the last layer is counted with it."""
    inputs = [tensor["name"] for tensor in manifest["entry_points"][entry]["inputs"]]
    program = next(program for program in target["programs"] if program["entry"] == entry)
    found, current = collections.defaultdict(list), {-1}
    for dispatch in program["dispatches"]:
        if evaluate(dispatch["grid"], dims) == 0:
            continue  # docs/formats.md: there is no launch
        names = [inputs[binding["input"]] for binding in dispatch["bindings"] if "input" in binding]
        layers = {int(layer) for name in names for layer in re.findall(r"\.layers\.(\d+)\.", name)}
        current = layers or current
        for layer in current:
            found[layer].append(target["kernels"][dispatch["kernel"]]["name"])
    return found


def test_evaluate():
    dims = {"T": 7, "S": 100}
    assert [evaluate(text, dims) for text in ("ceildiv(T,4)", "min(1,16/max(1,T))*3", "(1-min(1,4/max(1,T)))*S")] == [2, 3, 100]


def compile_preset(preset, target, path, **environment):
    """The manifest of a preset's bundle without weights, and the number of its entry `decode`."""
    command = [find.compiler(), "--preset", preset, "--weights=none", "--weights-dtype=bf16", f"--target={target}", "-q", "-o", path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(path)
    return manifest, next(i for i, point in enumerate(manifest["entry_points"]) if point["name"] == "decode")


@pytest.mark.parametrize("preset", ["mohd-355m-dense", "mohd-355m-50", "mohd-1130m-x4"])
def test_a_layer_of_decode_is_few_launches(preset, tmp_path):
    fake = {"MOHD_PTXAS": str(ROOT / "test/Target/Inputs/fake_ptxas"), "FAKE_PTXAS": "entries"}  # the code is not run
    manifest, entry = compile_preset(preset, "cuda:sm_80,sm_90a", tmp_path / "model.mohdb", **fake)
    assert len(manifest["targets"]) == 2
    for target in manifest["targets"]:
        for tokens in (1, 16):
            found = launches_of_layers(manifest, target, entry, {"T": tokens, "S": 2048})
            assert sorted(found) == list(range(-1, manifest["model"]["num_layers"]))
            worst = max(range(manifest["model"]["num_layers"]), key=lambda layer: len(found[layer]))
            assert len(found[worst]) <= MOST, (target["arch"], tokens, worst, found[worst])


def test_launches_are_counted(tmp_path):
    """A step of 17 sequences, whose launches are not put together, takes more."""
    manifest, entry = compile_preset("mohd-355m-dense", "cuda:ptx", tmp_path / "model.mohdb", MOHD_PTXAS="")
    found = launches_of_layers(manifest, manifest["targets"][0], entry, {"T": 17, "S": 2048})
    assert min(len(launches) for layer, launches in found.items() if layer >= 0) > MOST
