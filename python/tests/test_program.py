# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How the programs of the package end after a signal, from their first import on, and the names of its packages."""

import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

import mohd
import mohd.analyze
import mohd.api
import mohd.convert
import mohd.train
from cases import config_of
from mohd import find, program

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("analyze", "convert", "train")


@pytest.mark.parametrize("package", ["numpy", "torch"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_ctrl_c_during_imports_is_one_line(tmp_path, name, package):
    """In the place of a package that takes long to import there is one that is interrupted meanwhile."""
    (tmp_path / f"{package}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'python'}"}
    done = subprocess.run([sys.executable, "-m", f"mohd.{name}"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_an_exit_code_and_a_line(capsys, number, code):
    before = signal.getsignal(number)
    assert program.exit_code(lambda: os.kill(os.getpid(), number), number) == code
    assert capsys.readouterr().err == "interrupted\n" and signal.getsignal(number) == before


@pytest.mark.parametrize("error,code", [(ImportError, 1), (ValueError, 3), (UnicodeDecodeError("utf-8", b"", 0, 1, "no"), 3), (MemoryError, 6), (FileNotFoundError, 7)])
def test_an_error_is_an_exit_code_and_a_line(capsys, error, code):
    def fail():
        raise error

    assert program.exit_code(fail) == code and program.exit_code(lambda: 5) == 5
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1


WRONG = [({"rms_norm_eps": "x"}, "rms_norm_eps", '"x"'), ({"max_position_embeddings": 0}, "max_position_embeddings", "0"), ({"hidden_size": 1.5}, "hidden_size", "1.5"),
         ({"num_attention_heads": -4}, "num_attention_heads", "-4"), ({"num_key_value_heads": "2"}, "num_key_value_heads", '"2"')]
"""Values of the wrong type or range in config.json: (changes, key, the value as JSON)."""


@pytest.fixture(params=WRONG, ids=str)
def wrong(request, tmp_path):
    """(folder of a model with a wrong configuration, key, value)."""
    changes, key, value = request.param
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(config_of(None).to_dict() | changes))
    return tmp_path / "model", key, value


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_wrong_configuration_is_told(wrong, tmp_path, capsys, name):
    folder, key, value = wrong
    arguments = {"analyze": [str(folder), "--text", "text"], "convert": [str(folder), "--groups", "4", "--shared", "1", "--routed", "1", "-o", str(tmp_path / "out")],
                 "train": ["--config", str(tmp_path / "train.json")]}
    (tmp_path / "train.json").write_text(json.dumps({"model": "model", "data": {"path": "text"}, "out": "out"}))
    assert importlib.import_module(f"mohd.{name}.command").main(arguments[name]) == 3
    assert re.fullmatch(f"error: .*{folder}/config.json: expects {key} to be .*, got {re.escape(value)}\n", capsys.readouterr().err)


def test_a_wrong_configuration_within_that_of_training_is_told(wrong, tmp_path, capsys):
    folder, key, value = wrong
    model = json.loads((folder / "config.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({"model": model, "data": {"path": "text"}, "out": "out"}))
    assert importlib.import_module("mohd.train.command").main(["--config", str(tmp_path / "train.json")]) == 3
    assert re.fullmatch(f"error: {tmp_path}/train.json: model: expects {key} to be .*, got {re.escape(value)}\n", capsys.readouterr().err)


@pytest.mark.skipif(find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first")
def test_a_wrong_configuration_is_told_by_the_compiler(wrong):
    folder, key, value = wrong
    for model, name in ((folder, f"{folder}/config.json"), (json.loads((folder / "config.json").read_text()), "config.json")):
        with pytest.raises(mohd.MohdError, match=f"{name}: at '/{key}': expected a.*, got {re.escape(value)}$"):
            mohd.compile(model, out=folder / "out.mohdb")


def test_other_errors_stay():
    with pytest.raises(ZeroDivisionError):
        program.exit_code(lambda: 1 / 0)


def test_names_of_packages():
    assert mohd.__all__ == mohd.api.__all__
    for package in (mohd, mohd.analyze, mohd.convert, mohd.train):
        assert all(callable(getattr(package, name)) for name in package.__all__)
        assert not hasattr(package, "colour")
