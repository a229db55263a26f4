# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a problem's variants in turn: checked first, each on copies of weights that no cache still holds, every sample kept."""

import dataclasses
import math
import time

import numpy as np
import torch

from peers import openblas, pytorch
from peers.ours import Ours
from peers.problem import TOLERANCE, Problem


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure. `cold_bytes` are read between two reads of a byte of weights, in calls of up to `cold_tokens`."""

    repetitions: int = 30
    fewest: int = 5
    max_seconds: float = 12.0
    cold_bytes: int = 600_000_000
    cold_tokens: int = 64
    memory_bytes: int = 3_000_000_000  # of the copies of one form of the weight


FORMS = {
    "rows": lambda p: p.rows_first(),
    "columns": lambda p: p.columns_first(),
    "packed": lambda p: pytorch.packed(p, p.columns_first()),
    "packed bf16": lambda p: pytorch.packed(p, p.columns_first(), torch.bfloat16),
}
"""The dense weight as variants want it."""


class Pools:
    """Copies of the weight in each form, shared by the variants that use it. A call takes the copy that was read longest ago."""

    def __init__(self, problem, plan):
        self.problem, self.plan, self.pools, self.next = problem, plan, {}, {}

    def copies(self, read_bytes, total_bytes):
        """How many copies are read before one is read again."""
        if self.problem.tokens > self.plan.cold_tokens:
            return 1
        wanted = math.ceil(self.plan.cold_bytes / read_bytes)
        return max(1, min(wanted, self.plan.memory_bytes // total_bytes))

    def grow(self, form, count):
        """Makes at least `count` copies of a form."""
        pool = self.pools.setdefault(form, [])
        if not pool:
            pool.append(FORMS[form](self.problem))
        while len(pool) < count:
            first = pool[0]
            pool.append(FORMS[form](self.problem) if form.startswith("packed") else first.copy())

    def take(self, form):
        """The next copy."""
        pool, at = self.pools[form], self.next.get(form, 0)
        self.next[form] = (at + 1) % len(pool)
        return pool[at]


def _variants(p, names, compiles):
    """{name: (form, whether dense, function)} of the peers that are asked for by the first word of their names."""
    everything = openblas.variants(p) | pytorch.variants(p, compiles)
    return {name: variant for name, variant in everything.items() if name.split()[0] in names}


def _peer_calls(p, plan, names, compiles):
    """{name: (call, whether dense, copies)} of the peers."""
    pools, calls = Pools(p, plan), {}
    for name, (form, dense, function) in _variants(p, names, compiles).items():
        itemsize = 2 if form.endswith("bf16") else 4
        count = pools.copies(p.weight_bytes(itemsize, dense), p.weight_bytes(itemsize, True))
        pools.grow(form, count)
        calls[name] = (lambda f=function, form=form: f(p, pools.take(form)), dense, count)
    return calls


def _our_calls(p, plan):
    """The compiled op, and the compiled dense product of the same sizes."""
    kinds, calls, size = {"mohd": p}, {}, 4 if p.dtype == "f32" else 2
    if p.is_routed:
        dense = dataclasses.replace(p, op="linear", groups=(1, 1, 0), width=p.sides[0], inner=p.sides[1])
        dense.__dict__.update(x=p.x, weight=p.rows_first()[None])  # the same data
        kinds["mohd dense"] = dense
    for name, problem in kinds.items():
        dense = not problem.is_routed
        count = Pools(problem, plan).copies(problem.weight_bytes(size, dense), problem.weight_bytes(size, True))
        bound = Ours(problem).calls(count)
        state = {"next": 0}

        def call(bound=bound, state=state):
            state["next"] = (state["next"] + 1) % len(bound)
            return bound[state["next"]]()

        calls[name] = (call, dense, count)
    return calls


def _check(p, calls):
    """{name: relative error}; raises AssertionError if one is too large. bf16 arithmetic has its own tolerance."""
    errors = {}
    for name, (call, dense, _) in calls.items():
        result = call()
        if isinstance(result, torch.Tensor):
            result = result.float().numpy()
        errors[name] = p.error(result, dense)
        allowed = TOLERANCE["bf16"] if name.endswith("bf16") else TOLERANCE[p.dtype]
        assert errors[name] <= allowed, f"{name}: relative error {errors[name]:.3g}, at most {allowed:.3g}: {p}"
    return errors


def measure(p: Problem, plan: Plan, names, compiles=False):
    """The result of a problem as JSON: for each variant its samples in seconds, its error and its copies of weights."""
    openblas.set_threads(p.threads)
    pytorch.set_threads(p.threads)
    with torch.inference_mode():
        calls = _our_calls(p, plan) | _peer_calls(p, plan, names, compiles)
        errors = _check(p, calls)
        samples = {name: [] for name in calls}
        order = list(calls)
        for call, _, count in calls.values():
            for _ in range(count):  # the first read of a copy is slow on virtual machines
                call()
        end = time.monotonic() + plan.max_seconds
        for repetition in range(plan.repetitions):
            if repetition >= plan.fewest and time.monotonic() > end:
                break
            for name in order[repetition % len(order) :] + order[: repetition % len(order)]:
                call = calls[name][0]
                start = time.perf_counter()
                call()
                samples[name].append(time.perf_counter() - start)
    variants = {}
    for name, (_, dense, count) in calls.items():
        low, median, high = np.quantile(samples[name], (0.1, 0.5, 0.9)).tolist()
        variants[name] = {"median_s": median, "p10_s": low, "p90_s": high, "error": errors[name], "copies": count, "dense": dense,
                          "samples_s": samples[name]}
    return {"op": p.op, "D": p.width, "E": p.inner, "groups": list(p.groups), "tokens": p.tokens, "weights_dtype": p.dtype,
            "routing": p.routing, "seed": p.seed, "threads": p.threads, "union": p.union, "coverage": p.coverage, "flops": p.flops,
            "variants": variants}
