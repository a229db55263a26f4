# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled ops beside what other software offers for the same work, in one process, in turn."""
