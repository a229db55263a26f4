# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products at the sizes where tiled kernels change their way: one more token than a tile has, than few tokens are, than a block has."""

import dataclasses

import numpy as np

from mohd import reference
from mohd.testing.arrays import normal
from mohd.testing.cases_sparse import fusion, routed
from mohd.testing.cases_transformer import linear

THRESHOLDS = {14: (14, 15, 56, 57, 266, 267, 300), 6: (6, 7, 24, 25, 258, 259)}
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


def followed(op, case):
    """The product `case`, whose result %y is then used as the right side of an op with another tensor: add or swiglu."""
    (name, type), = case.results.items()

    def with_side(make):
        def made(*args):
            inputs, rng = make(*args), args[-1]
            tokens = len(inputs["x"])
            width = int(type.removeprefix("tensor<?x").split("x")[0])
            inputs["side"] = normal(rng, (tokens, width), "f32", 3.0)
            if tokens > 2:
                inputs["side"][tokens // 2, :2] = -np.inf
                inputs["side"][-1, -1] = np.nan
            return inputs
        return made

    def expected(side, **inputs):
        return getattr(reference, op)(side, case.expected(**inputs))

    return dataclasses.replace(
        case, name=f"{case.name}_{op}", arguments={**case.arguments, "side": type}, results={"result": type},
        body=f"{case.body.strip()}\n%result = mohd.{op} %side, %{name} : {type}", inputs=with_side(case.inputs), expected=expected,
        length=case.length + 4, special={label: with_side(make) for label, make in case.special.items()})


def epilogues():
    """What products do besides: columns of part of a panel, groups that tokens do not have, sums that wait in the result."""
    for op in ("add", "swiglu"):
        yield followed(op, product("spmm", (16, 6, 2, 20), 80))
        yield followed(op, product("spmm", (5, 0, 2, 7), 33, "bf16"))
        yield followed(op, at_thresholds(linear(300, 40, "f32", "f16", "f32")))
        yield followed(op, product("sddmm", (16, 6, 2, 20), 300))
    yield followed("add", product("sddmm", (5, 0, 2, 33), 1100, "bf16"))
    yield followed("add", product("sddmm", (4, 4, 0, 32), 64))
    yield followed("add", mixed((16, 20, 20), (20, 16, 16), (6, 2)))


def groups():
    """Entry points by group."""
    return {"tiles_spmm": list(spmm()), "tiles_sddmm": list(sddmm()), "tiles_linear": list(dense()), "tiles_fusion": list(fusions()),
            "tiles_epilogues": list(epilogues())}
