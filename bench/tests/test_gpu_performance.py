# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The measuring half of bench/gpu/check in the emulator: every kind of row is measured and checked, wrong results of ours and of peers are noticed, and the result has
what docs/benchmarks.md says. Speeds are nobody's business here."""

import argparse
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys

import pytest
import torch

from conftest import BENCH

sys.path.append(str(BENCH / "gpu"))
from gpu_check import attention, around, goals, pack, peers, performance, products, rows, timing, training  # noqa: E402
from gpu_check.variants import Variant  # noqa: E402

pytestmark = pytest.mark.xdist_group("gpu_performance")  # one folder for all
ROWS = {row.name: row for row in rows.every(True)}
QUARTER = "256x320 16,3,1"
TRAIN, TRAIN_SDDMM = "train spmm 128x160 16,3,1 T=40", "train sddmm 128x160 16,3,1 T=40"
FFN = "train ffn 128x160 16,3,1 T=20"
DENSE_PEERS = {"torch.mm", "torch.mm of columns"}
ROUTED_PEERS = DENSE_PEERS | {"torch._grouped_mm", "index_select + bmm"}
KEYS = {"ok", "op", "tokens", "flops", "bytes", "floor_s", "variants", "notes", "summary", "seconds"}
VARIANT_KEYS = {"samples_s", "how", "calls", "copies", "median_s", "p10_s", "p90_s", "relative_error", "dense", "share_of_floor", "flops_per_s",
                "bytes_per_s", "share_of_bandwidth"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is carried to the machine with the GPU, at small sizes and for the emulator."""
    folder = tmp_path_factory.mktemp("gpu") / "check"
    assert pack.pack(folder, ["performance"], quick=True, emulated=True, say=lambda _: None) < pack.LARGEST
    return folder


@pytest.fixture(scope="module")
def bench(folder):
    """Measures in this process."""
    return performance.Bench(folder, "emulate", True)


def check(folder, out, *arguments):
    command = [sys.executable, folder / "check.py", "--device=emulate", "--out", out, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("result") / "result.json"
    done = check(folder, out)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()) | {"printed": done.stderr}


def test_every_row_is_measured_and_right(result):
    assert result["failed"] == [] and result["left_out"] == [] and list(result["performance"]) == rows.names(True)
    for name, row in result["performance"].items():
        assert KEYS <= row.keys(), name
        assert row["ok"] and row["seconds"] > 0 and row["summary"].endswith("us") or "of the floor" in row["summary"]
        assert not [note for note in row["notes"] if not note.startswith("Triton")], row["notes"]
        for variant, timed in row["variants"].items():
            assert timed.keys() == VARIANT_KEYS, (name, variant)
            assert timed["samples_s"] and min(timed["samples_s"]) > 0 and timed["p10_s"] <= timed["median_s"] <= timed["p90_s"]
            assert row["op"] == "load" or "products alone" in variant or timed["relative_error"] < 2e-2, (name, variant)


@pytest.mark.parametrize("name, expected", [
    (f"spmm {QUARTER} T=40", ROUTED_PEERS | {"mohd", "mohd dense"}), (f"sddmm {QUARTER} T=1", ROUTED_PEERS | {"mohd", "mohd dense", "index_select of weights"}),
    (f"spmm {QUARTER} T=40 zipf", DENSE_PEERS | {"mohd", "mohd dense"}), (f"sddmm {QUARTER} int8 T=1", DENSE_PEERS | {"mohd", "mohd bf16"}),
    (TRAIN, DENSE_PEERS | {"mohd"}), ("linear 256x320 1,1,0 T=40 ptx", DENSE_PEERS | {"mohd"}),
    ("attention 4,2,32 prefill T=40", {"mohd", "torch scaled_dot_product_attention"}), ("load tiny", {"mohd"}),
    ("decode tiny T=1", {"mohd", "torch.mm of the dense products alone"}),
    (FFN, {"mohd", "torch.mm of the dense products alone", "torch.mm of columns of the dense products alone"}),
])
def test_variants_of_a_row(result, name, expected):
    found = set(result["performance"][name]["variants"])
    assert {variant for variant in found if not variant.startswith("Triton")} == expected


def test_figures_of_rows(result):
    of = result["performance"]
    spmm, train, int8 = of[f"spmm {QUARTER} T=40"], of[TRAIN], of[f"spmm {QUARTER} int8 T=1"]
    assert spmm["flops"] == 2 * 40 * 64 * 320 and train["flops"] == 3 * 2 * 40 * 32 * 160
    assert spmm["union"] == 16 and spmm["coverage"] == 0.25
    assert spmm["bytes"] == 2 * (256 * 320 + 40 * (256 + 320)) and spmm["weight_bytes"] == 2 * 256 * 320
    assert int8["bytes"] == 4 * 16 * 320 + 4 * 4 * 320 + 2 * (256 + 320)
    assert train["relative_errors"].keys() == {"y", "grad_x", "grad_gates", "grad_w"}
    assert of[TRAIN_SDDMM]["relative_errors"].keys() == {"y", "grad_x", "grad_w"}
    ffn = of[FFN]
    assert ffn["relative_errors"].keys() == {"y", *(f"grad_{name}" for name in ("x", "norm", "phi", "gate", "up", "down", "right", "left"))}
    assert ffn["flops"] == 9 * 2 * 20 * 32 * 160
    assert of["attention 4,2,32 prefill T=40"]["flops"] == 4 * 4 * 32 * 40 * 41 // 2
    assert of["attention 4,2,32 decode T=2 cached 48"]["bytes"] == 2 * (2 * 2 * 128 + 2 * 2 * 48 * 64)
    assert of["decode tiny T=1"]["layers"] == 2 and of["decode tiny T=1"]["launches"] >= 2
    assert of["load tiny"]["floor_s"] == 0 and len(of["load tiny"]["variants"]["mohd"]["samples_s"]) > 2


def test_result_has_what_is_documented(result):
    assert result["about"].keys() >= {"commit", "packed", "targets", "device", "quick", "command", "date", "python", "runtime"}
    assert result["limits"][0]["copy"]["rate"] > 0 and result["limits"][0]["mm"]["rate"] > 0 and result["limits"][0]["torch"] == torch.__version__
    assert result["sizes"]["runtime_bytes"] > 1e5 and result["sizes"]["kernels_bytes"] > 1e4
    judged = {(verdict["area"], verdict["measure"]): verdict for verdict in result["goals"]}
    assert len(judged) == len(goals.GOALS)
    unmeasured = {area for (area, _), verdict in judged.items() if verdict["verdict"] == "not measured"}
    assert all("2048" in area or "prefill" in area or "at least 32 MB" in area or area.startswith("own dense") for area in unmeasured)
    assert all(verdict["area"] in result["printed"] for verdict in judged.values())


def test_documentation_names_every_part_of_a_result(result):
    text = (BENCH.parent / "docs/benchmarks.md").read_text()
    section = re.search(r"\n## On a GPU\n(.*?)\n## ", text, re.S).group(1)
    for key in {*result, *KEYS, *VARIANT_KEYS, *result["goals"][0]} - {"printed", "ok"}:
        assert f"`{key}`" in section, key


def test_without_peers_only_ours(folder, tmp_path):
    assert check(folder, tmp_path / "result.json", "--no-peers", "--match=spmm 256x320 16,3,1 T=17").returncode == 0
    (row,) = json.loads((tmp_path / "result.json").read_text())["performance"].values()
    assert set(row["variants"]) == {"mohd", "mohd dense"} and "over_dense" not in row


def test_a_row_that_fails_with_peers_is_tried_without(folder, tmp_path):
    """The row's process dies in a peer; what is measured without them counts, and the first try is kept."""
    broken = tmp_path / "check"
    broken.mkdir()
    for path in folder.iterdir():
        if path.name != "gpu_check":
            (broken / path.name).symlink_to(path)
    (broken / "check.py").unlink()
    (broken / "check.py").write_text((folder / "check.py").read_text())
    (broken / "gpu_check").mkdir()
    for path in (folder / "gpu_check").glob("*.py"):
        (broken / "gpu_check" / path.name).write_text(path.read_text().replace("return torch.mm(x, w)\n", "os._exit(3)\n").replace("import torch\n", "import os, torch\n"))
    done = check(broken, tmp_path / "result.json", "--match=spmm 256x320 16,3,1 T=17")
    (row,) = json.loads((tmp_path / "result.json").read_text())["performance"].values()
    assert done.returncode == 0 and row["ok"] and "torch.mm" not in row["variants"]
    assert row["with_peers"]["problems"] == ["the process ended with 3"]


def test_a_row_that_fails_and_has_no_time_for_a_second_try(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("MOHD_RUNTIME", str(folder / "mohd/libmohd_rt.so"))  # the module sets both
    spec = importlib.util.spec_from_file_location("check_of_gpu", folder / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tries = []

    def supervise(command, items, deadline, seconds, report, environment=None):
        tries.append("--no-peers" in command)
        if len(tries) == 1:
            report(items[0], dict(wrong))
            return []
        return items

    monkeypatch.setattr(module.supervise, "supervise", supervise)
    out, wrong = tmp_path / "result.json", {"ok": False, "problems": ["wrong"]}
    for item in ("spmm", "spmm" + rows.COMPILED):
        tries.clear()
        run = module.Run(argparse.Namespace(device="emulate", out=out, only=None, match="", budget=1, no_peers=False))
        run.part("performance", [item], 0)
        run.save()
        result = json.loads(out.read_text())
        assert tries == [False, True]
        assert (result["performance"], result["notes"]) == (({}, {item: wrong}) if item.endswith(rows.COMPILED) else ({item: wrong}, {}))


def spoil(bench, monkeypatch, entry, result, change):
    """Makes every call of an entry point change one of its results in the end."""
    bind = bench.bind

    def bound(context, name, inputs, outputs):
        call = bind(context, name, inputs, outputs)

        def spoiled():
            call()
            change(outputs[result])

        return spoiled if name == entry and result in outputs else call

    monkeypatch.setattr(bench, "bind", bound)


@pytest.mark.parametrize("name, entry, wrong", [
    (f"spmm {QUARTER} T=40", "main", "y"), (f"sddmm {QUARTER} int8 T=1", "main", "y"), ("linear 256x320 1,1,0 T=40 ptx", "main", "y"),
    (TRAIN, "main", "y"), (TRAIN, "backward", "grad_w"), (TRAIN, "backward", "grad_gates"),
    (TRAIN_SDDMM, "backward", "grad_x"), (FFN, "backward", "grad_phi"), ("attention 4,2,32 prefill T=40", "main", "y"), ("attention 4,2,32 decode T=2 cached 48", "main", "y"),
    ("route 256 16,6,2 T=8", "main", "g"), ("fusion 256 16,6,2 T=40", "main", "y"), ("decode tiny T=1", "decode", "logits"),
])
def test_a_wrong_result_of_ours_is_noticed(bench, monkeypatch, name, entry, wrong):
    spoil(bench, monkeypatch, entry, wrong, lambda tensor: tensor.mul_(1.05))
    with pytest.raises(AssertionError, match=rf"{'y' if wrong == 'g' else wrong}: relative error 0\.05|relative error 0\.04"):
        bench.measure(name)


def test_a_wrong_choice_of_groups_is_noticed(bench, monkeypatch):
    spoil(bench, monkeypatch, "main", "y", lambda tensor: tensor[:, 6:].fill_(6))
    with pytest.raises(AssertionError, match="y: relative error"):
        bench.measure("route 256 16,6,2 T=8")


@pytest.mark.parametrize("change, problem", [
    (lambda tensor, count=itertools.count(): tensor.mul_(1 + next(count) / 10), "y: two runs differ"),
    (lambda tensor: tensor[0].fill_(float("nan")), "y: relative error nan"),
])
def test_results_that_differ_or_are_not_written_are_noticed(bench, monkeypatch, change, problem):
    spoil(bench, monkeypatch, "main", "y", change)
    with pytest.raises(AssertionError, match=problem):
        bench.measure("attention 4,2,32 prefill T=40")


def test_a_peer_that_is_wrong_or_fails_is_left_out(bench, monkeypatch):
    monkeypatch.setattr(peers, "padded_bmm", lambda data, lists, x, w: torch.zeros(data.row.tokens, data.row.sides[1]))
    monkeypatch.setattr(peers, "grouped_mm", lambda *_: 1 / 0)
    row = bench.measure(f"spmm {QUARTER} T=40")
    assert row["notes"]["index_select + bmm"] == "AssertionError: y: relative error 1, at most 0.02"
    assert row["notes"]["torch._grouped_mm"].startswith("ZeroDivisionError")
    assert {"mohd", "mohd dense"} | DENSE_PEERS == {name for name in row["variants"] if not name.startswith("Triton")}


@pytest.mark.parametrize("name, module, function, note", [
    (TRAIN, training, "dense", "torch.mm"), ("route 256 16,6,2 T=8", around, "torch_route", "torch mm, softmax, topk"),
    ("fusion 256 16,6,2 T=40", around, "torch_fusion", "torch bmm, bmm"),
    ("attention 4,2,32 prefill T=40", attention, "sdpa", "torch scaled_dot_product_attention"),
])
def test_peers_of_other_rows_may_fail(bench, monkeypatch, name, module, function, note):
    monkeypatch.setattr(module, function, lambda *_: 1 / 0)
    row = bench.measure(name)
    assert row["notes"][note].startswith("ZeroDivisionError") and note not in row["variants"]


def test_a_wrong_peer_of_attention_and_of_training_is_left_out(bench, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v, **_: torch.zeros_like(q))
    assert "relative error 1" in bench.measure("attention 4,2,32 prefill T=40")["notes"]["torch scaled_dot_product_attention"]
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: mm(a, b) * 1.1)
    row = bench.measure(TRAIN_SDDMM)
    assert set(row["variants"]) == {"mohd"} and "relative error 0.1" in row["notes"]["torch.mm"]


def test_what_fails_while_it_is_timed_is_left_out():
    clock, count = timing.Clock("cpu"), itertools.count()
    found = clock.measure({"good": [lambda: None], "late": [lambda: 1 / (next(count) < 200)], "never": [lambda: 1 / 0]}, 0.0)
    assert found["never"]["error"].startswith("ZeroDivisionError") and found["late"]["error"].startswith("ZeroDivisionError")
    assert len(found["good"]["samples_s"]) == timing.FEWEST and found["good"]["how"] == "events"


def test_what_fails_alone_says_why():
    assert timing.Clock("cpu").measure({"never": [lambda: [].pop()]}, 0.0) == {"never": {"error": "IndexError: pop from empty list"}}


def test_calls_rotate_through_their_buffers():
    seen = []
    timing.Clock("cpu", quick=True).measure({"it": [lambda i=i: seen.append(i) for i in range(3)]}, 0.0)
    assert seen[-6:] == [0, 1, 2, 0, 1, 2]


def test_copies_exceed_the_cache_four_times():
    clock = timing.Clock("cpu")
    assert clock.copies(clock.l2_bytes, 1) == 5 and clock.copies(1 << 30, 1) == 2
    assert clock.copies(1, 64 << 20) == 4 and clock.copies(1, 1 << 40) == 1 and clock.copies(1, 1) == timing.MOST_CALLS


def test_quantiles():
    assert timing.quantiles([3.0, 1.0, 2.0]) == pytest.approx({"median_s": 2.0, "p10_s": 1.2, "p90_s": 2.8})


@pytest.fixture
def judge(bench, monkeypatch):
    """The JSON of a row of 16 groups of which 4 are active, on a machine of 100 FLOP/s and 10 bytes/s, by the times of the variants."""
    monkeypatch.setattr(bench, "limits", {"mm": {"rate": 100.0}, "copy": {"rate": 10.0}})

    def judged(flops, moved, notes=None, **times):
        names = {"ours": "mohd", "own_dense": "mohd dense", "mm": "torch.mm", "groups": "index_select + bmm"}
        variants = {names[name]: Variant([], 0.001, name in ("own_dense", "mm")) for name in times}
        found = {names[name]: {"error": time} if isinstance(time, str) else {"samples_s": [time] * 3} for name, time in times.items()}
        return bench.report(ROWS[f"spmm {QUARTER} T=40"], variants, found, notes or {}, flops, moved, {})

    return judged


def test_derived_figures(judge):
    row = judge(200, 40, ours=5.0, own_dense=15.0, mm=10.0, groups=8.0)
    assert row["floor_s"] == 4.0  # by bytes
    ours = row["variants"]["mohd"]
    assert ours["share_of_floor"] == 0.8 and ours["flops_per_s"] == 40 and ours["bytes_per_s"] == 8 and ours["share_of_bandwidth"] == 0.8
    assert row["over_dense"] == 2.0 and row["useful_rate_over_dense"] == 0.5 and row["over_own_dense"] == 3.0 and row["over_best_peer"] == 1.6
    assert row["summary"] == ("5000000.0 us, 0.80 of the floor, 2.00x the best dense peer, 0.50 of its rate, 3.00x our own dense, "
                              "best peer index_select + bmm 8000000.0 us")
    assert judge(1000, 40, ours=20.0)["floor_s"] == 10.0 and judge(1000, 40, ours=20.0)["variants"]["mohd"]["share_of_floor"] == 0.5


def test_figures_without_some_variants(judge):
    row = judge(200, 40, ours=5.0, mm="RuntimeError: no memory")
    assert row["notes"] == {"torch.mm": "RuntimeError: no memory"} and "over_dense" not in row and "over_own_dense" not in row
    with pytest.raises(AssertionError, match="no memory"):
        judge(200, 40, ours="RuntimeError: no memory", mm=1.0)


INTERPRETED = """
import sys, torch
sys.path.append(sys.argv[1])
from gpu_check import peers, products, rows, triton_kernels
for op in ("spmm", "sddmm"):
    for name, tokens in (("gathered_gemm", 140), ("masked_gemv", 2)):
        data = products.Data(rows.Product(op, 64, 96, (4, 1, 1), tokens), torch.device("cpu"))
        w, x = data.normal(*data.row.weight_shape).half(), data.normal(tokens, data.row.sides[0]).half()
        print(op, name, data.error(getattr(triton_kernels, name)(data, peers.Lists(data), x, w), data.expected(x, w, op)))
"""


def test_triton_peers_in_triton_s_interpreter():
    """In f16, as the interpreter multiplies the bits of bf16; in a process of its own, as Triton is told when it is imported."""
    pytest.importorskip("triton")
    done = subprocess.run([sys.executable, "-c", INTERPRETED, BENCH / "gpu"], capture_output=True, text=True, env=os.environ | {"TRITON_INTERPRET": "1"})
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 4 and all(float(error) < 1e-3 for *_, error in lines), lines


@pytest.mark.parametrize("routing", ["uniform", "zipf", "identical", "disjoint"])
def test_routings_are_active_sets(routing):
    data = products.Data(rows.Product("spmm", 256, 320, (16, 6, 2), 50, routing), torch.device("cpu"))
    indices = data.indices
    assert indices.dtype == torch.int32 and (indices[:, :6] == torch.arange(6)).all() and (indices.diff(dim=1) > 0).all() and indices.max() < 16
    assert data.union == {"identical": 8}.get(routing, 16)
    assert routing != "disjoint" or not set(indices[0, 6:].tolist()) & set(indices[1, 6:].tolist())


def test_rows_have_one_name_and_what_matters_most_is_first():
    names = rows.names(False)
    assert len(set(names)) == len(names) and not any(name.endswith(rows.COMPILED) for name in names[:-4])
    first = rows.every(False)[:60]
    assert {type(row) for row in first} == set(performance.MEASURES)
