# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`mohd.compile`, mostly with a stand-in for mohd-compile, and where the compiler is looked for."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

import mohd
from cases import config_of
from mohd import find
from mohd.compiler import split_targets
from mohd.config import Routing


def fake_compiler(folder, body):
    """A stand-in for mohd-compile: a shell script."""
    program = folder / "mohd-compile"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def arguments(monkeypatch, tmp_path):
    """What the compiler was last called with: a function."""
    monkeypatch.setenv("MOHD_COMPILE", str(fake_compiler(tmp_path, f'echo "$@" > {tmp_path}/arguments; cat "$1/config.json" > {tmp_path}/config || true')))
    return lambda: (tmp_path / "arguments").read_text().split()


def test_compile_runs_the_compiler(arguments):
    assert str(mohd.compile("model", out="out.mohdb", weights_dtype="bf16", options=["-q"])) == "out.mohdb"
    assert arguments() == ["model", "-o", "out.mohdb", "--target=cpu:native", "-q", "--weights-dtype=bf16"]
    mohd.compile("model", ["cpu:x86-64-v3", "cuda:sm_80,sm_90a"], "out.mohdb", weights="external", quantize="int8", random_weights=0)
    assert arguments() == ["model", "-o", "out.mohdb", "--target=cpu:x86-64-v3", "--target=cuda:sm_80,sm_90a", "--weights=external", "--quantize=int8",
                           "--random-weights=0"]


@pytest.mark.parametrize("targets,expected", [
    ("cpu:native", ["cpu:native"]),
    ("cpu:native,cuda:sm_80,sm_90a,emulate:sm_90a", ["cpu:native", "cuda:sm_80,sm_90a", "emulate:sm_90a"]),
    (("cpu:native", "cuda:ptx"), ["cpu:native", "cuda:ptx"]),
])
def test_targets(targets, expected):
    assert split_targets(targets) == expected


@pytest.mark.parametrize("targets", ["", [], "cpu:native,", ["", "cpu:native"]])
def test_no_targets(targets):
    with pytest.raises(ValueError, match="expects names of targets, got"):
        split_targets(targets)


def test_a_bundle_lies_beside_its_model(arguments, tmp_path):
    assert mohd.compile(tmp_path / "llama-3.1") == tmp_path / "llama-3.1.mohdb"
    assert mohd.compile(tmp_path / "op.mlir") == tmp_path / "op.mohdb"
    assert arguments()[2] == str(tmp_path / "op.mohdb")


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_configuration_has_no_weights(arguments, tmp_path, as_dict):
    config = config_of(Routing(16, 6, 2))
    mohd.compile(config.to_dict() if as_dict else config, out="out.mohdb")
    assert arguments()[-1] == "--weights=none" and not os.path.exists(arguments()[0])
    assert json.loads((tmp_path / "config").read_text()) == config.to_dict()
    mohd.compile(config, out="out.mohdb", random_weights=7)
    assert arguments()[-1] == "--random-weights=7" and not any("--weights=" in part for part in arguments())
    with pytest.raises(TypeError, match="expects out, the path of the bundle, with a configuration, got none"):
        mohd.compile(config)


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
def test_configurations_compile(tmp_path):
    config, quick = config_of(None, num_hidden_layers=1), ["--lowering=reference"]
    module = mohd.load(mohd.compile(config, out=tmp_path / "random.mohdb", random_weights=1, options=quick))
    assert module.generate([1, 2], 3).shape == (3,)
    inputs = mohd.load(mohd.compile(config.to_dict(), out=tmp_path / "none.mohdb", options=quick)).entry_points["decode"].inputs
    assert len(inputs) > len(module.entry_points["decode"].inputs)  # the weights
    assert sorted(os.listdir(tmp_path)) == ["none.mohdb", "random.mohdb"]


@pytest.mark.parametrize("code,status", [(1, "FAILURE"), (3, "MALFORMED"), (7, "IO"), (70, "INTERNAL")])
def test_compile_failure_is_an_exception(monkeypatch, tmp_path, code, status):
    monkeypatch.setenv("MOHD_COMPILE", str(fake_compiler(tmp_path, f"echo error: broken >&2; exit {code}")))
    with pytest.raises(mohd.MohdError, match=f"{status}: broken"):
        mohd.compile("model", out="out.mohdb")


def test_compiler_not_found(monkeypatch, tmp_path):
    monkeypatch.setenv("MOHD_COMPILE", str(tmp_path / "none"))
    with pytest.raises(mohd.MohdError, match="no mohd-compile"):
        mohd.compile("model", out="out.mohdb")


def test_interrupted_compiler_is_told_to_end(tmp_path):
    """The compiler has its own way to remove what it has begun, given SIGTERM; nothing of it runs on."""
    body = f'trap "rm {tmp_path}/begun; exit 1" TERM; echo $$ > {tmp_path}/begun.pid; touch {tmp_path}/begun; while true; do sleep 0.05; done'
    environment = os.environ | {"MOHD_COMPILE": str(fake_compiler(tmp_path, body)), "PYTHONPATH": str(find.PACKAGE.parent)}
    # Whoever starts the tests may ignore SIGINT, as shells do for what runs in the background.
    code = "import mohd, signal; signal.signal(signal.SIGINT, signal.default_int_handler); mohd.compile('model', out='out.mohdb')"
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 30
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert (tmp_path / "begun").exists()
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate()[1]
    assert not (tmp_path / "begun").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "begun.pid").read_text()), 0)


def test_places_in_order(monkeypatch, tmp_path):
    monkeypatch.delenv("MOHD_COMPILE", raising=False)
    monkeypatch.delenv("MOHD_RUNTIME", raising=False)
    monkeypatch.delenv("MOHD_BUILD", raising=False)
    monkeypatch.setattr(find, "PACKAGE", tmp_path / "checkout/python/mohd")

    def make(path):
        path.mkdir(parents=True)
        return fake_compiler(path, "true")

    in_checkout = make(tmp_path / "checkout/build/bin")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert find.compiler() == in_checkout and find.runtime() is None
    in_path = make(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert find.compiler() == in_path
    in_package = make(find.PACKAGE / "bin")
    assert find.compiler() == in_package
    library = find.PACKAGE / "libmohd_rt.so.1"
    library.touch()
    assert find.runtime() == library
    monkeypatch.setenv("MOHD_BUILD", str(tmp_path / "other"))
    in_build = make(tmp_path / "other/bin")
    assert find.compiler() == in_build and find.runtime() == library


def test_commands_become_the_programs(monkeypatch, tmp_path):
    """Those of the package, else of the build in its checkout (an editable install), never what PATH has: that is the command."""
    became = []
    monkeypatch.setattr(find, "PACKAGE", tmp_path / "python/mohd")
    monkeypatch.setattr(os, "execv", lambda *arguments: became.append(arguments))
    monkeypatch.setattr(sys, "argv", ["/venv/bin/command", "--version"])
    with pytest.raises(SystemExit, match="^error: no mohd-run in .*python/mohd: install the package anew$"):
        find.run_runner()
    for folder in ("build/bin", "python/mohd/bin"):
        (tmp_path / folder).mkdir(parents=True)
        for command, name in ((find.run_compiler, "mohd-compile"), (find.run_runner, "mohd-run")):
            (tmp_path / folder / name).touch()
            command()
            assert became.pop() == (tmp_path / folder / name, [name, "--version"])
