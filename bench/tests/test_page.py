# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The page from a small fixture: verdicts on known numbers, tables, plots; and the committed page is what the results give."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import BENCH
from page.goals import GOALS, judge
from page.page import page
from page.plots import plots
from page.results import Results, share
from page.svg import Series, plot

ABOUT = {"commit": "0123456789ab", "date": "2026-01-02", "quick": False,
         "machine": {"cpu": "Example CPU", "cpus": 2, "caches_bytes": {"L1": 32768, "L2": 1048576}}}


def op_row(tokens, share_of_peak, share_of_bandwidth, baseline=False, **more):
    """A row as mohd-bench writes it."""
    row = {"case": "op:spmm", "baseline": baseline, "D": 2048, "E": 5632, "groups": "16,6,2", "weights_dtype": "f32", "tokens": tokens,
           "threads": 1, "routing": "uniform", "union": 8, "coverage": 1.0, "median_s": 0.001, "flops": 1e9, "weight_bytes": 1e7,
           "other_bytes": 1e5, "peak_flops": 1e11, "bandwidth_bytes": 2e10, "share_of_peak": share_of_peak,
           "share_of_bandwidth": share_of_bandwidth, "share_of_floor": 0.5, "samples_s": [0.001]}
    return row | ({} if baseline else {"over_dense": 2.0}) | more


def peer_row(op, tokens, groups, times, dtype="f32"):
    """A problem as bench/run writes it; `times` are medians by variant."""
    return {"op": op, "D": 2048, "E": 5632, "groups": groups, "tokens": tokens, "weights_dtype": dtype, "routing": "uniform", "seed": 0,
            "threads": 1, "union": 8, "coverage": 1.0, "flops": 1e9,
            "variants": {name: {"median_s": time, "dense": "dense" in name, "samples_s": [time]} for name, time in times.items()}}


@pytest.fixture
def folder(tmp_path):
    """A folder of results."""
    ops = {"decode": [op_row(1, 0.02, 0.95), op_row(1, 0.01, 0.85, True)],
           "prefill": [op_row(512, 0.5, 0.1), op_row(512, 0.9, 0.1, True), op_row(512, 0.5 / 1.08, 0.1, routing="zipf")],
           "schedule": [op_row(16, 0.1, 0.5), *(op_row(16, 0.1, 0.5, share_of_floor=of, gather_tokens=n) for n, of in ((0, 0.55), (256, 0.2)))],
           "groups": [op_row(1, 0.1, 0.5, share_of_floor=of) for of in (0.9, 0.927)],
           "edges": [op_row(t, 0.1, 0.5, median_s=s) for t, s in ((1, 0.001), (2, 0.0012), (15, 0.002), (16, 0.0021))]}
    runs = {name: {"rows": rows} for name, rows in ops.items()}
    peers = [peer_row("linear", 4, [1, 1, 0], {"mohd": 1, "openblas dense": 8, "openblas dense (transposed)": 7, "onednn dense": 2.5}),
             peer_row("spmm", 1, [16, 3, 1], {"mohd": 1, "mohd dense": 4, "openblas dense": 5, "onednn dense": 3.5, "openblas groups": 2}),
             peer_row("spmm", 512, [16, 6, 2], {"mohd": 1, "mohd dense": 2, "openblas dense": 1.9}),
             peer_row("spmm", 8, [16, 6, 2], {"mohd": 1, "mohd dense": 1.2, "openblas dense": 3})]
    build = {"compile_op_s": [0.2, 0.4, 0.3], "compile_preset_s": [40.0], "preset": "mohd-1130m-x4", "kernels_bytes": 1_500_000,
             "targets": ["cpu:x86-64-v3", "cuda:sm_80,ptx"], "compile_targets_s": [20.0, 26.0, 40.0], "runtime_bytes": 700_000, "load_s": [0.004]}
    model = [{"model": "pydoc-mohd", "case": "decode", "tokens": 65, "threads": 1,
              "variants": {"mohd": {"tokens_per_s": 4000.0}, "torch": {"tokens_per_s": 160.0}}}]
    for name, part in {"ops": {"runs": runs}, "peers": {"rows": peers, "peers": {"openblas": "OpenBLAS 0.3"}, "limits": []}, "build": build,
                       "model": {"rows": model}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"about": ABOUT} | part))
    return tmp_path


def verdicts(folder):
    results = Results(folder)
    return {(goal.area, goal.measure): judge(goal, results) for goal in GOALS}


def test_verdicts_on_known_numbers(folder):
    words = {key: verdict and (round(verdict.value, 3), verdict.word) for key, verdict in verdicts(folder).items()}
    expected = {
        ("decode, T=1, cold weights", "bytes of active weights over read bandwidth"): (0.95, "met"),
        ("decode, T=1, rho=1/4, f32", "speed over the best dense peer"): (3.5, "missed"),
        ("decode, T=1, rho=1/4, bf16 weights", "speed over the best dense f32 peer"): None,
        ("T=2..8", "dense against dense: OpenBLAS"): (7, "met"),
        ("T=2..8", "dense against dense: oneDNN, packed"): (2.5, "missed"),
        ("prefill, T >= 256, one thread", "FLOP/s over FMA peak: dense"): (0.9, "missed"),
        ("prefill, T >= 256, one thread", "useful FLOP/s over FMA peak: rho=1/2 and 1/4, any routing"): (0.463, "missed, beyond the floor"),
        ("prefill, T >= 256, rho=1/2", "speed over OpenBLAS dense"): (1.9, "missed"),
        ("T=8, rho=1/2", "speed over the better of OpenBLAS and own dense"): (1.2, "missed"),
        ("compile one op", "mohd-compile, whole process"): (0.3, "met"),
        ("compile a 1.13B x4 preset", "all kernels, CPU target only, weights aside"): (40, "missed, beyond the floor"),
        ("compile a 1.13B x4 preset", "all kernels for x86-64-v3, sm_80, sm_90a and PTX, weights aside"): (26, "missed"),
        ("load to first result", "path of a bundle to logits, file in memory"): (4, "missed"),
        ("N from 8 to 128, decode", "time over its floor, slowest over fastest, less 1"): (0.03, "met"),
        ("one token more", "t(T+1)/t(T), T from 1 to 128"): (1.2, "missed, beyond the floor"),
        ("Zipf and identical routing", "time over that of uniform routing, both over the FMA peak, less 1"): (0.08, "missed"),
        ("schedule", "plan of the cost model over the best plan, T from 16 to 128, less 1"): (0.1, "missed"),
    }
    for key, verdict in expected.items():
        assert words[key] == verdict, key


def test_page_shows_what_is_missed(folder):
    text = page(Results(folder), [])
    assert "| compile one op | mohd-compile, whole process | 1 s | 0.3 s | 0.3 s |  | met |" in text
    assert "| 30 s | 8 s | 40 s |  | **missed, beyond the floor** |" in text
    assert "| the same for `cpu:x86-64-v3`, `cuda:sm_80,ptx`, s | 26 | 20 | 40 | 3 |" in text
    assert "not measured: no run on a GPU yet (bench/gpu/check)" in text
    assert "Example CPU, 2 CPUs, L1 32 KiB, L2 1024 KiB" in text
    assert "| spmm | 2048x5632 | 16,3,1 | f32 | 1 | 1 | uniform | 1e+03 | 4.00x | 5.00x | 3.50x |  |  | 2.00x (openblas groups) |  | 1 |" in text
    assert "| pydoc-mohd | decode | 65 | 1 | 4000 | 160 |  |" in text


def test_page_of_results_without_gpu_targets(folder):
    """As they are made where there is no ptxas."""
    build = json.loads((folder / "build.json").read_text())
    del build["targets"], build["compile_targets_s"]
    (folder / "build.json").write_text(json.dumps(build))
    text = page(Results(folder), [])
    assert "the same for" not in text and "| compile a 1.13B x4 preset | all kernels for x86-64-v3, sm_80, sm_90a and PTX, weights aside | 30 s | 8 s |  |  | not measured |" in text


def test_plots_are_well_formed(folder):
    drawn = plots(Results(folder))
    assert {"tokens-half.svg", "roofline.svg"} <= drawn.keys()
    for text in drawn.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
    assert drawn == plots(Results(folder))


def test_a_plot_of_one_point_or_none():
    text = plot("t & u", "x", "y", [Series("a <b>", ((1, 2),)), Series("absent", ())], log_x=True)
    root = ElementTree.fromstring(text)
    assert [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")].count("a <b>") == 1
    assert "absent" not in text


def test_nothing_measured_is_said(tmp_path):
    results = Results(tmp_path)
    assert plots(results) == {}
    text = page(results, [])
    assert "Nothing has been measured yet." in text and "**missed" not in text and "| met |" not in text


@pytest.mark.parametrize("measured", [True, False])
def test_a_call_that_needs_gradients_is_told_if_it_was_measured(folder, measured):
    samples = {"mohd": [5e-6], "empty": [2e-6]} | ({"mohd_gradient": [37e-6, 36e-6, 35e-6], "empty_gradient": [2.5e-6]} if measured else {})
    (folder / "train.json").write_text(json.dumps({"about": ABOUT, "overhead": samples}))
    text = page(Results(folder), [])
    assert ("takes 36 us for one token on one thread, 33.5 us more than an empty operator" in text) == measured
    assert "| call of an operator of PyTorch | over an empty one | 0.008 ms | 0.005 ms | 0.003 ms |" in text


def test_share():
    assert share("16,6,2") == 0.5 and share([16, 3, 1]) == 0.25


def test_report_writes_and_checks(folder, tmp_path):
    def report(*arguments):
        command = [sys.executable, BENCH / "report", "--results", folder, "--out", tmp_path / "docs", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert report().returncode == 0 and report("--check").returncode == 0
    (tmp_path / "docs/plots/old.svg").write_text("")
    (tmp_path / "docs/performance.md").write_text("")
    stale = report("--check")
    assert stale.returncode == 1 and "old.svg" in stale.stdout and "performance.md" in stale.stdout
    assert report().returncode == 0 and report("--check").returncode == 0


def test_the_committed_page_is_fresh():
    done = subprocess.run([sys.executable, BENCH / "report", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
