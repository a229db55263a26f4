# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The project's goals on a GPU, and how each is computed from a result."""

import dataclasses
import math
import typing

PREFILL = 2048
"""Tokens from which on a row is one of prefill."""
LARGE = 32e6
"""Bytes of active weights from which on bandwidth counts."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """`floor` is what a change must not fall under, `goal` what is aimed at; either may be None. `values` finds {case: number} in a result."""

    area: str
    measure: str
    floor: float | None
    goal: float | None
    unit: str  # "%", "x", "us", "ms", "MB" or "launches"
    values: typing.Callable
    most: bool = False  # the values are to stay below, not above
    whole: typing.Callable = None  # makes one number of all the values; without it the worst counts


def seconds(row, variant="mohd"):
    """The median of a row's variant."""
    return row["variants"][variant]["median_s"]


def over_dense(row, variant="mohd"):
    """Speed over the fastest dense peer; None without one."""
    dense = [timed["median_s"] for name, timed in row["variants"].items() if timed["dense"] and not name.startswith("mohd")]
    return min(dense) / seconds(row, variant) if dense and variant in row["variants"] else None


def share(row):
    """The share of active groups; all of what has none."""
    n, shared, routed = row.get("groups", (1, 1, 0))
    return (shared + routed) / n


def select(result, ops, **wanted):
    """{name: row} of what was measured and right, of some ops; each value wanted is one, or a function that says so."""
    rows = {name: row for name, row in result["performance"].items() if row["ok"] and row["op"] in ops}
    return {name: row for name, row in rows.items()
            if all(want(row.get(key)) if callable(want) else row.get(key) == want for key, want in wanted.items())}


def routed(result, ops=("spmm", "sddmm"), **wanted):
    """Rows of routed products with bf16 weights."""
    return select(result, ops, weights="bf16", **wanted)


def each(rows, number):
    """{name: number(row)} where there is one."""
    found = {name: number(row) for name, row in rows.items()}
    return {name: value for name, value in found.items() if value is not None}


def is_prefill(tokens):
    return tokens >= PREFILL


def _bandwidth(result):
    return each(routed(result, tokens=lambda tokens: tokens <= 8, weight_bytes=lambda size: size >= LARGE),
                lambda row: row["variants"]["mohd"]["share_of_bandwidth"])


def _decode_speed(result):
    rows = routed(result, tokens=1)
    return each({name: row for name, row in rows.items() if share(row) == 0.25}, over_dense)


def _rate(op):
    """Useful FLOP/s over the FLOP/s of the best dense peer."""

    def values(result):
        rows = routed(result, (op,), tokens=is_prefill)
        return {name: value * share(rows[name]) for name, value in each(rows, over_dense).items()}

    return values


def _own_dense(result):
    return each(routed(result, tokens=is_prefill), lambda row: over_dense(row, "mohd dense"))


def _ptx_dense(result):
    return each(select(result, ("linear",), target="ptx", tokens=is_prefill), over_dense)


def _of(ops, number, **wanted):
    return lambda result: each(select(result, ops, **wanted), number)


def _ratio(variant):
    """Time of another variant of a row over ours."""
    return lambda row: seconds(row, variant) / seconds(row) if variant in row["variants"] else None


def _no_regret(result):
    return each(routed(result), _ratio("mohd dense"))


def _growth(tokens):
    """Time with more groups over that with 8, at the same share, less 1."""

    def values(result):
        rows, least, found = routed(result, tokens=tokens, routing="uniform"), {}, {}
        for row in rows.values():
            if row["groups"][0] == 8:
                least[row["op"], row["D"], row["E"], row["tokens"], share(row)] = row
        for name, row in rows.items():
            key = row["op"], row["D"], row["E"], row["tokens"], share(row)
            if row["groups"][0] > 8 and key in least:
                found[name] = seconds(row) / seconds(least[key]) - 1
        return found

    return values


def _edges(result):
    rows = routed(result, routing="identical")
    at = {(row["op"], row["D"], row["E"], *row["groups"], row["tokens"]): row for row in rows.values()}
    pairs = {name: at.get((row["op"], row["D"], row["E"], *row["groups"], row["tokens"] - 1)) for name, row in rows.items()}
    return {name: seconds(rows[name]) / seconds(before) for name, before in pairs.items() if before}


def _skew(result):
    rows = routed(result, tokens=is_prefill)
    uniform = {(row["op"], row["D"], row["E"], *row["groups"], row["tokens"]): row for row in rows.values() if row["routing"] == "uniform"}
    skewed = {name: (row, uniform.get((row["op"], row["D"], row["E"], *row["groups"], row["tokens"])))
              for name, row in rows.items() if row["routing"] in ("zipf", "identical")}
    return {name: seconds(row) / seconds(even) - 1 for name, (row, even) in skewed.items() if even}


def _size(key):
    return lambda result: {key: result["sizes"][key] / 1e6} if key in result.get("sizes", {}) else {}


def _over_attention(row):
    return row.get("over_best_peer")


def geomean(values):
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


PRODUCT, TRAIN = ("spmm", "sddmm"), ("train spmm", "train sddmm", "train ffn")
GOALS = (
    Goal("decode, T=1..8, at least 32 MB of active weights", "bytes of the union over copy bandwidth", 0.75, 0.90, "%", _bandwidth),
    Goal("decode, T=1, rho=1/4", "speed over the best dense peer", 3.2, 3.8, "x", _decode_speed),
    Goal("decode, whole layer", "launches, those of the whole model aside", 3, 1, "launches", _of(("decode",), lambda row: row["launches"] // row["layers"], tokens=1), most=True),
    Goal("decode, whole layer", "share of the memory floor", 0.40, 0.65, "%", _of(("decode",), lambda row: row["variants"]["mohd"]["share_of_floor"], tokens=1)),
    Goal("prefill, output side (sddmm)", "useful FLOP/s over those of the best dense peer", 0.80, 0.90, "%", _rate("sddmm")),
    Goal("prefill, contraction side (spmm)", "the same", 0.65, 0.80, "%", _rate("spmm")),
    Goal("own dense product, sm_90a", "speed over the best dense peer", 0.85, 0.97, "%", _own_dense),
    Goal("own dense product, sm_80 (PTX)", "the same", 0.60, 0.75, "%", _ptx_dense),
    Goal("router, T >= 2048", "time", 8, None, "us", _of(("route",), lambda row: 1e6 * seconds(row), tokens=is_prefill), most=True),
    Goal("router, T <= 16", "time", 2, None, "us", _of(("route",), lambda row: 1e6 * seconds(row), tokens=lambda tokens: tokens <= 16), most=True),
    Goal("Monarch fusion", "bytes over copy bandwidth", 0.80, None, "%", _of(("fusion",), lambda row: row["variants"]["mohd"]["share_of_bandwidth"])),
    Goal("forward and backward, rho=1/4", "speed over the best dense peer", 2.2, 3.0, "x", _of(TRAIN, over_dense)),
    Goal("no regret, worst", "speed over our own dense product, any T, any routing", 0.97, 1.0, "x", _no_regret),
    Goal("no regret, geometric mean", "the same", 1.0, 1.0, "x", _no_regret, whole=geomean),
    Goal("N from 8 to 128, decode", "time over that of 8 groups at the same share, less 1", 0.10, 0.05, "%", _growth(1), most=True),
    Goal("N from 8 to 128, prefill", "the same", 0.20, 0.10, "%", _growth(is_prefill), most=True),
    Goal("one token more", "t(T+1)/t(T) where kernels change", 1.10, 1.05, "x", _edges, most=True),
    Goal("Zipf and identical routing, prefill", "time over that of uniform routing, less 1", 0.10, 0.05, "%", _skew, most=True),
    Goal("load to first result", "path of a bundle to logits, weights on the device", 50, 15, "ms", _of(("load",), lambda row: 1e3 * seconds(row)), most=True),
    Goal("size of the runtime library", "", 1.0, 0.5, "MB", _size("runtime_bytes"), most=True),
    Goal("size of a model's kernels", "bundle without weights", 5, 2, "MB", _size("kernels_bytes"), most=True),
    Goal("int8 weights, decode", "speed over our own bf16", None, None, "x", _of(PRODUCT, _ratio("mohd bf16"), weights="int8")),
    Goal("attention", "speed over scaled_dot_product_attention", None, None, "x", _of(("attention",), _over_attention)),
)


def word_for(goal, value):
    """The verdict on a value."""
    sign = -1 if goal.most else 1
    if goal.floor is None:
        return "no goal"
    if sign * value < sign * goal.floor:
        return "missed, beyond the floor"
    if goal.goal is None:
        return "floor kept"
    return "met" if sign * value >= sign * goal.goal else "missed"


def judge(goal, result):
    """The verdict on a goal: its value, the case that it is of, the ends and number of all cases, and a word."""
    found = goal.values(result)
    made = {"area": goal.area, "measure": goal.measure, "unit": goal.unit, "floor": goal.floor, "goal": goal.goal}
    if not found:
        return made | {"value": None, "verdict": "not measured"}
    worst = (max if goal.most else min)(found, key=found.get)
    value = goal.whole(found.values()) if goal.whole else found[worst]
    return made | {"value": value, "case": worst, "low": min(found.values()), "high": max(found.values()), "cases": len(found), "verdict": word_for(goal, value)}


def verdicts(result):
    """The verdict on every goal."""
    return [judge(goal, result) for goal in GOALS]


def _shown(value, unit):
    """A number of a verdict for people."""
    if value is None:
        return "-"
    return f"{100 * value:.0f} %" if unit == "%" else f"{value:.3g}{'x' if unit == 'x' else ' ' + unit}"


def lines(judged):
    """Verdicts for people, one a line."""
    for verdict in judged:
        numbers = " ".join(f"{_shown(verdict[key], verdict['unit']):>12}" for key in ("value", "floor", "goal"))
        measured = f" (worst of {verdict['cases']}: {verdict['case']})" if verdict["value"] is not None else ""
        yield f"{verdict['verdict']:24} {numbers}  {verdict['area']}: {verdict['measure']}{measured}"
