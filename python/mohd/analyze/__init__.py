# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How a model's tokens use its hidden dimensions and groups: `python -m mohd.analyze MODEL_DIR --text FILE`, see docs/analysis.md."""

from typing import TYPE_CHECKING

from mohd.lazy import lazily

if TYPE_CHECKING:
    from mohd.analyze.analysis import Options, analyse  # noqa: F401

__all__ = ["Options", "analyse"]
__getattr__ = lazily(__name__, "mohd.analyze.analysis", __all__)
