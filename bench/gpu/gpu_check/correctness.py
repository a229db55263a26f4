# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares packed entry points and models with float64 NumPy, on any device: outputs start as NaN between guards, every run is made twice."""

import os
import re

import numpy as np

import mohd
from gpu_check import bundles, cases
from mohd import reference_model
from mohd.testing.arrays import ROUNDED, compare, compare_rounded, from_storage, to_storage
from mohd.testing.entry import dtype_of, rounded_type

GUARD = 64
"""Bytes before and after an output that a kernel must leave alone. They and the output start as all ones: NaN in every float type."""
MODEL_LIMITS = {"f32": 1e-4, "bf16": 2e-2}
"""Relative error of logits: those of single ops add up over layers, and a near tie of a router may fall the other way."""
STEPS = 8


def items(folder, quick, device):
    """Names of what there is to check: "bundle/entry point", and models by type of weights. The matrix has its own test in the emulator."""
    names = [f"{group}/{entry.name}" for group, entries in cases.groups(quick).items() for entry in entries]
    models = [f"model/{path.name.partition('.')[0]}" for path in sorted((folder / "models").glob("*.mohdb.gz"))]
    first = [name for name in names if not name.startswith("matrix_")]
    return first + models + (names[len(first):] if device.startswith("cuda") else [])


class Checker:
    """Checks one item after the other; bundles and contexts are kept while they are the same."""

    def __init__(self, folder, device, quick):
        self.folder, self.device, self.quick = folder, device, quick
        self.entries = {name: {entry.name: entry for entry in entries} for name, entries in cases.groups(quick).items()}
        self.bundle, self.module, self.contexts = None, None, []

    def load(self, bundle):
        """Two contexts of the bundle whose results must be the same: on the emulator they have different schedules."""
        if self.bundle != bundle:
            self.contexts, self.module = [], None
            self.module = bundles.load(bundle)
            for seed in (0, 1):
                os.environ["MOHD_EMULATOR_SEED"] = str(seed)
                self.contexts.append(self.module.context(2, device=self.device))
            self.bundle = bundle
        return self.contexts

    def check(self, item):
        """{"ok": bool, "problems": [...], "runs": [...], "kernels": [...]} of an item."""
        group, name = item.split("/")
        if group == "model":
            found = check_model(self.load(self.folder / f"models/{name}.mohdb"), self.folder / "models" / name)
        else:
            found = check_entry(self.load(self.folder / f"correctness/{group}.mohdb"), self.module.manifest, self.entries[group][name])
        return found | {"target": self.contexts[0].target}


def run(context, entry, inputs, expected):
    """Runs an entry point once on the device's memory: what it returns and updates, in float64."""
    types, given, outputs, wholes = {**entry.arguments, **entry.results}, {}, {}, {}
    for name, values in inputs.items():
        stored = np.ascontiguousarray(to_storage(values, dtype_of(types[name])))
        given[name] = context.empty(stored.shape, dtype_of(types[name])).write(stored)
    for name in entry.results:
        shape, dtype = expected[name].shape, dtype_of(types[name])
        size = int(np.prod(shape)) * to_storage(0, dtype).itemsize
        wholes[name] = context.empty((GUARD + size + GUARD,), "i8").write(np.full(GUARD + size + GUARD, -1, np.int8))
        outputs[name] = wholes[name].part(GUARD, shape, dtype)
    context.run(entry.name, given, outputs)
    context.synchronize()
    found = {}
    for name, whole in wholes.items():
        read = whole.read()
        if (read[:GUARD] != -1).any() or (read[-GUARD:] != -1).any():
            raise AssertionError(f"wrote outside of {name}")
        found[name] = read[GUARD:-GUARD].view(to_storage(0, outputs[name].dtype).dtype).reshape(outputs[name].shape)
    return found | {name: given[name].read() for name in entry.mutable}


def relative_error(actual, expected):
    """Relative error in the Frobenius norm, over the finite elements."""
    finite = np.isfinite(expected) & np.isfinite(actual)
    size = np.linalg.norm(expected[finite].astype(np.float64))
    error = np.linalg.norm(actual[finite].astype(np.float64) - expected[finite])
    return float(error / size) if size else float(error)


def judge(entry, name, actual, expected):
    """(what is wrong or None, the limit of the relative error or None if elements are judged) of one result."""
    dtype, narrow = dtype_of({**entry.arguments, **entry.results}[name]), rounded_type(entry)
    if narrow and dtype not in ("i32", "i8"):
        coarsest = max(narrow, dtype, key=lambda name: ROUNDED.get(name, 0))
        return compare_rounded(actual, expected, coarsest), ROUNDED[coarsest]
    return compare(actual, expected, dtype, entry.length), None


def check_entry(contexts, manifest, entry):
    """Every run of an entry point."""
    problems, runs, kernels = [], [], set()
    types = {**entry.arguments, **entry.results}
    for label, make in entry.runs():
        inputs, values = entry.reference(label, make)
        expected = {name: np.asarray(value) for name, value in values.items()}
        kernels |= kernels_of(manifest, contexts[0].target, entry.name, {name: np.shape(value) for name, value in inputs.items()})
        try:
            found = [run(context, entry, inputs, expected) for context in contexts]
        except AssertionError as problem:
            problems.append(f"{label}: {problem}")
            continue
        for name, want in expected.items():
            actual = from_storage(found[0][name], dtype_of(types[name]))
            problem, limit = judge(entry, name, actual, want)
            same = found[0][name].tobytes() == found[1][name].tobytes()
            runs.append({"run": label, "result": name, "error": relative_error(actual, want), "limit": limit, "repeats": same})
            problems += [f"{label}: {name}: {problem}"] if problem else []
            problems += [] if same else [f"{label}: {name} differs between two runs"]
    return {"ok": not problems, "problems": problems, "runs": runs, "kernels": sorted(kernels)}


def check_model(contexts, folder):
    """Prefill of a prompt and some steps of decode of a model folder, against the NumPy model."""
    model, dtype = reference_model.Model.load(folder), folder.name.rsplit("_", 1)[-1]
    limit, vocabulary = MODEL_LIMITS[dtype], model.config.vocab_size
    prompt = np.frombuffer(b"The function returns the number of items in a list, or -1 if", np.uint8)[None].astype(np.int32) % vocabulary
    length = prompt.shape[1]
    tokens = np.concatenate([prompt, prompt[:, :STEPS]], 1)
    place = np.arange(length + STEPS)
    expected = model.prefill(tokens[0], np.zeros_like(place), place, place, *model.new_caches(1, length + STEPS))
    found = []
    for context in contexts:
        generator = mohd.Generator(context.module, 1, length + STEPS, context=context)
        logits = [generator.prefill(prompt, all_rows=True)[0]]
        logits += [generator.decode(tokens[:, length + step]) for step in range(STEPS)]
        found.append(np.concatenate(logits))
    error, same = relative_error(found[0], expected), found[0].tobytes() == found[1].tobytes()
    problems = [] if np.isfinite(found[0]).all() and error <= limit else [f"relative error {error:.3g}, at most {limit:.3g}"]
    problems += [] if same else ["logits differ between two runs"]
    shapes = {"tokens": (length,), "sequence": (length,), "position": (length,), "rows": (length,)}
    manifest, target = contexts[0].module.manifest, contexts[0].target
    kernels = kernels_of(manifest, target, "prefill", shapes) | kernels_of(manifest, target, "decode", dict.fromkeys(shapes, (1,)))
    return {"ok": not problems, "problems": problems, "kernels": sorted(kernels),
            "runs": [{"run": "prefill and decode", "result": "logits", "error": error, "limit": limit, "repeats": same}]}


def target_of(manifest, name):
    """The manifest's target that contexts call `name`, such as "cuda:sm_90a"."""
    kind, arch = name.split(":")
    return next((target for target in manifest["targets"] if target["kind"] == kind and target["arch"] == arch), None)


def kind_of(kernel):
    """A kernel's name without numbers that tell ops apart: "bucket_spmm_0_wgmma64" is "bucket_spmm_wgmma64"."""
    return re.sub(r"_\d+(?=_|$)", "", kernel)


def _value(expression, dims):
    """The value of an integer expression of the manifest."""
    functions = {"min": min, "max": max, "ceildiv": lambda a, b: -(-a // b), "__builtins__": {}}
    return eval(expression.replace("/", "//"), functions, dims)  # the bundle is our own


def launches_of(manifest, name, entry, shapes):
    """Names of the kernels that a call of these shapes starts, in order."""
    target = target_of(manifest, name)
    number, info = next((i, e) for i, e in enumerate(manifest["entry_points"]) if e["name"] == entry)
    program = next((p for p in target["programs"] if p["entry"] == number), None) if target else None
    if program is None:
        return []
    dims = {}
    for tensor in info["inputs"]:
        dims.update({dim: size for dim, size in zip(tensor["shape"], shapes.get(tensor["name"], ())) if isinstance(dim, str)})
    return [target["kernels"][dispatch["kernel"]]["name"] for dispatch in program["dispatches"] if _value(str(dispatch["grid"]), dims) > 0]


def kernels_of(manifest, name, entry, shapes):
    """Kinds of the kernels that a call of these shapes starts."""
    return {kind_of(kernel) for kernel in launches_of(manifest, name, entry, shapes)}


def packed_kernels(manifests, name):
    """Kinds of all kernels of a target in these manifests."""
    found = set()
    for manifest in manifests:
        target = target_of(manifest, name)
        found |= {kind_of(kernel["name"]) for kernel in target["kernels"]} if target else set()
    return found
