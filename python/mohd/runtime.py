# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C interface of libmohd_rt (runtime/include/mohd/runtime.h) from Python: NumPy arrays in and out, nothing copied.

    module = mohd.load("model.mohdb")
    outputs = module.context().run("decode", {"tokens": tokens, ...})

NumPy has no bfloat16: such tensors are uint16 arrays of bit patterns (`mohd.weights` converts), or any 16-bit type
called "bfloat16". Arrays must be C-contiguous and begin at a multiple of 64 bytes; `empty` and `zeros` make such
arrays, other inputs are copied, and other mutable inputs are refused.
"""

import ctypes
import functools
import json
import os

import numpy as np

from mohd import find

ABI_VERSION = 1
ALIGNMENT = 64
MAX_RANK = 8
DTYPES = [("f32", np.float32), ("bf16", np.uint16), ("f16", np.float16), ("f64", np.float64), ("i8", np.int8),
          ("i32", np.int32), ("i64", np.int64)]
"""Name and NumPy type of each mohd_dtype_t."""


class MohdError(Exception):
    """A call that failed; `status` is the name of its status, such as "MALFORMED"."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


class _LoadOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("weights_directory", ctypes.c_char_p)]


class _EntryInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("input_count", ctypes.c_uint32),
                ("output_count", ctypes.c_uint32)]


class _TensorInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_uint32),
        ("shape", ctypes.c_int64 * MAX_RANK), ("shape_text", ctypes.c_char_p * MAX_RANK), ("range_low", ctypes.c_char_p),
        ("range_high", ctypes.c_char_p), ("is_mutable", ctypes.c_int32),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("data", ctypes.c_void_p), ("dtype", ctypes.c_int),
                ("rank", ctypes.c_uint32), ("shape", ctypes.c_int64 * MAX_RANK), ("byte_size", ctypes.c_size_t)]


class _ContextOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p), ("threads", ctypes.c_uint32),
                ("allocator", ctypes.c_void_p), ("pin_threads", ctypes.c_int32), ("flags", ctypes.c_uint64)]


_u32, _size, _handle, _text = ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
_to = ctypes.POINTER
_SIGNATURES = {  # function: (result, arguments)
    "mohd_abi_version": (_u32, []),
    "mohd_version_string": (_text, []),
    "mohd_status_name": (_text, [ctypes.c_int]),
    "mohd_last_error": (_text, []),
    "mohd_module_load_file": (ctypes.c_int, [_text, _to(_LoadOptions), _to(_handle)]),
    "mohd_module_load_memory": (ctypes.c_int, [_text, _size, _to(_LoadOptions), _to(_handle)]),
    "mohd_module_destroy": (None, [_handle]),
    "mohd_module_manifest": (_handle, [_handle, _to(_size)]),
    "mohd_module_entry_count": (_u32, [_handle]),
    "mohd_entry_info": (ctypes.c_int, [_handle, _u32, _to(_EntryInfo)]),
    "mohd_entry_input_info": (ctypes.c_int, [_handle, _u32, _u32, _to(_TensorInfo)]),
    "mohd_entry_output_info": (ctypes.c_int, [_handle, _u32, _u32, _to(_TensorInfo)]),
    "mohd_entry_output_shape": (
        ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _u32, _to(_u32), ctypes.c_int64 * MAX_RANK]),
    "mohd_context_create": (ctypes.c_int, [_handle, _to(_ContextOptions), _to(_handle)]),
    "mohd_context_destroy": (None, [_handle]),
    "mohd_context_threads": (_u32, [_handle]),
    "mohd_context_target": (_text, [_handle]),
    "mohd_context_workspace_size": (ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _to(_size)]),
    "mohd_context_reserve": (ctypes.c_int, [_handle, _size]),
    "mohd_context_allocate": (ctypes.c_int, [_handle, _size, _to(_handle)]),
    "mohd_context_free": (ctypes.c_int, [_handle, _handle]),
    "mohd_context_upload": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_download": (ctypes.c_int, [_handle, _handle, _handle, _size]),
    "mohd_context_synchronize": (ctypes.c_int, [_handle, _handle]),
    "mohd_run": (ctypes.c_int, [_handle, _u32, _to(_Tensor), _u32, _to(_Tensor), _u32, _handle]),
}


@functools.cache
def library():
    """libmohd_rt with its functions typed. Raises MohdError if it is missing or of another ABI."""
    path = find.runtime()
    if path is None:
        raise MohdError("NOT_FOUND", "no libmohd_rt.so: build the project or set MOHD_RUNTIME to its path")
    lib = ctypes.CDLL(os.fspath(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.mohd_abi_version() != ABI_VERSION:
        raise MohdError("INCOMPATIBLE", f"{path}: expects ABI {ABI_VERSION}, got {lib.mohd_abi_version()}")
    return lib


def version():
    """The library's line on itself, such as "mohd 0.1.0 (bundle format 1.0, ABI 1)"."""
    return library().mohd_version_string().decode()


def _check(status):
    """Raises MohdError for any status but MOHD_OK."""
    if status:
        lib = library()
        raise MohdError(lib.mohd_status_name(status).decode(), lib.mohd_last_error().decode())


def _new(kind, **values):
    """A struct of the C interface with its struct_size set."""
    return kind(struct_size=ctypes.sizeof(kind), **values)


def empty(shape, dtype):
    """An uninitialised C-contiguous array that begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def zeros(shape, dtype):
    """The same, filled with zeros."""
    out = empty(shape, dtype)
    out.fill(0)
    return out


def _is_usable(array):
    """Whether the library can use the array's memory as it is."""
    return array.flags.c_contiguous and (array.ctypes.data % ALIGNMENT == 0 or array.size == 0)


class Tensor:
    """What an entry point says of one input or output: name, dtype, shape (a number, or the dim's text), mutable."""

    def __init__(self, info):
        self.name = info.name.decode()
        self.dtype, self.type = DTYPES[info.dtype]
        self.kind = info.dtype
        texts = [info.shape_text[i] for i in range(info.rank)]
        self.shape = tuple(info.shape[i] if text is None else text.decode() for i, text in enumerate(texts))
        self.mutable = bool(info.is_mutable)

    def __repr__(self):
        return f"{self.name}: {'x'.join(map(str, self.shape + (self.dtype,)))}{' mutable' * self.mutable}"

    def accept(self, array):
        """`array`, or an aligned copy of it, as this tensor's type. Raises TypeError for another type."""
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            array = array.view(np.uint16)
        if array.dtype != self.type:
            raise TypeError(f"expects '{self.name}' to be {self.dtype}, got {array.dtype}")
        if _is_usable(array) and (array.flags.writeable or not self.mutable):
            return array
        if self.mutable:
            raise TypeError(f"expects '{self.name}' to be writeable, contiguous and 64-byte aligned; mohd.zeros makes such arrays")
        copy = empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def describe(self, array):
        """The C struct for an array that `accept` gave."""
        if array.ndim > MAX_RANK:
            raise TypeError(f"expects '{self.name}' to have at most {MAX_RANK} dims, got {array.ndim}")
        shape = (ctypes.c_int64 * MAX_RANK)(*array.shape)
        data = array.ctypes.data if array.size else None
        return _new(_Tensor, data=data, dtype=self.kind, rank=array.ndim, shape=shape, byte_size=array.nbytes)


class EntryPoint:
    """An entry point: `name`, `inputs` and `outputs` (lists of Tensor)."""

    def __init__(self, handle, index):
        lib, info = library(), _new(_EntryInfo)
        _check(lib.mohd_entry_info(handle, index, info))
        self.index, self.name = index, info.name.decode()
        self.inputs = [self._tensor(lib.mohd_entry_input_info, handle, i) for i in range(info.input_count)]
        self.outputs = [self._tensor(lib.mohd_entry_output_info, handle, i) for i in range(info.output_count)]

    def _tensor(self, function, handle, i):
        info = _new(_TensorInfo)
        _check(function(handle, self.index, i, info))
        return Tensor(info)


class Module:
    """A loaded bundle. Immutable; any number of threads and contexts may use it.

    `source`: a path, or the bundle's bytes. `flags`: NO_HOST_CODE | SKIP_HASHES | MMAP | DEFER_CPU.
    """

    NO_HOST_CODE, SKIP_HASHES, MMAP, DEFER_CPU = 1, 2, 4, 8

    def __init__(self, source, flags=0, weights_directory=None):
        lib, handle = library(), ctypes.c_void_p()
        options = _new(_LoadOptions, flags=flags, weights_directory=weights_directory and os.fsencode(weights_directory))
        self._handle = None
        if isinstance(source, bytes):
            _check(lib.mohd_module_load_memory(source, len(source), options, handle))
        else:
            _check(lib.mohd_module_load_file(os.fsencode(source), options, handle))
        self._handle = handle
        entries = [EntryPoint(handle, i) for i in range(lib.mohd_module_entry_count(handle))]
        self.entry_points = {entry.name: entry for entry in entries}

    def __del__(self):
        if getattr(self, "_handle", None):
            library().mohd_module_destroy(self._handle)

    @functools.cached_property
    def manifest(self):
        """The bundle's manifest (docs/formats.md) as Python objects."""
        size = ctypes.c_size_t()
        text = library().mohd_module_manifest(self._handle, size)
        return json.loads(ctypes.string_at(text, size.value))

    def context(self, threads=0, pin_threads=None, device="cpu"):
        """A new context; `threads` 0: MOHD_THREADS, or the CPUs this process may use.

        `pin_threads` pins the pool's workers, each to a CPU; None: if MOHD_PIN_THREADS is 1. `device`: "cpu", "cuda", "cuda:N",
        or "emulate" for kernels of GPUs on the CPU (docs/emulator.md).
        """
        return Context(self, threads, pin_threads, device)


class _Staged:
    """A call's tensors in the memory of the context's device, each with its array on the host; the structs are made to point there."""

    def __init__(self, context, info, given, taken):
        self.context, self.inputs, self.written, self.memory = context, [], [], []
        for tensor, struct in zip(info.inputs, given):
            copy = self._place(struct)
            self.inputs.append(copy)
            if tensor.mutable:
                self.written.append(copy)
        self.written += [self._place(struct) for struct in taken]

    def _place(self, struct):
        memory = ctypes.c_void_p()
        _check(library().mohd_context_allocate(self.context._handle, struct.byte_size, memory))
        self.memory.append(memory)
        host, struct.data = struct.data, memory
        return memory, host, struct.byte_size

    def upload(self):
        for memory, host, size in self.inputs:
            _check(library().mohd_context_upload(self.context._handle, memory, host, size))

    def download(self):
        lib = library()
        _check(lib.mohd_context_synchronize(self.context._handle, None))
        for memory, host, size in self.written:
            _check(lib.mohd_context_download(self.context._handle, host, memory, size))

    def __del__(self):
        for memory in self.memory:
            library().mohd_context_free(self.context._handle, memory)


class Context:
    """A place to run a module: a device, threads and workspace. One thread at a time may use it."""

    def __init__(self, module, threads=0, pin_threads=None, device="cpu"):
        self.module, self._handle, self._reserved = module, None, 0
        handle = ctypes.c_void_p()
        if pin_threads not in (None, True, False):
            raise ValueError(f"expects pin_threads None, True or False, got {pin_threads!r}")
        pins = {None: 0, True: 1, False: -1}[pin_threads]
        options = _new(_ContextOptions, device=device.encode(), threads=threads, pin_threads=pins)
        _check(library().mohd_context_create(module._handle, options, handle))
        self._handle = handle

    def __del__(self):
        if getattr(self, "_handle", None):
            library().mohd_context_destroy(self._handle)

    @property
    def threads(self):
        """The number of threads it runs on."""
        return library().mohd_context_threads(self._handle)

    @property
    def target(self):
        """The target in use, such as "cpu:x86-64-v3"."""
        return library().mohd_context_target(self._handle).decode()

    def run(self, entry, inputs, outputs=None):
        """Runs an entry point on arrays by name; returns its outputs by name.

        `outputs` may hold arrays to write into, of the right shape and usable as they are.
        """
        return self.bind(entry, inputs, outputs)()

    def bind(self, entry, inputs, outputs=None):
        """A function that makes the call `run` would make, on the same arrays each time: all checks that are Python's are done
        here, so that it costs little more than the call itself. Valid as long as the context.
        """
        if entry not in self.module.entry_points:
            raise MohdError("NOT_FOUND", f"no entry point '{entry}', there are {', '.join(self.module.entry_points)}")
        info, outputs = self.module.entry_points[entry], outputs or {}
        for kind, given, known in (("inputs", inputs, info.inputs), ("outputs", outputs, info.outputs)):
            names = {tensor.name for tensor in known}
            if given.keys() - names or (kind == "inputs" and names - given.keys()):
                raise TypeError(f"expects {kind} {', '.join(t.name for t in known)}, got {', '.join(given) or 'none'}")
        used = [tensor.accept(inputs[tensor.name]) for tensor in info.inputs]
        given = (_Tensor * len(used))(*(t.describe(a) for t, a in zip(info.inputs, used)))
        results = [self._output(info, given, i, outputs) for i in range(len(info.outputs))]
        taken = (_Tensor * len(results))(*(t.describe(a) for t, a in zip(info.outputs, results)))
        self._reserve(info, given)
        named = {tensor.name: array for tensor, array in zip(info.outputs, results)}
        function, sizes = library().mohd_run, (len(given), len(taken))
        staged = _Staged(self, info, given, taken) if self.target.startswith("cuda:") else None

        def call():
            if staged:
                staged.upload()
            _check(function(self._handle, info.index, given, sizes[0], taken, sizes[1], None))
            if staged:
                staged.download()
            return named

        call.arrays = used, results  # what the structs point at stays
        return call

    def _output(self, info, given, i, outputs):
        """The array for output `i`: the caller's, or a new one of the shape that the inputs give."""
        tensor = info.outputs[i]
        if tensor.name in outputs:
            array = outputs[tensor.name]
            if array.dtype != tensor.type or not _is_usable(array) or not array.flags.writeable:
                raise TypeError(f"expects output '{tensor.name}' to be {tensor.dtype}, writeable, contiguous and 64-byte aligned")
            return array
        rank, shape = ctypes.c_uint32(), (ctypes.c_int64 * MAX_RANK)()
        function = library().mohd_entry_output_shape
        _check(function(self.module._handle, info.index, given, len(given), i, rank, shape))
        return empty(tuple(shape[: rank.value]), tensor.type)

    def _reserve(self, info, given):
        """Makes the workspace large enough for this run."""
        size = ctypes.c_size_t()
        _check(library().mohd_context_workspace_size(self._handle, info.index, given, len(given), size))
        if size.value > self._reserved:
            _check(library().mohd_context_reserve(self._handle, size))
            self._reserved = size.value
