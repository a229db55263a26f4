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


def test_everything_at_a_small_size(build):
    """studies/small as the Makefile calls it, at the scale of tests; then some of it again."""
    done = subprocess.run([STUDIES / "small", build, "test"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    out = build / "studies/test"
    results = out / "results"
    made = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    assert set(made) == {*plan.TABLES, *plan.ROWS, "times"}
    for name, table in plan.ROWS.items():
        assert [result["digest"] for result in made[name]["rows"]] == [row.digest for row in table(plan.SCALES["test"])]
    for name, table in plan.TABLES.items():
        wanted = table(plan.SCALES["test"])
        assert [result["digest"] for result in made[name]["runs"]] == [run.digest for run in wanted]
        assert all(0 < result["loss"] < 10 and 0 <= result["accuracy"] <= 1 and result["about"]["commit"] for result in made[name]["runs"])
    assert not any(str(ROOT) in path.read_text() for path in results.glob("*.json"))  # results are published
    assert "## Conversion" in (out / "page/results.md").read_text() and (out / "analysis/report.html").exists()
    assert (out / "mohd/conversion.json").exists() and (out / "mohd/recovered/model.safetensors").exists()
    before = {path.name: path.read_bytes() for path in results.glob("*.json")}
    again = run(build)
    assert again.returncode == 0 and "all 1" in again.stderr and before == {path.name: path.read_bytes() for path in results.glob("*.json")}
    rows = made["conversion"]["rows"]
    (results / "conversion.json").write_text(json.dumps({"rows": [*rows[:2], *rows[3:5], rows[5] | {"data": "of another text"}]}))  # of six
    again = run(build, "conversion")
    assert again.returncode == 0 and "5 of 6  75 %, seed 0" in again.stderr and "6 of 6  x4, seed 0" in again.stderr and "4 of 6" not in again.stderr, again.stderr
    assert [row["digest"] for row in json.loads((results / "conversion.json").read_text())["rows"]] == [row["digest"] for row in rows]


def test_small_knows_its_scales():
    done = subprocess.run([STUDIES / "small", "build", "full"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "error: expects small or test, got full\n"


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


@pytest.mark.parametrize("folder", ["out", "build/studies/test"])
def test_one_study_writes_into_a_folder(build, tmp_path, folder):
    """The results, and what the runs leave below the build folder. A lock whose process has ended is none."""
    shutil.copytree(build, tmp_path / "build", symlinks=True, ignore=shutil.ignore_patterns("run-*", "times"))
    (tmp_path / folder).mkdir(exist_ok=True)
    hold = f"import fcntl, os, sys; file = open({str(tmp_path / folder / '.lock')!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(os.getpid(), file=file, end='', flush=True); print(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        done = run(tmp_path / "build", "--out", tmp_path / "out", "main")
        assert done.returncode == 1 and done.stderr == f"error: expects no other studies/run that writes into {tmp_path / folder}, got process {child.pid}\n"
        assert not list(tmp_path.glob("*/*.json"))
        child.kill()
    done = run(tmp_path / "build", "--out", tmp_path / "out", "main")
    assert done.returncode == 0 and (tmp_path / "out/main.json").exists(), done.stderr


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
