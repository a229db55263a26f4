# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Files that appear whole or not at all, also if the machine stops while they are written."""

import os
import pathlib


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
