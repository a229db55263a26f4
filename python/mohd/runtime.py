# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bundles and what runs them: the C interface of libmohd_rt (runtime/include/mohd/runtime.h) on arrays, nothing copied.

    module = mohd.load("model.mohdb")
    logits = module.run("decode", tokens, position, k_cache, v_cache)

NumPy has no bfloat16: such tensors are uint16 arrays of bit patterns (`mohd.weights` converts), or any 16-bit type
called "bfloat16". Arrays must be C-contiguous and begin at a multiple of 64 bytes; `mohd.empty` and `mohd.zeros` make such
arrays, other inputs are copied, and other mutable inputs are refused. Arrays of other libraries come by DLPack.

On "cuda" arrays of the host are copied to the GPU for each call, and what the call writes is copied back. Arrays that are there
already are used in place, and a call of such arrays alone does not wait: `DeviceArray`, tensors of torch on "cuda", and whatever else
has `__cuda_array_interface__`.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import json
import os
import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from mohd import dlpack
from mohd.arrays import DeviceArray, Placed, Tensor, empty
from mohd.binding import ContextOptions, EntryInfo, LoadOptions, MohdError, RunOptions, Shape, TensorInfo, TensorStruct, check, library, new


class EntryPoint:
    """An entry point: `name`, `inputs` and `outputs` (lists of Tensor)."""

    def __init__(self, handle: ctypes.c_void_p, index: int):
        lib, info = library(), new(EntryInfo)
        check(lib.mohd_entry_info(handle, index, info))
        self.index: int = index
        self.name: str = info.name.decode()
        self.inputs: list[Tensor] = [self._tensor(lib.mohd_entry_input_info, handle, i) for i in range(info.input_count)]
        self.outputs: list[Tensor] = [self._tensor(lib.mohd_entry_output_info, handle, i) for i in range(info.output_count)]
        self._input_names = dict.fromkeys(tensor.name for tensor in self.inputs).keys()
        self._output_names = dict.fromkeys(tensor.name for tensor in self.outputs).keys()
        self._results: Callable = collections.namedtuple("Outputs", list(self._output_names), rename=True)  # type: ignore[misc]

    def _tensor(self, function: Callable, handle: ctypes.c_void_p, i: int) -> Tensor:
        info = new(TensorInfo)
        check(function(handle, self.index, i, info))
        return Tensor(info)

    def _check_names(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Raises TypeError unless `inputs` are all and `outputs` some of the entry's."""
        for kind, given, known, wrong in (("inputs", inputs, self._input_names, inputs.keys() != self._input_names),
                                          ("outputs", outputs, self._output_names, not outputs.keys() <= self._output_names)):
            if wrong:
                raise TypeError(f"expects {kind} {', '.join(known)}, got {', '.join(given) or 'none'}")

    def _result(self, outputs: dict[str, Any]) -> Any:
        """What `Module.run` returns of outputs by name."""
        return next(iter(outputs.values())) if len(outputs) == 1 else self._results(*outputs.values())

    def _by_name(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs by name: `arrays` are the first of them, in the entry's order."""
        names = list(self._input_names)
        if len(arrays) > len(names):
            raise TypeError(f"expects at most {len(names)} arrays for '{self.name}' ({', '.join(names)}), got {len(arrays)}")
        inputs = dict(zip(names, arrays))
        twice = inputs.keys() & named.keys()
        if twice:
            raise TypeError(f"expects each input of '{self.name}' once, got {', '.join(sorted(twice))} by place and by name")
        return inputs | dict(named)


class Module:
    """A loaded bundle. Immutable; any number of threads and contexts may use it.

    `source`: a path, or the bundle's bytes. `device` and `threads` are what its contexts have unless they are told others, see `context`.
    `flags`: NO_HOST_CODE | SKIP_HASHES | MMAP | DEFER_CPU. `weights_directory`: where external weights are, by default beside the bundle.
    Raises MohdError.
    """

    NO_HOST_CODE, SKIP_HASHES, MMAP, DEFER_CPU = 1, 2, 4, 8

    def __init__(self, source: str | os.PathLike[str] | bytes, device: str = "cpu", threads: int = 0, flags: int = 0,
                 weights_directory: str | os.PathLike[str] | None = None):
        lib, handle = library(), ctypes.c_void_p()
        flags |= 0 if device == "cpu" else self.DEFER_CPU
        options = new(LoadOptions, flags=flags, weights_directory=weights_directory and os.fsencode(weights_directory))
        self._handle = None
        if isinstance(source, bytes):
            check(lib.mohd_module_load_memory(source, len(source), options, handle))
        else:
            check(lib.mohd_module_load_file(os.fsencode(source), options, handle))
        self._handle, self._local = handle, threading.local()
        self.device, self.threads = device, threads
        entries = [EntryPoint(handle, i) for i in range(lib.mohd_module_entry_count(handle))]
        self.entry_points: dict[str, EntryPoint] = {entry.name: entry for entry in entries}

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            library().mohd_module_destroy(self._handle)

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """The bundle's manifest (docs/formats.md) as Python objects."""
        size = ctypes.c_size_t()
        text = library().mohd_module_manifest(self._handle, size)
        return json.loads(ctypes.string_at(text, size.value))

    def entry_point(self, name: str) -> EntryPoint:
        """The entry point called `name`. Raises MohdError (NOT_FOUND) with the names that there are."""
        if name not in self.entry_points:
            raise MohdError("NOT_FOUND", f"no entry point '{name}', there are {', '.join(self.entry_points)}")
        return self.entry_points[name]

    def run(self, entry: str, /, *arrays: Any, **named: Any) -> Any:
        """Runs an entry point on a context of the module's own, one for each thread, on the module's device.

        Inputs by place, in the order of `entry_points[entry].inputs`, by name, or the first by place and others by name. Returns the output, of several a
        named tuple; inputs that the run updates in place are no outputs. Raises TypeError for inputs of other names and types, MohdError for what the library
        refuses.
        """
        info = self.entry_point(entry)
        inputs = info._by_name(arrays, named)
        context = getattr(self._local, "context", None)
        if context is None:
            context = self._local.context = self.context()
            del context.module  # no cycle: the weights go with the module
        return info._result(context._bind(info, inputs, {}, None)())

    def context(self, threads: int | None = None, pin_threads: bool | None = None, device: str | None = None) -> Context:
        """A new context; `threads` 0: MOHD_THREADS, or the CPUs this process may use.

        `pin_threads` pins the pool's workers, each to a CPU; None: if MOHD_PIN_THREADS is 1. `device`: "cpu", "cuda", "cuda:N",
        or "emulate" for kernels of GPUs on the CPU (docs/emulator.md). None of `threads` and `device`: the module's.
        """
        return Context(self, self.threads if threads is None else threads, pin_threads, device or self.device)

    def stream(self, tokens: Any, max_new_tokens: int = 128, temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0,
               threads: int | None = None, device: str | None = None) -> Iterator[Any]:
        """Yields the tokens that follow the prompt `tokens`, ids, one by one: numbers. Of several prompts, a list of such lists, whose lengths may differ, arrays
        [prompts].

        Temperature 0 takes the largest logit; else tokens are drawn from softmax(logits / temperature), cut to the `top_k` most likely (0: all), then to the
        fewest whose share reaches `top_p`. The same seed gives the same tokens. `threads`, `device`: as of `context`. Raises ValueError if the model has fewer
        positions, MohdError for ids that it does not have.
        """
        from mohd.generate import stream

        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return stream(self, tokens, max_new_tokens, threads, device, settings)

    def generate(self, tokens: Any, max_new_tokens: int = 128, **settings: Any) -> np.ndarray:
        """What `stream` yields as an array: i32 [max_new_tokens], of several prompts [prompts, max_new_tokens]."""
        return np.array(list(self.stream(tokens, max_new_tokens, **settings)), np.int32).T


def load(source: str | os.PathLike[str] | bytes, device: str = "cpu", threads: int = 0, flags: int = 0,
         weights_directory: str | os.PathLike[str] | None = None) -> Module:
    """Loads a bundle to be run on `device`; see Module."""
    return Module(source, device, threads, flags, weights_directory)


class _Staged:
    """A call's arrays of the host, each with memory on the context's device; the structs are made to point there."""

    def __init__(self, context: Context, inputs: Iterable[tuple], outputs: Iterable[tuple]):
        """`inputs`, `outputs`: (tensor, array, struct) of each."""
        self.context = context
        self.inputs: list[tuple] = []
        self.written: list[tuple] = []
        self.memory: list[ctypes.c_void_p] = []
        for tensor, array, struct in inputs:
            if isinstance(array, Placed):
                continue
            copy = self._place(struct)
            self.inputs.append(copy)
            if tensor.mutable:
                self.written.append(copy)
        self.written += [self._place(struct) for _, array, struct in outputs if not isinstance(array, Placed)]

    def _place(self, struct: TensorStruct) -> tuple:
        memory = ctypes.c_void_p()
        check(library().mohd_context_allocate(self.context._handle, struct.byte_size, memory))
        self.memory.append(memory)
        host, struct.data = struct.data, memory
        return memory, host, struct.byte_size

    def upload(self) -> None:
        for memory, host, size in self.inputs:
            check(library().mohd_context_upload(self.context._handle, memory, host, size))

    def download(self, stream: Any) -> None:
        lib = library()
        if self.written:
            check(lib.mohd_context_synchronize(self.context._handle, stream))
        for memory, host, size in self.written:
            check(lib.mohd_context_download(self.context._handle, host, memory, size))

    def __del__(self) -> None:
        for memory in self.memory:
            library().mohd_context_free(self.context._handle, memory)


class Context:
    """A place to run a module: a device, threads and workspace. One thread at a time may use it: a call while another one is under way raises MohdError."""

    def __init__(self, module: Module, threads: int = 0, pin_threads: bool | None = None, device: str = "cpu"):
        self.module: Module = module
        self._handle, self._reserved = None, 0
        handle = ctypes.c_void_p()
        if pin_threads not in (None, True, False):
            raise ValueError(f"expects pin_threads None, True or False, got {pin_threads!r}")
        pins = {None: 0, True: 1, False: -1}[pin_threads]
        options = new(ContextOptions, device=device.encode(), threads=threads, pin_threads=pins)
        check(library().mohd_context_create(module._handle, options, handle))
        self._handle, self._module_handle = handle, module._handle  # the library keeps the module
        self._on_cuda = self.target.startswith("cuda:")
        self._dlpack_device = (dlpack.CUDA, int(device.partition(":")[2] or 0)) if self._on_cuda else (dlpack.CPU, 0)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            library().mohd_context_destroy(self._handle)

    @property
    def threads(self) -> int:
        """The number of threads it runs on."""
        return library().mohd_context_threads(self._handle)

    @property
    def target(self) -> str:
        """The target in use, such as "cpu:x86-64-v3"."""
        return library().mohd_context_target(self._handle).decode()

    def empty(self, shape: Sequence[int], dtype: str) -> DeviceArray:
        """A DeviceArray whose elements have no values yet; `dtype` such as "bf16"."""
        return DeviceArray(self, shape, dtype)

    def synchronize(self, stream: Any = None) -> None:
        """Waits until the device has done what `stream` was given; see `bind`."""
        check(library().mohd_context_synchronize(self._handle, getattr(stream, "cuda_stream", stream)))

    def run(self, entry: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, stream: Any = None) -> dict[str, Any]:
        """Runs an entry point on arrays by name; returns its outputs by name.

        `outputs` may hold arrays to write into, of the right shape and usable as they are.
        """
        return self.bind(entry, inputs, outputs, stream)()

    def bind(self, entry: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, stream: Any = None) -> Callable[[], dict[str, Any]]:
        """A function that makes the call `run` would make, on the same arrays each time: all checks that are Python's are done
        here, so that it costs little more than the call itself. It keeps context and arrays. `stream`: a CUstream as a number, or what
        has it as `cuda_stream`; None is the legacy default stream.
        """
        return self._bind(self.module.entry_point(entry), inputs, outputs or {}, stream)

    def _bind(self, info: EntryPoint, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: Any) -> Callable[[], dict[str, Any]]:
        """`bind` of an entry point."""
        info._check_names(inputs, outputs)
        used = [self._expect_here(tensor.accept(inputs[tensor.name])) for tensor in info.inputs]
        given = (TensorStruct * len(used))(*[tensor.describe(array) for tensor, array in zip(info.inputs, used)])
        results = [self._expect_here(self._output(info, given, i, outputs)) for i in range(len(info.outputs))]
        taken = (TensorStruct * len(results))(*[tensor.describe(array) for tensor, array in zip(info.outputs, results)])
        self._reserve(info, given)
        named = {tensor.name: outputs.get(tensor.name, array) for tensor, array in zip(info.outputs, results)}
        staged = _Staged(self, zip(info.inputs, used, given), zip(info.outputs, results, taken)) if self._on_cuda else None
        stream = getattr(stream, "cuda_stream", stream)
        run, arguments = library().mohd_run, (self._handle, info.index, given, len(given), taken, len(taken), new(RunOptions, stream=stream) if stream else None)

        def call() -> dict[str, Any]:
            if staged:
                staged.upload()
            status = run(*arguments)
            if status:
                check(status)
            if staged:
                staged.download(stream)
            return named

        call.arrays = self, used, results  # type: ignore[attr-defined] # what the structs point at stays
        return call

    def _expect_here(self, array: Any) -> Any:
        """`array`; raises TypeError for one on a GPU if the context is not."""
        if not self._on_cuda and isinstance(array, Placed) and array.is_cuda:
            raise TypeError(f"expects arrays of the host on {self.target}, got one on a GPU")
        return array

    def _output(self, info: EntryPoint, given: Any, i: int, outputs: Mapping[str, Any]) -> Any:
        """The array for output `i`: the caller's, or a new one of the shape that the inputs give."""
        tensor = info.outputs[i]
        if tensor.name in outputs:
            return tensor.accept_output(outputs[tensor.name])
        rank, shape = ctypes.c_uint32(), Shape()
        check(library().mohd_entry_output_shape(self._module_handle, info.index, given, len(given), i, rank, shape))
        return empty(shape[: rank.value], "bf16" if tensor.dtype == "bf16" else tensor.type)

    def _reserve(self, info: EntryPoint, given: Any) -> None:
        """Makes the workspace large enough for this run."""
        size = ctypes.c_size_t()
        check(library().mohd_context_workspace_size(self._handle, info.index, given, len(given), size))
        if size.value > self._reserved:
            check(library().mohd_context_reserve(self._handle, size))
            self._reserved = size.value
