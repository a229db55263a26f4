# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Result files, and means with confidence intervals over seeds."""

import json
import math
import statistics

from mohd.analyze.analysis import rounded
from mohd.files import replace_text

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t with 1 to 10 degrees of freedom (any table of it)."""


def read(path):
    """A result file's object; empty if it is not there."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path, values):
    """Writes a result file, whole or not at all; one line for each run."""
    values = rounded(values, digits=8)
    parts = []
    for key, value in values.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n]"
        else:
            text = json.dumps(value)
        parts.append(f"{json.dumps(key)}: {text}")
    replace_text(path, "{" + ",\n".join(parts) + "}\n")


def interval(values):
    """(mean, half the width of the 95 % confidence interval) of independent values; the half is infinite for a single one."""
    if len(values) < 2:
        return values[0], math.inf
    degrees = min(len(values) - 1, len(T_QUANTILES))
    return statistics.mean(values), T_QUANTILES[degrees - 1] * statistics.stdev(values) / math.sqrt(len(values))


def by_name(runs):
    """{name: {seed: run}} of the runs that did not diverge."""
    found = {}
    for run in runs:
        if run.get("diverged"):
            continue
        found.setdefault(run["name"], {})[run["seed"]] = run
    return found


def paired(runs, base, value):
    """interval of value(run, the base's run of the same seed) over the seeds that both have."""
    return interval([value(run, base[seed]) for seed, run in sorted(runs.items()) if seed in base])
