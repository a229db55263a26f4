# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MoHD models in PyTorch, for training and comparison."""

from mohd.config import Config as MoHDConfig
from mohd.nn.compiled import compile
from mohd.nn.model import MoHDForCausalLM
from mohd.nn.modules import MoHDAttention, MoHDMLP

__all__ = ["MoHDAttention", "MoHDConfig", "MoHDForCausalLM", "MoHDMLP", "compile"]
