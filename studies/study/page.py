# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/results.md from the result files."""

import math
import statistics

from study import plan
from study.claims import FAILS, HOLDS, OPEN, recovered, verdicts
from study.results import by_name, interval, paired

BASE = "x2"
"""What the ablations change, from the main table."""


def number(value):
    """A count with thousands or millions."""
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"


def with_interval(found, scale=1.0, digits=3):
    """A mean with half of its interval, which one seed does not have."""
    mean, half = (scale * part for part in found)
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")


def difference(found, digits=3):
    """A signed mean difference with half of its interval; bold where the interval leaves zero out."""
    mean, half = found
    text = f"{mean:+.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")
    return f"**{text}**" if abs(mean) > half else text


def table(head, rows):
    """A Markdown table."""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows])


def groups_of(model):
    """(N, K_s, K_r) of a config.json as text."""
    block = model.get("mohd")
    return f"{block['num_groups']}, {block['num_shared']}, {block['num_routed']}" if block else "dense"


def trained_table(runs, base):
    """A row for each model: sizes, loss, accuracy, and the difference to `base`, {seed: run}, by seed."""
    rows = []
    for name, seeds in by_name(runs).items():
        one, values = next(iter(seeds.values())), list(seeds.values())
        rows.append([
            name, str(one["model"]["hidden_size"]), "experts" if one["experts"] else groups_of(one["model"]), number(one["parameters"]), number(one["activated"]),
            with_interval(interval([run["loss"] for run in values])), with_interval(interval([run["accuracy"] for run in values]), 100, 1),
            difference(paired(seeds, base, lambda run, other: run["loss"] - other["loss"])),
        ])
    ended = [f"{run['name']}, seed {run['seed']} ({run['diverged']})" for run in runs if run.get("diverged")]
    note = f"\n\nDiverged and left out: {'; '.join(ended)}." if ended else ""
    return table(["model", "D", "N, K_s, K_r", "parameters", "activated", "loss", "accuracy, %", "loss over base"], rows) + note


def ablation_sentence(runs, base):
    """Which changes make the loss worse or better by its interval."""
    signs = []
    for name, seeds in by_name(runs).items():
        mean, half = paired(seeds, base, lambda run, other: run["loss"] - other["loss"])
        signs.append((name, (mean - half > 0) - (mean + half < 0)))
    return " ".join(f"{part}." for part in told(signs, {1: "Worse", -1: "Better", 0: "Not to be told apart"}))


def ablation_tables(results):
    """A table for each thing that is changed, with a sentence."""
    main, runs = by_name(results["main"]["runs"]), results["ablations"]["runs"]
    base, out = main[BASE], []
    for what, changes in plan.ABLATIONS.items():
        chosen = [run for run in runs if run["name"] in changes]
        if chosen:
            out.append(f"### {what[0].upper()}{what[1:]}\n\n{ablation_sentence(chosen, base)}\n\n" + trained_table(list(base.values()) + chosen, base))
    return "\n\n".join(out)


def rates_table(runs):
    """Losses of one seed at several learning rates, each model's lowest in bold."""
    found = {}
    for run in runs:
        found.setdefault(run["name"].partition(", rate")[0], {})[run["settings"]["optimizer"]["rate"]] = math.inf if run.get("diverged") else run["loss"]
    rates = sorted({rate for losses in found.values() for rate in losses})

    def mark(losses, rate):
        if math.isinf(losses[rate]):
            return "diverged"
        return f"**{losses[rate]:.3f}**" if losses[rate] == min(losses.values()) else f"{losses[rate]:.3f}"

    return table(["model", *(f"rate {rate:g}" for rate in rates)], [[name, *(mark(losses, rate) if rate in losses else "" for rate in rates)] for name, losses in found.items()])


def times_table(times):
    """Medians of each model's times, and over the dense model's."""
    rows = []
    for name in times["step"]:
        row = [name]
        for part, count in (("step", times["tokens_of_step"]), ("prefill", times["tokens_of_prompt"]), ("decode", times["tokens_decoded"])):
            if name not in times[part]:
                row += ["", ""]
                continue
            median = times[part][name]["median_s"]
            row += [f"{count / median:.0f}", f"{median / times[part]['dense']['median_s']:.2f}x"]
        rows.append(row)
    return table(["model", "training, tokens/s", "time over dense", "prompt, tokens/s", "over dense", "decoding, tokens/s", "over dense"], rows)


def activations_table(rows):
    """Means over layers and seeds, trained and untrained."""
    out = []
    for name in dict.fromkeys(row["name"] for row in rows):
        for site in rows[0]["sites"]:
            for state in ("trained", "untrained"):
                chosen = [row["sites"][site] for row in rows if row["name"] == name and row["state"] == state]
                mean = lambda key: f"{100 * statistics.mean(one[key] for one in chosen):.1f}"
                out.append([name, f"`{site}`", state, *(mean(key) for key in chosen[0])])
    return table(["model", "site", "", *(f"{key}, %" for key in rows[0]["sites"]["mlp_norm"])], out)


def conversion_table(rows):
    """Loss after each stage of a conversion, means over seeds, and beside the dense model that was trained on."""
    out, over = [], {name: difference(gap) for name, _, gap in recovered(rows)}
    for name, seeds in by_name(rows).items():
        chosen = list(seeds.values())
        cell = lambda key: with_interval(interval([row["loss"][key] for row in chosen])) if key in chosen[0]["loss"] else ""
        stages = (cell(key) for key in ("dense", "all groups", "converted", "recovered"))
        out.append([name, groups_of(chosen[0]["model"]), number(chosen[0]["activated"]), *stages, over.get(name, "")])
    head = ["conversion", "N, K_s, K_r", "activated", "dense", "all groups active", "converted", "after recovery", f"over {plan.CONTINUED}"]
    return table(head, out)


def names(values):
    """Names as a part of a sentence."""
    return " and ".join(filter(None, [", ".join(values[:-1]), values[-1]]))


def told(verdicts, words):
    """For each verdict of `words` {verdict: text} that is among the (name, verdict), its text and the names."""
    found = {word: [name for name, verdict in verdicts if verdict == word] for word in words}
    return [f"{text}: {names(found[word])}" for word, text in words.items() if found[word]]


def conversion_sentences(rows):
    """Which converted models are better than the dense one after the same training, by the rule of the claims."""
    words = {HOLDS: "better than the dense model that was trained on as long", FAILS: "not better than it", OPEN: "not decidable at this scale"}
    parts = told([(name, verdict) for name, verdict, _ in recovered(rows)], words)
    return f" After recovery, by the interval of the difference over seeds, {'; '.join(parts)}." if parts else ""


def claims_table(results):
    """Each claim with its verdict."""
    rows = []
    for claim, found in verdicts(results):
        verdict, sentence = found or ("no results", "")
        rows.append([claim.text, claim.test, f"**{verdict}**", sentence])
    return table(["the paper says", "looked at here", "here", "figures"], rows)


def about_table(results):
    """Which command made how many results of each table, at which commit and where."""
    found = {}
    for name, part in results.items():
        for about in [part["about"]] if "about" in part else [one["about"] for one in part.get("runs", []) + part.get("rows", [])]:
            key = (name, " ".join(about["command"]), about["commit"], f"{about['machine']['cpu']}, {about['machine']['cpus']} CPUs")
            found.setdefault(key, []).append(about["date"])
    rows = []
    for (name, command, commit, machine), dates in sorted(found.items()):
        clean, days = commit.removesuffix("-dirty"), " to ".join(dict.fromkeys((min(dates), max(dates))))
        rows.append([f"`{name}`", str(len(dates)), f"`{command}`", f"`{clean}`" + " and changes" * (clean != commit), days, machine])
    return table(["table", "results", "command", "commit", "date", "machine"], rows)


def missing(results):
    """A sentence on what of the study is not there yet, empty if all is; known results tell the scale."""
    made = {name: {one.get("digest") for one in part.get("runs", []) + part.get("rows", [])} for name, part in results.items()}
    plans = ({name: {one.digest for one in planned(scale)} for name, planned in (plan.TABLES | plan.ROWS).items()} for scale in plan.SCALES.values())
    wanted = max(plans, key=lambda tables: sum(len(made.get(name, set()) & tables[name]) for name in tables))
    left = {name: len(digests - made.get(name, set())) for name, digests in wanted.items()}
    parts = [f"{count} of {len(wanted[name])} results of `{name}`" for name, count in left.items() if count] + ["`times`"] * ("times" not in results)
    return f"**Not complete:** {', '.join(parts)} are still to be made.\n\n" if parts else ""


def setting(results):
    """What the runs have in common, from one of them."""
    run = results["main"]["runs"][0]
    model, seeds = run["model"], len({run["seed"] for run in results["main"]["runs"]})
    return (f"{model['num_hidden_layers']} layers, dense width {model['hidden_size']}, inner width {model['intermediate_size']}, {model['num_attention_heads']} heads of "
            f"{model['head_dim']}; bytes of the prose of Python's documentation; {run['settings']['steps']} steps of {run['settings']['batch']} sequences of "
            f"{run['settings']['sequence_length']} tokens, {run['tokens'] / 1e6:.2f} M tokens in all; AdamW; "
            f"{seeds} {'seeds' if seeds > 1 else 'seed'} for weights and order of the data")


def page(results, plots):
    """The page's text; `plots` are the names of those that were drawn."""
    shown = lambda name, text: f"\n\n![{text}](plots/{name})" if name in plots else ""
    parts = [f"""# Results: the paper's study, small

Written by `studies/report` from `studies/results`; do not edit. The paper's models have 355 million to 1.13 billion parameters; these have about one million and see about
one million tokens. What holds here need not hold there, and the other way round. The paper's figures are in [semantics.md](semantics.md); how to make
these again is in [studies.md](studies.md).

{missing(results)}Setting: {setting(results)}. Losses are in nats per byte on {results['main']['runs'][0]['settings']['evaluation']['sequences']} held-out sequences, accuracy is that of the most likely next
byte; ± is half of a 95 % confidence interval over seeds (Student's t). Differences are taken seed by seed; bold ones leave zero outside their interval. No interval is corrected for the number
of comparisons: of twenty without effect, one is bold.

## The claims

{claims_table(results)}""",
             f"""## Variants at equal active width

`50 %` and `75 %` compute with fewer dimensions than the dense model, `x2`, `x3` and `x4` have more and compute with as many. What is equal is the active width: routers, fusions and the wider embedding and
head come on top, so that the variants activate more parameters than the dense model (the column tells). `dense, wide FFN` activates as many as `x4`. `dense x2` and so on have the whole width of the variant and use all of it, and were expected to be the ceiling. `experts` is a mixture of {plan.EXPERTS['experts']} experts, {plan.EXPERTS['active']} a token, in each FFN (Mixtral's routing). Base: dense.

{trained_table(results['main']['runs'], by_name(results['main']['runs'])['dense'])}""" + shown("study/main.svg", "Held-out loss against activated parameters")]
    if results.get("rates", {}).get("runs"):
        parts.append(f"""### The learning rate

Each model above has the best of the rates that were tried, by loss on seed 0, which is one of the seeds above:

{rates_table(results['rates']['runs'])}""")
    if "times" in results:
        parts.append(f"""### Times

Medians, {results['times']['threads']} threads, models in turn; MoHD with compiled kernels; the dense models and the mixture of experts are trained in plain PyTorch. Inference is by bundles, which the mixture of experts has not.
These widths are small: what routing and fusion cost is not yet small beside the projections. Times at the paper's widths are in [performance.md](performance.md).

{times_table(results['times'])}""")
    if results.get("ablations", {}).get("runs"):
        parts.append(f"""## Ablations

One thing changed at a time (with N = 4 also the share of shared groups, 1/2) in {BASE} = ({groups_of(by_name(results['main']['runs'])[BASE][0]['model'])}) with the default attributes, which is the first row and the base of each table. The sentences
say what the interval of the difference says.

{ablation_tables(results)}""" + shown("study/ablations.svg", "Loss of each ablation over x2's"))
    if results.get("task", {}).get("runs"):
        runs = results["task"]["runs"]
        parts.append(f"""## A task that needs specialised dimensions

Random tables, of which each token needs one entry (`studies/study/data.py` defines it); loss and accuracy are those of the answers, whose chance level is
{100 / ((runs[0]['model']['vocab_size'] - _domains(runs)) / 2):.1f} %. One layer, dense width {runs[0]['model']['hidden_size']}, {runs[0]['settings']['steps']} steps. The vocabulary's embedding and head are a large part of
the activated parameters at this width, and grow with it. Base: dense.

{trained_table(runs, by_name(runs)['dense'])}""")
    if results.get("activations", {}).get("rows"):
        parts.append(f"""## Activations of dense models

Means over layers and seeds, in percent; the quantities and sites are those of [analysis.md](analysis.md): dimensions that hold 50, 90 and 99 % of a token's energy, top dimensions that it has
in common with the token before and with any other, and dimensions that are shared or specialised. `untrained` is the same model before the first step.

{activations_table(results['activations']['rows'])}""")
    if results.get("conversion", {}).get("rows"):
        rows = results["conversion"]["rows"]
        parts.append(f"""## Conversion of dense models

The dense models of the first table, converted by [`mohd.convert`](conversion.md), then trained for {rows[0]['settings']['steps']} steps of other batches than their first ones. Losses in nats per byte;
the dense model that was trained on had the same steps.{conversion_sentences(rows)}

{conversion_table(rows)}""")
    parts.append(f"""## Where the figures come from

A result is a run, a row, or all times. "And changes": the files of the commit were changed when it was made.

{about_table(results)}""")
    return "\n\n".join(parts) + "\n"


def _domains(runs):
    return next(scale.tables[0] for scale in plan.SCALES.values() if plan.vocabulary(*scale.tables) == runs[0]["model"]["vocab_size"])
