# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The page's plots: {file name: SVG text}."""

from page.results import dense_peers, seconds, share
from page.svg import Series, plot

PEERS = ("OpenBLAS", "oneDNN", "torch", "torch.compile")


def _spmm(results, **wanted):
    """Problems of SpMM, uniform routing, one thread, f32, the largest shape that has several."""
    rows = [row for row in results.peers if row["op"] == "spmm" and row["routing"] == "uniform" and row["threads"] == 1
            and row["weights_dtype"] == "f32" and all(row[key] == value for key, value in wanted.items())]
    shapes = [(row["D"], row["E"]) for row in rows]
    common = max(set(shapes), key=lambda shape: (shapes.count(shape), shape), default=None)
    return [row for row in rows if (row["D"], row["E"]) == common]


def _speedups(rows, key):
    """A series for each dense thing to compare with, over `key(row)`."""
    rows = sorted(rows, key=key)
    made = []
    for peer in (*PEERS, "own dense"):
        points = []
        for row in rows:
            other = seconds(row, "mohd dense") if peer == "own dense" else dense_peers(row).get(peer)
            if other:
                points.append((key(row), other / seconds(row, "mohd")))
        made.append(Series(f"over {peer}", tuple(points)))
    return made


def speedup_plots(results):
    """Speed over dense against T for each rho, and against rho for decode and prefill."""
    found = {}
    for rho, name in ((0.5, "half"), (0.25, "quarter")):
        rows = [row for row in _spmm(results) if share(row["groups"]) == rho]
        if len(rows) > 1:
            title = f"SpMM {rows[0]['D']}x{rows[0]['E']}, f32, one thread, rho={rho:g}: speed over dense"
            ticks = sorted({row["tokens"] for row in rows})
            found[f"tokens-{name}.svg"] = plot(title, "tokens T", "times as fast", _speedups(rows, lambda row: row["tokens"]), log_x=True,
                                               x_ticks=ticks)
    for tokens, name in ((1, "decode"), (512, "prefill"), (256, "prefill")):
        rows = _spmm(results, tokens=tokens)
        if len({tuple(row["groups"]) for row in rows}) > 1 and f"rho-{name}.svg" not in found:
            title = f"SpMM {rows[0]['D']}x{rows[0]['E']}, f32, one thread, T={tokens}: speed over dense"
            curves = _speedups(rows, lambda row: share(row["groups"]))
            rhos = sorted({share(row["groups"]) for row in rows})
            between = [rhos[0] + i * (rhos[-1] - rhos[0]) / 20 for i in range(21)]
            curves.append(Series("1/rho", tuple((rho, 1 / rho) for rho in between), dashed=True))
            found[f"rho-{name}.svg"] = plot(title, "share of active groups rho", "times as fast", curves, x_ticks=rhos)
    return found


def roofline(results):
    """Useful GFLOP/s against FLOP for each byte that must move, with the limits measured beside, one thread."""
    rows = [row for row in results.ops if row["threads"] == 1 and row["case"] in ("op:spmm", "op:sddmm") and row["flops"]]
    if not rows:
        return {}
    median = lambda key: sorted(row[key] for row in rows)[len(rows) // 2] / 1e9
    peak, bandwidth = median("peak_flops"), median("bandwidth_bytes")
    intensity = lambda row: row["flops"] / (row["weight_bytes"] + row["other_bytes"])
    series = []
    for name, dense, dtype in (("sparse, f32", False, "f32"), ("dense, f32", True, "f32"), ("sparse, bf16", False, "bf16"),
                               ("dense, bf16", True, "bf16")):
        chosen = [row for row in rows if row["baseline"] == dense and row["weights_dtype"] == dtype]
        points = sorted({(intensity(row), row["flops"] / row["median_s"] / 1e9) for row in chosen})
        series.append(Series(name, tuple(points), line=False))
    low, high = min(map(intensity, rows)) / 1.5, max(map(intensity, rows)) * 1.5
    knee = peak / bandwidth
    limit = [(low, min(peak, low * bandwidth)), *([(knee, peak)] if low < knee < high else []), (high, min(peak, high * bandwidth))]
    series.append(Series(f"{peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s", tuple(limit), dashed=True))
    return {"roofline.svg": plot("Roofline, one thread", "FLOP per byte of active weights and activations", "useful GFLOP/s", series,
                                 log_x=True, log_y=True)}


def plots(results):
    """All plots that the results allow."""
    return speedup_plots(results) | roofline(results)
