# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Static figures of the GPU kernels: none got worse, where there is an assembler; and what counts as worse."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mohd import find

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench/gpu/figures"


@pytest.fixture(scope="module")
def figures():
    loader = importlib.machinery.SourceFileLoader("figures", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("figures", loader))
    loader.exec_module(module)
    return module


def has_assembler():
    """Whether mohd-compile finds ptxas."""
    command = [find.compiler(), ROOT / "test/mohd-compile/Inputs/spmm.mlir", "--target=cuda:sm_80", "--weights=none", "-q", "-o", os.devnull]
    return b"ptxas" not in subprocess.run(command, capture_output=True).stderr


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
def test_no_kernel_got_worse():
    if not has_assembler():
        pytest.skip("no ptxas: scripts/setup --cuda installs it")
    build = pathlib.Path(find.compiler()).resolve().parent.parent
    done = subprocess.run([sys.executable, SCRIPT, "--check", "--build", build], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
@pytest.mark.parametrize("preset", ["mohd-355m-dense", "mohd-495m-x3", "mohd-1130m-75", "third_party_ffn"])
def test_presets_assemble_without_spills(preset, tmp_path):
    """For the chips that have machine code of their own; and the text for others for three generations of them."""
    if not has_assembler():
        pytest.skip("no ptxas: scripts/setup --cuda installs it")
    command = [find.compiler(), "--preset", preset, "--weights=none", "--weights-dtype=bf16", "--target=cuda:sm_80,sm_90a,ptx", "-q", "-o", tmp_path / "model.mohdb",
               "--dump-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assemble = (tmp_path / "commands-cuda-ptx.txt").read_text()
    assert assemble.count("-arch=sm_80") == 1  # which the compiler has run
    for chip in ("sm_90", "sm_120"):
        done = subprocess.run(shlex.split(assemble.replace("sm_80", chip)), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (chip, done.stdout + done.stderr)
        assert not list(losses(done.stdout + done.stderr)), chip
        assert (done.stdout + done.stderr).count("Compiling entry function") == (tmp_path / "kernels-cuda-ptx.ptx").read_text().count(".entry ")


def losses(text):
    """What the compiler refuses in ptxas's messages: stack frames, spills, and lost performance but for C7519."""
    for line in text.splitlines():
        if re.search(r"\b[1-9]\d* bytes (stack frame|spill)", line) or re.search(r"\((?!C7519)C75\d\d\)", line):
            yield line


def test_losses_are_seen():
    kept = ["    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", "    0 bytes stack frame, 0 bytes spill stores, 12 bytes spill loads", "info : (C7510) lost"]
    assert list(losses("\n".join(["    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", "info : (C7519) fence", *kept]))) == kept


def test_what_counts_as_worse(figures):
    old = {"a": {"blocks_per_sm": 2, "tensor_share": 0.9, "bytes_per_flop": 0.01}, "b": {"blocks_per_sm": 1, "registers": 41, "shared_bytes": 1000}}
    assert not list(figures.worse(old, old))
    assert len(list(figures.worse(old, {"a": {"blocks_per_sm": 1, "tensor_share": 0.8, "bytes_per_flop": 0.02}}))) == 4
    more = lambda **figures: {**old, "b": {**old["b"], **figures}}
    assert not list(figures.worse(old, more(registers=48, shared_bytes=1024))), "as much is handed out"
    assert not list(figures.worse(old, more(registers=30, shared_bytes=0)))
    assert list(figures.worse(old, more(registers=49))) == ["b: registers was 41, is 49"]
    assert list(figures.worse(old, more(shared_bytes=1040))) == ["b: shared_bytes was 1000, is 1040"]
    assert list(figures.worse(old, {**old, "c": {}})) == ["c: expects figures in bench/results, got none: run bench/gpu/figures"]


def test_page_is_that_of_the_results(figures):
    rows = json.loads((ROOT / "bench/results/gpu-figures.json").read_text())["kernels"]
    assert (ROOT / "docs/gpu-figures.md").read_text() == figures.page(rows)


def test_instructions_are_counted(figures):
    text = "$L1:\n\tadd.s32 \t%r1, %r2, %r3;\n\t@%p1 bra \t$L1;\n$L2:\n\tmma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \t{%f1};\n\tadd.s32 \t%r1, %r2, %r3;\n"
    found = figures.figures_of_code(text, "sm_80")
    assert found == {"tensor": "m16n8k16", "instructions_per_tensor": 1.0, "tensor_share": 1.0}
