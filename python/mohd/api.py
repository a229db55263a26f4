# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the package `mohd` offers under its own name."""

from mohd.arrays import DeviceArray, empty, zeros
from mohd.binding import MohdError, device_info, version
from mohd.compiler import compile
from mohd.dlpack import BFloat16Array
from mohd.generate import Generator
from mohd.runtime import Context, Module, load

__all__ = ["BFloat16Array", "Context", "DeviceArray", "Generator", "MohdError", "Module", "compile", "device_info", "empty", "load", "version", "zeros"]
