# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Configuration of the lit tests. Tests use the tools of the build by name; what a machine may lack is a feature.

Features: `x86-64` (this machine's architecture), `nvptx` (the LLVM in use has the target), `ptxas` (the assembler is found), `cuda-device` (a device answers).

Substitutions: `%mohd_source` (the checkout), `%mohd_lib` (the build's libraries), `%examples`, `%python` (has numpy and torch).
MOHD_CHECK_ROUNDTRIP=1 makes every `mohd-opt` print its input, parse it again and compare.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys

import lit.formats

# `config` and `lit_config` are put here by lit.
config.name = "MoHD"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt", "lit.cfg.py", "lit.site.cfg.py.in"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.mohd_build, "test")

path = [config.mohd_tools, config.llvm_tools, config.environment.get("PATH", ""), "/usr/local/cuda/bin"]
config.environment["PATH"] = os.pathsep.join(path)
config.environment["FILECHECK_OPTS"] = "-enable-var-scope --dump-input-filter=annotation-full"
config.environment["PYTHONPATH"] = os.path.join(config.mohd_source, "python")
# What a person has set for their own runs must not change the tests.
for name in [name for name in config.environment if name.startswith("MOHD_")]:
    del config.environment[name]
config.environment["MOHD_BUILD"] = config.mohd_build


def find_python():
    """The interpreter that has numpy and torch: the one scripts/setup installs."""
    setup = os.path.join(config.mohd_source, "scripts", "setup")
    found = subprocess.run([setup, "--print-python"], capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else sys.executable


roundtrip = os.environ.get("MOHD_CHECK_ROUNDTRIP") == "1"
mohd_opt = "mohd-opt --verify-roundtrip" if roundtrip else "mohd-opt"
config.substitutions += [
    (r"(?<![-/\w.])mohd-opt(?![-/\w.])", mohd_opt),
    ("%mohd_source", config.mohd_source),
    ("%mohd_lib", config.mohd_lib),
    ("%examples", os.path.join(config.mohd_source, "examples")),
    ("%python", find_python()),
]


def has_cuda_device():
    """True if the driver is there and counts at least one device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def find_ptxas():
    """The folder of the ptxas that the compiler finds (lib/Target/Ptxas.cpp), or None."""
    homes = [os.path.join(os.environ[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = shutil.which("ptxas", path=os.pathsep.join(
        [*homes, config.environment["PATH"], "/usr/local/cuda/bin", os.path.join(cache, "mohd")]))
    return os.path.dirname(found) if found else None


targets = subprocess.run(
    [os.path.join(config.llvm_tools, "llvm-config"), "--targets-built"], capture_output=True, text=True
).stdout.split()
if "NVPTX" in targets:
    config.available_features.add("nvptx")
if platform.machine() == "x86_64":
    config.available_features.add("x86-64")
ptxas_folder = find_ptxas()
if ptxas_folder:  # lit gives tests no other variable to find it by
    config.environment["PATH"] += os.pathsep + ptxas_folder
    config.available_features.add("ptxas")
if has_cuda_device():
    config.available_features.add("cuda-device")
