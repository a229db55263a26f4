# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How a model's tokens use its hidden dimensions and groups: `python -m mohd.analyze MODEL_DIR --text FILE`, see docs/analysis.md."""

from mohd.analyze.analysis import Options, analyse

__all__ = ["Options", "analyse"]
