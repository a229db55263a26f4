# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""bench/gpu/check in the emulator, from packing to the result; and its supervision of children that crash, hang or fail."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from mohd import find

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench/gpu"))
from gpu_check import cases, rows, supervise  # noqa: E402

# Without a build there is nothing to test; a build (MOHD_BUILD, set by scripts/check) must have the compiler.
needs_build = pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")


def check(*arguments):
    build = os.environ.get("MOHD_BUILD", str(ROOT / "build"))
    environment = {key: value for key, value in os.environ.items() if key != "GPU_CHECK_BUILD"}
    return subprocess.run([sys.executable, ROOT / "bench/gpu/check", "--build", build, *map(str, arguments)], capture_output=True, text=True,
                          env=environment)


LEFT_TO_OTHERS = {
    "bucket_sddmm_wgmma128",  # starts at some thousands of tokens; MohdGpuKernelTests run it with few, the check on a GPU with enough
}
"""Kernels that the emulated half has in its bundles and does not start."""


@needs_build
def test_in_the_emulator(tmp_path):
    done = check("--device=emulate", "--out", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["failed"] == [] and result["left_out"] == []
    assert result["correctness"].keys() == {
        *(f"{group}/{entry.name}" for group, entries in cases.groups(True).items() for entry in entries), "model/tiny_f32"}
    assert all(run["repeats"] for item in result["correctness"].values() for run in item["runs"])
    for kind in ("fused", "norm_route_many", "bucket_order_many", "bucket_spmm_wgmma64", "bucket_sddmm_wgmma64", "bucket_fusion_many",
                 "attention_wgmma", "rope", "embed"):
        assert kind in result["kernels_run"]
    assert set(result["kernels_never_run"]) == LEFT_TO_OTHERS
    assert str(ROOT) not in (tmp_path / "result.json").read_text()


def test_wrong_arguments(tmp_path):
    done = check("pack", tmp_path)
    assert done.returncode == 2 and "is there already" in done.stderr
    assert check().returncode == 2


CHILD = """
import os, sys, time
sys.path.append(sys.argv[1])
from gpu_check import supervise
say = supervise.messages()
def work(item):
    print("noise")
    if item == "fails":
        raise ValueError("wrong")
    if item == "crashes":
        os.abort()
    if item == "hangs":
        time.sleep(100)
    return {"ok": True, "problems": []}
supervise.serve(work, sys.stdin.read().split(chr(10)), say)
"""


def supervised(items, seconds=60, child=CHILD):
    """({item: result}, items left out)."""
    found = {}
    left = supervise.supervise([sys.executable, "-c", child, ROOT / "bench/gpu"], items, time.monotonic() + seconds, 2, found.__setitem__)
    return found, left


def test_crashes_and_hangs_are_failures_of_their_item():
    found, left = supervised(["one", "fails", "crashes", "two", "hangs", "three"])
    assert left == [] and {item for item, result in found.items() if result["ok"]} == {"one", "two", "three"}
    assert found["fails"]["problems"] == ["ValueError: wrong"]
    assert found["crashes"]["problems"] == ["the process ended with -6"]
    assert found["hangs"]["problems"] == ["no answer in 2 s"]


def test_what_time_ends_before_is_left_out():
    assert supervised(["hangs", "two"], seconds=1) == ({}, ["hangs", "two"])


def test_a_child_that_cannot_begin_ends_the_part():
    found, left = supervised(["one", "two"], child="raise SystemExit('no torch')")
    assert left == ["two"] and "no torch" in found["one"]["trace"]


@pytest.mark.parametrize("quick", [True, False])
def test_names_are_unique(quick):
    assert len(set(rows.names(quick))) == len(rows.names(quick))
    for group, entries in cases.groups(quick).items():
        assert len({entry.name for entry in entries}) == len(entries), group
