# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tests' arrays are tiny: more threads only slow them down."""

import torch

torch.set_num_threads(1)
