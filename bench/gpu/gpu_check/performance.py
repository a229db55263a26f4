# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the compiled ops beside their peers on a GPU: random data made here from seeds, checked in float64 before anything is timed."""

import contextlib
import json
import time

import torch

from gpu_check import around, attention, bundles, goals, model, products, rows, timing, training

SECONDS = 2.5
"""What the samples of a row may take, beyond the fewest."""
MEASURES = {rows.Product: products.measure, rows.Training: training.measure, rows.FeedForward: training.measure_sublayer, rows.Around: around.measure, rows.Attention: attention.measure,
            rows.Decode: model.decode, rows.Load: model.load}


def for_library(tensor):
    """A tensor as the library takes it: on a GPU as it is, on the host as NumPy."""
    if tensor.is_cuda:
        return tensor
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


class Bench:
    """Measures rows by name. The limits of the machine are measured when it is made."""

    def __init__(self, folder, device, quick, with_peers=True):
        self.folder, self.device, self.with_peers = folder, device, with_peers
        self.rows = {row.name: row for row in rows.every(quick)}
        self.layouts = json.loads((folder / "pack.json").read_text())["layouts"]
        self.clock = timing.Clock(device, quick)
        with torch.inference_mode():
            self.limits = timing.limits(self.clock, quick)
        self.limits |= {"torch": torch.__version__, "cuda": torch.version.cuda, "triton": _triton_version(), "l2_bytes": self.clock.l2_bytes}
        if self.clock.is_cuda:
            self.limits |= {"gpu": torch.cuda.get_device_name(self.clock.device)}

    def measure(self, name):
        """The result of a row."""
        row, start = self.rows[name], time.monotonic()
        with torch.inference_mode():
            try:
                return MEASURES[type(row)](self, row) | {"seconds": round(time.monotonic() - start, 2)}
            finally:
                if self.clock.is_cuda:
                    torch.cuda.empty_cache()

    @contextlib.contextmanager
    def bundle(self, row):
        """The path of a row's bundle."""
        with bundles.unpacked(self.folder / f"performance/{row.bundle}.mohdb") as path:
            yield path

    def context(self, row):
        """A context of a row's bundle on the device."""
        return bundles.load(self.folder / f"performance/{row.bundle}.mohdb").context(device=self.device)

    def bind(self, context, entry, inputs, outputs):
        """A call in the clock's stream, of the inputs out of these that the entry point has."""
        names = [tensor.name for tensor in context.module.entry_points[entry].inputs]
        given = {name: for_library(inputs[name]) for name in names}
        return context.bind(entry, given, {name: for_library(tensor) for name, tensor in outputs.items()}, self.clock.stream)

    def repeat(self, calls, outputs):
        """Runs the first and the last call, whose results are `outputs` {name: tensor}, on poisoned ones; raises unless they agree bit by bit. Returns the first results."""
        found = []
        for call, made in ((calls[0], outputs[0]), (calls[-1], outputs[-1])):
            for tensor in made.values():
                tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
            self.clock.wait()
            call()
            self.clock.wait()
            found.append({name: tensor.clone() for name, tensor in made.items()})
        for name, first in found[0].items():
            if not torch.equal(first.view(torch.uint8), found[1][name].view(torch.uint8)):
                raise AssertionError(f"{name}: two runs differ")
        return found[0]

    def peer(self, variants, notes, name, make):
        """Adds the peer that `make` gives to `variants`, or what is wrong with it to `notes`."""
        if not self.with_peers:
            return
        try:
            variants[name] = make()
        except Exception as problem:
            notes[name] = f"{type(problem).__name__}: {problem}"[:500]

    def result(self, row, variants, notes, flops=0, moved=0, more=None):
        """Times the variants in turn; see `report`."""
        found = self.clock.measure({name: variant.calls for name, variant in variants.items()}, SECONDS)
        return self.report(row, variants, found, notes, flops, moved, more)

    def report(self, row, variants, found, notes, flops, moved, more):
        """JSON of a row: for each of the variants its samples, {name: {"samples_s"} or {"error"}}, its rates and its share of the floor."""
        notes |= {name: timed["error"] for name, timed in found.items() if "error" in timed}
        found = {name: timed for name, timed in found.items() if "error" not in timed}
        if "mohd" not in found:
            raise AssertionError(notes["mohd"])
        floor = max(flops / self.limits["mm"]["rate"], moved / self.limits["copy"]["rate"])
        for name, timed in found.items():
            timed |= timing.quantiles(timed["samples_s"])
            median = timed["median_s"]
            timed |= {"relative_error": variants[name].relative_error, "dense": variants[name].dense, "share_of_floor": floor / median,
                      "flops_per_s": flops / median, "bytes_per_s": moved / median, "share_of_bandwidth": moved / median / self.limits["copy"]["rate"]}
        made = {"ok": True, **row.facts, "flops": flops, "bytes": moved, "floor_s": floor, **(more or {}), "variants": found, "notes": notes}
        return made | compare(made)


def compare(result):
    """Speeds of a row over its dense peers, its useful rate over theirs, its speed over our own dense product, and a line for people."""
    ours, variants = result["variants"]["mohd"], result["variants"]
    peers = {name: timed["median_s"] for name, timed in variants.items() if not name.startswith("mohd")}
    words, more = [f"{ours['median_s'] * 1e6:.1f} us"], {}
    if result["floor_s"]:
        words.append(f"{ours['share_of_floor']:.2f} of the floor")
    over_dense = goals.over_dense(result)
    if over_dense:
        more["over_dense"], more["useful_rate_over_dense"] = over_dense, over_dense * goals.share(result)
        words.append(f"{more['over_dense']:.2f}x the best dense peer, {more['useful_rate_over_dense']:.2f} of its rate")
    for name, key in (("mohd dense", "over_own_dense"), ("mohd bf16", "over_own_bf16")):
        if name in variants:
            more[key] = variants[name]["median_s"] / ours["median_s"]
            words.append(f"{more[key]:.2f}x our own {name.split()[1]}")
    if peers:
        best = min(peers, key=peers.get)
        more["over_best_peer"] = peers[best] / ours["median_s"]
        words.append(f"best peer {best} {peers[best] * 1e6:.1f} us")
    return more | {"summary": ", ".join(words)}


def _triton_version():
    try:
        import triton

        return triton.__version__
    except Exception as problem:
        return f"none: {problem}"[:200]
