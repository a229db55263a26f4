# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs mohd-compile as a child process, so that no LLVM is ever loaded into this one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile
from typing import Any, Iterable, Mapping

from mohd import find
from mohd.binding import MohdError
from mohd.config import Config

STATUS_OF_EXIT = {2: "INVALID_ARGUMENT", 3: "MALFORMED", 4: "INCOMPATIBLE", 5: "DEVICE", 6: "OUT_OF_MEMORY", 7: "IO"}
"""Exit codes of docs/formats.md as statuses; any other is INTERNAL, but 1 is FAILURE."""
PATIENCE = 5
"""Seconds that a compiler which is told to end has for removing its files."""


def compile(model: str | os.PathLike[str] | Config | Mapping[str, Any], targets: str | Iterable[str] = "cpu:native",
            out: str | os.PathLike[str] | None = None, *, weights: str | None = None, weights_dtype: str | None = None, quantize: str | None = None,
            random_weights: int | None = None, options: Iterable[str] = ()) -> pathlib.Path:
    """Compiles a model into a bundle for `targets` and returns the bundle's path.

    `model`: a model folder, an .mlir file, or a configuration without weights, as a Config or the object of a config.json. `targets`: a list, or
    names with commas between them ("cpu:native,cuda:sm_80,sm_90a"). `out`: the bundle's path; by default `model` with the suffix .mohdb, beside the
    folder or file. A configuration needs it.

    `weights` ("embedded", "external", "none": they become inputs; the default of configurations, unless `random_weights` is a seed to draw them
    from), `weights_dtype` ("f32", "bf16", "f16") and `quantize` ("int8") are mohd-compile's options, `options` more of them.

    Raises MohdError with the compiler's message. A bundle is written whole or not at all, also when the call is interrupted.
    """
    given = {"--weights": weights, "--weights-dtype": weights_dtype, "--quantize": quantize, "--random-weights": random_weights}
    flags = [*(f"--target={target}" for target in split_targets(targets)), *options]
    if not isinstance(model, (Config, Mapping)):
        path = pathlib.Path(model)
        out = path.resolve().with_suffix(".mohdb") if out is None and path.suffix == ".mlir" else out
        return _run(path, out or path.resolve().with_name(path.resolve().name + ".mohdb"), flags, given)
    if out is None:
        raise TypeError("expects out, the path of the bundle, with a configuration, got none")
    if weights is None and random_weights is None:
        given["--weights"] = "none"
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(model.to_dict() if isinstance(model, Config) else dict(model))
        (pathlib.Path(folder) / "config.json").write_text(text)
        return _run(folder, out, flags, given)


def split_targets(targets: str | Iterable[str]) -> list[str]:
    """The single targets: a name without a kind, such as sm_90a, goes with the one before it."""
    names = ",".join([targets] if isinstance(targets, str) else targets).split(",")
    if not all(names):
        raise ValueError(f"expects names of targets, got {targets!r}")
    found: list[str] = []
    for name in names:
        if ":" not in name and found:
            found[-1] += f",{name}"
        else:
            found.append(name)
    return found


def _run(model: str | os.PathLike[str], out: str | os.PathLike[str], flags: list[str], given: Mapping[str, Any]) -> pathlib.Path:
    """One run of mohd-compile."""
    program = find.compiler()
    if program is None:
        raise MohdError("NOT_FOUND", "no mohd-compile: build the project or set MOHD_COMPILE to its path")
    flags += [f"{name}={value}" for name, value in given.items() if value is not None]
    command = [os.fspath(part) for part in (program, model, "-o", out, *flags)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        try:
            message = child.communicate()[1]
        except BaseException:  # such as Ctrl-C; told to end, the compiler removes what it has begun to write
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
    if child.returncode:
        status = STATUS_OF_EXIT.get(child.returncode, "FAILURE" if child.returncode == 1 else "INTERNAL")
        raise MohdError(status, message.strip().removeprefix("error: ") or f"mohd-compile ended with {child.returncode}")
    return pathlib.Path(out)
