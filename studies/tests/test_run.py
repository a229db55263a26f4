# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""studies/run from end to end at a tiny size, interrupted and resumed, and its command line."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from conftest import STUDIES
from study import plan, train

ROOT = STUDIES.parent
BUILD = os.environ.get("MOHD_BUILD", str(ROOT / "build"))


def command(*arguments):
    return [sys.executable, STUDIES / "run", "--scale", "test", *map(str, arguments)]


ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "STUDY_ENVIRONMENT_OF"}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A folder that looks like the build folder, so that two tests do not write into one; with the text, of which little is needed."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("bin", "lib", "runtime"):
        if (path := os.path.join(BUILD, name)) and os.path.exists(path):
            os.symlink(path, folder / name)
    work = folder / "studies" / "test"
    work.mkdir(parents=True)
    (work / "python-doc.txt").write_bytes((ROOT / "docs/semantics.md").read_bytes() * 4)
    return folder


def run(build, *arguments):
    return subprocess.run([*command("--build", build, *arguments)], capture_output=True, text=True, env=ENVIRONMENT)


def test_all_tables_give_a_page(build, tmp_path):
    done = run(build, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(made) == {*plan.TABLES, "times", "activations", "conversion"}
    for name, table in plan.TABLES.items():
        wanted = table(plan.SCALES["test"])
        assert [result["digest"] for result in made[name]["runs"]] == [run.digest for run in wanted]
        assert all(0 < result["loss"] < 10 and 0 <= result["accuracy"] <= 1 and result["about"]["commit"] for result in made[name]["runs"])
    assert not any(str(ROOT) in path.read_text() for path in tmp_path.glob("*.json"))  # results are published
    page = tmp_path / "docs"
    assert subprocess.run([sys.executable, STUDIES / "report", "--results", tmp_path, "--out", page], env=ENVIRONMENT).returncode == 0
    assert "## Conversion" in (page / "results.md").read_text()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    again = run(build, "--out", tmp_path)
    assert again.returncode == 0 and "all 1" in again.stderr and before == {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}


def test_interrupted_run_goes_on(build, tmp_path):
    child = subprocess.Popen(command("--build", build, "--out", tmp_path, "--jobs", 1, "ablations"), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert "1 of" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130 and "goes on from here" in child.stderr.read()
    some = json.loads((tmp_path / "ablations.json").read_text())["runs"]
    wanted = plan.ablations(plan.SCALES["test"])
    assert 1 <= len(some) < len(wanted)
    done = run(build, "--out", tmp_path, "ablations")
    assert done.returncode == 0, done.stderr
    every = json.loads((tmp_path / "ablations.json").read_text())["runs"]
    assert len(every) == len(wanted) and [result for result in every if result["digest"] in {r["digest"] for r in some}] == some


def test_diverging_run_is_a_result(tmp_path):
    run = plan.main(plan.SCALES["test"])[0]
    run = dataclasses.replace(run, settings=run.settings | {"optimizer": {"rate": 1e30, "clip": 1e30}})
    (tmp_path / "python-doc.txt").write_bytes((ROOT / "docs/semantics.md").read_bytes())
    result = train.result_of(run, tmp_path, plan.SCALES["test"].tables)
    assert "expects a finite" in result["diverged"] and result["loss"] is None and result["accuracy"] is None


def test_failed_run_is_an_error(build, tmp_path):
    other = tmp_path / "build"
    shutil.copytree(build, other, symlinks=True, ignore=shutil.ignore_patterns("run-*", "times"))
    (other / "studies/test/python-doc.txt").write_bytes(b"too short")
    done = run(other, "--out", tmp_path, "main")
    assert done.returncode == 1 and "expects at least" in done.stderr and not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("arguments,message", [(["everything"], "expected tables out of rates, main"), (["--jobs", "0"], "expected --jobs of at least 1"),
                                               (["--scale", "huge"], "invalid choice")])
def test_wrong_flags_are_told(build, arguments, message):
    done = run(build, *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_tables_of_trained_models_need_them(build, tmp_path):
    other = tmp_path / "build"
    shutil.copytree(build, other, symlinks=True, ignore=shutil.ignore_patterns("run-*", "times"))
    done = run(other, "--out", tmp_path, "activations")
    assert done.returncode == 1 and "expects the trained model of dense, seed 0" in done.stderr
