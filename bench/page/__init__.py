# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/performance.md and its plots, from bench/results."""
