# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MoHD: compile and run Mixture-of-Hidden-Dimensions transformers. Importing this package imports no torch, and NumPy when something of it is first used."""

from typing import TYPE_CHECKING

from mohd.lazy import lazily

if TYPE_CHECKING:
    from mohd.api import *  # noqa: F403

__all__ = ["BFloat16Array", "Context", "DeviceArray", "Generator", "MohdError", "Module", "compile", "device_info", "empty", "load", "version", "zeros"]
__getattr__ = lazily(__name__, "mohd.api", __all__)
