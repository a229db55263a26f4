# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""bench/results as Python objects; a part that is not there is empty."""

import functools
import json
import math

PARTS = ("ops", "peers", "model", "train", "build")
DENSE_PEERS = {"OpenBLAS": "openblas dense", "oneDNN": "onednn dense", "torch": "torch dense", "torch.compile": "torch.compile dense"}
"""Names of the page and beginnings of the variants' names. What computes in bf16 is no f32 peer."""


def geomean(values):
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


class Results:
    """What bench/run has written to a folder."""

    def __init__(self, folder):
        self.parts = {}
        for part in PARTS:
            path = folder / f"{part}.json"
            self.parts[part] = json.loads(path.read_text()) if path.exists() else {}

    @functools.cached_property
    def ops(self):
        """Rows of mohd-bench, each with the name of its run; dense baselines are rows of their own."""
        runs = self.parts["ops"].get("runs", {})
        return [row | {"run": name} for name, run in runs.items() for row in run["rows"]]

    def op_rows(self, run=None, dense=False, **wanted):
        """Rows of a run (or of all) whose values are those wanted."""
        return [row for row in self.ops if (run is None or row["run"] == run) and row["baseline"] == dense
                and all(row.get(key) == value for key, value in wanted.items())]

    @property
    def peers(self):
        """Problems with their variants."""
        return self.parts["peers"].get("rows", [])

    @property
    def models(self):
        return self.parts["model"].get("rows", [])

    @property
    def training(self):
        """Training steps with their variants."""
        return self.parts["train"].get("rows", [])

    @property
    def build(self):
        return self.parts["build"]

    @property
    def abouts(self):
        """What each part says of itself, by its name."""
        return {name: part["about"] for name, part in self.parts.items() if part}


def seconds(row, variant):
    """The median of a variant of a problem, or None."""
    found = row["variants"].get(variant)
    return found and found["median_s"]


def dense_peers(row):
    """{peer: seconds} of the dense f32 peers, each in its fastest form."""
    found = {}
    for name, prefix in DENSE_PEERS.items():
        times = [v["median_s"] for key, v in row["variants"].items() if key.startswith(prefix) and not key.endswith("bf16")]
        if times:
            found[name] = min(times)
    return found


def sparse_peers(row):
    """{variant: seconds} of the peers that skip inactive groups."""
    return {key: v["median_s"] for key, v in row["variants"].items() if not v["dense"] and key != "mohd"}


def share(groups):
    """rho = K/N of [N, K_s, K_r] or of its text."""
    n, shared, routed = (int(part) for part in (groups.split(",") if isinstance(groups, str) else groups))
    return (shared + routed) / n
