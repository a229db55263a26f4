# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the modules beside this folder importable, and a small tree that a rule can be tried on."""

import pathlib
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from house.tree import Tree  # noqa: E402


@pytest.fixture
def findings(tmp_path):
    """findings(rule, {path: text}) writes the files and returns `path:line: message` for each finding of the rule."""
    def run(rule, files, **arguments):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [f"{found.path}:{found.line}: {found.message}" for found in rule(Tree(tmp_path), **arguments)]
    return run
