#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks and measures the kernels that bench/gpu/check packed beside this file; needs NumPy, for the measurements torch (and Triton), and a CUDA driver.

Every kernel is first compared with float64. A failure is reported, makes the exit status 1, and the rest still runs. docs/benchmarks.md tells what the result means.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import platform
import re
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True
os.environ["MOHD_RUNTIME"] = str(FOLDER / "mohd/libmohd_rt.so")
from gpu_check import correctness, goals, rows, supervise  # noqa: E402

PARTS = ("correctness", "performance")
BUDGET = 460
"""Seconds for everything; correctness takes at most this share of it."""
CORRECTNESS_SHARE = 0.4
ITEM_SECONDS = {"correctness": 60, "performance": 120}


def packed():
    """What pack.json says."""
    return json.loads((FOLDER / "pack.json").read_text())


def about(options, pack):
    """Machine, versions, commit and command."""
    import mohd

    found = {"commit": pack["commit"], "packed": pack["date"], "targets": pack["targets"], "device": options.device, "quick": pack["quick"],
             "command": ["check.py", *sys.argv[1:]], "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host": platform.machine(),
             "python": platform.python_version(), "runtime": mohd.version()}
    if options.device.startswith("cuda"):
        try:
            found["gpu"] = mohd.device_info(options.device)
        except Exception as problem:
            found["gpu_error"] = str(problem)
    return found


def save(path, result):
    """Writes the result atomically, a line for each list of numbers."""
    temporary = path.with_name(path.name + ".tmp")
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda match: "[" + " ".join(match.group(1).split()) + "]", json.dumps(result, indent=1))
    temporary.write_text(text + "\n")
    temporary.replace(path)


def work(options, part):
    """A child process: the items named on standard input."""
    quick = packed()["quick"]
    say = supervise.messages()
    items = sys.stdin.read().split("\n")
    if part == "correctness":
        check = correctness.Checker(FOLDER, options.device, quick).check
    else:
        from gpu_check import performance

        bench = performance.Bench(FOLDER, options.device, quick, not options.no_peers)
        say({"limits": bench.limits})
        check = bench.measure
    supervise.serve(check, items, say)


class Run:
    """A run: the result so far, which is saved after every item."""

    def __init__(self, options):
        pack = packed()
        self.options, self.end, self.start = options, time.monotonic() + options.budget, time.monotonic()
        self.result = {"about": about(options, pack), "goals": [], "failed": [], "left_out": [], "notes": {}, "kernels_never_run": [], "sizes": pack["sizes"],
                       "limits": [], "correctness": {}, "performance": {}}
        self.quick, self.parts = pack["quick"], [options.only] if options.only else pack["parts"]

    def save(self):
        """Judges and writes what there is."""
        self.result["goals"] = goals.verdicts(self.result) if "performance" in self.parts else []
        save(self.options.out, self.result)

    def say(self, text):
        print(f"[{time.monotonic() - self.start:5.0f} s] {text}", file=sys.stderr, flush=True)

    def report(self, part, item, result):
        """Takes what a child says."""
        if item is None:
            self.result["limits"].append(result["limits"])
        else:
            self.result[part][item] = result
            if not result["ok"]:
                self.say(f"FAILED {item}: {'; '.join(result['problems'])[:300]}")
            elif part == "performance":
                self.say(f"{item}: {result['summary']}")
        self.save()

    def part(self, name, items, deadline, environment=None):
        """One part in child processes; what there is no time for is listed. A row that fails is measured again without the peers, which may be at fault."""
        items = [item for item in items if self.options.match in item]
        self.say(f"{name}: {len(items)} items")
        flags = ["--no-peers"] if self.options.no_peers else []
        command = [sys.executable, __file__, "--worker", name, "--device", self.options.device, *flags]
        report, allowed = functools.partial(self.report, name), ITEM_SECONDS[name]
        left = supervise.supervise(command, items, deadline, allowed, report, environment)
        again = {item: result for item, result in self.result[name].items() if name == "performance" and not result["ok"]}
        if again and not self.options.no_peers:
            supervise.supervise([*command, "--no-peers"], list(again), deadline, allowed, report, environment)
            for item, first in again.items():
                if self.result[name][item] is not first:
                    self.result[name][item]["with_peers"] = first
                elif item.endswith(rows.COMPILED):  # a peer's compiler is no failure of ours
                    self.result["notes"][item] = self.result[name].pop(item)
                    left.append(item)
        self.result["left_out"] += [f"{name}: {item}" for item in left]
        done = self.result[name].values()
        self.say(f"{name}: {sum(r['ok'] for r in done)} ok, {sum(not r['ok'] for r in done)} failed, {len(left)} left out")

    def coverage(self):
        """Kernels of the bundles' target that no checked call started."""
        results = self.result["correctness"].values()
        names = {r["target"] for r in results if "target" in r}
        kernels = packed()["kernels"]
        started = {kernel for r in results for kernel in r.get("kernels", [])}
        self.result["kernels_run"] = sorted(started)
        self.result["kernels_never_run"] = sorted({kernel for name in names for kernel in kernels.get(name, [])} - started)

    def all(self):
        """Both parts; whether nothing failed."""
        if "gpu_error" in self.result["about"]:
            self.result["failed"] = [self.result["about"]["gpu_error"]]
            self.save()
            self.say(f"FAILED: {self.result['failed'][0]}")
            return False
        if "correctness" in self.parts:
            share = CORRECTNESS_SHARE if "performance" in self.parts else 1.0
            deadline = time.monotonic() + share * self.options.budget
            self.part("correctness", correctness.items(FOLDER, self.quick, self.options.device), deadline, {"MOHD_CUDA_SYNCHRONIZE": "1"})
            self.coverage()
        if "performance" in self.parts and not importlib.util.find_spec("torch"):
            self.result["notes"]["performance"] = "torch is not installed"
            self.result["left_out"] += [f"performance: {item}" for item in rows.names(self.quick)]
        elif "performance" in self.parts:
            self.part("performance", rows.names(self.quick), self.end)
        failed = [f"{part}: {item}" for part in PARTS for item, r in self.result[part].items() if not r["ok"]]
        nothing = [part for part in self.parts if not self.result[part] and part not in self.result["notes"]]
        self.result["failed"], self.result["seconds"] = failed + [f"{part}: nothing ran" for part in nothing], round(time.monotonic() - self.start, 1)
        self.save()
        for line in goals.lines(self.result["goals"]):
            print(line, file=sys.stderr)
        if self.quick:
            self.say("sizes are small: times say nothing")
        self.say(f"{len(self.result['failed'])} failed, wrote {self.options.out.name}")
        return not self.result["failed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or emulate for a try without a GPU (default: cuda:0)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-check.json"), help="the result (default: gpu-check.json)")
    parser.add_argument("--only", choices=PARTS, help="one part alone (default: what was packed)")
    parser.add_argument("--match", default="", help="only what has this text in its name")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds (default: {BUDGET})")
    parser.add_argument("--no-peers", action="store_true", help="measure no other software")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options, options.worker)
    return 0 if Run(options).all() else 1


if __name__ == "__main__":
    sys.exit(main())
