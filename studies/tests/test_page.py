# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Verdicts on constructed results, the page of them, and whether the committed page is what the committed results give."""

import importlib.machinery
import importlib.util
import math
import subprocess
import sys

import pytest

from conftest import STUDIES
from study import claims, plan
from study.claims import FAILS, HOLDS, OPEN
from study.page import about_table, conversion_sentences, conversion_table, difference, missing, page, table
from study.plots import plots

ABOUT = {"commit": "0123456789ab", "date": "2026-01-02", "command": ["studies/run"], "machine": {"cpu": "Example CPU", "cpus": 2}}


def run(name, seed, accuracy, loss=1.0, groups=None, width=128, rate=3e-3):
    model = {"hidden_size": width, "intermediate_size": 320, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 32, "vocab_size": 256}
    if groups:
        model["mohd"] = dict(zip(("num_groups", "num_shared", "num_routed"), groups))
    return {"name": name, "seed": seed, "digest": f"{name}{seed}", "model": model, "experts": None, "parameters": 1_200_000, "activated": 600_000, "tokens": 819200,
            "loss": loss, "accuracy": accuracy, "seconds": 1.0, "about": ABOUT,
            "settings": {"steps": 400, "batch": 8, "sequence_length": 256, "optimizer": {"rate": rate}, "evaluation": {"sequences": 64}}}


def results_of(**accuracies):
    """Results of the main table: accuracies over seeds by name; "half" stands for 50 %."""
    names = {"half": "50 %"}
    return {"main": {"runs": [run(names.get(name, name), seed, value) for name, values in accuracies.items() for seed, value in enumerate(values)]}}


@pytest.mark.parametrize("values,verdict", [((0.55, 0.551, 0.549), HOLDS), ((0.4, 0.401, 0.399), FAILS), ((0.4, 0.6, 0.5), OPEN), ((0.5,), OPEN)])
def test_quality_is_judged_by_its_interval(values, verdict):
    found = claims.quality("50 %", 0.99)(results_of(dense=[0.5] * len(values), half=values))
    assert found[0] == verdict and "50 % has" in found[1]


def test_expansions_are_judged_beside_the_dense_model_of_as_many_activated_parameters():
    made = results_of(dense=[0.5, 0.501, 0.499], x3=[0.55, 0.551, 0.549])
    judge = next(claim.verdict for claim in claims.CLAIMS if "x3" in claim.test)
    assert judge(made) is None
    for share, verdict in ((0.51, HOLDS), (0.549, FAILS)):
        made["main"]["runs"] += [run(plan.WIDE, seed, share * (1 + seed / 1000)) for seed in range(3)]
        found, sentence = judge(made)
        assert found == verdict and f"of the accuracy of `{plan.WIDE}`, 110.0 % ± 0.0 of the accuracy of `dense`" in sentence
        del made["main"]["runs"][-3:]


def test_quality_without_results_is_no_verdict():
    assert claims.quality("50 %", 0.99)({}) is None
    assert claims.quality("50 %", 0.99)(results_of(dense=[0.5])) is None
    assert claims.quality("50 %", 0.99)(results_of(dense=[0.5, 0.0], half=[0.5, 0.5])) is None, "nothing to be relative to"
    assert all(found is None for _, found in claims.verdicts({}))


def activations(trained, untrained, consecutive=0.5, shuffled=0.1):
    site = lambda share: {"energy 50": 0.1, "energy 90": share, "energy 99": 0.9, "overlap consecutive": consecutive, "overlap shuffled": shuffled,
                          "shared dims": 0.1, "specialised dims": 0.2}
    rows = [{"name": "dense", "seed": seed, "state": state, "sites": {"mlp_norm": site(share)}, "about": ABOUT}
            for state, shares in (("trained", trained), ("untrained", untrained)) for seed, share in enumerate(shares)]
    return {"activations": {"rows": rows}}


def conversions(**losses):
    """Rows of the conversion table: losses after recovery over seeds by name; "base" stands for the dense model that was trained on, "half" for 50 %."""
    names, model, rows = {"base": plan.CONTINUED, "half": "50 %"}, run("", 0, 0, groups=(16, 6, 2))["model"], []
    for name, values in losses.items():
        for seed, value in enumerate(values):
            loss = {"recovered": value} | ({} if name == "base" else {"dense": 2.0, "all groups": 2.0, "converted": 2.5})
            rows.append({"name": names.get(name, name), "seed": seed, "settings": {"steps": 100}, "model": model, "activated": 5, "loss": loss, "about": ABOUT})
    return rows


@pytest.mark.parametrize("losses,words", [
    (dict(base=[2.0, 2.1], x2=[1.9, 2.0]), "over seeds, better than the dense model that was trained on as long: x2."),
    (dict(base=[2.0, 2.1], x2=[1.9, 2.0], x3=[1.9, 2.0], x4=[1.9, 2.0]), "as long: x2, x3 and x4."),
    (dict(base=[2.0, 2.1], half=[2.3, 2.4]), "over seeds, not better than it: 50 %."),
    (dict(base=[2.0, 2.1], x2=[1.9, 2.2]), "over seeds, not decidable at this scale: x2."),
    (dict(base=[2.0], x2=[1.0]), "over seeds, not decidable at this scale: x2."),
    (dict(base=[2.0, 9.0], x2=[1.9, 8.9], x4=[1.9, 2.2], half=[2.1, 9.1]), "as long: x2; not better than it: 50 %; not decidable at this scale: x4."),
])
def test_conversions_are_judged_seed_by_seed(losses, words):
    assert conversion_sentences(conversions(**losses)).endswith(words)


def test_conversions_without_the_dense_model_are_not_judged():
    assert conversion_sentences(conversions(x2=[1.0, 1.0])) == ""
    assert conversion_sentences(conversions(base=[1.0])) == ""


def test_conversion_table_has_the_difference():
    lines = conversion_table(conversions(base=[2.0, 2.1], x2=[1.9, 2.0])).splitlines()
    assert lines[2].endswith("|  |  |  | 2.050 ± 0.635 |  |") and lines[3].endswith("| 2.500 ± 0.000 | 1.950 ± 0.635 | **-0.100 ± 0.000** |")


def test_about_table_counts_results_and_tells_changes():
    one = lambda commit, date: {"about": ABOUT | {"commit": commit, "date": date}}
    made = {"main": {"runs": [one("0123456789ab-dirty", "2026-01-02"), one("0123456789ab-dirty", "2026-01-01"), one("ba9876543210", "2026-01-03")]}, "times": one("ba9876543210", "2026-01-03")}
    assert about_table(made).splitlines()[2:] == [
        "| `main` | 2 | `studies/run` | `0123456789ab` and changes | 2026-01-01 to 2026-01-02 | Example CPU, 2 CPUs |",
        "| `main` | 1 | `studies/run` | `ba9876543210` | 2026-01-03 | Example CPU, 2 CPUs |",
        "| `times` | 1 | `studies/run` | `ba9876543210` | 2026-01-03 | Example CPU, 2 CPUs |",
    ]


@pytest.mark.parametrize("trained,verdict", [((0.1, 0.11), HOLDS), ((0.4, 0.41), FAILS), ((0.1, 0.4), OPEN)])
def test_sparse_tokens_compares_with_normal_numbers(trained, verdict):
    made = activations(trained, (0.45, 0.45)) | results_of(dense=[0.5, 0.5])
    assert claims.sparse_tokens(made)[0] == verdict


def test_normal_share_is_that_of_its_width():
    assert claims.normal_share(0.9, 1) == 1
    assert claims.normal_share(0.9, 2) == pytest.approx(1 - math.atan(1 / 3) * 2 / math.pi, abs=0.02)  # one of two is enough where |x| > 3 |y|, or the other way round
    assert claims.normal_share(0.9, 128) == pytest.approx(0.452, abs=2e-3)


@pytest.mark.parametrize("consecutive,verdict", [(0.5, HOLDS), (0.05, FAILS)])
def test_flow_compares_with_shuffled_tokens(consecutive, verdict):
    assert claims.flow(activations((0.3, 0.3), (0.5, 0.5), consecutive, 0.1))[0] == verdict


def times(slow=1.0):
    names = ("dense", "x2", "x3", "x4")
    return {"about": ABOUT, "threads": 2, "tokens_of_step": 2048, "tokens_of_prompt": 128, "tokens_decoded": 64}  | {
        part: {name: {"median_s": slow if name == "x3" else 1.0, "samples_s": [1.0]} for name in names} for part in ("step", "prefill", "decode")}


@pytest.mark.parametrize("slow,verdict", [(1.05, HOLDS), (1.5, FAILS)])
def test_constant_cost_looks_at_the_slowest(slow, verdict):
    found = claims.constant_cost({"times": times(slow)})
    assert found[0] == verdict and f"{slow:.2f} times as long" in found[1]


def test_difference_is_bold_outside_zero():
    assert difference((0.5, 0.1)) == "**+0.500 ± 0.100**"
    assert difference((-0.05, 0.1)) == "-0.050 ± 0.100"
    assert difference((0.5, float("inf"))) == "+0.500"


def test_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_page_has_every_part():
    made = results_of(dense=[0.5, 0.51], half=[0.5, 0.5], x2=[0.5, 0.52], x3=[0.5, 0.52], x4=[0.5, 0.53], **{plan.WIDE: [0.5, 0.5]})
    made["ablations"] = {"runs": [run("fusion none", seed, 0.5, 1.1, (16, 6, 2)) for seed in range(2)]}
    made["task"] = {"runs": [run("dense", 0, 0.1)]}
    made["task"]["runs"][0]["model"]["vocab_size"] = 12
    made["rates"] = {"runs": [run("dense, rate 0.006", 0, 0.4, 1.25, rate=6e-3)]}
    made |= activations((0.3, 0.3), (0.5, 0.5)) | {"times": times()}
    made["conversion"] = {"rows": conversions(base=[2.0, 2.0], half=[2.1, 2.1])}
    drawn = plots(made)
    assert set(drawn) == {"study/main.svg", "study/ablations.svg"} and drawn == plots(made)
    text = page(made, drawn)
    for part in ("holds", "## Ablations", "fusion none", "### Group fusion\n\nWorse: fusion none.", "**+0.100 ± 0.000**", "rate 0.006", "**1.250**", "Example CPU", "## Conversion", "for 100 steps", "2.500", "not better than it: 50 %.", "chance level is\n25.0 %", "plots/study/main.svg"):
        assert part in text, part
    assert "no results" not in text


def test_diverged_runs_are_left_out_and_told():
    made = results_of(dense=[0.5, 0.5], x2=[0.5, 0.5, 0.5])
    made["main"]["runs"][-1] |= {"loss": None, "accuracy": None, "diverged": "expects a finite loss at step 7"}
    made["rates"] = {"runs": [run("dense, rate 0.006", 0, None, None, rate=6e-3) | {"diverged": "at once"}]}
    text = page(made, {})
    assert "Diverged and left out: x2, seed 2 (expects a finite loss at step 7)." in text and "| dense | diverged |" in text


def test_missing_runs_are_told():
    scale = plan.SCALES["full"]
    made = lambda kind, tables: {name: {kind: [{"digest": one.digest} for one in table(scale)]} for name, table in tables.items()}
    results = made("runs", plan.TABLES) | made("rows", plan.ROWS) | {"times": {}}
    assert missing(results) == ""
    results["main"]["runs"].pop()
    results["conversion"]["rows"].pop()
    del results["times"]
    assert f"1 of {len(plan.main(scale))} results of `main`, 1 of {len(plan.conversion(scale))} results of `conversion`, `times` are still to be made" in missing(results)


def test_report_needs_the_main_table(tmp_path):
    done = subprocess.run([sys.executable, STUDIES / "report", "--results", tmp_path, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "expects results of dense and x2 of the table main" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("old,new,same", [
    ("a 1", "a 1", True), ("a 1", "a 1.001", False), ("<?xml d=1.001", "<?xml d=1.002", True), ("<?xml d=1", "<?xml d=2", False), ("<?xml d=1", "<?xml e=1", False),
])
def test_drawings_are_compared_to_a_hundredth(old, new, same):
    loader = importlib.machinery.SourceFileLoader("study_report", str(STUDIES / "report"))
    report = importlib.util.module_from_spec(importlib.util.spec_from_loader("study_report", loader))
    loader.exec_module(report)
    assert report.is_same(old, new) == same


def test_committed_page_is_fresh():
    assert subprocess.run([sys.executable, STUDIES / "report", "--check"]).returncode == 0
