# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products at the sizes where tiled kernels change their way: one more token than a tile has, than few tokens are, than a block has."""

import dataclasses

from mohd.testing.cases_sparse import fusion, routed
from mohd.testing.cases_transformer import linear

THRESHOLDS = {14: (14, 15, 56, 57, 252, 253, 300), 6: (6, 7, 24, 25, 264, 265)}
"""Token counts by the rows of a tile: 14 where a target has 32 registers of 16 lanes, 6 elsewhere."""
MANY = 300
"""Tokens of several blocks."""


def at_thresholds(case, rows=14):
    """The entry point `case` with other token counts."""
    return dataclasses.replace(case, name=f"{case.name}_rows_{rows}", tokens=THRESHOLDS[rows])


def product(op, shape, columns, weight="f32", element="f32", rows=14):
    """spmm or sddmm."""
    return at_thresholds(routed(op, shape, columns, element, weight, special_tokens=MANY), rows)


def mixed(right, left, routed_groups, weight="f32", element="f32", rows=14):
    """A Monarch fusion."""
    return at_thresholds(fusion("monarch", right, left, routed_groups=routed_groups, element=element, weight=weight, special_tokens=MANY), rows)


def spmm():
    """16 groups and 1 to 5; panels that fill tiles and such that do not; weights longer than what is widened at a time."""
    yield product("spmm", (16, 6, 2, 20), 80)
    yield product("spmm", (16, 6, 2, 20), 80, rows=6)
    yield product("spmm", (16, 6, 2, 20), 33, "bf16")
    yield product("spmm", (1, 1, 0, 300), 31, "f16")
    yield product("spmm", (2, 0, 1, 260), 48)
    yield product("spmm", (3, 1, 1, 270), 20, "bf16", "bf16")
    yield product("spmm", (4, 1, 2, 16), 64, "bf16")
    yield product("spmm", (5, 2, 0, 7), 17)


def sddmm():
    """The same, and contractions that are cut or short; groups of one panel and of several."""
    yield product("sddmm", (16, 6, 2, 20), 300)
    yield product("sddmm", (16, 6, 2, 20), 300, rows=6)
    yield product("sddmm", (16, 6, 2, 4), 300, "bf16")
    yield product("sddmm", (1, 0, 1, 40), 520, "f16")
    yield product("sddmm", (2, 1, 0, 17), 31)
    yield product("sddmm", (3, 1, 1, 5), 270, "bf16", "bf16")
    yield product("sddmm", (4, 4, 0, 32), 64, "bf16")
    yield product("sddmm", (5, 0, 2, 33), 1100)


def dense():
    """One group that all tokens have."""
    yield at_thresholds(linear(300, 72, "f32", "f32", "f32"))
    yield at_thresholds(linear(300, 40, "f32", "bf16", "f32"))
    yield at_thresholds(linear(17, 5, "f32", "f16", "f16"), rows=6)


def fusions():
    """Both factors cut the middle in the same way, or in another, where the second has no routing."""
    yield mixed((16, 20, 20), (20, 16, 16), (6, 2))
    yield mixed((16, 4, 4), (4, 16, 16), (6, 2), "bf16", rows=6)
    yield mixed((4, 6, 5), (8, 2, 3), (1, 1))
    yield mixed((5, 36, 3), (36, 19, 5), (0, 2), "f16", "bf16")
    yield mixed((1, 9, 300), (9, 2, 1), (1, 0), "bf16")
    yield mixed((3, 7, 7), (7, 3, 3), (2, 0))


def groups():
    """Entry points by group."""
    return {"tiles_spmm": list(spmm()), "tiles_sddmm": list(sddmm()), "tiles_linear": list(dense()), "tiles_fusion": list(fusions())}
