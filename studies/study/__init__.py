# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The study behind docs/results.md: what is trained (`plan`), how (`train`, `moe`, `data`), and what the results say (`page`, `claims`)."""
