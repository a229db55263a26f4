# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The text of docs/performance.md."""

import statistics

from page.goals import GOALS, NOT_THERE, judge
from page.results import dense_peers, seconds, share, sparse_peers

HEADER = "<!-- Written by bench/report from bench/results. -->\n"
ALT = {
    "tokens-half.svg": "Speed of SpMM over dense against the number of tokens, half of the groups active",
    "tokens-quarter.svg": "Speed of SpMM over dense against the number of tokens, a quarter of the groups active",
    "rho-decode.svg": "Speed of SpMM over dense against the share of active groups, one token",
    "rho-prefill.svg": "Speed of SpMM over dense against the share of active groups, many tokens",
    "roofline.svg": "Useful arithmetic against arithmetic intensity, with the machine's limits",
}


def number(value, unit):
    """A value as people read it."""
    if unit == "%":
        return f"{100 * value:.0f} %"
    digits = f"{value:.2f}" if unit == "x" else f"{value:.3g}"
    return f"{digits}{'x' if unit == 'x' else ' ' + unit}"


def table(titles, rows, left=1):
    """A Markdown table; the first `left` columns are text."""
    if not rows:
        return "Nothing was measured.\n"
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * left + "--:|" * (len(titles) - left)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def goals_table(results):
    """Every goal with its verdict."""
    rows = []
    for goal in GOALS:
        verdict = judge(goal, results)
        floor, aim = number(goal.floor, goal.unit), number(goal.goal, goal.unit)
        if verdict is None:
            rows.append((goal.area, goal.measure, floor, aim, "", "", "not measured"))
            continue
        between = f"{number(verdict.low, goal.unit)} to {number(verdict.high, goal.unit)} ({verdict.count})" if verdict.count > 1 else ""
        word = verdict.word if verdict.word == "met" else f"**{verdict.word}**"
        rows.append((goal.area, goal.measure, floor, aim, number(verdict.value, goal.unit), between, word))
    rows += [(area, measure, "", "", "", "", f"not measured: {why}") for area, measure, why in NOT_THERE]
    return table(("goal", "measured as", "floor", "goal", "reached", "all cases", "verdict"), rows, 2)


def machine(results):
    """What the figures were measured on."""
    if not results.abouts:
        return "Nothing has been measured yet.\n"
    lines = []
    for name, about in results.abouts.items():
        facts = about["machine"]
        caches = ", ".join(f"{level} {size // 1024} KiB" for level, size in sorted(facts["caches_bytes"].items()))
        small = "; tiny sizes, which say nothing" if about.get("quick") else ""
        lines.append(f"- `{name}.json`: {about['date']}, commit {about['commit']}, {facts['cpu']}, {facts['cpus']} CPUs, {caches}{small}.")
    peers = results.parts["peers"].get("peers", {})
    lines += [f"- {what}" for what in peers.values()]
    limits = results.parts["peers"].get("limits", [])
    for threads in sorted({limit["threads"] for limit in limits}):
        peak, bandwidth = (statistics.median(limit[key] for limit in limits if limit["threads"] == threads) / 1e9
                           for key in ("peak_flops", "bandwidth_bytes"))
        lines.append(f"- {threads} thread{'s' * (threads > 1)}: {peak:.0f} GFLOP/s of f32 multiply-adds, {bandwidth:.1f} GB/s read from memory.")
    return "\n".join(lines) + "\n"


def op_table(results, runs):
    """Rows of mohd-bench."""
    rows = []
    for row in results.ops:
        if row["run"] not in runs or row["baseline"]:
            continue
        speed = f"{row['over_dense']:.2f}x" if "over_dense" in row else ""
        groups = row.get("groups", "")
        rows.append((row["case"], f"{row['D']}x{row['E']}", groups, row["weights_dtype"], row["tokens"], row["threads"],
                     row.get("routing", ""), row.get("union", ""), f"{row['coverage']:.2f}" if "coverage" in row else "",
                     f"{1e3 * row['median_s']:.3g}", f"{row['flops'] / row['median_s'] / 1e9:.1f}", f"{100 * row['share_of_peak']:.0f} %",
                     f"{100 * row['share_of_bandwidth']:.0f} %", speed, len(row["samples_s"])))
    return table(("op", "shape", "groups", "weights", "T", "threads", "routing", "union", "coverage", "ms", "GFLOP/s", "of peak", "of bandwidth",
                  "over own dense", "n"), rows, 4)


def other_table(results):
    """Rows of mohd-bench whose cases are no projections."""
    rows = []
    for row in results.ops:
        if row["case"] in ("op:spmm", "op:sddmm", "op:linear") or row["baseline"]:
            continue
        what = row.get("model") or (f"{row['heads']} heads of {row['head_dim']}" if "heads" in row else f"{row['D']}, {row.get('groups', '')}")
        speed = f"{row['over_dense']:.2f}x" if "over_dense" in row else ""
        rows.append((row["case"], what, row["weights_dtype"], row["tokens"], row["threads"], f"{1e3 * row['median_s']:.3g}",
                     f"{100 * row['share_of_floor']:.0f} %", speed))
    return table(("case", "what", "weights", "T", "threads", "ms", "of the floor", "over dense"), rows, 3)


def peer_table(results):
    """Problems: our time, and how much longer the others take."""
    rows = []
    for row in results.peers:
        own, dense, sparse = seconds(row, "mohd"), dense_peers(row), sparse_peers(row)
        times = lambda other: f"{other / own:.2f}x" if other else ""
        best = min(sparse, key=sparse.get, default=None)
        groups = ",".join(map(str, row["groups"])) if row["op"] != "linear" else ""
        bf16 = seconds(row, "onednn dense bf16")
        rows.append((row["op"], f"{row['D']}x{row['E']}", groups, row["weights_dtype"], row["tokens"], row["threads"],
                     row["routing"] if groups else "", f"{1e3 * own:.3g}", times(seconds(row, "mohd dense")),
                     *(times(dense.get(peer)) for peer in ("OpenBLAS", "oneDNN", "torch", "torch.compile")),
                     f"{times(sparse[best])} ({best})" if best else "", times(bf16), min(len(v["samples_s"]) for v in row["variants"].values())))
    return table(("op", "shape", "groups", "weights", "T", "threads", "routing", "ms", "own dense", "OpenBLAS", "oneDNN packed", "torch",
                  "torch.compile", "best that skips groups", "oneDNN in bf16", "n"), rows, 4)


def model_table(results):
    """Whole models in tokens a second."""
    names = ("mohd", "torch", "torch.compile")
    rows = []
    for row in results.models:
        variants = row["variants"]
        rates = [f"{variants[name]['tokens_per_s']:.0f}" if name in variants else "" for name in names]
        rows.append((row["model"], row["case"], row["tokens"], row["threads"], *rates))
    return table(("model", "case", "tokens", "threads", "compiled, tokens/s", "torch eager", "torch.compile"), rows, 2)


def training_table(results):
    """Training steps: milliseconds of ours, how much longer the others take, and memory."""
    rows = []
    for row in results.training:
        own, memory = row["variants"]["mohd"], row["memory"]
        times = lambda peer: f"{row['variants'][peer]['median_s'] / own['median_s']:.2f}x"
        dense = row["variants"]["dense"]
        parts = [f"{dense[f'{part}_s'] / own[f'{part}_s']:.2f}x" for part in ("forward", "backward", "optimizer")]
        step = [f"{memory[name]['step_bytes'] / 1e6:.0f}" for name in ("mohd", "masked", "dense", "active")]
        rows.append((row["name"], ",".join(map(str, row["case"]["groups"])), row["tokens"], row["threads"], f"{1e3 * own['median_s']:.0f}", times("dense"),
                     *parts, times("masked"), *step, len(own["samples_s"])))
    return table(("model", "groups", "tokens", "threads", "ms", "dense", "its forward", "its backward", "its optimizer", "masked", "MB", "masked, MB", "dense, MB",
                  "dense at the active width, MB", "n"), rows, 2)


def training_losses(results):
    """A sentence on how closely the losses of the backends agree."""
    losses = results.parts["train"].get("losses")
    if not losses:
        return ""
    rate = lambda backend: f"{losses['backends'][backend]['tokens_per_s']:.0f}"
    return f"""
The first {losses['steps']} steps of [{losses['model']}](example-model.md) in float32, each from the same weights with compiled operations and with plain ones: no loss differs by more
than {losses['loss_difference']:.2g} of itself, no norm of the gradient by more than {losses['gradient_norm_difference']:.2g}; {rate('compiled')} tokens/s compiled and {rate('reference')} plain,
{losses['threads']} threads.
"""


def training_calls(results):
    """A sentence on the cost of a call that needs gradients; results of before it was measured have none."""
    samples = results.parts["train"].get("overhead", {})
    if "mohd_gradient" not in samples:
        return ""
    ours, empty = (1e6 * statistics.median(samples[f"{name}_gradient"]) for name in ("mohd", "empty"))
    return f"""
The forward call of a product whose tokens and weight need gradients takes {ours:.3g} us for one token on one thread, {ours - empty:.3g} us more than an empty operator of PyTorch with as many arguments, to which
nothing needs any.
"""


def build_table(results):
    """Compile and load times and sizes."""
    build = results.build
    if not build:
        return "Nothing was measured.\n"
    spread = lambda samples, scale: (f"{statistics.median(samples) * scale:.3g}", f"{min(samples) * scale:.3g}", f"{max(samples) * scale:.3g}", len(samples))
    rows = [("`mohd-compile` of one SpMM, s", *spread(build["compile_op_s"], 1)),
            (f"`mohd-compile --preset {build['preset']} --weights=none`, s", *spread(build["compile_preset_s"], 1)),
            *all_targets(build, spread),
            ("example model: bundle to first logits, ms", *spread(build["load_s"], 1e3)),
            ("`libmohd_rt.so`, MB", f"{build['runtime_bytes'] / 1e6:.2f}", "", "", ""),
            ("kernels of the preset, MB", f"{build['kernels_bytes'] / 1e6:.2f}", "", "", "")]
    return table(("what", "median", "least", "most", "n"), rows)


def all_targets(build, spread):
    """The row of a preset for CPU and GPUs, if it was measured: that needs ptxas."""
    if "compile_targets_s" in build:
        yield (f"the same for {', '.join(f'`{target}`' for target in build['targets'])}, s", *spread(build["compile_targets_s"], 1))


def images(names):
    """The plots as Markdown."""
    return "\n\n".join(f"![{ALT[name]}](plots/{name})" for name in names) + "\n" if names else ""


def page(results, plots):
    """The page; `plots` are the names of the plots that are there."""
    by = lambda start: images([name for name in plots if name.startswith(start)])
    sections = [
        ("# Performance", HEADER.strip() + "\n\n" + """How fast compiled ops and models are, beside their goals, beside other software, and beside what the machine can do.
[benchmarks.md](benchmarks.md) says how it was measured and how to measure it again. The machines are shared and noisy: ratios of medians
measured in turn mean something, absolute times little. *rho* is the share of active groups, T the tokens of a call.\n"""),
        ("## Measured on", machine(results)),
        ("## Goals", """The worst of all cases counts, except where the goal says otherwise. A goal that is missed but keeps the floor is *missed*.\n\n"""
         + goals_table(results)),
        ("## Beside other software", """Time of each over ours, one process, in turn; every result checked against float64. Dense peers compute the whole product of the same
shape; those that skip groups are loops over groups with gather, product and scatter, one product for each set of tokens of equal routing,
and gathered weights. `n` is the number of samples. The last column but one computes in bf16, which is not the same work.\n\n"""
         + peer_table(results) + ("\n" + by("tokens-") + "\n" + by("rho-") if plots else "")),
        ("## Decode", op_table(results, ("decode", "decode other shapes"))),
        ("## Some tokens", op_table(results, ("middle",))),
        ("## Prefill", op_table(results, ("prefill", "prefill of 16-bit weights"))),
        ("## Roofline", by("roofline") or "Nothing was measured.\n"),
        ("## Number of groups, and one token more", op_table(results, ("groups", "edges"))),
        ("## Router, fusion, attention, layers", other_table(results)),
        ("## Whole models", """The example models with their trained weights; float32 arithmetic everywhere. Compiled kernels skip inactive groups, the torch model computes
and masks them.\n\n""" + model_table(results)),
        ("## Training", """Steps of AdamW in float32: compiled operations beside plain, masked PyTorch and beside the dense model of the same hidden width. Time of each
over ours. MB: the most memory of a step less weights, gradients and the optimizer's state.\n\n""" + training_table(results) + training_losses(results)
         + training_calls(results)),
        ("## Compiling, loading, sizes", build_table(results)),
    ]
    return "\n".join(f"{title}\n\n{text}" for title, text in sections)
