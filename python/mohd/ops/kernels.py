# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled functions and how they are called: the kernels that `mohd.ops` has loaded, by the name of their spec.

Nothing compiles here. A function runs on the tensors' device, on CPUs with as many threads as PyTorch has, in a context of the calling thread.
"""

import contextlib
import os
import pathlib
import threading
import warnings

import torch

from mohd import binding, runtime
from mohd.compiler import compile as compile_module
from mohd.ops.source import Spec, module_text

ELEMENTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""Types of tokens and weights that there are kernels for."""

MOST_PLANS = 4096
"""Calls, by their number of tokens, that a thread remembers."""

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "i32": torch.int32}

_version = 0  # counts what changes the answers of `find`
_modules: dict[str, runtime.Module] = {}  # entry point: the module that has it
_functions: dict[str, "Function"] = {}
_missing: set[Spec] = set()
_records: list[set[Spec]] = []
_local = threading.local()


class Plan:
    """A call for one number of tokens in one context: structs that lack addresses only."""

    def __init__(self, function: "Function", context: runtime.Context, tokens: int):
        self.inputs = _structs(function.entry.inputs, tokens)
        self.outputs = _structs(function.entry.outputs, tokens)
        context._reserve(function.entry, self.inputs)
        self.context = context  # whose handle is among the arguments
        self.run = binding.library().mohd_run
        self.arguments = context._handle, function.entry.index, self.inputs, len(self.inputs), self.outputs, len(self.outputs)
        self.given = list(self.inputs)
        self.taken = [(struct, tuple(struct.shape[: struct.rank]), dtype) for struct, dtype in zip(self.outputs, function.dtypes)]


def _structs(tensors, tokens):
    """C structs of an entry point's inputs or outputs, whose dynamic dims are all the number of tokens."""
    made = []
    for tensor in tensors:
        shape = [tokens if isinstance(dim, str) else dim for dim in tensor.shape]
        size = torch.empty(0, dtype=DTYPES[tensor.dtype]).element_size()
        for dim in shape:
            size *= dim
        made.append(binding.new(binding.TensorStruct, dtype=tensor._kind, rank=len(shape), byte_size=size,
                                shape=binding.Shape(*shape)))
    return (binding.TensorStruct * len(made))(*made)


class Function:
    """An entry point that takes and gives tensors of PyTorch. `inputs` and `outputs` are their names."""

    def __init__(self, module: runtime.Module, name: str):
        self.module, self.entry = module, module.entry_points[name]
        self.inputs = [tensor.name for tensor in self.entry.inputs]
        self.outputs = [tensor.name for tensor in self.entry.outputs]
        self.dtypes = [DTYPES[tensor.dtype] for tensor in self.entry.outputs]

    def run(self, tokens: int, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs, in the shapes of the entry point, for inputs of as many elements as it expects."""
        device = None if inputs[0].is_cpu else inputs[0].device
        plan = self._plan(tokens, device)
        kept = []  # copies, until the call has ended
        for struct, tensor in zip(plan.given, inputs):
            address = tensor.data_ptr()
            if address % binding.ALIGNMENT or not tensor.is_contiguous():
                tensor = tensor.contiguous() if not tensor.is_contiguous() else tensor.clone()
                kept.append(tensor)
                address = tensor.data_ptr()
            struct.data = address or None
        results = []
        for struct, shape, dtype in plan.taken:
            result = torch.empty(shape, dtype=dtype) if device is None else torch.empty(shape, dtype=dtype, device=device)
            struct.data = result.data_ptr() or None
            results.append(result)
        options = None
        if device is not None:
            options = binding.new(binding.RunOptions, stream=torch.cuda.current_stream(device).cuda_stream)
        status = plan.run(*plan.arguments, options)
        if status:
            binding.check(status)
        return results

    def _plan(self, tokens, device):
        """The calling thread's plan; `device` is None for the CPU."""
        threads = torch.get_num_threads() if device is None else 0
        plans = getattr(_local, "plans", None)
        if plans is None:
            plans = _local.plans = {}
        key = self, tokens, device, threads
        plan = plans.get(key)
        if plan is None:
            if len(plans) >= MOST_PLANS:  # prompts of ever new lengths
                plans.clear()
            plan = plans[key] = Plan(self, _context(self.module, device, threads), tokens)
        return plan


def ones(tokens: int, indices: torch.Tensor) -> torch.Tensor:
    """Gates of 1 for the tokens of `indices` [T, K]: what a function that reads none is given."""
    key = indices.device, indices.shape[1]
    known = _local.__dict__.setdefault("ones", {})
    if key not in known or len(known[key]) < tokens:
        known[key] = torch.ones(tokens, indices.shape[1], device=indices.device)
    return known[key][:tokens]


def version() -> int:
    """A number that changes when `find` may give another answer for what it was asked before."""
    return _version


def _context(module, device, threads):
    """The calling thread's context of a module on a device."""
    known = _local.__dict__.setdefault("contexts", {})
    key = module, device, threads
    if key not in known:
        known[key] = module.context(threads, device="cpu" if device is None else f"cuda:{device.index or 0}")
    return known[key]


def find(spec: Spec, backward: bool = False) -> Function | None:
    """The compiled function of a spec, None if there is none or it is being recorded; says so once."""
    if _records:
        for record in _records:
            record.add(spec)
        return None
    name = spec.name + "_backward" * backward
    function = _functions.get(name)
    if function is None and name in _modules:
        function = _functions[name] = Function(_modules[name], name)
    if function is None and spec not in _missing:
        _missing.add(spec)
        warnings.warn(f"mohd.ops: no kernel was compiled for {spec}: its plain PyTorch form runs (mohd.nn.compile makes kernels)", stacklevel=4)
    return function


def load(bundle: str | os.PathLike[str]) -> None:
    """Makes the functions of a bundle that `compile` wrote known; of two with one name the later one counts."""
    global _version
    module = runtime.Module(bundle)
    for name in module.entry_points:
        _modules[name] = module
        _functions.pop(name, None)
    _missing.clear()
    _version += 1


@contextlib.contextmanager
def recording():
    """Collects the specs of all operations called inside, in the set that it gives; they run in their plain PyTorch form."""
    global _version
    record: set[Spec] = set()
    _records.append(record)
    _version += 1
    try:
        yield record
    finally:
        _records.remove(record)
        _version += 1


def compile(specs, out: str | os.PathLike[str], targets="cpu:native") -> pathlib.Path:
    """Compiles the functions of `specs`, forward and backward, into the bundle `out`, and loads it. Raises MohdError."""
    out = pathlib.Path(out)
    source = out.with_name(out.name + ".mlir")
    source.write_text(module_text(specs))
    try:
        compile_module(source, targets=targets, out=out)
    finally:
        source.unlink()
    load(out)
    return out
