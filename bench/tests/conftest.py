# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the modules beside this folder importable, and the compiled ops' package."""

import pathlib
import sys

import torch

BENCH = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / "python")]
torch.set_num_threads(1)  # the arrays are tiny
