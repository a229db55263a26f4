# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Goals on a GPU from constructed results: every value, its case, and the verdict."""

import sys

import pytest

from conftest import BENCH

sys.path.append(str(BENCH / "gpu"))
from gpu_check import goals, rows  # noqa: E402

KINDS = {rows.Product, rows.Training, rows.FeedForward, rows.Around, rows.Attention, rows.Decode, rows.Load}


def made(row, ours, shares=0.5, **more):
    """(name, result) of a row: medians of the variants `ours` {name: seconds}."""
    dense = ("mohd dense", "torch.mm")
    variants = {name: {"median_s": time, "dense": name in dense or (row.facts["op"] == "linear"), "share_of_floor": shares, "share_of_bandwidth": shares}
                for name, time in ours.items()}
    return row.name, {"ok": True, **row.facts, "variants": variants, **more}


def product(op, tokens, times, groups=(16, 3, 1), shape=(4096, 11008), routing="uniform", shares=0.5, **row):
    """A row of a routed product; `times` are of ours, our own dense one and torch.mm."""
    row = rows.Product(op, *shape, groups, tokens, routing, **row)
    names = ("mohd", "mohd bf16" if row.weights == "int8" else "mohd dense", "torch.mm")
    return made(row, dict(zip(names, times)), shares, weight_bytes=row.weight_bytes(row.active))


def judged(*found, **parts):
    """{(area, measure): verdict}."""
    return {(verdict["area"], verdict["measure"]): verdict for verdict in goals.verdicts({"performance": dict(found)} | parts)}


def of(verdicts, area, measure=None):
    """The verdict on a goal as (value, word)."""
    (verdict,) = [verdict for (a, m), verdict in verdicts.items() if a == area and measure in (None, m)]
    return verdict["value"] and round(verdict["value"], 6), verdict["verdict"]


def test_nothing_measured():
    assert {verdict["verdict"] for verdict in judged().values()} == {"not measured"}
    failed = {"spmm": {"ok": False, "problems": ["wrong"]}}
    assert {verdict["verdict"] for verdict in judged(*failed.items()).values()} == {"not measured"}
    assert all(line.startswith("not measured") for line in goals.lines(judged().values()))


def test_decode():
    found = judged(product("spmm", 1, (1, 4, 4), (16, 6, 2), shares=0.91), product("sddmm", 8, (1, 2, 2), (16, 6, 2), shares=0.8),
                   product("spmm", 1, (1, 4, 3.9), shares=0.3), product("sddmm", 1, (1, 4, 3.5), shares=0.3),
                   product("spmm", 64, (1, 1, 1), (16, 6, 2), shares=0.1))
    area = "decode, T=1..8, at least 32 MB of active weights"
    assert of(found, area) == (0.8, "missed")  # a quarter of this shape is 23 MB
    verdict = found[area, "bytes of the union over copy bandwidth"]
    assert verdict["case"] == "sddmm 4096x11008 16,6,2 T=8" and verdict["cases"] == 2 and (verdict["low"], verdict["high"]) == (0.8, 0.91)
    assert of(found, "decode, T=1, rho=1/4") == (3.5, "missed")


def test_whole_layer():
    found = judged(made(rows.Decode("a", 1), {"mohd": 1}, 0.66, layers=24, launches=26), made(rows.Decode("a", 8), {"mohd": 1}, 0.01, layers=24, launches=400))
    assert of(found, "decode, whole layer", "launches, those of the whole model aside") == (1, "met")
    assert of(found, "decode, whole layer", "share of the memory floor") == (0.66, "met")
    assert of(judged(made(rows.Decode("a", 1), {"mohd": 1}, 0.4, layers=24, launches=100)), "decode, whole layer", "share of the memory floor") == (0.4, "missed")


def test_prefill_and_own_dense():
    found = judged(product("sddmm", 8192, (1, 3.9, 3.6)), product("sddmm", 8192, (1, 1, 1.9), (16, 6, 2)), product("spmm", 8192, (1, 3.9, 2.4)),
                   product("spmm", 512, (1, 1, 0.1)), made(rows.Product("linear", 4096, 11008, (1, 1, 0), 8192, target="ptx"), {"mohd": 1, "torch.mm": 0.7}))
    assert of(found, "prefill, output side (sddmm)") == (0.9, "met")
    assert of(found, "prefill, contraction side (spmm)") == (0.6, "missed, beyond the floor")
    assert of(found, "own dense product, sm_90a") == (round(2.4 / 3.9, 6), "missed, beyond the floor")
    assert of(found, "own dense product, sm_80 (PTX)") == (0.7, "missed")


def test_router_and_fusion():
    around = [rows.Around(op, 2048, 0, (16, 6, 2), tokens) for op, tokens in (("route", 8192), ("route", 16), ("fusion", 8192))]
    found = judged(made(around[0], {"mohd": 7e-6}), made(around[1], {"mohd": 3e-6}), made(around[2], {"mohd": 1}, 0.8))
    assert of(found, "router, T >= 2048") == (7, "floor kept")
    assert of(found, "router, T <= 16") == (3, "missed, beyond the floor")
    assert of(found, "Monarch fusion") == (0.8, "floor kept")


def test_training():
    train = [rows.Training(op, 4096, 11008, (16, 3, 1), 8192) for op in ("spmm", "sddmm")]
    found = judged(made(train[0], {"mohd": 1, "torch.mm": 3.1}), made(train[1], {"mohd": 1, "torch.mm": 2.5}), product("spmm", 8192, (1, 1, 1)))
    assert of(found, "forward and backward, rho=1/4") == (2.5, "missed")


def test_no_regret():
    found = judged(product("spmm", 8, (1, 2, 9)), product("sddmm", 17, (1, 0.98, 9), routing="identical"))
    assert of(found, "no regret, worst") == (0.98, "missed")
    assert of(found, "no regret, geometric mean") == (1.4, "met")
    assert found["no regret, worst", "speed over our own dense product, any T, any routing"]["case"] == "sddmm 4096x11008 16,3,1 T=17 identical"


def test_scaling():
    found = judged(product("spmm", 1, (1.0, 9, 9), (8, 1, 1)), product("spmm", 1, (1.04, 9, 9)), product("spmm", 1, (1.02, 9, 9), (128, 24, 8)),
                   product("spmm", 1, (3, 9, 9), (128, 48, 16)), product("spmm", 1, (5, 9, 9), shape=(2048, 5632)),  # another share, another shape
                   product("sddmm", 8192, (1.0, 9, 9), (8, 1, 1)), product("sddmm", 8192, (1.15, 9, 9), (128, 24, 8)))
    assert of(found, "N from 8 to 128, decode") == (0.04, "met")
    assert of(found, "N from 8 to 128, prefill") == (0.15, "missed")


def test_edges_and_skew():
    found = judged(*(product("spmm", tokens, (time, 9, 9), routing="identical") for tokens, time in ((16, 1), (17, 1.2), (128, 2), (129, 2.1), (8192, 4.3))),
                   product("sddmm", 18, (9, 9, 9), routing="identical"), product("spmm", 8192, (4, 9, 9)), product("spmm", 8192, (4.04, 9, 9), routing="zipf"),
                   product("spmm", 8192, (40, 9, 9), routing="disjoint"))
    assert of(found, "one token more") == (1.2, "missed, beyond the floor")
    assert found["one token more", "t(T+1)/t(T) where kernels change"]["cases"] == 2
    assert of(found, "Zipf and identical routing, prefill") == (0.075, "missed")


def test_load_sizes_and_what_has_no_goal():
    found = judged(made(rows.Load("a", 1), {"mohd": 0.012}), product("spmm", 1, (1, 1.7, 2), weights="int8"),
                   made(rows.Attention(4, 4, 64, 4096), {"mohd": 1}, over_best_peer=0.9), sizes={"runtime_bytes": 700_000, "kernels_bytes": 6e6})
    assert of(found, "load to first result") == (12, "met")
    assert of(found, "size of the runtime library") == (0.7, "missed")
    assert of(found, "size of a model's kernels") == (6, "missed, beyond the floor")
    assert of(found, "int8 weights, decode") == (1.7, "no goal") and of(found, "attention") == (0.9, "no goal")


def test_int8_and_training_are_no_rows_of_other_goals():
    found = judged(product("spmm", 1, (1, 0.1, 0.1), (16, 6, 2), weights="int8"), made(rows.Training("spmm", 4096, 11008, (16, 3, 1), 8192), {"mohd": 1, "torch.mm": 1}))
    measured = {area for (area, _), verdict in found.items() if verdict["value"] is not None}
    assert measured == {"int8 weights, decode", "forward and backward, rho=1/4"}


@pytest.mark.parametrize("value, word", [(0.5, "missed, beyond the floor"), (1.0, "missed"), (1.9, "missed"), (2.0, "met"), (9.0, "met")])
def test_words(value, word):
    assert goals.word_for(goals.Goal("", "", 1.0, 2.0, "x", None), value) == word
    assert goals.word_for(goals.Goal("", "", -1.0, -2.0, "x", None, most=True), -value) == word


def test_lines_are_for_people():
    (line,) = [line for line in goals.lines(judged(product("spmm", 1, (1, 4, 3.5)), product("sddmm", 1, (1, 4, 3.9))).values()) if "decode, T=1, rho=1/4" in line]
    assert line.split() == ("missed 3.5x 3.2x 3.8x decode, T=1, rho=1/4: speed over the best dense peer (worst of 2: spmm 4096x11008 16,3,1 T=1)").split()


def test_the_table_has_rows_for_every_goal():
    """Rows as if each had taken a second for everything, and bundles of a byte: every goal is measured."""
    table = [made(row, {"mohd": 1, "mohd dense": 1, "mohd bf16": 1, "torch.mm": 1}, layers=2, launches=2, over_best_peer=1, weight_bytes=goals.LARGE)
             for row in rows.every(False)]
    assert {type(row) for row in rows.every(False)} == KINDS
    found = judged(*table, sizes={"runtime_bytes": 1, "kernels_bytes": 1})
    assert not [area for (area, _), verdict in found.items() if verdict["verdict"] == "not measured"]
    assert found["one token more", "t(T+1)/t(T) where kernels change"]["cases"] == 2 * len(rows.EDGES)
    assert found["N from 8 to 128, decode", "time over that of 8 groups at the same share, less 1"]["cases"] == 8
