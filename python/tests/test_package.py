# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The wheel that `pip install .` makes, from the build folder that is there: what is in it, and that it works where nothing else is."""

import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MOHD_BUILD", ROOT / "build"))
CACHE = BUILD / "CMakeCache.txt"

pytestmark = pytest.mark.skipif(not CACHE.exists() or f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in CACHE.read_text(),
                                reason="no build of this checkout: build the project first")

USE = """
import numpy as np
import mohd
from mohd import find

assert find.compiler().parent == find.PACKAGE / "bin" and find.runtime().parent == find.PACKAGE, (find.compiler(), find.runtime())
bundle = mohd.compile("add.mlir")
x = np.arange(6, dtype=np.float32).reshape(2, 3)
assert (mohd.load(bundle).run("main", x, x) == 2 * x).all()
print(mohd.__file__)
"""
ADD = """
func.func @main(%x: tensor<?x3xf32> {mohd.name = "x"}, %z: tensor<?x3xf32> {mohd.name = "z"}) -> (tensor<?x3xf32> {mohd.name = "y"}) {
  %y = mohd.add %x, %z : tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
"""


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's path. What is built already is not built again."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", ROOT, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, f"--config-settings=build-dir={BUILD}")
    (path,) = folder.iterdir()
    return path


def test_wheel_is_for_every_python_and_whole(wheel):
    version = re.search(r"project\(MoHD VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert wheel.name == f"mohd-{version}-py3-none-linux_{os.uname().machine}.whl"
    sources = {str(path.relative_to(ROOT / "python")) for path in (ROOT / "python/mohd").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == sources | {"mohd/libmohd_rt.so.1", "mohd/bin/mohd-compile", "mohd/bin/mohd-run"} and "mohd/py.typed" in names
        for name in names - sources:
            assert os.fsencode(BUILD / "lib") not in archive.read(name), name  # found by the place of the package


def test_installed_package_works_alone(wheel, tmp_path):
    site = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", site, wheel)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site), "HOME": str(tmp_path)}

    def run(*command):
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "add.mlir").write_text(ADD)
    assert run(sys.executable, "-c", USE).strip() == str(site / "mohd/__init__.py")
    assert "mohd" in run(site / "bin/mohd-compile", "--version")
    assert "main" in run(site / "bin/mohd-run", "--inspect", "add.mohdb")
