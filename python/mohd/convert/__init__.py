# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a dense checkpoint to a MoHD one (docs/conversion.md): `python -m mohd.convert`."""

from mohd.convert.conversion import Options, convert

__all__ = ["Options", "convert"]
