# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the study's modules importable."""

import pathlib
import sys

import torch

STUDIES = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(STUDIES), str(STUDIES.parent / "python")]
torch.set_num_threads(1)  # the arrays are tiny
