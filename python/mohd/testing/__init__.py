# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled kernels against `mohd.reference`: entry points over the matrix of attributes and sizes, and what runs them.

`groups()` has the entry points, `build` compiles a group by one call of mohd-compile, and `check` runs one of them and
compares every element. A new backend passes these before anything else.
"""

from mohd.testing import cases_blocks, cases_cache_gradients, cases_gradients, cases_routing, cases_sparse, cases_tiles, cases_transformer
from mohd.testing.entry import Entry, build, check, contexts, module_text

__all__ = ["Entry", "build", "check", "contexts", "groups", "module_text"]


def groups():
    """The entry points by the name of their group; names are unique in a group."""
    found = {}
    for module in (cases_routing, cases_sparse, cases_transformer, cases_blocks, cases_tiles, cases_gradients, cases_cache_gradients):
        found.update(module.groups())
    return found
