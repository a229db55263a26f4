# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python examples of README.md, docs/python.md, docs/pytorch.md, docs/analysis.md and docs/conversion.md run as they are written, one after the other, in the checkout."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from mohd import find

ROOT = pathlib.Path(__file__).resolve().parents[2]
GIVEN = """
import numpy as np
import mohd
tokens, position = np.zeros(1, np.int32), np.zeros(1, np.int32)
k_cache, v_cache = (mohd.zeros((4, 1, 8, 64), np.float32) for _ in range(2))
"""
"""What examples use without making it."""

pytestmark = pytest.mark.skipif(
    find.compiler() is None and "MOHD_BUILD" not in os.environ, reason="no mohd-compile: build the project first"
)


@pytest.mark.parametrize("page,printed", [("README.md", 200), ("docs/python.md", 200), ("docs/pytorch.md", 0), ("docs/analysis.md", 3), ("docs/conversion.md", 100)])
def test_examples_run(page, printed, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "examples.py").write_text(GIVEN + "\n".join(blocks))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python"), "MOHD_BUILD": os.environ.get("MOHD_BUILD", str(ROOT / "build"))}
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "examples.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) >= printed  # the text of a stream
