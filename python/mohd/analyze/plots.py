# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The figures of an analysis as PNG files. A figure is a function of the object that `analysis.analyse` returns."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from mohd.analyze.stream import PARTS, SITES

BLUE, ORANGE, GREEN, GREY, DARK = "#0072b2", "#d55e00", "#009e73", "#999999", "#222222"
"""Colours that people with any colour vision tell apart (Okabe and Ito)."""

PART_NAMES = {"self_attn": "attention", "mlp": "FFN"}
STYLE = {PARTS[0]: (BLUE, "o"), PARTS[1]: (ORANGE, "s")}


def numbers(values):
    """A float array with NaN for None."""
    return np.array([np.nan if value is None else value for value in values], float)


def at(found, *path):
    """What is at `path` in nested objects, None where one of them is None."""
    for key in path:
        found = None if found is None else found[key]
    return found


def sites_of(result, *path):
    """For each site the values at `path` of each layer, as a float array [layers]."""
    return {site: numbers(at(layer["sites"][site], *path) for layer in result["layers"]) for site in SITES}


def png(figure):
    """The figure as bytes of a PNG file, the same for the same figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def layer_axis(axes, layers):
    """Makes x the layers."""
    axes.set_xlim(-0.5, layers - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def site_panels(result, label, draw):
    """A figure with a panel for each site, of one scale, drawn by draw(axes, site), and the legend in the place that is left."""
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    grid = figure.subplots(2, 4, sharey=True)
    for place, (axes, (site, words)) in enumerate(zip(grid.flat, SITES.items())):
        draw(axes, site)
        axes.set_title(f"{site}\n{words}", fontsize=10.5)
        layer_axis(axes, len(result["layers"]))
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9.5)
        if place % 4 == 0:
            axes.set_ylabel(label, fontsize=10.5)
        if place >= 3:  # nothing but the legend is below the last one of the first row
            axes.set_xlabel("layer", fontsize=10.5)
    grid.flat[-1].axis("off")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    grid.flat[-1].legend(handles, labels, loc="center", frameon=False, fontsize=10.5)
    return figure


def line(axes, values, color, label, marker="o", style="-"):
    """A line over layers, with marks if they are few."""
    marker = marker if len(values) <= 24 else None
    axes.plot(np.arange(len(values)), values, style, color=color, marker=marker, markersize=4.5, linewidth=1.6, label=label)


def band(axes, low, high, color, label=None):
    """What lies between two lines; a bar where there is one layer only."""
    x = np.arange(len(low))
    if len(x) == 1:
        axes.errorbar(x, (low + high) / 2, (high - low) / 2, color=color, alpha=0.5, capsize=5, label=label)
    else:
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0, label=label)


def energy(result):
    """The share of dims that carries 50, 90 and 99 % of a token's energy."""
    values = {(share, key): sites_of(result, "energy", share, key) for share in ("50", "90", "99") for key in ("mean", "p10", "p90")}

    def draw(axes, site):
        for share, color, marker in (("99", GREEN, "^"), ("90", ORANGE, "s"), ("50", BLUE, "o")):
            line(axes, 100 * values[share, "mean"][site], color, f"{share} % of the energy", marker)
            band(axes, 100 * values[share, "p10"][site], 100 * values[share, "p90"][site], color)
        axes.set_ylim(bottom=0)

    return site_panels(result, "share of all dims (%)", draw)


def overlap(result):
    """How many top dims consecutive tokens have in common."""
    mean, low, high = (sites_of(result, "overlap", "consecutive", key) for key in ("mean", "p10", "p90"))
    shuffled, uniform = sites_of(result, "overlap", "shuffled", "mean"), sites_of(result, "overlap", "uniform")

    def draw(axes, site):
        line(axes, 100 * mean[site], BLUE, "consecutive tokens")
        band(axes, 100 * low[site], 100 * high[site], BLUE, "10 to 90 % of them")
        line(axes, 100 * shuffled[site], ORANGE, "shuffled tokens", "s")
        axes.axhline(100 * uniform[site][0], color=GREY, linestyle=":", linewidth=1.5, label="dims by pure chance")
        axes.set_ylim(0, 100)

    return site_panels(result, "top dims in common (%)", draw)


def classes(result):
    """How many dims are shared, specialised, or neither."""
    dims, never = sites_of(result, "dims"), sites_of(result, "never")
    shared, special = sites_of(result, "shared", "count"), sites_of(result, "specialised", "count")

    def draw(axes, site):
        between = dims[site] - shared[site] - special[site] - never[site]
        bottom, x = np.zeros(len(between)), np.arange(len(between))
        for values, color, label in (
            (shared[site], BLUE, "shared: top for most tokens"), (between, "#9ecae1", "in between"),
            (special[site], ORANGE, "specialised: top for few tokens"), (never[site], "#dddddd", "never a top dim"),
        ):
            share = 100 * values / dims[site]
            axes.bar(x, share, 0.8, bottom, color=color, label=label)
            bottom = bottom + share
        axes.set_ylim(0, 100)

    return site_panels(result, "share of all dims (%)", draw)


def run_length(result):
    """For how many tokens on end a dim stays among the top ones."""
    get = lambda name: sites_of(result, "run_length", name)
    shared, everything, shuffled = get("shared"), get("all"), get("shuffled")

    def draw(axes, site):
        line(axes, shared[site], GREEN, "shared dims", "^")
        line(axes, everything[site], BLUE, "all dims")
        line(axes, shuffled[site], ORANGE, "all dims, shuffled tokens", "s")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())

    figure = site_panels(result, "mean run (tokens)", draw)
    longest = np.nanmax([np.nanmax(np.append(values[site], 1)) for values in (shared, everything, shuffled) for site in SITES])
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if tick <= 2.5 * longest]
    figure.axes[0].set_ylim(0.9, 1.3 * longest)
    figure.axes[0].set_yticks(ticks)
    return figure


def flow(result):
    """Which top dims each of the first tokens has, in the middle layer."""
    found = result["flow"]
    figure = Figure(figsize=(13, 8.2), layout="constrained")
    for axes, (site, part) in zip(figure.subplots(len(found), 1, squeeze=False).flat, found.items()):
        image = np.zeros((len(part["dims"]), max(1, len(part["active"]))))
        for token, active in enumerate(part["active"]):
            image[active, token] = 1
        place = (-0.5, image.shape[1] - 0.5, 100, 0)
        axes.imshow(image, cmap="Blues", vmin=0, vmax=1.25, aspect="auto", interpolation="nearest", extent=place)
        axes.set_title(f"{site}, layer {part['layer']}: {SITES[site]}", fontsize=11)
        axes.set_xlabel("token of the first sequence", fontsize=10.5)
        axes.set_ylabel("dims, the most used on top (%)", fontsize=10.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def routers(result, *path):
    """For each part that has routers the values at `path` of each layer."""
    out = {}
    for part in PARTS:
        found = [layer["routing"].get(part) for layer in result["layers"]]
        if all(found):
            out[part] = [at(value, *path) for value in found]
    return out


def group_use(result):
    """The share of tokens that has each group, by layer."""
    uses = routers(result, "use")
    layers, groups = len(result["layers"]), result["model"]["config"]["mohd"]["num_groups"]
    shared = result["model"]["config"]["mohd"]["num_shared"]
    figure = Figure(figsize=(13, len(uses) * min(8, 1.6 + 0.34 * layers)), layout="constrained")
    image = {part: 100 * np.array([np.full(groups, np.nan) if row is None else row for row in rows], float) for part, rows in uses.items()}
    most = max([float(np.nanmax(np.append(rows[:, shared:], 1))) for rows in image.values()])
    panels = figure.subplots(len(uses), 1, squeeze=False).flat
    for axes, (part, rows) in zip(panels, image.items()):
        axes.set_facecolor("#dddddd")
        routed = rows.copy()
        routed[:, :shared] = np.nan
        drawn = axes.imshow(routed, cmap="Blues", vmin=0, vmax=most, aspect="auto", interpolation="nearest")
        if layers * groups <= 400 and groups <= 32:
            for (y, x), value in np.ndenumerate(routed):
                if np.isfinite(value):
                    axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=9, color="white" if value > 0.6 * most else DARK)
        if shared:
            words, turn = ("shared: all tokens", 0) if shared > 2 else ("shared", 90)
            axes.text((shared - 1) / 2, (layers - 1) / 2, words, ha="center", va="center", fontsize=9.5, rotation=turn)
        axes.set_title(PART_NAMES[part], fontsize=11)
        axes.set_xlabel("group", fontsize=10.5)
        axes.set_ylabel("layer", fontsize=10.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=32, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    figure.colorbar(drawn, ax=figure.axes, label="tokens that have the group (%)", pad=0.01)
    return figure


def balance(result):
    """How even routers are, in four measures."""
    layers = len(result["layers"])
    figure = Figure(figsize=(13, 3.7), layout="constrained")
    panels = (("balance loss (1: even)", ("balance",), 1), ("largest load (1: even)", ("load",), 1),
              ("entropy of use (%)", ("use_entropy", "share"), 100), ("entropy of a token's scores (%)", ("score_entropy", "share"), 100))
    for axes, (title, path, scale) in zip(figure.subplots(1, 4), panels):
        for part, values in routers(result, *path).items():
            color, marker = STYLE[part]
            line(axes, scale * numbers(values), color, PART_NAMES[part], marker)
        axes.set_title(title, fontsize=10.5)
        axes.set_xlabel("layer", fontsize=10.5)
        layer_axis(axes, layers)
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        largest = axes.dataLim.y1 if np.isfinite(axes.dataLim.y1) else 1
        axes.set_ylim((0, 105) if scale == 100 else (0.97, max(1.1, 1 + 1.1 * (largest - 1))))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)
    return figure


def bucket(result):
    """The useful share of what tiles execute, against the tokens of a call."""
    tables = [table for part in routers(result, "bucket").values() for table in part if table]
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for rows, color, marker in ((64, BLUE, "o"), (128, ORANGE, "s")):
        for key, style, words in (("coverage", "-", "in bucket order"), ("unordered", ":", "in their own order")):
            by_size = {}
            for entry in (entry for table in tables for entry in table if entry["tile_rows"] == rows):
                by_size.setdefault(entry["tokens"], []).append(100 * entry[key])
            sizes = sorted(by_size)
            low, mean, high = ([of(by_size[size]) for size in sizes] for of in (min, np.mean, max))
            fill = "full" if key == "coverage" else "none"
            axes.plot(sizes, mean, style, color=color, marker=marker, markersize=5, fillstyle=fill, label=f"tiles of {rows}, {words}")
            if key == "coverage":
                axes.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 100)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_xlabel("tokens of a call", fontsize=10.5)
    axes.set_ylabel("useful share of the products (%)", fontsize=10.5)
    figure.legend(loc="outside right center", frameon=False, fontsize=10)
    return figure


FIGURES = {
    "energy": (
        energy, "Dims that carry a token's energy",
        "The energy of a dim is the square of its activation. Lines tell what share of all dims a token needs for 50, 90 and 99 % of its energy, "
        "the mean over tokens; shades go from the 10 % to the 90 % quantile. The lower, the fewer dims a token uses."),
    "overlap": (
        overlap, "Dims in common with the token before",
        "A token's top dims are those with the most energy. The blue line is the share of them that the token before has as well, the orange one "
        "the same with tokens in random order: what any two tokens have in common. What lies between the two is due to the text's order."),
    "classes": (
        classes, "Shared and specialised dims",
        "Shared dims are among the top dims of most tokens, specialised ones of a few only."),
    "run-length": (
        run_length, "How long a dim stays active",
        "A run is a number of tokens on end for which a dim is among the top ones. The scale is logarithmic."),
    "flow": (
        flow, "The activation flow",
        "A column is a token, a row a dim; blue where the dim is among the token's top dims. Long horizontal strokes are dims that stay active "
        "over many tokens, dots are dims of single tokens. Of many dims a sample is shown, evenly over their order by use."),
    "group-use": (
        group_use, "Which groups tokens are routed to",
        "The share of tokens that has each group of hidden dims, by layer. Shared groups serve every token; in an even router all others have "
        "the same share."),
    "balance": (
        balance, "How even the routers are",
        "The balance loss, scaled so that 1 is even; the tokens of the routed group that has most, over the mean; the entropy of groups over all "
        "tokens, where 100 % is even use; and the mean entropy of a token's scores, where 100 % is a router that cannot decide."),
    "bucket": (
        bucket, "What routing costs on a GPU",
        "Products run on tiles of tokens, and a tile computes every group that one of its tokens has. Lines tell what share of that is useful, "
        "the mean over routers; shades go from the worst router to the best. Sorting tokens by their groups (the compiler's plan for GPUs) "
        "brings it from the dotted lines to the others."),
}
"""Each figure by its file's name: how it is drawn, its heading, and a sentence for who sees one for the first time."""


def names(result):
    """The figures that the result has the data for."""
    routed = [part for layer in result["layers"] for part in layer["routing"].values()]
    needs = {"group-use": "use", "balance": "balance", "bucket": "bucket"}
    return [name for name in FIGURES if name not in needs or any(part[needs[name]] for part in routed)]


def draw(result):
    """The figures as bytes of PNG files by name, those for which there is data."""
    return {name: png(FIGURES[name][0](result)) for name in names(result)}
