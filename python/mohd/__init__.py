# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MoHD: compile and run Mixture-of-Hidden-Dimensions transformers. Importing this package imports no torch."""

from mohd.compiler import compile
from mohd.generate import Generator
from mohd.runtime import Context, MohdError, Module, empty, version, zeros

load = Module

__all__ = ["Context", "Generator", "MohdError", "Module", "compile", "empty", "load", "version", "zeros"]
