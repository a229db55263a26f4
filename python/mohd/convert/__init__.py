# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a dense checkpoint to a MoHD one (docs/conversion.md): `python -m mohd.convert`."""

from typing import TYPE_CHECKING

from mohd.lazy import lazily

if TYPE_CHECKING:
    from mohd.convert.conversion import Options, convert  # noqa: F401

__all__ = ["Options", "convert"]
__getattr__ = lazily(__name__, "mohd.convert.conversion", __all__)
