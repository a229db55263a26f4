# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bundles as they are packed: compressed, as most of one is PTX text."""

import contextlib
import gzip
import pathlib
import shutil
import tempfile

import mohd


def compress(path):
    """Replaces the bundle `path` by `path`.gz, the same bytes for the same bundle."""
    with open(path, "rb") as source, gzip.GzipFile(f"{path}.gz", "wb", compresslevel=6, mtime=0) as target:
        shutil.copyfileobj(source, target)
    pathlib.Path(path).unlink()


@contextlib.contextmanager
def unpacked(path):
    """The path of a file that has the packed bundle `path`, a name without .gz."""
    with tempfile.NamedTemporaryFile(suffix=".mohdb") as whole:
        with gzip.open(f"{path}.gz") as source:
            shutil.copyfileobj(source, whole)
        whole.flush()
        yield whole.name


def load(path):
    """The module of the packed bundle `path`."""
    with unpacked(path) as whole:
        return mohd.load(whole, flags=mohd.Module.DEFER_CPU)
