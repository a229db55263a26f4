# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the compiler and the runtime library are, and the commands of an installed package.

In this order: MOHD_COMPILE and MOHD_RUNTIME (paths of the two files), the build folder MOHD_BUILD, this package (installed, it has
both), PATH (compiler), and `build` in the checkout that this package lies in.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from typing import Any, Iterable

PACKAGE = pathlib.Path(__file__).resolve().parent


def _first(paths: Iterable[Any]) -> pathlib.Path | None:
    """The first path that is a file, or None."""
    return next((pathlib.Path(path) for path in paths if path and pathlib.Path(path).is_file()), None)


def _in_build(name: str) -> pathlib.Path | None:
    """`name` in MOHD_BUILD, or None."""
    build = os.environ.get("MOHD_BUILD")
    return pathlib.Path(build) / name if build else None


def compiler() -> pathlib.Path | None:
    """The path of mohd-compile, or None."""
    if os.environ.get("MOHD_COMPILE"):
        return _first([os.environ["MOHD_COMPILE"]])
    name = "bin/mohd-compile"
    return _first([_in_build(name), PACKAGE / name, shutil.which("mohd-compile"), PACKAGE.parent.parent / "build" / name])


def runtime() -> pathlib.Path | None:
    """The path of libmohd_rt.so, or None."""
    if os.environ.get("MOHD_RUNTIME"):
        return _first([os.environ["MOHD_RUNTIME"]])
    name = "lib/libmohd_rt.so"
    return _first([_in_build(name), PACKAGE / "libmohd_rt.so.1", PACKAGE.parent.parent / "build" / name])


def _become(name: str) -> None:
    """Becomes the program `name` of the package, or of its checkout's build, with this process's arguments."""
    program = _first([PACKAGE / "bin" / name, PACKAGE.parent.parent / "build/bin" / name])  # not that of PATH: it may be this one
    if program is None:
        sys.exit(f"error: no {name} in {PACKAGE}: install the package anew")
    os.execv(program, [name, *sys.argv[1:]])


def run_compiler() -> None:
    """The command mohd-compile."""
    _become("mohd-compile")


def run_runner() -> None:
    """The command mohd-run."""
    _become("mohd-run")
