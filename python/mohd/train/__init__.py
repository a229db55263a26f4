# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training of MoHD models: `python -m mohd.train --config FILE`, see docs/training.md."""

from mohd.train.costs import cost

__all__ = ["cost"]
