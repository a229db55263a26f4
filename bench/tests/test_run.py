# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""bench/run from end to end at tiny sizes, and its command line."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from conftest import BENCH

BUILD = os.environ.get("MOHD_BUILD", str(BENCH.parent / "build"))


def run(*arguments):
    environment = {key: value for key, value in os.environ.items() if key != "BENCH_ENVIRONMENT_OF"}
    return subprocess.run([sys.executable, BENCH / "run", "--build", BUILD, *map(str, arguments)], capture_output=True, text=True,
                          env=environment)


def test_quick_run_gives_a_page(tmp_path):
    done = run("--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    parts = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("ops", "peers", "model", "train", "build")}
    assert all(part["about"]["quick"] and part["about"]["commit"] and part["about"]["machine"]["cpu"] for part in parts.values())
    assert {limit["threads"] for limit in parts["peers"]["limits"]} == {1}
    assert {name for row in parts["train"]["rows"] for name in row["memory"]} == {"mohd", "masked", "dense", "active"}
    assert parts["train"]["losses"]["loss_difference"] < 1e-5 and len(parts["train"]["losses"]["backends"]["reference"]["losses"]) == 2
    assert parts["train"]["overhead"].keys() == {"mohd", "empty", "mohd_gradient", "empty_gradient"}
    assert not any(str(BENCH.parent) in path.read_text() for path in tmp_path.glob("*.json"))  # results are published
    command = [sys.executable, BENCH / "report", "--results", tmp_path, "--out", tmp_path / "docs"]
    assert subprocess.run(command).returncode == 0
    assert "tiny sizes, which say nothing" in (tmp_path / "docs/performance.md").read_text()


def test_points_come_from_their_calmest_pass():
    loader = importlib.machinery.SourceFileLoader("bench_run", str(BENCH / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
    loader.exec_module(module)

    def point(samples, *times):
        return [{"peak_samples": [1.0], "bandwidth_samples": [samples], "median_s": time} for time in times]

    first, second = point(10, 1, 4) + point(11, 5), point(20, 2, 2) + point(21, 6)
    assert [row["median_s"] for row in module.calmest([first, second])] == [2, 2, 5]  # a sparse row and its dense one stay together
    assert module.calmest([first]) == first
    with pytest.raises(ValueError):
        module.calmest([first, second[:2]])


@pytest.mark.parametrize("arguments, message", [
    (["--only", "everything"], "expected --only out of ops,peers,model,train,build, got everything"),
    (["--build", "nowhere"], "make build"),
])
def test_wrong_arguments(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr


def test_full_settings_are_problems():
    """Nothing in bench/shapes.json is refused; every run of mohd-bench is a command line it takes."""
    from peers.problem import Problem

    settings = json.loads((BENCH / "shapes.json").read_text())
    for size in ("full", "quick"):
        for case in settings[size]["peers"]:
            for width, inner in case["shapes"]:
                for groups in case.get("groups", [[1, 1, 0]]):
                    assert width % groups[0] == 0 and Problem(case["op"], width, inner, 1, tuple(groups)).active >= 1
