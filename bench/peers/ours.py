# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""This project's compiled ops: an MLIR function with its weight ahead of time, and calls of it on copies of the packed weight."""

import dataclasses
import functools
import pathlib
import re
import subprocess
import tempfile

import numpy as np

import mohd
from mohd import find
from mohd.arrays import empty
from mohd.testing.arrays import to_storage


def module_text(problem):
    """The function `main`; its weight is a `mohd.weight`, which the compiler lays out as its kernels like it."""
    x, y = (f"tensor<?x{side}xf32>" for side in problem.sides)
    shape = problem.weight.shape if problem.is_routed else problem.weight.shape[1:]
    weight = f"tensor<{'x'.join(map(str, shape))}x{problem.dtype}>"
    if not problem.is_routed:
        arguments, body = "", f"%y = mohd.linear %x, %w : {x}, {weight} -> {y}"
    else:
        n, shared, routed = problem.groups
        kind, sets = f"!mohd.routing<{n}, {shared}, {routed}>", f"tensor<?x{problem.active}xi32>"
        gates = f"tensor<?x{problem.active}xf32>"
        arguments = f', %i: {sets} {{mohd.name = "indices"}}, %g: {gates} {{mohd.name = "gates"}}'
        body = (f"%r = mohd.make_routing %i, %g : {sets}, {gates} -> {kind}\n"
                f"  %y = mohd.{problem.op} %x, %r, %w : {x}, {kind}, {weight}")
    return (f'func.func @main(%x: {x} {{mohd.name = "x"}}{arguments}) -> ({y} {{mohd.name = "y"}}) {{\n'
            f'  %w = mohd.weight "w" : {weight}\n  {body}\n  return %y : {y}\n}}\n')


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a weight lies where the kernels read it: mohd/Model/TensorCopy.h has the meaning of each part."""

    expanded: tuple = ()
    permutation: tuple = ()
    panel: int = 0

    def pack(self, array):
        """The array in this layout, in memory that the runtime takes as it is."""
        view = array.reshape(self.expanded) if self.expanded else array
        view = view.transpose(self.permutation) if self.permutation else view
        if self.panel:
            groups, rows, columns = view.shape
            padded = np.zeros((groups, rows, -(-columns // self.panel) * self.panel), array.dtype)
            padded[..., :columns] = view
            view = padded.reshape(groups, rows, -1, self.panel).transpose(0, 2, 1, 3)
        packed = empty(view.shape, array.dtype)
        packed[...] = view
        return packed


def _numbers(entry, key):
    """An array attribute of a weight's entry; () without it."""
    found = re.search(rf"\b{key} = array<i64: ([\d, ]*)>", entry)
    return tuple(int(number) for number in found.group(1).split(",")) if found else ()


def _panel(entry):
    found = re.search(r"\bpanels = (\d+) : i64", entry)
    return int(found.group(1)) if found else 0


def weight_layouts(path):
    """The layout of each weight that the kernels of an .mlir file read, from the scheduled module."""
    command = [find.compiler(), path, "--compile-to=schedule", "-q"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    listed = re.search(r"mohd\.weights = \[(.*?)\]", text.split("\n", 1)[0])
    entries = re.findall(r"\{(.*?)\}", listed.group(1)) if listed else []
    return [Layout(_numbers(entry, "expanded_shape"), _numbers(entry, "permutation"), _panel(entry)) for entry in entries]


@functools.lru_cache(maxsize=4)
def _compile(text):
    """The loaded bundle of a module, and the layouts of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        source, bundle = pathlib.Path(folder, "op.mlir"), pathlib.Path(folder, "op.mohdb")
        source.write_text(text)
        mohd.compile(source, out=bundle, options=["--weights=none", "-q"])
        return mohd.load(bundle), weight_layouts(source)


class Ours:
    """The compiled op of a problem."""

    def __init__(self, problem):
        self.problem = problem
        self.module, self.layouts = _compile(module_text(problem))
        known = ("x", "indices", "gates")
        self.names = [t.name for t in self.module.entry_points["main"].inputs if t.name not in known]

    def packed(self):
        """The weight in each layout that the kernels read."""
        stored = to_storage(self.problem.weight, self.problem.dtype)
        if not self.problem.is_routed:
            stored = stored[0]
        return [layout.pack(stored) for layout in self.layouts]

    def calls(self, count):
        """`count` calls, each on its own copy of the weight; their result is checked for repeating bit by bit."""
        problem = self.problem
        context = self.module.context(problem.threads)
        inputs = {"x": problem.x}
        if problem.is_routed:
            inputs |= {"indices": problem.indices, "gates": problem.gates}
        out = empty((problem.tokens, problem.sides[1]), np.float32)
        first, bound = self.packed(), []
        for i in range(count):
            copies = first if i == 0 else [self._copy(array) for array in first]
            bound.append(context.bind("main", inputs | dict(zip(self.names, copies)), {"y": out}))
        results = []
        for call in (bound[0], bound[-1]):
            out.fill(np.nan)
            call()
            results.append(out.tobytes())
        if results[0] != results[1]:
            raise AssertionError(f"two runs differ: {problem}")
        return [lambda call=call: call()["y"] for call in bound]

    @staticmethod
    def _copy(array):
        copy = empty(array.shape, array.dtype)
        copy[...] = array
        return copy
