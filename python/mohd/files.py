# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files that appear whole or not at all, also if the machine stops while they are written."""

import contextlib
import os
import pathlib
import shutil


def sync(path):
    """Has a file's bytes, or a folder's list of names, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path, write):
    """Writes the file `path` by `write(temporary path)`; until that has reached the disk the old file stays."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def replace_text(path, text):
    """Writes `text` as the file `path`."""
    replace_file(path, lambda temporary: temporary.write_text(text))


@contextlib.contextmanager
def whole_folder(path):
    """A new folder to fill, which takes the name `path` at the end, and is gone if that is not reached.

    ValueError if there is something at `path` other than an empty folder.
    """
    path = pathlib.Path(path).resolve()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"expects a new or an empty folder to write into, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        for made in (*temporary.rglob("*"), temporary):
            sync(made)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(path.parent)
