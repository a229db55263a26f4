# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times calls on a GPU by CUDA graphs, in turn, each on buffers that the second-level cache no longer holds; on the CPU by the clock."""

import math
import time

import torch

SAMPLES, FEWEST = 30, 5
SHORTEST = 1e-3
"""A graph repeats calls until it takes about so many seconds."""
MOST_CALLS = 64


class Clock:
    """Where and how to time: a stream of a GPU, or the CPU for a try without one."""

    def __init__(self, device, quick=False):
        self.samples, self.fewest, self.shortest = (2, 2, 0.0) if quick else (SAMPLES, FEWEST, SHORTEST)
        self.device = torch.device(device if device.startswith("cuda") else "cpu")
        self.is_cuda = self.device.type == "cuda"
        self.stream, self.l2_bytes = None, 1 << 14
        if self.is_cuda:
            torch.cuda.set_device(self.device)
            self.stream = torch.cuda.Stream()
            torch.cuda.set_stream(self.stream)
            self.l2_bytes = getattr(torch.cuda.get_device_properties(self.device), "L2_cache_size", 0) or 64 << 20

    def copies(self, read_bytes, held_bytes):
        """How many sets of buffers a call rotates through: four times the cache between two reads, in bounded memory."""
        wanted = math.ceil(4 * self.l2_bytes / max(read_bytes, 1)) + 1
        room = (24 << 30 if self.is_cuda else 256 << 20) // max(held_bytes, 1)
        return max(1, min(wanted, room, MOST_CALLS))

    def wait(self):
        if self.is_cuda:
            torch.cuda.synchronize()

    def once(self, call):
        """Seconds of one call."""
        if not self.is_cuda:
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record(self.stream)
        call()
        end.record(self.stream)
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def captured(self, calls):
        """(a function that does one or several rounds of the calls, calls in it, "graph" or "events")."""
        for call in calls[:2]:
            call()
        self.wait()
        estimate = min(self.once(calls[0]) for _ in range(2))
        rounds = max(1, min(MOST_CALLS // len(calls), math.ceil(self.shortest / max(estimate, 1e-7) / len(calls))))
        many = calls * rounds
        if self.is_cuda:
            try:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self.stream):
                    for call in many:
                        call()
                return graph.replay, len(many), "graph"
            except Exception:
                self.wait()

        def plain():
            for call in many:
                call()

        return plain, len(many), "events"

    def measure(self, variants, seconds):
        """{name: {"samples_s", "how"} or {"error"}} of variants {name: list of calls}, in turn; what fails is left out and says why."""
        ready, found = {}, {}
        for name, calls in variants.items():
            try:
                ready[name] = self.captured(calls)
                found[name] = {"how": ready[name][2], "calls": ready[name][1], "copies": len(calls), "samples_s": []}
                ready[name][0]()
            except Exception as problem:
                ready.pop(name, None)
                found[name] = {"error": f"{type(problem).__name__}: {problem}"[:500]}
        self.wait()
        end, order = time.monotonic() + seconds, list(ready)
        for sample in range(self.samples):
            if not order or sample >= self.fewest and time.monotonic() > end:
                break
            for name in order[sample % len(order):] + order[: sample % len(order)]:
                run, count, _ = ready[name]
                try:
                    found[name]["samples_s"].append(self.once(run) / count)
                except Exception as problem:  # such as too little memory
                    found[name] = {"error": f"{type(problem).__name__}: {problem}"[:500]}
                    order.remove(name)
        return found


def quantiles(samples):
    """{"median_s", "p10_s", "p90_s"}."""
    low, median, high = torch.tensor(samples, dtype=torch.float64).quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return {"median_s": median, "p10_s": low, "p90_s": high}


def limits(clock, quick):
    """Copy bandwidth (bytes read and written) and the rate of a large bf16 product of the vendor's, with their samples."""
    size, edge = (1 << 22, 256) if quick else (1 << 30, 8192)
    source, target = (torch.empty(size, dtype=torch.uint8, device=clock.device).random_() for _ in range(2))
    a, b = (torch.randn(edge, edge, device=clock.device).to(torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    found = clock.measure({"copy": [lambda: target.copy_(source)], "mm": [lambda: torch.mm(a, b, out=out)]}, 4.0)
    made = {}
    for name, amount in (("copy", 2 * size), ("mm", 2 * edge**3)):
        samples = found[name]["samples_s"]
        made[name] = {**quantiles(samples), "samples_s": samples, "rate": amount / quantiles(samples)["median_s"]}
    return made
