# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks a table of op:spmm and op:sddmm: every combination once, a dense row after each, unions and coverages."""

import csv
import itertools
import sys

rows = list(csv.DictReader(open(sys.argv[1])))
sparse, dense = rows[::2], rows[1::2]
expected = set(itertools.product(("op:spmm", "op:sddmm"), ("64x48 16,6,2", "64x48 16,3,1"), ("f32", "bf16"), ("1", "5"), ("1", "2"),
                                 ("uniform:1", "zipf:1", "identical:1", "disjoint:1")))
keys = [(r["case"], r["shape"], r["weights"], r["tokens"], r["threads"], r["routing"]) for r in sparse]
assert len(keys) == len(expected) and set(keys) == expected, keys
assert all(d["case"] == s["case"] + " dense" and d["shape"] == "64x48" and d["routing"] == "" for s, d in zip(sparse, dense))
for row in rows:
    assert float(row["error"]) < (1e-5 if row["weights"] == "f32" else 5e-3), row
    assert int(row["repetitions"]) == 3 and float(row["median_ms"]) > 0, row
for row in sparse:
    shared, routed = (6, 2) if row["shape"].endswith("6,2") else (3, 1)
    if row["tokens"] == "1" or row["routing"].startswith("identical"):
        assert int(row["union"]) == shared + routed and float(row["coverage"]) == 1, row
    elif row["routing"].startswith("disjoint"):
        assert int(row["union"]) == shared + 5 * routed, row
