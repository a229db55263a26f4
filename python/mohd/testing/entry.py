# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An entry point under test: its MLIR, its inputs, its reference, and the comparison of a compiled one with it."""

import dataclasses
import functools
import os
import pathlib
import re
import typing
import zlib

import numpy as np

import mohd
from mohd.testing.arrays import ROUNDED, STORAGE, TOKENS, compare, compare_rounded, from_storage, to_storage

POISON = 0xA5
GUARD = 64
"""Bytes before and after each output that a kernel must leave alone; they and the output start as POISON."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry point of a module.

    `arguments` and `results` are MLIR types by name; `body` defines %RESULT for each result from %ARGUMENT.
    `inputs(tokens, rng)` makes the arguments' values, `expected(**inputs)` the results' in float64; arguments in
    `mutable` are updated in place and compared as well. `length` is the number of f32 operations that the result
    depends on in a row. `special` has more inputs by what is special about them.
    """

    name: str
    arguments: dict[str, str]
    body: str
    results: dict[str, str]
    inputs: typing.Callable
    expected: typing.Callable
    length: int
    special: dict[str, typing.Callable] = dataclasses.field(default_factory=dict)
    tokens: tuple = TOKENS
    mutable: tuple = ()

    def text(self):
        """The function."""
        arguments = ", ".join(f'%{name}: {type} {{mohd.name = "{name}"}}' for name, type in self.arguments.items())
        types = ", ".join(f'{type} {{mohd.name = "{name}"}}' for name, type in self.results.items())
        updated = [(f"%{name}_after", self.arguments[name]) for name in self.mutable]
        returned = [(f"%{name}", type) for name, type in self.results.items()] + updated
        signature = ", ".join(filter(None, [types, *(type for _, type in updated)]))
        values, kinds = (", ".join(part) for part in zip(*returned))
        body = "\n".join("  " + line for line in self.body.strip().splitlines())
        return f"func.func @{self.name}({arguments}) -> ({signature}) {{\n{body}\n  return {values} : {kinds}\n}}\n"

    def runs(self):
        """What to run it on: functions that make inputs, by label."""
        for tokens in self.tokens:
            yield f"T={tokens}", functools.partial(self.inputs, tokens)
        yield from self.special.items()

    def reference(self, label, make):
        """(inputs, expected results by name) of one of the runs; seeds depend on the names alone."""
        inputs = make(np.random.default_rng(zlib.crc32(f"{self.name} {label}".encode())))
        given = {name: np.copy(value) if name in self.mutable else value for name, value in inputs.items()}
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            values = self.expected(**given)
        values = values if isinstance(values, tuple) else (values,)
        return inputs, dict(zip([*self.results, *self.mutable], values, strict=True))

    @functools.cached_property
    def references(self):
        """(label, inputs, expected results by name) of every run."""
        return [(label, *self.reference(label, make)) for label, make in self.runs()]


def dtype_of(type):
    """The element type of a tensor type's text."""
    return re.search(r"(\w+?)>$", type.rsplit("x", 1)[-1]).group(1).removeprefix("tensor<")


def module_text(entries):
    """A module of entry points."""
    return "\n".join(entry.text() for entry in entries)


def build(entries, folder, lowering="fast", target="cpu:native"):
    """Compiles entry points by one call of mohd-compile and loads the bundle.

    `lowering`: "fast" or "reference" for `target`, or "emulate:CHIP", the target of an emulated GPU.
    """
    if lowering.startswith("emulate:"):
        target = lowering
    source = pathlib.Path(folder) / "entries.mlir"
    source.write_text(module_text(entries))
    options = ["--lowering=reference"] if lowering == "reference" else []
    return mohd.load(mohd.compile(source, target, options=options))


def guarded(shape, dtype):
    """An array of poison for a result, and the bytes around it."""
    size = int(np.prod(shape)) * np.dtype(STORAGE[dtype]).itemsize
    whole = mohd.empty(GUARD + size + GUARD, np.uint8)
    whole.fill(POISON)
    return whole[GUARD : GUARD + size].view(STORAGE[dtype]).reshape(shape), whole


def run(context, entry, inputs, expected):
    """Runs an entry point once; returns its results and what it updated, as stored. Raises if a guard was written."""
    types = {**entry.arguments, **entry.results}
    given = {}
    for name, values in inputs.items():
        stored = to_storage(values, dtype_of(types[name]))
        given[name] = mohd.empty(stored.shape, stored.dtype)
        given[name][...] = stored
    outputs, wholes = {}, {}
    for name in entry.results:
        outputs[name], wholes[name] = guarded(expected[name].shape, dtype_of(types[name]))
    context.run(entry.name, given, outputs)
    for name, whole in wholes.items():
        if (whole[:GUARD] != POISON).any() or (whole[-GUARD:] != POISON).any():
            raise AssertionError(f"{entry.name}: wrote outside of {name}")
    return {**outputs, **{name: given[name] for name in entry.mutable}}


def contexts(module, lowering, seed=1):
    """Contexts of a module that `build` made whose results must be the same: on other numbers of threads, or in another order of an emulated GPU's threads."""
    if lowering == "reference":
        return [module.context(1)]
    if lowering == "fast":
        return [module.context(threads) for threads in (1, 2)]
    made = []
    for number in (0, seed):
        os.environ["MOHD_EMULATOR_SEED"] = str(number)
        made.append(module.context(2, device="emulate"))
    del os.environ["MOHD_EMULATOR_SEED"]
    return made


def rounded_type(entry):
    """The 16-bit type to which a GPU's products round what they multiply, or None: that of their weights, or of a weight's gradient."""
    dequantized = re.findall(r"mohd\.dequantize.*-> (tensor<\S+>)", entry.body)
    gradients = re.findall(r"mohd\.weight_gradient.*-> (tensor<\S+>)", entry.body)
    types = [*entry.arguments.values(), *dequantized, *gradients]
    narrow = [dtype_of(type) for type in types if dtype_of(type) in ROUNDED]
    has_products = re.search(r"mohd\.(spmm|sddmm|linear|group_fusion|attention|weight_gradient)\b", entry.body)
    return max(narrow, key=ROUNDED.get) if has_products and narrow else None


def check(contexts, entry, rounds=False):
    """Compares an entry point with its reference on every run; all contexts must give the same bits.

    `rounds`: products round their tokens to the 16 bits of their weights, as those of GPUs do.
    """
    types, problems = {**entry.arguments, **entry.results}, []
    narrow = rounded_type(entry) if rounds else None
    for label, inputs, expected in entry.references:
        found = [run(context, entry, inputs, expected) for context in contexts]
        for name, want in expected.items():
            dtype = dtype_of(types[name])
            actual = from_storage(found[0][name], dtype)
            if narrow and dtype not in ("i32", "i8"):
                coarsest = max(narrow, dtype, key=lambda name: ROUNDED.get(name, 0))
                problem = compare_rounded(actual, np.asarray(want), coarsest)
            else:
                problem = compare(actual, np.asarray(want), dtype, entry.length)
            if problem:
                problems.append(f"{label}: {name}: {problem}")
            if any(other[name].tobytes() != found[0][name].tobytes() for other in found[1:]):
                problems.append(f"{label}: {name} depends on the order of threads")
    if problems:
        raise AssertionError("\n".join([f"{entry.name} disagrees with the reference:", *problems, entry.text()]))
