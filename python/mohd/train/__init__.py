# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training of MoHD models: `python -m mohd.train --config FILE`, see docs/training.md."""

from typing import TYPE_CHECKING

from mohd.lazy import lazily

if TYPE_CHECKING:
    from mohd.train.costs import cost  # noqa: F401

__all__ = ["cost"]
__getattr__ = lazily(__name__, "mohd.train.costs", __all__)
