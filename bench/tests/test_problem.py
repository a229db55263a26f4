# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Problems: routings on known answers, data, exact results."""

import numpy as np
import pytest

from mohd import reference
from peers.problem import Problem, draw_routing

GROUPS = (16, 6, 2)


@pytest.mark.parametrize("name", ["uniform", "zipf", "identical", "disjoint"])
def test_rows_are_active_sets(name):
    drawn = draw_routing(name, GROUPS, 50, 3)
    assert drawn.shape == (50, 8) and drawn.dtype == np.int32
    assert (np.diff(drawn, axis=1) > 0).all() and (drawn[:, :6] == np.arange(6)).all() and drawn.max() < 16
    assert (draw_routing(name, GROUPS, 50, 3) == drawn).all()


def test_unions_and_coverages():
    def of(name, tokens):
        problem = Problem("spmm", 64, 8, tokens, GROUPS, routing=name)
        return problem.union, problem.coverage

    assert of("uniform", 1) == (8, 1)
    assert of("identical", 100) == (8, 1)
    assert of("disjoint", 2) == (10, 0.8)
    assert of("disjoint", 5) == (16, 0.5)
    assert Problem("linear", 64, 8, 3).coverage == 1


def test_zipf_has_a_favourite():
    counts = np.bincount(draw_routing("zipf", (16, 0, 1), 16000, 1).reshape(-1), minlength=16)
    assert abs(counts.max() - 4733) < 300  # 1 over the harmonic sum of 16
    assert np.bincount(draw_routing("uniform", (16, 0, 1), 16000, 1).reshape(-1)).max() < 1200


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("op", ["spmm", "sddmm"])
def test_expected_is_the_reference(op, dtype):
    p = Problem(op, 64, 24, 9, GROUPS, dtype)
    x, gates, weight = (a.astype(np.float64) for a in (p.x, p.gates, p.weight))
    full = reference.spmm(x, p.indices, gates, weight) if op == "spmm" else reference.sddmm(x, p.indices, weight)
    assert p.error(full) < 1e-12
    dense = p.x.astype(np.float64) @ p.rows_first()
    assert p.error(dense, dense=True) < 1e-12
    assert p.error(p.x @ p.columns_first().T, dense=True) < 1e-5
    assert p.error(full * 1.01) > 5e-3


def test_work_counts_what_is_wanted():
    p = Problem("spmm", 64, 24, 5, GROUPS, routing="identical")
    assert p.flops == 2 * 5 * 32 * 24
    assert p.weight_bytes(4) == 32 * 24 * 4 and p.weight_bytes(4, dense=True) == 64 * 24 * 4
