# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every variant computes the right thing, in turn, with all its samples; wrong ones are found. Speeds are nobody's business here."""

import dataclasses

import numpy as np
import pytest

from peers import measure as measuring
from peers import openblas, ours, pytorch
from peers.measure import Plan, Pools, measure
from peers.problem import Problem

PLAN = Plan(repetitions=3, fewest=1, max_seconds=5, cold_bytes=20_000, memory_bytes=100_000)
PEERS = ("openblas", "onednn", "torch")
BASE = Problem("spmm", 64, 48, 5, (16, 6, 2))


@pytest.mark.parametrize("change", [
    {}, {"op": "sddmm"}, {"op": "linear", "groups": (1, 1, 0)}, {"dtype": "bf16"}, {"op": "sddmm", "dtype": "bf16", "tokens": 1},
    {"tokens": 80, "routing": "zipf"}, {"op": "sddmm", "tokens": 80, "routing": "identical"}, {"groups": (16, 0, 3)},
    {"groups": (4, 4, 0)}, {"op": "sddmm", "groups": (16, 0, 3), "tokens": 1}, {"threads": 2},
])
def test_variants_are_right(change):
    row = measure(dataclasses.replace(BASE, **change), PLAN, PEERS)
    variants = row["variants"]
    assert {"mohd", "openblas dense", "openblas dense (transposed)", "onednn dense", "torch dense"} <= variants.keys()
    assert ("mohd dense" in variants) == ("openblas groups" in variants) == ("torch groups" in variants) == (row["op"] != "linear")
    assert ("onednn dense bf16" in variants) == (row["weights_dtype"] == "bf16" and pytorch.has_bf16())
    for name, variant in variants.items():
        assert len(variant["samples_s"]) == 3 and variant["p10_s"] <= variant["median_s"] <= variant["p90_s"], name
        assert variant["error"] < 5e-3


def test_only_the_peers_asked_for():
    assert set(measure(BASE, PLAN, ())["variants"]) == {"mohd", "mohd dense"}


def test_a_wrong_result_is_found(monkeypatch):
    monkeypatch.setattr(openblas, "spmm_groups", lambda p, w: np.zeros((p.tokens, p.inner), np.float32))
    with pytest.raises(AssertionError, match="openblas groups: relative error 1, at most 1e-05"):
        measure(BASE, PLAN, ("openblas",))


def test_copies_are_read_in_turn():
    pools = Pools(BASE, PLAN)
    assert pools.copies(read_bytes=6000, total_bytes=12288) == 4
    assert pools.copies(read_bytes=6, total_bytes=12288) == 8  # as many as there is room for
    assert Pools(dataclasses.replace(BASE, tokens=65), PLAN).copies(6000, 12288) == 1
    pools.grow("rows", 3)
    taken = [pools.take("rows") for _ in range(4)]
    assert len({id(array) for array in taken}) == 3 and taken[3] is taken[0]
    assert all((array == BASE.rows_first()).all() for array in taken)


def test_layouts_are_read_from_the_module(monkeypatch):
    text = ('module attributes {mohd.weights = [{expanded_shape = array<i64: 4, 4, 20>, panels = 16 : i64, permutation = array<i64: 0, 2, 1>, '
            'source = "w", type = tensor<4x2x4x16xf32>}, {source = "v", type = tensor<4xf32>}]} {\n}')
    done = type("Done", (), {"stdout": text})
    monkeypatch.setattr(ours.subprocess, "run", lambda *_, **__: done)
    assert ours.weight_layouts("x.mlir") == [ours.Layout((4, 4, 20), (0, 2, 1), 16), ours.Layout()]


def test_layouts_permute_and_pad():
    array = np.arange(24, dtype=np.float32).reshape(2, 12)
    assert (ours.Layout().pack(array) == array).all()
    assert (ours.Layout((2, 3, 4), (0, 2, 1)).pack(array) == array.reshape(2, 3, 4).transpose(0, 2, 1)).all()
    packed = ours.Layout((2, 3, 4), (), 3).pack(array)
    assert packed.shape == (2, 2, 3, 3)
    assert (packed[1, 0] == array.reshape(2, 3, 4)[1, :, :3]).all() and packed[1, 1].tolist() == [[15, 0, 0], [19, 0, 0], [23, 0, 0]]


def test_limits_of_forms():
    assert set(measuring.FORMS) == {"rows", "columns", "packed", "packed bf16"}
