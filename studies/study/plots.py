# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The page's plots as SVG: {file name: text}, the same for the same numbers and the same matplotlib."""

import io
import math

import matplotlib
from matplotlib.figure import Figure

from study.page import BASE
from study.results import by_name, interval, paired

STYLE = {"svg.hashsalt": "mohd", "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False}


def text_of(figure):
    """The SVG text of a figure, without a date."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def finite(half):
    return half if math.isfinite(half) else 0.0


def main_plot(runs):
    """Held-out loss against activated parameters."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, seeds in by_name(runs).items():
        mean, half = interval([run["loss"] for run in seeds.values()])
        one = next(iter(seeds.values()))
        color = "C2" if one["experts"] else "C1" if "mohd" in one["model"] else "C0"
        axes.errorbar(one["activated"] / 1e6, mean, finite(half), fmt="o", color=color, capsize=3)
        axes.annotate(name, (one["activated"] / 1e6, mean), xytext=(6, 4), textcoords="offset points", color=color)
    axes.set(xlabel="activated parameters, millions", ylabel="held-out loss, nats per byte", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    return text_of(figure)


def ablation_plot(results):
    """Each ablation's loss over x2's."""
    base, found = by_name(results["main"]["runs"])[BASE], by_name(results["ablations"]["runs"])
    figure = Figure(figsize=(7.5, 0.28 * len(found) + 1), layout="constrained")
    axes = figure.subplots()
    for row, (name, seeds) in enumerate(found.items()):
        mean, half = paired(seeds, base, lambda run, other: run["loss"] - other["loss"])
        axes.errorbar(mean, row, xerr=finite(half), fmt="o", color="C0" if abs(mean) > half else "0.5", capsize=3)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_xlabel(f"held-out loss over that of {BASE}, nats per byte; right is worse")
    return text_of(figure)


def plots(results):
    """All plots that the results allow."""
    found = {}
    with matplotlib.rc_context(STYLE):
        if results.get("main", {}).get("runs"):
            found["study/main.svg"] = main_plot(results["main"]["runs"])
        if "main" in results and results.get("ablations", {}).get("runs"):
            found["study/ablations.svg"] = ablation_plot(results)
    return found
