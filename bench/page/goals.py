# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The project's goals on the CPU, and how each is computed from the results."""

import dataclasses
import statistics
import typing

from page.results import dense_peers, geomean, seconds, share


@dataclasses.dataclass(frozen=True)
class Goal:
    """`floor` is what a change must not fall under, `goal` what is aimed at. `values` finds one number for each case."""

    area: str
    measure: str
    floor: float
    goal: float
    unit: str  # "%", "x", "s", "ms" or "MB"
    values: typing.Callable
    most: bool = False  # the values are to stay below, not above
    whole: typing.Callable = None  # makes one number of all the values; without it the worst counts


def _decode_shares(results):
    return [row["share_of_bandwidth"] for run in ("decode", "decode other shapes") for row in results.op_rows(run, tokens=1)]


def _decode_speedups(dtype):
    def values(results):
        return [min(dense_peers(row).values()) / seconds(row, "mohd") for row in results.peers
                if row["tokens"] == 1 and row["op"] != "linear" and share(row["groups"]) == 0.25 and row["weights_dtype"] == dtype]

    return values


def _dense_small(peer):
    def values(results):
        return [dense_peers(row)[peer] / seconds(row, "mohd") for row in results.peers
                if row["op"] == "linear" and 2 <= row["tokens"] <= 8 and peer in dense_peers(row)]

    return values


def _prefill_rows(results, dense):
    return [row for row in results.op_rows(dense=dense, threads=1, weights_dtype="f32")
            if row["case"] in ("op:spmm", "op:sddmm", "op:linear") and row["tokens"] >= 256]


def _prefill_shares(dense):
    return lambda results: [row["share_of_peak"] for row in _prefill_rows(results, dense)
                            if dense or share(row["groups"]) in (0.25, 0.5)]


def _over_openblas(rho):
    def values(results):
        return [dense_peers(row)["OpenBLAS"] / seconds(row, "mohd") for row in results.peers
                if row["tokens"] >= 256 and row["op"] != "linear" and share(row["groups"]) == rho and row["weights_dtype"] == "f32"]

    return values


def _middle(tokens):
    def values(results):
        return [min(dense_peers(row)["OpenBLAS"], seconds(row, "mohd dense")) / seconds(row, "mohd") for row in results.peers
                if row["tokens"] == tokens and row["op"] != "linear" and share(row["groups"]) == 0.5 and row["weights_dtype"] == "f32"]

    return values


def _no_regret(results):
    return [row["over_dense"] for row in results.op_rows() if "over_dense" in row and row["case"].startswith("op:")]


def _training(rho, peer):
    """Speed of a training step over a peer's."""

    def values(results):
        return [seconds(row, peer) / seconds(row, "mohd") for row in results.training if share(row["case"]["groups"]) == rho]

    return values


def _training_memory(results):
    """Memory of a training step beyond weights, gradients and the optimizer's state, over that of the dense model at the active width."""
    return [row["memory"]["mohd"]["step_bytes"] / row["memory"]["active"]["step_bytes"] for row in results.training]


def _overhead(results):
    samples = results.parts["train"].get("overhead")
    return [1e3 * (statistics.median(samples["mohd"]) - statistics.median(samples["empty"]))] if samples else []


def _median(key, scale=1.0):
    return lambda results: [statistics.median(results.build[key]) * scale] if key in results.build else []


def _size(key):
    return lambda results: [results.build[key] / 1e6] if key in results.build else []


def _growth(case):
    """How much further from its floor the slowest number of groups is than the fastest, at one number of tokens: decode or prefill."""

    def values(results):
        shares = [row["share_of_floor"] for row in results.op_rows("groups") if (row["tokens"] == 1) == (case == "decode")]
        return [max(shares) / min(shares) - 1] if len(shares) > 1 else []

    return values


def _edges(results):
    rows = sorted(results.op_rows("edges"), key=lambda row: row["tokens"])
    return [after["median_s"] / before["median_s"] for before, after in zip(rows, rows[1:]) if after["tokens"] == before["tokens"] + 1]


def _skew(results):
    same = ("case", "D", "E", "groups", "tokens", "threads", "weights_dtype")
    rows = [row for row in results.op_rows("prefill")]
    uniform = {tuple(row[key] for key in same): row["share_of_peak"] for row in rows if row["routing"] == "uniform"}
    return [uniform[tuple(row[key] for key in same)] / row["share_of_peak"] - 1 for row in rows if row["routing"] in ("zipf", "identical")]


def _schedule(results):
    """How much further from its floor the plan of the cost model is than the best of all plans: one order of loops, or the other."""
    same = ("case", "D", "E", "groups", "tokens", "threads", "weights_dtype")
    best, chosen = {}, {}
    for row in results.op_rows("schedule"):
        key = tuple(row[name] for name in same)
        best[key] = max(best.get(key, 0), row["share_of_floor"])
        if "gather_tokens" not in row:
            chosen[key] = row["share_of_floor"]
    return [best[key] / of_floor - 1 for key, of_floor in chosen.items()]


GOALS = (
    Goal("decode, T=1, cold weights", "bytes of active weights over read bandwidth", 0.80, 0.92, "%", _decode_shares),
    Goal("decode, T=1, rho=1/4, f32", "speed over the best dense peer", 3.4, 3.8, "x", _decode_speedups("f32")),
    Goal("decode, T=1, rho=1/4, bf16 weights", "speed over the best dense f32 peer", 6.5, 7.5, "x", _decode_speedups("bf16")),
    Goal("T=2..8", "dense against dense: OpenBLAS", 4, 6, "x", _dense_small("OpenBLAS")),
    Goal("T=2..8", "dense against dense: oneDNN, packed", 2, 3, "x", _dense_small("oneDNN")),
    Goal("prefill, T >= 256, one thread", "FLOP/s over FMA peak: dense", 0.85, 0.92, "%", _prefill_shares(True)),
    Goal("prefill, T >= 256, one thread", "useful FLOP/s over FMA peak: rho=1/2 and 1/4, any routing", 0.75, 0.85, "%",
         _prefill_shares(False)),
    Goal("prefill, T >= 256, rho=1/2", "speed over OpenBLAS dense", 1.8, 2.0, "x", _over_openblas(0.5)),
    Goal("prefill, T >= 256, rho=1/4", "speed over OpenBLAS dense", 3.4, 4.0, "x", _over_openblas(0.25)),
    Goal("T=8, rho=1/2", "speed over the better of OpenBLAS and own dense", 1.0, 1.4, "x", _middle(8)),
    Goal("T=128, rho=1/2", "the same", 1.5, 1.8, "x", _middle(128)),
    Goal("no regret, worst", "speed over own dense, any T, any routing", 0.97, 1.0, "x", _no_regret),
    Goal("no regret, geometric mean", "the same", 1.0, 1.0, "x", _no_regret, whole=geomean),
    Goal("training step, rho=1/2", "speed over dense at the same width: forward, backward, optimizer", 1.3, 1.6, "x", _training(0.5, "dense")),
    Goal("training step, rho=1/4", "the same", 2.2, 3.0, "x", _training(0.25, "dense")),
    Goal("training step, memory", "beyond weights, gradients and optimizer, over dense at the active width", 1.0, 0.9, "x", _training_memory, most=True),
    Goal("call of an operator of PyTorch", "over an empty one", 0.008, 0.005, "ms", _overhead, most=True),
    Goal("compile one op", "mohd-compile, whole process", 1.0, 0.3, "s", _median("compile_op_s"), most=True),
    Goal("compile a 1.13B x4 preset", "all kernels, CPU target only, weights aside", 30, 8, "s", _median("compile_preset_s"), most=True),
    Goal("compile a 1.13B x4 preset", "all kernels for x86-64-v3, sm_80, sm_90a and PTX, weights aside", 30, 8, "s", _median("compile_targets_s"), most=True),
    Goal("load to first result", "path of a bundle to logits, file in memory", 10, 2, "ms", _median("load_s", 1e3), most=True),
    Goal("size of the runtime library", "", 1.0, 0.5, "MB", _size("runtime_bytes"), most=True),
    Goal("size of a preset's kernels", "bundle without weights", 5, 2, "MB", _size("kernels_bytes"), most=True),
    Goal("N from 8 to 128, decode", "time over its floor, slowest over fastest, less 1", 0.10, 0.05, "%", _growth("decode"), most=True),
    Goal("N from 8 to 128, prefill", "the same", 0.20, 0.10, "%", _growth("prefill"), most=True),
    Goal("one token more", "t(T+1)/t(T), T from 1 to 128", 1.10, 1.05, "x", _edges, most=True),
    Goal("Zipf and identical routing", "time over that of uniform routing, both over the FMA peak, less 1", 0.10, 0.05, "%", _skew, most=True),
    Goal("schedule", "plan of the cost model over the best plan, T from 16 to 128, less 1", 0.15, 0.05, "%", _schedule, most=True),
)

NOT_THERE = (
    ("GPU: decode, prefill, dense, router, Monarch", "see the design", "no run on a GPU yet (bench/gpu/check)"),
)
"""Goals that nothing can be measured for."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Numbers of a goal: the one that counts, the ends, and how many there are."""

    value: float
    low: float
    high: float
    count: int
    word: str


def judge(goal, results):
    """The verdict on a goal, or None if nothing was measured."""
    values = goal.values(results)
    if not values:
        return None
    value = goal.whole(values) if goal.whole else (max(values) if goal.most else min(values))
    sign = -1 if goal.most else 1
    if sign * value >= sign * goal.goal:
        word = "met"
    else:
        word = "missed" if sign * value >= sign * goal.floor else "missed, beyond the floor"
    return Verdict(value, min(values), max(values), len(values), word)
